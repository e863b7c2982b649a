//! One open sled directory, and what is written into it.

use super::items::{encode_pod, insert_record, key, parts_of, record_key, replaced_key, term};
use super::{
    META, Meta, SEGMENTS_TREE, SWEEP_KEYS, check_no_blobs, guarded, remove_torn_snapshots, wait_for_leftover_threads,
};
use crate::disk::{Disk, DiskFile};
use crate::sled_store::io_error;
use crate::sled_store::redo::frame::encode_head;
use crate::state::Change;
use crate::{DatabaseId, Error, ErrorKind, Result, sha256};
use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Open {
    pub(super) db: sled::Db,
    pub(super) segments: sled::Tree,
    /// A descriptor of our own on sled's file, opened before sled writes, so that no error of the disk is
    /// reported to somebody else only.
    file: Arc<dyn DiskFile>,
    names_durable: AtomicBool,
    /// The sum of all items `e`, as it is in sled, or will be when it is whole.
    replaced_sum: Mutex<u128>,
    /// All is in it that belongs there, so it says of which commit it is.
    whole: AtomicBool,
    /// A call into sled failed: its locks may be held for ever.
    pub(super) broken: AtomicBool,
}

/// An open sled, which is closed when this is dropped.
pub(super) struct Held(Option<Open>);

impl Deref for Held {
    type Target = Open;

    fn deref(&self) -> &Open {
        self.0.as_ref().unwrap_or_else(|| unreachable!("only a drop takes it"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.0.take() {
            Some(open) if open.broken.load(Ordering::Relaxed) => std::mem::forget(open),
            // sled flushes when it is dropped, which may panic too; there is nobody left to tell.
            open => drop(guarded(|| {
                drop(open);
                Ok(())
            })),
        }
    }
}

impl Open {
    pub(super) fn at(disk: &dyn Disk, dir: &Path, cache_bytes: u64) -> Result<Held> {
        remove_torn_snapshots(disk, dir)?;
        check_no_blobs(disk, dir)?;
        let config = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        wait_for_leftover_threads(dir);
        let opened = guarded(|| {
            let db = config.open()?;
            let segments = db.open_tree(SEGMENTS_TREE)?;
            Ok((db, segments))
        });
        let (db, segments) = opened.map_err(|cause| {
            let kind = match cause.contains("could not acquire lock") {
                true => ErrorKind::InUse,
                false => ErrorKind::Corrupt,
            };
            Error::new(kind, format!("sled cannot open {}: {cause}", dir.display()))
        })?;
        let file = disk.open(&dir.join("db")).map_err(|error| io_error("open", &dir.join("db"), error))?;
        let held = Held(Some(Open {
            db,
            segments,
            file,
            names_durable: AtomicBool::new(false),
            replaced_sum: Mutex::default(),
            whole: AtomicBool::new(true),
            broken: AtomicBool::new(false),
        }));
        check_no_blobs(disk, dir)?;
        Ok(held)
    }

    /// From now on batches do not say of which commit it is, until it is whole.
    pub(super) fn begin_in_parts(&self) {
        self.whole.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_whole_as_of(&self, meta: Meta) -> sled::Result<()> {
        self.db.insert(META, meta.encode(self.replaced_sum()))?;
        self.whole.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn replaced_sum(&self) -> u128 {
        *self.sum()
    }

    pub(super) fn set_replaced_sum(&self, sum: u128) {
        *self.sum() = sum;
    }

    /// It is changed in one line.
    fn sum(&self) -> MutexGuard<'_, u128> {
        self.replaced_sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes in one batch.
    pub(super) fn apply(&self, meta: Meta, changes: &[&Change]) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
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
        let mut sum = self.replaced_sum();
        for (key, hash) in replaced {
            if let Some(before) = self.db.get(key)? {
                sum = sum.wrapping_sub(term(&key, &before));
            }
            sum = sum.wrapping_add(term(&key, &hash));
            batch.insert(&key, &hash);
        }
        self.write_journal(batch, Some(meta), sum)
    }

    /// Removes some records of before this seq; false when there are none left.
    pub(super) fn sweep_sealed(&self, db: DatabaseId, before_seq: u64) -> sled::Result<bool> {
        let keys = self.db.range(record_key(db, 0, 0)..record_key(db, before_seq, 0)).keys();
        let swept = self.remove(keys.take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?)?;
        Ok(self.forget_replaced(db, before_seq)? || swept)
    }

    /// Removes some of what is left of a database that was dropped; false when that was all.
    pub(super) fn sweep_dropped(&self, db: DatabaseId) -> sled::Result<bool> {
        let keys = self.db.scan_prefix(key(b'r', &db.0)).keys();
        let swept = self.remove(keys.take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?)?;
        if self.forget_replaced(db, u64::MAX)? || swept {
            return Ok(true);
        }
        self.db.remove(key(b'x', &db.0))?;
        Ok(false)
    }

    fn remove(&self, keys: Vec<sled::IVec>) -> sled::Result<bool> {
        let mut batch = sled::Batch::default();
        keys.iter().for_each(|key| batch.remove(key.clone()));
        self.db.apply_batch(batch)?;
        Ok(!keys.is_empty())
    }

    /// Removes some of the items that say which records before this seq were given other bytes; false when there are none.
    fn forget_replaced(&self, db: DatabaseId, before_seq: u64) -> sled::Result<bool> {
        let items = self.db.range(replaced_key(db, 0)..replaced_key(db, before_seq));
        let items = items.take(SWEEP_KEYS).collect::<Result<Vec<_>, _>>()?;
        if items.is_empty() {
            return Ok(false);
        }
        let sum = items.iter().fold(self.replaced_sum(), |sum, (key, value)| sum.wrapping_sub(term(key, value)));
        let mut batch = sled::Batch::default();
        items.into_iter().for_each(|(key, _)| batch.remove(key));
        let meta = self.db.get(META)?.and_then(|bytes| Some(Meta::decode(&bytes)?.0));
        self.write_journal(batch, meta, sum)?;
        Ok(true)
    }

    /// Writes a batch, and with it of which commit the whole is.
    fn write_journal(&self, mut batch: sled::Batch, meta: Option<Meta>, sum: u128) -> sled::Result<()> {
        if let Some(meta) = meta.filter(|_| self.whole.load(Ordering::Relaxed)) {
            batch.insert(META, meta.encode(sum));
        }
        self.db.apply_batch(batch)?;
        self.set_replaced_sum(sum);
        Ok(())
    }

    /// Makes what was flushed durable, and the names in the directory.
    pub(super) fn sync(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if !self.names_durable.load(Ordering::Relaxed) {
            disk.open(&dir.join("conf"))?.sync_all()?;
            disk.sync_dir(dir)?;
            if let Some(parent) = dir.parent() {
                disk.sync_dir(parent)?;
            }
            self.names_durable.store(true, Ordering::Relaxed);
        }
        self.file.sync_all()
    }
}
