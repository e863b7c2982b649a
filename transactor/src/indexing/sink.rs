//! Where a job's segments go: to the store, some at a time, and into the cache, from where the next job and the writer
//! read them.

use crate::errors::from_storage;
use cache::{Reader, SegmentCache};
use db::Result;
use db::index::Sink;
use db::index::segment::{Attributes, Segment, SegmentId, hash};
use db::log::Hash;
use std::sync::Arc;
use storage::{SegmentKey, Segments};

/// Puts segments in batches, each durable by one sync. [`SegmentSink::finish`] puts the last.
pub struct SegmentSink {
    segments: Arc<dyn Segments>,
    attributes: Attributes,
    cache: Arc<SegmentCache>,
    reader: Reader,
    term: u64,
    job: u64,
    batch: Vec<(SegmentKey, Vec<u8>)>,
    batch_bytes: usize,
    pub written: Written,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub segments: u64,
    pub bytes: u64,
}

/// A batch is put when it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;

impl SegmentSink {
    pub fn new(
        segments: Arc<dyn Segments>,
        attributes: Attributes,
        cache: Arc<SegmentCache>,
        reader: Reader,
        (term, job): (u64, u64),
    ) -> Self {
        let (batch, batch_bytes, written) = (Vec::new(), 0, Written::default());
        SegmentSink { segments, attributes, cache, reader, term, job, batch, batch_bytes, written }
    }

    /// Takes encoded bytes.
    pub fn put_bytes(&mut self, bytes: Vec<u8>) -> Result<SegmentId> {
        let hash: Hash = hash(&bytes);
        let key = SegmentKey {
            lineage: storage::DatabaseId(self.reader.lineage.0),
            database: storage::DatabaseId(self.reader.database.0),
            term: self.term,
            job: format!("index-{}", self.job),
            hash,
        };
        self.written.segments += 1;
        self.written.bytes += bytes.len() as u64;
        self.batch_bytes += bytes.len();
        self.batch.push((key, bytes));
        if self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(SegmentId { database: self.reader.database, term: self.term, job: self.job, hash })
    }

    /// Returns when everything is durable.
    pub fn finish(mut self) -> Result<Written> {
        self.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<()> {
        self.segments.put_all(&self.batch).map_err(from_storage)?;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }
}

impl Sink for SegmentSink {
    fn put(&mut self, segment: Segment) -> Result<(SegmentId, u32)> {
        let bytes = segment.encode(&self.attributes)?;
        let length = bytes.len() as u32;
        let id = self.put_bytes(bytes)?;
        self.cache.keep(self.reader, id.hash, segment);
        Ok((id, length))
    }
}
