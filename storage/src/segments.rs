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
