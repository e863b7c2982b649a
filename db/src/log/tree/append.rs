//! Adding records at the right edge.

use super::chunk::{Chunk, child_of};
use super::{Child, LogRoot, LogSizes, LogSource, branch};
use crate::error::{Error, Result};
use crate::index::segment::SegmentId;

/// The tree with the records that follow it, those after `root.seq` in their order; None where there are none at all.
///
/// `sink` puts a segment's bytes and tells their name. What it is given is the chunks that are new or were not full,
/// and the branches above; everything else of the old tree stays as it is and goes on being named.
pub fn append<B: AsRef<[u8]>>(
    root: Option<&LogRoot>,
    records: impl IntoIterator<Item = Result<B>>,
    source: &dyn LogSource,
    sink: &mut dyn FnMut(&[u8]) -> Result<SegmentId>,
    sizes: LogSizes,
) -> Result<Option<LogRoot>> {
    let mut records = records.into_iter().peekable();
    if records.peek().is_none() {
        return Ok(root.copied());
    }
    let edge = root.map(|root| Edge::read(root, source)).transpose()?;
    let mut at = root.map_or((0, 0), |root| (root.seq, root.t));
    let mut nodes = Vec::new();
    let mut chunk = Chunk::default();
    if let Some(edge) = &edge {
        let last = Chunk::read(&edge.chunk, &source.fetch(&edge.chunk.id)?)?;
        if last.len() < sizes.chunk_bytes {
            chunk = last;
        } else {
            nodes.push(edge.chunk);
        }
    }
    for record in records {
        chunk.push(record?.as_ref(), at)?;
        at = (chunk.seq(), chunk.t());
        if chunk.len() >= sizes.chunk_bytes {
            nodes.push(put_chunk(&std::mem::take(&mut chunk), sink)?);
        }
    }
    if !chunk.is_empty() {
        nodes.push(put_chunk(&chunk, sink)?);
    }
    let mut depth = 0u8;
    let mut levels = edge.map(|edge| edge.branches).unwrap_or_default();
    // `nodes` takes the place of the last child of the branch above it, until one node is all there is.
    while !levels.is_empty() || nodes.len() > 1 {
        let level = levels.pop();
        nodes = put_branches(level, nodes, sink, sizes.branch_children.max(2))?;
        depth = depth.checked_add(1).ok_or_else(|| Error::fault("a log tree has 256 levels"))?;
    }
    let top = nodes.pop().ok_or_else(|| Error::fault("a log tree of records has a root"))?;
    Ok(Some(LogRoot { id: top.id, bytes: top.bytes, depth, seq: top.seq, t: top.t }))
}

/// The branches on the way to the last chunk.
struct Edge {
    /// From the root down.
    branches: Vec<Level>,
    chunk: Child,
}

struct Level {
    node: Child,
    children: Vec<Child>,
}

impl Edge {
    fn read(root: &LogRoot, source: &dyn LogSource) -> Result<Edge> {
        let mut node = root.child();
        let mut branches = Vec::new();
        for _ in 0..root.depth {
            let children = branch::read(&node, &source.fetch(&node.id)?)?;
            let last = children[children.len() - 1];
            branches.push(Level { node, children });
            node = last;
        }
        Ok(Edge { branches, chunk: node })
    }
}

fn put_chunk(chunk: &Chunk, sink: &mut dyn FnMut(&[u8]) -> Result<SegmentId>) -> Result<Child> {
    let bytes = chunk.encode()?;
    Ok(child_of(sink(&bytes)?, bytes.len(), chunk.first_seq(), chunk.seq(), chunk.t()))
}

/// Branches over a level's children and those that take the place of its last one.
fn put_branches(
    level: Option<Level>,
    nodes: Vec<Child>,
    sink: &mut dyn FnMut(&[u8]) -> Result<SegmentId>,
    branch_children: usize,
) -> Result<Vec<Child>> {
    let (old, mut children) = match &level {
        Some(level) => (Some(level), level.children[..level.children.len() - 1].to_vec()),
        None => (None, Vec::new()),
    };
    children.extend(nodes);
    let put = |group: &[Child]| {
        // A full branch stays what it is when all that is new stands after it.
        if let Some(old) = old.filter(|old| old.children == group) {
            return Ok(old.node);
        }
        let bytes = branch::encode(group)?;
        let (first, last) = (group[0], group[group.len() - 1]);
        Ok(child_of(sink(&bytes)?, bytes.len(), first.first_seq, last.seq, last.t))
    };
    children.chunks(branch_children).map(put).collect()
}
