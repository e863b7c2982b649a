//! Erasures over a store in memory: where a marker was, beside jobs, restarts, forks and failures at every step.

use super::*;
use crate::indexing::Settings;
use crate::testing::{Fixture, memory, start_indexing, start_indexing_failing};
use cache::{Fetch, SegmentCache};
use db::index::segment::{self, Meta, Segment, Sizes};
use db::log::IndexBody;
use db::log::tree::LogSizes;
use db::{Datom, Pattern, Value};
use process::{Crew, Restarts, Supervisor};
use storage::{DatabaseId, MemoryStore, Records};
use stores::trees::Stored;

/// So eager that jobs run all the time, and trees and chunks with tiny nodes.
fn eager() -> Settings {
    Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log: true,
    }
}

/// No job but that of an erasure.
fn idle() -> Settings {
    Settings { novelty_bytes: 1 << 30, novelty_bytes_max: 1 << 30, ..eager() }
}

const MARKER: &str = "SECRETmarker4711";

const SCHEMA: &str = r#"[
    {:db/ident :person/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
    {:db/ident :person/notes :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
    {:db/ident :person/address :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/isComponent true}
    {:db/ident :person/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
    {:db/ident :address/street :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}]"#;

/// Persons, of whom one is to go: what is to go holds the marker, in every kind of place.
async fn people(transactor: &Fixture, rounds: usize) -> DatabaseId {
    let id = transactor.create("world").await;
    let said = async |text: String| transactor.transact("world", &text).await.unwrap();
    said(SCHEMA.into()).await;
    for n in 0..rounds {
        for other in 0..5 {
            said(format!(
                r#"[{{:person/name "p{other}" :person/notes "n{n}" :person/address {{:address/street "s{n}"}}}}]"#
            ))
            .await;
        }
        said(format!(
            r#"[{{:db/id "{MARKER}-tempid" :person/name "victim" :person/notes "{MARKER}-{n}"
                  :person/address {{:address/street "{MARKER}-street-{n}"}}}}
                {{:person/name "p1" :person/friend "{MARKER}-tempid"}}]"#
        ))
        .await;
        if n % 3 == 1 {
            said(format!(r#"[[:db/retract [:person/name "victim"] :person/notes "{MARKER}-{n}"]]"#)).await;
        }
    }
    let large = format!("{MARKER}{}", "x".repeat(300 << 10));
    said(format!(r#"[{{:person/name "victim" :person/notes "{large}"}} {{:person/name "p2" :person/notes "kept"}}]"#))
        .await;
    said(r#"[{:person/name "p3" :person/notes "last"}]"#.into()).await;
    DatabaseId(id.0)
}

fn victim() -> v1::ExciseRequest {
    let entities = vec![r#"[:person/name "victim"]"#.to_owned()];
    v1::ExciseRequest { database: "world".into(), entities, ..Default::default() }
}

fn contains(bytes: &[u8], marker: &str) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
}

/// In how many records, segments and pods of a store the marker is, compressed or not.
fn places(memory: &MemoryStore, db: &Db, id: DatabaseId, marker: &str) -> Vec<String> {
    let store = memory.store();
    let (journal, segments) = (store.journal(), store.segments());
    let mut found = Vec::new();
    for seq in 1..=journal.head(id).unwrap().unwrap().seq {
        if let Records::Found(records) = journal.read(id, seq, 1).unwrap()
            && contains(&records[0].bytes, marker)
        {
            found.push(format!("record {seq} of the journal"));
        }
    }
    let attributes = db.schema().entities();
    for key in segments.list(id, None, usize::MAX).unwrap() {
        let bytes = segments.get(&key).unwrap().unwrap();
        let plain = segment::plain(&bytes).unwrap_or_default();
        let rows = Segment::decode(&bytes, &attributes).map(|segment| format!("{segment:?}")).unwrap_or_default();
        if contains(&bytes, marker) || contains(&plain, marker) || contains(rows.as_bytes(), marker) {
            found.push(format!("{key:?}"));
        }
    }
    for pod in journal.list_pods("").unwrap() {
        if contains(&journal.read_pod(&pod).unwrap().unwrap().1, marker) {
            found.push(pod);
        }
    }
    found
}

fn rows(db: &Db) -> Vec<Datom> {
    let mut datoms = db.history().datoms(&Pattern::all()).unwrap();
    datoms.extend(db.datoms(&Pattern::all()).unwrap());
    datoms
}

/// The same of every t up to one.
fn at_all(db: &Db, end: T) -> Vec<Vec<Datom>> {
    (0..=end).map(|t| db.as_of(t).datoms(&Pattern::all()).unwrap()).chain([rows(&db.as_of(end))]).collect()
}

fn with_marker(rows: &[Datom]) -> usize {
    rows.iter().filter(|datom| datom.v.to_string().contains(MARKER) || datom.v == Value::string("victim")).count()
}

impl Fixture {
    fn durable(&self, name: &str) -> Arc<Durable> {
        self.transactor.host.databases.get(name).unwrap().durable()
    }

    fn world(&self) -> Db {
        self.durable("world").db.clone()
    }

    async fn is_settled(&self, id: DatabaseId) {
        let pod = || self.admin.world.journal.read_pod(&format!("erasing/{id}")).unwrap();
        let begun = std::time::Instant::now();
        while pod().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not finished");
            tokio::task::yield_now().await;
        }
    }
}

/// What a start makes of the store: the value on the newest trees, and the one that the whole log makes.
fn opened(memory: &MemoryStore, id: DatabaseId) -> (Db, Db) {
    let store = memory.store();
    let (journal, segments) = (store.journal(), store.segments());
    let cache = SegmentCache::open(&cache::Config { prefetch: 0, ..cache::Config::default() }).unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(Stored(store.segments()));
    let trees = |reader: cache::Reader, body: &IndexBody| {
        let meta: Meta = cache.meta(reader.lineage, body, &*fetch)?;
        let trees = cache.trees_of(reader, body, &meta, fetch.clone())?;
        Ok((meta, trees))
    };
    let fast = crate::open::replay(&*journal, &*segments, &trees, id).unwrap();
    let chain = fast.replay.chain();
    let lineage = chain.lineage().unwrap();
    let past = stores::past::Past { journal: &*journal, segments: &*segments, lineage, id: Some(id), root: None };
    let (mut slow, mut vouching) = (db::replay::Replay::of_erased(chain.database()), past.vouching());
    while slow.chain().seq() < chain.seq() {
        for record in past.read(slow.chain().seq() + 1).unwrap() {
            let checked = vouching.checked(&record).unwrap();
            assert!(slow.take(std::slice::from_ref(&checked)).1.is_none());
        }
    }
    assert_eq!(slow.chain(), chain);
    (fast.replay.db().clone(), slow.db().clone())
}

#[track_caller]
fn check_nothing_is_left(memory: &MemoryStore, transactor: &Fixture, id: DatabaseId) {
    let db = transactor.world();
    assert_eq!(places(memory, &db, id, MARKER), Vec::<String>::new());
    assert_eq!(with_marker(&rows(&db)), 0);
    let (fast, slow) = opened(memory, id);
    let end = db.basis_t();
    assert_eq!((fast.next_counter(), slow.next_counter()), (db.next_counter(), db.next_counter()));
    assert_eq!(at_all(&fast, end), at_all(&db, end));
    assert_eq!(at_all(&slow, end), at_all(&db, end));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_nowhere_and_all_else_is_where_it_was() {
    for settings in [eager(), idle()] {
        let memory = memory();
        let transactor = start_indexing(&memory, settings);
        let id = people(&transactor, 12).await;
        let before = transactor.world();
        let end = before.basis_t();
        assert!(places(&memory, &before, id, MARKER).len() > 3 && with_marker(&rows(&before)) > 20);
        // All that has a marker is the victim's or its addresses', and so are the references to these.
        let attribute = |ident: &str| before.schema().attr_of_ident(&ident.into()).unwrap();
        let name = Value::string("victim");
        let of = before.lookup(attribute("person/name"), &name).unwrap().unwrap();
        let goes = |datom: &Datom| datom.e == of || with_marker(std::slice::from_ref(datom)) > 0;
        let mut expected = at_all(&before, end);
        expected.iter_mut().for_each(|rows| rows.retain(|datom| !goes(datom)));
        let dry = transactor.excise(v1::ExciseRequest { dry_run: true, ..victim() }).await.unwrap();
        assert_eq!((dry.erase_seq, transactor.world().basis_t()), (0, end));
        let report = transactor.excise(victim()).await.unwrap();
        assert_eq!(
            (report.lives, report.datoms, report.entities, report.transactions, report.records, report.references),
            (dry.lives, dry.datoms, dry.entities, dry.transactions, dry.records, dry.references)
        );
        // The victim and an address in each round; a friend refers to them; each round retracts the address before.
        assert_eq!((report.entities, report.references), (13, 1));
        assert!(report.segments_written > 0 && report.segments_deleted > report.segments_written, "{report:?}");
        check_nothing_is_left(&memory, &transactor, id);
        let after = transactor.world();
        assert_eq!((after.basis_t(), after.next_counter()), (end, before.next_counter()));
        assert_eq!(at_all(&after, end), expected);
        let (faults, summary) = transactor.verify("world").await;
        assert_eq!((faults, summary.faults), (vec![], 0));
        // Life goes on, and a name can be taken anew.
        transactor.transact("world", r#"[{:person/name "victim" :person/notes "new"}]"#).await.unwrap();
        let again = transactor.excise(victim()).await.unwrap();
        assert_eq!((again.lives, again.records, again.references), (2, 1, 0));
        transactor.stop().await;
        let again = start_indexing(&memory, eager());
        check_nothing_is_left(&memory, &again, id);
        assert_eq!(again.world().basis_t(), end + 1);
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_replaced_again_by_a_later_erasure_beside_index_jobs() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    let id = people(&transactor, 8).await;
    let first = transactor.excise(victim()).await.unwrap();
    for n in 0..30 {
        transactor.transact("world", &format!(r#"[{{:person/name "p1" :person/notes "later {n}"}}]"#)).await.unwrap();
    }
    // p1 stands in the records that the first one has replaced.
    let request = v1::ExciseRequest { entities: vec![r#"[:person/name "p1"]"#.into()], ..victim() };
    let second = transactor.excise(request).await.unwrap();
    assert!(second.erase_seq > first.erase_seq && second.records > 8);
    check_nothing_is_left(&memory, &transactor, id);
    let (faults, _) = transactor.verify("world").await;
    assert_eq!(faults, vec![]);
    // Of an attribute, up to a t, whosever it is.
    let notes = transactor.world().schema().attr_of_ident(&"person/notes".into()).unwrap();
    let before = v1::TimePoint { kind: Some(v1::time_point::Kind::T(20)) };
    let request = v1::ExciseRequest {
        database: "world".into(),
        attributes: vec![":person/notes".into()],
        before: Some(before),
        ..Default::default()
    };
    transactor.excise(request.clone()).await.unwrap();
    let left = transactor.world().history().datoms(&Pattern::all().a(notes)).unwrap();
    assert!(!left.is_empty() && left.iter().filter(|datom| datom.added()).all(|datom| datom.t() >= 20));
    assert_eq!(transactor.excise(request).await.unwrap().erase_seq, 0, "there is nothing left to erase");
    let (faults, _) = transactor.verify("world").await;
    assert_eq!(faults, vec![]);
    let (fast, slow) = opened(&memory, id);
    assert_eq!(rows(&fast), rows(&slow));
    transactor.stop().await;
}

/// One that has nothing to do.
fn no_supervisor() -> Supervisor {
    let (_, shutdown) = Shutdown::new();
    Crew::new(&crate::tree::TREE, Restarts::default(), &process::World::system().unwrap(), shutdown).1
}

/// The eraser panics at one step after the other, and is started again: the erasure happened whole or not at all, and who
/// asked may ask again.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_cut_off_anywhere_happened_whole_or_not_at_all() {
    let (mut voids, mut wholes) = (0, 0);
    for step in 0.. {
        let memory = memory();
        let transactor = start_indexing_failing(&memory, idle(), &format!("eraser=pass({step})panic(1)"));
        let mut supervisor = transactor.supervisor;
        let supervising = tokio::spawn(async move { supervisor.run().await });
        let transactor = Fixture { supervisor: no_supervisor(), ..transactor };
        let id = people(&transactor, 2).await;
        let before = rows(&transactor.world());
        let answer = transactor.excise(victim()).await;
        if answer.is_ok() {
            assert!(voids >= 3 && wholes >= 3, "{voids} {wholes}");
            supervising.abort();
            transactor.stop().await;
            return;
        }
        assert_eq!(answer.unwrap_err().code(), "db.error/outcome-unknown");
        transactor.is_settled(id).await;
        match transactor.durable("world").index.as_ref().map_or(0, |index| index.1.floor) {
            0 => {
                voids += 1;
                assert_eq!(rows(&transactor.world()), before);
            }
            _ => {
                wholes += 1;
                check_nothing_is_left(&memory, &transactor, id);
            }
        }
        transactor.transact("world", r#"[{:person/name "p9"}]"#).await.unwrap();
        let (faults, _) = transactor.verify("world").await;
        assert_eq!(faults, vec![], "step {step}");
        supervising.abort();
        transactor.stop().await;
    }
}

/// Transactions that come while an erasure works wait for it, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_wait_while_an_erasure_works() {
    let memory = memory();
    let transactor = Arc::new(start_indexing(&memory, eager()));
    let id = people(&transactor, 10).await;
    let before = transactor.world().basis_t();
    let writing = |name: &'static str| {
        let transactor = transactor.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let said = format!(r#"[{{:person/name "{name}" :person/notes "w{n}"}}]"#);
                transactor.transact("world", &said).await.unwrap();
            }
        })
    };
    let writers = ["p1", "p4", "w3"].map(writing);
    transactor.excise(victim()).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(transactor.world().basis_t(), before + 60);
    let (faults, _) = transactor.verify("world").await;
    assert_eq!(faults, vec![]);
    check_nothing_is_left(&memory, &transactor, id);
    Arc::into_inner(transactor).unwrap().stop().await;
}

/// A fork keeps what it shares, and is named. What it says itself is erased there.
#[tokio::test(flavor = "multi_thread")]
async fn forks_that_have_it_are_named_and_keep_it() {
    use crate::host::Fork;
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    let id = people(&transactor, 6).await;
    let journal = transactor.admin.world.journal.clone();
    let note = |pod: &str, text: &str| journal.put_pod(&format!("backup/{id}/{pod}"), 0, text.as_bytes()).unwrap();
    note("0123456789abcdef", r#"{:url "file:/early" :t 1 :seq 2}"#);
    note("1123456789abcdef", r#"{:url "s3://late" :t 30 :seq 40}"#);
    let end = transactor.world().basis_t();
    let fork = async |new_name: &str, t: T| {
        let as_of = Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) });
        let fork = Fork { name: "world".into(), new_name: new_name.into(), as_of };
        transactor.transactor.host.fork(fork).await.unwrap()
    };
    fork("early", 1).await;
    let late = fork("late", end - 4).await;
    let kept = at_all(&transactor.durable("late").db, end - 4);
    let report = transactor.excise(victim()).await.unwrap();
    assert_eq!(report.forks, ["late"]);
    assert_eq!(report.backups, [v1::NotedBackup { url: "s3://late".into(), t: 30 }]);
    assert_eq!(with_marker(&rows(&transactor.world())), 0);
    // The record of the large body came after the fork had left.
    let left = places(&memory, &transactor.world(), id, MARKER);
    assert!(!left.is_empty() && left.iter().all(|place| !place.contains("/body/")), "{left:?}");
    assert_eq!(at_all(&transactor.durable("late").db, end - 4), kept);
    for name in ["early", "late", "world"] {
        let (faults, _) = transactor.verify(name).await;
        assert_eq!(faults, vec![], "{name}");
    }
    // In the fork, what was said before it left is the origin's.
    let in_fork = v1::ExciseRequest { database: "late".into(), ..victim() };
    let error = transactor.excise(in_fork.clone()).await.unwrap_err();
    assert!(error.message().contains("left its origin"), "{error}");
    transactor.transact("late", r#"[{:person/name "new" :person/notes "said in the fork"}]"#).await.unwrap();
    let request = v1::ExciseRequest { entities: vec![r#"[:person/name "new"]"#.into()], ..in_fork };
    assert_eq!(transactor.excise(request).await.unwrap().lives, 2);
    assert_eq!(places(&memory, &transactor.durable("late").db, late.id, "said in the fork"), Vec::<String>::new());
    assert_eq!(at_all(&transactor.durable("late").db, end - 4), kept);
    // Forks of after, and of before from the log alone, have nothing of it.
    for (name, t) in [("after", end), ("before", end - 4)] {
        fork(name, t).await;
        assert_eq!(with_marker(&rows(&transactor.durable(name).db)), 0);
        let (faults, _) = transactor.verify(name).await;
        assert_eq!(faults, vec![], "{name}");
        assert_eq!(at_all(&transactor.durable(name).db, t), at_all(&transactor.world(), t), "{name}");
    }
    transactor.stop().await;
}

/// Somebody else has put another body in the place of one: no erase record names it.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_no_erase_record_names_are_damage() {
    let memory = memory();
    let transactor = start_indexing(&memory, Settings { seal_log: false, ..idle() });
    let id = people(&transactor, 2).await;
    let journal = transactor.admin.world.journal.clone();
    let Records::Found(records) = journal.read(id, 8, 1).unwrap() else { panic!("it is not sealed") };
    let record = db::log::RawRecord::parse(&records[0].bytes).unwrap();
    let db::log::Body::Tx(mut entries) = record.body().unwrap() else { panic!("transactions") };
    entries[0].datoms.truncate(1);
    let by = (record.header.database, 3);
    let body = db::log::Body::encode_erased(entries, by, [1; 16]).unwrap();
    let (forged, _) = db::log::record_with(&record, &body, 1);
    let old = segment::hash(&records[0].bytes);
    assert_eq!(journal.replace_body(id, 8, old, &forged).unwrap(), storage::Replaced::Done);
    let (faults, _) = transactor.verify("world").await;
    assert!(
        faults.iter().any(|fault| fault.place == "record 8" && fault.what.contains("erase record 3")),
        "{faults:?}"
    );
    // An erasure does not vouch for it.
    let error = transactor.excise(victim()).await.unwrap_err();
    assert_eq!(error.category(), Category::Corrupt);
    transactor.stop().await;
}

/// Trees are made anew from a log out of which something was erased, and again have nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_after_an_erasure_brings_nothing_back() {
    let memory = memory();
    let transactor = start_indexing(&memory, eager());
    let id = people(&transactor, 6).await;
    transactor.excise(victim()).await.unwrap();
    transactor.transact("world", r#"[{:person/name "p4" :person/notes "since"}]"#).await.unwrap();
    let before = at_all(&transactor.world(), transactor.world().basis_t());
    let (lineage, index) = {
        let durable = transactor.durable("world");
        (durable.chain.lineage().unwrap(), durable.index.clone().unwrap())
    };
    let root = index.1.current.eavt.unwrap();
    memory.store().segments().delete(&stores::log::key_of(lineage, &root.id)).unwrap();
    assert!(!transactor.verify("world").await.0.is_empty());
    let (faults, summary) = transactor.repair("world").await.unwrap();
    assert!(faults.is_empty() && summary.repaired_index_seq > index.0, "{faults:?} {summary:?}");
    assert_eq!(transactor.durable("world").index.as_ref().unwrap().1.floor, index.1.floor);
    assert_eq!(at_all(&transactor.world(), transactor.world().basis_t()), before);
    check_nothing_is_left(&memory, &transactor, id);
    assert_eq!(transactor.verify("world").await.0, vec![]);
    transactor.stop().await;
}
