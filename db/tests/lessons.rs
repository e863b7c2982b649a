//! Mistakes seen in systems like ours that are about a database value over trees, by their numbers in the list we keep:
//! what is read is counted, not timed.

use diachron_db as db;

use db::budget::Budget;
use db::edn;
use db::index::segment::{MemorySegments, Segment, SegmentId, Sizes, Source};
use db::model::Value;
use db::query::{self, Input, Query};
use db::tx::{Functions, TxLimits, transact};
use db::{Db, Instant, Pattern, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the segments that are asked for.
struct Counting {
    source: Arc<dyn Source>,
    fetched: Arc<AtomicUsize>,
}

impl Source for Counting {
    fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.source.fetch(id)
    }
}

fn said(db: &Db, tx_data: &str) -> Db {
    let now = Instant(1_700_000_000_000);
    transact(db, &edn::read(tx_data).unwrap(), now, &Functions::builtin(), &TxLimits::default()).unwrap().db_after
}

const ITEMS: u64 = 2000;

/// Items with a number and a maker each, of which the first ones were changed often; all of it in trees.
fn shop(versions: u64) -> (Db, Arc<AtomicUsize>) {
    let schema = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                    :db/unique :db.unique/identity}
                   {:db/ident :item/kind :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
                   {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
    let mut db = said(&Db::bootstrap(), schema);
    let items: String =
        (0..ITEMS).map(|i| format!("{{:item/name \"item {i}\" :item/kind {} :item/n 0}}", i % 7)).collect();
    db = said(&db, &format!("[{items}]"));
    for version in 1..=versions {
        db = said(&db, &format!("[{{:item/name \"item 1\" :item/n {version}}}]"));
    }
    let segments = Arc::new(MemorySegments::default());
    let sizes = Sizes { leaf_rows: 64, branch_children: 8, ..Sizes::default() };
    let db = segments.index(&db, sizes).unwrap();
    let fetched = Arc::new(AtomicUsize::new(0));
    let db = db.reading_through(|source| Arc::new(Counting { source: source.clone(), fetched: fetched.clone() }));
    (db, fetched)
}

/// What `work` gives, and the segments that it read.
fn reads<A>(fetched: &AtomicUsize, work: impl FnOnce() -> A) -> (A, usize) {
    let before = fetched.load(Ordering::Relaxed);
    let done = work();
    (done, fetched.load(Ordering::Relaxed) - before)
}

fn ask(db: &Db, query: &str) -> Vec<String> {
    let query = Query::parse(&edn::read(query).unwrap()).unwrap();
    let answer = query::query(&query, &[Input::Db(db.clone())], &Budget::unlimited()).unwrap();
    answer.rows.iter().map(|row| format!("{row:?}")).collect()
}

const JOIN: &str = "[:find (count ?e) . :where [?e :item/kind 3] [?e :item/name ?name] [?e :item/n ?n]]";

#[test]
fn lesson_05_statistics_are_kept_and_never_scanned_for() {
    let (mut db, fetched) = shop(10);
    let kind = db.schema().attr_of_ident(&"item/kind".into()).unwrap();
    let (_, planned) = reads(&fetched, || db.stats(kind));
    assert_eq!(planned, 0, "statistics stand beside the trees");
    // The roots of the trees are read once.
    ask(&db, JOIN);
    for round in 0..5 {
        let rows = db.stats(kind).rows;
        db = said(&db, &format!("[{{:item/name \"new {round}\" :item/kind 3 :item/n 1}}]"));
        let (after, planned) = reads(&fetched, || db.stats(kind));
        assert_eq!((after.rows, planned), (rows + 1, 0));
        // The first query after a commit reads what the second one reads.
        let (first, cost_of_first) = reads(&fetched, || ask(&db, JOIN));
        let (second, cost_of_second) = reads(&fetched, || ask(&db, JOIN));
        assert_eq!((first, cost_of_first), (second, cost_of_second));
    }
}

#[test]
fn lesson_06_the_past_costs_what_the_present_costs() {
    let (db, fetched) = shop(3000);
    let name = db.schema().attr_of_ident(&"item/name".into()).unwrap();
    let item = db.lookup(name, &Value::string("item 1")).unwrap().unwrap();
    let n = db.schema().attr_of_ident(&"item/n".into()).unwrap();
    let (_, now) = reads(&fetched, || db.datoms(&Pattern::all().e(item).a(n)).unwrap());
    for t in [3, 4, 700, 1500, 2999] {
        let (past, made) = reads(&fetched, || db.as_of(t));
        assert_eq!(made, 0, "a value as of a t is made of nothing but the t");
        let (found, cost) = reads(&fetched, || past.datoms(&Pattern::all().e(item).a(n)).unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].v, Value::Long(t as i64 - 2));
        // Down the tree of open lives and down that of closed ones: no history is folded, however much there is.
        assert!(cost <= 2 * now + 4, "as of {t} {cost} segments are read, now {now}");
    }
}
