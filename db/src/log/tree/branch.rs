//! Branches.
//!
//! ```text
//! branch = first seq: varint | columns of how many records each child has, of the newest t up to its end
//!        | names and lengths of the children, as in a branch of an index tree
//! ```
//! The header's count is that of children; there is no sort.

use super::Child;
use crate::error::Result;
use crate::index::segment::bytes::{Read, Reader, put_varint};
use crate::index::segment::envelope::{self, Kind, damaged};
use crate::index::segment::{ids, numbers, read_named};
use crate::log::header::T_END;

/// The most children that a branch may tell of.
const CHILDREN_MAX: usize = 1 << 20;

pub(super) fn encode(children: &[Child]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    put_varint(&mut plain, children.first().map_or(0, |child| child.first_seq));
    let counts = children.iter().map(|child| (child.seq - child.first_seq + 1) as i64);
    numbers::put(&mut plain, &counts.collect::<Vec<_>>());
    numbers::put(&mut plain, &children.iter().map(|child| child.t as i64).collect::<Vec<_>>());
    ids::put(&mut plain, &children.iter().map(|child| (child.id, child.bytes)).collect::<Vec<_>>());
    envelope::seal(Kind::LogBranch, None, children.len(), &plain)
}

/// Reads the branch that is spoken of, its hash checked.
pub(super) fn read(child: &Child, bytes: &[u8]) -> Result<Vec<Child>> {
    read_named(&child.id, bytes, |bytes| {
        let children = decode(bytes)?;
        // There is one, or it would not have been read.
        let (first, last) = (children[0], children[children.len() - 1]);
        if (first.first_seq, last.seq, last.t) != (child.first_seq, child.seq, child.t) {
            return Err(damaged(format!(
                "it holds records {} to {} (t {}), where {} to {} (t {}) should stand",
                first.first_seq, last.seq, last.t, child.first_seq, child.seq, child.t
            )));
        }
        Ok(children)
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Child>> {
    let envelope::Opened { kind, count, plain, .. } = envelope::open(bytes)?;
    if kind != Kind::LogBranch {
        return Err(damaged("it is no branch of a log"));
    }
    if count == 0 || count > CHILDREN_MAX {
        return Err(damaged(format!("it tells of {count} children")));
    }
    children(&mut Reader::new(&plain), count).map_err(damaged)
}

fn children(reader: &mut Reader<'_>, count: usize) -> Read<Vec<Child>> {
    let mut first_seq = reader.varint()?;
    let counts = numbers::read(reader, count)?;
    let ts = numbers::read(reader, count)?;
    let ids = ids::read(reader, count)?;
    reader.end()?;
    let mut children: Vec<Child> = Vec::with_capacity(count);
    for (((id, bytes), count), t) in ids.into_iter().zip(counts).zip(ts) {
        let count = u64::try_from(count).ok().filter(|count| *count > 0).ok_or("a child has no record")?;
        let next = first_seq.checked_add(count).filter(|_| first_seq > 0).ok_or("records are numbered from 1")?;
        let t = u64::try_from(t).ok().filter(|t| *t < T_END).ok_or("a t has 42 bits")?;
        if children.last().is_some_and(|before| before.t > t) {
            return Err("its children's t's do not ascend".into());
        }
        children.push(Child { id, bytes, first_seq, seq: next - 1, t });
        first_seq = next;
    }
    Ok(children)
}
