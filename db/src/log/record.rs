//! A record's bytes: header and body, or header and the place of a body that lies out of line.
//!
//! ```text
//! in line       header 184 | body, to the end of the record
//! out of line   header 184 | lineage 16 | database 16 | term 8 | length 8 | SHA-256 32
//! ```
//! The place names the segment of job `body` that holds the body's bytes. Its hash is the body's own until the body
//! is replaced by an erasure.

use super::body::{Body, EncodedBody, Replaced};
use super::header::{DatabaseId, Header};
use super::{BODY_BYTES_MAX, BODY_BYTES_TARGET, Fields, Hash, sha256};
use crate::error::Result;

/// A record with its body read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub header: Header,
    pub body: Body,
}

/// A record whose body is still bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub header: Header,
    /// The SHA-256 of the header's bytes.
    pub hash: Hash,
    pub content: Content<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Body(&'a [u8]),
    OutOfLine(BodyPlace),
}

/// The segment (of job [`BodyPlace::JOB`]) that holds a body out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPlace {
    pub lineage: DatabaseId,
    pub database: DatabaseId,
    pub term: u64,
    /// Of the segment's bytes.
    pub length: u64,
    pub hash: Hash,
}

impl BodyPlace {
    pub const JOB: &str = "body";
    const BYTES: usize = 80;

    fn encode(&self) -> Vec<u8> {
        let length = self.length.to_le_bytes();
        [&self.lineage.0[..], &self.database.0, &self.term.to_le_bytes(), &length, &self.hash].concat()
    }

    fn decode(bytes: &[u8]) -> Option<BodyPlace> {
        let mut fields = Fields(bytes);
        let place = BodyPlace {
            lineage: DatabaseId(fields.array()?),
            database: DatabaseId(fields.array()?),
            term: fields.u64()?,
            length: fields.u64()?,
            hash: fields.array()?,
        };
        fields.0.is_empty().then_some(place)
    }
}

/// The bytes to append: what [`super::Chain::next`] made of the body, and the body or its place.
pub fn record_bytes(header: &Header, body: &EncodedBody) -> Vec<u8> {
    assert!(header.body_hash == body.hash && header.out_of_line == body.is_out_of_line(), "the header is of this body");
    let mut bytes = header.encode().to_vec();
    match BodyPlace::of(header, body) {
        Some(place) => bytes.extend_from_slice(&place.encode()),
        None => bytes.extend_from_slice(&body.bytes),
    }
    bytes
}

/// The bytes of a record whose body was replaced: its header as it was, and the new body, which lies out of line if the
/// old one did. Where it must be put before, is told too; `term` is the writer's.
pub fn record_with(record: &RawRecord<'_>, body: &EncodedBody, term: u64) -> (Vec<u8>, Option<BodyPlace>) {
    let header = &record.header;
    let mut bytes = header.encode().to_vec();
    let place = header.out_of_line.then_some(BodyPlace {
        lineage: header.lineage,
        database: header.database,
        term,
        length: body.bytes.len() as u64,
        hash: body.hash,
    });
    match place {
        Some(place) => bytes.extend_from_slice(&place.encode()),
        None => bytes.extend_from_slice(&body.bytes),
    }
    (bytes, place)
}

impl BodyPlace {
    /// Where a body must be put before its record is appended; None when it stays in line.
    pub fn of(header: &Header, body: &EncodedBody) -> Option<BodyPlace> {
        body.is_out_of_line().then_some(BodyPlace {
            lineage: header.lineage,
            database: header.database,
            term: header.term,
            length: body.bytes.len() as u64,
            hash: body.hash,
        })
    }
}

impl Record {
    /// Reads a whole record that has its body in line.
    pub fn read(bytes: &[u8]) -> Result<Record> {
        let record = RawRecord::parse(bytes)?;
        let body = record.body()?;
        Ok(Record { header: record.header, body })
    }
}

impl<'a> RawRecord<'a> {
    /// Reads the header and finds the body, without copying it or looking into it.
    pub fn parse(bytes: &'a [u8]) -> Result<RawRecord<'a>> {
        let header = Header::decode(bytes)?;
        let hash = sha256(&bytes[..Header::BYTES]);
        let rest = &bytes[Header::BYTES..];
        let content = if header.out_of_line {
            let place = BodyPlace::decode(rest);
            let place = place.filter(|place| (1..=BODY_BYTES_MAX as u64).contains(&place.length));
            Content::OutOfLine(place.ok_or_else(|| {
                header.damaged(format!("{} bytes do not make the {} of its body's place", rest.len(), BodyPlace::BYTES))
            })?)
        } else if rest.len() > BODY_BYTES_TARGET {
            return Err(header.damaged(format!("its body has {} bytes, the most is {BODY_BYTES_TARGET}", rest.len())));
        } else {
            Content::Body(rest)
        };
        Ok(RawRecord { header, hash, content })
    }

    /// The body, its hash checked. One that lies out of line is refused: see [`Self::body_from`].
    pub fn body(&self) -> Result<Body> {
        match self.content {
            Content::Body(bytes) => Body::decode(&self.header, bytes),
            Content::OutOfLine(_) => Err(self.header.damaged("its body lies out of line and was not fetched")),
        }
    }

    /// The body, or the one that took its place, which is told. `segment` holds that of one that lies out of line.
    pub fn any_body(&self, segment: Option<&[u8]>) -> Result<(Body, Option<Replaced>)> {
        match (segment, self.content) {
            (Some(bytes), _) | (None, Content::Body(bytes)) => Body::decode_any(&self.header, bytes),
            (None, Content::OutOfLine(_)) => self.body().map(|body| (body, None)),
        }
    }

    /// The body from the bytes of its segment, their hash checked.
    pub fn body_from(&self, segment: &[u8]) -> Result<Body> {
        Body::decode(&self.header, segment)
    }
}
