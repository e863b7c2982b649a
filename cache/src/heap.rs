//! Decoded segments on the heap, bounded by their bytes.

use crate::key::{ByHash, Key};
use db::index::segment::Segment;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A decoded segment.
#[derive(Clone)]
pub(crate) struct Entry {
    pub segment: Arc<Segment>,
    /// On the heap.
    pub bytes: u64,
}

/// Keeps what is read often: what was read once, such as by a scan, goes first.
pub(crate) struct Heap {
    cache: Cache<Key, Entry, ByBytes, ByHash, Evictions>,
    bytes_max: u64,
    evictions: Arc<AtomicU64>,
}

/// Of a decoded leaf, about; only the cache's own tables are laid out by it.
const SEGMENT_BYTES: u64 = 128 << 10;
/// More would make the share of each too small for what must fit into it.
const SHARDS_MAX: usize = 16;

impl Heap {
    pub fn new(bytes_max: u64) -> Heap {
        let evictions = Arc::<AtomicU64>::default();
        let options = OptionsBuilder::new()
            .shards(SHARDS_MAX)
            .estimated_items_capacity((bytes_max / SEGMENT_BYTES).max(1) as usize)
            .weight_capacity(bytes_max)
            .build()
            .expect("both capacities are set");
        let lifecycle = Evictions(evictions.clone());
        Heap { cache: Cache::with_options(options, ByBytes, ByHash::default(), lifecycle), bytes_max, evictions }
    }

    #[inline]
    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.cache.get(key)
    }

    /// Whether it is here; a look that does not count as a use.
    pub fn contains(&self, key: &Key) -> bool {
        self.cache.contains_key(key)
    }

    pub fn insert(&self, key: Key, entry: Entry) {
        self.cache.insert(key, entry);
    }

    pub fn retain(&self, keep: impl Fn(&Key) -> bool) {
        self.cache.retain(|key, _| keep(key));
    }

    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn segments(&self) -> u64 {
        self.cache.len() as u64
    }

    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        // What weighs nothing would never go.
        entry.bytes.max(1)
    }
}

/// Counts what goes, and drops it outside the lock: a segment is thousands of values.
#[derive(Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = Vec<Entry>;

    fn on_evict(&self, gone: &mut Vec<Entry>, _: Key, entry: Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
        gone.push(entry);
    }
}

/// What a decoded segment takes.
pub(crate) fn bytes_of(segment: &Segment) -> u64 {
    (size_of::<Segment>() + segment.heap_bytes()) as u64
}
