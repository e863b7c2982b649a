//! Chunks.
//!
//! ```text
//! chunk = first seq: varint | column of the records' lengths | the records
//! ```
//! The header's count is that of records; there is no sort.

use super::super::{Header, Kind as RecordKind, RECORD_BYTES_MAX};
use super::Child;
use crate::error::Result;
use crate::index::segment::bytes::{Read, Reader, put_varint};
use crate::index::segment::envelope::{self, Kind, damaged};
use crate::index::segment::{SegmentId, numbers, read_named};
use crate::model::T;

/// Records that follow one another, as a chunk holds them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// Of each record its end in the bytes, and the newest t up to it.
    records: Vec<(usize, T)>,
    first_seq: u64,
}

impl Chunk {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the records.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The last record's number; one before the first where there is none.
    pub(super) fn seq(&self) -> u64 {
        self.first_seq + self.records.len() as u64 - 1
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The newest t up to its end.
    pub(super) fn t(&self) -> T {
        self.records.last().map_or(0, |(_, t)| *t)
    }

    /// The bytes of a record in it.
    pub(super) fn record(&self, seq: u64) -> Option<&[u8]> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let (end, _) = *self.records.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.records[before].0);
        Some(&self.bytes[start..end])
    }

    /// The record with a transaction that is in this chunk: the first that ends at it or after it.
    pub(super) fn seq_of(&self, t: T) -> u64 {
        self.first_seq + self.records.partition_point(|(_, newest)| *newest < t) as u64
    }

    /// Adds the record that comes next; `before` says which seq and t it follows.
    pub(super) fn push(&mut self, record: &[u8], before: (u64, T)) -> Result<()> {
        let header = Header::decode(record)?;
        // The log of a fork begins at another t.
        let begins_fork = before.0 == 0 && header.kind == RecordKind::Fork;
        let follows = header.seq == before.0 + 1 && (header.first_t == before.1 + 1 || begins_fork);
        if record.len() > RECORD_BYTES_MAX || !follows {
            return Err(header.damaged(format!("it cannot follow record {} (t {}) in a log tree", before.0, before.1)));
        }
        if self.records.is_empty() {
            self.first_seq = header.seq;
        }
        self.bytes.extend_from_slice(record);
        self.records.push((self.bytes.len(), header.last_t()));
        Ok(())
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(self.bytes.len() + self.records.len() * 2 + 16);
        put_varint(&mut plain, self.first_seq);
        let starts = std::iter::once(0).chain(self.records.iter().map(|(end, _)| *end));
        let lengths = starts.zip(&self.records).map(|(start, (end, _))| (end - start) as i64);
        numbers::put(&mut plain, &lengths.collect::<Vec<_>>());
        plain.extend_from_slice(&self.bytes);
        envelope::seal(Kind::LogChunk, None, self.records.len(), &plain)
    }

    /// Reads the chunk that is spoken of, its hash checked.
    pub(super) fn read(child: &Child, bytes: &[u8]) -> Result<Chunk> {
        read_named(&child.id, bytes, |bytes| {
            let chunk = Chunk::decode(bytes)?;
            if (chunk.first_seq, chunk.seq(), chunk.t()) != (child.first_seq, child.seq, child.t) {
                return Err(damaged(format!(
                    "it holds records {} to {} (t {}), where {} to {} (t {}) should stand",
                    chunk.first_seq,
                    chunk.seq(),
                    chunk.t(),
                    child.first_seq,
                    child.seq,
                    child.t
                )));
            }
            Ok(chunk)
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Chunk> {
        let envelope::Opened { kind, count, plain, .. } = envelope::open(bytes)?;
        if kind != Kind::LogChunk {
            return Err(damaged("it is no chunk of a log"));
        }
        let (first_seq, ends, records) = parts(&plain, count).map_err(damaged)?;
        let mut chunk = Chunk { first_seq, ..Chunk::default() };
        let mut start = 0;
        for end in ends {
            let record = &records[start..end];
            // The first t of the first record is its own to say; `read` holds the last against what is known.
            let seq = first_seq + chunk.records.len() as u64;
            let t = match chunk.records.last() {
                Some((_, t)) => *t,
                None => Header::decode(record)?.first_t - 1,
            };
            chunk.push(record, (seq - 1, t)).map_err(|error| error.within(format!("record {seq} in a chunk")))?;
            start = end;
        }
        Ok(chunk)
    }
}

/// First seq, the ends of the records, and their bytes.
fn parts(plain: &[u8], count: usize) -> Read<(u64, Vec<usize>, &[u8])> {
    let mut reader = Reader::new(plain);
    if count == 0 || count > plain.len() / Header::BYTES {
        return Err(format!("it tells of {count} records in {} bytes", plain.len()).into());
    }
    let first_seq = reader.varint()?;
    if first_seq == 0 || first_seq > u64::MAX / 2 {
        return Err("records are numbered from 1".into());
    }
    let mut end = 0usize;
    let mut ends = Vec::with_capacity(count);
    for length in numbers::read(&mut reader, count)? {
        let length = usize::try_from(length).ok().filter(|length| (Header::BYTES..=RECORD_BYTES_MAX).contains(length));
        end += length.ok_or("a record has a length that none has")?;
        ends.push(end);
    }
    let records = reader.bytes(end)?;
    reader.end()?;
    Ok((first_seq, ends, records))
}

/// What names a chunk or a branch.
pub(super) fn child_of(id: SegmentId, bytes: usize, first_seq: u64, seq: u64, t: T) -> Child {
    Child { id, bytes: bytes as u32, first_seq, seq, t }
}
