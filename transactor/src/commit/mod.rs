//! The commit path of a database: a bounded mailbox, one writer, one record for all who waited.
//!
//! Everything a caller hears, a refusal too, it hears after the state that it was judged on is durable: the writer
//! judges a group, appends it, makes it visible, tells followers, and only then answers.

mod group;
mod writer;

pub use group::{Accepted, Group, Proposal, Rules, Sealed, Sequence, judge};
pub use writer::Writer;

use crate::erasing::Erased;
use crate::errors::{copy, deleted};
use crate::follow::Followers;
use crate::indexing::Indexed;
use arc_swap::ArcSwap;
use db::log::{Chain, IndexBody};
use db::tx::TxReport;
use db::{Db, Error, Result, log};
use process::Mailbox;
use process::mailbox::Reply;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use storage::{DatabaseId, Head};
use tokio::sync::{OwnedMutexGuard, oneshot, watch};

/// A database as the services see it.
pub struct Database {
    pub id: DatabaseId,
    pub name: String,
    pub mailbox: Mailbox<Message>,
    pub followers: Arc<Followers>,
    pub counts: Counts,
    pub loads: Loads,
    /// Whether an index is ready and on its way to the writer. It goes before transactions, which may have to wait for it.
    pub index_is_ready: watch::Sender<bool>,
    durable: ArcSwap<Durable>,
    /// Why no more is written, once that is so.
    stopped: watch::Sender<Option<Arc<Error>>>,
}

/// The loads that are under way, by name.
#[derive(Default)]
pub struct Loads(Mutex<BTreeMap<String, UnderWay>>);

#[derive(Clone, Default)]
struct UnderWay {
    sequence: Sequence,
    /// Held until the outcome of all its transactions is known.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Loads {
    /// Cuts a load of that name that is under way, as when its caller has gone and comes again, and waits for its end. The
    /// turn is to be kept until the outcome of all transactions of the sequence is known.
    pub async fn begin(&self, name: &str) -> (Sequence, OwnedMutexGuard<()>) {
        let sequence = Sequence::default();
        let turn = {
            let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds any more have ended.
            loads.retain(|_, load| Arc::strong_count(&load.turn) > 1);
            let load = loads.entry(name.to_owned()).or_default();
            std::mem::replace(&mut load.sequence, sequence.clone()).cut();
            load.turn.clone()
        };
        (sequence, turn.lock_owned().await)
    }
}

/// The newest state that is durable.
#[derive(Clone)]
pub struct Durable {
    pub head: Head,
    pub db: Db,
    /// The log's end, as the next record is judged by it.
    pub chain: Chain,
    /// The newest `index` record: its seq, and what it says.
    pub index: Option<Arc<(u64, IndexBody)>>,
}

/// Since the process started.
#[derive(Default)]
pub struct Counts {
    pub committed: AtomicU64,
    pub refused: AtomicU64,
    pub records: AtomicU64,
}

/// What the writer is asked.
pub enum Message {
    Transact(Proposal, Reply<Result<Committed>>),
    /// Name the trees of a job in the log; the answer is the record's seq.
    Index(Box<Indexed>, Reply<Result<u64>>),
    /// Write nothing for a while.
    Hold(Hold),
    /// Finish what came before, and end.
    Stop,
}

/// A database's writer is held: transactions wait in the mailbox until `erased` comes or its sender is dropped.
pub struct Hold {
    /// All that came before is durable.
    pub granted: Reply<()>,
    /// Named in the log then; the answer is the record's seq.
    pub erased: oneshot::Receiver<Box<Erased>>,
    pub reply: Reply<Result<u64>>,
}

/// A durable transaction.
pub struct Committed {
    pub report: TxReport,
    pub record_seq: u64,
    pub record_hash: log::Hash,
}

impl Database {
    pub fn new(
        id: DatabaseId,
        name: String,
        mailbox: Mailbox<Message>,
        followers: Arc<Followers>,
        durable: Durable,
    ) -> Self {
        Database {
            id,
            name,
            mailbox,
            followers,
            counts: Counts::default(),
            loads: Loads::default(),
            durable: ArcSwap::from_pointee(durable),
            index_is_ready: watch::Sender::new(false),
            stopped: watch::Sender::new(None),
        }
    }

    pub fn durable(&self) -> Arc<Durable> {
        self.durable.load_full()
    }

    /// Why the database takes no more transactions, if it does not.
    pub fn stopped(&self) -> Option<Arc<Error>> {
        self.stopped.borrow().clone()
    }

    /// Returns once the database takes no more transactions, with why.
    pub async fn stops(&self) -> Error {
        match self.stopped.subscribe().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => copy(why),
            _ => unreachable!("the sender lives as long as self"),
        }
    }

    /// Its deletion is decided: followers are told, and its writer takes nothing more. The writer still has to be
    /// woken, with [`Message::Stop`].
    pub fn delete(&self) {
        self.stop(deleted(&self.name, self.id));
    }

    /// Another transactor has taken it over: followers and callers are told, and its writer takes nothing more.
    pub fn fence(&self, why: Error) {
        self.stop(why);
        // A full mailbox wakes the writer as well.
        let _ = self.mailbox.tell(Message::Stop);
    }

    fn publish(&self, durable: Durable) {
        self.durable.store(Arc::new(durable));
    }

    /// The first word counts.
    fn stop(&self, why: Error) {
        self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(|| Arc::new(why));
            first
        });
    }
}

impl Counts {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
