//! The log as a tree.

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
