//! Segments that come when they are asked for: those that the store lacks are had from whoever hands a backup over.

use db::{Category, Error, Result};
use process::{Feed, Shutdown};
use proto::v1;
use proto::v1::restore_request::Kind as Said;
use proto::v1::restore_response::Kind as Answer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::{DatabaseId, ErrorKind, Scrub, Scrubbed, SegmentKey, Segments, StoredRecord, Usage, sha256};
use stores::errors::from_storage;
use stores::wire;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The one who hands a backup over, as a thread that may block speaks with it.
pub struct Line {
    pub feed: Feed<v1::RestoreResponse>,
    /// What it says. Held while one waits for it, which nobody but one thread does.
    pub said: Mutex<mpsc::Receiver<v1::RestoreRequest>>,
    pub runtime: Handle,
    pub shutdown: Shutdown,
}

/// The store, and what comes into it.
pub struct Arriving {
    segments: Arc<dyn Segments>,
    line: Line,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_want: u64,
    came: super::Came,
    /// Why something did not come.
    failure: Option<Error>,
}

/// So long an answer may take to come.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The longest segment.
const SEGMENT_BYTES_MAX: usize = 64 << 20;

impl Line {
    /// Whether whoever asked is still there, and this process goes on.
    pub fn is_open(&self) -> bool {
        !self.feed.is_closed() && !self.shutdown.is_asked()
    }

    pub fn tell(&self, stage: &str, done: u64, total: u64) -> Result<()> {
        if !self.is_open() {
            return Err(gone());
        }
        let progress = v1::RestoreProgress { stage: stage.to_owned(), done, total };
        // Where there is no room, another one follows.
        let _ = self.feed.try_send(Ok(v1::RestoreResponse { kind: Some(Answer::Progress(progress)) }));
        Ok(())
    }

    /// Records from one on, at least one.
    pub fn records_from(&self, seq: u64) -> Result<Vec<StoredRecord>> {
        self.want(v1::RestoreWants { records_from: seq, segments: Vec::new() })?;
        let Said::Records(records) = self.next()? else { return Err(out_of_turn()) };
        let records: Vec<_> = records
            .records
            .into_iter()
            .map(|record| StoredRecord { seq: record.seq, bytes: record.bytes.into() })
            .collect();
        match records.is_empty() {
            true => Err(out_of_turn()),
            false => Ok(records),
        }
    }

    fn want(&self, wants: v1::RestoreWants) -> Result<()> {
        let wants = v1::RestoreResponse { kind: Some(Answer::Wants(wants)) };
        self.feed.blocking_send(Ok(wants)).map_err(|_| gone())
    }

    fn next(&self) -> Result<Said> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.shutdown.asked() => Err(crate::errors::stopping()),
                next = tokio::time::timeout(ANSWER_MAX, said.recv()) => next.map_err(|_| {
                    let message = format!("what was asked for did not come within {} s", ANSWER_MAX.as_secs());
                    Error::interrupted("db.error/deadline-exceeded", message)
                }),
            }
        })?;
        next.and_then(|request| request.kind).ok_or_else(gone)
    }
}

fn gone() -> Error {
    let message =
        "whoever hands the backup over went away; the database is not there, and the restore can be begun again";
    Error::new(Category::Interrupted, "db.error/cancelled", message)
}

fn out_of_turn() -> Error {
    Error::incorrect("db.error/restore-out-of-turn", "what came is not what was asked for")
}

impl Arriving {
    pub fn new(segments: Arc<dyn Segments>, line: Line) -> Arriving {
        Arriving { segments, line, state: Mutex::default() }
    }

    pub fn line(&self) -> &Line {
        &self.line
    }

    pub fn came(&self) -> super::Came {
        self.state().came
    }

    pub fn failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    // Held for a line or two.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings those of some segments that are not here; durable when this returns.
    pub fn bring(&self, keys: &[SegmentKey]) -> Result<()> {
        let mut missing = Vec::new();
        for key in keys {
            match self.segments.length(key).map_err(from_storage)? {
                None => missing.push(key.clone()),
                Some(_) => self.state().came.segments_there += 1,
            }
        }
        let segments = self.ask(missing)?;
        self.segments.put_all(&segments).map_err(from_storage)
    }

    fn ask(&self, keys: Vec<SegmentKey>) -> Result<Vec<(SegmentKey, Vec<u8>)>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let first = {
            let mut state = self.state();
            state.next_want += keys.len() as u64;
            state.next_want - keys.len() as u64
        };
        let wants = (first..).zip(&keys).map(|(want, key)| v1::RestoreWant { want, key: Some(wire::key(key)) });
        self.line.want(v1::RestoreWants { segments: wants.collect(), records_from: 0 })?;
        let mut open: BTreeMap<u64, (SegmentKey, Vec<u8>)> =
            (first..).zip(keys).map(|(want, key)| (want, (key, Vec::new()))).collect();
        let mut whole = Vec::with_capacity(open.len());
        while !open.is_empty() {
            let Said::Piece(piece) = self.line.next()? else { return Err(out_of_turn()) };
            let (key, bytes) = open.get_mut(&piece.want).ok_or_else(out_of_turn)?;
            if bytes.len() + piece.chunk.len() > SEGMENT_BYTES_MAX {
                return Err(not_whole(key, "is longer than any segment"));
            }
            bytes.extend_from_slice(&piece.chunk);
            if piece.last
                && let Some((key, bytes)) = open.remove(&piece.want)
            {
                if sha256(&bytes) != key.hash {
                    return Err(not_whole(&key, "came with other bytes than its name says"));
                }
                let mut state = self.state();
                state.came.segments += 1;
                state.came.bytes += bytes.len() as u64;
                let came = state.came.segments;
                drop(state);
                self.line.tell("segments", came, 0)?;
                whole.push((key, bytes));
            }
        }
        Ok(whole)
    }

    /// A store's error, while what is to be told is kept.
    fn kept(&self, error: Error) -> storage::Error {
        let told = storage::Error::new(ErrorKind::Busy, error.message());
        self.state().failure.get_or_insert(error);
        told
    }
}

fn not_whole(key: &SegmentKey, what: &str) -> Error {
    Error::corrupt("db.error/backup-damaged", format!("segment {key:?} {what}")).with("segment", format!("{key:?}"))
}

impl Segments for Arriving {
    fn put(&self, key: &SegmentKey, bytes: &[u8]) -> storage::Result<()> {
        self.segments.put(key, bytes)
    }

    fn put_all(&self, segments: &[(SegmentKey, Vec<u8>)]) -> storage::Result<()> {
        self.segments.put_all(segments)
    }

    fn get(&self, key: &SegmentKey) -> storage::Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.segments.get(key)? {
            return Ok(Some(bytes));
        }
        let mut came = self.ask(vec![key.clone()]).map_err(|error| self.kept(error))?;
        self.segments.put_all(&came)?;
        Ok(came.pop().map(|(_, bytes)| bytes))
    }

    fn length(&self, key: &SegmentKey) -> storage::Result<Option<u64>> {
        self.segments.length(key)
    }

    fn list(
        &self,
        database: DatabaseId,
        after: Option<&SegmentKey>,
        count_max: usize,
    ) -> storage::Result<Vec<SegmentKey>> {
        self.segments.list(database, after, count_max)
    }

    fn delete(&self, key: &SegmentKey) -> storage::Result<()> {
        Err(storage::Error::new(ErrorKind::Unsupported, format!("segment {key:?} is not deleted while it comes in")))
    }

    fn scrub(&self, _: Scrub) -> storage::Result<Scrubbed> {
        Err(storage::Error::new(ErrorKind::Unsupported, "a store is not scrubbed while a database comes in"))
    }

    fn usage(&self) -> storage::Result<Usage> {
        self.segments.usage()
    }
}
