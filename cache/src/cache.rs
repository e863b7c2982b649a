//! How a segment is read: from the heap, else from disk, else from storage, by one thread at a time.

use crate::config::Config;
use crate::counters::{CacheStats, Counters, PrefetchStats, TierStats, show};
use crate::disk::Disk;
use crate::flight::{Boarding, Flights, Waited};
use crate::heap::{Entry, Heap};
use crate::key::{Encoded, Key, Reader, SegmentKey};
use crate::landing::Landing;
use crate::prefetch::{Hint, Hints, Prefetcher};
use crate::source::{Binding, CachedSource, Decode, Fetch, Tier};
use bytes::Bytes;
use db::budget::Interrupt;
use db::index::segment::{self, Attributes, Segment, SegmentId};
use db::log::{DatabaseId, Hash};
use db::{Category, Error, Result};
use process::metrics::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Segments of all databases of a process, kept near.
pub struct SegmentCache {
    heap: Heap,
    landing: Landing,
    disk: Option<Disk>,
    flights: Flights,
    /// None when nothing is fetched ahead.
    hints: Option<Hints>,
    counters: Counters,
    /// Of databases of which something was erased, the `erase` record below which nothing is kept. Held for writing while
    /// that is dropped, for reading while something is kept.
    floors: RwLock<BTreeMap<DatabaseId, u64>>,
}

/// A segment that was read.
pub(crate) struct Read {
    pub segment: Arc<Segment>,
    pub tier: Tier,
    /// On the heap, or encoded from disk and storage.
    pub bytes: u64,
}

/// A segment that was brought from below the heap.
struct Brought {
    entry: Entry,
    bytes: Bytes,
    tier: Tier,
}

/// The part of the heap's bytes for segments that were fetched ahead.
const LANDING_SHARE: u64 = 8;
/// More would be further ahead than scans look.
const LANDING_BYTES_MAX: u64 = 32 << 20;

impl SegmentCache {
    /// Takes the directory, if there is one; an error names what is wrong with it.
    pub fn open(config: &Config) -> Result<Arc<SegmentCache>> {
        let ahead = config.prefetch > 0;
        let landing_bytes = if ahead { (config.heap_bytes / LANDING_SHARE).min(LANDING_BYTES_MAX) } else { 0 };
        Ok(Arc::new(SegmentCache {
            heap: Heap::new(config.heap_bytes - landing_bytes),
            landing: Landing::new(landing_bytes),
            disk: config.disk.as_ref().map(Disk::open).transpose()?,
            flights: Flights::default(),
            hints: ahead.then(|| Hints::new(config.prefetch_queue)),
            counters: Counters::default(),
            floors: RwLock::default(),
        }))
    }

    /// Segments of one database, whose attributes are these; a segment that knows others is an error, so that a source
    /// is made anew when trees with new ones are adopted.
    pub fn source(
        self: &Arc<Self>,
        reader: Reader,
        attributes: Arc<Attributes>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<CachedSource>> {
        self.source_on_floor(reader, attributes, 0, fetch)
    }

    /// The same for trees on a floor, the seq of the newest `erase` record up to them: what is read for trees of before a
    /// later one is not kept.
    pub(crate) fn source_on_floor(
        self: &Arc<Self>,
        reader: Reader,
        attributes: Arc<Attributes>,
        floor: u64,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<CachedSource>> {
        self.source_decoding(reader, floor, Arc::new(move |bytes| Segment::decode(bytes, &attributes)), fetch)
    }

    pub(crate) fn source_decoding(
        self: &Arc<Self>,
        reader: Reader,
        floor: u64,
        decode: Decode,
        fetch: Arc<dyn Fetch>,
    ) -> Result<Arc<CachedSource>> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.check(reader.lineage))?;
        let binding = Binding { reader, floor, decode, fetch };
        Ok(Arc::new(CachedSource { cache: self.clone(), binding: Arc::new(binding) }))
    }

    /// Takes a segment that this process has made, whoever shall read it next: nobody has to fetch and decode it.
    pub fn keep(&self, reader: Reader, hash: Hash, segment: Segment) {
        let bytes = crate::heap::bytes_of(&segment);
        self.heap.insert(Key::new(reader, hash), Entry { bytes, segment: Arc::new(segment) });
    }

    /// What an actor that fetches ahead runs; None when the configuration says that nothing is.
    pub fn prefetcher(self: &Arc<Self>) -> Option<Prefetcher> {
        self.hints.as_ref().map(|hints| hints.prefetcher(Arc::downgrade(self)))
    }

    /// Drops the segments of a lineage that are not to be kept, from every tier: those of a database that was deleted,
    /// or those that an erasure replaced. Readers that still have a root which names them would bring them back, so
    /// such roots must be gone.
    pub fn retain(&self, lineage: DatabaseId, keep: impl Fn(&Hash) -> bool) {
        let is_kept = |encoded: &Encoded| encoded.lineage != lineage || keep(&encoded.hash);
        self.landing.retain(|key| is_kept(&key.encoded));
        self.heap.retain(|key| is_kept(&key.encoded));
        if let Some(disk) = &self.disk {
            disk.retain(lineage, is_kept);
        }
    }

    /// Something was erased from a database by the record `floor` of its log: all that was read for its lineage is dropped
    /// from every tier, and what readers of trees of before bring is kept no more. A directory remembers it, so that one
    /// that was not in use meanwhile is cleaned when it is.
    pub fn erased_before(&self, reader: Reader, floor: u64) {
        let mut floors = self.floors.write().unwrap_or_else(PoisonError::into_inner);
        let known = floors.entry(reader.database).or_default();
        if *known >= floor {
            return;
        }
        *known = floor;
        self.landing.retain(|key| key.encoded.lineage != reader.lineage);
        self.heap.retain(|key| key.encoded.lineage != reader.lineage);
        if let Some(disk) = self.disk.as_ref().filter(|disk| disk.floor(reader.database) < floor) {
            disk.retain(reader.lineage, |_| false);
            disk.set_floor(reader.database, floor);
        }
    }

    /// Keeps what was brought, unless it is of trees from before an erasure.
    fn keep_brought(&self, binding: &Binding, keep: impl FnOnce()) {
        let floors = self.floors.read().unwrap_or_else(PoisonError::into_inner);
        if floors.get(&binding.reader.database).is_none_or(|floor| binding.floor >= *floor) {
            keep();
        }
    }

    /// Shows the cache with the process's metrics.
    pub fn show(self: &Arc<Self>, registry: &mut Registry) {
        // The registry must not keep it: its directory is free for another when the process lets go of it.
        let cache = Arc::downgrade(self);
        show(registry, move || cache.upgrade().map_or_else(CacheStats::default, |cache| cache.stats()));
    }

    pub fn stats(&self) -> CacheStats {
        let (counters, landed) = (&self.counters, self.landing.landed());
        CacheStats {
            heap: TierStats {
                hits: counters.heap.segments(),
                misses: counters.heap_misses.get(),
                hit_bytes: counters.heap.bytes(),
                evictions: self.heap.evictions(),
                segments: self.heap.segments(),
                bytes: self.heap.bytes(),
                bytes_max: self.heap.bytes_max(),
            },
            disk: self.disk.as_ref().map(|disk| TierStats {
                hits: counters.disk.segments.get(),
                misses: counters.disk_misses.get(),
                hit_bytes: counters.disk.bytes.get(),
                evictions: disk.evictions.get(),
                segments: disk.segments(),
                bytes: disk.bytes(),
                bytes_max: disk.bytes_max(),
            }),
            fetches: counters.storage.segments.get(),
            fetched_bytes: counters.storage.bytes.get(),
            waits: counters.waits.get(),
            under_way: self.flights.len() as u64,
            missing: counters.missing.get(),
            damaged: counters.damaged.get(),
            failed: counters.failed.get(),
            disk_damaged: self.disk.as_ref().map_or(0, |disk| disk.damaged.get()),
            disk_not_kept: self.disk.as_ref().map_or(0, |disk| disk.not_kept.get()),
            prefetch: PrefetchStats {
                segments: counters.ahead.get(),
                used: landed.used + counters.ahead_awaited.get(),
                unused: landed.unused,
                dropped: counters.hints_dropped.get(),
                queue: self.hints.as_ref().map_or(0, |hints| hints.len() as u64),
                queue_max: self.hints.as_ref().map_or(0, |hints| hints.len_max() as u64),
                waiting: landed.segments,
                waiting_bytes: landed.bytes,
                waiting_bytes_max: self.landing.bytes_max(),
            },
        }
    }

    #[inline]
    pub(crate) fn read(
        &self,
        binding: &Arc<Binding>,
        id: &SegmentId,
        interrupt: Option<&dyn Interrupt>,
    ) -> Result<Read> {
        let key = Key::new(binding.reader, id.hash);
        match self.heap.get(&key) {
            Some(entry) => Ok(self.hit(entry, Tier::Heap)),
            None => self.read_below(binding, id, &key, interrupt),
        }
    }

    fn hit(&self, entry: Entry, tier: Tier) -> Read {
        self.counters.heap.add(entry.bytes);
        Read { bytes: entry.bytes, segment: entry.segment, tier }
    }

    #[cold]
    fn read_below(
        &self,
        binding: &Binding,
        id: &SegmentId,
        key: &Key,
        interrupt: Option<&dyn Interrupt>,
    ) -> Result<Read> {
        loop {
            match self.flights.board(key, false) {
                Boarding::Lead(lead) => {
                    // It may have come between the look at the heap and the boarding.
                    if let Some(entry) = self.heap.get(key) {
                        lead.landed(entry.clone());
                        return Ok(self.hit(entry, Tier::Heap));
                    }
                    if let Some(entry) = self.landing.take(key) {
                        self.keep_brought(binding, || self.heap.insert(*key, entry.clone()));
                        lead.landed(entry.clone());
                        return Ok(self.hit(entry, Tier::Ahead));
                    }
                    self.counters.heap_misses.add();
                    let brought = self.bring(binding, id, key, interrupt);
                    let Brought { entry, bytes, tier } = brought.inspect_err(|error| lead.failed(error))?;
                    self.keep_brought(binding, || {
                        self.heap.insert(*key, entry.clone());
                        self.keep_on_disk(key, &bytes, tier);
                    });
                    lead.landed(entry.clone());
                    return Ok(Read { segment: entry.segment, tier, bytes: bytes.len() as u64 });
                }
                Boarding::Wait(flight) => match flight.wait(interrupt) {
                    Waited::Landed(entry) => {
                        self.counters.heap_misses.add();
                        self.counters.waits.add();
                        if flight.ahead {
                            // It was fetched for somebody after all.
                            if self.landing.take(key).is_none() {
                                self.counters.ahead_awaited.add();
                            }
                            self.keep_brought(binding, || self.heap.insert(*key, entry.clone()));
                        }
                        return Ok(Read { bytes: entry.bytes, segment: entry.segment, tier: Tier::Waited });
                    }
                    Waited::Failed(error) => return Err(error),
                    Waited::Abandoned => {}
                    Waited::Stopped(stop) => return Err(stop.error()),
                },
            }
        }
    }

    pub(crate) fn will_read(&self, binding: &Arc<Binding>, ids: &[SegmentId]) {
        let Some(hints) = &self.hints else { return };
        for (at, id) in ids.iter().enumerate() {
            let key = Key::new(binding.reader, id.hash);
            let hint = || Hint { binding: binding.clone(), id: *id };
            if !self.is_near(&key) && !hints.tell(key, hint()) {
                self.counters.hints_dropped.add_many((ids.len() - at) as u64);
                return;
            }
        }
    }

    /// Brings a segment that a scan will come to, unless it is there or there is no room.
    pub(crate) fn fetch_ahead(&self, hint: &Hint) {
        let key = Key::new(hint.binding.reader, hint.id.hash);
        if let Some(hints) = &self.hints {
            hints.taken(&key);
        }
        if self.is_near(&key) {
            return;
        }
        let Some(room) = self.landing.room() else {
            return self.counters.hints_dropped.add();
        };
        let Boarding::Lead(lead) = self.flights.board(&key, true) else { return };
        if self.is_landed(&key) {
            return;
        }
        match self.bring(&hint.binding, &hint.id, &key, None) {
            Ok(Brought { entry, bytes, tier }) => {
                self.counters.ahead.add();
                self.keep_brought(&hint.binding, || {
                    room.fill(key, entry.clone());
                    self.keep_on_disk(&key, &bytes, tier);
                });
                lead.landed(entry);
            }
            // Whoever needs it tries again, and hears of it then.
            Err(error) => lead.failed(&error),
        }
    }

    fn is_near(&self, key: &Key) -> bool {
        self.is_landed(key) || self.flights.contains(key)
    }

    fn is_landed(&self, key: &Key) -> bool {
        self.heap.contains(key) || self.landing.contains(key)
    }

    /// Brings a segment from below the heap, its hash checked.
    fn bring(
        &self,
        binding: &Binding,
        id: &SegmentId,
        key: &Key,
        interrupt: Option<&dyn Interrupt>,
    ) -> Result<Brought> {
        look(interrupt)?;
        let name = SegmentKey { lineage: binding.reader.lineage, id: *id };
        if let Some(disk) = &self.disk {
            if let Some(bytes) = disk.read(&key.encoded) {
                self.counters.disk.add(bytes.len() as u64);
                return Ok(Brought { entry: self.decode(binding, &name, &bytes)?, bytes, tier: Tier::Disk });
            }
            self.counters.disk_misses.add();
            look(interrupt)?;
        }
        let fetched = binding.fetch.fetch(&name).map_err(|error| {
            self.counters.failed.add();
            error.within(format_args!("segment {name}"))
        })?;
        let bytes = fetched.ok_or_else(|| {
            self.counters.missing.add();
            missing(&name)
        })?;
        if segment::hash(&bytes) != key.encoded.hash {
            self.counters.damaged.add();
            return Err(damaged(&name, &format!("its {} bytes have another hash than its name", bytes.len())));
        }
        self.counters.storage.add(bytes.len() as u64);
        Ok(Brought { entry: self.decode(binding, &name, &bytes)?, bytes, tier: Tier::Storage })
    }

    fn decode(&self, binding: &Binding, name: &SegmentKey, bytes: &[u8]) -> Result<Entry> {
        let segment = (binding.decode)(bytes).map_err(|error| {
            self.counters.damaged.add();
            error.within(format_args!("segment {name}"))
        })?;
        Ok(Entry { bytes: crate::heap::bytes_of(&segment), segment: Arc::new(segment) })
    }

    fn keep_on_disk(&self, key: &Key, bytes: &Bytes, from: Tier) {
        if let (Some(disk), Tier::Storage) = (&self.disk, from) {
            disk.write(&key.encoded, bytes);
        }
    }
}

fn look(interrupt: Option<&dyn Interrupt>) -> Result<()> {
    interrupt.and_then(Interrupt::stop).map_or(Ok(()), |stop| Err(stop.error()))
}

fn missing(name: &SegmentKey) -> Error {
    let message = format!(
        "segment {name} is not in storage; a root that old may have been collected, or the store lost it: \
         `diachron verify` tells"
    );
    Error::new(Category::Unavailable, "db.error/segment-missing", message)
}

fn damaged(name: &SegmentKey, fault: &str) -> Error {
    let message = format!("segment {name} is damaged in storage: {fault}; `diachron verify --repair` rebuilds trees");
    Error::corrupt("db.error/segment-damaged", message)
}
