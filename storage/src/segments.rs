//! Segments: large immutable blocks, named by what wrote them and by their hash.

use crate::{DatabaseId, Error, ErrorKind, Result, sha256};
use std::fmt;

/// A segment's name: lineage, database, term, job and the SHA-256 of its bytes. No two jobs ever write the
/// same name, so nothing deleted is ever needed again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    pub lineage: DatabaseId,
    pub database: DatabaseId,
    pub term: u64,
    /// The writing job, such as `body` or `index-12`: 1 to 32 of `a-z 0-9 -`.
    pub job: String,
    pub hash: [u8; 32],
}

/// The large, immutable half of a store.
pub trait Segments: Send + Sync {
    /// Stores the bytes under their key, durably; putting them again changes nothing. Refuses bytes whose
    /// SHA-256 is not the key's.
    fn put(&self, key: &SegmentKey, bytes: &[u8]) -> Result<()>;

    /// Stores many segments, durably: cheaper than one by one. After an error some may be stored.
    fn put_all(&self, segments: &[(SegmentKey, Vec<u8>)]) -> Result<()> {
        segments.iter().try_for_each(|(key, bytes)| self.put(key, bytes))
    }

    /// The bytes, their hash verified, or None.
    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>>;

    /// How many bytes a segment has, or None. What is there is not verified.
    fn length(&self, key: &SegmentKey) -> Result<Option<u64>> {
        Ok(self.get(key)?.map(|bytes| bytes.len() as u64))
    }

    /// Keys of one database in order, after `after`, at most `count_max`.
    fn list(&self, database: DatabaseId, after: Option<&SegmentKey>, count_max: usize) -> Result<Vec<SegmentKey>>;

    /// Deletes a segment; deleting what is not there changes nothing. Its space is given back by [`Segments::compact`].
    ///
    /// A crash may bring a deleted segment back. Since nobody ever needs its name again it is garbage then, which the
    /// next list shows and which may be deleted once more.
    fn delete(&self, key: &SegmentKey) -> Result<()>;

    /// Deletes many, in any order.
    fn delete_all(&self, keys: &[SegmentKey]) -> Result<()> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// Gives space of deleted segments and sealed records back, as much as is asked for. To be called again while there
    /// is `more`.
    fn compact(&self, _wanted: Compaction) -> Result<Compacted> {
        Ok(Compacted::default())
    }

    /// Takes out of all files of the store, those of its journal included, what is not needed any more: when a scrub has
    /// no `more`, no byte is left of what was replaced, sealed, deleted or dropped before its first call.
    ///
    /// A scrub is begun without a ticket; the answer has one, and the call is made again with it while there is `more`. Each
    /// call does a bounded piece, beside all that goes on. One that is begun while another is at work waits in that one's
    /// steps for its own turn. A ticket that is not known, such as one from before the process ended, begins anew.
    fn scrub(&self, wanted: Scrub) -> Result<Scrubbed>;

    /// What the store takes, its journal included.
    fn usage(&self) -> Result<Usage>;
}

/// How much shall be done to give space back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// So many bytes of segments and records are copied out of the way at most, or a little more; at least one is.
    pub copy_bytes_max: u64,
    /// Only files are looked at of which this percentage or less is needed still. 100: no byte of a deleted segment is
    /// left in any file of segments, when there is no `more`.
    pub live_percent_max: u8,
}

impl Default for Compaction {
    /// Half of a file and more: then copying never costs more than it gives back.
    fn default() -> Self {
        Compaction { copy_bytes_max: 64 << 20, live_percent_max: 50 }
    }
}

/// What was done to give space back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub copied_bytes: u64,
    pub freed_bytes: u64,
    /// There is more to be done of what was asked for.
    pub more: bool,
    /// Segments that cannot be read, so that the file where they are stays as it is.
    pub damaged: Vec<SegmentKey>,
}

/// A piece of a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// The scrub to go on with; None begins one.
    pub ticket: Option<ScrubTicket>,
    /// So many bytes of segments and records are copied at most, or a little more; at least one is.
    pub copy_bytes_max: u64,
}

/// Names a scrub while its store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScrubTicket(pub u64);

impl Default for Scrub {
    /// Begins one, in pieces as [`Compaction`] has them.
    fn default() -> Self {
        Scrub { ticket: None, copy_bytes_max: Compaction::default().copy_bytes_max }
    }
}

/// How far a scrub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// What to go on with.
    pub ticket: ScrubTicket,
    /// What was copied and given back by this piece.
    pub copied_bytes: u64,
    pub freed_bytes: u64,
    /// About how much is to be copied still; exact only when there is no `more`.
    pub left_bytes: u64,
    /// It is not done. A piece that fails may be asked for again.
    pub more: bool,
}

/// What a store takes, in bytes. A store in memory counts what its callers put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The files that are the journal's durable home.
    pub journal_bytes: u64,
    /// Of the segments' durable home, what is needed still.
    pub live_bytes: u64,
    /// And what is not: deleted segments that were not compacted yet.
    pub dead_bytes: u64,
    /// The copy that is read from, and directories.
    pub engine_bytes: u64,
    /// What may still be written to the disk; `u64::MAX` where that is not known.
    pub free_bytes: u64,
}

/// The longest job name, in bytes.
const JOB_BYTES_MAX: usize = 32;

/// Refuses a malformed key, bytes over the limit, and bytes that are not the key's.
pub(crate) fn check(key: &SegmentKey, bytes: &[u8], bytes_max: usize) -> Result<()> {
    check_key(key)?;
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    if bytes.len() > bytes_max {
        return invalid(format!("segment {key:?} of {} bytes is over the limit of {bytes_max}", bytes.len()));
    }
    if sha256(bytes) != key.hash {
        return invalid(format!("the bytes offered for segment {key:?} have another hash than its name"));
    }
    Ok(())
}

/// Refuses a malformed key.
pub(crate) fn check_key(key: &SegmentKey) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if key.job.is_empty() || key.job.len() > JOB_BYTES_MAX || !key.job.bytes().all(allowed) {
        let message = format!("segment {key:?} has a malformed job; use 1 to {JOB_BYTES_MAX} of a-z 0-9 -");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}/", self.lineage, self.database, self.term, self.job)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
