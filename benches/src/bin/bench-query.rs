//! Times the named queries over 20,000 people in process: medians in milliseconds, beside the best figure that any
//! of eight other engines gave on another machine.
//!
//! `cargo run --release -p diachron-benches --bin bench-query [PEOPLE [PART OF A NAME]]`

use benches::Report;
use benches::measure::repeat;
use benches::people::{LAST_NAMES, NAMES, Random};
use db::budget::Budget;
use db::edn::{self, Edn};
use db::query::{self, Input, Query};
use db::tx::{Functions, TxLimits, transact};
use db::{Db, Instant};
use std::time::{Duration, Instant as Clock};

const SEED: u64 = 20_260_101;
const TIME_MIN: Duration = Duration::from_millis(300);
const TIME_QUICK: Duration = Duration::from_millis(1);

const SCHEMA: &str = r#"[
 {:db/ident :name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :last-name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :sex :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :age :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :salary :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :follows :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]"#;

const RULES: &str = "[[(reach ?e1 ?e2) [?e1 :follows ?e2]]
                      [(reach ?e1 ?e2) [?e1 :follows ?t] (reach ?t ?e2)]]";

fn commit(db: &Db, tx: &Edn) -> Db {
    let limits = TxLimits { datoms_max: 10_000_000, forms_max: 10_000_000, ..TxLimits::default() };
    transact(db, tx, Instant(1_700_000_000_000), &Functions::builtin(), &limits).expect("the data is valid").db_after
}

fn people(count: u64) -> Db {
    let mut random = Random::new(SEED);
    let schema = commit(&Db::bootstrap(), &edn::read(SCHEMA).expect("the schema is EDN"));
    let entity = |i: u64| Edn::string(format!("p{i}"));
    let tx: Vec<Edn> = (0..count)
        .map(|i| {
            let follows = random.below(10);
            Edn::Map(vec![
                (Edn::keyword("db/id"), entity(i)),
                (Edn::keyword("name"), Edn::string(NAMES[random.below(8) as usize])),
                (Edn::keyword("last-name"), Edn::string(LAST_NAMES[random.below(6) as usize])),
                (Edn::keyword("sex"), Edn::keyword(if random.below(2) == 0 { "male" } else { "female" })),
                (Edn::keyword("age"), Edn::Long(random.below(100) as i64)),
                (Edn::keyword("salary"), Edn::Long(random.below(100_000) as i64)),
                (Edn::keyword("follows"), Edn::Vector((0..follows).map(|_| entity(random.below(count))).collect())),
            ])
        })
        .collect();
    commit(&schema, &Edn::Vector(tx))
}

fn edges(pairs: &[(u64, u64)]) -> Db {
    let schema = commit(&Db::bootstrap(), &edn::read(SCHEMA).expect("the schema is EDN"));
    let entity = |i: u64| Edn::string(format!("n{i}"));
    let add = |(from, to): &(u64, u64)| {
        Edn::Vector(vec![Edn::keyword("db/add"), entity(*from), Edn::keyword("follows"), entity(*to)])
    };
    let mut tx: Vec<Edn> = pairs.iter().map(add).collect();
    // Every node has a datom of its own.
    let last = pairs.iter().map(|(from, to)| (*from).max(*to)).max().unwrap_or(0);
    tx.extend(
        (0..=last)
            .map(|i| Edn::Vector(vec![Edn::keyword("db/add"), entity(i), Edn::keyword("age"), Edn::Long(i as i64)])),
    );
    commit(&schema, &Edn::Vector(tx))
}

/// A tree of a depth with so many children a node.
fn wide(depth: u32, width: u64) -> Db {
    let (mut pairs, mut level, mut next) = (Vec::new(), vec![0], 1);
    for _ in 0..depth {
        let mut below = Vec::new();
        for node in level {
            for _ in 0..width {
                pairs.push((node, next));
                below.push(next);
                next += 1;
            }
        }
        level = below;
    }
    edges(&pairs)
}

/// Separate chains.
fn long(depth: u64, width: u64) -> Db {
    let chain = |chain: u64| (0..depth).map(move |i| (chain * (depth + 1) + i, chain * (depth + 1) + i + 1));
    edges(&(0..width).flat_map(chain).collect::<Vec<_>>())
}

fn time(report: &mut Report, label: &str, best: &str, db: &Db, text: &str, more: &[Input]) {
    let query = Query::parse(&edn::read(text).expect("the query is EDN")).expect("the query parses");
    let inputs: Vec<Input> = std::iter::once(Input::Db(db.clone())).chain(more.iter().cloned()).collect();
    let run = || query::query(&query, &inputs, &Budget::unlimited()).expect("the query runs").rows.len();
    let rows = run();
    let figure = repeat(if benches::is_quick() { TIME_QUICK } else { TIME_MIN }, || assert_eq!(run(), rows));
    println!("| {label} | {} | {best} | {rows} |", figure.in_ms());
    report.figure(label, figure.median_ms(), "ms");
}

fn main() {
    let default = if benches::is_quick() { 200 } else { 20_000 };
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--quick").collect();
    let count: u64 = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(default);
    let mut report = Report::new("query");
    let begun = Clock::now();
    let db = people(count);
    println!("{count} people loaded in {:.2} s", begun.elapsed().as_secs_f64());
    println!("| query | median (10 % … 90 %) | best of others, ms | rows |");
    println!("| --- | --- | --- | --- |");
    let only = arguments.get(1).cloned();
    let mut run = |label: &str, best: &str, db: &Db, text: &str, more: &[Input]| {
        if only.as_deref().is_none_or(|only| label.contains(only)) {
            time(&mut report, label, best, db, text, more);
        }
    };
    run("q1", "0.26", &db, r#"[:find ?e :where [?e :name "Ivan"]]"#, &[]);
    run("q2", "0.98", &db, r#"[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]"#, &[]);
    run("q2 switched", "1.02", &db, r#"[:find ?e ?a :where [?e :age ?a] [?e :name "Ivan"]]"#, &[]);
    run("q3", "1.27", &db, r#"[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex :male]]"#, &[]);
    run(
        "q4",
        "1.63",
        &db,
        r#"[:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last-name ?l] [?e :age ?a] [?e :sex :male]]"#,
        &[],
    );
    run("qpred1", "1.7", &db, "[:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]", &[]);
    let by_sex = "[:find ?sex (avg ?s) :with ?e :where [?e :sex ?sex] [?e :salary ?s]]";
    run("avg salary by sex", "0.57", &db, by_sex, &[]);
    let by_both = "[:find ?sex ?a (avg ?s) :with ?e :where [?e :sex ?sex] [?e :age ?a] [?e :salary ?s]]";
    run("avg salary by sex, age", "0.77", &db, by_both, &[]);
    let first = query::query(
        &Query::parse(&edn::read("[:find (min ?e) . :where [?e :follows _]]").expect("EDN")).expect("parses"),
        &[Input::Db(db.clone())],
        &Budget::unlimited(),
    )
    .expect("runs")
    .rows
    .pop()
    .map_or(Edn::Nil, |row| Edn::from(&row[0]));
    run(
        "3 hops from one, filtered",
        "0.059",
        &db,
        "[:find ?d :in $ ?a :where [?a :follows ?b] [?b :follows ?c] [?c :follows ?d] [?d :age ?x] [(> ?x 50)]]",
        &[Input::Value(first.clone())],
    );
    run(
        "3 hops from a set, filtered",
        "",
        &db,
        r#"[:find ?d :where [?a :name "Ivan"] [?a :age 30] [?a :follows ?b] [?b :follows ?c] [?c :follows ?d]
            [?d :age ?x] [(> ?x 50)]]"#,
        &[],
    );
    let rules = Input::Rules(edn::read(RULES).expect("the rules are EDN"));
    let closure = "[:find ?a ?b :in $ % :where (reach ?a ?b)]";
    run("closure, wide 7x3", "2.8", &wide(7, 3), closure, std::slice::from_ref(&rules));
    run("closure, wide 4x6", "1.45", &wide(4, 6), closure, std::slice::from_ref(&rules));
    run("closure, long 30x5", "0.26", &long(30, 5), closure, std::slice::from_ref(&rules));
    run(
        "reach from one of 20,000",
        "",
        &db,
        "[:find (count ?b) . :in $ % ?a :where (reach ?a ?b)]",
        &[rules.clone(), Input::Value(first)],
    );
}
