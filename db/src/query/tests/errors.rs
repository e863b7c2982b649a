//! Errors say what is wrong, where, and what is near.

use super::*;
use crate::budget::{Interrupt, Limits, Stop};
use crate::error::Category;

#[test]
fn rule_30_what_is_unbound_is_named_with_its_clause() {
    refused("[:find ?x :where [?e :p/age ?a]]", &["$"], "insufficient-binding", "?x in :find ?x is bound by no clause");
    refused("[:find ?e :with ?w :where [?e :p/age]]", &["$"], "insufficient-binding", "?w in :with");
    refused(
        "[:find ?e :where [?e :p/age ?a] [(> ?a ?b)]]",
        &["$"],
        "insufficient-binding",
        "?b is not bound where [(> ?a ?b)]",
    );
    refused(
        "[:find ?e :where [?e :p/age] (not [?x :p/boss ?y])]",
        &["$"],
        "insufficient-binding",
        "at least one variable",
    );
    refused(
        "[:find ?e :where [?e :p/age] (not-join [?x] [?x :p/boss _])]",
        &["$"],
        "insufficient-binding",
        "?x is not bound where",
    );
    refused("[:find ?e :where (or-join [[?e]] [?e :p/age])]", &["$"], "insufficient-binding", "?e is not bound where");
    // One branch asks of ?a what the other binds.
    refused(
        "[:find ?e ?a :where [?e :p/name] (or (not [?e :p/age ?a]) [?e :p/age ?a])]",
        &["$"],
        "insufficient-binding",
        "?a is not bound where",
    );
    refused(
        "[:find ?e :where (or [?e :p/age] [?x :p/boss])]",
        &["$"],
        "invalid-query",
        "all branches of or use the same variables",
    );
    refused("[:find ?e ?a ?v :where [?e ?a ?v]]", &["$"], "insufficient-binding", "would read the whole database");
}

#[test]
fn rule_30_a_full_scan_can_be_allowed() {
    let db = people();
    let query = Query::parse(&read("[:find (count ?e) . :where [?e ?a ?v] [?e :p/name]]")).unwrap();
    let query_all = Query::parse(&read("[:find ?e ?a ?v :where [?e ?a ?v]]")).unwrap();
    let options = Options { allow_full_scan: true, ..Options::default() };
    let answer = query_with(&query_all, &inputs(&db, &["$"]), &options, &Budget::unlimited()).unwrap();
    assert_eq!(answer.rows.len() as u64, db.count(&crate::Pattern::all()).unwrap());
    assert!(query_with(&query, &inputs(&db, &["$"]), &options, &Budget::unlimited()).is_ok());
}

#[test]
fn unknown_names_list_near_ones() {
    refused(
        "[:find ?e :where [?e :p/nmae ?n]]",
        &["$"],
        "not-an-entity",
        ":p/nmae is no attribute of this database; did you mean :p/name?",
    );
    refused("[:find ?e :where [?e :p/age ?n] (not [?e :p/bos _])]", &["$"], "not-an-entity", ":p/boss");
    refused("[:find ?e :where [?e :kind/good ?n]]", &["$"], "not-an-entity", ":kind/good is no attribute");
    refused(
        "[:find ?e :where [?e :p/name ?n] [(start-with? ?n \"A\")]]",
        &["$"],
        "unknown-function",
        "near it: starts-with?",
    );
    refused(
        "[:find ?e :in $ % :where (raech ?e)]",
        &["$", "%[[(reach ?e) [?e :p/age]]]"],
        "unknown-rule",
        "near it: reach",
    );
    refused("[:find ?e :where (reach ?e)]", &["$"], "unknown-rule", "the query has no rules");
    refused("[:find ?e :where [$x ?e :p/age]]", &["$"], "invalid-query", "no source $x among the inputs; :in names $");
    refused(
        "[:find ?a :where [[:p/age 30] :p/age ?a]]",
        &["$"],
        "lookup-ref-attr-not-unique",
        "needs a unique attribute",
    );
}

#[test]
fn lesson_08_what_is_not_supported_is_refused_by_name() {
    for (section, name) in [(":limit 5", "limit"), (":offset 5", "offset"), (":order-by [?e]", "order-by")] {
        refused(&format!("[:find ?e :where [?e :p/age] {section}]"), &["$"], "unsupported", name);
    }
    refused("[:find ?x :where [(tx-ids ?log 1 2) [?x ...]]]", &["$"], "unsupported", "tx-ids");
    refused("[:find ?x :where [(q [:find ?y] $) ?x]]", &["$"], "unsupported", "the function q");
    refused("[:find ?x :find ?y]", &["$"], "invalid-query", ":find stands twice");
    refused("[:find ?x :were [?x :p/age]]", &["$"], "invalid-query", ":were is no section");
}

#[test]
fn bad_input_gives_a_clear_error() {
    refused("5", &[], "invalid-query", "a query is a vector");
    refused("[]", &[], "invalid-query", "no :find");
    refused("[:find]", &[], "invalid-query", "no :find");
    refused("[:find ?e :where 5]", &["$"], "invalid-query", "5 is no clause");
    refused("[:find ?e :where []]", &["$"], "invalid-query", "empty data pattern");
    refused("[:find ?e :where [?e :p/age nil]]", &["$"], "invalid-query", "nil is no value");
    refused("[:find ?e :where [(inc) ?e]]", &["$"], "arity", "inc takes 1 argument, not 0");
    refused("[:find ?e :where [?e :p/age 1 2 true 6]]", &["$"], "invalid-query", "more than [e a v tx op]");
    refused("[:find ?e :where [?e :p/age]]", &[], "invalid-input", "takes 1 input ($), not 0");
    refused("[:find ?e :in $ ?x :where [?e :p/age ?x]]", &["$", "nil"], "invalid-input", "nil is no value");
    refused("[:find ?e :in $ [?x ?y] :where [?e :p/age ?x]]", &["$", "[1]"], "invalid-input", "a tuple of 2, not [1]");
    refused("[:find ?e :in $ [?x ...] :where [?e :p/age ?x]]", &["$", "5"], "invalid-input", "a collection, not 5");
    refused(
        "[:find ?e :in $ [[?x ?y]] :where [?e :p/age ?x]]",
        &["$", "[[1 2] 3]"],
        "invalid-input",
        "a tuple of 2, not 3",
    );
    refused("[:find ?e :in $ :where [?e :p/age]]", &["5"], "invalid-input", "takes a database or a collection");
    refused("[:find ?x :in ?x :where [?x :p/age]]", &["1"], "invalid-query", "names no source");
    refused("[:find ?e :where [(> (count ?e) 1)]]", &["$"], "invalid-query", "calls do not nest");
    refused("[:find ?x :where [(/ 1 0) ?x]]", &["$"], "arithmetic", "divides by zero");
    refused("[:find ?n :keys a b :where [?e :p/name ?n]]", &["$"], "invalid-query", "names 2 columns but :find has 1");
    refused("[:find ?x :where [(ground 5) [?x ...]]]", &["$"], "invalid-binding", "a collection is to be bound");
    let nested = format!("[:find ?e :where [?e :p/age] {}[?e :p/boss]{}]", "(not ".repeat(100), ")".repeat(100));
    refused(&nested, &["$"], "invalid-query", "nest deeper");
    let many = format!("[:find ?e :where {}]", "[?e :p/age] ".repeat(5000));
    refused(&many, &["$"], "invalid-query", "at most 4096 clauses");
}

struct After(std::cell::Cell<u32>);

impl Interrupt for After {
    fn stop(&self) -> Option<Stop> {
        self.0.set(self.0.get().saturating_sub(1));
        (self.0.get() == 0).then_some(Stop::Deadline)
    }
}

#[track_caller]
fn stopped(text: &str, more: &[&str], limits: Limits, looks: u32, code: &str) {
    let interrupt = After(std::cell::Cell::new(looks));
    let budget = Budget::new(limits, &interrupt);
    let db = people();
    let error = query(&Query::parse(&read(text)).unwrap(), &inputs(&db, more), &budget).unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Interrupted, code), "{text}: {error}");
}

#[test]
fn limits_stop_products_functions_aggregates_and_fixpoints_on_the_way() {
    let hundred: String = format!("[{}]", (0..200).map(|i| i.to_string()).collect::<Vec<_>>().join(" "));
    let h = hundred.as_str();
    let product = "[:find ?a ?b ?c ?d :in [?a ...] [?b ...] [?c ...] [?d ...]]";
    let rows = Limits { rows_max: 100_000, ..Limits::default() };
    stopped(product, &[h, h, h, h], rows, u32::MAX, "db.error/row-limit");
    let bytes = Limits { bytes_max: 1 << 20, ..Limits::default() };
    stopped(product, &[h, h, h, h], bytes, u32::MAX, "db.error/byte-limit");
    stopped(product, &[h, h, h, h], Limits::default(), 20, "db.error/deadline-exceeded");
    let compared = "[:find ?a ?b ?c ?d :in [?a ...] [?b ...] [?c ...] [?d ...] :where [(+ ?a ?b ?c ?d) ?x] [(< ?x 0)]]";
    stopped(compared, &[h, h, h, h], rows, u32::MAX, "db.error/row-limit");
    let counting = "%[[(upto ?n ?m) [(identity ?n) ?m]] [(upto ?n ?m) (upto ?n ?x) [(inc ?x) ?m]]]";
    stopped("[:find ?m :in % ?n :where (upto ?n ?m)]", &[counting, "0"], rows, u32::MAX, "db.error/row-limit");
    stopped(
        "[:find ?m :in % ?n :where (upto ?n ?m)]",
        &[counting, "0"],
        Limits::default(),
        300,
        "db.error/deadline-exceeded",
    );
}
