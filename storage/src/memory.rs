//! The store `memory:`: the same promises as on disk, for as long as the process lives.

use crate::state::{Answer, Change, State, Step, Stored, Writer};
use crate::{
    Appended, DatabaseId, Head, Journal, Options, PodPut, PodVersion, Records, Replaced, Result, Scrub, ScrubTicket,
    Scrubbed, SegmentKey, Segments, Store, StoredRecord, Usage, segments,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory. Clones share it, so that a test can drop one [`Store`] and open another over the same
/// bytes, as a restarted process does.
#[derive(Clone)]
pub struct MemoryStore {
    options: Options,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held for the few lines of one step or one read.
    journal: Mutex<Logs>,
    segments: Mutex<BTreeMap<SegmentKey, Arc<[u8]>>>,
}

#[derive(Default)]
struct Logs {
    state: State,
    records: BTreeMap<DatabaseId, BTreeMap<u64, Arc<[u8]>>>,
}

impl MemoryStore {
    pub fn new(options: Options) -> Self {
        MemoryStore { options, shared: Arc::default() }
    }

    pub fn store(&self) -> Store {
        let this = Arc::new(self.clone());
        Store::new(this.clone(), this, Vec::new(), || Ok(()))
    }

    fn step(&self, mut step: Step) -> Result<Answer> {
        step.check(&self.options)?;
        let mut logs = locked(&self.shared.journal);
        if let Step::Replace { db, seq, stored, .. } = &mut step {
            *stored = logs.records.get(db).and_then(|records| records.get(seq)).map(|record| Stored::of(record));
        }
        let (answer, change) = logs.state.judge(step);
        match change {
            Some(Change::Record { db, head, record }) => {
                logs.records.entry(db).or_default().insert(head.seq, record.into());
            }
            Some(Change::Sealed { db, before_seq }) => {
                let records = logs.records.entry(db).or_default();
                *records = records.split_off(&before_seq);
            }
            Some(Change::Replaced { db, seq, record, .. }) => {
                logs.records.entry(db).or_default().insert(seq, record.into());
            }
            Some(Change::Dropped { db }) => drop(logs.records.remove(&db)),
            Some(Change::PodPut { .. } | Change::PodDeleted { .. } | Change::Kept { .. }) | None => {}
        }
        Ok(answer)
    }
}

impl Journal for MemoryStore {
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.step(Step::Append { db, expected, new_head, record: record.to_vec(), by: Writer::SameTerm })
            .map(Answer::appended)
    }

    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        let expected = Some(expected);
        self.step(Step::Append { db, expected, new_head, record: record.to_vec(), by: Writer::NewTerm })
            .map(Answer::appended)
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        let from_seq = from_seq.max(1);
        let logs = locked(&self.shared.journal);
        let before_seq = logs.state.sealed_before(db);
        if from_seq < before_seq {
            return Ok(Records::Sealed { before_seq });
        }
        let mut bytes_sum = 0;
        let records = logs.records.get(&db).into_iter().flat_map(|records| records.range(from_seq..));
        let within = records.take_while(|(_, record)| {
            let before = bytes_sum;
            bytes_sum += record.len();
            before == 0 || bytes_sum <= bytes_max
        });
        let found = within.map(|(seq, record)| StoredRecord { seq: *seq, bytes: record.to_vec() });
        Ok(Records::Found(found.collect()))
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        Ok(locked(&self.shared.journal).state.head(db))
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        self.step(Step::Seal { db, before_seq })?.sealed()
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        self.step(Step::Replace { db, seq, old, record: record.to_vec(), stored: None })?.replaced()
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        Ok(locked(&self.shared.journal).state.pods().get(name).cloned())
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.step(Step::PutPod { name: name.to_owned(), expected, bytes: bytes.to_vec() }).map(Answer::pod)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.step(Step::DeletePod { name: name.to_owned(), version }).map(Answer::pod)
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        let logs = locked(&self.shared.journal);
        let from_prefix = logs.state.pods().range(prefix.to_owned()..);
        Ok(from_prefix.map(|(name, _)| name).take_while(|name| name.starts_with(prefix)).cloned().collect())
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        self.step(Step::Drop { db }).map(drop)
    }
}

impl Segments for MemoryStore {
    fn put(&self, key: &SegmentKey, bytes: &[u8]) -> Result<()> {
        segments::check(key, bytes, self.options.segment_bytes_max)?;
        locked(&self.shared.segments).entry(key.clone()).or_insert_with(|| bytes.into());
        Ok(())
    }

    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>> {
        Ok(locked(&self.shared.segments).get(key).map(|bytes| bytes.to_vec()))
    }

    fn length(&self, key: &SegmentKey) -> Result<Option<u64>> {
        Ok(locked(&self.shared.segments).get(key).map(length))
    }

    fn list(&self, database: DatabaseId, after: Option<&SegmentKey>, count_max: usize) -> Result<Vec<SegmentKey>> {
        let segments = locked(&self.shared.segments);
        let of_database = segments.keys().filter(|key| key.database == database);
        Ok(of_database.filter(|key| after.is_none_or(|after| *key > after)).take(count_max).cloned().collect())
    }

    fn delete(&self, key: &SegmentKey) -> Result<()> {
        locked(&self.shared.segments).remove(key);
        Ok(())
    }

    /// There is no file that anything could be left in.
    fn scrub(&self, _: Scrub) -> Result<Scrubbed> {
        Ok(Scrubbed { ticket: ScrubTicket(0), copied_bytes: 0, freed_bytes: 0, left_bytes: 0, more: false })
    }

    fn usage(&self) -> Result<Usage> {
        let journal_bytes = locked(&self.shared.journal).records.values().flat_map(BTreeMap::values).map(length).sum();
        let live_bytes = locked(&self.shared.segments).values().map(length).sum();
        Ok(Usage { journal_bytes, live_bytes, dead_bytes: 0, engine_bytes: 0, free_bytes: u64::MAX })
    }
}

fn length(bytes: &Arc<[u8]>) -> u64 {
    bytes.len() as u64
}

/// A step changes everything or nothing, so a panic elsewhere leaves the state whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
