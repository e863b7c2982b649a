//! What happened: a trace to compare two runs by, and what was promised, to hold the log to.

use db::log::{Content, RawRecord};
use db::replay::Replay;
use db::{Instant, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use storage::{DatabaseId, Journal, Records};

/// Where the simulated wall clock begins: 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Shared by all who take part. Cheap to clone.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    trace: Vec<String>,
    acknowledged: BTreeMap<String, u64>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// How a transaction ended for its client.
pub enum Outcome {
    Acknowledged(u64),
    Refused,
    Unknown,
}

/// The log as the store has it, read and verified as a peer does.
pub struct Log {
    pub replay: Replay,
    /// Record k's hash at k - 1.
    pub hashes: Vec<[u8; 32]>,
    /// Each operation that the log holds, and the transactions that say it.
    pub operations: BTreeMap<String, Vec<u64>>,
}

/// The simulated time, which is the same everywhere and does not depend on how fast the machine is.
pub struct SimulatedClock;

impl process::Clock for SimulatedClock {
    fn now(&self) -> Instant {
        Instant(EPOCH_MS + elapsed().as_millis() as i64)
    }

    fn since_boot(&self) -> Duration {
        elapsed()
    }
}

pub fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl History {
    /// Notes that something happened now.
    pub fn tell(&self, at: Duration, what: impl Display) {
        self.inner().trace.push(format!("{:9.3} {what}", at.as_secs_f64()));
    }

    pub fn trace(&self) -> Vec<String> {
        self.inner().trace.clone()
    }

    pub fn note(&self, operation: &str, outcome: &Outcome) {
        let mut inner = self.inner();
        let new = match outcome {
            Outcome::Acknowledged(t) => inner.acknowledged.insert(operation.to_owned(), *t).is_none(),
            Outcome::Refused => inner.refused.insert(operation.to_owned()),
            Outcome::Unknown => inner.unknown.insert(operation.to_owned()),
        };
        assert!(new, "{operation} was tried twice");
    }

    /// How many operations were acknowledged, refused, of unknown outcome.
    pub fn counts(&self) -> (usize, usize, usize) {
        let inner = self.inner();
        (inner.acknowledged.len(), inner.refused.len(), inner.unknown.len())
    }

    /// Nothing acknowledged is lost or elsewhere, nothing refused is there, nothing is there twice, and nothing is
    /// there that nobody asked for.
    pub fn holds(&self, log: &Log) {
        let inner = self.inner();
        for (operation, ts) in &log.operations {
            assert_eq!(ts.len(), 1, "{operation} was applied at t {ts:?}");
            assert!(!inner.refused.contains(operation), "{operation} was refused and stands at t {ts:?}");
            let asked = inner.acknowledged.contains_key(operation) || inner.unknown.contains(operation);
            assert!(asked, "nobody asked for {operation}, at t {ts:?}");
        }
        for (operation, t) in &inner.acknowledged {
            assert_eq!(log.operations.get(operation), Some(&vec![*t]), "{operation} was acknowledged at t {t}");
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    pub fn read(journal: &dyn Journal, id: DatabaseId) -> Log {
        let replay = Replay::new(db::log::DatabaseId(id.0));
        let mut log = Log { replay, hashes: Vec::new(), operations: BTreeMap::new() };
        log.read_on(journal, id);
        let head = journal.head(id).unwrap().unwrap();
        assert_eq!((log.replay.chain().seq(), log.replay.chain().hash()), (head.seq, head.hash));
        log
    }

    /// Reads what is new.
    pub fn read_on(&mut self, journal: &dyn Journal, id: DatabaseId) {
        loop {
            let records = match journal.read(id, self.hashes.len() as u64 + 1, 1 << 20).unwrap() {
                Records::Found(records) if records.is_empty() => return,
                Records::Found(records) => records,
                sealed => panic!("{sealed:?}"),
            };
            for stored in records {
                let record = RawRecord::parse(&stored.bytes).unwrap();
                assert!(matches!(record.content, Content::Body(_)), "the transactions here are small");
                self.hashes.push(record.hash);
                for entry in self.replay.apply(&record, None).unwrap() {
                    for datom in entry.datoms {
                        if let Value::String(text) = &datom.v
                            && datom.added
                            && let Some(operation) = text.strip_prefix(OPERATION)
                        {
                            self.operations.entry(operation.to_owned()).or_default().push(entry.t);
                        }
                    }
                }
            }
        }
    }
}

/// What the value of every operation begins with, and no other string in the log.
pub const OPERATION: &str = "operation ";
