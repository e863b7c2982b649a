//! The bytes of a pack file: header, then frames that describe themselves. All numbers are little endian.
//!
//! ```text
//! header  "DIAPACK1" | format u32 | 1 if emptied u32 | store id 16 | number u64 | end of the pack before u64 | salt 16
//!         | crc32c u32 of the 64 bytes before | 0 u32
//!
//! frame   "DIASEGMT" | pack u64 | offset u64 | 1 u32 | length u32 | lineage 16 | database 16 | term u64
//!         | hash 32 | job length u8 | job, padded with zeros to 32 | 0 × 7 | crc32c of the body u32
//!         | crc32c u32 | body (`length` bytes), padded with zeros to 8
//! ```
//! Of an emptied pack there is the header alone. A frame's last crc32c goes over store id, salt and the 148 bytes before it.

use crate::sled_store::bytes::{Fields, rounded_up};
use crate::{DatabaseId, SegmentKey};

#[cfg(test)]
mod tests;

pub(crate) const FILE_HEADER_BYTES: u64 = 72;
const FILE_CRC_AT: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 152;
const FRAME_CRC_AT: usize = FRAME_HEADER_BYTES - 4;
const JOB_BYTES: usize = 32;
/// The only kind there is.
const KIND_SEGMENT: u32 = 1;
const FILE_MAGIC: &[u8; 8] = b"DIAPACK1";
pub(crate) const FRAME_MAGIC: &[u8; 8] = b"DIASEGMT";

/// What a pack file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) format: u32,
    pub(crate) store: [u8; 16],
    pub(crate) number: u64,
    /// Nothing that was in it is needed any more.
    pub(crate) emptied: bool,
    /// Where the frames of the pack before end; 0 in the first one.
    pub(crate) before_end: u64,
    pub(crate) salt: [u8; 16],
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = FILE_MAGIC.to_vec();
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&u32::from(self.emptied).to_le_bytes());
        out.extend_from_slice(&self.store);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.before_end.to_le_bytes());
        out.extend_from_slice(&self.salt);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let checked = bytes.get(..FILE_CRC_AT)?;
        let mut fields = Fields::new(bytes);
        let magic: [u8; 8] = fields.array()?;
        let format = fields.u32()?;
        let emptied = match fields.u32()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let header = FileHeader {
            format,
            emptied,
            store: fields.array()?,
            number: fields.u64()?,
            before_end: fields.u64()?,
            salt: fields.array()?,
        };
        let crc = fields.u32()?;
        (&magic == FILE_MAGIC && crc32c::crc32c(checked) == crc).then_some(header)
    }

    fn crc_seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.store), &self.salt)
    }
}

/// A frame's own description, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) key: SegmentKey,
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    /// The header's bytes; the key was checked before.
    pub(crate) fn encode(&self, file: &FileHeader) -> Vec<u8> {
        let mut out = FRAME_MAGIC.to_vec();
        out.extend_from_slice(&file.number.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&KIND_SEGMENT.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.key.lineage.0);
        out.extend_from_slice(&self.key.database.0);
        out.extend_from_slice(&self.key.term.to_le_bytes());
        out.extend_from_slice(&self.key.hash);
        let mut job = [0; JOB_BYTES];
        job[..self.key.job.len()].copy_from_slice(self.key.job.as_bytes());
        out.push(self.key.job.len() as u8);
        out.extend_from_slice(&job);
        out.extend_from_slice(&[0; 7]);
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(file.crc_seed(), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the beginning of `bytes`, if a whole and unchanged one of this file stands there.
    pub(crate) fn decode(bytes: &[u8], file: &FileHeader) -> Option<FrameHeader> {
        if !bytes.starts_with(FRAME_MAGIC) {
            return None;
        }
        let checked = bytes.get(..FRAME_CRC_AT)?;
        let mut fields = Fields::new(bytes.get(FRAME_MAGIC.len()..)?);
        let pack = fields.u64()?;
        let offset = fields.u64()?;
        let kind = fields.u32()?;
        let length = fields.u32()?;
        let (lineage, database) = (DatabaseId(fields.array()?), DatabaseId(fields.array()?));
        let (term, hash) = (fields.u64()?, fields.array()?);
        let job_bytes = usize::from(fields.u8()?);
        let job = fields.take(JOB_BYTES)?.get(..job_bytes)?;
        let _zeros = fields.take(7)?;
        let body_crc = fields.u32()?;
        let crc = fields.u32()?;
        if pack != file.number || kind != KIND_SEGMENT || crc32c::crc32c_append(file.crc_seed(), checked) != crc {
            return None;
        }
        let job = String::from_utf8(job.to_vec()).ok()?;
        Some(FrameHeader { offset, length, key: SegmentKey { lineage, database, term, job, hash }, body_crc })
    }

    /// What header, body and padding take in the file.
    pub(crate) fn bytes(&self) -> u64 {
        frame_bytes(self.length)
    }
}

/// What a frame with a body of this length takes in the file.
pub(crate) fn frame_bytes(length: u32) -> u64 {
    rounded_up(FRAME_HEADER_BYTES as u64 + u64::from(length), 8)
}
