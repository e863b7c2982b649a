//! A log as it lies in a store: that of a database, or what a fork shares with its origin, which is in the origin's log
//! tree, whether that is still there or not.

use crate::log::{LogReader, TreeLog};
use cache::Reader;
use db::log::tree::{self, LogRoot};
use db::log::{self, EraseBody, ForkBody, RawRecord, Replaced};
use db::replay::Checked;
use db::{Error, Result};
use storage::{DatabaseId, Journal, Segments};

/// A log that is read from the store.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    pub journal: &'a dyn Journal,
    pub segments: &'a dyn Segments,
    pub lineage: log::DatabaseId,
    /// Whose log it is; None for what an origin's log tree has of it.
    pub id: Option<DatabaseId>,
    /// That tree.
    pub root: Option<LogRoot>,
}

/// What is read at once.
const READ_BYTES: usize = 4 << 20;

/// Reads records of a log, and asks the `erase` record of it that a replaced body names; one of them is held at a time.
pub struct Vouching<'a> {
    past: Past<'a>,
    erase: Option<(u64, Option<EraseBody>)>,
}

impl Vouching<'_> {
    /// Reads a record, and its body from where it lies.
    pub fn checked(&mut self, record: &[u8]) -> Result<Checked> {
        let record = RawRecord::parse(record)?;
        let segment = crate::log::body_segment(self.past.segments, &record)?;
        Checked::read_vouched(&record, segment.as_deref(), &mut |replaced| self.vouches(replaced))
    }

    fn vouches(&mut self, replaced: &Replaced) -> Result<bool> {
        // A log is replaced by its own erasures alone.
        if replaced.database != replaced.of {
            return Ok(false);
        }
        if self.erase.as_ref().is_none_or(|(seq, _)| *seq != replaced.by) {
            self.erase = Some((replaced.by, self.past.record(replaced.by)?.erase().cloned()));
        }
        let erase = self.erase.as_ref().and_then(|(_, erase)| erase.as_ref());
        Ok(erase.is_some_and(|erase| erase.names(replaced.seq, &replaced.hash)))
    }
}

impl Past<'_> {
    /// Records from a seq on, at least one.
    pub fn read(&self, from: u64) -> Result<Vec<Vec<u8>>> {
        if let Some(id) = self.id {
            let records = LogReader::new(self.journal, self.segments).read(id, from, READ_BYTES)?;
            let records: Vec<_> = records.into_iter().map(|record| record.bytes).collect();
            return if records.is_empty() { Err(self.missing(from)) } else { Ok(records) };
        }
        let root = self.root.filter(|root| from <= root.seq).ok_or_else(|| self.missing(from))?;
        let source = TreeLog { segments: self.segments, lineage: self.lineage };
        let (mut records, mut bytes) = (Vec::new(), 0);
        for record in tree::records(&root, &source, from) {
            let record = record?;
            bytes += record.len();
            records.push(record);
            if bytes >= READ_BYTES {
                break;
            }
        }
        if records.is_empty() { Err(self.missing(from)) } else { Ok(records) }
    }

    /// The record at a seq. Of one whose body was replaced by an erasure, nobody has asked that.
    pub fn record(&self, seq: u64) -> Result<Checked> {
        let records = self.read(seq)?;
        let record = RawRecord::parse(&records[0])?;
        Checked::read(&record, crate::log::body_segment(self.segments, &record)?.as_deref())
    }

    /// Reads records whose bodies may have been replaced.
    pub fn vouching(&self) -> Vouching<'_> {
        Vouching { past: *self, erase: None }
    }

    /// What this log began with and those before it, the nearest first, each with who reads it; nothing where it began
    /// with a creation.
    pub fn origins(&self) -> Result<Vec<(Reader, ForkBody)>> {
        let (mut origins, mut log) = (Vec::new(), *self);
        loop {
            let first = log.record(1)?;
            let Some(fork) = first.fork() else { return Ok(origins) };
            (log.id, log.root) = (None, fork.index.log);
            origins.push((Reader::of(first.header()), fork.clone()));
        }
    }

    fn missing(&self, seq: u64) -> Error {
        let of = self.id.map_or_else(|| "of an origin's log tree".to_owned(), |id| format!("of database {id}"));
        Error::corrupt("db.error/storage-corrupt", format!("record {seq} {of} is missing")).with("seq", seq as i64)
    }
}
