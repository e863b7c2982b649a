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
//! No item is longer than [`ITEM_BYTES_MAX`]: sled writes long values into files of their own that it never
//! syncs. sled panics on damage and on some failures of the disk; every call is guarded.

use crate::disk::{Disk, DiskFile};
use crate::sled_store::bytes::Fields;
use crate::sled_store::health::Health;
use crate::sled_store::io_error;
use crate::sled_store::redo::frame::{decode_head, encode_head};
use crate::state::{Change, State};
use crate::{DatabaseId, Error, ErrorKind, Head, PodVersion, Result, StoredRecord, sha256};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The longest item, key and value together.
pub(crate) const ITEM_BYTES_MAX: usize = 4096;

/// How many bytes of a record go into one item: the limit less the key and the field before the first part.
const PART_BYTES: usize = ITEM_BYTES_MAX - 96;

const META: &[u8] = b"m";
const SEGMENTS_TREE: &str = "segments";

/// How long an open waits for threads of a sled closed before.
const LEFTOVER_WAIT: Duration = Duration::from_millis(1);
const LEFTOVER_WAITS_MAX: usize = 5000;

/// How many keys are removed or put at once.
const SWEEP_KEYS: usize = 1000;

pub(crate) struct Engine {
    /// None only while it is dropped.
    open: Option<Open>,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    /// A descriptor of our own on sled's file, opened before sled writes, so that no error of the disk is
    /// reported to somebody else only.
    file: Arc<dyn DiskFile>,
    names_durable: AtomicBool,
    /// The sum of all items `e`, as it is in sled. Held while a batch is written that may change it.
    replaced_sum: Mutex<u128>,
    /// A call into sled failed: its locks may be held for ever.
    broken: AtomicBool,
}

struct Open {
    db: sled::Db,
    segments: sled::Tree,
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
        remove_torn_snapshots(&*disk, dir)?;
        check_no_blobs(&*disk, dir)?;
        let config = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        wait_for_leftover_threads(dir);
        let opened = guarded(|| {
            let db = config.open()?;
            let segments = db.open_tree(SEGMENTS_TREE)?;
            Ok(Open { db, segments })
        });
        let open = opened.map_err(|cause| {
            let kind = match cause.contains("could not acquire lock") {
                true => ErrorKind::InUse,
                false => ErrorKind::Corrupt,
            };
            Error::new(kind, format!("sled cannot open {}: {cause}", dir.display()))
        })?;
        let file = disk.open(&dir.join("db")).map_err(|error| io_error("open", &dir.join("db"), error))?;
        let (names_durable, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        let dir = dir.to_owned();
        let replaced_sum = Mutex::default();
        let engine = Engine { open: Some(open), dir, disk, health, file, names_durable, replaced_sum, broken };
        check_no_blobs(&*engine.disk, &engine.dir)?;
        Ok(engine)
    }

    /// What the engine says it holds; None when it is empty or makes no sense.
    pub(crate) fn meta(&self) -> Result<Option<Meta>> {
        let bytes = self.call("read", |open| open.db.get(META))?;
        let Some((meta, sum)) = bytes.and_then(|bytes| Meta::decode(&bytes)) else { return Ok(None) };
        *self.sum() = sum;
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
        Ok((sum == *self.sum()).then_some(replaced))
    }

    /// Writes what redo frames change, in one step, and says that the engine is as of `meta`. A drop is the last.
    pub(crate) fn apply<'a>(&self, meta: Meta, changes: impl IntoIterator<Item = &'a Change>) -> Result<()> {
        let mut batch = sled::Batch::default();
        let mut dropped = Vec::new();
        let mut replaced = BTreeMap::new();
        for change in changes {
            match change {
                Change::Record { db, head, record } => {
                    let mut head_bytes = Vec::with_capacity(64);
                    encode_head(head, &mut head_bytes);
                    batch.insert(key(b'h', &db.0), head_bytes);
                    insert_record(&mut batch, *db, head.seq, record);
                }
                Change::PodPut { name, version, bytes } => {
                    batch.insert(key(b'p', name.as_bytes()), encode_pod(*version, bytes));
                }
                Change::PodDeleted { name } => batch.remove(key(b'p', name.as_bytes())),
                Change::Dropped { db } => {
                    batch.remove(key(b'h', &db.0));
                    batch.remove(key(b'l', &db.0));
                    batch.insert(key(b'x', &db.0), &[]);
                    dropped.push(*db);
                }
                Change::Sealed { db, before_seq } => batch.insert(key(b'l', &db.0), &before_seq.to_le_bytes()),
                Change::Kept { db, records } => {
                    records.iter().for_each(|record| insert_record(&mut batch, *db, record.seq, &record.bytes));
                }
                Change::Replaced { db, seq, old_length, record } => {
                    // Parts that the new bytes do not have would pass for damage.
                    let (old_parts, parts) = (parts_of(*old_length as usize), parts_of(record.len()));
                    (parts..old_parts).for_each(|part| batch.remove(&record_key(*db, *seq, part)));
                    insert_record(&mut batch, *db, *seq, record);
                    replaced.insert(replaced_key(*db, *seq), sha256(record));
                }
            }
        }
        let mut sum = self.sum();
        let mut new_sum = *sum;
        for (key, hash) in replaced {
            if let Some(before) = self.call("read", |open| open.db.get(key))? {
                new_sum = new_sum.wrapping_sub(term(&key, &before));
            }
            new_sum = new_sum.wrapping_add(term(&key, &hash));
            batch.insert(&key, &hash);
        }
        batch.insert(META, meta.encode(new_sum));
        self.call("write", |open| open.db.apply_batch(batch))?;
        *sum = new_sum;
        drop(sum);
        dropped.into_iter().try_for_each(|db| self.sweep(db))
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
            self.call("write", |open| open.db.apply_batch(batch))?;
        }
        // It is the last: an engine without it is empty, and begun anew.
        self.call("write", |open| open.db.insert(META, meta.encode(0))).map(drop)
    }

    /// Removes some records of before this seq; false when there are none left.
    pub(crate) fn sweep_sealed(&self, db: DatabaseId, before_seq: u64) -> Result<bool> {
        let (first, end) = (record_key(db, 0, 0), record_key(db, before_seq, 0));
        let swept = self.call("write", |open| {
            let keys = open.db.range(first..end).keys().take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?;
            let mut batch = sled::Batch::default();
            keys.iter().for_each(|key| batch.remove(key.clone()));
            open.db.apply_batch(batch)?;
            Ok(!keys.is_empty())
        })?;
        Ok(self.forget_replaced(db, before_seq)? || swept)
    }

    /// Removes some of the items that say which records before this seq were given other bytes; false when there are none.
    fn forget_replaced(&self, db: DatabaseId, before_seq: u64) -> Result<bool> {
        let (first, end) = (replaced_key(db, 0), replaced_key(db, before_seq));
        let mut sum = self.sum();
        let new_sum = self.call("write", |open| {
            let items = open.db.range(first..end).take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?;
            let Some(meta) = open.db.get(META)?.filter(|_| !items.is_empty()) else { return Ok(None) };
            let Some((meta, _)) = Meta::decode(&meta) else { return Ok(None) };
            let mut batch = sled::Batch::default();
            let new_sum = items.iter().fold(*sum, |sum, (key, value)| sum.wrapping_sub(term(key, value)));
            items.into_iter().for_each(|(key, _)| batch.remove(key));
            batch.insert(META, meta.encode(new_sum));
            open.db.apply_batch(batch)?;
            Ok(Some(new_sum))
        })?;
        *sum = new_sum.unwrap_or(*sum);
        Ok(new_sum.is_some())
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
        let prefix = key(b'r', &db.0);
        while self.forget_replaced(db, u64::MAX)? {}
        loop {
            let left = self.call("write", |open| {
                let keys = open.db.scan_prefix(&prefix).keys().take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?;
                let mut batch = sled::Batch::default();
                keys.iter().for_each(|key| batch.remove(key.clone()));
                if keys.is_empty() {
                    batch.remove(key(b'x', &db.0));
                }
                open.db.apply_batch(batch)?;
                Ok(keys.len())
            })?;
            if left == 0 {
                return Ok(());
            }
        }
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

    /// The directory of segments.
    pub(crate) fn segments<T>(&self, what: &str, run: impl FnOnce(&sled::Tree) -> sled::Result<T>) -> Result<T> {
        self.call(what, |open| run(&open.segments))
    }

    /// Makes everything that was applied before this call durable.
    pub(crate) fn make_durable(&self) -> Result<()> {
        self.call("flush", |open| open.db.flush())?;
        check_no_blobs(&*self.disk, &self.dir).map_err(|error| self.health.poison("could not rely on sled", error))?;
        let sync = || {
            if !self.names_durable.load(Ordering::Relaxed) {
                self.disk.open(&self.dir.join("conf"))?.sync_all()?;
                self.disk.sync_dir(&self.dir)?;
                if let Some(parent) = self.dir.parent() {
                    self.disk.sync_dir(parent)?;
                }
                self.names_durable.store(true, Ordering::Relaxed);
            }
            self.file.sync_all()
        };
        sync().map_err(|error| self.health.poison(&format!("could not fsync {}", self.dir.display()), error))
    }

    /// It is changed in one line.
    fn sum(&self) -> MutexGuard<'_, u128> {
        self.replaced_sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call into sled. Its errors and panics poison the store.
    fn call<T>(&self, what: &str, run: impl FnOnce(&Open) -> sled::Result<T>) -> Result<T> {
        self.health.check()?;
        let open = self.open.as_ref().unwrap_or_else(|| unreachable!("only a drop closes it"));
        guarded(|| run(open)).map_err(|cause| {
            self.broken.store(true, Ordering::Relaxed);
            self.health.poison(&format!("could not {what} sled in {}", self.dir.display()), cause)
        })
    }

    fn decoded<T>(&self, what: &str, decoded: Option<T>) -> Result<T> {
        decoded.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("sled in {} holds a {what} that makes no sense", self.dir.display()))
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let open = self.open.take();
        match self.broken.load(Ordering::Relaxed) {
            // sled flushes when it is dropped, which may panic too; there is nobody left to tell.
            false => drop(guarded(|| {
                drop(open);
                Ok(())
            })),
            true => std::mem::forget(open),
        }
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

/// Records come out of their items.
struct Reading {
    db: DatabaseId,
    next_seq: u64,
    /// The record that is read: its length, crc32c, next part and the bytes so far.
    part: Option<(usize, u32, u16, Vec<u8>)>,
    found: Vec<StoredRecord>,
    bytes_sum: usize,
}

impl Reading {
    /// Takes the next item; false when enough is read.
    fn take(&mut self, key: &[u8], value: &[u8], bytes_max: usize) -> Result<bool, String> {
        let broken = |seq: u64| format!("record {seq} of {} is not there as written", self.db);
        let (seq, part) = record_key_fields(key).ok_or_else(|| broken(self.next_seq))?;
        let expected_part = self.part.as_ref().map_or(0, |part| part.2);
        if seq != self.next_seq || part != expected_part {
            return Err(broken(self.next_seq));
        }
        let (length, crc, _, mut bytes) = match self.part.take() {
            Some(part) => part,
            None => {
                let mut fields = Fields::new(value);
                let (length, crc) = fields.u32().zip(fields.u32()).ok_or_else(|| broken(seq))?;
                let length = length as usize;
                if !self.found.is_empty() && self.bytes_sum + length > bytes_max {
                    return Ok(false);
                }
                (length, crc, 0, Vec::with_capacity(length.min(PART_BYTES)))
            }
        };
        bytes.extend_from_slice(if part == 0 { &value[8..] } else { value });
        if bytes.len() < length {
            self.part = Some((length, crc, part + 1, bytes));
            return Ok(true);
        }
        if bytes.len() != length || crc32c::crc32c(&bytes) != crc {
            return Err(broken(seq));
        }
        self.bytes_sum += length;
        self.found.push(StoredRecord { seq, bytes });
        self.next_seq += 1;
        Ok(true)
    }
}

fn insert_record(batch: &mut sled::Batch, db: DatabaseId, seq: u64, record: &[u8]) {
    for (chunk, part) in record.chunks(PART_BYTES).zip(0u16..) {
        let mut value = Vec::with_capacity(chunk.len() + 8);
        if part == 0 {
            value.extend_from_slice(&(record.len() as u32).to_le_bytes());
            value.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
        }
        value.extend_from_slice(chunk);
        let key = record_key(db, seq, part);
        debug_assert!(key.len() + value.len() <= ITEM_BYTES_MAX);
        batch.insert(&key, value);
    }
}

/// How many items a record of this length takes. Its length was checked, so that parts are numbered by 16 bits.
fn parts_of(length: usize) -> u16 {
    length.div_ceil(PART_BYTES) as u16
}

fn record_key(db: DatabaseId, seq: u64, part: u16) -> [u8; 27] {
    let mut key = [0; 27];
    key[0] = b'r';
    key[1..17].copy_from_slice(&db.0);
    key[17..25].copy_from_slice(&seq.to_be_bytes());
    key[25..].copy_from_slice(&part.to_be_bytes());
    key
}

fn replaced_key(db: DatabaseId, seq: u64) -> [u8; 25] {
    let mut key = [0; 25];
    key[0] = b'e';
    key[1..17].copy_from_slice(&db.0);
    key[17..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn decode_replaced(key: &[u8], value: &[u8]) -> Option<(DatabaseId, u64, [u8; 32])> {
    let (db, seq) = key.get(1..)?.split_first_chunk()?;
    Some((DatabaseId(*db), u64::from_be_bytes(seq.try_into().ok()?), value.try_into().ok()?))
}

fn record_key_fields(key: &[u8]) -> Option<(u64, u16)> {
    let (seq, part) = key.get(17..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u16::from_be_bytes(part.try_into().ok()?)))
}

/// What an item adds to a sum that shows whether one is missing.
pub(crate) fn term(key: &[u8], value: &[u8]) -> u128 {
    let hash = sha256(&[key, value].concat());
    let half = hash.first_chunk().unwrap_or_else(|| unreachable!("a SHA-256 has 32 bytes"));
    u128::from_le_bytes(*half)
}

fn encode_pod(version: PodVersion, bytes: &[u8]) -> Vec<u8> {
    let mut out = version.to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn decode_pod(bytes: &[u8]) -> Option<(PodVersion, Vec<u8>)> {
    let (version, bytes) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*version), bytes.to_vec()))
}

fn key(tag: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(tag);
    key.extend_from_slice(name);
    key
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
