//! The store that both transactors reach: one that loses answers, is full, is cut off from one of them, and keeps what
//! it once had whatever becomes of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::conformance::Dice;
use storage::{
    Appended, DatabaseId, Error, ErrorKind, Head, Journal, MemoryStore, Options, PodPut, PodVersion, Records, Replaced,
    Result, Segments,
};

/// Of a thousand appends so many are never done although their writer is not told, done without it being told, done
/// some time later, refused.
const STEPS_LOST: u64 = 20;
const ANSWERS_LOST: u64 = 20;
const STEPS_LATE: u64 = 20;
const REFUSED: u64 = 10;
/// One that is late arrives at one of so many calls.
const LATE_FOR: u64 = 4;

/// What survives every crash. Cheap to clone.
#[derive(Clone)]
pub struct SharedStore {
    store: MemoryStore,
    weather: Arc<Mutex<Weather>>,
}

struct Weather {
    dice: Dice,
    faulty: bool,
    cut_off: BTreeSet<&'static str>,
    /// It says that appends are done before they are, and sometimes they never are.
    forgetful: bool,
    late: Vec<Step>,
    /// What went wrong, to be told in the trace.
    mishaps: u64,
}

/// An append or a take-over.
struct Step {
    db: DatabaseId,
    expected: Option<Head>,
    new_head: Head,
    record: Vec<u8>,
    new_term: bool,
}

/// The journal as one host reaches it.
struct FromHost {
    journal: Arc<dyn Journal>,
    host: &'static str,
    weather: Arc<Mutex<Weather>>,
}

impl SharedStore {
    pub fn new(seed: u64) -> Self {
        let weather = Weather {
            dice: Dice::new(seed),
            faulty: false,
            cut_off: BTreeSet::new(),
            forgetful: false,
            late: Vec::new(),
            mishaps: 0,
        };
        SharedStore { store: MemoryStore::new(Options::default()), weather: Arc::new(Mutex::new(weather)) }
    }

    pub fn journal_from(&self, host: &'static str) -> Arc<dyn Journal> {
        Arc::new(FromHost { journal: self.journal(), host, weather: self.weather.clone() })
    }

    /// The journal as it is, for those who check.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.store.store().journal()
    }

    pub fn segments(&self) -> Arc<dyn Segments> {
        self.store.store().segments()
    }

    pub fn set_faulty(&self, faulty: bool) {
        locked(&self.weather).faulty = faulty;
    }

    /// Breaks the store's promise, to show that somebody would notice.
    pub fn forget(&self) {
        locked(&self.weather).forgetful = true;
    }

    pub fn cut_off(&self, host: &'static str) {
        locked(&self.weather).cut_off.insert(host);
    }

    pub fn heal(&self) {
        locked(&self.weather).cut_off.clear();
    }

    pub fn mishaps(&self) -> u64 {
        locked(&self.weather).mishaps
    }
}

impl FromHost {
    /// A host that is cut off cannot tell whether what it asked for was done.
    fn reach(&self) -> Result<()> {
        self.late_ones_arrive();
        match locked(&self.weather).cut_off.contains(self.host) {
            true => Err(Error::new(ErrorKind::Unknown, "the store cannot be reached (injected)")),
            false => Ok(()),
        }
    }

    /// What is late arrives between the calls of others, when its writer has given up waiting.
    fn late_ones_arrive(&self) {
        let step = {
            let mut weather = locked(&self.weather);
            let arrives = !weather.late.is_empty() && weather.dice.below(LATE_FOR) == 0;
            arrives.then(|| weather.late.remove(0))
        };
        // Nobody waits for the answer.
        let _ = step.map(|step| self.take(&step));
    }

    fn take(&self, step: &Step) -> Result<Appended> {
        match step.expected {
            Some(expected) if step.new_term => self.journal.take_over(step.db, expected, step.new_head, &step.record),
            expected => self.journal.append(step.db, expected, step.new_head, &step.record),
        }
    }

    fn meet(&self, step: Step) -> Result<Appended> {
        self.reach()?;
        let mut weather = locked(&self.weather);
        let mut chance = if weather.faulty { weather.dice.below(1000) } else { 1000 };
        // One throw, of which each mishap has its share.
        let mut falls_to = |share: u64| {
            let falls = chance < share;
            chance = if falls { 1000 } else { chance.saturating_sub(share) };
            falls
        };
        let unknown = || Err(Error::new(ErrorKind::Unknown, "the answer of the store was lost (injected)"));
        let (lost, unanswered) = (falls_to(STEPS_LOST), falls_to(ANSWERS_LOST));
        let (late, refused) = (falls_to(STEPS_LATE), falls_to(REFUSED));
        weather.mishaps += u64::from(lost || unanswered || late || refused);
        if (lost || unanswered || late) && weather.forgetful {
            return Ok(Appended::Done);
        } else if lost {
            return unknown();
        } else if unanswered {
            return self.take(&step).and_then(|_| unknown());
        } else if late {
            weather.late.push(step);
            return unknown();
        } else if refused {
            return Err(Error::new(ErrorKind::Busy, "the queue of the store is full (injected)"));
        }
        self.take(&step)
    }
}

impl Journal for FromHost {
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.meet(Step { db, expected, new_head, record: record.to_vec(), new_term: false })
    }

    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.meet(Step { db, expected: Some(expected), new_head, record: record.to_vec(), new_term: true })
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        self.reach()?;
        self.journal.read(db, from_seq, bytes_max)
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        self.reach()?;
        self.journal.head(db)
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.reach()?;
        self.journal.read_pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.reach()?;
        self.journal.put_pod(name, expected, bytes)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.reach()?;
        self.journal.delete_pod(name, version)
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.reach()?;
        self.journal.list_pods(prefix)
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        self.reach()?;
        self.journal.drop_database(db)
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        self.reach()?;
        self.journal.seal(db, before_seq)
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        self.reach()?;
        self.journal.replace_body(db, seq, old, record)
    }
}

/// One thread only: nobody ever waits, and nobody leaves it half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
