//! A database's log, whole: records that the journal has let go of are read from the log tree, and nobody who asks here
//! sees a difference.
//!
//! The tree is that of the newest `index` record, which is always in the journal and covers all that is sealed. A newer
//! one may be named while it is read, and its segments may then go; so what is missing is looked for in the newest tree
//! once more.

use crate::errors::from_storage;
use db::index::segment::SegmentId;
use db::log::tree::{self, LogRoot, LogSource};
use db::log::{self, BodyPlace, Content, Header, IndexBody, RawRecord};
use db::replay::Checked;
use db::{Category, Error, Result};
use storage::{DatabaseId, Journal, Records, SegmentKey, Segments, StoredRecord};

/// Reads logs of a store. Blocks.
#[derive(Clone, Copy)]
pub struct LogReader<'a> {
    pub journal: &'a dyn Journal,
    pub segments: &'a dyn Segments,
}

/// A log tree's segments, from the store.
pub struct TreeLog<'a> {
    pub segments: &'a dyn Segments,
    pub lineage: log::DatabaseId,
}

/// The code of the error that says that a segment of a tree is not there.
pub const SEGMENT_MISSING: &str = "db.error/segment-missing";

/// Every index that is named while a read goes on makes it begin again; so many in one read are a fault.
const TRIES_MAX: usize = 16;

impl<'a> LogReader<'a> {
    pub fn new(journal: &'a dyn Journal, segments: &'a dyn Segments) -> Self {
        LogReader { journal, segments }
    }

    /// Records from `from_seq` on, in order, at least one if there is one, until about `bytes_max` are read; none when
    /// the log ends before it.
    pub fn read(&self, id: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredRecord>> {
        let from_seq = from_seq.max(1);
        match self.journal.read(id, from_seq, bytes_max).map_err(from_storage)? {
            Records::Found(records) => Ok(records),
            Records::Sealed { .. } => self.sealed(id, from_seq, bytes_max),
        }
    }

    /// One record; None beyond the end.
    pub fn record(&self, id: DatabaseId, seq: u64) -> Result<Option<StoredRecord>> {
        Ok(self.read(id, seq, 1)?.into_iter().next().filter(|record| record.seq == seq))
    }

    /// The `index` or `erase` record at a seq, or the one that begins a fork; None where another one stands, or none.
    pub fn index(&self, id: DatabaseId, seq: u64) -> Result<Option<(Header, IndexBody)>> {
        let stored = self.record(id, seq)?;
        stored.map_or(Ok(None), |stored| index_of(&stored, self.segments))
    }

    fn sealed(&self, id: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredRecord>> {
        let mut tried = None;
        for _ in 0..TRIES_MAX {
            let Some(head) = self.journal.head(id).map_err(from_storage)? else { return Ok(Vec::new()) };
            let Records::Found(records) = self.journal.read(id, head.index_seq, 1).map_err(from_storage)? else {
                // A newer one was named meanwhile, and the log sealed up to it.
                continue;
            };
            let named = records.first().filter(|record| record.seq == head.index_seq);
            let named = named.map(|stored| index_of(stored, self.segments)).transpose()?;
            let Some((header, root)) = named.flatten().and_then(|(header, body)| Some((header, body.log?))) else {
                return Err(not_in_the_tree(id, from_seq));
            };
            if root.seq < from_seq {
                return Err(not_in_the_tree(id, from_seq));
            }
            let source = TreeLog { segments: self.segments, lineage: header.lineage };
            match take(&root, &source, from_seq, bytes_max) {
                Err(error) if error.code() == SEGMENT_MISSING && tried != Some(root) => tried = Some(root),
                read => return read,
            }
        }
        let message = format!("the log of database {id} was sealed over and over while it was read; try again");
        Err(Error::new(Category::Unavailable, "db.error/log-sealed", message))
    }
}

fn take(root: &LogRoot, source: &TreeLog<'_>, from_seq: u64, bytes_max: usize) -> Result<Vec<StoredRecord>> {
    let (mut taken, mut bytes_sum) = (Vec::new(), 0);
    for (seq, record) in (from_seq..).zip(tree::records(root, source, from_seq)) {
        let bytes = record?;
        bytes_sum += bytes.len();
        if !taken.is_empty() && bytes_sum > bytes_max {
            break;
        }
        taken.push(StoredRecord { seq, bytes });
        if bytes_sum >= bytes_max {
            break;
        }
    }
    Ok(taken)
}

fn index_of(stored: &StoredRecord, segments: &dyn Segments) -> Result<Option<(Header, IndexBody)>> {
    let record = RawRecord::parse(&stored.bytes)?;
    if !matches!(record.header.kind, log::Kind::Index | log::Kind::Fork | log::Kind::Erase) {
        return Ok(None);
    }
    let checked = Checked::read(&record, body_segment(segments, &record)?.as_deref())?;
    Ok(checked.index().map(|body| (record.header, body)))
}

/// The body of a record that lies out of line; None for one in line.
pub fn body_segment(segments: &dyn Segments, record: &RawRecord<'_>) -> Result<Option<Vec<u8>>> {
    let Content::OutOfLine(place) = record.content else { return Ok(None) };
    let key = body_key(&place);
    let bytes = segments.get(&key).map_err(from_storage)?.ok_or_else(|| {
        let (seq, t) = (record.header.seq, record.header.first_t);
        let message = format!(
            "record {seq} (t {t}) of database {} has its body in segment {key:?}, which is missing",
            key.database
        );
        Error::corrupt("db.error/storage-corrupt", message)
    })?;
    Ok(Some(bytes))
}

/// The segment that a body's place names.
pub fn body_key(place: &BodyPlace) -> SegmentKey {
    SegmentKey {
        lineage: DatabaseId(place.lineage.0),
        database: DatabaseId(place.database.0),
        term: place.term,
        job: BodyPlace::JOB.to_owned(),
        hash: place.hash,
    }
}

fn not_in_the_tree(id: DatabaseId, seq: u64) -> Error {
    let message = format!("record {seq} of database {id} is sealed, and not in the log tree that its index names");
    Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string()).with("seq", seq as i64)
}

impl LogSource for TreeLog<'_> {
    fn fetch(&self, id: &SegmentId) -> Result<Vec<u8>> {
        let key = key_of(self.lineage, id);
        self.segments.get(&key).map_err(from_storage)?.ok_or_else(|| {
            let message = format!("{id} of the log tree is missing");
            Error::new(Category::Unavailable, SEGMENT_MISSING, message).with("segment", id.to_string())
        })
    }
}

/// A tree's segment by its name in storage.
pub fn key_of(lineage: log::DatabaseId, id: &SegmentId) -> SegmentKey {
    SegmentKey {
        lineage: DatabaseId(lineage.0),
        database: DatabaseId(id.database.0),
        term: id.term,
        job: format!("index-{}", id.job),
        hash: id.hash,
    }
}

#[cfg(test)]
mod tests;
