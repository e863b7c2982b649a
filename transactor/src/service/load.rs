//! Loads: transactions in the order of a stream, many of them on their way at once.
//!
//! While one is judged the next ones are read, and those before it become durable. What is on its way is bounded by
//! count and by bytes. Each transaction of a named load says its number in `:db.tx/key`: how far a load is stands in the
//! database itself, and two calls of the same load cannot both commit a number.

use super::transactor::{gone, read};
use crate::commit::{Committed, Database, Message, Proposal, Sequence};
use crate::errors::busy;
use db::schema::ids;
use db::{AttrId, Category, Db, Error, Pattern, Result, Value};
use process::mailbox::Answer;
use process::{Clock, Executor, Feed};
use proto::v1;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::Instant;
use tonic::Streaming;

/// Transactions that are read at once, on threads of their own.
const READING_MAX: usize = 4;
/// Transactions that wait for the writer or the disk.
const ASKED_MAX: usize = 256;
/// Tx-data on its way, in bytes; one transaction may be larger than that, and then is alone.
const BYTES_MAX: usize = 32 << 20;
const NAME_LENGTH_MAX: usize = 64;
/// A call that was cut off for another one ends within this time.
const TURN_MAX: Duration = Duration::from_secs(30);
/// Between two words on how far it is.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// A load that has begun.
pub(super) struct Load {
    database: Arc<Database>,
    name: String,
    clock: Arc<dyn Clock>,
    executor: Executor,
    sequence: Sequence,
    turn: Option<OwnedMutexGuard<()>>,
    told: v1::LoadResponse,
    /// Transactions that were taken from the stream, and what their text takes until they are durable.
    taken: u64,
    bytes: usize,
    reading: VecDeque<(usize, oneshot::Receiver<Result<Proposal>>)>,
    asked: VecDeque<(usize, Answer<Result<Committed>>)>,
}

impl Load {
    /// Finds out how far the load is.
    pub async fn begin(
        database: Arc<Database>,
        name: String,
        clock: Arc<dyn Clock>,
        executor: Executor,
    ) -> Result<Load> {
        check_name(&name)?;
        // Without a name there is nothing to go on with.
        let begun = async {
            match name.is_empty() {
                true => (Sequence::default(), None),
                false => {
                    let (sequence, turn) = database.loads.begin(&name).await;
                    (sequence, Some(turn))
                }
            }
        };
        let (sequence, turn) = tokio::time::timeout(TURN_MAX, begun).await.map_err(|_| {
            busy(format!("load {name:?} is under way, and did not end when it was cut off for this call"), 1000)
        })?;
        let (db, prefix) = (database.durable().db.clone(), prefix(&name));
        let transactions = match name.is_empty() {
            true => 0,
            false => executor.blocking(move || number_of_last(&db, &prefix)).await?,
        };
        Ok(Load {
            database,
            name,
            clock,
            executor,
            sequence,
            turn,
            told: v1::LoadResponse { transactions, ..Default::default() },
            taken: 0,
            bytes: 0,
            reading: VecDeque::new(),
            asked: VecDeque::new(),
        })
    }

    /// Until the stream ends, or the first transaction is refused, or the caller goes.
    pub async fn run(mut self, mut incoming: Streaming<v1::LoadRequest>, sender: Feed<v1::LoadResponse>) {
        if sender.send(Ok(self.told)).await.is_err() {
            return;
        }
        self.taken = self.told.transactions;
        let outcome = self.all(&mut incoming, &sender).await;
        let refused = self.told.transactions + 1;
        self.sequence.cut();
        while !self.asked.is_empty() {
            // What was judged before the cut becomes durable.
            if let (_, Some(Ok(committed))) = next(&mut self.asked).await {
                self.committed(committed);
            }
        }
        drop(self.turn.take());
        let number = refused as i64;
        // The caller is told how far it is, and then why it is no further.
        if sender.send(Ok(self.told)).await.is_ok()
            && let Err(error) = outcome
        {
            let _ = sender.send(Err(proto::status(&error.with("transaction", number)))).await;
        }
    }

    async fn all(&mut self, incoming: &mut Streaming<v1::LoadRequest>, sender: &Feed<v1::LoadResponse>) -> Result<()> {
        let mut told_at = Instant::now();
        let mut waiting: VecDeque<String> = VecDeque::new();
        let mut has_ended = false;
        loop {
            while self.has_room()
                && let Some(text) = waiting.pop_front()
            {
                self.read(text);
            }
            if has_ended && waiting.is_empty() && self.reading.is_empty() && self.asked.is_empty() {
                return Ok(());
            }
            let may_ask = self.asked.len() < ASKED_MAX;
            tokio::select! {
                biased;
                (bytes, committed) = next(&mut self.asked) => {
                    self.committed(committed.unwrap_or_else(|| Err(unknown()))?);
                    self.bytes -= bytes;
                    if told_at.elapsed() >= TELL_EVERY {
                        told_at = Instant::now();
                        // Where there is no room for the word, another one follows.
                        let _ = sender.try_send(Ok(self.told));
                    }
                }
                (bytes, read) = next(&mut self.reading), if may_ask => {
                    let proposal = read.unwrap_or_else(|_| Err(Error::fault("the reading of a transaction ended early")));
                    self.ask(bytes, proposal).await?;
                }
                message = incoming.message(), if waiting.is_empty() && !has_ended => match message {
                    Ok(None) => has_ended = true,
                    Ok(Some(v1::LoadRequest { begin: None, tx_data })) => waiting.extend(tx_data),
                    Ok(Some(_)) => return Err(Error::incorrect("db.error/load", "a load begins once")),
                    Err(status) => {
                        let message = format!("the caller has gone: {}", status.message());
                        return Err(Error::new(Category::Interrupted, "db.error/cancelled", message));
                    }
                },
                () = sender.closed() => {
                    return Err(Error::new(Category::Interrupted, "db.error/cancelled", "the caller has gone"));
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.reading.len() < READING_MAX && (self.bytes < BYTES_MAX || self.bytes == 0)
    }

    /// Begins to read the next transaction.
    fn read(&mut self, text: String) {
        self.taken += 1;
        let bytes = text.len();
        let key = (!self.name.is_empty()).then(|| format!("{}{:012}", prefix(&self.name), self.taken));
        let (sequence, arrived) = (self.sequence.clone(), self.clock.since_boot());
        let (done, answer) = oneshot::channel();
        let executor = self.executor;
        let reading = executor.blocking(move || {
            let proposal = read(&text, Vec::new(), arrived)?;
            Ok(Proposal { key, sequence: Some(sequence), ..proposal })
        });
        executor.task(async move {
            let _ = done.send(reading.await);
        });
        self.bytes += bytes;
        self.reading.push_back((bytes, answer));
    }

    /// Hands a transaction to the writer, in its turn.
    async fn ask(&mut self, bytes: usize, proposal: Result<Proposal>) -> Result<()> {
        match proposal {
            Ok(proposal) => {
                let asked = self.database.mailbox.ask_in_turn(|reply| Message::Transact(proposal, reply)).await;
                let answer = asked.ok_or_else(|| gone(&self.database))?;
                self.asked.push_back((bytes, answer));
                Ok(())
            }
            Err(error) => {
                // Those before it are committed first, as if it had been judged.
                while !self.asked.is_empty() {
                    let (_, committed) = next(&mut self.asked).await;
                    self.committed(committed.unwrap_or_else(|| Err(unknown()))?);
                }
                Err(error)
            }
        }
    }

    fn committed(&mut self, committed: Committed) {
        let report = &committed.report;
        self.told.transactions += 1;
        self.told.datoms += report.datoms.len() as u64;
        self.told.t = report.t;
        if self.told.first_t == 0 {
            self.told.first_t = report.t;
        }
    }
}

/// Waits for the first of a queue, and takes it out; for ever where there is none.
async fn next<A: Future + Unpin>(queue: &mut VecDeque<(usize, A)>) -> (usize, A::Output) {
    match queue.front_mut() {
        None => std::future::pending().await,
        Some((bytes, first)) => {
            let (bytes, output) = (*bytes, first.await);
            queue.pop_front();
            (bytes, output)
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() <= NAME_LENGTH_MAX && name.chars().all(is_allowed) {
        return Ok(());
    }
    let message = format!("a load's name has 1 to {NAME_LENGTH_MAX} letters, digits, `-`, `_` and `.`");
    Err(Error::incorrect("db.error/load", message))
}

fn prefix(name: &str) -> String {
    format!("load/{name}/")
}

/// The number of the newest transaction of a load, 0 for none: its keys stand in the order of their numbers.
fn number_of_last(db: &Db, prefix: &str) -> Result<u64> {
    let a: AttrId = db.schema().attr_of_entity(ids::TX_KEY).ok_or_else(|| Error::fault("no attribute `:db.tx/key`"))?;
    // The digits come before whatever follows them.
    let (low, high) = (Value::string(prefix), Value::string(format!("{prefix}:")));
    let last = db.last(&Pattern::all().a(a).between(Bound::Included(&low), Bound::Excluded(&high)))?;
    let number = last.and_then(|datom| match &datom.v {
        Value::String(key) => key[prefix.len()..].parse().ok(),
        _ => None,
    });
    Ok(number.unwrap_or(0))
}

fn unknown() -> Error {
    let message = "the transactor ended before it answered; ask how far the load is, and go on there";
    Error::new(Category::Unknown, "db.error/outcome-unknown", message)
}
