//! Deleting a database: its name goes at once, its followers hear of it, and a crash at any step is made good.

use crate::catalogue::{Catalogue, Standing};
use crate::follow::QueueLimits;
use crate::testing::{Fixture, memory, start, start_with};
use db::Category;
use db::log::{Chain, DatabaseId};
use proto::v1;
use proto::v1::storage_server::Storage as _;
use proto::v1::transactor_server::Transactor as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use storage::{Appended, Error, ErrorKind, Head, Journal, MemoryStore, PodPut, PodVersion, Records, Replaced, Result};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

const DELETED: &str = "db.error/database-deleted";

fn standing(memory: &MemoryStore, id: DatabaseId) -> Standing {
    let catalogue = Catalogue::new(memory.store().journal());
    catalogue.entry(storage::DatabaseId(id.0)).unwrap().unwrap().standing
}

/// The names that there are.
async fn names(fixture: &Fixture) -> Vec<String> {
    let listed = fixture.transactor.list_databases(Request::new(v1::ListDatabasesRequest {})).await;
    listed.unwrap().into_inner().databases.into_iter().map(|info| info.name).collect()
}

fn is_deleted(status: &Status) -> bool {
    (status.code(), proto::error(status).code()) == (Code::NotFound, DELETED)
}

#[tokio::test]
async fn a_deleted_database_is_gone_at_once_and_its_name_stands_for_a_new_one() {
    let memory = memory();
    let fixture = start(&memory);
    let (old, other) = (fixture.with_counter("world").await, fixture.with_counter("other").await);
    assert_eq!(fixture.delete("world").await.unwrap(), old);
    assert_eq!(names(&fixture).await, ["other"]);
    assert_eq!(fixture.transact("world", "[]").await.unwrap_err().code(), "db.error/unknown-database");
    assert_eq!(fixture.delete("world").await.unwrap_err().category(), Category::NotFound);

    let new = fixture.create("world").await;
    assert!(new != old);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 1);
    fixture.stop().await;

    let fixture = start(&memory);
    assert_eq!(names(&fixture).await, ["other", "world"]);
    assert_eq!((fixture.head(new).await.t, fixture.head(other).await.t), (1, 1));
    assert_eq!((standing(&memory, old), standing(&memory, new)), (Standing::Deleted, Standing::Live));
    // Nobody reads it any more, and everybody is told why.
    let id: bytes::Bytes = old.0.to_vec().into();
    let head = v1::HeadRequest { database_id: id.clone() };
    assert!(is_deleted(&fixture.storage.head(Request::new(head)).await.unwrap_err()));
    let read = v1::ReadLogRequest { database_id: id.clone(), from_seq: 1, bytes_max: 0 };
    assert!(is_deleted(&fixture.storage.read_log(Request::new(read)).await.err().unwrap()));
    let follow = v1::FollowRequest { database_id: id, seq: 0, hash: Default::default() };
    assert!(is_deleted(&fixture.transactor.follow(Request::new(follow)).await.err().unwrap()));
    fixture.stop().await;
}

#[tokio::test]
async fn a_deletion_that_is_not_confirmed_by_name_is_refused() {
    let fixture = start(&memory());
    fixture.create("world").await;
    for confirm_name in ["", "World", "world2"] {
        let request = v1::DeleteDatabaseRequest { name: "world".into(), confirm_name: confirm_name.into() };
        let status = fixture.transactor.delete_database(Request::new(request)).await.unwrap_err();
        assert_eq!(proto::error(&status).code(), "db.error/not-confirmed", "{confirm_name:?}");
    }
    assert_eq!(names(&fixture).await, ["world"]);
    fixture.stop().await;
}

#[tokio::test]
async fn followers_of_a_deleted_database_are_told_and_those_of_others_are_not() {
    let fixture = start(&memory());
    let (world, other) = (fixture.with_counter("world").await, fixture.with_counter("other").await);
    let mut following = fixture.follow(world, &Chain::new(world)).await;
    let mut elsewhere = fixture.follow(other, &Chain::new(other)).await;
    following.next().await.unwrap().unwrap();
    elsewhere.next().await.unwrap().unwrap();
    fixture.delete("world").await.unwrap();
    let end = loop {
        match following.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert!(is_deleted(&end), "{end}");
    assert!(following.next().await.is_none());
    fixture.transact("other", "[]").await.unwrap();
    assert!(elsewhere.next().await.unwrap().is_ok());
    fixture.stop().await;
}

/// Two transactors have opened one store; the one whose term is over is asked to delete.
#[tokio::test]
async fn a_transactor_whose_term_is_over_deletes_nothing() {
    let memory = memory();
    let first = start(&memory);
    first.create("world").await;
    let second = start(&memory);
    assert_eq!(first.delete("world").await.unwrap_err().category(), Category::Fenced);
    assert_eq!(second.transact("world", "[]").await.unwrap().t, 1);
    first.stop().await;
    second.stop().await;
}

/// A journal whose process dies at a step that changes a pod: the step is done or not, and nothing after it is.
struct Dying {
    inner: Arc<dyn Journal>,
    /// Steps that go well before the last one.
    good: AtomicI64,
    /// Whether the last one is done.
    last_is_done: bool,
}

impl Dying {
    fn step<X>(&self, step: impl FnOnce() -> Result<X>) -> Result<X> {
        let died = || Err(Error::new(ErrorKind::Poisoned, "the process died (injected)"));
        match self.good.fetch_sub(1, Ordering::SeqCst) {
            1.. => step(),
            0 if self.last_is_done => step().and_then(|_| died()),
            _ => died(),
        }
    }

    fn alive(&self) -> Result<()> {
        if self.good.load(Ordering::SeqCst) >= 0 { Ok(()) } else { Err(Error::new(ErrorKind::Poisoned, "dead")) }
    }
}

impl Journal for Dying {
    fn append(&self, db: storage::DatabaseId, expected: Option<Head>, head: Head, record: &[u8]) -> Result<Appended> {
        self.alive()?;
        self.inner.append(db, expected, head, record)
    }

    fn take_over(&self, db: storage::DatabaseId, expected: Head, head: Head, record: &[u8]) -> Result<Appended> {
        self.alive()?;
        self.inner.take_over(db, expected, head, record)
    }

    fn read(&self, db: storage::DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        self.inner.read(db, from_seq, bytes_max)
    }

    fn head(&self, db: storage::DatabaseId) -> Result<Option<Head>> {
        self.inner.head(db)
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.alive()?;
        self.inner.read_pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.step(|| self.inner.put_pod(name, expected, bytes))
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.step(|| self.inner.delete_pod(name, version))
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_pods(prefix)
    }

    fn drop_database(&self, db: storage::DatabaseId) -> Result<()> {
        self.inner.drop_database(db)
    }

    fn seal(&self, db: storage::DatabaseId, before_seq: u64) -> Result<()> {
        self.inner.seal(db, before_seq)
    }

    fn replace_body(&self, db: storage::DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        self.inner.replace_body(db, seq, old, record)
    }
}

/// A database is deleted and another one created under its name, and the process dies at each step of the way in turn,
/// once before the step is done and once after. The next process finds each of the two whole or not at all, at most one
/// of them by the name, and the deleted one never again.
#[tokio::test]
async fn a_crash_at_any_step_leaves_no_half_deleted_database_and_none_that_is_lost() {
    // Opening takes one step, deletion two, creation three.
    for (good, last_is_done) in (1..7).flat_map(|good| [(good, false), (good, true)]) {
        let case = format!("{good} steps, then one that is done: {last_is_done}");
        let memory = memory();
        let fixture = start(&memory);
        let old = fixture.with_counter("world").await;
        fixture.stop().await;

        let store = memory.store();
        let dying = Dying { inner: store.journal(), good: AtomicI64::new(good), last_is_done };
        let fixture = start_with(Arc::new(dying), store.segments(), QueueLimits::default());
        let deleted = fixture.delete("world").await.is_ok();
        // A dead process takes nothing more.
        let request = Request::new(v1::CreateDatabaseRequest { name: "world".into() });
        let created = deleted && fixture.transactor.create_database(request).await.is_ok();
        fixture.stop().await;

        let fixture = start(&memory);
        let decided = standing(&memory, old) == Standing::Deleted;
        assert!(decided || !deleted, "{case}: a deletion that was answered is not undone");
        let found = fixture.transactor.host.databases.get("world").ok().map(|database| database.id);
        let is_old = found.is_some_and(|id| id.0 == old.0);
        assert_eq!(is_old, !decided, "{case}: the old one is there until its deletion is decided, and then no more");
        assert!(found.is_some() || !created, "{case}: a creation that was answered is not undone");
        if is_old {
            assert_eq!(fixture.transact("world", r#"[{:counter/name "a"}]"#).await.unwrap().t, 2, "{case}");
            fixture.delete("world").await.unwrap();
        }
        // Whatever was left behind, the name can be given.
        let new = fixture.create("world").await;
        assert!(new != old && fixture.transact("world", "[]").await.is_ok(), "{case}");
        fixture.stop().await;
    }
}

/// A process died between the two steps of a deletion, and the name was given to another database before anyone
/// finished it.
#[tokio::test]
async fn finishing_a_deletion_leaves_another_database_of_the_name_alone() {
    let memory = memory();
    let fixture = start(&memory);
    let old = fixture.create("world").await;
    let catalogue = Catalogue::new(memory.store().journal());
    fixture.stop().await;
    catalogue.condemn(catalogue.entry(storage::DatabaseId(old.0)).unwrap().unwrap()).unwrap();
    let new = storage::DatabaseId([9; 16]);
    let entry = catalogue.begin(new, "world").unwrap();
    assert!(catalogue.finish(entry.clone()).unwrap().is_some(), "a deleted database holds no name");
    assert_eq!(catalogue.find("world").unwrap(), Some(new));
    let old = catalogue.entry(storage::DatabaseId(old.0)).unwrap().unwrap();
    catalogue.free_name(&old).unwrap();
    assert_eq!(catalogue.find("world").unwrap(), Some(new));
}
