//! A store: both roles, opened from a URL, with every bound by name.

use crate::disk::{Disk, OsDisk};
use crate::memory::MemoryStore;
use crate::{Error, ErrorKind, Journal, Result, Segments, Usage, sled_store};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Fills bytes with randomness.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;

/// Every bound of a store, and what it stands on. The defaults are for production; tests make them tiny.
#[derive(Clone)]
pub struct Options {
    /// The longest record. Transaction groups are cut at 256 KiB and larger bodies go into segments.
    pub record_bytes_max: usize,
    /// The longest segment; below 4 GiB.
    pub segment_bytes_max: usize,
    /// How many steps wait for the disk at most; one more is refused as busy.
    pub queue_steps_max: usize,
    /// How many bytes wait for the disk at most.
    pub queue_bytes_max: usize,
    /// The length of a redo file.
    pub redo_file_bytes: u64,
    /// The longest redo frame. A record of `record_bytes_max` must fit into one.
    pub frame_bytes_max: u32,
    /// After this many bytes of steps sled is made durable, so that a start replays no more than about that.
    pub checkpoint_bytes: u64,
    /// A pack file is ended by the first segment that passes this length.
    pub pack_bytes_target: u64,
    /// Below this, appends, pods and segments are refused as busy, before the disk is full.
    pub free_bytes_reserve: u64,
    /// What sled may keep in memory of its own, about.
    pub sled_cache_bytes: u64,
    pub disk: Arc<dyn Disk>,
    pub entropy: Entropy,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            record_bytes_max: 512 * KIB as usize,
            segment_bytes_max: 64 * MIB as usize,
            queue_steps_max: 4096,
            queue_bytes_max: 64 * MIB as usize,
            redo_file_bytes: 64 * MIB,
            frame_bytes_max: MIB as u32,
            checkpoint_bytes: 16 * MIB,
            pack_bytes_target: 256 * MIB,
            free_bytes_reserve: 256 * MIB,
            sled_cache_bytes: 64 * MIB,
            disk: Arc::new(OsDisk),
            entropy: Arc::new(|bytes| File::open("/dev/urandom")?.read_exact(bytes)),
        }
    }
}

impl Options {
    /// What all heads and pods may take, since every redo file begins with them.
    pub(crate) fn state_bytes_max(&self) -> usize {
        ((self.redo_file_bytes - 2 * u64::from(self.frame_bytes_max)) / 4) as usize
    }
}

/// An open store. It stays open until [`Store::close`], or until it and every role taken from it is dropped.
pub struct Store {
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    notes: Vec<String>,
    close: Box<dyn FnOnce() -> Result<()> + Send + Sync>,
}

/// Opens the store that `url` names: `memory:` is a new one that lives as long as it is open, `sled:DIR` is
/// the directory DIR, made if it is not there or empty.
pub fn open(url: &str, options: Options) -> Result<Store> {
    let unknown = || {
        let message = format!("store URL {url:?} names no store; use memory: or sled:DIR");
        Err(Error::new(ErrorKind::Invalid, message))
    };
    match url.split_once(':') {
        Some(("memory", "")) => Ok(MemoryStore::new(options).store()),
        Some(("sled", dir)) if !dir.is_empty() => sled_store::open(Path::new(dir), options),
        _ => unknown(),
    }
}

impl Store {
    /// Two roles as one store. Backends outside this crate are made with it; `close` ends both.
    pub fn new(
        journal: Arc<dyn Journal>,
        segments: Arc<dyn Segments>,
        notes: Vec<String>,
        close: impl FnOnce() -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Store { journal, segments, notes, close: Box::new(close) }
    }

    pub fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone()
    }

    pub fn segments(&self) -> Arc<dyn Segments> {
        self.segments.clone()
    }

    /// What the store takes.
    pub fn usage(&self) -> Result<Usage> {
        self.segments.usage()
    }

    /// What opening had to mend, in sentences for the operator's log; empty when all was in order.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Ends the store in order. Roles still held elsewhere answer with errors afterwards.
    pub fn close(self) -> Result<()> {
        (self.close)()
    }
}
