//! sled made anew beside itself, since it never forgets: what was removed or overwritten stays in its file.
//!
//! All that is in it, and nothing that is not needed, is copied into a new directory in small steps. Each step holds up
//! writers only, for some milliseconds. Meanwhile every batch goes into both, so that the part that was copied stays as
//! the old one is. When all is copied, and durable, the new directory takes the name and the place of the old one.
//! A crash before that leaves the old one as it was; the new one says of no commit that it has it until it is whole.
//!
//! An open sled may be renamed: version 0.34.7 asks for its path only when it is opened.

use super::items::{key, record_key};
use super::opened::{Held, Open};
use super::{Engine, META, Meta, check_no_blobs, guarded};
use crate::sled_store::bytes::Fields;
use crate::sled_store::io_error;
use crate::sled_store::redo::frame::decode_head;
use crate::{DatabaseId, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

/// What a directory of sled's is called while it is made, and when another has taken its place.
const NEXT_SUFFIX: &str = ".next";
const OLD_SUFFIX: &str = ".old";

/// So much is copied while writers wait.
const STEP_BYTES: usize = 128 << 10;
const STEP_ITEMS: usize = 500;

/// The sled that is made.
pub(super) struct Next {
    open: Arc<Held>,
    copying: Copying,
    /// The newest record of each database when it was begun: those after it came with what is written into both, and
    /// copying would never end if it followed them.
    last: BTreeMap<DatabaseId, u64>,
    /// The last key that was copied.
    after: Option<Vec<u8>>,
    /// It took something not, so it is of no use.
    failed: OnceLock<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copying {
    Journal,
    Segments,
    Nothing,
}

/// How far copying came.
pub(crate) struct Copied {
    /// What was looked at, copied or not.
    pub(crate) bytes: u64,
    pub(crate) more: bool,
}

impl Next {
    /// Writes what is written into the other.
    pub(super) fn write<T>(&self, run: impl FnOnce(&Open) -> sled::Result<T>) {
        if self.failed.get().is_none()
            && let Err(cause) = guarded(|| run(&self.open))
        {
            self.open.broken.store(true, Ordering::Relaxed);
            self.failed.get_or_init(|| cause);
        }
    }
}

impl Engine {
    /// Begins to make sled anew; what an attempt before left is thrown away.
    pub(crate) fn renew(&self) -> Result<()> {
        self.give_up_renewal();
        let dir = with_suffix(&self.dir, NEXT_SUFFIX);
        remove_dir(&dir)?;
        let open = Arc::new(Open::at(&*self.disk, &dir, self.cache_bytes)?);
        open.begin_in_parts();
        let mut next = self.next();
        let heads = self.call("read", |open| open.db.scan_prefix(b"h").collect::<Result<Vec<_>, _>>())?;
        let last = heads.iter().filter_map(|(key, head)| {
            Some((DatabaseId(key.get(1..)?.try_into().ok()?), decode_head(&mut Fields::new(head))?.seq))
        });
        let last = last.collect();
        *next = Some(Next { open, copying: Copying::Journal, last, after: None, failed: OnceLock::new() });
        Ok(())
    }

    /// Lets go of a sled that was being made.
    pub(crate) fn give_up_renewal(&self) {
        let next = self.next().take();
        drop(next);
    }

    /// Copies about so many bytes into the new sled.
    pub(crate) fn copy_to_next(&self, bytes_max: u64) -> Result<Copied> {
        let mut copied = Copied { bytes: 0, more: true };
        while copied.more && copied.bytes < bytes_max {
            let mut next = self.next();
            let Some(next) = &mut *next else { return Err(self.no_renewal("nobody has begun to make it")) };
            copied.bytes += self.copy_step(next)?;
            if let Some(cause) = next.failed.get() {
                return Err(self.no_renewal(cause));
            }
            copied.more = next.copying != Copying::Nothing;
        }
        Ok(copied)
    }

    /// Puts the new sled, which has all that there is, in the place of the old one, and removes that.
    pub(crate) fn finish_renewal(&self) -> Result<()> {
        let dir = with_suffix(&self.dir, NEXT_SUFFIX);
        let old_dir = with_suffix(&self.dir, OLD_SUFFIX);
        remove_dir(&old_dir)?;
        // Once while nobody waits, so that little is left to be made durable when writers do.
        let Some(open) = self.next().as_ref().map(|next| next.open.clone()) else {
            return Err(self.no_renewal("nobody has begun to make it"));
        };
        self.make_next_durable(&open, &dir)?;
        let mut next = self.next();
        let current = self.current();
        let meta = self.call("read", |open| open.db.get(META))?.and_then(|bytes| Meta::decode(&bytes));
        let Some((meta, _)) = meta else { return Err(self.no_renewal("the one there is does not say what it holds")) };
        match &*next {
            Some(next) if next.copying == Copying::Nothing => next.write(|open| open.is_whole_as_of(meta)),
            _ => return Err(self.no_renewal("not all of it is copied")),
        }
        if let Some(cause) = next.as_ref().and_then(|next| next.failed.get()) {
            return Err(self.no_renewal(cause));
        }
        self.make_next_durable(&open, &dir)?;
        self.disk.rename(&self.dir, &old_dir).map_err(|error| io_error("rename", &self.dir, error))?;
        self.disk
            .rename(&dir, &self.dir)
            .and_then(|()| self.dir.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent)))
            .map_err(|error| self.health.poison(&format!("could not rename {}", dir.display()), error))?;
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
        *next = None;
        drop(next);
        // Whoever reads it just now has it open still.
        drop(current);
        remove_dir(&old_dir)
    }

    fn make_next_durable(&self, open: &Open, dir: &Path) -> Result<()> {
        guarded(|| open.db.flush()).map_err(|cause| {
            open.broken.store(true, Ordering::Relaxed);
            self.no_renewal(&cause)
        })?;
        check_no_blobs(&*self.disk, dir)?;
        open.sync(&*self.disk, dir).map_err(|error| io_error("fsync", dir, error))
    }

    fn no_renewal(&self, why: &str) -> Error {
        Error::new(ErrorKind::Io, format!("sled in {} could not be made anew: {why}", self.dir.display()))
    }

    /// Copies the items that come next, and returns how many bytes were looked at.
    fn copy_step(&self, next: &mut Next) -> Result<u64> {
        let after = next.after.clone();
        let begin = match &after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Unbounded,
        };
        let copying = next.copying;
        let (batch, bytes, last) = self.call("read", |open| {
            let tree: &sled::Tree = if copying == Copying::Journal { &open.db } else { &open.segments };
            let mut needed = Needed { db: &open.db, last: &next.last, known: BTreeMap::new() };
            let (mut batch, mut bytes) = (sled::Batch::default(), 0);
            for (item, count) in tree.range::<&[u8], _>((begin, Bound::Unbounded)).zip(1..) {
                let (key, value) = item?;
                let mut last = key.to_vec();
                bytes += key.len() + value.len();
                let need = if copying == Copying::Segments { Need::Copy } else { needed.of(&key)? };
                match need {
                    Need::Copy => batch.insert(key, value),
                    Need::Pass => {}
                    Need::PassDatabase(db) => last = record_key(db, u64::MAX, u16::MAX).to_vec(),
                }
                if bytes >= STEP_BYTES || count >= STEP_ITEMS || matches!(need, Need::PassDatabase(_)) {
                    return Ok((batch, bytes, Some(last)));
                }
            }
            Ok((batch, bytes, None))
        })?;
        next.write(|open| match copying {
            Copying::Journal => open.db.apply_batch(batch),
            _ => open.segments.apply_batch(batch),
        });
        if last.is_none() {
            next.copying = if copying == Copying::Journal { Copying::Segments } else { Copying::Nothing };
        }
        next.after = last;
        Ok(bytes as u64)
    }
}

/// Which items of the journal are needed still.
struct Needed<'a> {
    db: &'a sled::Db,
    last: &'a BTreeMap<DatabaseId, u64>,
    /// The first record of a database that is, if any is.
    known: BTreeMap<DatabaseId, Option<u64>>,
}

/// Whether an item is copied.
#[derive(Clone, Copy)]
enum Need {
    Copy,
    Pass,
    /// Nor is any record of this database that follows.
    PassDatabase(DatabaseId),
}

impl Needed<'_> {
    fn of(&mut self, item: &[u8]) -> sled::Result<Need> {
        match item.first() {
            Some(b'r') => {
                let Some((db, rest)) = item[1..].split_first_chunk::<16>() else { return Ok(Need::Pass) };
                let Some((seq, _)) = rest.split_first_chunk::<8>() else { return Ok(Need::Pass) };
                let (db, seq) = (DatabaseId(*db), u64::from_be_bytes(*seq));
                Ok(match self.first_of(db)? {
                    Some(_) if self.last.get(&db).is_none_or(|last| seq > *last) => Need::PassDatabase(db),
                    Some(first) if seq >= first => Need::Copy,
                    Some(_) => Need::Pass,
                    None => Need::PassDatabase(db),
                })
            }
            // The newest commit comes last; no older bytes of a record are there that could come back; and what was
            // dropped is not copied.
            Some(b'm' | b'e' | b'x') => Ok(Need::Pass),
            _ => Ok(Need::Copy),
        }
    }

    fn first_of(&mut self, db: DatabaseId) -> sled::Result<Option<u64>> {
        if let Some(known) = self.known.get(&db) {
            return Ok(*known);
        }
        let first = match self.db.contains_key(key(b'h', &db.0))? {
            false => None,
            true => Some(self.db.get(key(b'l', &db.0))?.and_then(|bytes| Fields::new(&bytes).u64()).unwrap_or(1)),
        };
        self.known.insert(db, first);
        Ok(first)
    }
}

/// Settles what a crash left of a renewal. A new directory without the old one is whole, since the old one is moved only
/// then; one beside it is of no use.
pub(crate) fn settle(disk: &dyn crate::disk::Disk, dir: &Path) -> Result<()> {
    let next = with_suffix(dir, NEXT_SUFFIX);
    if is_missing(dir) && !is_missing(&next) {
        disk.rename(&next, dir).map_err(|error| io_error("rename", &next, error))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).map_err(|error| io_error("fsync", parent, error))?;
        }
    }
    remove_dir(&next)?;
    remove_dir(&with_suffix(dir, OLD_SUFFIX))
}

fn is_missing(dir: &Path) -> bool {
    matches!(std::fs::metadata(dir), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn with_suffix(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes one of sled's directories, which sled writes past our disk.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", dir, error)),
        _ => Ok(()),
    }
}
