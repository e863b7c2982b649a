//! The writer of one database: a stage.

use super::{
    Accepted, Committed, Counts, Database, Durable, Group, Hold, Message, Proposal, Rules, Sealed, Sequence, judge,
};
use crate::append::{Fate, Step, append_surely};
use crate::clock_guard::ClockGuard;
use crate::erasing::Erased;
use crate::errors::{busy, copy, fenced, from_storage, stopping};
use crate::indexing::{Indexed, Indexing};
use crate::metrics::Metrics;
use crate::open::body_key;
use db::log::{self, Body, BodyPlace, Chain, EncodedBody, Hash, IndexBody, Kind};
use db::tx::TxReport;
use db::{Category, Db, Error, Result};
use process::mailbox::Reply;
use process::metrics::{Histogram, observe};
use process::{Clock, Entropy, Failpoint, Failure, log as operator};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use storage::{Head, Journal, Segments};
use tokio::sync::mpsc::Receiver;

/// Transactions taken from the mailbox at once: enough to fill a record with small ones.
const TAKEN_MAX: usize = 1024;

/// How long a sequence waits for an index when novelty is full, before it is refused.
const FULL_WAIT_MAX: Duration = Duration::from_secs(20);
/// What callers are told to wait when the store is busy.
const RETRY_AFTER_MS: i64 = 200;

/// All that writing a database takes.
pub struct Writer {
    pub journal: Arc<dyn Journal>,
    pub segments: Arc<dyn Segments>,
    pub clock: Arc<dyn Clock>,
    pub clock_guard: ClockGuard,
    pub entropy: Arc<dyn Entropy>,
    pub rules: Rules,
    pub database: Arc<Database>,
    pub metrics: Arc<Metrics>,
    /// Where the log ends, as this writer last wrote it.
    pub chain: Chain,
    pub head: Head,
    pub db: Db,
    /// The newest `index` record.
    pub index: Option<Arc<(u64, IndexBody)>>,
    pub indexing: Arc<Indexing>,
}

/// A caller who waits.
enum Waiting {
    Transaction { proposal: Proposal, reply: Reply<Result<Committed>> },
    Index { indexed: Box<Indexed>, reply: Reply<Result<u64>> },
    Hold(Hold),
}

/// A transaction that was judged and did not fit into the record.
struct Carried {
    proposal: Proposal,
    reply: Reply<Result<Committed>>,
    accepted: Accepted,
}

impl Carried {
    fn again(self) -> Waiting {
        Waiting::Transaction { proposal: self.proposal, reply: self.reply }
    }
}

/// A caller whose transaction was judged, and who hears of it once that is durable.
struct Judged {
    reply: Reply<Result<Committed>>,
    sequence: Option<Sequence>,
    verdict: Result<TxReport>,
}

/// Why a writer writes no more.
enum End {
    /// Another transactor has taken the database over.
    Fenced(String),
    /// Going on could lose data.
    Failed(Failure),
}

impl Writer {
    /// Runs until asked to stop, or until another transactor takes the database over: then the term is over, here and
    /// for this database alone. An error is the end of the process.
    pub async fn run(mut self, mut mailbox: Receiver<Message>, point: Failpoint) -> process::Result<()> {
        let mut waiting = VecDeque::new();
        let end = self.write_all(&mut mailbox, &mut waiting, &point).await;
        let (why, outcome) = match end {
            Ok(()) => (stopping(), Ok(())),
            Err(End::Fenced(message)) => {
                operator::error!(
                    database = self.database.name,
                    why = message,
                    "a database was taken over and is closed"
                );
                (fenced(&*message), Ok(()))
            }
            Err(End::Failed(failure)) => {
                (Error::new(Category::Unavailable, "db.error/stopped", failure.0.clone()), Err(failure))
            }
        };
        self.database.stop(copy(&why));
        let why = self.database.stopped().map_or(why, |first| copy(&first));
        // Whoever waits has not been written.
        mailbox.close();
        while let Ok(message) = mailbox.try_recv() {
            waiting.extend(Waiting::of(message));
        }
        for waiting in waiting {
            waiting.refuse(copy(&why));
        }
        outcome
    }

    /// Writes what comes until asked to stop; leaves what was not judged in `waiting`.
    async fn write_all(
        &mut self,
        mailbox: &mut Receiver<Message>,
        waiting: &mut VecDeque<Waiting>,
        point: &Failpoint,
    ) -> Result<(), End> {
        let mut messages = Vec::new();
        let mut stop = false;
        while !(stop && waiting.is_empty()) {
            // What waits is gone through before more is taken, unless an index is on its way.
            let mut index_is_ready = self.database.index_is_ready.subscribe();
            let received = if waiting.is_empty() {
                Some(mailbox.recv_many(&mut messages, TAKEN_MAX).await)
            } else {
                tokio::select! {
                    biased;
                    received = mailbox.recv_many(&mut messages, TAKEN_MAX), if *index_is_ready.borrow() => Some(received),
                    _ = index_is_ready.wait_for(|is_ready| !is_ready) => None,
                }
            };
            if received == Some(0) {
                break;
            }
            if received.is_some() {
                point.pass();
            }
            stop |= messages.iter().any(|message| matches!(message, Message::Stop));
            for message in messages.drain(..).filter_map(Waiting::of) {
                if matches!(message, Waiting::Index { .. }) {
                    self.database.index_is_ready.send_replace(false);
                    waiting.push_front(message);
                } else {
                    waiting.push_back(message);
                }
            }
            self.commit_all(waiting).await?;
            if self.database.stopped().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Commits what waits; leaves it when the database was deleted, and between two records when an index is on its way.
    async fn commit_all(&mut self, waiting: &mut VecDeque<Waiting>) -> Result<(), End> {
        let mut carried: Option<Carried> = None;
        while carried.is_some() || !waiting.is_empty() {
            if self.database.stopped().is_some() {
                waiting.extend(carried.map(|carried| carried.again()));
                return Ok(());
            }
            if carried.is_none()
                && let Some(next) = waiting.pop_front_if(|next| !next.is_transaction())
            {
                match next {
                    Waiting::Index { indexed, reply } => self.name_trees(*indexed, reply).await?,
                    Waiting::Hold(hold) => self.hold(hold).await?,
                    Waiting::Transaction { .. } => unreachable!("it is none"),
                }
                continue;
            }
            if carried.is_none() && waiting.front().is_some_and(Waiting::is_of_sequence) && self.awaits_index().await {
                return Ok(());
            }
            let before = self.db.novelty_bytes();
            carried = self.commit_group(carried, waiting).await?;
            let now = self.db.novelty_bytes();
            let pause = self.indexing.pause(now, now.saturating_sub(before), self.clock.since_boot());
            let mut index_is_ready = self.database.index_is_ready.subscribe();
            if !pause.is_zero() {
                // The sender is the database's own, which outlives its writer.
                let _ = tokio::time::timeout(pause, index_is_ready.wait_for(|is_ready| *is_ready)).await;
            }
            if carried.is_none() && *index_is_ready.borrow() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where novelty is full, those who come in a sequence are not refused at once: true if an index came meanwhile.
    async fn awaits_index(&self) -> bool {
        if self.check_novelty(&self.db).is_ok() {
            return false;
        }
        let mut index_is_ready = self.database.index_is_ready.subscribe();
        let is_ready = index_is_ready.wait_for(|is_ready| *is_ready);
        tokio::time::timeout(FULL_WAIT_MAX, is_ready).await.is_ok_and(|ready| ready.is_ok())
    }

    /// Judges until the record is full or nobody waits, writes the record, answers. Gives back the transaction that
    /// did not fit, which begins the next record.
    async fn commit_group(
        &mut self,
        carried: Option<Carried>,
        waiting: &mut VecDeque<Waiting>,
    ) -> Result<Option<Carried>, End> {
        let begun = self.clock.since_boot();
        let mut group = Group::new(self.db.clone());
        let mut judged = Vec::new();
        let mut overflow = None;
        if let Some(Carried { proposal, reply, accepted }) = carried {
            judged.push(Judged { reply, sequence: proposal.sequence, verdict: Ok(group.add(accepted)) });
        }
        // Where novelty is full behind what was judged, a sequence goes on in a record of its own, and may wait.
        let may_be_judged = |next: &Waiting, group: &Group| {
            next.is_transaction()
                && (group.is_empty() || !next.is_of_sequence() || self.check_novelty(group.db()).is_ok())
        };
        while overflow.is_none()
            && let Some(Waiting::Transaction { proposal, reply }) =
                waiting.pop_front_if(|next| may_be_judged(next, &group))
        {
            // A caller who has gone away before its turn asked for nothing.
            if reply.is_closed() {
                proposal.cut();
                continue;
            }
            observe(&self.metrics.queue_wait, begun.saturating_sub(proposal.arrived));
            match self.judge(group.db(), &proposal) {
                Err(error) => judged.push(Judged { reply, sequence: None, verdict: Err(error) }),
                Ok(accepted) if group.has_room_for(&accepted) => {
                    judged.push(Judged { reply, sequence: proposal.sequence, verdict: Ok(group.add(accepted)) });
                }
                Ok(accepted) => overflow = Some(Carried { proposal, reply, accepted }),
            }
        }
        let judged_at = self.timed(&self.metrics.judge, begun);
        if let Err(end) = self.write(group, judged, judged_at).await {
            waiting.extend(overflow.map(Carried::again));
            return Err(end);
        }
        match overflow {
            // Judged on a value that was not written after all: judged again.
            Some(carried) if carried.accepted.report.db_before.basis_t() != self.db.basis_t() => {
                waiting.push_front(carried.again());
                Ok(None)
            }
            overflow => Ok(overflow),
        }
    }

    fn judge(&self, db: &Db, proposal: &Proposal) -> Result<Accepted> {
        let Some(sequence) = &proposal.sequence else { return self.judge_alone(db, proposal) };
        sequence.check()?;
        self.judge_alone(db, proposal).inspect_err(|_| sequence.cut())
    }

    fn judge_alone(&self, db: &Db, proposal: &Proposal) -> Result<Accepted> {
        self.clock_guard.check(&*self.clock)?;
        self.check_novelty(db)?;
        judge(db, proposal, self.clock.now(), &self.rules)
    }

    /// Makes a group durable and visible, and answers everyone who was judged with it.
    async fn write(&mut self, group: Group, judged: Vec<Judged>, begun: Duration) -> Result<(), End> {
        if group.is_empty() {
            // Judged on what is durable already.
            self.answer_all(judged, None);
            return Ok(());
        }
        let sealed = match group.seal(&self.chain, self.clock.now(), self.entropy.sixteen()) {
            Ok(sealed) => sealed,
            Err(error) => {
                // A single transaction, too large even alone.
                refuse_accepted(judged, || copy(&error));
                return Ok(());
            }
        };
        let begun = self.timed(&self.metrics.seal, begun);
        if let Some(place) = BodyPlace::of(&sealed.header, &sealed.body)
            && let Err(error) = self.segments.put(&body_key(&place), &sealed.body.bytes)
        {
            return self.not_written(judged, error);
        }
        let new_head = Head { seq: sealed.header.seq, t: sealed.header.last_t(), hash: sealed.hash, ..self.head };
        let id = self.database.id;
        let step = Step { id, expected: Some(self.head), new_head, record: &sealed.record, new_term: false };
        match append_surely(&*self.journal, &step).await {
            Fate::Done => {
                let begun = self.timed(&self.metrics.append, begun);
                self.done(sealed, new_head, judged);
                self.timed(&self.metrics.answer, begun);
                Ok(())
            }
            Fate::NotDone(error) => self.not_written(judged, error),
            Fate::Fenced(message) => {
                refuse_all(judged, || fenced(&*message));
                Err(End::Fenced(message))
            }
            Fate::Broken(error) => {
                let message = format!("the store failed while the transaction was being written: {error}");
                refuse_all(judged, || Error::new(Category::Unknown, "db.error/outcome-unknown", message.clone()));
                Err(self.failed(&message))
            }
        }
    }

    fn done(&mut self, sealed: Sealed, new_head: Head, judged: Vec<Judged>) {
        self.chain
            .push_header(&sealed.header, sealed.hash)
            .expect("the header was made by this chain, which has not moved since");
        self.head = new_head;
        self.db = sealed.db;
        self.publish();
        self.database.followers.announce(new_head.seq, &sealed.record, &sealed.hash);
        self.indexing.noted(&self.db);
        let counts = &self.database.counts;
        Counts::add(&counts.records, 1);
        Counts::add(&counts.committed, sealed.header.count);
        let metrics = &self.metrics;
        metrics.committed.inc_by(sealed.header.count);
        metrics.group.observe(sealed.header.count as f64);
        metrics.record_bytes.observe((sealed.record.len().max(sealed.body.bytes.len())) as f64);
        self.answer_all(judged, Some((new_head.seq, sealed.hash)));
    }

    fn publish(&self) {
        let Writer { head, db, chain, index, .. } = self;
        self.database.publish(Durable { head: *head, db: db.clone(), chain: chain.clone(), index: index.clone() });
    }

    /// Refuses before novelty takes more memory than it may: indexing is behind, or does not work.
    fn check_novelty(&self, db: &Db) -> Result<()> {
        let most = self.indexing.settings.novelty_bytes_max;
        if db.novelty_bytes() < most {
            return Ok(());
        }
        let message = format!(
            "database {:?} has {} MiB that are not indexed yet, which is the most; indexing goes on",
            self.database.name,
            most >> 20
        );
        Err(busy(message, RETRY_AFTER_MS))
    }

    /// Writes the `index` record of a job whose segments are durable, and goes on from its trees.
    async fn name_trees(&mut self, indexed: Indexed, reply: Reply<Result<u64>>) -> Result<(), End> {
        let Indexed { body, prepared, .. } = indexed;
        // The trees of every index are found from the one after it; a job that did not know of one would lose it.
        if body.previous != self.index.as_ref().map_or(0, |index| index.0) {
            let message = "another index was named since the job began";
            let _ = reply.send(Err(Error::new(Category::Conflict, "db.error/index-outdated", message)));
            return Ok(());
        }
        let moved = self.db.onto_those_of(&prepared);
        let encoded = Body::Index(Box::new(body.clone())).encode(self.entropy.sixteen());
        let (db, encoded) = match (moved, encoded) {
            (Ok(db), Ok(encoded)) => (db, encoded),
            (Err(error), _) | (_, Err(error)) => {
                let _ = reply.send(Err(error));
                return Ok(());
            }
        };
        match self.move_trees(encoded, body, db).await? {
            Ok(seq) => drop(reply.send(Ok(seq))),
            Err(error) => drop(reply.send(Err(error))),
        }
        Ok(())
    }

    /// Writes nothing until whoever holds the database lets go of it, or hands over what it erased.
    async fn hold(&mut self, hold: Hold) -> Result<(), End> {
        let Hold { granted, erased, reply } = hold;
        if granted.send(()).is_err() {
            return Ok(());
        }
        let database = self.database.clone();
        let erased = tokio::select! {
            biased;
            _ = database.stops() => return Ok(()),
            erased = erased => erased,
        };
        // Let go of without a word: nothing was erased.
        let Ok(erased) = erased else { return Ok(()) };
        let written = self.name_erased(*erased).await?;
        let _ = reply.send(written);
        Ok(())
    }

    /// Writes the `erase` record of a job whose segments are durable, and goes on from its trees.
    async fn name_erased(&mut self, erased: Erased) -> Result<Result<u64>, End> {
        let Erased { body, prepared, .. } = erased;
        if body.index.chain.seq != self.chain.seq() {
            let error =
                Error::fault("an erasure was not made of the newest record, though the database was held for it");
            return Ok(Err(error));
        }
        let index = IndexBody { floor: self.chain.seq() + 1, ..body.index.clone() };
        let moved = self.db.onto_those_of(&prepared);
        let encoded = Body::Erase(Box::new(body)).encode(self.entropy.sixteen());
        match (moved, encoded) {
            (Ok(db), Ok(encoded)) => self.move_trees(encoded, index, db).await,
            (Err(error), _) | (_, Err(error)) => Ok(Err(error)),
        }
    }

    /// Appends a record that moves the trees, and goes on from the value on them.
    async fn move_trees(&mut self, encoded: EncodedBody, index: IndexBody, db: Db) -> Result<Result<u64>, End> {
        let header = self.chain.next(&encoded, self.chain.term(), self.clock.now());
        let record = log::record_bytes(&header, &encoded);
        let (seq, hash) = (header.seq, header.hash());
        if let Some(place) = BodyPlace::of(&header, &encoded)
            && let Err(error) = self.segments.put(&body_key(&place), &encoded.bytes)
        {
            return self.trees_not_moved(error);
        }
        let new_head = Head { seq, hash, index_seq: seq, ..self.head };
        let id = self.database.id;
        let step = Step { id, expected: Some(self.head), new_head, record: &record, new_term: false };
        match append_surely(&*self.journal, &step).await {
            Fate::Done => {
                self.chain.push_header(&header, hash).expect("the header was made by this chain");
                self.head = new_head;
                self.db = db;
                self.index = Some(Arc::new((seq, index)));
                self.publish();
                if header.kind == Kind::Erase {
                    self.database.followers.forget();
                }
                self.database.followers.announce(seq, &record, &hash);
                Ok(Ok(seq))
            }
            Fate::NotDone(error) => self.trees_not_moved(error),
            Fate::Fenced(message) => Err(End::Fenced(message)),
            Fate::Broken(error) => {
                let message = format!("the store failed while trees were being named: {error}");
                Err(self.failed(&message))
            }
        }
    }

    fn trees_not_moved(&self, error: storage::Error) -> Result<Result<u64>, End> {
        match is_fatal(&error) {
            true => Err(self.failed(&error.to_string())),
            false => Ok(Err(from_storage(error))),
        }
    }

    /// Counts what a stage took, and tells when it ended.
    fn timed(&self, stage: &Histogram, begun: Duration) -> Duration {
        let now = self.clock.since_boot();
        observe(stage, now.saturating_sub(begun));
        now
    }

    /// The record was not written and will not be. A store that can go on refuses; one that cannot ends the process.
    fn not_written(&self, judged: Vec<Judged>, error: storage::Error) -> Result<(), End> {
        let fatal = is_fatal(&error);
        let message = error.to_string();
        let mut refusal = from_storage(error);
        if refusal.category() == Category::Busy {
            refusal = refusal.with(proto::RETRY_AFTER_MS, RETRY_AFTER_MS);
        }
        refuse_all(judged, || copy(&refusal));
        if fatal { Err(self.failed(&message)) } else { Ok(()) }
    }

    fn failed(&self, message: &str) -> End {
        End::Failed(Failure::new(format!("database {}: {message}", self.database.name)))
    }

    fn answer_all(&self, judged: Vec<Judged>, record: Option<(u64, Hash)>) {
        for Judged { reply, verdict, .. } in judged {
            if verdict.is_err() {
                Counts::add(&self.database.counts.refused, 1);
                self.metrics.refused.inc();
            }
            let (record_seq, record_hash) = record.unwrap_or_default();
            answer(reply, verdict.map(|report| Committed { report, record_seq, record_hash }));
        }
    }
}

/// Whether a store that did not write something must not be used again.
fn is_fatal(error: &storage::Error) -> bool {
    use storage::ErrorKind::{Busy, Invalid, Unsupported};
    !matches!(error.kind(), Busy | Invalid | Unsupported)
}

/// A caller who has gone away meanwhile hears nothing; what is durable stays.
fn answer(reply: Reply<Result<Committed>>, answer: Result<Committed>) {
    let _ = reply.send(answer);
}

/// Refusals keep their reasons, which hold whether or not the group was written.
fn refuse_accepted(judged: Vec<Judged>, error: impl Fn() -> Error) {
    for Judged { reply, sequence, verdict } in judged {
        if let Some(sequence) = sequence {
            sequence.cut();
        }
        answer(reply, Err(verdict.err().unwrap_or_else(&error)));
    }
}

/// What was judged after another transaction of the group was judged on a value that never came to be.
fn refuse_all(judged: Vec<Judged>, error: impl Fn() -> Error) {
    for Judged { reply, .. } in judged {
        answer(reply, Err(error()));
    }
}

impl Waiting {
    fn of(message: Message) -> Option<Waiting> {
        match message {
            Message::Transact(proposal, reply) => Some(Waiting::Transaction { proposal, reply }),
            Message::Index(indexed, reply) => Some(Waiting::Index { indexed, reply }),
            Message::Hold(hold) => Some(Waiting::Hold(hold)),
            Message::Stop => None,
        }
    }

    fn is_of_sequence(&self) -> bool {
        matches!(self, Waiting::Transaction { proposal, .. } if proposal.sequence.is_some())
    }

    fn is_transaction(&self) -> bool {
        matches!(self, Waiting::Transaction { .. })
    }

    fn refuse(self, error: Error) {
        match self {
            Waiting::Transaction { reply, .. } => answer(reply, Err(error)),
            Waiting::Index { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Waiting::Hold(hold) => {
                let _ = hold.reply.send(Err(error));
            }
        }
    }
}
