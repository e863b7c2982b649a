//! Trees that an `index` record names, read through the cache.

use crate::cache::SegmentCache;
use crate::key::{Reader, SegmentKey};
use crate::source::Fetch;
use db::index::Trees;
use db::index::segment::Meta;
use db::log::{DatabaseId, IndexBody};
use db::{Category, Error, Result};
use std::sync::Arc;

impl SegmentCache {
    /// The meta segment that an `index` record names, from storage. May block.
    pub fn meta(&self, lineage: DatabaseId, body: &IndexBody, fetch: &dyn Fetch) -> Result<Meta> {
        let key = SegmentKey { lineage, id: body.meta.id };
        let bytes = fetch.fetch(&key)?.ok_or_else(|| {
            let message = format!("segment {key}, the meta segment of the index at t {}, is missing", body.index_t);
            Error::new(Category::Unavailable, "db.error/segment-missing", message).with("segment", key.to_string())
        })?;
        Meta::read(&key.id, &bytes)
    }

    /// The trees of an `index` record whose meta segment this is. Reads nothing yet. Whoever goes on from the record says
    /// [`SegmentCache::erased_before`] of its floor.
    pub fn trees_of(
        self: &Arc<Self>,
        reader: Reader,
        body: &IndexBody,
        meta: &Meta,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<Trees>> {
        let source = self.source_on_floor(reader, Arc::new(meta.schema().entities()), body.floor, fetch)?;
        Ok(Arc::new(Trees::of(body, meta.stats.clone(), source)))
    }
}
