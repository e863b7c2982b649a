//! Putting other bytes in the place of some records.

use super::chunk::{Chunk, child_of};
use super::{Child, LogRoot, LogSource, branch};
use crate::error::{Error, Result};
use crate::index::segment::SegmentId;
use crate::log::Header;
use crate::model::T;

/// Gives the bytes that take a record's place; None where it stays.
pub type Rewrite<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>> + 'a;

/// The tree with other bytes for records that hold some transactions, `ts` in their order. `rewrite` is asked for each of
/// these records once, in order; header and length of the log stay. Only what holds such a record is put anew, to `sink`,
/// which tells its name.
pub fn replace(
    root: &LogRoot,
    ts: &[T],
    source: &dyn LogSource,
    rewrite: &mut Rewrite<'_>,
    sink: &mut dyn FnMut(&[u8]) -> Result<SegmentId>,
) -> Result<LogRoot> {
    let mut job = Job { source, rewrite, sink };
    let top = job.node(&root.child(), root.depth, ts)?;
    Ok(LogRoot { id: top.id, bytes: top.bytes, ..*root })
}

struct Job<'a, 'r> {
    source: &'a dyn LogSource,
    rewrite: &'a mut Rewrite<'r>,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<SegmentId>,
}

impl Job<'_, '_> {
    fn node(&mut self, node: &Child, depth: u8, ts: &[T]) -> Result<Child> {
        let bytes = self.source.fetch(&node.id)?;
        if depth == 0 {
            return self.chunk(node, &bytes, ts);
        }
        let mut children = branch::read(node, &bytes)?;
        let (mut rest, mut changed) = (ts, false);
        for child in &mut children {
            let (own, later) = rest.split_at(rest.partition_point(|t| *t <= child.t));
            rest = later;
            if !own.is_empty() {
                let new = self.node(child, depth - 1, own)?;
                changed |= new.id != child.id;
                *child = new;
            }
        }
        if !changed {
            return Ok(*node);
        }
        let bytes = branch::encode(&children)?;
        Ok(Child { id: (self.sink)(&bytes)?, bytes: bytes.len() as u32, ..*node })
    }

    fn chunk(&mut self, node: &Child, bytes: &[u8], ts: &[T]) -> Result<Child> {
        let chunk = Chunk::read(node, bytes)?;
        let (mut new, mut rest, mut changed) = (Chunk::default(), ts, false);
        let mut before = None;
        for seq in chunk.first_seq()..=chunk.seq() {
            let missing = || Error::fault(format!("record {seq} is in no place of its chunk"));
            let record = chunk.record(seq).ok_or_else(missing)?;
            let header = Header::decode(record)?;
            let held = rest.partition_point(|t| *t <= header.last_t());
            let rewritten = if held > 0 { (self.rewrite)(record)? } else { None };
            rest = &rest[held..];
            let place = before.unwrap_or((seq - 1, header.first_t - 1));
            match rewritten {
                Some(other) => {
                    if other.get(..Header::BYTES) != record.get(..Header::BYTES) {
                        return Err(Error::fault(format!("other bytes for record {seq} do not begin with its header")));
                    }
                    changed = true;
                    new.push(&other, place)?;
                }
                None => new.push(record, place)?,
            }
            before = Some((seq, header.last_t()));
        }
        if !changed {
            return Ok(*node);
        }
        let bytes = new.encode()?;
        Ok(child_of((self.sink)(&bytes)?, bytes.len(), node.first_seq, node.seq, node.t))
    }
}
