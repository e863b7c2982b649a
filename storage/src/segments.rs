//! Segments: large immutable blocks, named by what wrote them and by their hash.

use crate::{DatabaseId, Result};
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

    /// The bytes, their hash verified, or None.
    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>>;

    /// Keys of one database in order, after `after`, at most `count_max`.
    fn list(&self, database: DatabaseId, after: Option<&SegmentKey>, count_max: usize) -> Result<Vec<SegmentKey>>;

    /// Deletes a segment; deleting what is not there changes nothing.
    fn delete(&self, key: &SegmentKey) -> Result<()>;
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}/", self.lineage, self.database, self.term, self.job)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
