//! Children of a branch by column.
//!
//! ```text
//! children = first rows, as the rows of a leaf | count of databases: varint, their ids of 16 bytes each
//!          | columns of each child's database, term, job, bytes, count, least from, greatest from - least from
//!          | in closed lives, a column of greatest to | hashes of 32 bytes each
//! ```
//! Databases stand in the order in which they first appear.

use super::bytes::{Read, Reader, put_varint};
use super::rows::{self, Row};
use super::{Attributes, Child, SegmentId, Sort, numbers};
use crate::Error;
use crate::error::Result;
use crate::log::DatabaseId;

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
    let mut databases: Vec<DatabaseId> = Vec::new();
    let mut places = Vec::with_capacity(children.len());
    for child in children {
        let place = databases.iter().position(|database| *database == child.id.database).unwrap_or(databases.len());
        if place == databases.len() {
            databases.push(child.id.database);
        }
        places.push(place as i64);
    }
    put_varint(bytes, databases.len() as u64);
    databases.iter().for_each(|database| bytes.extend_from_slice(&database.0));
    numbers::put(bytes, &places);
    let mut column = |field: fn(&Child<R>) -> u64| {
        numbers::put(bytes, &children.iter().map(|child| field(child) as i64).collect::<Vec<_>>());
    };
    column(|child| child.id.term);
    column(|child| child.id.job);
    column(|child| u64::from(child.bytes));
    column(|child| child.count);
    column(|child| child.from_min);
    column(|child| child.from_max - child.from_min);
    if R::CLOSED {
        column(|child| child.to_max);
    }
    children.iter().for_each(|child| bytes.extend_from_slice(&child.id.hash));
    Ok(())
}

pub(super) fn read<R: Row>(
    reader: &mut Reader<'_>,
    sort: Sort,
    count: usize,
    attributes: &Attributes,
) -> Read<Vec<Child<R>>> {
    let firsts = rows::read(reader, sort, count, attributes)?;
    let of_databases = reader.count(count.min(reader.len() / 16))?;
    let mut databases = Vec::with_capacity(of_databases);
    for _ in 0..of_databases {
        databases.push(DatabaseId(reader.array()?));
    }
    let places = numbers::read(reader, count)?;
    let terms = numbers::read(reader, count)?;
    let jobs = numbers::read(reader, count)?;
    let lengths = numbers::read(reader, count)?;
    let counts = numbers::read(reader, count)?;
    let from = numbers::read(reader, count)?;
    let spans = numbers::read(reader, count)?;
    let to = if R::CLOSED { numbers::read(reader, count)? } else { Vec::new() };
    let mut children = Vec::with_capacity(count);
    for (at, first) in firsts.into_iter().enumerate() {
        let hash = reader.array()?;
        let id = SegmentId {
            database: numbers::at(&databases, places[at])?,
            term: terms[at] as u64,
            job: jobs[at] as u64,
            hash,
        };
        let child = Child {
            first,
            id,
            bytes: u32::try_from(lengths[at]).map_err(|_| "a child's length has 32 bits")?,
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
