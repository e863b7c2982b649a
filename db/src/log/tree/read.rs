//! Reading records by seq, and finding them by t.

use super::chunk::Chunk;
use super::{Child, LogRoot, LogSource, branch};
use crate::error::{Error, Result};
use crate::model::T;

/// So many of the next chunks a reader tells its source of.
const AHEAD: usize = 8;

/// The records of a tree from a seq on, in their order, to its end. After an error there are no more.
pub fn records<'a>(root: &LogRoot, source: &'a dyn LogSource, from: u64) -> Records<'a> {
    Records { source, root: *root, branches: Vec::new(), chunk: Chunk::default(), next: from.max(1) }
}

/// See [`records`]: each item is the bytes of a record, as in the log.
pub struct Records<'a> {
    source: &'a dyn LogSource,
    root: LogRoot,
    /// From the root down, each on the way to the chunk.
    branches: Vec<Vec<Child>>,
    chunk: Chunk,
    next: u64,
}

impl Records<'_> {
    fn read(&mut self) -> Result<Vec<u8>> {
        if self.chunk.record(self.next).is_none() {
            self.find_chunk()?;
        }
        let missing = || Error::fault(format!("record {} is in no chunk of its log tree", self.next));
        let record = self.chunk.record(self.next).ok_or_else(missing)?.to_vec();
        self.next += 1;
        Ok(record)
    }

    /// Goes up as far as it must, and down again.
    fn find_chunk(&mut self) -> Result<()> {
        let depth = usize::from(self.root.depth);
        while self.branches.last().is_some_and(|children| child_with(children, self.next).is_none()) {
            self.branches.pop();
        }
        let mut node = self.branches.last().map_or(self.root.child(), |children| self.below(children));
        while self.branches.len() < depth {
            let children = branch::read(&node, &self.source.fetch(&node.id)?)?;
            node = self.below(&children);
            self.branches.push(children);
        }
        if let Some(chunks) = self.branches.last() {
            let after = chunks.partition_point(|child| child.seq <= node.seq);
            let ahead: Vec<_> = chunks[after..].iter().take(AHEAD).map(|child| child.id).collect();
            if !ahead.is_empty() {
                self.source.will_read(&ahead);
            }
        }
        self.chunk = Chunk::read(&node, &self.source.fetch(&node.id)?)?;
        Ok(())
    }

    /// The child with the next record. Branches hold what those above them say, so there is one.
    fn below(&self, children: &[Child]) -> Child {
        child_with(children, self.next).unwrap_or(children[children.len() - 1])
    }
}

fn child_with(children: &[Child], seq: u64) -> Option<Child> {
    children.get(children.partition_point(|child| child.seq < seq)).copied().filter(|child| child.first_seq <= seq)
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.root.seq {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.next = u64::MAX;
        }
        Some(record)
    }
}

/// The seq of the record that holds a transaction; of t 0, that of the first record. None beyond the tree.
pub fn seq_of(root: &LogRoot, source: &dyn LogSource, t: T) -> Result<Option<u64>> {
    if t > root.t {
        return Ok(None);
    }
    let mut node = root.child();
    for _ in 0..root.depth {
        let children = branch::read(&node, &source.fetch(&node.id)?)?;
        // The last child's t is the node's own.
        node = children[children.partition_point(|child| child.t < t).min(children.len() - 1)];
    }
    Chunk::read(&node, &source.fetch(&node.id)?).map(|chunk| Some(chunk.seq_of(t)))
}
