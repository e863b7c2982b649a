//! One follower's stream: what it lacks from the log, then what becomes durable, without gap.

use super::{Chunk, Draft, Message, Subscription};
use crate::commit::Database;
use crate::errors::{copy, stopping};
use crate::service::storage::wire_head;
use crate::tree;
use db::log::{self, Frames, RawRecord};
use db::{Category, Error, Result};
use process::{Crew, Executor, Feed, Outgoing};
use std::sync::Arc;
use std::time::Duration;
use storage::{Journal, Segments};
use stores::log::LogReader;

/// Read from the log at once while a follower catches up.
const CATCH_UP_BYTES: usize = 1 << 20;
/// After this much silence a follower hears where the log ends.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Follows a database from right after the record that the caller has (0: none).
///
/// A caller whose record is not one of this log's is refused: what it knows was never written here.
pub async fn follow(
    database: Arc<Database>,
    (journal, segments): (Arc<dyn Journal>, Arc<dyn Segments>),
    known_seq: u64,
    known_hash: log::Hash,
    crew: Crew,
) -> Result<Outgoing<Message>> {
    check(&database, (journal.clone(), segments.clone()), known_seq, known_hash, crew.executor()).await?;
    if let Some(why) = database.stopped() {
        return Err(copy(&why));
    }
    let (shutdown, executor) = (crew.shutdown().clone(), crew.executor());
    Ok(crew.stream(&tree::FOLLOW_STREAM, move |sender, point| async move {
        point.pass();
        let closing = database.clone();
        let follower =
            Follower { database, journal, segments, executor, sender: sender.clone(), next_seq: known_seq + 1 };
        let ended = tokio::select! {
            biased;
            () = shutdown.asked() => End::Failed(stopping()),
            why = closing.stops() => End::Failed(why),
            ended = follower.run() => ended,
        };
        if let End::Failed(error) = ended {
            // Room may be lacking because the caller does not read; then the end of the stream is the word.
            let _ = sender.try_send(Err(proto::status(&error)));
        }
    }))
}

async fn check(
    database: &Database,
    (journal, segments): (Arc<dyn Journal>, Arc<dyn Segments>),
    seq: u64,
    hash: log::Hash,
    executor: Executor,
) -> Result<()> {
    if seq == 0 {
        return Ok(());
    }
    let id = database.id;
    let ours = executor.blocking(move || {
        let record = LogReader::new(&*journal, &*segments).record(id, seq)?;
        record.map(|record| Ok(RawRecord::parse(&record.bytes)?.hash)).transpose()
    });
    if ours.await? == Some(hash) {
        return Ok(());
    }
    let head = database.durable().head;
    Err(Error::corrupt(
        "db.error/diverged",
        format!(
            "record {seq} of database {:?} is not the one you know; this log ends at record {} (t {})",
            database.name, head.seq, head.t
        ),
    ))
}

struct Follower {
    database: Arc<Database>,
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    executor: Executor,
    sender: Feed<Message>,
    next_seq: u64,
}

enum End {
    /// The caller is not there any more.
    Gone,
    Failed(Error),
}

impl Follower {
    async fn run(mut self) -> End {
        let ended = async {
            // Most of what is lacking comes before joining, so that little piles up in the queue meanwhile.
            self.catch_up(self.database.durable().head.seq).await?;
            let (joined_seq, subscription) = self.database.followers.join();
            self.catch_up(joined_seq).await?;
            self.live(subscription).await
        };
        match ended.await {
            Ok(never) => never,
            Err(end) => end,
        }
    }

    /// Sends records from the log up to `last_seq`.
    async fn catch_up(&mut self, last_seq: u64) -> Result<(), End> {
        while self.next_seq <= last_seq {
            let (journal, segments) = (self.journal.clone(), self.segments.clone());
            let (id, seq) = (self.database.id, self.next_seq);
            let read = move || read(LogReader::new(&*journal, &*segments), id, seq, last_seq);
            let read = self.executor.blocking(read).await.map_err(End::Failed)?;
            let (draft, next_seq) = read;
            if next_seq == self.next_seq {
                let message = format!("record {seq} of database {:?} is missing from its log", self.database.name);
                return Err(End::Failed(Error::corrupt("db.error/storage-corrupt", message)));
            }
            self.next_seq = next_seq;
            self.send(draft.finish()).await?;
        }
        Ok(())
    }

    async fn live(&mut self, mut subscription: Subscription) -> Result<End, End> {
        loop {
            match tokio::time::timeout(HEARTBEAT, subscription.next()).await {
                Ok(Some(chunk)) => {
                    let after = chunk.last_seq + 1;
                    if let Some(message) = news(chunk, self.next_seq).map_err(End::Failed)? {
                        self.next_seq = after;
                        self.send(message).await?;
                    }
                }
                Ok(None) => {
                    let message =
                        "you read more slowly than the log grows, and were cut off; catch up and follow again";
                    return Err(End::Failed(Error::new(Category::Busy, "db.error/slow-consumer", message)));
                }
                Err(_) => {
                    // A head further on is about to be announced, and then says itself.
                    let head = self.database.durable().head;
                    if head.seq + 1 == self.next_seq {
                        self.send(Message::heartbeat(wire_head(&head))).await?;
                    }
                }
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        self.sender.send(Ok(message)).await.map_err(|_| End::Gone)
    }
}

/// The part of a chunk that a follower does not have. A record is durable, and read from the log, a moment before it is
/// announced; so the first chunks after joining may tell of what their follower knows.
fn news(chunk: Chunk, next_seq: u64) -> Result<Option<Message>> {
    assert!(chunk.first_seq <= next_seq, "a ring joined at a record continues right after it");
    if chunk.last_seq < next_seq {
        return Ok(None);
    }
    if chunk.first_seq == next_seq {
        return Ok(Some(chunk.message));
    }
    let mut draft = Draft::default();
    for frame in Frames::new(chunk.message.frames()) {
        let (bytes, record) = frame?;
        if record.header.seq >= next_seq {
            draft.push(bytes, &record.hash);
        }
    }
    Ok(Some(draft.finish()))
}

/// Records from `seq` to at most `last_seq`, and the seq after them.
fn read(log: LogReader<'_>, id: storage::DatabaseId, seq: u64, last_seq: u64) -> Result<(Draft, u64)> {
    let records = log.read(id, seq, CATCH_UP_BYTES)?;
    let (mut draft, mut next_seq) = (Draft::default(), seq);
    for record in records.iter().take_while(|record| record.seq <= last_seq) {
        draft.push(&record.bytes, &RawRecord::parse(&record.bytes)?.hash);
        next_seq = record.seq + 1;
    }
    Ok((draft, next_seq))
}
