//! Which segments a log tree consists of.

use super::{Child, LogRoot, LogSource, branch};
use crate::error::Result;
use crate::index::segment::SegmentId;

/// Tells `visit` of every segment of a tree: its name, length, and whether it is a branch. What is below a branch is told
/// of if `visit` says so. Chunks are not read.
pub fn each_segment(
    root: &LogRoot,
    source: &dyn LogSource,
    visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>,
) -> Result<()> {
    node(&root.child(), root.depth, source, visit)
}

fn node(
    child: &Child,
    depth: u8,
    source: &dyn LogSource,
    visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>,
) -> Result<()> {
    if visit(&child.id, child.bytes, depth > 0)? && depth > 0 {
        for below in branch::read(child, &source.fetch(&child.id)?)? {
            node(&below, depth - 1, source, visit)?;
        }
    }
    Ok(())
}
