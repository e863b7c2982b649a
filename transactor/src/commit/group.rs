//! A group: transactions that become durable together, in one record. Pure: values in, values out.

use db::log::{self, BODY_BYTES_TARGET, Body, Chain, EncodedBody, Header, TxEntry, tx_bytes_bound};
use db::tx::{Functions, TxLimits, TxReport};
use db::{Category, Db, Error, Instant, Result, replay};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a transaction is, once read.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub tx_data: db::edn::Edn,
    /// Of `tx_data`, before expansion.
    pub digest: log::Hash,
    /// When it came, as the clock counts since boot.
    pub arrived: Duration,
    /// What no other transaction of the database says of itself.
    pub key: Option<String>,
    /// The sequence that it is one of, if it is.
    pub sequence: Option<Sequence>,
}

impl Proposal {
    /// Nothing behind it in its sequence is committed any more.
    pub fn cut(&self) {
        if let Some(sequence) = &self.sequence {
            sequence.cut();
        }
    }
}

/// Transactions that are committed in their order up to one of them, and none behind that.
#[derive(Clone, Debug, Default)]
pub struct Sequence(Arc<AtomicBool>);

impl Sequence {
    /// Nothing more of it is committed.
    pub fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What comes behind a cut is told.
    pub fn check(&self) -> Result<()> {
        if !self.is_cut() {
            return Ok(());
        }
        let message = "a transaction of the same sequence was refused, or its caller has gone; this one was not judged";
        Err(Error::new(Category::Interrupted, "db.error/cancelled", message))
    }
}

/// The rules that every transaction of a transactor is held to.
#[derive(Clone)]
pub struct Rules {
    pub functions: Functions,
    pub limits: TxLimits,
}

/// A transaction that was accepted, and what it leaves in the log.
pub struct Accepted {
    pub report: TxReport,
    entry: TxEntry,
    bytes: usize,
}

/// Transactions accepted one after the other, each judged on the value that the ones before it made.
pub struct Group {
    db: Db,
    entries: Vec<TxEntry>,
    bytes: usize,
}

/// A group as a record, ready to be appended.
pub struct Sealed {
    pub header: Header,
    pub hash: log::Hash,
    pub record: Vec<u8>,
    pub body: EncodedBody,
    /// The database after it.
    pub db: Db,
}

/// Judges a transaction on a value. A panic in it is a fault of ours, which ends this transaction and nothing else:
/// the value it was judged on cannot have changed.
pub fn judge(db: &Db, proposal: &Proposal, now: Instant, rules: &Rules) -> Result<Accepted> {
    let judged = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let Proposal { tx_data, key, .. } = proposal;
        let report = db::tx::transact_as(db, tx_data, key.as_deref(), now, &rules.functions, &rules.limits)?;
        let entry = replay::entry(&report, proposal.digest);
        let bytes = tx_bytes_bound(&entry);
        Ok(Accepted { report, entry, bytes })
    }));
    judged.unwrap_or_else(|_| {
        Err(Error::fault(
            "the transaction met a fault of the transactor's, which its log describes; nothing was written",
        ))
    })
}

impl Group {
    pub fn new(db: Db) -> Self {
        Group { db, entries: Vec::new(), bytes: 0 }
    }

    /// The value that the next transaction is judged on.
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether one more keeps the record within its bounds. A transaction that is larger alone stands alone.
    pub fn has_room_for(&self, accepted: &Accepted) -> bool {
        self.entries.is_empty() || self.bytes + accepted.bytes <= BODY_BYTES_TARGET
    }

    /// Adds a transaction that was judged on [`Group::db`].
    pub fn add(&mut self, accepted: Accepted) -> TxReport {
        self.bytes += accepted.bytes;
        self.entries.push(accepted.entry);
        self.db = accepted.report.db_after.clone();
        accepted.report
    }

    /// Makes the record that comes next in the chain. Fails only for a single transaction that is too large.
    pub fn seal(self, chain: &Chain, now: Instant, random: [u8; 16]) -> Result<Sealed> {
        let body = Body::Tx(self.entries).encode(random)?;
        let header = chain.next(&body, chain.term(), now);
        let record = log::record_bytes(&header, &body);
        Ok(Sealed { hash: header.hash(), header, record, body, db: self.db })
    }
}
