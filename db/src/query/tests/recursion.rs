//! Rules to their fixpoint.

use super::*;

/// Friends in a circle with a tail: 0→1→2→3→0, 3→4→5, and 6 alone with itself.
fn graph() -> Db {
    let schema = transacted(
        &Db::bootstrap(),
        "[{:db/ident :n/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
          {:db/ident :n/to :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]",
    );
    let nodes = [(0, vec![1]), (1, vec![2]), (2, vec![3]), (3, vec![0, 4]), (4, vec![5]), (5, vec![]), (6, vec![6])];
    let forms: Vec<String> = nodes
        .iter()
        .map(|(id, to)| {
            let to: Vec<String> = to.iter().map(|to| format!("\"n{to}\"")).collect();
            format!("{{:db/id \"n{id}\" :n/id {id} :n/to [{}]}}", to.join(" "))
        })
        .collect();
    transacted(&schema, &format!("[{}]", forms.join(" ")))
}

const RIGHT: &str = "%[[(reach ?a ?b) [?a :n/to ?b]] [(reach ?a ?b) [?a :n/to ?m] (reach ?m ?b)]]";
const LEFT: &str = "%[[(reach ?a ?b) [?a :n/to ?b]] [(reach ?a ?b) (reach ?a ?m) [?m :n/to ?b]]]";
const BOTH: &str = "%[[(reach ?a ?b) [?a :n/to ?b]] [(reach ?a ?b) (reach ?a ?m) (reach ?m ?b)]]";
const OR_JOIN: &str = "%[[(reach ?a ?b) (or-join [?a ?b] [?a :n/to ?b] (and [?a :n/to ?m] (reach ?m ?b)))]]";
const MUTUAL: &str = "%[[(reach ?a ?b) [?a :n/to ?b]] [(reach ?a ?b) [?a :n/to ?m] (via ?m ?b)]
                        [(via ?x ?y) [?x :n/to ?y]] [(via ?x ?y) (reach ?x ?m) [?m :n/to ?y]]]";

#[test]
fn rule_27_recursion_right_left_non_linear_mutual_and_through_or() {
    let db = graph();
    for rules in [RIGHT, LEFT, BOTH, OR_JOIN, MUTUAL] {
        let ids = "[?a :n/id ?x] [?b :n/id ?y]";
        let from = |x: u32| format!("[:find [?y ...] :in $ % :where [?a :n/id {x}] (reach ?a ?b) [?b :n/id ?y]]");
        check_on(&db, &from(0), &["$", rules], "[0 1 2 3 4 5]");
        check_on(&db, &from(4), &["$", rules], "[5]");
        check_on(&db, &from(5), &["$", rules], "[]");
        check_on(&db, &from(6), &["$", rules], "[6]");
        let to = "[:find [?x ...] :in $ % :where [?b :n/id 4] (reach ?a ?b) [?a :n/id ?x]]";
        check_on(&db, to, &["$", rules], "[0 1 2 3]");
        let set = "[:find ?x ?y :in $ % [?x ...] :where [?a :n/id ?x] (reach ?a ?b) [?b :n/id ?y] [(> ?y 3)]]";
        check_on(&db, set, &["$", rules, "[2 4 6]"], "[[2 4] [2 5] [4 5] [6 6]]");
        check_on(&db, "[:find (count ?a) . :with ?b :in $ % :where (reach ?a ?b)]", &["$", rules], "26");
        check_on(
            &db,
            &format!("[:find ?x ?y :in $ % ?x ?y :where {ids} (reach ?a ?b)]"),
            &["$", rules, "3", "2"],
            "[[3 2]]",
        );
        check_on(
            &db,
            &format!("[:find ?x ?y :in $ % ?x ?y :where {ids} (reach ?a ?b)]"),
            &["$", rules, "5", "2"],
            "[]",
        );
        check_on(&db, "[:find [?x ...] :in $ % :where (reach ?a ?a) [?a :n/id ?x]]", &["$", rules], "[0 1 2 3 6]");
        check_on(&db, "[:find [?x ...] :in $ % :where [?a :n/id ?x] (reach ?a _)]", &["$", rules], "[0 1 2 3 4 6]");
        check_on(
            &db,
            "[:find [?y ...] :in $ % :where (reach [:n/id 3] ?b) [?b :n/id ?y]]",
            &["$", rules],
            "[0 1 2 3 4 5]",
        );
        check_on(
            &db,
            "[:find [?y ...] :in $ % ?a :where (reach ?a ?b) [?b :n/id ?y]]",
            &["$", rules, "[:n/id 4]"],
            "[5]",
        );
        let several = "[:find ?y :in $ % [?a ...] :where (reach ?a ?b) [?b :n/id ?y]]";
        check_on(&db, several, &["$", rules, "[[:n/id 4] [:n/id 6]]"], "[[5] [6]]");
        check_on(&db, "[:find [?x ...] :in $ % :where [?a :n/id ?x] (not (reach ?a ?a))]", &["$", rules], "[4 5]");
    }
}

#[test]
fn rules_have_several_heads_required_bindings_and_their_own_variables() {
    let db = graph();
    let near = "%[[(near ?a ?b) [?a :n/to ?b]] [(near ?a ?b) [?b :n/to ?a]]]";
    check_on(&db, "[:find [?y ...] :in $ % :where [?a :n/id 4] (near ?a ?b) [?b :n/id ?y]]", &["$", near], "[3 5]");
    // ?m of the rule is not ?m of the query.
    let two = "%[[(two ?a ?b) [?a :n/to ?m] [?m :n/to ?b]]]";
    check_on(
        &db,
        "[:find ?x ?m :in $ % :where [?m :n/id ?x] (two ?m ?m2) [?m2 :n/id 5]]",
        &["$", two],
        &run("[:find ?x ?m :where [?m :n/id ?x] [(= ?x 3)]]", &inputs(&db, &["$"])).unwrap().to_edn().to_string(),
    );
    let more = "%[[(more [?a] ?b) [(+ ?a 1) ?b]]]";
    check_on(&db, "[:find ?b . :in % ?a :where (more ?a ?b)]", &[more, "4"], "5");
    check_on(&db, "[:find ?b . :in % :where (more 4 ?b)]", &[more], "5");
    let avoiding = "%[[(avoiding ?x ?a ?b) [?a :n/to ?b] [(!= ?b ?x)]]
                      [(avoiding ?x ?a ?b) [?a :n/to ?m] [(!= ?m ?x)] (avoiding ?x ?m ?b)]]";
    check_on(
        &db,
        "[:find [?y ...] :in $ % :where [?x :n/id 3] [?a :n/id 1] (avoiding ?x ?a ?b) [?b :n/id ?y]]",
        &["$", avoiding],
        "[2]",
    );
    check_on(
        &db,
        "[:find ?z ?y :in $ % [?z ...] :where [?x :n/id ?z] [?a :n/id 1] (avoiding ?x ?a ?b) [?b :n/id ?y]]",
        &["$", avoiding, "[3 4]"],
        "[[3 2] [4 0] [4 1] [4 2] [4 3]]",
    );
}

#[test]
fn rules_count_and_stop_and_read_other_sources() {
    let db = graph();
    let upto = "%[[(upto [?n ?max] ?m) [(identity ?n) ?m] [(<= ?n ?max)]]
                  [(upto [?n ?max] ?m) [(< ?n ?max)] [(inc ?n) ?next] (upto ?next ?max ?m)]]";
    check_on(&db, "[:find [?m ...] :in % :where (upto 1 5 ?m)]", &[upto], "[1 2 3 4 5]");
    let edges = "%[[(reach ?a ?b) [?a ?b]] [(reach ?a ?b) [?a ?m] (reach ?m ?b)]]";
    check_on(
        &db,
        "[:find ?b :in $e % :where ($e reach :a ?b)]",
        &["[[:a :b] [:b :c] [:c :a] [:d :e]]", edges],
        "[[:a] [:b] [:c]]",
    );
    check_on(&db, "[:find (count ?a) . :with ?b :in $ % :where (reach ?a ?b)]", &["[[1 2] [2 3] [3 1]]", edges], "9");
    let same = "%[[(even ?x ?y) [?x :n/to ?m] (odd ?m ?y)] [(odd ?x ?y) [?x :n/to ?y]] [(odd ?x ?y) [?x :n/to ?m] (even ?m ?y)]]";
    check_on(&db, "[:find [?y ...] :in $ % :where [?a :n/id 4] (odd ?a ?b) [?b :n/id ?y]]", &["$", same], "[5]");
    check_on(&db, "[:find [?y ...] :in $ % :where [?a :n/id 3] (even ?a ?b) [?b :n/id ?y]]", &["$", same], "[1 3 5]");
}

#[test]
fn rules_that_cannot_be_run_are_refused_with_the_rule() {
    let calls = "[:find ?b :in $ % ?a :where (r ?a ?b)]";
    let given = ["$", "", "1"];
    let with = |rules: &'static str| [given[0], rules, given[2]];
    refused(calls, &with("%[[(r ?a ?b) [?a :p/boss ?b] [(> ?z 1)]]]"), "insufficient-binding", "?z is not bound");
    refused(calls, &with("%[[(r ?a ?b) [?a :p/bos ?b]]]"), "not-an-entity", "in the rule [(r ?a ?b)");
    refused(calls, &with("%[[(r ?a ?b) [?a :p/boss ?b] (not (r ?b ?a))]]"), "invalid-rule", "through a not");
    refused(calls, &with("%[[(r ?a) [?a :p/boss]]]"), "arity", "takes 1 arguments, not 2");
    refused(
        calls,
        &with("%[[(r ?a ?b) [?a :p/boss ?b]] [(r ?a) [?a :p/boss]]]"),
        "invalid-query",
        "differ in their parameters",
    );
    refused(calls, &with("%[[(r ?a ?b)]]"), "invalid-query", "has a head but no clauses");
    refused(calls, &with("%5"), "invalid-query", "rules are a vector");
    let unbound = "[:find ?b :in $ % :where (more ?a ?b)]";
    refused(
        unbound,
        &["$", "%[[(more [?a] ?b) [(+ ?a 1) ?b]]]"],
        "insufficient-binding",
        "?a is not bound where (more ?a ?b)",
    );
    refused(
        unbound,
        &["$", "%[[(more ?a ?b) [(+ ?a 1) ?b]]]"],
        "insufficient-binding",
        "?a is not bound where (more ?a ?b)",
    );
}

#[test]
fn chains_of_rules_are_bounded_and_do_not_end_the_stack() {
    let chain = |length: usize| {
        let links: Vec<String> = (0..length)
            .map(|i| format!("[(r{i} ?x) (r{} ?x)]", i + 1))
            .chain([format!("[(r{length} ?x) [?x :p/age]]")])
            .collect();
        format!("%[{}]", links.join(" "))
    };
    let text = "[:find (count ?x) . :in $ % :where (r0 ?x)]";
    check_on(&people(), text, &["$", &chain(50)], "4");
    refused(text, &["$", &chain(1000)], "invalid-query", "nest deeper than 64 levels");
    refused(text, &["$", &chain(2000)], "invalid-query", "at most 1024 branches");
}

#[test]
fn a_closure_from_one_node_looks_at_what_it_reaches() {
    use crate::budget::{Limits, Uninterrupted};
    // 2,000 chains of 5; one of them is asked for.
    let schema = transacted(
        &Db::bootstrap(),
        "[{:db/ident :n/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
          {:db/ident :n/to :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]",
    );
    let mut forms = String::from("[");
    for i in 0..10_000 {
        let next = if i % 5 == 4 { String::new() } else { format!(" :n/to [\"n{}\"]", i + 1) };
        forms.push_str(&format!("{{:db/id \"n{i}\" :n/id {i}{next}}}"));
    }
    forms.push(']');
    let db = transacted(&schema, &forms);
    for rules in [RIGHT, LEFT, BOTH, MUTUAL, OR_JOIN] {
        let query =
            Query::parse(&read("[:find [?y ...] :in $ % :where [?a :n/id 20] (reach ?a ?b) [?b :n/id ?y]]")).unwrap();
        let limits = Limits { rows_max: 200, bytes_max: 1 << 16 };
        let budget = Budget::new(limits, &Uninterrupted);
        let answer = super::query(&query, &inputs(&db, &["$", rules]), &budget).unwrap();
        assert_eq!(answer.to_edn(), read("[21 22 23 24]"), "{rules}");
    }
}
