//! Follow frames: a record's bytes behind a prefix that tells what they are.
//!
//! ```text
//! offset size field
//!      0    4 magic "DFRM"
//!      4    2 frame version, 1
//!      6    2 what follows: 1, a record
//!      8    4 length of what follows
//!     12   32 the record's hash
//!     44      the record, as it stands in the log
//! ```
//! Frames stand one after the other; a message holds whole ones.

use super::header::{Header, damaged, unsupported};
use super::record::RawRecord;
use super::{Fields, Hash, RECORD_BYTES_MAX};
use crate::error::Result;

const MAGIC: [u8; 4] = *b"DFRM";
const VERSION: u16 = 1;
const OF_RECORD: u16 = 1;
const PREFIX_BYTES: usize = 44;

/// Adds a frame with a record.
pub fn push_frame(frames: &mut Vec<u8>, record: &[u8], hash: &Hash) {
    assert!(record.len() <= RECORD_BYTES_MAX, "no record in the log is longer");
    frames.reserve(PREFIX_BYTES + record.len());
    frames.extend_from_slice(&MAGIC);
    frames.extend_from_slice(&VERSION.to_le_bytes());
    frames.extend_from_slice(&OF_RECORD.to_le_bytes());
    frames.extend_from_slice(&(record.len() as u32).to_le_bytes());
    frames.extend_from_slice(hash);
    frames.extend_from_slice(record);
}

/// The frames of a message: each record's bytes, and the record read off them. Ends after the first error.
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Frames { rest: bytes }
    }

    fn read(&mut self) -> Result<(&'a [u8], RawRecord<'a>)> {
        let present = self.rest.len();
        let short = || damaged(format!("a frame's prefix needs {PREFIX_BYTES} bytes, {present} are there"));
        let mut fields = Fields(self.rest);
        let magic: [u8; 4] = fields.array().ok_or_else(short)?;
        if magic != MAGIC {
            return Err(damaged("the bytes do not begin like a frame (DFRM)".into()));
        }
        let version = fields.u16().ok_or_else(short)?;
        let kind = fields.u16().ok_or_else(short)?;
        if (version, kind) != (VERSION, OF_RECORD) {
            let message = format!("a frame of version {version} and kind {kind} is not known here");
            return Err(unsupported(message));
        }
        let length = fields.u32().ok_or_else(short)? as usize;
        let hash: Hash = fields.array().ok_or_else(short)?;
        if !(Header::BYTES..=RECORD_BYTES_MAX).contains(&length) {
            let message =
                format!("a frame tells of {length} bytes, a record has {} to {RECORD_BYTES_MAX}", Header::BYTES);
            return Err(damaged(message));
        }
        let present = fields.0.len();
        let cut = || damaged(format!("a frame tells of {length} bytes and is cut off after {present}"));
        let bytes = fields.bytes(length).ok_or_else(cut)?;
        let record = RawRecord::parse(bytes)?;
        if record.hash != hash {
            return Err(record.header.damaged("it has another hash than its frame says"));
        }
        self.rest = fields.0;
        Ok((bytes, record))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(&'a [u8], RawRecord<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.read();
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}
