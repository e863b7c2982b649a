//! The journal: records in order behind a conditional head, and pods.
//!
//! All methods block until their promise holds; callers that must not block call them on threads of their
//! own. Calls from many threads at once are welcome: a backend serves everyone who waits with one fsync.

use crate::Result;
use std::fmt;

/// The 16 random bytes that are a database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

/// Where a database's log ends. Every append is conditional on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The reign under which the newest record was written.
    pub term: u64,
    /// The newest record's number; records are numbered 1, 2, 3 … without gaps.
    pub seq: u64,
    /// The newest transaction's t, 0 when there is none yet.
    pub t: u64,
    /// The newest record's hash.
    pub hash: [u8; 32],
    /// The seq of the newest `index` record, 0 when there is none.
    pub index_seq: u64,
}

/// The answer to an append that reached the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The record and the new head are durable.
    Done,
    /// The head was another one (None: the database has no log); nothing was written.
    Moved(Option<Head>),
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub seq: u64,
    pub bytes: Vec<u8>,
}

/// The answer to a read of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Records in order from the seq asked for, without gaps; empty when the head is before it.
    Found(Vec<StoredRecord>),
    /// The first record asked for is before this seq: those live in the log tree only.
    Sealed { before_seq: u64 },
}

/// A pod's version: 0 means that it does not exist; each put raises it.
pub type PodVersion = u64;

/// The answer to a conditional put of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodPut {
    /// Durable, with its new version.
    Done(PodVersion),
    /// The pod's version is another one; nothing was written.
    Conflict(PodVersion),
}

/// The answer to a replacement of a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The record has the new bytes, durably; or it had them already.
    Done,
    /// The record's bytes have neither the hash that was named nor that of the new ones; nothing was written.
    Other,
    /// Records before this seq are not in the journal any more: they live in the log tree only.
    Sealed { before_seq: u64 },
}

/// A queue of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A word or a few, joined by `_`.
    pub name: &'static str,
    /// What waits, in words.
    pub what: &'static str,
    pub now: u64,
    pub most: u64,
}

/// The ordered, conditional half of a store.
///
/// Nothing that is not durable yet is ever visible through any method.
pub trait Journal: Send + Sync {
    /// Writes `record` as seq `new_head.seq` and makes `new_head` the head, in one atomic durable step, if
    /// the head is `expected` (None: the database has no log yet; then `new_head.seq` must be 1).
    ///
    /// An `Unknown` error leaves the slot open: read it, or offer *the same bytes* again.
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended>;

    /// The same step made by a new writer: `new_head.term` must be higher than the expected head's.
    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended>;

    /// Records from `from_seq` on, in order, at least one if there is one, until about `bytes_max` are read. Records
    /// that were sealed are not given; asked for them it says from which seq on there are any.
    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records>;

    /// The head, or None when the database has no log.
    fn head(&self, db: DatabaseId) -> Result<Option<Head>>;

    /// Lets go of the records before `before_seq`, which the caller vouches are in a log tree that the newest `index`
    /// record names: `before_seq` is at most the head's `index_seq`, so that record itself stays. Durable when it returns;
    /// what was sealed stays sealed, and sealing less than that changes nothing. Their space is given back a little later.
    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()>;

    /// Puts `record` in the place of the bytes of one record, whose SHA-256 is `old`. Head, seq and order stay as they are,
    /// and so does the hash that the head names. Durable when it returns; a crash before that leaves the old bytes or the
    /// new ones, whole. What record may take another's place is the caller's to know. The old bytes may stay in files
    /// of the store until [`Segments::scrub`](crate::Segments::scrub).
    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced>;

    /// A pod's version and bytes, consistently: what a put that returned before has put, or something newer.
    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>>;

    /// Puts a pod if its version is still `expected` (0: it must not exist).
    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut>;

    /// Deletes a pod if its version is still `version`.
    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut>;

    /// Names of the pods that begin with `prefix`, in order.
    fn list_pods(&self, prefix: &str) -> Result<Vec<String>>;

    /// Forgets a deleted database's records and head.
    fn drop_database(&self, db: DatabaseId) -> Result<()>;

    /// What waits inside the store, for whoever shows it.
    fn queues(&self) -> Vec<Waiting> {
        Vec::new()
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
