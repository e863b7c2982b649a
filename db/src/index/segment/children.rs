//! Children of a branch by column.
//!
//! ```text
//! children = first rows, as the rows of a leaf | names and lengths (see `ids`)
//!          | columns of each child's count, of least from, of greatest from - least from
//!          | in closed lives, a column of greatest to
//! ```

use super::bytes::{Read, Reader};
use super::rows::{self, Row};
use super::{Attributes, Child, Sort, ids, numbers};
use crate::Error;
use crate::error::Result;

pub(super) fn put<R: Row>(
    bytes: &mut Vec<u8>,
    sort: Sort,
    children: &[Child<R>],
    attributes: &Attributes,
) -> Result<()> {
    if let Some(fault) = children.iter().find_map(fault) {
        return Err(Error::fault(format!("a child of a segment cannot be written: {fault}")));
    }
    rows::put(bytes, sort, &children.iter().map(|child| &child.first).collect::<Vec<_>>(), attributes)?;
    ids::put(bytes, &children.iter().map(|child| (child.id, child.bytes)).collect::<Vec<_>>());
    let mut column = |field: fn(&Child<R>) -> u64| {
        numbers::put(bytes, &children.iter().map(|child| field(child) as i64).collect::<Vec<_>>());
    };
    column(|child| child.count);
    column(|child| child.from_min);
    column(|child| child.from_max - child.from_min);
    if R::CLOSED {
        column(|child| child.to_max);
    }
    Ok(())
}

pub(super) fn read<R: Row>(
    reader: &mut Reader<'_>,
    sort: Sort,
    count: usize,
    attributes: &Attributes,
) -> Read<Vec<Child<R>>> {
    let firsts = rows::read(reader, sort, count, attributes)?;
    let ids = ids::read(reader, count)?;
    let counts = numbers::read(reader, count)?;
    let from = numbers::read(reader, count)?;
    let spans = numbers::read(reader, count)?;
    let to = if R::CLOSED { numbers::read(reader, count)? } else { Vec::new() };
    let mut children = Vec::with_capacity(count);
    for (at, first) in firsts.into_iter().enumerate() {
        let (id, bytes) = ids[at];
        let child = Child {
            first,
            id,
            bytes,
            count: counts[at] as u64,
            from_min: from[at] as u64,
            from_max: (from[at] as u64).checked_add(spans[at] as u64).ok_or("a t has 42 bits")?,
            to_max: to.get(at).map_or(0, |to| *to as u64),
        };
        if let Some(fault) = fault(&child) {
            return Err(fault.into());
        }
        children.push(child);
    }
    Ok(children)
}

/// What no child can say of itself.
fn fault<R: Row>(child: &Child<R>) -> Option<&'static str> {
    let from = child.first.datom().t();
    if child.bytes == 0 || child.count == 0 {
        return Some("a child is empty");
    }
    if child.from_min > from || child.from_max < from || child.from_max < child.from_min {
        return Some("a child's first row began outside of what it says");
    }
    if child.to_max < child.first.to() || !R::CLOSED && child.to_max != 0 {
        return Some("a child's first row ended after what it says");
    }
    None
}
