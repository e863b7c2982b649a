//! Opening a database: its whole log read, verified and replayed, then a new term begun.

use crate::append::{Fate, Step, append_surely};
use crate::errors::{fenced, from_storage};
use db::log::{self, Content, RawRecord};
use db::replay::{Checked, Replay, create_body};
use db::{Category, Error, Instant, Result};
use process::Entropy;
use storage::{DatabaseId, Head, Journal, Records, SegmentKey, Segments};

/// What is read of the log at once.
const READ_BYTES: usize = 4 << 20;

/// Who writes, as `term` records tell.
pub struct Writer<'a> {
    pub endpoint: &'a str,
    pub now: Instant,
    pub entropy: &'a dyn Entropy,
}

/// Whoever writes meanwhile makes the head move under a term that is offered; so often it is offered anew.
const OFFERS_MAX: usize = 1000;

/// Reads and verifies a log and begins a term on it, from under a writer that is at work if there is one. One who takes
/// over meanwhile is left alone.
pub async fn take_over(
    journal: &dyn Journal,
    segments: &dyn Segments,
    id: DatabaseId,
    writer: &Writer<'_>,
) -> Result<(Replay, Head)> {
    let (mut replay, mut head) = replay(journal, segments, id)?;
    for _ in 1..OFFERS_MAX {
        match begin_term(journal, &mut replay, head, writer).await {
            Err(error) if error.category() == Category::Fenced => {
                let now = catch_up(journal, segments, id, &mut replay)?;
                if now.term != head.term {
                    return Err(error);
                }
                head = now;
            }
            begun => return begun.map(|head| (replay, head)),
        }
    }
    begin_term(journal, &mut replay, head, writer).await.map(|head| (replay, head))
}

/// Reads and verifies a log from its first record to its head. Anything that does not fit is damage.
pub fn replay(journal: &dyn Journal, segments: &dyn Segments, id: DatabaseId) -> Result<(Replay, Head)> {
    let mut replay = Replay::new(log::DatabaseId(id.0));
    let head = catch_up(journal, segments, id, &mut replay)?;
    Ok((replay, head))
}

/// Reads and verifies what a log has after the records that were replayed.
fn catch_up(journal: &dyn Journal, segments: &dyn Segments, id: DatabaseId, replay: &mut Replay) -> Result<Head> {
    let head = journal.head(id).map_err(from_storage)?.ok_or_else(|| {
        let message = format!("the catalogue says that database {id} is live, but it has no log");
        Error::corrupt("db.error/storage-corrupt", message)
    })?;
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
        let checked = |stored: &storage::StoredRecord| {
            let record = RawRecord::parse(&stored.bytes)?;
            Checked::read(&record, segment(segments, &record)?.as_deref())
        };
        // A writer at work may have written more since.
        let records = records.iter().take_while(|stored| stored.seq <= head.seq);
        if let (_, Some(error)) = replay.take(&records.map(checked).collect::<Result<Vec<_>>>()?) {
            return Err(error);
        }
    }
    let chain = replay.chain();
    let end = Head { term: chain.term(), seq: chain.seq(), t: chain.t(), hash: chain.hash(), index_seq: 0 };
    if end != head {
        let message = format!(
            "the log of database {id} ends at record {} (t {}), its head names record {} (t {})",
            end.seq, end.t, head.seq, head.t
        );
        return Err(Error::corrupt("db.error/storage-corrupt", message).with("database", id.to_string()));
    }
    Ok(head)
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
