//! What the cache counts: for metrics, and at once for `status`.

use process::metrics::{Readings, Registry, readings};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A count that goes up.
#[derive(Default)]
pub(crate) struct Counted(AtomicU64);

impl Counted {
    pub fn add(&self) {
        self.add_many(1);
    }

    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The count, when it is worth telling: the first time, and each time it has doubled.
    pub fn add_and_tell(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }
}

/// Reads from a tier, and their bytes.
#[derive(Default)]
pub(crate) struct Reads {
    pub segments: Counted,
    pub bytes: Counted,
}

impl Reads {
    pub fn add(&self, bytes: u64) {
        self.segments.add();
        self.bytes.add_many(bytes);
    }
}

/// Reads that are so frequent and so short that threads must not count them in the same place.
#[derive(Default)]
pub(crate) struct FrequentReads([Apart; PLACES]);

const PLACES: usize = 16;

/// On a cache line of its own, and away from the one that is read with it.
#[derive(Default)]
#[repr(align(128))]
struct Apart(Reads);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl FrequentReads {
    #[inline]
    pub fn add(&self, bytes: u64) {
        self.0[place()].0.add(bytes);
    }

    pub fn segments(&self) -> u64 {
        self.0.iter().map(|apart| apart.0.segments.get()).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|apart| apart.0.bytes.get()).sum()
    }
}

#[inline]
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1, Ordering::Relaxed) % PLACES);
        }
        place.get()
    })
}

#[derive(Default)]
pub(crate) struct Counters {
    /// Segments fetched ahead included, when they are read.
    pub heap: FrequentReads,
    pub heap_misses: Counted,
    pub disk: Reads,
    pub disk_misses: Counted,
    pub storage: Reads,
    pub waits: Counted,
    pub missing: Counted,
    pub damaged: Counted,
    pub failed: Counted,
    pub ahead: Counted,
    /// Used while they were being fetched.
    pub ahead_awaited: Counted,
    pub hints_dropped: Counted,
}

/// The cache at one moment. Counts are since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Decoded segments; its hits include segments that were fetched ahead.
    pub heap: TierStats,
    /// Encoded segments on local disk, if there is such a tier.
    pub disk: Option<TierStats>,
    /// Segments fetched from storage, those ahead of scans included.
    pub fetches: u64,
    pub fetched_bytes: u64,
    /// Reads that waited for a segment which another was bringing.
    pub waits: u64,
    /// Segments being brought now.
    pub under_way: u64,
    /// Segments that storage did not have.
    pub missing: u64,
    /// Segments that came damaged from storage.
    pub damaged: u64,
    /// Segments that could not be had for other reasons.
    pub failed: u64,
    /// Entries on disk that were damaged, and were fetched again.
    pub disk_damaged: u64,
    /// Segments that disk had no room for, or failed to take.
    pub disk_not_kept: u64,
    pub prefetch: PrefetchStats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    pub hits: u64,
    pub misses: u64,
    /// Of the hits.
    pub hit_bytes: u64,
    pub evictions: u64,
    /// Held now.
    pub segments: u64,
    pub bytes: u64,
    pub bytes_max: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefetchStats {
    /// Segments fetched ahead.
    pub segments: u64,
    /// Of these: read, and given up unread.
    pub used: u64,
    pub unused: u64,
    /// Hints that were not heard: the queue or the room was full.
    pub dropped: u64,
    /// Segments that wait to be fetched.
    pub queue: u64,
    pub queue_max: u64,
    /// Fetched, and not read yet; part of what the heap may hold.
    pub waiting: u64,
    pub waiting_bytes: u64,
    pub waiting_bytes_max: u64,
}

/// Shows the cache with the process's metrics.
pub(crate) fn show(registry: &mut Registry, stats: impl Fn() -> CacheStats + Send + Sync + 'static) {
    readings(registry, move |shown| write(shown, &stats()));
}

fn write(shown: &mut Readings<'_>, stats: &CacheStats) {
    let tiers: Vec<(&str, &TierStats)> =
        std::iter::once(("heap", &stats.heap)).chain(stats.disk.iter().map(|disk| ("disk", disk))).collect();
    let mut per_tier = |name: &str, help: &str, value: fn(&TierStats) -> u64| {
        shown.counters(name, help, |one| {
            tiers.iter().for_each(|(tier, stats)| one(&[("tier", tier)], value(stats)));
        });
    };
    per_tier("cache_hits", "Segments read from a tier of the cache", |tier| tier.hits);
    per_tier("cache_misses", "Segments that a tier of the cache did not have", |tier| tier.misses);
    per_tier("cache_hit_bytes", "Bytes of segments read from a tier of the cache", |tier| tier.hit_bytes);
    per_tier("cache_evictions", "Segments that a tier of the cache gave up for others", |tier| tier.evictions);
    let mut per_tier = |name: &str, help: &str, value: fn(&TierStats) -> u64| {
        shown.gauges(name, help, |one| {
            tiers.iter().for_each(|(tier, stats)| one(&[("tier", tier)], value(stats) as f64));
        });
    };
    per_tier("cache_segments", "Segments in a tier of the cache", |tier| tier.segments);
    per_tier("cache_bytes", "Bytes in a tier of the cache", |tier| tier.bytes);
    per_tier("cache_bytes_max", "Bytes that may be in a tier of the cache", |tier| tier.bytes_max);
    let CacheStats { prefetch, .. } = stats;
    for (name, help, value) in [
        ("cache_fetches", "Segments fetched from storage", stats.fetches),
        ("cache_fetched_bytes", "Bytes of segments fetched from storage", stats.fetched_bytes),
        ("cache_waits", "Reads that waited for a segment which another was bringing", stats.waits),
        ("cache_missing", "Segments that storage did not have", stats.missing),
        ("cache_damaged", "Segments that came damaged from storage", stats.damaged),
        ("cache_failed", "Segments that could not be had for other reasons", stats.failed),
        ("cache_disk_damaged", "Damaged entries on disk, fetched again", stats.disk_damaged),
        ("cache_disk_not_kept", "Segments that disk had no room for or failed to take", stats.disk_not_kept),
        ("cache_prefetches", "Segments fetched ahead of scans", prefetch.segments),
        ("cache_prefetches_used", "Segments fetched ahead and read", prefetch.used),
        ("cache_prefetches_unused", "Segments fetched ahead and given up unread", prefetch.unused),
        ("cache_prefetch_hints_dropped", "Hints of scans for which there was no room", prefetch.dropped),
    ] {
        shown.counters(name, help, |one| one(&[], value));
    }
    for (name, help, value) in [
        ("cache_under_way", "Segments being brought", stats.under_way),
        ("cache_prefetch_queue", "Segments that wait to be fetched ahead", prefetch.queue),
        ("cache_prefetch_queue_max", "How many may", prefetch.queue_max),
        ("cache_prefetch_waiting_bytes", "Bytes of segments fetched ahead and not read yet", prefetch.waiting_bytes),
        ("cache_prefetch_waiting_bytes_max", "How many may be", prefetch.waiting_bytes_max),
    ] {
        shown.gauge(name, help, value);
    }
}
