//! Opening a database: its log since the newest index read, verified and replayed, then a new term begun.

use crate::append::{Fate, Step, append_surely};
use crate::errors::{STORAGE_FAILED, copy, fenced, from_storage};
use crate::host::DAMAGED_TREES;
use cache::Reader;
use db::log::{self, IndexBody, RawRecord};
use db::replay::{Checked, ERASED, Replay, create_body};
use db::{Category, Error, Instant, Result};
use process::Entropy;
use std::sync::Arc;
use storage::{DatabaseId, Head, Journal, Segments};
use stores::log::LogReader;
pub use stores::log::{body_key, body_segment as segment};
pub use stores::trees::Named;

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

/// Whoever writes meanwhile makes the head move under a term that is offered; so often it is offered anew.
const OFFERS_MAX: usize = 1000;

/// Reads and verifies a log and begins a term on it, from under a writer that is at work if there is one. One who takes
/// over meanwhile is left alone.
pub async fn take_over(
    journal: &dyn Journal,
    segments: &dyn Segments,
    named: &Named<'_>,
    id: DatabaseId,
    writer: &Writer<'_>,
) -> Result<Opened> {
    let mut opened = replay(journal, segments, named, id)?;
    for offers in 1.. {
        match begin_term(journal, &mut opened.replay, opened.head, writer).await {
            Err(error) if error.category() == Category::Fenced && offers < OFFERS_MAX => {
                let term = opened.head.term;
                match catch_up(journal, segments, id, &mut opened) {
                    // The other one has erased something: what was read before is void.
                    Err(error) if error.code() == ERASED => opened = replay(journal, segments, named, id)?,
                    caught_up => caught_up?,
                }
                if opened.head.term != term {
                    return Err(error);
                }
            }
            begun => {
                opened.head = begun?;
                break;
            }
        }
    }
    Ok(opened)
}

/// Reads and verifies a log, from what its newest `index` record says, or from its first record, to its head. Anything
/// that does not fit is damage.
pub fn replay(journal: &dyn Journal, segments: &dyn Segments, named: &Named<'_>, id: DatabaseId) -> Result<Opened> {
    let head = head_of(journal, id)?;
    let (replay, index) = match head.index_seq {
        0 => (Replay::new(log::DatabaseId(id.0)), None),
        seq => {
            let (header, body) = index_record(LogReader::new(journal, segments), id, seq)?;
            let (meta, trees) = named(Reader::of(&header), &body).map_err(|error| damaged_trees(&error, seq))?;
            (Replay::resume(&header, &body, &meta, trees)?, Some(Arc::new((seq, body))))
        }
    };
    let mut opened = Opened { replay, head, index };
    catch_up(journal, segments, id, &mut opened)?;
    Ok(opened)
}

/// What the newest index names cannot be read. Its log may be whole.
fn damaged_trees(error: &Error, seq: u64) -> Error {
    if !matches!(error.category(), Category::Corrupt | Category::Unavailable) || error.code() == STORAGE_FAILED {
        return copy(error);
    }
    let message = format!(
        "the trees of index record {seq} cannot be read ({}); `diachron verify DB --repair` makes them anew from the log",
        error.message()
    );
    let segment = error.details().iter().find(|(key, _)| key == "segment").map(|(_, segment)| segment.clone());
    let damaged = Error::corrupt(DAMAGED_TREES, message).with("index", seq as i64);
    segment.into_iter().fold(damaged, |error, segment| error.with("segment", segment))
}

pub fn head_of(journal: &dyn Journal, id: DatabaseId) -> Result<Head> {
    journal.head(id).map_err(from_storage)?.ok_or_else(|| {
        let message = format!("the catalogue says that database {id} is live, but it has no log");
        Error::corrupt("db.error/storage-corrupt", message)
    })
}

/// Reads and verifies what a log has after the records that were replayed.
fn catch_up(journal: &dyn Journal, segments: &dyn Segments, id: DatabaseId, opened: &mut Opened) -> Result<()> {
    let head = head_of(journal, id)?;
    let Opened { replay, index, .. } = opened;
    while replay.chain().seq() < head.seq {
        let records = LogReader::new(journal, segments).read(id, replay.chain().seq() + 1, READ_BYTES)?;
        if records.is_empty() {
            break;
        }
        let mut checked = |stored: &storage::StoredRecord| {
            let record = RawRecord::parse(&stored.bytes)?;
            let checked = Checked::read(&record, segment(segments, &record)?.as_deref())?;
            if let Some(body) = checked.index() {
                *index = Some(Arc::new((checked.header().seq, body)));
            }
            Ok(checked)
        };
        // A writer at work may have written more since.
        let records = records.iter().take_while(|stored| stored.seq <= head.seq);
        if let (_, Some(error)) = replay.take(&records.map(&mut checked).collect::<Result<Vec<_>>>()?) {
            return Err(error);
        }
    }
    let chain = replay.chain();
    let index_seq = index.as_ref().map_or(0, |index| index.0);
    let end = Head { term: chain.term(), seq: chain.seq(), t: chain.t(), hash: chain.hash(), index_seq };
    if end != head {
        let message = format!(
            "the log of database {id} ends at record {} (t {}), its head names record {} (t {})",
            end.seq, end.t, head.seq, head.t
        );
        return Err(Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string()));
    }
    opened.head = head;
    Ok(())
}

/// The `index` record at a seq.
pub fn index_record(log: LogReader<'_>, id: DatabaseId, seq: u64) -> Result<(log::Header, IndexBody)> {
    log.index(id, seq)?.ok_or_else(|| {
        let message = format!("the head of database {id} names record {seq} as its index, which it is not");
        Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string())
    })
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

/// Writes a record whose outcome is known when this returns.
pub async fn append(journal: &dyn Journal, step: &Step<'_>) -> Result<()> {
    settle(append_surely(journal, step).await)
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
