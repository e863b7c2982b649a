//! The engine sled: the copy of the log that is read from. What is in it can always be made again from redo
//! files and packs.
//!
//! One tree holds the journal; all that one redo frame changes goes into it in one batch:
//! ```text
//! m                                   store id 16 | commit u64 | newest pod version u64 | if not 0: sum u128
//! h database                          head
//! p name                              version u64 | bytes
//! l database                          records before this seq are sealed u64
//! r database seq(be) part u16(be)     part 0: length u32 | crc32c u32 | bytes; others: bytes
//! x database                          dropped, but its records are not all gone yet
//! e database seq(be)                  SHA-256 of the bytes that a record was given instead of its first ones
//! ```
//! The sum goes over all items `e`. It is in the item that every batch changes, so that a sled which has lost a
//! replacement is noticed at open: its older bytes are whole, too.
//!
//! A second tree holds the directory of segments, see [`crate::sled_store::directory`].
//!
//! While sled is made anew beside itself (see [`renewal`]) every batch goes into both.
//!
//! No item is longer than [`ITEM_BYTES_MAX`]: sled writes long values into files of their own that it never
//! syncs. sled panics on damage and on some failures of the disk; every call is guarded.

mod items;
mod opened;
pub(crate) mod renewal;

use crate::disk::Disk;
use crate::sled_store::bytes::Fields;
use crate::sled_store::health::Health;
use crate::sled_store::io_error;
use crate::sled_store::redo::frame::{decode_head, encode_head};
use crate::state::{Change, State};
use crate::{DatabaseId, Error, ErrorKind, Head, PodVersion, Result, StoredRecord};
pub(crate) use items::term;
use items::{Reading, decode_pod, decode_replaced, encode_pod, key, record_key};
use opened::{Held, Open};
use renewal::Next;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The longest item, key and value together.
pub(crate) const ITEM_BYTES_MAX: usize = 4096;

const META: &[u8] = b"m";
const SEGMENTS_TREE: &str = "segments";

/// How long an open waits for threads of a sled closed before.
const LEFTOVER_WAIT: Duration = Duration::from_millis(1);
const LEFTOVER_WAITS_MAX: usize = 5000;

/// How many keys are removed or put at once.
const SWEEP_KEYS: usize = 1000;

pub(crate) struct Engine {
    /// The sled that is read from. Held to copy the pointer, or to put another in its place.
    open: RwLock<Arc<Held>>,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    cache_bytes: u64,
    /// The sled that is made anew. Held by whoever writes a batch, into both; alone while older items are copied.
    next: RwLock<Option<Next>>,
}

/// What the engine says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) store: [u8; 16],
    pub(crate) commit: u64,
    pub(crate) pod_version_last: PodVersion,
}

/// Records that were given other bytes, and the hashes of those.
pub(crate) type ReplacedRecords = BTreeMap<(DatabaseId, u64), [u8; 32]>;

/// What a read of one range of records found.
pub(crate) enum Found {
    Records(Vec<StoredRecord>),
    /// What is there is not what was written.
    Broken(String),
}

impl Engine {
    /// Opens the engine's directory, or makes it. An error says why it cannot be used; nothing is poisoned
    /// by it, since the engine can be made again.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, cache_bytes: u64, health: Arc<Health>) -> Result<Engine> {
        let open = RwLock::new(Arc::new(Open::at(&*disk, dir, cache_bytes)?));
        Ok(Engine { open, dir: dir.to_owned(), disk, health, cache_bytes, next: RwLock::default() })
    }

    /// What the engine says it holds; None when it is empty or makes no sense.
    pub(crate) fn meta(&self) -> Result<Option<Meta>> {
        let bytes = self.call("read", |open| open.db.get(META))?;
        let Some((meta, sum)) = bytes.and_then(|bytes| Meta::decode(&bytes)) else { return Ok(None) };
        self.current().set_replaced_sum(sum);
        Ok(Some(meta))
    }

    /// All records that were given other bytes; None when some of them were lost.
    pub(crate) fn replaced(&self) -> Result<Option<ReplacedRecords>> {
        let items = self.call("read", |open| open.db.scan_prefix(b"e").collect::<Result<Vec<_>, _>>())?;
        let (mut replaced, mut sum) = (ReplacedRecords::new(), 0u128);
        for (key, value) in items {
            let Some((db, seq, hash)) = decode_replaced(&key, &value) else { return Ok(None) };
            sum = sum.wrapping_add(term(&key, &value));
            replaced.insert((db, seq), hash);
        }
        Ok((sum == self.current().replaced_sum()).then_some(replaced))
    }

    /// Writes what redo frames change, in one step, and says that the engine is as of `meta`. A drop is the last.
    pub(crate) fn apply<'a>(&self, meta: Meta, changes: impl IntoIterator<Item = &'a Change>) -> Result<()> {
        let changes: Vec<&Change> = changes.into_iter().collect();
        self.write(|open| open.apply(meta, &changes))?;
        let dropped = changes.iter().filter_map(|change| match change {
            Change::Dropped { db } => Some(*db),
            _ => None,
        });
        dropped.collect::<Vec<_>>().into_iter().try_for_each(|db| self.sweep(db))
    }

    /// Puts into an empty engine what a redo file begins with.
    pub(crate) fn begin(&self, meta: Meta, state: &State) -> Result<()> {
        let heads = state.heads().iter().map(|(db, head)| {
            let mut bytes = Vec::with_capacity(64);
            encode_head(head, &mut bytes);
            (key(b'h', &db.0), bytes)
        });
        let seals = state.seals().iter().map(|(db, seq)| (key(b'l', &db.0), seq.to_le_bytes().to_vec()));
        let pods = state
            .pods()
            .iter()
            .map(|(name, (version, bytes))| (key(b'p', name.as_bytes()), encode_pod(*version, bytes)));
        let mut items = heads.chain(seals).chain(pods).peekable();
        while items.peek().is_some() {
            let mut batch = sled::Batch::default();
            items.by_ref().take(SWEEP_KEYS).for_each(|(key, value)| batch.insert(key, value));
            self.write(|open| open.db.apply_batch(batch.clone()))?;
        }
        // It is the last: an engine without it is empty, and begun anew.
        self.write(|open| open.db.insert(META, meta.encode(0))).map(drop)
    }

    /// Removes some records of before this seq; false when there are none left.
    pub(crate) fn sweep_sealed(&self, db: DatabaseId, before_seq: u64) -> Result<bool> {
        self.write(|open| open.sweep_sealed(db, before_seq))
    }

    /// Records before this seq are sealed; 1 when none are.
    pub(crate) fn sealed_before(&self, db: DatabaseId) -> Result<u64> {
        match self.call("read", |open| open.db.get(key(b'l', &db.0)))? {
            None => Ok(1),
            Some(bytes) => self.decoded("seal", Fields::new(&bytes).u64()),
        }
    }

    /// Removes what is left of databases that were dropped.
    pub(crate) fn sweep_all(&self) -> Result<()> {
        let marks = self.call("read", |open| open.db.scan_prefix(b"x").keys().collect::<Result<Vec<_>, _>>())?;
        let dropped = marks.iter().filter_map(|mark| Some(DatabaseId(mark.get(1..)?.try_into().ok()?)));
        dropped.collect::<Vec<_>>().into_iter().try_for_each(|db| self.sweep(db))
    }

    fn sweep(&self, db: DatabaseId) -> Result<()> {
        while self.write(|open| open.sweep_dropped(db))? {}
        Ok(())
    }

    pub(crate) fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        let bytes = self.call("read", |open| open.db.get(key(b'h', &db.0)))?;
        bytes.map(|bytes| self.decoded("head", decode_head(&mut Fields::new(&bytes)))).transpose()
    }

    pub(crate) fn pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        let bytes = self.call("read", |open| open.db.get(key(b'p', name.as_bytes())))?;
        bytes.map(|bytes| self.decoded("pod", decode_pod(&bytes))).transpose()
    }

    pub(crate) fn pod_names(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = key(b'p', prefix.as_bytes());
        let keys = self.call("read", |open| open.db.scan_prefix(prefix).keys().collect::<Result<Vec<_>, _>>())?;
        keys.iter().map(|key| self.decoded("pod name", String::from_utf8(key[1..].to_vec()).ok())).collect()
    }

    /// All heads, seals and pods, as the engine holds them; None when they make no sense.
    pub(crate) fn state(&self, pod_version_last: PodVersion) -> Result<Option<State>> {
        let items = self.call("read", |open| {
            let heads = open.db.scan_prefix(b"h").collect::<Result<Vec<_>, _>>()?;
            let pods = open.db.scan_prefix(b"p").collect::<Result<Vec<_>, _>>()?;
            let seals = open.db.scan_prefix(b"l").collect::<Result<Vec<_>, _>>()?;
            Ok((heads, pods, seals))
        })?;
        let decode = || {
            let mut state = State::default();
            for (key, value) in &items.0 {
                state.set_head(DatabaseId(key[1..].try_into().ok()?), decode_head(&mut Fields::new(value))?);
            }
            for (key, value) in &items.1 {
                let (version, bytes) = decode_pod(value)?;
                state.set_pod(String::from_utf8(key[1..].to_vec()).ok()?, version, bytes);
            }
            for (key, value) in &items.2 {
                state.set_seal(DatabaseId(key[1..].try_into().ok()?), Fields::new(value).u64()?);
            }
            state.set_pod_version_last(pod_version_last);
            Some(state)
        };
        Ok(decode())
    }

    /// Records `from_seq..=last_seq`, until about `bytes_max` are read, at least one.
    pub(crate) fn records(&self, db: DatabaseId, from_seq: u64, last_seq: u64, bytes_max: usize) -> Result<Found> {
        self.call("read", |open| {
            let first = record_key(db, from_seq, 0);
            let last = record_key(db, last_seq, u16::MAX);
            let mut reading = Reading { db, next_seq: from_seq, part: None, found: Vec::new(), bytes_sum: 0 };
            for item in open.db.range(first..=last) {
                let (key, value) = item?;
                match reading.take(&key, &value, bytes_max) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Found::Records(reading.found)),
                    Err(broken) => return Ok(Found::Broken(broken)),
                }
            }
            Ok(match reading.part.is_some() || reading.next_seq <= last_seq {
                true => Found::Broken(format!("record {} of {db} is not there as written", reading.next_seq)),
                false => Found::Records(reading.found),
            })
        })
    }

    /// Reads the directory of segments.
    pub(crate) fn segments<T>(&self, run: impl FnOnce(&sled::Tree) -> sled::Result<T>) -> Result<T> {
        self.call("read", |open| run(&open.segments))
    }

    /// Changes the directory of segments, in one step.
    pub(crate) fn write_segments(&self, batch: &sled::Batch) -> Result<()> {
        self.write(|open| open.segments.apply_batch(batch.clone()))
    }

    /// Makes everything that was applied before this call durable.
    pub(crate) fn make_durable(&self) -> Result<()> {
        loop {
            let open = self.current();
            self.call_to(&open, "flush", |open| open.db.flush())?;
            check_no_blobs(&*self.disk, &self.dir)
                .map_err(|error| self.health.poison("could not rely on sled", error))?;
            open.sync(&*self.disk, &self.dir)
                .map_err(|error| self.health.poison(&format!("could not fsync {}", self.dir.display()), error))?;
            // Another one that took its place meanwhile was durable when it did.
            if Arc::ptr_eq(&open, &self.current()) {
                return Ok(());
            }
        }
    }

    fn current(&self) -> Arc<Held> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing is left half changed under this lock where a panic could pass.
    fn next(&self) -> RwLockWriteGuard<'_, Option<Next>> {
        self.next.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call that reads sled. Its errors and panics poison the store.
    fn call<T>(&self, what: &str, run: impl FnOnce(&Open) -> sled::Result<T>) -> Result<T> {
        self.call_to(&self.current(), what, run)
    }

    /// Runs a call that writes sled, and the one that is made anew, of which this one's answer is not asked.
    fn write<T>(&self, run: impl Fn(&Open) -> sled::Result<T>) -> Result<T> {
        let next = self.next.read().unwrap_or_else(PoisonError::into_inner);
        let written = self.call("write", &run)?;
        if let Some(next) = &*next {
            next.write(run);
        }
        Ok(written)
    }

    fn call_to<T>(&self, open: &Open, what: &str, run: impl FnOnce(&Open) -> sled::Result<T>) -> Result<T> {
        self.health.check()?;
        guarded(|| run(open)).map_err(|cause| {
            open.broken.store(true, Ordering::Relaxed);
            self.health.poison(&format!("could not {what} sled in {}", self.dir.display()), cause)
        })
    }

    fn decoded<T>(&self, what: &str, decoded: Option<T>) -> Result<T> {
        decoded.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("sled in {} holds a {what} that makes no sense", self.dir.display()))
        })
    }
}

impl Meta {
    fn encode(self, replaced_sum: u128) -> Vec<u8> {
        let mut out = self.store.to_vec();
        out.extend_from_slice(&self.commit.to_le_bytes());
        out.extend_from_slice(&self.pod_version_last.to_le_bytes());
        if replaced_sum != 0 {
            out.extend_from_slice(&replaced_sum.to_le_bytes());
        }
        out
    }

    /// With the sum of what was replaced.
    fn decode(bytes: &[u8]) -> Option<(Meta, u128)> {
        let mut fields = Fields::new(bytes);
        let meta = Meta { store: fields.array()?, commit: fields.u64()?, pod_version_last: fields.u64()? };
        let sum = if fields.is_empty() { 0 } else { u128::from_le_bytes(fields.array()?) };
        fields.is_empty().then_some((meta, sum))
    }
}

/// Runs a call into sled; an error or a panic comes back as what it said.
fn guarded<T>(run: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            Err(format!("sled panicked: {said}"))
        }
    }
}

/// Threads of a sled that this process has closed may hold its file for a moment longer. The store's own lock
/// is ours, so nobody else can; still the wait has an end, and then sled says what is wrong.
fn wait_for_leftover_threads(dir: &Path) {
    let Ok(file) = std::fs::File::open(dir.join("db")) else { return };
    for _ in 0..LEFTOVER_WAITS_MAX {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LEFTOVER_WAIT),
            _ => return,
        }
    }
}

/// A snapshot that sled was writing when the power was cut keeps it from opening ever again.
fn remove_torn_snapshots(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for name in names_in(disk, dir)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let path = dir.join(name);
            disk.remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        }
    }
    Ok(())
}

/// Refuses a sled directory with blob files: nothing we store is long enough for one.
fn check_no_blobs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    match names_in(disk, &dir.join("blobs"))?.first() {
        None => Ok(()),
        Some(name) => {
            let message = format!("sled in {} has a blob file {name:?}, which it never syncs", dir.display());
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

fn names_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(|error| io_error("list", dir, error)),
    }
}
