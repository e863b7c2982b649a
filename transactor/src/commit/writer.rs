//! The writer of one database: a stage.

use super::{Accepted, Committed, Counts, Database, Durable, Group, Message, Proposal, Rules, Sealed, judge};
use crate::append::{Fate, Step, append_surely};
use crate::clock_guard::ClockGuard;
use crate::errors::{copy, fenced, from_storage, stopping};
use crate::metrics::Metrics;
use crate::open::body_key;
use db::log::{BodyPlace, Chain, Hash};
use db::tx::TxReport;
use db::{Category, Db, Error, Result};
use process::mailbox::Reply;
use process::metrics::{Histogram, observe};
use process::{Clock, Entropy, Failpoint, Failure, log};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use storage::{Head, Journal, Segments};
use tokio::sync::mpsc::Receiver;

/// Transactions taken from the mailbox at once: enough to fill a record with small ones.
const TAKEN_MAX: usize = 1024;
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
}

/// A caller who waits.
struct Waiting {
    proposal: Proposal,
    reply: Reply<Result<Committed>>,
}

/// A caller whose transaction was judged, and who hears of it once that is durable.
struct Judged {
    reply: Reply<Result<Committed>>,
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
                log::error!(database = self.database.name, why = message, "a database was taken over and is closed");
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
        for Waiting { reply, .. } in waiting {
            answer(reply, Err(copy(&why)));
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
        while mailbox.recv_many(&mut messages, TAKEN_MAX).await > 0 {
            point.pass();
            let stop = messages.iter().any(|message| matches!(message, Message::Stop));
            waiting.extend(messages.drain(..).filter_map(Waiting::of));
            self.commit_all(waiting).await?;
            if stop || self.database.stopped().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Commits what waits; leaves it when the database was deleted.
    async fn commit_all(&mut self, waiting: &mut VecDeque<Waiting>) -> Result<(), End> {
        let mut carried = None;
        while carried.is_some() || !waiting.is_empty() {
            if self.database.stopped().is_some() {
                waiting.extend(carried.map(|(waiting, _): (Waiting, Accepted)| waiting));
                return Ok(());
            }
            carried = self.commit_group(carried, waiting).await?;
        }
        Ok(())
    }

    /// Judges until the record is full or nobody waits, writes the record, answers. Gives back the transaction that
    /// did not fit, which begins the next record.
    async fn commit_group(
        &mut self,
        carried: Option<(Waiting, Accepted)>,
        waiting: &mut VecDeque<Waiting>,
    ) -> Result<Option<(Waiting, Accepted)>, End> {
        let begun = self.clock.since_boot();
        let mut group = Group::new(self.db.clone());
        let mut judged = Vec::new();
        let mut overflow = None;
        if let Some((Waiting { reply, .. }, accepted)) = carried {
            judged.push(Judged { reply, verdict: Ok(group.add(accepted)) });
        }
        while overflow.is_none()
            && let Some(next) = waiting.pop_front()
        {
            // A caller who has gone away before its turn asked for nothing.
            if next.reply.is_closed() {
                continue;
            }
            observe(&self.metrics.queue_wait, begun.saturating_sub(next.proposal.arrived));
            match self.judge(group.db(), &next.proposal) {
                Err(error) => judged.push(Judged { reply: next.reply, verdict: Err(error) }),
                Ok(accepted) if group.has_room_for(&accepted) => {
                    judged.push(Judged { reply: next.reply, verdict: Ok(group.add(accepted)) });
                }
                Ok(accepted) => overflow = Some((next, accepted)),
            }
        }
        let judged_at = self.timed(&self.metrics.judge, begun);
        if let Err(end) = self.write(group, judged, judged_at).await {
            waiting.extend(overflow.map(|(waiting, _)| waiting));
            return Err(end);
        }
        match overflow {
            // Judged on a value that was not written after all: judged again.
            Some((again, accepted)) if accepted.report.db_before.basis_t() != self.db.basis_t() => {
                waiting.push_front(again);
                Ok(None)
            }
            overflow => Ok(overflow),
        }
    }

    fn judge(&self, db: &Db, proposal: &Proposal) -> Result<Accepted> {
        self.clock_guard.check(&*self.clock)?;
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
        self.database.publish(Durable { head: new_head, db: self.db.clone() });
        self.database.followers.announce(new_head.seq, &sealed.record, &sealed.hash);
        let counts = &self.database.counts;
        Counts::add(&counts.records, 1);
        Counts::add(&counts.committed, sealed.header.count);
        let metrics = &self.metrics;
        metrics.committed.inc_by(sealed.header.count);
        metrics.group.observe(sealed.header.count as f64);
        metrics.record_bytes.observe((sealed.record.len().max(sealed.body.bytes.len())) as f64);
        self.answer_all(judged, Some((new_head.seq, sealed.hash)));
    }

    /// Counts what a stage took, and tells when it ended.
    fn timed(&self, stage: &Histogram, begun: Duration) -> Duration {
        let now = self.clock.since_boot();
        observe(stage, now.saturating_sub(begun));
        now
    }

    /// The record was not written and will not be. A store that can go on refuses; one that cannot ends the process.
    fn not_written(&self, judged: Vec<Judged>, error: storage::Error) -> Result<(), End> {
        use storage::ErrorKind::{Busy, Invalid, Unsupported};
        let fatal = !matches!(error.kind(), Busy | Invalid | Unsupported);
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
        for Judged { reply, verdict } in judged {
            if verdict.is_err() {
                Counts::add(&self.database.counts.refused, 1);
                self.metrics.refused.inc();
            }
            let (record_seq, record_hash) = record.unwrap_or_default();
            answer(reply, verdict.map(|report| Committed { report, record_seq, record_hash }));
        }
    }
}

/// A caller who has gone away meanwhile hears nothing; what is durable stays.
fn answer(reply: Reply<Result<Committed>>, answer: Result<Committed>) {
    let _ = reply.send(answer);
}

/// Refusals keep their reasons, which hold whether or not the group was written.
fn refuse_accepted(judged: Vec<Judged>, error: impl Fn() -> Error) {
    for Judged { reply, verdict } in judged {
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
            Message::Transact(proposal, reply) => Some(Waiting { proposal, reply }),
            Message::Stop => None,
        }
    }
}
