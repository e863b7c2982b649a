//! The log as a tree of segments: what a journal may drop, and what is quicker to read than record by record.
//!
//! *Chunks* hold some records each, byte for byte as in the log; *branches* hold names of chunks or of branches, with
//! the last seq and t of each. A tree holds records 1 to n and only ever grows at its right edge: [`append`] puts the
//! chunks that are new, the last one anew where it was not full, and the branches above them, and leaves all others
//! alone; only an erasure puts other bytes in the place of records ([`replace`]). [`records`] reads from a seq on, [`seq_of`] finds a transaction. `docs/data-format.md`, "Log tree", has every
//! byte.
//!
//! What is read is verified against its name, and seqs and t's count on through a tree; whether records continue a
//! chain is [`super::Chain`]'s to say. Bodies that lie out of line stay where they are.

mod append;
mod branch;
mod chunk;
mod named;
mod read;
mod replace;

pub use append::append;
pub use named::each_segment;
pub use read::{Records, records, seq_of};
pub use replace::{Rewrite, replace};

use crate::Result;
use crate::index::segment::SegmentId;
use crate::model::T;

/// What an index record says of the log tree: it holds records 1 to `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRoot {
    pub id: SegmentId,
    /// Length of the encoded segment.
    pub bytes: u32,
    /// Branches above a chunk: 0 where the root is one.
    pub depth: u8,
    /// The last record in it.
    pub seq: u64,
    /// The newest transaction in it, 0 where there is none.
    pub t: T,
}

/// Where the segments of a log tree come from.
pub trait LogSource {
    /// The encoded bytes of a segment; the tree checks their hash. May block. One that is not there or cannot be reached
    /// is an error that names it.
    fn fetch(&self, id: &SegmentId) -> Result<Vec<u8>>;

    /// Segments that a reader will come to soon, nearest first: a hint.
    fn will_read(&self, _ids: &[SegmentId]) {}
}

/// Where writers end a chunk or a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSizes {
    /// A chunk ends with the record that reaches this, before compression.
    pub chunk_bytes: usize,
    pub branch_children: usize,
}

impl Default for LogSizes {
    fn default() -> Self {
        LogSizes { chunk_bytes: 512 << 10, branch_children: 1024 }
    }
}

/// A chunk or a branch, as the branch above it or the root speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Child {
    id: SegmentId,
    bytes: u32,
    /// The records below.
    first_seq: u64,
    seq: u64,
    /// The newest transaction up to the last of them.
    t: T,
}

impl LogRoot {
    fn child(&self) -> Child {
        Child { id: self.id, bytes: self.bytes, first_seq: 1, seq: self.seq, t: self.t }
    }
}

#[cfg(test)]
mod tests;
