//! Handing a backup to a transactor, which asks for what it lacks.

use crate::layout;
use crate::snapshot::Snapshot;
use crate::{Progress, Told};
use bytes::Bytes;
use db::{Category, Error, Result};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::restore_request::Kind as Said;
use proto::v1::restore_response::Kind as Answer;
use storage::{DatabaseId, SegmentKey, Segments};
use stores::errors::from_storage;
use stores::log::LogReader;
use stores::wire;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// A backup, and what shall become of it.
pub struct Restore<'a> {
    pub snapshot: &'a Snapshot,
    /// What the database shall be called.
    pub name: &'a str,
    /// None: as it was when the backup was made.
    pub as_of: Option<v1::TimePoint>,
    /// Segments that are read at once.
    pub threads: usize,
    pub told: &'a Told<'a>,
}

/// A database that was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub id: DatabaseId,
    pub t: u64,
    /// What was sent, and what the store had.
    pub segments_sent: u64,
    pub segments_there: u64,
    pub bytes_sent: u64,
}

/// Bytes of a segment in one message.
const CHUNK_BYTES: usize = 1 << 20;
/// Messages that wait to be sent.
const SAID_MAX: usize = 8;

/// Makes a database of a backup. Where it ends with an error there is none, and it may be begun again.
pub async fn restore(admin: &mut AdminClient<Channel>, restore: &Restore<'_>) -> Result<Restored> {
    let manifest = restore.snapshot.manifest();
    let snapshot = restore.snapshot.clone();
    let index_record = blocking(move || index_record(&snapshot)).await?;
    let begin = v1::RestoreBegin {
        name: restore.name.to_owned(),
        database_id: wire::database_id(manifest.database),
        lineage_id: wire::database_id(manifest.lineage),
        head: Some(wire::head(&manifest.head)),
        index_record: index_record.into(),
        as_of: restore.as_of.clone(),
    };
    let (say, said) = mpsc::channel(SAID_MAX);
    // There is room for the first.
    let _ = say.send(v1::RestoreRequest { kind: Some(Said::Begin(begin)) }).await;
    let error = |status: tonic::Status| proto::error(&status);
    let mut answers = admin.restore(ReceiverStream::new(said)).await.map_err(error)?.into_inner();
    let mut handing = Handing { restore, say, sent: 0, bytes: 0 };
    while let Some(answer) = answers.message().await.map_err(error)? {
        match answer.kind {
            // Where what is said is not heard any more, the next answer tells why.
            Some(Answer::Wants(wants)) if wants.records_from > 0 => handing.records(wants.records_from).await?,
            Some(Answer::Wants(wants)) => handing.segments(wants.segments).await?,
            Some(Answer::Progress(v1::RestoreProgress { stage, done, total })) => {
                (restore.told)(&Progress { stage, done, total, bytes: handing.bytes })?;
            }
            Some(Answer::Done(done)) => {
                return Ok(Restored {
                    id: wire::database_id_of(&done.database_id)?,
                    t: done.t,
                    segments_sent: done.segments,
                    segments_there: done.segments_there,
                    bytes_sent: done.bytes,
                });
            }
            None => {}
        }
    }
    let message = "the transactor ended the restore before it was done";
    Err(Error::new(Category::Unavailable, "db.error/unavailable", message))
}

fn index_record(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let manifest = snapshot.manifest();
    match manifest.head.index_seq {
        0 => Ok(Vec::new()),
        seq => LogReader::new(snapshot, snapshot)
            .record(manifest.database, seq)?
            .map(|record| record.bytes)
            .ok_or_else(|| missing(&format!("record {seq}"), snapshot)),
    }
}

struct Handing<'a> {
    restore: &'a Restore<'a>,
    say: mpsc::Sender<v1::RestoreRequest>,
    sent: u64,
    bytes: u64,
}

impl Handing<'_> {
    async fn records(&mut self, from: u64) -> Result<()> {
        let snapshot = self.restore.snapshot.clone();
        let records = blocking(move || {
            let records = snapshot.records_from(from).map_err(from_storage)?;
            if records.is_empty() { Err(missing(&format!("record {from}"), &snapshot)) } else { Ok(records) }
        });
        let stored = |record: storage::StoredRecord| v1::StoredRecord { seq: record.seq, bytes: record.bytes.into() };
        let records = v1::RestoreRecords { records: records.await?.into_iter().map(stored).collect() };
        let _ = self.say.send(v1::RestoreRequest { kind: Some(Said::Records(records)) }).await;
        Ok(())
    }

    async fn segments(&mut self, wants: Vec<v1::RestoreWant>) -> Result<()> {
        let mut wants = wants.into_iter();
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < self.restore.threads.max(1)
                && let Some(want) = wants.next()
            {
                let snapshot = self.restore.snapshot.clone();
                reading.spawn_blocking(move || read(&snapshot, want));
            }
            let Some(read) = reading.join_next().await else { return Ok(()) };
            let (want, bytes) = read.unwrap_or_else(|error| Err(Error::fault(format!("it panicked: {error}"))))?;
            self.sent += 1;
            self.bytes += bytes.len() as u64;
            let mut rest = Bytes::from(bytes);
            loop {
                let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                let last = rest.is_empty();
                let piece = v1::RestorePiece { want, chunk, last };
                let _ = self.say.send(v1::RestoreRequest { kind: Some(Said::Piece(piece)) }).await;
                if last {
                    break;
                }
            }
            (self.restore.told)(&Progress { stage: "segments".into(), done: self.sent, total: 0, bytes: self.bytes })?;
        }
    }
}

fn read(snapshot: &Snapshot, want: v1::RestoreWant) -> Result<(u64, Vec<u8>)> {
    let key: SegmentKey = wire::key_of(want.key.unwrap_or_default())?;
    let bytes = snapshot.get(&key).map_err(from_storage)?;
    Ok((want.want, bytes.ok_or_else(|| missing(&layout::segment(&key), snapshot))?))
}

fn missing(what: &str, snapshot: &Snapshot) -> Error {
    let message = format!("{what} is missing at {}; `diachron backup verify` tells what else is", snapshot.url());
    Error::corrupt("db.error/backup-damaged", message)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::fault(format!("it panicked: {error}"))))
}
