//! A store: both roles, opened from a URL, with every bound by name.

use crate::{Error, ErrorKind, Journal, Result, Segments, memory::MemoryStore};
use std::sync::Arc;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Every bound of a store. The defaults are for production; tests make them tiny.
#[derive(Clone)]
pub struct Options {
    /// The longest record. Transaction groups are cut at 256 KiB and larger bodies go into segments.
    pub record_bytes_max: usize,
    /// The longest segment.
    pub segment_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { record_bytes_max: 512 * KIB, segment_bytes_max: 64 * MIB }
    }
}

/// An open store. It stays open until [`Store::close`], or until it and every role taken from it is dropped.
pub struct Store {
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    notes: Vec<String>,
    close: Box<dyn FnOnce() -> Result<()> + Send>,
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
        _ => unknown(),
    }
}

impl Store {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        segments: Arc<dyn Segments>,
        notes: Vec<String>,
        close: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        Store { journal, segments, notes, close: Box::new(close) }
    }

    pub fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone()
    }

    pub fn segments(&self) -> Arc<dyn Segments> {
        self.segments.clone()
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
