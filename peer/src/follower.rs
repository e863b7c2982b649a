//! The follower: the actor that keeps one database up to date.
//!
//! It reads the log from storage to its end, then follows what becomes durable. Every record must continue the chain
//! it has: seq, previous hash, Merkle root and t. After any trouble it begins again from what it has, after a pause
//! with jitter; meanwhile questions are answered at the basis reached. A log that does not contain what it knows is
//! another history: it says so loudly and follows no more, since resetting itself would hide that acknowledged facts
//! are gone. A database that was deleted ends its follower. One that the transactor has merely never heard of does
//! not: a transactor on the wrong store must not make peers forget. One that another transactor has taken over is looked
//! for at the next address ([`crate::ways`]).

use crate::adoption::Adoption;
use crate::followed::{DELETED, FollowState, Followed, Places};
use crate::intake::{End, INLINE_BYTES, Intake};
use crate::metrics::Counting;
use crate::remote::Remote;
use crate::trees::LogTree;
use crate::vouching;
use cache::Reader;
use db::edn::Edn;
use db::log::{LoggedDatom, RawRecord};
use db::model::Partition;
use db::replay::{Checked, ERASED, Replay};
use db::{Category, Error, Result};
use process::{Failpoint, Shutdown, World, log};
use std::sync::Arc;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Messages read from the connection and not applied yet, of about 64 KiB each. Beyond them the connection is not
/// read, and the transactor cuts us off when it has too much for us.
const LIVE_WAITING_MAX: usize = 64;
/// The same while the log is read from storage, in messages of about 1 MiB; enough to keep every core checking.
const CATCH_UP_WAITING_MAX: usize = 4;
/// Records that wait together are made visible together, up to about this many bytes.
const APPLY_BYTES: usize = 1 << 20;

pub struct Follower {
    followed: Arc<Followed>,
    remote: Remote,
    adoption: Adoption,
    world: World,
    point: Failpoint,
    replay: Replay,
    places: Places,
    counting: Counting,
}

impl Follower {
    /// Goes on from the newest value that others see.
    pub fn new(
        followed: Arc<Followed>,
        remote: Remote,
        adoption: Adoption,
        world: World,
        counting: Counting,
        point: Failpoint,
    ) -> Self {
        let known = followed.known();
        let (replay, places) = (known.replay.clone(), known.places.clone());
        Follower { followed, remote, adoption, world, point, replay, places, counting }
    }

    /// Runs until it is asked to stop, or the transactor says that the database was deleted; then it is marked as gone.
    pub async fn run(mut self, shutdown: Shutdown) -> process::Result<()> {
        tokio::select! {
            biased;
            () = shutdown.asked() => {}
            () = self.keep_following() => {}
        }
        Ok(())
    }

    async fn keep_following(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let seq_before = self.replay.chain().seq();
            let way = self.remote.way(self.followed.id);
            let Err(error) = self.follow_once().await;
            self.remote.was_refused(self.followed.id, &way, &error);
            let (database, t) = (&*self.followed.name, self.replay.chain().t());
            if error.code() == DELETED {
                log::info!(database, id = %self.followed.id, "the database was deleted");
                self.followed.set_gone();
                return;
            }
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
            tokio::time::sleep(self.world.entropy.jitter(pause)).await;
        }
    }

    /// Catches up and follows until something is in the way.
    async fn follow_once(&mut self) -> Result<std::convert::Infallible> {
        while let Err(error) = self.catch_up().await {
            // A body was replaced before this peer came to it: the erasure is ahead.
            if error.code() != ERASED {
                return Err(error);
            }
            self.begin_behind(&error).await?;
        }
        if self.remote.has_storage() {
            // All that is durable is known, whether a transactor is there or not.
            self.followed.set_ready();
        }
        let chain = self.replay.chain();
        let (seq, hash) = (chain.seq(), chain.hash());
        let incoming = self.remote.follow(self.followed.id, seq, hash).await?;
        if self.followed.state() == FollowState::Disconnected || !self.followed.is_ready() {
            log::info!(database = self.followed.name, t = self.replay.chain().t(), "following");
        }
        self.followed.set_state(FollowState::Following, None);
        self.followed.set_ready();

        let mut intake = Intake::start(self.remote.clone(), incoming, LIVE_WAITING_MAX, self.world.executor);
        self.followed.set_intake(intake.waiting());
        loop {
            let batch = intake.next(APPLY_BYTES).await;
            self.apply(batch.records, batch.bytes).await?;
            match batch.end {
                End::NotYet => {}
                End::InOrder => return Err(ended()),
                End::Trouble(error) => return Err(error),
            }
            if let Some(head) = batch.head {
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
        }
    }

    /// Reads the log from storage to its end, as it is now.
    async fn catch_up(&mut self) -> Result<()> {
        let id = self.followed.id;
        let head = self.remote.head(id).await?.ok_or_else(|| {
            let message =
                format!("database {:?} ({id}) is not known any more where its log is read", self.followed.name);
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
        let (end_seq, index_seq) = (head.seq, head.index_seq);
        self.followed.set_head(head);
        if self.replay.chain().seq() == end_seq {
            return Ok(());
        }
        // What was heard of the head stays true: whatever the log has gained when our turn comes is followed after.
        let _turn = self.remote.catch_up_turn().await?;
        self.followed.begin_catch_up(self.world.clock.since_boot());
        // From our newest record on, to see that it is still theirs; what an index tells of it is held against the next.
        let (mut overlap, from) = match self.replay.chain().seq() {
            0 if index_seq > 0 => {
                self.begin_from_index(index_seq).await?;
                (0, self.replay.chain().seq() + 1)
            }
            seq => (seq, seq.max(1)),
        };
        let incoming = self.remote.read_log(id, from, 0).await?;
        let mut intake = Intake::start(self.remote.clone(), incoming, CATCH_UP_WAITING_MAX, self.world.executor);
        self.followed.set_intake(intake.waiting());
        loop {
            let mut batch = intake.next(APPLY_BYTES).await;
            if overlap > 0 && !batch.records.is_empty() {
                if batch.records.remove(0).hash() != self.replay.chain().hash() {
                    let message = format!("its record {overlap} is not the one that this peer knows");
                    return Err(Error::corrupt("db.error/diverged", message));
                }
                overlap = 0;
            }
            self.apply(batch.records, batch.bytes).await?;
            match batch.end {
                End::NotYet => {}
                End::InOrder => return Ok(()),
                End::Trouble(error) => return Err(error),
            }
        }
    }

    /// Begins with the value that the trees of an `index` record hold.
    async fn begin_from_index(&mut self, seq: u64) -> Result<()> {
        let id = self.followed.id;
        let no_index = || {
            let message = format!("the head of database {id} names record {seq} as its index, which it is not");
            Error::corrupt("db.error/storage-corrupt", message).with("seq", seq as i64)
        };
        let message = self.remote.read_log(id, seq, 1).await?.next().await?.ok_or_else(no_index)?;
        let stored = message.records.first().filter(|stored| stored.seq == seq).ok_or_else(no_index)?;
        let record = vouching::read(&RawRecord::parse(&stored.bytes)?, &self.remote).await?;
        let (header, body) = (record.header(), record.index().ok_or_else(no_index)?);
        let reader = self.adoption.reader();
        let (meta, trees) = reader.named(Reader::of(header), &body).await?;
        self.replay = Replay::resume(header, &body, &meta, trees)?;
        let tree = |root| LogTree { reader: reader.clone(), lineage: header.lineage, root };
        self.places = Places::after(body.log.map(tree));
        if record.fork().is_some() {
            // It stands for all that came before.
            self.places.add(1, seq);
        }
        log::info!(database = self.followed.name, index_t = body.index_t, "reading begins with the index");
        self.followed.publish(&self.replay, self.places.clone(), &[]);
        Ok(())
    }

    /// Begins anew with the newest index: what this peer knows is from before an erasure, and the log has no more what
    /// would lead from there on.
    async fn begin_behind(&mut self, erased: &Error) -> Result<()> {
        let told = erased.details().iter().find(|(key, _)| key == "seq");
        let floor = match told {
            Some((_, Edn::Long(seq))) => u64::try_from(*seq).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        let head = self.remote.head(self.followed.id).await?;
        let Some(index_seq) = head.map(|head| head.index_seq).filter(|index_seq| *index_seq >= floor) else {
            let message = "something was erased, and the log does not name it yet; it is read again";
            return Err(Error::new(Category::Unavailable, "db.error/unavailable", message));
        };
        self.forget(floor);
        self.begin_from_index(index_seq).await
    }

    /// Moves behind an erasure: onto the trees of its record, at the same t.
    async fn move_behind(&mut self, erasure: &Checked) -> Result<()> {
        let header = erasure.header();
        self.replay.chain().verify(header)?;
        let index = erasure.index().filter(|index| self.replay.chain().state().as_ref() == Some(&index.chain));
        let index = index.ok_or_else(|| {
            let message = format!("erase record {} tells of another log than the one before it", header.seq);
            Error::corrupt("db.error/record-damaged", message).with("seq", header.seq as i64)
        })?;
        self.forget(header.seq);
        let reader = self.adoption.reader().clone();
        let (meta, trees) = reader.named(Reader::of(header), &index).await?;
        self.replay = Replay::resume(header, &index, &meta, trees)?;
        if let Some(root) = index.log {
            self.places.move_to(LogTree { reader, lineage: header.lineage, root });
        }
        log::info!(
            database = self.followed.name,
            seq = header.seq,
            t = index.index_t,
            "facts were erased; what was known of before is dropped"
        );
        Ok(())
    }

    /// What is at hand from before an erasure goes; the cache drops its part with the first look at the new trees.
    fn forget(&self, floor: u64) {
        self.adoption.erased(floor);
        self.followed.recent().forget();
    }

    /// Moves onto the trees of a newer index, if a value on them is ready.
    fn adopt(&mut self) {
        let Some(prepared) = self.adoption.take() else { return };
        match self.replay.adopt(&prepared) {
            Ok(()) => {
                let index_t = self.replay.db().index_t();
                log::debug!(database = self.followed.name, index_t, "a newer index was adopted");
                self.followed.publish(&self.replay, self.places.clone(), &[]);
            }
            Err(error) => log::warn!(database = self.followed.name, %error, "an index was not adopted"),
        }
    }

    /// Takes records in order, and moves behind each erasure among them.
    async fn apply(&mut self, mut records: Vec<Checked>, bytes: usize) -> Result<()> {
        let is_ahead = |record: &Checked, floor: u64| record.erase().is_some() && record.header().seq > floor;
        while let Some(at) = records.iter().position(|record| is_ahead(record, self.replay.floor())) {
            let rest = records.split_off(at);
            self.apply_between(records, bytes).await?;
            self.move_behind(&rest[0]).await?;
            records = rest;
        }
        self.apply_between(records, bytes).await
    }

    /// Takes records that follow one another between two erasures, and makes what they say visible, all of them at once.
    async fn apply_between(&mut self, records: Vec<Checked>, bytes: usize) -> Result<()> {
        self.adopt();
        if records.is_empty() {
            return Ok(());
        }
        self.point.pass();
        // The newest one, once the records are visible; others are over already.
        let index = records.iter().rev().filter(|record| record.erase().is_none());
        let index = index.map(|record| Some((record.header().clone(), record.index()?))).find_map(|index| index);
        let (replay, places, followed) = (self.replay.clone(), self.places.clone(), self.followed.clone());
        let applied = if bytes > INLINE_BYTES || looks_into_trees(&replay, &records) {
            self.world.executor.blocking(move || Ok(apply(replay, places, records, &followed))).await?
        } else {
            apply(replay, places, records, &followed)
        };
        let (replay, places, error) = applied;
        let records = replay.chain().seq() - self.replay.chain().seq();
        (self.replay, self.places) = (replay, places);
        let live = self.followed.state() == FollowState::Following;
        self.counting.applied(records, bytes, self.replay.db().last_instant(), live);
        if let Some((header, body)) = index.filter(|(header, _)| header.seq <= self.replay.chain().seq()) {
            self.adoption.named(&self.followed, Reader::of(&header), &body);
        }
        error.map_or(Ok(()), Err)
    }
}

/// Whether to apply records may wait for storage, which this thread must not: those that define attributes look into the
/// trees for what their entities had before.
fn looks_into_trees(replay: &Replay, records: &[Checked]) -> bool {
    let of_schema = |datom: &LoggedDatom| datom.e.partition_bits() == Partition::Db as u64;
    let transactions = || records.iter().flat_map(Checked::transactions);
    replay.db().trees().is_some() && transactions().any(|said| said.datoms.iter().any(of_schema))
}

/// Takes as many records as continue what is there, and tells why it stopped if it did.
fn apply(
    mut replay: Replay,
    mut places: Places,
    records: Vec<Checked>,
    followed: &Followed,
) -> (Replay, Places, Option<Error>) {
    let (taken, error) = replay.take(&records);
    for header in records[..taken].iter().map(Checked::header).filter(|header| header.count > 0) {
        places.add(header.first_t, header.seq);
    }
    followed.publish(&replay, places.clone(), &records[..taken]);
    (replay, places, error)
}

fn has_diverged(error: &Error) -> bool {
    error.code() == "db.error/diverged"
}

fn ended() -> Error {
    Error::new(Category::Unavailable, "db.error/unavailable", "the transactor ended the stream")
}
