//! Forks of databases that are indexed all the time, at every t, and what becomes of both.

use crate::host::{Fork, Forked};
use crate::indexing::Settings;
use crate::testing::{Fixture, by_hand, memory, start_collecting, start_failing, start_indexing};
use db::index::segment::Sizes;
use db::log::tree::LogSizes;
use db::log::{Body, ForkBody};
use db::{Category, Datom, Db, Error, Pattern, T};
use proto::v1;
use proto::v1::transactor_server::Transactor as _;
use std::time::Duration;
use storage::{DatabaseId, MemoryStore};
use stores::past::Past;
use tonic::Request;

/// So eager that there are index records all over the log, and trees and chunks with tiny nodes.
fn eager() -> Settings {
    Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log: true,
    }
}

impl Fixture {
    async fn fork(&self, name: &str, new_name: &str, t: Option<T>) -> Result<Forked, Error> {
        let as_of = t.map(|t| v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) });
        self.transactor.host.fork(Fork { name: name.into(), new_name: new_name.into(), as_of }).await
    }

    fn db(&self, name: &str) -> Db {
        self.transactor.host.databases.get(name).unwrap().durable().db.clone()
    }

    async fn count(&self, name: &str, from: usize, transactions: usize) {
        for n in from..from + transactions {
            let (counter, doc) = (format!("c{}", n % 7), "x".repeat(n % 50));
            let tx_data = format!("[{{:counter/name {counter:?} :counter/n {n} :db/doc {doc:?}}}]");
            self.transact(name, &tx_data).await.unwrap();
        }
    }

    /// Waits until the database has been indexed since.
    async fn indexed(&self, name: &str, after_seq: u64) {
        let begun = std::time::Instant::now();
        while self.transactor.host.databases.get(name).unwrap().durable().head.index_seq <= after_seq {
            assert!(begun.elapsed() < Duration::from_secs(60), "no index came");
            tokio::task::yield_now().await;
        }
    }
}

/// Every row of every window: now, each t before, and all of history.
fn all(db: &Db, t: T) -> Vec<Vec<Datom>> {
    let read = |db: Db| db.datoms(&Pattern::all()).unwrap();
    let mut windows: Vec<_> = (0..=t).map(|t| read(db.as_of(t))).collect();
    windows.push(read(db.as_of(t).history()));
    windows
}

/// The transactions of a fork's time before, as the log tree has them that its first record names.
fn shared_transactions(memory: &MemoryStore, id: DatabaseId) -> (ForkBody, Vec<T>) {
    let store = memory.store();
    let (journal, segments) = (store.journal(), store.segments());
    let first = stores::log::LogReader::new(&*journal, &*segments).record(id, 1).unwrap().unwrap();
    let record = db::log::Record::read(&first.bytes).unwrap();
    let (lineage, Body::Fork(fork)) = (record.header.lineage, record.body) else { panic!("no fork") };
    let (mut ts, mut from, root) = (Vec::new(), 1, fork.index.log.unwrap());
    let log = Past { journal: &*journal, segments: &*segments, lineage, id: None, root: Some(root) };
    while from <= root.seq {
        let records = log.read(from).unwrap();
        from += records.len() as u64;
        for record in records {
            ts.extend(log.vouching().checked(&record).unwrap().transactions().iter().map(|entry| entry.t));
        }
    }
    ts.retain(|t| *t <= fork.index.index_t);
    (*fork, ts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_at_any_t_has_all_that_was_said_up_to_it_and_nothing_after() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    let id = transactor.with_counter("world").await;
    transactor.count("world", 0, 60).await;
    transactor.indexed("world", 0).await;
    let basis = transactor.db("world").basis_t();
    for t in [0, 1, 2, 7, 20, 33, 48, basis - 1, basis] {
        let name = format!("at-{t}");
        let forked = transactor.fork("world", &name, Some(t)).await.unwrap();
        assert!(forked.created && forked.t == t);
        let (fork, origin) = (transactor.db(&name), transactor.db("world"));
        assert_eq!((fork.basis_t(), fork.index_t()), (t, t));
        assert_eq!(all(&fork, t), all(&origin, t), "at {t}");
        assert_eq!(all(&fork, t).last(), Some(&fork.history().datoms(&Pattern::all()).unwrap()), "nothing after {t}");
        let (record, ts) = shared_transactions(&memory, forked.id);
        assert_eq!(ts, (1..=t).collect::<Vec<_>>());
        assert_eq!((record.origin.0, record.index.index_t), (id.0, t));
        // Where there was no counter yet, nobody can count.
        if t > 0 {
            transactor.count(&name, 100, 1).await;
            assert_eq!(transactor.db(&name).basis_t(), t + 1);
        }
    }
    transactor.stop().await;
}

/// A fork's first index comes when its log may be shorter than its origin's was: none of its records may leave the
/// journal for what the origin's tree holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_keeps_its_records_until_its_own_log_tree_has_them() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    transactor.with_counter("world").await;
    transactor.count("world", 0, 60).await;
    transactor.indexed("world", 0).await;
    let id = transactor.fork("world", "trial", Some(20)).await.unwrap().id;
    let (fork, _) = shared_transactions(&memory, id);
    assert!(fork.index.chain.seq > 20 && crate::indexing::sealable_before(&fork.own_index()) == 1);
    transactor.count("trial", 0, 60).await;
    transactor.indexed("trial", 1).await;
    let durable = transactor.transactor.host.databases.get("trial").unwrap().durable();
    let index = &durable.index.as_ref().unwrap().1;
    assert_eq!(crate::indexing::sealable_before(index), index.log.unwrap().seq + 1);
    transactor.stop().await;
}

/// Several transactions of one record, of which a fork has the first ones alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_inside_a_record_has_the_transactions_up_to_its_t() {
    let memory = memory();
    let transactor = start_indexing(&memory, Settings::default());
    let id = transactor.with_counter("world").await;
    let said = (0..200).map(|n| {
        let tx_data = format!("[{{:counter/name \"c{n}\" :counter/n {n}}}]");
        let request = v1::TransactRequest { database: "world".into(), tx_data, ..Default::default() };
        transactor.send(Request::new(request))
    });
    futures_join(said.collect()).await;
    let head = transactor.head(id).await;
    assert!(head.seq < head.t, "some record holds several: {head:?}");
    for t in 1..head.t {
        if t % 7 == 0 {
            transactor.fork("world", &format!("at-{t}"), Some(t)).await.unwrap();
            let (fork, origin) = (transactor.db(&format!("at-{t}")), transactor.db("world"));
            let read = |db: &Db| db.datoms(&Pattern::all()).unwrap();
            assert_eq!(read(&fork), read(&origin.as_of(t)), "at {t}");
        }
    }
    transactor.stop().await;
}

/// Sends all of them before any is answered.
async fn futures_join<F: Future>(futures: Vec<F>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Both install attributes that the other one does not have, under the same numbers; jobs of both share one cache. What
/// they said before they parted stays alike, through jobs, restarts and the end of the origin.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_and_its_origin_go_on_independently() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    transactor.with_counter("world").await;
    transactor.count("world", 0, 40).await;
    let Forked { id, t, .. } = transactor.fork("world", "trial", None).await.unwrap();
    let before = all(&transactor.db("world"), t);
    let attribute =
        |name: &str, ty: &str| format!("[{{:db/ident {name} :db/valueType {ty} :db/cardinality :db.cardinality/one}}]");
    transactor.transact("world", &attribute(":ours/name", ":db.type/string")).await.unwrap();
    transactor.transact("trial", "[{:db/doc \"an entity that is no attribute\"}]").await.unwrap();
    transactor.transact("trial", &attribute(":theirs/n", ":db.type/long")).await.unwrap();
    transactor.transact("trial", &attribute(":ours/name", ":db.type/long")).await.unwrap();
    for n in 0..60 {
        transactor.transact("world", &format!("[{{:ours/name \"n{n}\"}}]")).await.unwrap();
        transactor.transact("trial", &format!("[{{:theirs/n {n} :ours/name {n}}}]")).await.unwrap();
    }
    transactor.count("world", 100, 50).await;
    transactor.count("trial", 200, 70).await;
    transactor.indexed("trial", 1).await;
    let now = |transactor: &Fixture, name: &str| {
        let db = transactor.db(name);
        all(&db, db.basis_t())
    };
    let (ours, theirs) = (now(&transactor, "world"), now(&transactor, "trial"));
    assert!(ours[..=t as usize] == theirs[..=t as usize] && ours[..=t as usize] == before[..=t as usize]);
    assert_ne!(ours.last(), theirs.last());
    assert_eq!(transactor.db("trial").basis_t(), t + 3 + 60 + 70);
    let again = transactor.fork("world", "trial", None).await.unwrap();
    assert_eq!(again, Forked { id, created: false, t });
    transactor.stop().await;

    let transactor = start_indexing(&memory, eager());
    assert!(now(&transactor, "world") == ours && now(&transactor, "trial") == theirs);
    transactor.delete("world").await.unwrap();
    transactor.stop().await;

    let transactor = start_indexing(&memory, eager());
    assert!(now(&transactor, "trial") == theirs);
    // Of a time before the fork itself, when its origin is no more.
    let early = transactor.fork("trial", "early", Some(t - 5)).await.unwrap();
    assert_eq!((early.t, early.created), (t - 5, true));
    assert!(now(&transactor, "early")[..=(t - 5) as usize] == before[..=(t - 5) as usize]);
    assert_eq!(shared_transactions(&memory, early.id).1, (1..=t - 5).collect::<Vec<_>>());
    let again = transactor.fork("trial", "early", Some(t - 5)).await.unwrap();
    assert_eq!(again, Forked { created: false, ..early });
    // Of a time before both.
    let earlier = transactor.fork("early", "earlier", Some(t - 9)).await.unwrap();
    assert_eq!(shared_transactions(&memory, earlier.id).1, (1..=t - 9).collect::<Vec<_>>());
    let again = transactor.fork("trial", "earlier", Some(t - 9)).await.unwrap();
    assert_eq!(again, Forked { created: false, ..earlier });
    assert!(transactor.fork("earlier", "early", None).await.is_err(), "early left later");
    // And of a time after it.
    let late = transactor.fork("trial", "late", Some(t + 10)).await.unwrap();
    assert!(now(&transactor, "late")[..=(t + 10) as usize] == theirs[..=(t + 10) as usize]);
    assert_eq!(shared_transactions(&memory, late.id).1, (t + 1..=t + 10).collect::<Vec<_>>());
    for name in ["trial", "early", "earlier", "late"] {
        let (faults, summary) = transactor.verify(name).await;
        assert!(faults.is_empty() && summary.open > 0, "{name}: {faults:?}");
    }
    // The deleted origin counts: its segments are those of the forks.
    transactor.create("stranger").await;
    let catalogue = crate::catalogue::Catalogue::new(memory.store().journal());
    let lineage = catalogue.lineage_of(id).unwrap().unwrap();
    let databases = catalogue.databases_of_lineage(lineage).unwrap().into_iter();
    let names: std::collections::BTreeSet<String> = databases.map(|entry| entry.name).collect();
    assert!(names.iter().eq(["earlier", "early", "late", "trial", "world"]));
    transactor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_sealed_are_read_from_the_log_tree() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    let id = transactor.with_counter("world").await;
    transactor.count("world", 0, 60).await;
    transactor.indexed("world", 0).await;
    let before = all(&transactor.db("world"), 30);
    let first = memory.store().journal().read(DatabaseId(id.0), 1, 1).unwrap();
    assert!(matches!(first, storage::Records::Sealed { .. }));
    transactor.fork("world", "early", Some(30)).await.unwrap();
    assert!(all(&transactor.db("early"), 30) == before);
    transactor.stop().await;
}

/// What forks share is not collected, not even when their origin is deleted, and what nobody shares is; and a fork of a
/// time whose trees were collected before has everything.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_of_a_lineage_goes_and_leaves_to_each_what_it_needs() {
    let memory = memory();
    let store = memory.store();
    let settings = crate::garbage::Settings { retention: Duration::ZERO, marks_max: 50, ..by_hand() };
    let start = || start_collecting(store.journal(), store.segments(), eager(), settings);
    let transactor = start();
    let world = transactor.with_counter("world").await;
    let index_seq = |transactor: &Fixture, name: &str| {
        transactor.transactor.host.databases.get(name).unwrap().durable().head.index_seq
    };
    let mut seq = 0;
    for round in 0..5 {
        transactor.count("world", 30 * round, 30).await;
        transactor.indexed("world", seq).await;
        seq = index_seq(&transactor, "world");
    }
    let before = all(&transactor.db("world"), 40);
    let gone = |reports: Vec<crate::garbage::Report>| reports.iter().map(|report| report.gone().0).sum::<u64>();
    assert!(gone(transactor.collect(false).await) > 0, "there is garbage of the first indexes");
    let forked = transactor.fork("world", "early", Some(40)).await.unwrap();
    assert!(all(&transactor.db("early"), 40) == before);
    assert_eq!(shared_transactions(&memory, forked.id).1, (1..=40).collect::<Vec<_>>());
    transactor.fork("world", "trial", None).await.unwrap();
    transactor.fork("early", "earlier", Some(20)).await.unwrap();
    let read = |transactor: &Fixture, name: &str| {
        let db = transactor.db(name);
        all(&db, db.basis_t())
    };
    // Each of them goes on, is indexed, and loses what none of them needs; nobody misses anything.
    for round in 0..3 {
        let mut expected = Vec::new();
        for (at, name) in ["world", "early", "trial", "earlier"].into_iter().enumerate() {
            if (round + at) % 3 != 2 {
                let seq = index_seq(&transactor, name);
                transactor.count(name, 40 * round, 30).await;
                transactor.indexed(name, seq).await;
            }
            expected.push((name, read(&transactor, name)));
        }
        assert!(gone(transactor.collect(false).await) > 0, "round {round}");
        for (name, expected) in expected {
            assert!(read(&transactor, name) == expected, "{name} in round {round}");
            let (faults, _) = transactor.verify(name).await;
            assert_eq!(faults, [], "{name} in round {round}");
        }
    }
    let (trial, early, earlier) =
        (read(&transactor, "trial"), read(&transactor, "early"), read(&transactor, "earlier"));
    transactor.delete("world").await.unwrap();
    let of_world =
        |memory: &MemoryStore| memory.store().segments().list(DatabaseId(world.0), None, usize::MAX).unwrap().len();
    let before = of_world(&memory);
    for _ in 0..3 {
        transactor.collect(false).await;
    }
    assert!(of_world(&memory) < before && of_world(&memory) > 0, "{before}, then {}", of_world(&memory));
    transactor.stop().await;
    // With nothing in a cache.
    let transactor = start();
    for (name, expected) in [("trial", &trial), ("early", &early), ("earlier", &earlier)] {
        assert!(read(&transactor, name) == *expected, "{name}");
        assert_eq!(transactor.verify(name).await.0, [], "{name}");
    }
    // Of a time before, and of an origin that is no more.
    transactor.fork("earlier", "first", Some(5)).await.unwrap();
    assert_eq!(transactor.verify("first").await.0, []);
    // When the last of them is gone nothing is left of any.
    for name in ["first", "trial", "early", "earlier"] {
        transactor.delete(name).await.unwrap();
    }
    for _ in 0..6 {
        transactor.collect(false).await;
    }
    assert_eq!(of_world(&memory), 0);
    assert_eq!(memory.store().usage().unwrap().live_bytes, 0);
    assert_eq!(store.journal().list_pods("db/").unwrap(), [""; 0]);
    transactor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let memory = memory();
    let transactor = start_indexing(&memory, Settings::default());
    transactor.with_counter("world").await;
    transactor.create("other").await;
    let code = |error: Error| (error.category(), error.code().to_owned());
    let refused = transactor.fork("world", "trial", Some(2)).await.unwrap_err();
    assert_eq!(code(refused), (Category::Incorrect, "db.error/t-not-reached".to_owned()));
    let refused = transactor.fork("nowhere", "trial", None).await.unwrap_err();
    assert_eq!(code(refused), (Category::NotFound, "db.error/unknown-database".to_owned()));
    let refused = transactor.fork("world", "a/b", None).await.unwrap_err();
    assert_eq!(code(refused), (Category::Incorrect, "db.error/invalid-database-name".to_owned()));
    for taken in ["other", "world"] {
        let refused = transactor.fork("world", taken, None).await.unwrap_err();
        assert_eq!(code(refused), (Category::Conflict, "db.error/name-taken".to_owned()));
    }
    transactor.fork("world", "trial", Some(1)).await.unwrap();
    for (name, t) in [("other", None), ("world", Some(0))] {
        let refused = transactor.fork(name, "trial", t).await.unwrap_err();
        assert_eq!(code(refused), (Category::Conflict, "db.error/name-taken".to_owned()));
    }
    let listed = transactor.transactor.list_databases(Request::new(v1::ListDatabasesRequest {})).await;
    let names: Vec<_> = listed.unwrap().into_inner().databases.into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["other", "trial", "world"]);
    transactor.stop().await;
}

/// The fork's log has begun, and the process ends before its name is given: the next start gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_was_cut_off_is_finished_or_cleared() {
    use crate::catalogue::Catalogue;
    for with_log in [false, true] {
        let memory = memory();
        let transactor = start_failing(&memory, "");
        transactor.with_counter("world").await;
        let forked = transactor.fork("world", "trial", None).await.unwrap();
        transactor.stop().await;
        // As it was before the name was given.
        let journal = memory.store().journal();
        let (version, _) = journal.read_pod("name/trial").unwrap().unwrap();
        journal.delete_pod("name/trial", version).unwrap();
        let pod = format!("db/{}", forked.id);
        let (version, _) = journal.read_pod(&pod).unwrap().unwrap();
        journal.put_pod(&pod, version, b"creating trial").unwrap();
        if !with_log {
            journal.drop_database(forked.id).unwrap();
        }
        let transactor = start_failing(&memory, "");
        assert_eq!(Catalogue::new(journal.clone()).find("trial").unwrap(), with_log.then_some(forked.id));
        if with_log {
            assert_eq!(transactor.transact("trial", "[]").await.unwrap().t, 2);
            let head = transactor.head(db::log::DatabaseId(forked.id.0)).await;
            assert_eq!((head.term, head.index_seq), (2, 1));
        } else {
            assert!(transactor.fork("world", "trial", None).await.unwrap().created);
        }
        transactor.stop().await;
    }
}
