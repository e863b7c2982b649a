//! Encoded segments on local disk: a file each, found by an index in memory that is made anew from the directory.
//!
//! ```text
//! DIR/diachron-cache            what the directory is (marker)
//! DIR/lock                      held by the process that has it
//! DIR/tmp/N                     a file being written
//! DIR/LINEAGE/ab/abcd…          a segment: the bytes that its name is the SHA-256 of
//! DIR/floors/DATABASE           the seq of the newest erasure that the directory was cleaned for
//! ```
//!
//! Nothing is synced and nothing is believed: a file comes under its name by a rename, and counts only if its hash is
//! its name. So a crash costs entries and never an answer. The page cache keeps warm files in memory that is nobody's
//! heap.
//!
//! What goes when there is no more room is decided by the same policy as on the heap. The index holds a key before its
//! file is written and drops it before its file is deleted, so that the files take no more than they may. Only who
//! brings a segment touches its file, one at a time; but a file may be deleted under a reader, who then finds nothing.

mod marker;

use crate::config;
use crate::counters::Counted;
use crate::key::{ByHash, Encoded, Hex, from_hex};
use bytes::Bytes;
use db::index::segment;
use db::log::DatabaseId;
use db::{Error, Result};
use marker::{Found, cannot};
use process::log;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

pub(crate) struct Disk {
    dir: PathBuf,
    /// The one lineage that the directory is for.
    lineage: Option<DatabaseId>,
    bytes_max: u64,
    free_bytes_min: u64,
    index: Cache<Encoded, Length, ByBlocks, ByHash, Evicted>,
    /// For names of files being written.
    written: AtomicU64,
    pub evictions: Counted,
    /// Entries that were not what their names say.
    pub damaged: Counted,
    /// Segments that were not kept: no room on the file system, or an error of it.
    pub not_kept: Counted,
    /// Closed with the cache.
    _lock: File,
}

/// Of a file.
#[derive(Clone, Copy)]
struct Length(u32);

/// What a file takes is counted in blocks of the file system.
const BLOCK_BYTES: u64 = 4096;
/// Of an encoded segment, about; only the index's own tables are laid out by it.
const SEGMENT_BYTES: u64 = 16 << 10;
const TMP: &str = "tmp";
const FLOORS: &str = "floors";

impl Disk {
    pub fn open(config: &config::Disk) -> Result<Disk> {
        let dir = config.dir.clone();
        let lineage = config.lineage.into();
        let (lock, found) = marker::take(&dir, lineage)?;
        if let Found::Older(format) = found {
            clear(&dir).map_err(|error| cannot(&dir, "clear it", &error))?;
            log::info!(dir = %dir.display(), format, "cleared a cache directory of an older format");
        }
        if found != Found::Cache {
            marker::mark(&dir, lineage)?;
        }
        let tmp = dir.join(TMP);
        // What was being written when a process ended.
        let emptied = match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&tmp),
        };
        emptied.map_err(|error| cannot(&dir, "empty its directory tmp", &error))?;
        let options = OptionsBuilder::new()
            // One, so that the bound holds for every size; the lock is held for less than it takes to open a file.
            .shards(1)
            .estimated_items_capacity((config.bytes / SEGMENT_BYTES).max(1) as usize)
            .weight_capacity(config.bytes)
            .build()
            .expect("both capacities are set");
        let disk = Disk {
            lineage: config.lineage,
            bytes_max: config.bytes,
            free_bytes_min: config.free_bytes_min,
            index: Cache::with_options(options, ByBlocks, ByHash::default(), Evicted),
            written: AtomicU64::new(0),
            evictions: Counted::default(),
            damaged: Counted::default(),
            not_kept: Counted::default(),
            _lock: lock,
            dir,
        };
        let files = files(&disk.dir).map_err(|error| cannot(&disk.dir, "list it", &error))?;
        files.into_iter().for_each(|file| disk.index(file.key, Length(file.length)));
        Ok(disk)
    }

    /// Refuses a lineage for which the directory is not.
    pub fn check(&self, lineage: DatabaseId) -> Result<()> {
        match self.lineage {
            Some(own) if own != lineage => {
                let message =
                    format!("the cache directory {} is for lineage {own} alone, not for {lineage}", self.dir.display());
                Err(Error::incorrect("db.error/cache-directory", message))
            }
            _ => Ok(()),
        }
    }

    /// The bytes that a key stands for, if they are here and are what it says.
    pub fn read(&self, key: &Encoded) -> Option<Bytes> {
        self.index.get(key)?;
        let path = self.path(key);
        let fault = match fs::read(&path) {
            Ok(bytes) if segment::hash(&bytes) == key.hash => return Some(bytes.into()),
            Ok(bytes) => format!("its {} bytes have another hash", bytes.len()),
            // Given up since it was looked up.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.index.remove(key);
                return None;
            }
            Err(error) => error.to_string(),
        };
        self.remove(key);
        // A bad disk has many, and is one piece of news.
        if let Some(entries) = self.damaged.add_and_tell() {
            log::warn!(file = %path.display(), fault, entries, "dropped a damaged entry of the cache directory; it is fetched again");
        }
        None
    }

    /// Keeps bytes, which are what their key says. A failure costs nothing but this.
    pub fn write(&self, key: &Encoded, bytes: &Bytes) {
        let Ok(length) = u32::try_from(bytes.len()) else { return };
        if let Err(error) = self.try_write(key, Length(length), bytes) {
            self.remove(key);
            if let Some(segments) = self.not_kept.add_and_tell() {
                log::warn!(dir = %self.dir.display(), error = %error, segments, "the cache directory takes no segments for now");
            }
        }
    }

    fn try_write(&self, key: &Encoded, length: Length, bytes: &[u8]) -> io::Result<()> {
        self.check_free()?;
        self.index(*key, length);
        if !self.index.contains_key(key) {
            return Ok(());
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.join(TMP).join(number.to_string());
        let path = self.path(key);
        let written = fs::write(&new, bytes).and_then(|()| {
            fs::rename(&new, &path).or_else(|error| match error.kind() {
                ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(&self.dir)).and_then(|()| fs::rename(&new, &path))
                }
                _ => Err(error),
            })
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        } else if !self.index.contains_key(key) {
            // Given up meanwhile, perhaps before there was a file to delete.
            let _ = fs::remove_file(&path);
        }
        written
    }

    fn check_free(&self) -> io::Result<()> {
        let system = rustix::fs::statvfs(&self.dir)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < self.free_bytes_min {
            let message = format!("{free} bytes are free, {} are to be left", self.free_bytes_min);
            return Err(io::Error::new(ErrorKind::StorageFull, message));
        }
        Ok(())
    }

    /// Keeps those of a lineage that are wanted.
    pub fn retain(&self, lineage: DatabaseId, keep: impl Fn(&Encoded) -> bool) {
        let keys: Vec<Encoded> = self.index.iter().map(|(key, _)| key).collect();
        keys.iter().filter(|key| key.lineage == lineage && !keep(key)).for_each(|key| self.remove(key));
    }

    /// The newest `erase` record of a database that the directory was cleaned for.
    pub fn floor(&self, database: DatabaseId) -> u64 {
        let text = fs::read_to_string(self.dir.join(FLOORS).join(database.to_string()));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// After it was cleaned. Where that cannot be written down it is cleaned once more when it is next used.
    pub fn set_floor(&self, database: DatabaseId, floor: u64) {
        let dir = self.dir.join(FLOORS);
        let written =
            fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(database.to_string()), floor.to_string()));
        if let Err(error) = written {
            log::warn!(dir = %self.dir.display(), %error, "the cache directory cannot note what it was cleaned for");
        }
    }

    pub fn segments(&self) -> u64 {
        self.index.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.index.weight()
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn remove(&self, key: &Encoded) {
        self.index.remove(key);
        let _ = fs::remove_file(self.path(key));
    }

    /// Takes a key into the index, and deletes what that displaces.
    fn index(&self, key: Encoded, length: Length) {
        let mut evicted = Vec::new();
        self.index.insert_with_lifecycle(key, length, &mut evicted);
        for gone in evicted {
            // A key that was there before is told too.
            if gone != key || !self.index.contains_key(&gone) {
                self.evictions.add();
                let _ = fs::remove_file(self.path(&gone));
            }
        }
    }

    fn path(&self, key: &Encoded) -> PathBuf {
        let name = Hex(&key.hash).to_string();
        self.dir.join(key.lineage.to_string()).join(&name[..2]).join(name)
    }
}

#[derive(Clone)]
struct ByBlocks;

impl Weighter<Encoded, Length> for ByBlocks {
    fn weight(&self, _: &Encoded, length: &Length) -> u64 {
        u64::from(length.0).next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES)
    }
}

/// Collects the keys whose files are to be deleted.
#[derive(Clone)]
struct Evicted;

impl Lifecycle<Encoded, Length> for Evicted {
    type RequestState = Vec<Encoded>;

    fn on_evict(&self, gone: &mut Vec<Encoded>, key: Encoded, _: Length) {
        gone.push(key);
    }
}

struct Entry {
    key: Encoded,
    length: u32,
    modified: SystemTime,
}

/// The entries of a directory, oldest first. What has no name of an entry is left alone.
fn files(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut files = Vec::new();
    for (lineage, of_lineage) in lineages(dir)? {
        for group in fs::read_dir(of_lineage)? {
            let group = group?;
            if !group.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(group.path())? {
                let file = file?;
                let Some(hash) = file.file_name().to_str().and_then(from_hex) else { continue };
                let about = file.metadata()?;
                let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let length = u32::try_from(about.len()).unwrap_or(u32::MAX);
                files.push(Entry { key: Encoded { lineage, hash }, length, modified });
            }
        }
    }
    files.sort_by_key(|entry| (entry.modified, entry.key.hash));
    Ok(files)
}

/// The directories of lineages.
fn lineages(dir: &Path) -> io::Result<Vec<(DatabaseId, PathBuf)>> {
    let mut lineages = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(from_hex)
            && entry.file_type()?.is_dir()
        {
            lineages.push((DatabaseId(id), entry.path()));
        }
    }
    Ok(lineages)
}

fn clear(dir: &Path) -> io::Result<()> {
    lineages(dir)?.into_iter().try_for_each(|(_, dir)| fs::remove_dir_all(dir))
}
