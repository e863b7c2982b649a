//! A deletion and a takeover of one database, by two transactors on one store, meet at every step of either.

use crate::follow::QueueLimits;
use crate::testing::{Fixture, memory, start, start_with};
use db::Category;
use std::sync::{Arc, Mutex};
use storage::{Appended, DatabaseId, Head, Journal, MemoryStore, PodPut, PodVersion, Records, Replaced, Result};

type Event = Box<dyn FnOnce() + Send>;

/// A journal in which something happens right before a chosen step, reading steps included.
struct Interleaved {
    inner: Arc<dyn Journal>,
    /// Steps until then.
    next: Mutex<Option<(usize, Event)>>,
}

impl Interleaved {
    fn new(memory: &MemoryStore) -> Arc<Interleaved> {
        Arc::new(Interleaved { inner: memory.store().journal(), next: Mutex::new(None) })
    }

    fn before(&self, step: usize, event: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((step, Box::new(event)));
    }

    /// False when there were not so many steps.
    fn has_happened(&self) -> bool {
        self.next.lock().unwrap().take().is_none()
    }

    fn step(&self) -> &dyn Journal {
        let mut next = self.next.lock().unwrap();
        let due = next.as_ref().is_some_and(|(steps, _)| *steps == 0);
        let event = if due { next.take() } else { None };
        if let Some((steps, _)) = next.as_mut() {
            *steps -= 1;
        }
        drop(next);
        if let Some((_, event)) = event {
            event();
        }
        &*self.inner
    }
}

impl Journal for Interleaved {
    fn append(&self, db: DatabaseId, expected: Option<Head>, head: Head, record: &[u8]) -> Result<Appended> {
        self.step().append(db, expected, head, record)
    }

    fn take_over(&self, db: DatabaseId, expected: Head, head: Head, record: &[u8]) -> Result<Appended> {
        self.step().take_over(db, expected, head, record)
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        self.step().read(db, from_seq, bytes_max)
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        self.step().head(db)
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.step().read_pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.step().put_pod(name, expected, bytes)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.step().delete_pod(name, version)
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.step().list_pods(prefix)
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        self.step().drop_database(db)
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        self.step().seal(db, before_seq)
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        self.step().replace_body(db, seq, old, record)
    }
}

fn start_on(journal: Arc<Interleaved>, memory: &MemoryStore) -> Fixture {
    start_with(journal, memory.store().segments(), QueueLimits::default())
}

/// Who is told that the database is deleted is right, and so is who owns it: one of the two, never both, never neither.
/// True when it is deleted.
async fn one_of_the_two(deleted: db::Result<db::log::DatabaseId>, owner: &Fixture, case: &str) -> bool {
    let transacted = owner.transact("world", "[]").await;
    match (deleted, transacted) {
        (Ok(_), Err(error)) => {
            assert_eq!(error.category(), Category::NotFound, "{case}: {error}");
            true
        }
        (Err(error), Ok(_)) => {
            assert_eq!(error.category(), Category::Fenced, "{case}: {error}");
            false
        }
        (deleted, transacted) => panic!("{case}: {deleted:?} and {transacted:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_at_any_step_of_a_deletion_leaves_the_database_deleted_or_the_taker_with_it() {
    let mut outcomes = Vec::new();
    for step in 0.. {
        let memory = memory();
        let journal = Interleaved::new(&memory);
        let first = start_on(journal.clone(), &memory);
        first.create("world").await;
        let taker = Arc::new(Mutex::new(None));
        let (starting, store) = (taker.clone(), memory.clone());
        journal.before(step, move || *starting.lock().unwrap() = Some(start(&store)));
        let deleted = first.delete("world").await;
        if journal.has_happened() {
            let taker = taker.lock().unwrap().take().expect("it was started");
            outcomes.push(one_of_the_two(deleted, &taker, &format!("before step {step}")).await);
            taker.stop().await;
            first.stop().await;
        } else {
            first.stop().await;
            break;
        }
    }
    // Taken over before the deletion was decided, and after.
    assert!(outcomes.contains(&true) && outcomes.contains(&false) && outcomes.is_sorted(), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_at_any_step_of_a_takeover_leaves_the_database_deleted_or_the_taker_with_it() {
    let mut outcomes = Vec::new();
    for step in 0.. {
        let memory = memory();
        let first = Arc::new(start(&memory));
        first.create("world").await;
        let journal = Interleaved::new(&memory);
        let deleted = Arc::new(Mutex::new(None));
        let (deleting, told, runtime) = (first.clone(), deleted.clone(), tokio::runtime::Handle::current());
        journal.before(step, move || {
            let delete = move || *told.lock().unwrap() = Some(runtime.block_on(deleting.delete("world")));
            std::thread::spawn(delete).join().unwrap();
        });
        let taker = start_on(journal.clone(), &memory);
        let has_happened = journal.has_happened();
        if has_happened {
            let deleted = deleted.lock().unwrap().take().expect("it was answered");
            outcomes.push(one_of_the_two(deleted, &taker, &format!("before step {step}")).await);
        }
        taker.stop().await;
        Arc::into_inner(first).expect("nobody else has it").stop().await;
        if !has_happened {
            break;
        }
    }
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
}
