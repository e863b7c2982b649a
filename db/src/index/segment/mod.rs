//! Segments of the persisted index trees: what a node holds, and its name.

mod attributes;
mod sizes;

pub use attributes::Attributes;
pub use sizes::Sizes;

use super::{Life, Sort};
use crate::Result;
use crate::log::{DatabaseId, Hash};
use crate::model::{Datom, T};
use std::fmt;
use std::sync::Arc;

/// A segment's name within its lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The database whose transactor wrote it: a fork's trees name segments of the database it came from.
    pub database: DatabaseId,
    pub term: u64,
    /// The seq of the record up to which the writing job indexed.
    pub job: u64,
    /// Of the encoded bytes.
    pub hash: Hash,
}

/// A node of an index tree, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub sort: Sort,
    pub rows: Rows,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Of a tree of open lives; the datoms have the t that began them, and are added.
    Open(Node<Datom>),
    /// Of a tree of closed lives.
    Closed(Node<Life>),
}

/// Never empty; rows and first rows ascend in the order of the sort, of open or closed lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<R> {
    Leaf(Vec<R>),
    /// All children of a branch have the same depth.
    Branch(Vec<Child<R>>),
}

/// What a branch, or an index record, says of a node below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Child<R> {
    /// The first row of the leftmost leaf below.
    pub first: R,
    pub id: SegmentId,
    /// Length of the encoded segment.
    pub bytes: u32,
    /// Rows in all leaves below.
    pub count: u64,
    /// The least and the greatest t that began a life below.
    pub from_min: T,
    pub from_max: T,
    /// The greatest t that ended a life below; 0 in trees of open lives.
    pub to_max: T,
}

/// Where segments come from: a cache over storage, or memory.
pub trait Source: Send + Sync {
    /// The segment, its hash verified. May block. One that is not there, cannot be reached or is damaged is an error
    /// that names it.
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>>;

    /// Segments that a scan will come to soon, nearest first: a hint.
    fn will_read(&self, _ids: &[SegmentId]) {}
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/index-{}/", self.database, self.term, self.job)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A row of a tree: an open life or a closed one.
pub trait Row: Clone {
    fn datom(&self) -> &Datom;
    fn to(&self) -> T;
}

impl Row for Datom {
    fn datom(&self) -> &Datom {
        self
    }
    fn to(&self) -> T {
        0
    }
}

impl Row for Life {
    fn datom(&self) -> &Datom {
        &self.datom
    }
    fn to(&self) -> T {
        self.to
    }
}
