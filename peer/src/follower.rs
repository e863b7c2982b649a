//! The follower: the actor that keeps one database up to date.
//!
//! It reads the log from storage to its end, then follows what becomes durable. Every record must continue the chain
//! it has: seq, previous hash, Merkle root and t. After any trouble it begins again from what it has, after a pause
//! with jitter; meanwhile questions are answered at the basis reached. A log that does not contain what it knows is
//! another history: it says so loudly and follows no more, since resetting itself would hide that acknowledged facts
//! are gone.

use crate::followed::{FollowState, Followed, Places};
use crate::remote::Remote;
use bytes::Bytes;
use db::log::{Content, Frames, RawRecord};
use db::replay::Replay;
use db::{Category, Error, Result};
use process::{Entropy, Shutdown, log, off_the_runtime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Messages read from the connection and not applied yet. Beyond them the connection is not read, and the transactor
/// cuts us off when it has too much for us.
const UNAPPLIED_MAX: usize = 64;
/// Records of more bytes than this are applied on a thread of their own.
const APPLY_INLINE_BYTES: usize = 16 << 10;

pub struct Follower {
    followed: Arc<Followed>,
    remote: Remote,
    entropy: Arc<dyn Entropy>,
    replay: Replay,
    places: Places,
}

/// A record's bytes, and its body if that lies out of line.
struct Fetched {
    record: Bytes,
    segment: Option<Vec<u8>>,
}

impl Follower {
    pub fn new(followed: Arc<Followed>, remote: Remote, entropy: Arc<dyn Entropy>) -> Self {
        let replay = Replay::new(followed.id);
        Follower { followed, remote, entropy, replay, places: Places::default() }
    }

    /// Runs until the process is asked to stop.
    pub async fn run(mut self, shutdown: Shutdown) -> process::Result<()> {
        tokio::select! {
            () = self.keep_following() => {}
            () = shutdown.asked() => {}
        }
        Ok(())
    }

    async fn keep_following(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let seq_before = self.replay.chain().seq();
            let Err(error) = self.follow_once().await;
            let (database, t) = (&*self.followed.name, self.replay.chain().t());
            if has_diverged(&error) {
                log::error!(
                    database,
                    t,
                    %error,
                    "the transactor's log is not the one this peer knows; it answers at its t and follows no more"
                );
                self.followed.set_state(FollowState::Diverged, Some(error));
                return std::future::pending().await;
            }
            if self.followed.state() != FollowState::Disconnected {
                log::warn!(database, t, %error, "following was interrupted");
            }
            self.followed.set_state(FollowState::Disconnected, Some(error));
            // Whoever got somewhere tries again soon.
            pause = if self.replay.chain().seq() > seq_before { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(self.entropy.jitter(pause)).await;
        }
    }

    /// Catches up and follows until something is in the way.
    async fn follow_once(&mut self) -> Result<std::convert::Infallible> {
        self.catch_up().await?;
        let chain = self.replay.chain();
        let (seq, hash) = (chain.seq(), chain.hash());
        let mut incoming = self.remote.follow(self.followed.id, seq, hash).await?;
        if self.followed.state() == FollowState::Disconnected || !self.followed.is_ready() {
            log::info!(database = self.followed.name, t = self.replay.chain().t(), "following");
        }
        self.followed.set_state(FollowState::Following, None);
        self.followed.set_ready();

        // A task of its own reads the connection, so that it is drained while records are applied.
        let (sender, mut messages) = mpsc::channel(UNAPPLIED_MAX);
        let reader = tokio::spawn(async move {
            loop {
                let next = incoming.next().await;
                let ends = !matches!(next, Ok(Some(_)));
                if sender.send(next).await.is_err() || ends {
                    return;
                }
            }
        });
        let _reader = AbortOnDrop(reader);
        loop {
            let message = match messages.recv().await {
                Some(next) => next?.ok_or_else(ended)?,
                None => return Err(ended()),
            };
            if let Some(head) = message.heartbeat {
                let chain = self.replay.chain();
                if head.seq != chain.seq() || head.hash != chain.hash()[..] {
                    let message = format!(
                        "the transactor's log ends at record {}, and this peer, which should have heard all, is at {}",
                        head.seq,
                        chain.seq()
                    );
                    return Err(Error::corrupt("db.error/gap", message));
                }
                self.followed.set_head(head);
            }
            let mut fetched = Vec::new();
            for frame in Frames::new(&message.frames) {
                let (bytes, record) = frame?;
                fetched.push(self.fetch(message.frames.slice_ref(bytes), &record).await?);
            }
            self.apply(fetched).await?;
        }
    }

    /// Reads the log from storage to its end, as it is now.
    async fn catch_up(&mut self) -> Result<()> {
        let id = self.followed.id;
        let head = self.remote.head(id).await?.ok_or_else(|| {
            let message = format!("the transactor does not know database {:?} ({id}) any more", self.followed.name);
            Error::not_found("db.error/unknown-database", message)
        })?;
        let chain = self.replay.chain();
        if head.seq < chain.seq() || (head.seq == chain.seq() && head.hash != chain.hash()[..]) {
            return Err(Error::corrupt(
                "db.error/diverged",
                format!(
                    "its log ends at record {} (t {}), and this peer knows record {} (t {}) of another history",
                    head.seq,
                    head.t,
                    chain.seq(),
                    chain.t()
                ),
            ));
        }
        let end_seq = head.seq;
        self.followed.set_head(head);
        if self.replay.chain().seq() == end_seq {
            return Ok(());
        }
        self.followed.set_state(FollowState::CatchingUp, None);
        // From our newest record on, to see that it is still theirs.
        let mut overlap = self.replay.chain().seq();
        let mut incoming = self.remote.read_log(id, overlap.max(1), 0).await?;
        while let Some(mut message) = incoming.next().await? {
            if message.sealed_before_seq > 0 {
                let message = "the log's beginning is in the log tree, which this version does not read";
                return Err(Error::unsupported("db.error/log-sealed", message));
            }
            if overlap > 0 && !message.records.is_empty() {
                let first = message.records.remove(0);
                if RawRecord::parse(&first.bytes)?.hash != self.replay.chain().hash() {
                    let message = format!("its record {overlap} is not the one that this peer knows");
                    return Err(Error::corrupt("db.error/diverged", message));
                }
                overlap = 0;
            }
            let mut fetched = Vec::new();
            for stored in message.records {
                let record = RawRecord::parse(&stored.bytes)?;
                fetched.push(self.fetch(stored.bytes.clone(), &record).await?);
            }
            self.apply(fetched).await?;
        }
        Ok(())
    }

    async fn fetch(&self, bytes: Bytes, record: &RawRecord<'_>) -> Result<Fetched> {
        let segment = match &record.content {
            Content::OutOfLine(place) => Some(self.remote.body(place).await?),
            Content::Body(_) => None,
        };
        Ok(Fetched { record: bytes, segment })
    }

    /// Takes records in order and makes what they say visible, all of them at once.
    async fn apply(&mut self, fetched: Vec<Fetched>) -> Result<()> {
        if fetched.is_empty() {
            return Ok(());
        }
        let bytes: usize = fetched.iter().map(|f| f.record.len() + f.segment.as_ref().map_or(0, Vec::len)).sum();
        let (replay, places) = (self.replay.clone(), self.places.clone());
        let applied = if bytes > APPLY_INLINE_BYTES {
            off_the_runtime(move || apply(replay, places, fetched)).await
        } else {
            apply(replay, places, fetched)
        };
        let (replay, places, error) = applied?;
        (self.replay, self.places) = (replay, places);
        self.followed.publish(&self.replay, self.places.clone());
        error.map_or(Ok(()), Err)
    }
}

/// Applies as many records as continue what is there, and tells why it stopped if it did.
fn apply(mut replay: Replay, mut places: Places, fetched: Vec<Fetched>) -> Result<(Replay, Places, Option<Error>)> {
    for Fetched { record, segment } in fetched {
        let applied = RawRecord::parse(&record).and_then(|record| {
            replay.apply(&record, segment.as_deref())?;
            if record.header.count > 0 {
                places.add(record.header.first_t, record.header.seq);
            }
            Ok(())
        });
        if let Err(error) = applied {
            return Ok((replay, places, Some(error)));
        }
    }
    Ok((replay, places, None))
}

fn has_diverged(error: &Error) -> bool {
    error.code() == "db.error/diverged"
}

fn ended() -> Error {
    Error::new(Category::Unavailable, "db.error/unavailable", "the transactor ended the stream")
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
