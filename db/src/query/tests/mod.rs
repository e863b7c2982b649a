//! Queries as EDN in, EDN out. Each check runs every permutation of the clauses (of up to four) and many plans.

mod answers;
mod errors;
mod explain;
mod naive;
mod recursion;
mod time;

use super::*;
use crate::edn;
use crate::model::Instant;
use crate::tx::{Functions, TxLimits, transact};

pub(super) fn read(text: &str) -> Edn {
    edn::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn transacted(db: &Db, text: &str) -> Db {
    let limits = TxLimits::default();
    transact(db, &read(text), Instant(0), &Functions::builtin(), &limits).unwrap().db_after
}

const SCHEMA: &str = r#"[
 {:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :p/height :db/valueType :db.type/double :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :p/weight :db/valueType :db.type/float :db/cardinality :db.cardinality/one}
 {:db/ident :p/worth :db/valueType :db.type/bigint :db/cardinality :db.cardinality/one}
 {:db/ident :p/price :db/valueType :db.type/bigdec :db/cardinality :db.cardinality/one}
 {:db/ident :p/tags :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :p/friends :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
 {:db/ident :p/boss :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
 {:db/ident :p/kind :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
 {:db/ident :p/attr :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
 {:db/ident :p/born :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
 {:db/ident :kind/good}
 {:db/ident :kind/bad}]"#;

const PEOPLE: &str = r##"[
 {:db/id "a" :p/name "Ann" :p/age 30 :p/height 1.7 :p/weight 60.5 :p/tags [:x :y] :p/friends ["b" "c"] :p/kind :kind/good
  :p/worth 5N :p/price 1.50M :p/attr :p/age :p/born #inst "1990-05-01"}
 {:db/id "b" :p/name "Bob" :p/age 20 :p/height 1.8 :p/tags [:x] :p/friends ["c"] :p/boss "a" :p/kind :kind/bad}
 {:db/id "c" :p/name "Cid" :p/age 20 :p/friends ["a"] :p/boss "b" :p/attr :p/name}
 {:db/id "d" :p/name "Dot" :p/age 41 :p/height ##NaN :p/boss "b" :p/friends ["d"]}]"##;

pub(super) fn people() -> Db {
    transacted(&transacted(&Db::bootstrap(), SCHEMA), PEOPLE)
}

/// Inputs from text: `$` the database, `%…` rules, anything else a value.
pub(super) fn inputs(db: &Db, texts: &[&str]) -> Vec<Input> {
    texts
        .iter()
        .map(|text| match text.strip_prefix('%') {
            _ if *text == "$" => Input::Db(db.clone()),
            _ if *text == "$history" => Input::Db(db.history()),
            Some(rules) => Input::Rules(read(rules)),
            None => Input::Value(read(text)),
        })
        .collect()
}

pub(super) fn run(text: &str, inputs: &[Input]) -> Result<Answer> {
    query(&Query::parse(&read(text))?, inputs, &Budget::unlimited())
}

/// The forms of a query with the clauses of its `:where` in every order, or in some where they are many.
fn permutations(form: &Edn) -> Vec<Edn> {
    let Edn::Vector(parts) = form else { return vec![form.clone()] };
    let Some(at) = parts.iter().position(|part| *part == Edn::keyword("where")) else { return vec![form.clone()] };
    let (head, clauses) = parts.split_at(at + 1);
    let mut orders: Vec<Vec<Edn>> = Vec::new();
    if clauses.len() <= 4 {
        permute(&mut clauses.to_vec(), 0, &mut orders);
    } else {
        for turn in 0..clauses.len() {
            let mut order = clauses.to_vec();
            order.rotate_left(turn);
            orders.push(order.clone());
            order.reverse();
            orders.push(order);
        }
    }
    orders.into_iter().map(|order| Edn::Vector([head, &order].concat())).collect()
}

fn permute(clauses: &mut Vec<Edn>, from: usize, orders: &mut Vec<Vec<Edn>>) {
    if from + 1 >= clauses.len() {
        return orders.push(clauses.clone());
    }
    for at in from..clauses.len() {
        clauses.swap(from, at);
        permute(clauses, from + 1, orders);
        clauses.swap(from, at);
    }
}

/// Checks the answer of a query, whatever the order of its clauses and of the plan.
#[track_caller]
pub(super) fn check_on(db: &Db, text: &str, more: &[&str], expected: &str) {
    let form = read(text);
    let inputs = inputs(db, more);
    for (i, form) in permutations(&form).into_iter().enumerate() {
        let query = Query::parse(&form).unwrap_or_else(|error| panic!("{form}: {error}"));
        let plans = [None, Some(1 + i as u64), Some(1000 + i as u64), Some(7919 * i as u64)];
        for any_order in plans {
            let options = Options { any_order, ..Options::default() };
            let answer = query_with(&query, &inputs, &options, &Budget::unlimited())
                .unwrap_or_else(|error| panic!("{form}: {error}"));
            let found = answer.to_edn();
            assert_eq!(found, read(expected), "{form} by {any_order:?} gave {found}");
        }
    }
}

#[track_caller]
pub(super) fn check(text: &str, more: &[&str], expected: &str) {
    check_on(&people(), text, more, expected);
}

/// Checks that a query is refused with a code and a message that names what is at fault.
#[track_caller]
pub(super) fn refused(text: &str, more: &[&str], code: &str, part: &str) {
    let db = people();
    let error = match run(text, &inputs(&db, more)) {
        Ok(answer) => panic!("{text} gave {}", answer.to_edn()),
        Err(error) => error,
    };
    assert_eq!(error.code(), format!("db.error/{code}"), "{text}: {error}");
    assert!(error.message().contains(part), "{text}: {error}");
}
