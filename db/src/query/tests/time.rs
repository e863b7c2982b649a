//! Views of time in queries: rules 33, 35, 42–46 of docs/rules.md.

use super::*;

/// Ann's age is 30, then 31 with Bob's gone and back, then hers is gone.
fn changed() -> Db {
    let db = people();
    let db = transacted(&db, r#"[[:db/add [:p/name "Ann"] :p/age 31] [:db/retract [:p/name "Bob"] :p/age 20]]"#);
    let db = transacted(&db, r#"[[:db/add [:p/name "Bob"] :p/age 20]]"#);
    transacted(&db, r#"[[:db/retract [:p/name "Ann"] :p/age 31]]"#)
}

#[track_caller]
fn check_view(view: Db, text: &str, expected: &str) {
    check_on(&view, text, &["$"], expected);
}

const AGES: &str = "[:find ?n ?a :where [?e :p/name ?n] [?e :p/age ?a]]";

#[test]
fn rule_42_queries_see_the_value_at_a_moment() {
    let db = changed();
    let at = |t| db.as_of(t);
    check_view(at(2), AGES, r#"[["Ann" 30] ["Bob" 20] ["Cid" 20] ["Dot" 41]]"#);
    check_view(at(3), AGES, r#"[["Ann" 31] ["Cid" 20] ["Dot" 41]]"#);
    check_view(at(4), AGES, r#"[["Ann" 31] ["Bob" 20] ["Cid" 20] ["Dot" 41]]"#);
    check_view(db.clone(), AGES, r#"[["Bob" 20] ["Cid" 20] ["Dot" 41]]"#);
    check_view(at(3), "[:find [?n ...] :where [?e :p/age ?a] [(>= ?a 31)] [?e :p/name ?n]]", r#"["Ann" "Dot"]"#);
    check_view(at(2), "[:find ?n . :where [?e :p/age 30] [?e :p/name ?n]]", "\"Ann\"");
    check_view(at(3), "[:find ?n . :where [?e :p/age 30] [?e :p/name ?n]]", "nil");
    check_view(db.since(3), "[:find ?a :where [_ :p/age ?a]]", "[[20]]");
    check_view(db.since(2).as_of(3), "[:find ?a :where [_ :p/age ?a]]", "[[31]]");
}

#[test]
fn rule_33_missing_and_get_else_speak_of_the_given_value() {
    let db = changed();
    let missing = "[:find [?n ...] :where [?e :p/name ?n] [(missing? $ ?e :p/age)]]";
    check_view(db.clone(), missing, r#"["Ann"]"#);
    check_view(db.as_of(3), missing, r#"["Bob"]"#);
    let else_of = "[:find ?n ?a :where [?e :p/name ?n] [(get-else $ ?e :p/age 0) ?a] [(< ?n \"C\")]]";
    check_view(db.as_of(3), else_of, r#"[["Ann" 31] ["Bob" 0]]"#);
    let two = "[:find [?n ...] :in $ $old :where [?e :p/name ?n] [(missing? $ ?e :p/age)] [(get-else $old ?e :p/age 0) ?a] [(= ?a 30)]]";
    let query = Query::parse(&read(two)).unwrap();
    let inputs = [Input::Db(db.clone()), Input::Db(db.as_of(2))];
    assert_eq!(
        query_with(&query, &inputs, &Options::default(), &Budget::unlimited()).unwrap().to_edn(),
        read(r#"["Ann"]"#)
    );
}

#[test]
fn rule_35_history_tells_assertions_from_retractions() {
    let history = changed().history();
    let all = "[:find ?a ?t ?op :where [?e :p/name \"Bob\"] [?e :p/age ?a ?tx ?op] [(- ?tx 13194139533312) ?t]]";
    let query = "[:find ?a ?tx ?op :where [?e :p/name \"Bob\"] [?e :p/age ?a ?tx ?op]]";
    let answer = run(query, &inputs(&history, &["$"])).unwrap();
    assert_eq!(answer.rows.len(), 3);
    check_view(
        history.clone(),
        "[:find ?a ?op :where [?e :p/name \"Ann\"] [?e :p/age ?a _ ?op]]",
        "[[30 false] [30 true] [31 false] [31 true]]",
    );
    check_view(history.clone(), "[:find [?a ...] :where [?e :p/name \"Ann\"] [?e :p/age ?a _ false]]", "[30 31]");
    check_view(history.clone(), "[:find ?x ?y :where [?e :p/age ?x ?tx false] [?e :p/age ?y ?tx true]]", "[[30 31]]");
    check_view(history.as_of(3), "[:find [?a ...] :where [?e :p/name \"Ann\"] [?e :p/age ?a _ false]]", "[30]");
    check_view(history.clone(), "[:find [?n ...] :where [?e :p/age ?a 4] [?e :p/name ?n]]", r#"["Bob"]"#);
    assert_eq!(run(all, &inputs(&history, &["$"])).unwrap().rows.len(), 3, "an entity counts as its id");
}

#[test]
fn several_moments_stand_in_one_query() {
    let db = changed();
    let query = Query::parse(&read(
        "[:find ?n ?then ?now :in $then $now :where [$then ?e :p/age ?then] [$now ?e :p/age ?now] [(< ?then ?now)] [$now ?e :p/name ?n]]",
    ))
    .unwrap();
    let inputs = [Input::Db(db.as_of(2)), Input::Db(db.as_of(3))];
    for any_order in [None, Some(1), Some(2), Some(3)] {
        let options = Options { any_order, ..Options::default() };
        let answer = query_with(&query, &inputs, &options, &Budget::unlimited()).unwrap();
        assert_eq!(answer.to_edn(), read(r#"[["Ann" 30 31]]"#));
    }
}
