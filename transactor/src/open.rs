//! Opening a database: its log since the newest index read, verified and replayed, then a new term begun.

use crate::append::{Fate, Step, append_surely};
use crate::errors::{fenced, from_storage};
use db::index::Trees;
use db::index::segment::Meta;
use db::log::{self, Content, IndexBody, RawRecord};
use db::replay::{Checked, Replay, create_body};
use db::{Error, Instant, Result};
use process::Entropy;
use std::sync::Arc;
use storage::{DatabaseId, Head, Journal, Records, SegmentKey, Segments};

/// What is read of the log at once.
const READ_BYTES: usize = 4 << 20;

/// Who writes, as `term` records tell.
pub struct Writer<'a> {
    pub endpoint: &'a str,
    pub now: Instant,
    pub entropy: &'a dyn Entropy,
}

/// A log that was read to its head.
pub struct Opened {
    pub replay: Replay,
    pub head: Head,
    /// The newest `index` record.
    pub index: Option<Arc<(u64, IndexBody)>>,
}

/// Reads and verifies a log, from what its newest `index` record says, or from its first record, to its head. Anything
/// that does not fit is damage.
pub fn replay(
    journal: &dyn Journal,
    segments: &dyn Segments,
    trees: &dyn Fn(DatabaseId, &IndexBody) -> Result<(Meta, Arc<Trees>)>,
    id: DatabaseId,
) -> Result<Opened> {
    let head = journal.head(id).map_err(from_storage)?.ok_or_else(|| {
        let message = format!("the catalogue says that database {id} is live, but it has no log");
        Error::corrupt("db.error/storage-corrupt", message)
    })?;
    let (mut replay, index) = match head.index_seq {
        0 => (Replay::new(log::DatabaseId(id.0)), None),
        seq => {
            let (header, body) = index_record(journal, id, seq)?;
            let (meta, trees) = trees(DatabaseId(header.lineage.0), &body)?;
            (Replay::resume(&header, &body, &meta, trees)?, Some(Arc::new((seq, body))))
        }
    };
    let mut index_seq = 0;
    while replay.chain().seq() < head.seq {
        let records = match journal.read(id, replay.chain().seq() + 1, READ_BYTES).map_err(from_storage)? {
            Records::Found(records) => records,
            Records::Sealed { before_seq } => {
                let message = format!(
                    "the log of database {id} is sealed before record {before_seq}, which this version does not read"
                );
                return Err(Error::unsupported("db.error/log-sealed", message));
            }
        };
        if records.is_empty() {
            break;
        }
        let mut checked = |stored: &storage::StoredRecord| {
            let record = RawRecord::parse(&stored.bytes)?;
            let checked = Checked::read(&record, segment(segments, &record)?.as_deref())?;
            if checked.index().is_some() {
                index_seq = checked.header().seq;
            }
            Ok(checked)
        };
        if let (_, Some(error)) = replay.take(&records.iter().map(&mut checked).collect::<Result<Vec<_>>>()?) {
            return Err(error);
        }
    }
    let chain = replay.chain();
    let end = Head { term: chain.term(), seq: chain.seq(), t: chain.t(), hash: chain.hash(), index_seq };
    if end != head {
        let message = format!(
            "the log of database {id} ends at record {} (t {}), its head names record {} (t {})",
            end.seq, end.t, head.seq, head.t
        );
        return Err(Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string()));
    }
    Ok(Opened { replay, head, index })
}

/// The `index` record at a seq.
fn index_record(journal: &dyn Journal, id: DatabaseId, seq: u64) -> Result<(log::Header, IndexBody)> {
    let missing = || {
        let message = format!("the head of database {id} names record {seq} as its index, which it is not");
        Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string())
    };
    let Records::Found(records) = journal.read(id, seq, 1).map_err(from_storage)? else { return Err(missing()) };
    let stored = records.first().filter(|stored| stored.seq == seq).ok_or_else(missing)?;
    let record = Checked::read(&RawRecord::parse(&stored.bytes)?, None)?;
    let body = record.index().cloned().ok_or_else(missing)?;
    Ok((record.header().clone(), body))
}

/// The body of a record that lies out of line; None for one in line.
fn segment(segments: &dyn Segments, record: &RawRecord<'_>) -> Result<Option<Vec<u8>>> {
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
pub fn body_key(place: &log::BodyPlace) -> SegmentKey {
    SegmentKey {
        lineage: DatabaseId(place.lineage.0),
        database: DatabaseId(place.database.0),
        term: place.term,
        job: log::BodyPlace::JOB.to_owned(),
        hash: place.hash,
    }
}

/// Begins a database's log.
pub async fn create(journal: &dyn Journal, id: DatabaseId, name: &str, writer: &Writer<'_>) -> Result<(Replay, Head)> {
    let mut replay = Replay::new(log::DatabaseId(id.0));
    let body = create_body(name).encode(writer.entropy.sixteen())?;
    let header = replay.chain().next(&body, 1, writer.now);
    let bytes = log::record_bytes(&header, &body);
    let head = Head { term: 1, seq: 1, t: 0, hash: header.hash(), index_seq: 0 };
    let step = Step { id, expected: None, new_head: head, record: &bytes, new_term: false };
    settle(append_surely(journal, &step).await)?;
    replay.apply(&RawRecord::parse(&bytes)?, None)?;
    Ok((replay, head))
}

/// Begins a term: from here on every append of an earlier writer fails.
pub async fn begin_term(journal: &dyn Journal, replay: &mut Replay, head: Head, writer: &Writer<'_>) -> Result<Head> {
    let id = DatabaseId(replay.chain().database().0);
    let software = format!("diachron-transactor {}", env!("CARGO_PKG_VERSION"));
    let body = log::Body::Term { endpoint: writer.endpoint.to_owned(), software };
    let body = body.encode(writer.entropy.sixteen())?;
    let header = replay.chain().next(&body, head.term + 1, writer.now);
    let bytes = log::record_bytes(&header, &body);
    let new_head = Head { term: header.term, seq: header.seq, hash: header.hash(), ..head };
    let step = Step { id, expected: Some(head), new_head, record: &bytes, new_term: true };
    settle(append_surely(journal, &step).await)?;
    replay.apply(&RawRecord::parse(&bytes)?, None)?;
    Ok(new_head)
}

fn settle(fate: Fate) -> Result<()> {
    match fate {
        Fate::Done => Ok(()),
        Fate::NotDone(error) | Fate::Broken(error) => Err(from_storage(error)),
        Fate::Fenced(message) => Err(fenced(message)),
    }
}
