//! Segments of the persisted index trees: what a node holds, its name, and its bytes.
//!
//! `docs/data-format.md`, "Segments", has every byte. Bytes are read as those of somebody who wishes us ill: lengths
//! are checked before there is room for them, a leaf out of order is damage, and what this version does not know is
//! refused by name. That the bytes are those that a name stands for is for the one to check who fetched them ([`hash`],
//! or [`Segment::read`] for both).

mod attributes;
pub(crate) mod bytes;
mod children;
pub(crate) mod envelope;
pub(crate) mod ids;
mod memory;
mod meta;
pub(crate) mod numbers;
mod rows;
mod sizes;
mod values;

pub use attributes::Attributes;
pub use envelope::PLAIN_BYTES_MAX;
pub use memory::MemorySegments;
pub use meta::{Meta, MetaAttribute};
pub use rows::Row;
pub use sizes::Sizes;

use super::{Life, Sort};
use crate::log::{DatabaseId, Hash};
use crate::model::{Datom, T, Value};
use crate::{Error, Result};
use bytes::{Read, Reader};
use envelope::{Kind, damaged};
use rustc_hash::FxHashSet;
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
pub trait Source: std::any::Any + Send + Sync {
    /// The segment, its hash verified. May block. One that is not there, cannot be reached or is damaged is an error
    /// that names it.
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>>;

    /// Segments that a scan will come to soon, nearest first: a hint.
    fn will_read(&self, _ids: &[SegmentId]) {}
}

/// What names a segment's bytes: their SHA-256.
pub fn hash(bytes: &[u8]) -> Hash {
    crate::log::sha256(bytes)
}

/// A segment's content before compression, for those who measure it.
pub fn plain(bytes: &[u8]) -> Result<Vec<u8>> {
    envelope::open(bytes).map(|opened| opened.plain)
}

/// Reads bytes that have the hash of their name; errors tell the name.
pub(crate) fn read_named<X>(id: &SegmentId, bytes: &[u8], read: impl Fn(&[u8]) -> Result<X>) -> Result<X> {
    let read = match hash(bytes) == id.hash {
        true => read(bytes),
        false => Err(damaged("its bytes have another hash than its name")),
    };
    read.map_err(|error| error.within(id).with("segment", id.to_string()))
}

impl Segment {
    /// The bytes of this segment. Rows that no segment holds are a fault: none, out of order, of unknown attributes.
    pub fn encode(&self, attributes: &Attributes) -> Result<Vec<u8>> {
        let (kind, count) = match &self.rows {
            Rows::Open(Node::Leaf(rows)) => (Kind::OpenLeaf, rows.len()),
            Rows::Open(Node::Branch(children)) => (Kind::OpenBranch, children.len()),
            Rows::Closed(Node::Leaf(rows)) => (Kind::ClosedLeaf, rows.len()),
            Rows::Closed(Node::Branch(children)) => (Kind::ClosedBranch, children.len()),
        };
        if count == 0 || count > rows::COUNT_MAX {
            return Err(Error::fault(format!("a segment cannot have {count} rows")));
        }
        let mut plain = Vec::new();
        match &self.rows {
            Rows::Open(node) => put_node(&mut plain, self.sort, node, attributes)?,
            Rows::Closed(node) => put_node(&mut plain, self.sort, node, attributes)?,
        }
        envelope::seal(kind, Some(self.sort), count, &plain)
    }

    /// Reads a segment whose attributes are all among these.
    pub fn decode(bytes: &[u8], attributes: &Attributes) -> Result<Segment> {
        let envelope::Opened { kind, sort, count, plain } = envelope::open(bytes)?;
        let sort = sort.ok_or_else(|| damaged("it has no sort, and is no node of an index tree"))?;
        if count == 0 || count > rows::COUNT_MAX {
            return Err(damaged(format!("it tells of {count} rows")));
        }
        let reader = &mut Reader::new(&plain);
        let leaf = matches!(kind, Kind::OpenLeaf | Kind::ClosedLeaf);
        let rows = match kind {
            Kind::OpenLeaf | Kind::OpenBranch => read_node(reader, sort, leaf, count, attributes).map(Rows::Open),
            Kind::ClosedLeaf | Kind::ClosedBranch => read_node(reader, sort, leaf, count, attributes).map(Rows::Closed),
            Kind::Meta | Kind::LogChunk | Kind::LogBranch => Err("it is no node of an index tree".into()),
        };
        Ok(Segment { sort, rows: rows.and_then(|rows| reader.end().map(|()| rows)).map_err(damaged)? })
    }

    /// Reads the segment that the name stands for: bytes of another hash are damage. Errors name it.
    pub fn read(id: &SegmentId, bytes: &[u8], attributes: &Attributes) -> Result<Segment> {
        read_named(id, bytes, |bytes| Segment::decode(bytes, attributes))
    }

    /// Bytes that it takes in memory; a value that many rows share counts once.
    pub fn heap_bytes(&self) -> usize {
        match &self.rows {
            Rows::Open(node) => node.heap_bytes(),
            Rows::Closed(node) => node.heap_bytes(),
        }
    }
}

impl<R: Row> Node<R> {
    fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(rows) => rows.capacity() * size_of::<R>() + values_bytes(rows.iter()),
            Node::Branch(children) => {
                children.capacity() * size_of::<Child<R>>() + values_bytes(children.iter().map(|child| &child.first))
            }
        }
    }
}

/// What the values of rows take beside the rows.
fn values_bytes<'a, R: Row + 'a>(rows: impl Iterator<Item = &'a R>) -> usize {
    let mut seen: FxHashSet<usize> = FxHashSet::default();
    let value_bytes = |row: &'a R| {
        let v = &row.datom().v;
        let place = match v {
            Value::String(x) | Value::Uri(x) => x.as_ptr().addr(),
            Value::Keyword(x) => x.as_str().as_ptr().addr(),
            Value::Symbol(x) => x.as_str().as_ptr().addr(),
            Value::BigInt(x) => Arc::as_ptr(x).addr(),
            Value::BigDec(x) => Arc::as_ptr(x).addr(),
            Value::Uuid(x) => Arc::as_ptr(x).addr(),
            Value::Bytes(x) => Arc::as_ptr(x).addr(),
            Value::Tuple(x) => Arc::as_ptr(x).addr(),
            _ => return 0,
        };
        if seen.insert(place) { v.heap_bytes() } else { 0 }
    };
    rows.map(value_bytes).sum()
}

fn put_node<R: Row>(plain: &mut Vec<u8>, sort: Sort, node: &Node<R>, attributes: &Attributes) -> Result<()> {
    match node {
        Node::Leaf(rows) => rows::put(plain, sort, &rows.iter().collect::<Vec<_>>(), attributes),
        Node::Branch(children) => children::put(plain, sort, children, attributes),
    }
}

fn read_node<R: Row>(
    reader: &mut Reader<'_>,
    sort: Sort,
    leaf: bool,
    count: usize,
    attributes: &Attributes,
) -> Read<Node<R>> {
    match leaf {
        true => rows::read(reader, sort, count, attributes).map(Node::Leaf),
        false => children::read(reader, sort, count, attributes).map(Node::Branch),
    }
}

/// `segment DATABASE/TERM/index-JOB/HASH`.
impl<R> Child<R> {
    /// What an index record says of a tree that begins with this node.
    pub(crate) fn as_root(&self, depth: u8) -> crate::log::Root {
        let Child { id, bytes, count, from_min, from_max, to_max, .. } = *self;
        crate::log::Root { id, bytes, count, depth, from_min, from_max, to_max }
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}/{}/index-{}/", self.database, self.term, self.job)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests;
