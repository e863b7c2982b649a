//! Group commit over a journal that waits, loses answers, is full, breaks, or belongs to someone else.

use crate::follow::QueueLimits;
use crate::testing::{Fixture, QUEUE_MAX, memory, start, start_with};
use db::log::{DatabaseId, Header, RawRecord};
use db::replay::Replay;
use db::{Category, Error};
use proto::v1;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use storage::faulty::{Fault, FaultyJournal};
use storage::{Appended, Head, Journal, PodPut, PodVersion, Records, Replaced, Result};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::Request;

/// A journal whose appends wait while it is shut, as a slow disk.
struct Gate {
    inner: Arc<dyn Journal>,
    shut: Mutex<bool>,
    opened: Condvar,
    /// Appends that have begun.
    begun: AtomicUsize,
}

impl Gate {
    fn new(inner: Arc<dyn Journal>) -> Arc<Self> {
        Arc::new(Gate { inner, shut: Mutex::new(false), opened: Condvar::new(), begun: AtomicUsize::new(0) })
    }

    fn shut(&self) {
        *self.shut.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

impl Journal for Gate {
    fn append(
        &self,
        db: storage::DatabaseId,
        expected: Option<Head>,
        new_head: Head,
        record: &[u8],
    ) -> Result<Appended> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        drop(self.opened.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
        self.inner.append(db, expected, new_head, record)
    }

    fn take_over(&self, db: storage::DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.inner.take_over(db, expected, new_head, record)
    }

    fn read(&self, db: storage::DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        self.inner.read(db, from_seq, bytes_max)
    }

    fn head(&self, db: storage::DatabaseId) -> Result<Option<Head>> {
        self.inner.head(db)
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.inner.read_pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.inner.put_pod(name, expected, bytes)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.inner.delete_pod(name, version)
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

/// A transactor behind a gate, with database "world".
async fn gated() -> (Arc<Fixture>, Arc<Gate>, DatabaseId) {
    let store = memory().store();
    let gate = Gate::new(store.journal());
    let fixture = start_with(gate.clone(), store.segments(), QueueLimits::default());
    let id = fixture.with_counter("world").await;
    (Arc::new(fixture), gate, id)
}

type Answers = JoinSet<Result<v1::TransactResponse, Error>>;

fn send(answers: &mut Answers, fixture: &Arc<Fixture>, tx_data: String) {
    let fixture = fixture.clone();
    answers.spawn(async move { fixture.transact("world", &tx_data).await });
}

/// Lets others run until something holds; the test's own limit is the runner's.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn waiting(fixture: &Fixture) -> usize {
    fixture.transactor.host.databases.get("world").unwrap().mailbox.len()
}

fn headers(fixture: &Fixture, id: DatabaseId) -> Vec<Header> {
    let id = storage::DatabaseId(id.0);
    let Records::Found(records) = fixture.transactor.journal.read(id, 1, usize::MAX).unwrap() else { panic!("sealed") };
    let mut replay = Replay::new(DatabaseId(id.0));
    let header = |record: &storage::StoredRecord| {
        let record = RawRecord::parse(&record.bytes).unwrap();
        replay.apply(&record, None).unwrap();
        record.header
    };
    records.iter().map(header).collect()
}

async fn stop(fixture: Arc<Fixture>) {
    Arc::into_inner(fixture).expect("all answers are there").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_waits_shares_one_append_and_nobody_is_answered_before_it_returns() {
    let (fixture, gate, id) = gated().await;
    let begun = gate.begun();
    gate.shut();
    let mut answers = Answers::new();
    send(&mut answers, &fixture, r#"[{:counter/name "first"}]"#.into());
    until(|| gate.begun() == begun + 1).await;
    for n in 0..62 {
        send(&mut answers, &fixture, format!(r#"[{{:counter/name "c{n}"}}]"#));
    }
    // Refusals wait too: this one is judged on a value that is not durable yet.
    send(&mut answers, &fixture, r#"[[:db/add "x" :counter/name "c0"] [:db/add "x" :counter/n "no number"]]"#.into());
    until(|| waiting(&fixture) == 63).await;
    assert!(answers.try_join_next().is_none());
    assert_eq!(fixture.transactor.host.databases.get("world").unwrap().durable().db.basis_t(), 1);

    gate.open();
    let (mut committed, mut refused) = (Vec::new(), 0);
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            Ok(response) => committed.push((response.t, response.record_seq)),
            Err(error) => {
                assert_eq!(error.category(), Category::Incorrect);
                refused += 1;
            }
        }
    }
    committed.sort_unstable();
    assert_eq!(gate.begun(), begun + 2, "one append for the first, one for all who waited");
    assert_eq!(refused, 1);
    let expected: Vec<(u64, u64)> = (2..=64).map(|t| (t, if t == 2 { 3 } else { 4 })).collect();
    assert_eq!(committed, expected);
    assert_eq!(headers(&fixture, id).iter().map(|header| header.count).collect::<Vec<_>>(), [0, 1, 1, 62]);
    stop(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_cut_before_its_record_is_too_long() {
    let (fixture, gate, id) = gated().await;
    let begun = gate.begun();
    gate.shut();
    let mut answers = Answers::new();
    send(&mut answers, &fixture, r#"[{:counter/name "first"}]"#.into());
    until(|| gate.begun() == begun + 1).await;
    for n in 0..10 {
        send(&mut answers, &fixture, format!("[{{:counter/name \"{n}{}\"}}]", "x".repeat(100_000)));
    }
    until(|| waiting(&fixture) == 10).await;
    gate.open();
    for answer in answers.join_all().await {
        answer.unwrap();
    }
    let headers = headers(&fixture, id);
    let counts: Vec<u64> = headers.iter().map(|header| header.count).collect();
    assert_eq!(counts, [0, 1, 1, 2, 2, 2, 2, 2]);
    assert!(headers.iter().all(|header| !header.out_of_line));
    stop(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_refuses_with_a_hint_and_takes_nothing() {
    let (fixture, gate, _) = gated().await;
    let begun = gate.begun();
    gate.shut();
    let mut answers = Answers::new();
    send(&mut answers, &fixture, "[]".into());
    until(|| gate.begun() == begun + 1).await;
    for _ in 0..QUEUE_MAX {
        send(&mut answers, &fixture, "[]".into());
    }
    until(|| waiting(&fixture) == QUEUE_MAX).await;
    let refused = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!(refused.category(), Category::Busy);
    assert!(proto::retry_after(&refused).is_some_and(|wait| wait > Duration::ZERO));
    gate.open();
    assert_eq!(answers.join_all().await.into_iter().filter(Result::is_ok).count(), QUEUE_MAX + 1);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 3 + QUEUE_MAX as u64);
    stop(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_during_the_append_leaves_the_outcome_unknown() {
    let (fixture, gate, _) = gated().await;
    gate.shut();
    let mut request = Request::new(v1::TransactRequest {
        database: "world".into(),
        tx_data: r#"[{:counter/name "slow"}]"#.into(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_millis(100));
    let unknown = fixture.send(request).await.unwrap_err();
    assert_eq!((unknown.category(), unknown.code()), (Category::Unknown, "db.error/outcome-unknown"));
    gate.open();
    // It was committed after all.
    let response = fixture.transact("world", r#"[{:counter/name "slow"}]"#).await.unwrap();
    assert_eq!((response.t, response.datom_count), (3, 1));
    stop(fixture).await;
}

/// A database is deleted while one transaction is on its way to the disk and ten more wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_refuses_what_waits_and_tells_the_truth_of_what_was_on_its_way() {
    let (fixture, gate, id) = gated().await;
    let (database, begun) = (fixture.transactor.host.databases.by_id(storage::DatabaseId(id.0)).unwrap(), gate.begun());
    gate.shut();
    let mut on_its_way = Answers::new();
    send(&mut on_its_way, &fixture, r#"[{:counter/name "first"}]"#.into());
    until(|| gate.begun() == begun + 1).await;
    let mut answers = Answers::new();
    for n in 0..10 {
        send(&mut answers, &fixture, format!("[{{:counter/name \"{n}\"}}]"));
    }
    until(|| database.mailbox.len() == 10).await;
    fixture.delete("world").await.unwrap();
    gate.open();
    assert_eq!(on_its_way.join_all().await.remove(0).unwrap().t, 2);
    for answer in answers.join_all().await {
        let refused = answer.unwrap_err();
        assert_eq!((refused.category(), refused.code()), (Category::NotFound, "db.error/database-deleted"));
    }
    // Whoever found the database just before it went.
    until(|| database.mailbox.tell(crate::commit::Message::Stop) == Err(process::mailbox::Refused::Gone)).await;
    assert_eq!(fixture.transact("world", "[]").await.unwrap_err().code(), "db.error/unknown-database");
    assert_eq!((gate.head(storage::DatabaseId(id.0)).unwrap().unwrap().t, gate.begun()), (2, begun + 1));
    stop(fixture).await;
}

/// A transactor over a journal that meets faults, with database "world".
async fn faulty() -> (Fixture, Arc<FaultyJournal>, DatabaseId) {
    let store = memory().store();
    let journal = Arc::new(FaultyJournal::new(store.journal()));
    let fixture = start_with(journal.clone(), store.segments(), QueueLimits::default());
    let id = fixture.with_counter("world").await;
    (fixture, journal, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_a_lost_answer_is_done_once() {
    let (fixture, journal, id) = faulty().await;
    for (n, faults) in [
        [Fault::AnswerLost].as_slice(),
        &[Fault::StepLost],
        &[Fault::StepLost, Fault::StepLost, Fault::AnswerLost],
        &[Fault::StepLost, Fault::Busy],
    ]
    .into_iter()
    .enumerate()
    {
        faults.iter().for_each(|fault| journal.then(*fault));
        let response = fixture.transact("world", &format!(r#"[{{:counter/name "c{n}"}}]"#)).await.unwrap();
        assert_eq!(response.t, n as u64 + 2, "{faults:?}");
    }
    assert_eq!(headers(&fixture, id).len(), 6);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_store_takes_nothing_and_t_has_no_gap() {
    let (fixture, journal, id) = faulty().await;
    journal.then(Fault::Busy);
    let refused = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!(refused.category(), Category::Busy);
    assert!(proto::retry_after(&refused).is_some());
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 2);
    assert_eq!(headers(&fixture, id).len(), 3);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_ends_the_process() {
    let (mut fixture, journal, _) = faulty().await;
    journal.then(Fault::Poisoned);
    let unknown = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!(unknown.category(), Category::Unknown);
    let failure = fixture.supervisor.run().await;
    assert!(failure.0.starts_with("writer world ended"), "{failure}");
    let after = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!((after.category(), after.code()), (Category::Unavailable, "db.error/stopped"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_12_a_database_that_was_taken_over_is_closed_and_the_others_go_on() {
    let memory = memory();
    let first = start(&memory);
    let id = first.with_counter("world").await;
    let mut following = first.follow(id, Replay::new(id).chain()).await;
    let second = start(&memory);
    let fenced = first.transact("world", r#"[{:counter/name "stale"}]"#).await.unwrap_err();
    assert_eq!((fenced.category(), fenced.code()), (Category::Fenced, "db.error/fenced"));
    // From now on nothing is written to it here, and nobody follows it here.
    let again = first.transact("world", r#"[{:counter/name "stale"}]"#).await.unwrap_err();
    assert_eq!((again.category(), again.code()), (Category::Fenced, "db.error/fenced"));
    let ended = loop {
        match following.next().await {
            Some(Ok(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(proto::error(&ended.unwrap().unwrap_err()).category(), Category::Fenced);
    first.create("other").await;
    assert_eq!(first.transact("other", "[]").await.unwrap().t, 1);
    let response = second.transact("world", r#"[{:counter/name "fresh"}]"#).await.unwrap();
    assert_eq!(response.t, 2);
    assert_eq!(headers(&second, id).iter().map(|header| header.term).collect::<Vec<_>>(), [1, 1, 2, 2]);
    first.stop().await;
    second.stop().await;
}
