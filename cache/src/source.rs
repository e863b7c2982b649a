//! The cache as one database's trees see it, and what one query reads through it.

use crate::cache::{Read, SegmentCache};
use crate::key::{Reader, SegmentKey};
use bytes::Bytes;
use db::budget::Interrupt;
use db::index::segment::{Segment, SegmentId, Source};
use db::log::DatabaseId;
use db::{Db, Result};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where segments come from in the end: storage, here or over the wire.
pub trait Fetch: Send + Sync {
    /// The segment's bytes, None if it is not there. May block, and gives up by itself.
    fn fetch(&self, key: &SegmentKey) -> Result<Option<Bytes>>;
}

/// Makes a segment of its bytes, whose hash has been checked.
pub(crate) type Decode = Arc<dyn Fn(&[u8]) -> Result<Segment> + Send + Sync>;

/// How the segments of one database are had.
pub(crate) struct Binding {
    pub reader: Reader,
    /// The newest `erase` record up to the trees that are read, 0 for none.
    pub floor: u64,
    pub decode: Decode,
    pub fetch: Arc<dyn Fetch>,
}

/// Segments of one database, through the cache.
#[derive(Clone)]
pub struct CachedSource {
    pub(crate) cache: Arc<SegmentCache>,
    pub(crate) binding: Arc<Binding>,
}

impl CachedSource {
    /// The same for one query: what it reads is counted, and it stops before it brings a segment, and while it waits for
    /// one, when the interrupt says so.
    pub fn counted(&self, interrupt: Option<Arc<dyn Interrupt + Send + Sync>>) -> (Arc<CountedSource>, Arc<IoStats>) {
        let stats = Arc::<IoStats>::default();
        (Arc::new(CountedSource { source: self.clone(), stats: stats.clone(), interrupt }), stats)
    }

    pub fn lineage(&self) -> DatabaseId {
        self.binding.reader.lineage
    }
}

/// A database value for one question, whose reads of segments are counted; no counts where it has no trees, or they do not
/// come through a cache.
pub fn counted(db: &Db) -> (Db, Option<Arc<IoStats>>) {
    let mut stats = None;
    let counted = db.reading_through(|source| {
        let any: &dyn Any = &**source;
        any.downcast_ref::<CachedSource>().map_or_else(
            || source.clone(),
            |cached| {
                let (source, counts) = cached.counted(None);
                stats = Some(counts);
                source
            },
        )
    });
    (counted, stats)
}

impl Source for CachedSource {
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
        self.cache.read(&self.binding, id, None).map(|read| read.segment)
    }

    fn will_read(&self, ids: &[SegmentId]) {
        self.cache.will_read(&self.binding, ids);
    }
}

/// Segments of one database, as one query reads them.
pub struct CountedSource {
    source: CachedSource,
    stats: Arc<IoStats>,
    interrupt: Option<Arc<dyn Interrupt + Send + Sync>>,
}

impl Source for CountedSource {
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
        let interrupt = self.interrupt.as_deref().map(|interrupt| interrupt as &dyn Interrupt);
        let Read { segment, tier, bytes } = self.source.cache.read(&self.source.binding, id, interrupt)?;
        self.stats.add(tier, bytes);
        Ok(segment)
    }

    fn will_read(&self, ids: &[SegmentId]) {
        self.source.will_read(ids);
    }
}

/// Where a read found its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Decoded, on the heap.
    Heap,
    /// On the heap, where it was brought ahead of the scan.
    Ahead,
    /// Another was bringing it.
    Waited,
    /// On local disk.
    Disk,
    /// In storage.
    Storage,
}

impl Tier {
    pub const ALL: [Tier; 5] = [Tier::Heap, Tier::Ahead, Tier::Waited, Tier::Disk, Tier::Storage];

    /// As answers name it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Heap => "heap",
            Tier::Ahead => "ahead",
            Tier::Waited => "waited",
            Tier::Disk => "disk",
            Tier::Storage => "storage",
        }
    }
}

/// What one query has read, tier by tier.
#[derive(Debug, Default)]
pub struct IoStats([[AtomicU64; 2]; Tier::ALL.len()]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// Read, each as often as it was.
    pub segments: u64,
    /// Of these: encoded from disk and storage, decoded otherwise.
    pub bytes: u64,
}

impl IoStats {
    pub fn of(&self, tier: Tier) -> IoCounts {
        let [segments, bytes] = &self.0[tier as usize];
        IoCounts { segments: segments.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    fn add(&self, tier: Tier, read: u64) {
        let [segments, bytes] = &self.0[tier as usize];
        segments.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(read, Ordering::Relaxed);
    }
}
