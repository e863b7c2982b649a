//! What every segment begins with, and its compression.
//!
//! ```text
//! offset size field
//!      0    4 magic "DSEG"
//!      4    2 format version, 1
//!      6    1 kind: 1 leaf and 2 branch of open lives, 3 leaf and 4 branch of closed lives, 5 meta,
//!             6 chunk and 7 branch of the log
//!      7    1 sort: 1 EAVT, 2 AEVT, 3 AVET, 4 VAET; 0 where there is none
//!      8    4 count of rows, children, attributes or records
//!     12    4 length of the plain content
//!     16    1 compression: 0 none, 1 LZ4 block
//!     17    3 zeros
//!     20      the content, to the end
//! ```

use super::bytes::{Read, Reader};
use super::values::too_long;
use crate::error::{Category, Result};
use crate::{Error, Sort};
use std::borrow::Cow;

/// The most that a segment's content has before compression.
pub const PLAIN_BYTES_MAX: usize = 32 << 20;

const MAGIC: [u8; 4] = *b"DSEG";
const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    OpenLeaf = 1,
    OpenBranch = 2,
    ClosedLeaf = 3,
    ClosedBranch = 4,
    Meta = 5,
    LogChunk = 6,
    LogBranch = 7,
}

impl Kind {
    pub(super) const ALL: [Kind; 7] = [
        Kind::OpenLeaf,
        Kind::OpenBranch,
        Kind::ClosedLeaf,
        Kind::ClosedBranch,
        Kind::Meta,
        Kind::LogChunk,
        Kind::LogBranch,
    ];
}

const SORTS: [Sort; 4] = [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet];

/// A segment read up to its content.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) kind: Kind,
    pub(crate) sort: Option<Sort>,
    pub(crate) count: usize,
    pub(crate) plain: Vec<u8>,
}

/// The bytes of a segment with this content.
pub(crate) fn seal(kind: Kind, sort: Option<Sort>, count: usize, plain: &[u8]) -> Result<Vec<u8>> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(too_long(plain.len()));
    }
    let compressed = lz4_flex::block::compress(plain);
    let (compression, content) = if compressed.len() < plain.len() { (1, &compressed[..]) } else { (0, plain) };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.push(kind as u8);
    bytes.push(sort.map_or(0, |sort| sort as u8 + 1));
    bytes.extend_from_slice(&(count as u32).to_le_bytes());
    bytes.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[compression, 0, 0, 0]);
    bytes.extend_from_slice(content);
    Ok(bytes)
}

/// Reads the header and makes the content plain.
///
/// Damage is `corrupt`; a format version, kind or compression that this build does not know is `unsupported`.
pub(crate) fn open(bytes: &[u8]) -> Result<Opened> {
    let mut reader = Reader::new(bytes);
    if reader.array().map_err(damaged)? != MAGIC {
        return Err(damaged("the bytes do not begin like a segment (DSEG)"));
    }
    let version = u16::from_le_bytes(reader.array().map_err(damaged)?);
    if version != FORMAT_VERSION {
        let message = format!("segment format {version} is not known here; this version reads {FORMAT_VERSION}");
        return Err(unsupported(message).with("format", i64::from(version)));
    }
    let kind = reader.byte().map_err(damaged)?;
    let Some(kind) = Kind::ALL.into_iter().find(|known| *known as u8 == kind) else {
        let message = format!("a segment of kind {kind} is not known here; a newer version may read it");
        return Err(unsupported(message).with("kind", i64::from(kind)));
    };
    let sort = match reader.byte().map_err(damaged)? {
        0 => None,
        sort => match SORTS.get(usize::from(sort) - 1) {
            Some(sort) => Some(*sort),
            None => return Err(unsupported(format!("a segment of sort {sort} is not known here"))),
        },
    };
    let count = u32::from_le_bytes(reader.array().map_err(damaged)?);
    let length = u32::from_le_bytes(reader.array().map_err(damaged)?) as usize;
    let [compression, zeros @ ..] = reader.array::<4>().map_err(damaged)?;
    if zeros != [0; 3] {
        return Err(unsupported("a segment with flags is not known here; a newer version may read it".into()));
    }
    if length > PLAIN_BYTES_MAX {
        return Err(damaged(format!("it tells of {length} bytes, the most is {PLAIN_BYTES_MAX}")));
    }
    let content = reader.bytes(reader.len()).map_err(damaged)?;
    let plain = match compression {
        0 => content.to_vec(),
        1 => decompressed(content, length).map_err(damaged)?,
        other => {
            let message = format!("compression {other} of a segment is not known here; a newer version may read it");
            return Err(unsupported(message).with("compression", i64::from(other)));
        }
    };
    if plain.len() != length {
        return Err(damaged(format!("its content has {} bytes, its header says {length}", plain.len())));
    }
    Ok(Opened { kind, sort, count: count as usize, plain })
}

fn decompressed(content: &[u8], length: usize) -> Read<Vec<u8>> {
    // No LZ4 block grows more than that.
    if length > content.len().saturating_mul(255) {
        return Err(format!("{} bytes do not make {length}", content.len()).into());
    }
    let mut plain = vec![0; length];
    let made = lz4_flex::block::decompress_into(content, &mut plain).map_err(|error| error.to_string())?;
    plain.truncate(made);
    Ok(plain)
}

pub(crate) fn damaged(fault: impl Into<Cow<'static, str>>) -> Error {
    Error::corrupt("db.error/segment-damaged", format!("the segment is damaged: {}", fault.into()))
}

pub(crate) fn unsupported(message: String) -> Error {
    Error::new(Category::Unsupported, "db.error/segment-unsupported", message)
}
