//! Segments in memory: for a database that lives in one process, and for tests.

use super::{Attributes, Segment, SegmentId, Sizes, Source, hash};
use crate::index::{Sink, Trees};
use crate::log::DatabaseId;
use crate::{Category, Db, Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Encoded segments by their names; each is decoded anew when it is fetched.
#[derive(Default)]
pub struct MemorySegments {
    /// Held for a lookup or an insertion.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    segments: BTreeMap<SegmentId, Arc<[u8]>>,
    attributes: Arc<Attributes>,
}

impl MemorySegments {
    /// Indexes a value: the same database, all of it in trees.
    pub fn index(self: &Arc<Self>, db: &Db, sizes: Sizes) -> Result<Db> {
        db.onto(self.trees_of(db, sizes)?)
    }

    /// Trees that hold all of a value.
    pub fn trees_of(self: &Arc<Self>, db: &Db, sizes: Sizes) -> Result<Arc<Trees>> {
        self.kept().attributes = Arc::new(db.schema().entities());
        let merged = db.merge(sizes, &mut &**self, &mut || Ok(()))?;
        Ok(Arc::new(db.trees_of(merged, self.clone())))
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.kept();
        (kept.segments.len(), kept.segments.values().map(|bytes| bytes.len()).sum())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for MemorySegments {
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
        let (bytes, attributes) = {
            let kept = self.kept();
            (kept.segments.get(id).cloned(), kept.attributes.clone())
        };
        let bytes = bytes.ok_or_else(|| {
            let message = format!("segment {id} is not there");
            Error::new(Category::Unavailable, "db.error/segment-missing", message).with("segment", id.to_string())
        })?;
        Ok(Arc::new(Segment::read(id, &bytes, &attributes)?))
    }
}

impl Sink for &MemorySegments {
    fn put(&mut self, segment: Segment) -> Result<(SegmentId, u32)> {
        let mut kept = self.kept();
        let bytes = segment.encode(&kept.attributes)?;
        let id = SegmentId { database: DatabaseId([0; 16]), term: 1, job: 1, hash: hash(&bytes) };
        let length = bytes.len() as u32;
        kept.segments.insert(id, bytes.into());
        Ok((id, length))
    }
}
