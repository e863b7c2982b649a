//! What an `index` record names: trees and meta segment, read through a cache, and all segments that they consist of.

use crate::errors::from_storage;
use crate::log::TreeLog;
use bytes::Bytes;
use cache::{Fetch, Reader, SegmentCache};
use db::Result;
use db::index::Trees;
use db::index::segment::{Meta, SegmentId};
use db::log::{IndexBody, tree};
use std::sync::Arc;
use storage::{DatabaseId, SegmentKey, Segments};

/// What an `index` record names, for the database that reads it: the meta segment, and the trees.
pub type Named<'a> = dyn Fn(Reader, &IndexBody) -> Result<(Meta, Arc<Trees>)> + Sync + 'a;

/// A store, as the cache asks it.
pub struct Stored(pub Arc<dyn Segments>);

impl Fetch for Stored {
    fn fetch(&self, key: &cache::SegmentKey) -> Result<Option<Bytes>> {
        let id = &key.id;
        let key = SegmentKey {
            lineage: DatabaseId(key.lineage.0),
            database: DatabaseId(id.database.0),
            term: id.term,
            job: key.job(),
            hash: id.hash,
        };
        Ok(self.0.get(&key).map_err(from_storage)?.map(Bytes::from))
    }
}

/// See [`Named`].
pub fn named(
    cache: &Arc<SegmentCache>,
    fetch: Arc<dyn Fetch>,
    reader: Reader,
    body: &IndexBody,
) -> Result<(Meta, Arc<Trees>)> {
    let meta = cache.meta(reader.lineage, body, &*fetch)?;
    let trees = cache.trees_of(reader, body, &meta, fetch)?;
    Ok((meta, trees))
}

/// Tells `visit` of every segment that an `index` record names: its name, length, and whether it is a branch. What is
/// below a branch is told of if `visit` says so. Leaves and chunks are not read.
pub fn each_segment(
    segments: &dyn Segments,
    trees: &Named<'_>,
    reader: Reader,
    body: &IndexBody,
    visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>,
) -> Result<()> {
    visit(&body.meta.id, body.meta.bytes, false)?;
    each_of_log(segments, reader, body, visit)?;
    trees(reader, body)?.1.each_segment(visit)
}

/// Those of the log tree alone.
pub fn each_of_log(
    segments: &dyn Segments,
    reader: Reader,
    body: &IndexBody,
    visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>,
) -> Result<()> {
    let source = TreeLog { segments, lineage: reader.lineage };
    body.log.as_ref().map_or(Ok(()), |root| tree::each_segment(root, &source, visit))
}
