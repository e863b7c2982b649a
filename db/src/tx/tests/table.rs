//! The table of cases for one transaction: attribute of cardinality one, present value 0 unless said otherwise.

use super::*;

#[test]
fn two_different_values_for_one_attribute_conflict_and_both_datoms_are_named() {
    let db = world();
    check_error(
        &db,
        "[[:db/add :x :n/one 1] [:db/add :x :n/one 2]]",
        "datoms-conflict",
        &[":n/one 1]", ":n/one 2]", "cardinality one"],
    );
    // One of them is what there is already: still a conflict.
    check(&db, "[[:db/add :x :n/one 0] [:db/add :x :n/one 2]]", "datoms-conflict");
    check(&db, "[{:db/id :x :n/one 1} {:db/id :x :n/one 2}]", "datoms-conflict");
    check(&db, r#"[[:db/add "t" :n/one 1] [:db/add "t" :n/one 2]]"#, "datoms-conflict");
}

#[test]
fn adding_and_retracting_the_same_datom_conflicts() {
    let db = world();
    for value in [0, 7] {
        let tx_data = format!("[[:db/add :x :n/one {value}] [:db/retract :x :n/one {value}]]");
        check_error(&db, &tx_data, "datoms-conflict", &["[:db/retract", "[:db/add"]);
    }
    check(&db, "[[:db/add :x :n/many 1] [:db/retract :x :n/many 1]]", "datoms-conflict");
    check(&db, "[[:db/add :x :n/one 0] [:db/retract :x :n/one]]", "datoms-conflict");
    check(&db, "[[:db/add :x :n/one 0] [:db/retractEntity :x]]", "datoms-conflict");
}

#[test]
fn the_same_datom_twice_is_one_datom() {
    let db = world();
    check(&db, "[[:db/add :x :n/one 1] [:db/add :x :n/one 1]]", "+[:x :n/one 1] -[:x :n/one 0]");
    check(&db, "[[:db/add :x :n/one 1] {:db/id :x :n/one 1}]", "+[:x :n/one 1] -[:x :n/one 0]");
    check(&db, "[[:db/retract :x :n/one 0] [:db/retract :x :n/one 0]]", "-[:x :n/one 0]");
}

#[test]
fn the_same_compare_and_set_twice_succeeds() {
    check(&world(), "[[:db/cas :x :n/one 0 1] [:db/cas :x :n/one 0 1]]", "+[:x :n/one 1] -[:x :n/one 0]");
}

#[test]
fn two_compare_and_sets_to_different_values_conflict() {
    check(&world(), "[[:db/cas :x :n/one 0 1] [:db/cas :x :n/one 0 2]]", "datoms-conflict");
}

#[test]
fn compare_and_set_does_not_see_another_one() {
    check_error(
        &world(),
        "[[:db/cas :x :n/one 0 1] [:db/cas :x :n/one 1 2]]",
        "cas-failed",
        &[":n/one of entity", "is 0, not 1"],
    );
}

#[test]
fn two_increments_make_the_same_datom() {
    check(&world(), "[[:test/inc :y :n/one] [:test/inc :y :n/one]]", "+[:y :n/one 2] -[:y :n/one 1]");
}

#[test]
fn a_function_sees_the_database_before_the_transaction() {
    // The increment sees 0, not 1: both say 1.
    check(&world(), "[[:db/add :x :n/one 1] [:test/inc :x :n/one]]", "+[:x :n/one 1] -[:x :n/one 0]");
    check(&world(), "[[:db/add :x :n/one 5] [:test/inc :x :n/one]]", "datoms-conflict");
}

#[test]
fn a_lookup_ref_to_an_entity_of_the_same_transaction_names_nothing() {
    check_error(
        &world(),
        r#"[{:db/id "new" :p/email "new@x"} [:db/add [:p/email "new@x"] :p/name "New"]]"#,
        "not-an-entity",
        &["[:p/email \"new@x\"]"],
    );
}

#[test]
fn two_functions_that_each_keep_an_invariant_can_break_it_together() {
    // Each leaves one in x or y; together they leave -1 and 0.
    check(
        &world(),
        "[[:test/withdraw :x] [:test/withdraw :y]]",
        "+[:x :n/one -1] +[:y :n/one 0] -[:x :n/one 0] -[:y :n/one 1]",
    );
    let broken = after(&world(), "[[:test/withdraw :x] [:test/withdraw :y]]");
    check(&broken, "[[:test/withdraw :x]]", "test/overdrawn");
}
