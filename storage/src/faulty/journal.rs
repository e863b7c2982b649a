//! A journal that loses answers: its callers prove with it that they survive what a real one may do.

use crate::{Appended, DatabaseId, Error, ErrorKind, Head, Journal, PodPut, PodVersion, Records, Replaced, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to one append or take-over instead of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The step is done, but the caller hears only that its outcome is unknown.
    AnswerLost,
    /// The step is not done, and the caller hears that its outcome is unknown.
    StepLost,
    /// The step is refused because the queue is full.
    Busy,
    /// The store fails on the way to disk: this step and everything after it is refused.
    Poisoned,
    /// The caller hears that the outcome is unknown, and the step is done when the next one arrives, before it.
    Late,
}

/// A journal in front of another one, which meets its appends and take-overs with faults as told.
pub struct FaultyJournal {
    inner: Arc<dyn Journal>,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    /// One entry for each append to come, None for one without a fault.
    appends: VecDeque<Option<Fault>>,
    /// What happens between a late step and the one that follows it.
    meanwhile: VecDeque<Meanwhile>,
    late: Option<Step>,
    poisoned: bool,
}

type Meanwhile = Box<dyn FnOnce(&dyn Journal) + Send>;

/// An append or a take-over.
struct Step {
    db: DatabaseId,
    expected: Option<Head>,
    new_head: Head,
    record: Vec<u8>,
    new_term: bool,
}

impl FaultyJournal {
    pub fn new(inner: Arc<dyn Journal>) -> Self {
        FaultyJournal { inner, script: Mutex::default() }
    }

    /// After the appends already told, the next one meets `fault`.
    pub fn then(&self, fault: Fault) {
        self.script().appends.push_back(Some(fault));
    }

    /// After the appends already told, the next `count` go well.
    pub fn then_good(&self, count: usize) {
        self.script().appends.extend(std::iter::repeat_n(None, count));
    }

    /// After the appends already told, the next one is late, and when it has been done at last, so much more happens
    /// before the one that follows.
    pub fn then_late(&self, meanwhile: impl FnOnce(&dyn Journal) + Send + 'static) {
        let mut script = self.script();
        script.appends.push_back(Some(Fault::Late));
        script.meanwhile.push_back(Box::new(meanwhile));
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, step: Step) -> Result<Appended> {
        self.serving()?;
        self.late_one_arrives();
        let fault = self.script().appends.pop_front().flatten();
        let unknown = || Err(Error::new(ErrorKind::Unknown, "the answer of the store was lost (injected)"));
        match fault {
            None => self.take(&step),
            Some(Fault::AnswerLost) => self.take(&step).and_then(|_| unknown()),
            Some(Fault::StepLost) => unknown(),
            Some(Fault::Late) => {
                self.script().late = Some(step);
                unknown()
            }
            Some(Fault::Busy) => Err(Error::new(ErrorKind::Busy, "the queue of the store is full (injected)")),
            Some(Fault::Poisoned) => {
                self.script().poisoned = true;
                self.serving().map(|()| unreachable!("just poisoned"))
            }
        }
    }

    fn late_one_arrives(&self) {
        let (late, meanwhile) = {
            let mut script = self.script();
            let late = script.late.take();
            let meanwhile = if late.is_some() { script.meanwhile.pop_front() } else { None };
            (late, meanwhile)
        };
        // Nobody waits for its answer any more.
        let _ = late.map(|step| self.take(&step));
        if let Some(meanwhile) = meanwhile {
            meanwhile(&*self.inner);
        }
    }

    fn take(&self, step: &Step) -> Result<Appended> {
        let Step { db, expected, new_head, record, new_term } = step;
        match expected {
            Some(expected) if *new_term => self.inner.take_over(*db, *expected, *new_head, record),
            expected => self.inner.append(*db, *expected, *new_head, record),
        }
    }

    fn serving(&self) -> Result<()> {
        match self.script().poisoned {
            true => Err(Error::new(ErrorKind::Poisoned, "the store failed on the way to disk (injected)")),
            false => Ok(()),
        }
    }
}

impl Journal for FaultyJournal {
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.meet(Step { db, expected, new_head, record: record.to_vec(), new_term: false })
    }

    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.meet(Step { db, expected: Some(expected), new_head, record: record.to_vec(), new_term: true })
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        self.serving()?;
        self.inner.read(db, from_seq, bytes_max)
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        self.serving()?;
        self.inner.head(db)
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        self.serving()?;
        self.inner.seal(db, before_seq)
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        self.serving()?;
        self.inner.replace_body(db, seq, old, record)
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.serving()?;
        self.inner.read_pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.serving()?;
        self.inner.put_pod(name, expected, bytes)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.serving()?;
        self.inner.delete_pod(name, version)
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.serving()?;
        self.inner.list_pods(prefix)
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        self.serving()?;
        self.inner.drop_database(db)
    }
}
