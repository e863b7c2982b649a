//! The cache over a storage that counts, waits, fails and lies when it is told to.

mod disk;
mod flights;
mod prefetch;
mod reads;
mod stress;

use crate::config::{Config, Disk};
use crate::key::{Reader, SegmentKey};
use crate::source::{CachedSource, Decode, Fetch};
use crate::{Prefetcher, SegmentCache};
use bytes::Bytes;
use db::budget::{Interrupt, Stop};
use db::index::Sort;
use db::index::segment::{self, Node, Rows, Segment, SegmentId};
use db::log::{DatabaseId, Hash};
use db::model::{EntityId, Partition, Value};
use db::{AttrId, Category, Datom, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

const LINEAGE: DatabaseId = DatabaseId([7; 16]);

/// The encoding of these tests: a number of which the rows are made, how many rows, and padding up to a length.
fn encoded(number: u64, rows: u32, length: usize) -> Bytes {
    let mut bytes = [&number.to_le_bytes()[..], &rows.to_le_bytes()].concat();
    bytes.resize(length.max(12), number as u8);
    bytes.into()
}

fn decoded(bytes: &[u8]) -> Result<Segment> {
    let (Some(number), Some(rows)) = (bytes.first_chunk(), bytes.get(8..12)) else {
        return Err(Error::corrupt("db.error/segment-damaged", "it ends in its header"));
    };
    let (number, rows) = (u64::from_le_bytes(*number), u32::from_le_bytes([rows[0], rows[1], rows[2], rows[3]]));
    let e = EntityId::new(Partition::User, number + 1);
    let datom = |row: u32| Datom::new(e, AttrId(row), Value::Long(number as i64), 1, true);
    Ok(Segment { sort: Sort::Eavt, rows: Rows::Open(Node::Leaf((0..rows).map(datom).collect())) })
}

/// The database that a lineage began with.
fn founder(lineage: DatabaseId) -> Reader {
    Reader { lineage, database: lineage }
}

fn decode() -> Decode {
    Arc::new(decoded)
}

fn id(bytes: &[u8]) -> SegmentId {
    SegmentId { database: LINEAGE, term: 1, job: 12, hash: segment::hash(bytes) }
}

#[derive(Default)]
struct Storage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    segments: BTreeMap<Hash, Bytes>,
    fetches: BTreeMap<Hash, u64>,
    under_way: BTreeSet<Hash>,
    /// Somebody fetched what another was fetching.
    twice_at_once: bool,
    closed: bool,
    fails: bool,
    panics: bool,
}

impl Storage {
    fn new() -> Arc<Storage> {
        Arc::default()
    }

    fn put(&self, bytes: &Bytes) -> SegmentId {
        let id = id(bytes);
        self.change(|state| state.segments.insert(id.hash, bytes.clone()));
        id
    }

    /// Segments of 64 rows and about 2 KiB on the heap, and of `length` bytes encoded.
    fn fill(&self, count: u64, length: usize) -> Vec<SegmentId> {
        (0..count).map(|number| self.put(&encoded(number, 64, length))).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        changed
    }

    /// Fetches wait from now on.
    fn close(&self) {
        self.change(|state| state.closed = true);
    }

    fn open(&self) {
        self.change(|state| state.closed = false);
    }

    /// Waits until a fetch waits.
    fn until_fetching(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.under_way.len() < count).unwrap());
    }

    fn until_fetched(&self, count: u64) {
        let state = self.state.lock().unwrap();
        let fewer = |state: &mut State| state.fetches.values().sum::<u64>() < count || !state.under_way.is_empty();
        drop(self.changed.wait_while(state, fewer).unwrap());
    }

    fn fetches(&self) -> u64 {
        self.change(|state| state.fetches.values().sum())
    }
}

impl Fetch for Storage {
    fn fetch(&self, key: &SegmentKey) -> Result<Option<Bytes>> {
        assert_eq!((key.id.database, key.job().as_str()), (LINEAGE, "index-12"));
        let hash = key.id.hash;
        self.change(|state| {
            *state.fetches.entry(hash).or_default() += 1;
            state.twice_at_once |= !state.under_way.insert(hash);
        });
        let state = self.state.lock().unwrap();
        let mut state = self.changed.wait_while(state, |state| state.closed).unwrap();
        state.under_way.remove(&hash);
        self.changed.notify_all();
        let (fails, panics) = (state.fails, state.panics);
        let found = state.segments.get(&hash).cloned();
        drop(state);
        assert!(!panics, "on purpose");
        if fails {
            return Err(Error::new(Category::Unavailable, "db.error/unavailable", "nobody is there"));
        }
        Ok(found)
    }
}

fn config(heap_bytes: u64) -> Config {
    Config { heap_bytes, prefetch: 0, prefetch_queue: 16, disk: None }
}

fn disk(dir: &std::path::Path, bytes: u64) -> Option<Disk> {
    Some(Disk { dir: dir.to_owned(), bytes, free_bytes_min: 0, lineage: None })
}

fn source(cache: &Arc<SegmentCache>, storage: &Arc<Storage>) -> Arc<CachedSource> {
    on_floor(cache, storage, 0)
}

/// As trees on a floor read.
fn on_floor(cache: &Arc<SegmentCache>, storage: &Arc<Storage>, floor: u64) -> Arc<CachedSource> {
    cache.source_decoding(founder(LINEAGE), floor, decode(), storage.clone()).unwrap()
}

/// An actor that fetches ahead; it ends with the cache.
fn prefetching(prefetcher: Prefetcher) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(prefetcher.run(|| {}));
    })
}

/// Stops when it is told to.
#[derive(Default)]
struct Cancel(AtomicBool);

impl Cancel {
    fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Interrupt for Cancel {
    fn stop(&self) -> Option<Stop> {
        self.0.load(Ordering::Relaxed).then_some(Stop::Cancelled)
    }
}
