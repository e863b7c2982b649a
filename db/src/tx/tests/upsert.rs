//! Rule 12: which entity a tempid is.

use super::*;

#[test]
fn rule_12_a_tempid_with_an_identity_value_that_exists_becomes_its_entity_everywhere() {
    let db = world();
    check(&db, r#"[{:p/email "ann@x" :n/one 1}]"#, "+[:ann :n/one 1]");
    check(
        &db,
        r#"[[:db/add "a" :p/email "ann@x"] [:db/add "a" :n/one 1] [:db/add :x :p/friend "a"]]"#,
        "+[:ann :n/one 1] +[:x :p/friend :ann]",
    );
    let report = run(&db, r#"[{:db/id "a" :p/email "ann@x"}]"#).unwrap();
    assert_eq!(report.tempids["a"], db.entity_of_ident(&"ann".into()).unwrap().unwrap());
    assert_eq!(report.datoms.len(), 1);
    // By an attribute of cardinality many, by an ident, in a retraction.
    check(&db, r#"[{:p/nick "annie" :n/one 1}]"#, "+[:ann :n/one 1]");
    check(&db, "[{:db/ident :ann :n/one 1}]", "+[:ann :n/one 1]");
    check(&db, r#"[[:db/add "a" :p/email "ann@x"] [:db/retract "a" :p/name "Ann"]]"#, "-[:ann :p/name \"Ann\"]");
    check(
        &db,
        r#"[[:db/add "a" :p/email "ann@x"] [:db/retract "a" :p/nick]]"#,
        "-[:ann :p/nick \"a\"] -[:ann :p/nick \"annie\"]",
    );
    check(&db, r#"[[:db/add "a" :p/email "ann@x"] [:db/retract "a" :p/email]]"#, "datoms-conflict");
}

#[test]
fn rule_12_identity_values_of_different_entities_conflict() {
    let db = world();
    check_error(
        &db,
        r#"[[:db/add "a" :p/email "ann@x"] [:db/add "a" :p/nick "b"] [:db/add "b" :p/nick "b"] [:db/add "b" :p/email "bob@x"]]"#,
        "unique-conflict",
        &["point at different entities"],
    );
    check(&db, r#"[{:db/id "a" :p/email "ann@x" :db/ident :bob}]"#, "unique-conflict");
    // One value of an entity and one of nobody: the entity takes it.
    check(&db, r#"[{:db/id "a" :p/email "ann@x" :p/nick "new"}]"#, "+[:ann :p/nick \"new\"]");
    check(
        &db,
        r#"[{:db/id "a" :p/nick "a" :p/email "new@x"}]"#,
        "+[:ann :p/email \"new@x\"] -[:ann :p/email \"ann@x\"]",
    );
}

#[test]
fn rule_12_tempids_with_the_same_new_identity_value_are_one_entity() {
    let db = world();
    let one = "(+[_ :n/one 1] +[_ :p/email \"new@x\"])";
    let expected = format!("+[{one} :n/one 1] +[{one} :p/email \"new@x\"]");
    check(&db, r#"[{:p/email "new@x"} {:p/email "new@x" :n/one 1}]"#, &expected);
    check(&db, r#"[[:db/add "a" :p/email "new@x"] [:db/add "b" :p/email "new@x"] [:db/add "b" :n/one 1]]"#, &expected);
    let report = run(&db, r#"[{:db/id "a" :p/email "new@x"} {:db/id "b" :p/email "new@x" :n/one 1}]"#).unwrap();
    assert_eq!(report.tempids["a"], report.tempids["b"]);
    check(&db, r#"[{:p/email "new@x" :n/one 2} {:p/email "new@x" :n/one 1}]"#, "datoms-conflict");
    // By a chain of values: a and b share a nick, b and c an email; c's nick exists.
    check(
        &db,
        r#"[{:db/id "a" :p/nick "n" :n/one 1} {:db/id "b" :p/nick "n" :p/email "m@x"}
            {:db/id "c" :p/email "m@x" :p/nick "a"}]"#,
        "+[:ann :n/one 1] +[:ann :p/email \"m@x\"] +[:ann :p/nick \"n\"] -[:ann :p/email \"ann@x\"]",
    );
}

#[test]
fn rule_12_identity_by_reference_resolves_through_chains() {
    let db = world();
    // :ann is the twin of nobody; make e1 -> ann, e2 -> e1, e3 -> e2.
    let db = after(
        &db,
        r#"[{:db/id "1" :db/ident :e1 :p/twin :ann} {:db/id "2" :db/ident :e2 :p/twin "1"}
            {:db/id "3" :db/ident :e3 :p/twin "2"}]"#,
    );
    check(
        &db,
        r#"[[:db/add "r" :p/twin "q"] [:db/add "q" :p/twin "p"] [:db/add "p" :p/twin "ann"]
            [:db/add "ann" :p/email "ann@x"] [:db/add "r" :n/one 3]]"#,
        "+[:e3 :n/one 3]",
    );
    // New ones become one where what they refer to becomes one.
    let report = run(
        &db,
        r#"[{:db/id "a" :p/email "new@x"} {:db/id "b" :p/email "new@x"} {:db/id "c" :p/twin "a" :n/one 1}
            {:db/id "d" :p/twin "b" :n/many 2} {:db/id "e" :p/twin "c"} {:db/id "f" :p/twin "d"}]"#,
    )
    .unwrap();
    for (x, y) in [("a", "b"), ("c", "d"), ("e", "f")] {
        assert_eq!(report.tempids[x], report.tempids[y]);
    }
    assert_eq!(report.db_after.next_counter() - report.db_before.next_counter(), 3);
    check(
        &db,
        r#"[{:db/id "a" :p/twin "b" :n/one 1} {:db/id "b" :p/email "bob@x"} {:db/id "c" :p/twin :bob :n/one 2}]"#,
        "datoms-conflict",
    );
    check(
        &db,
        r#"[{:db/id "a" :p/twin "a"}]"#,
        "+[(+[_ :p/twin new] +[new :p/twin _]) :p/twin (+[_ :p/twin new] +[new :p/twin _])]",
    );
}

#[test]
fn rule_12_a_chain_of_many_upserts_takes_linear_time() {
    // The links stand in the worst order, last one first.
    let mut tx_data: Vec<Edn> = (1..20_000)
        .rev()
        .map(|n| assertion(Edn::string(n.to_string()), Edn::keyword("p/twin"), Edn::string((n - 1).to_string())))
        .collect();
    tx_data.push(assertion(Edn::string("0"), Edn::keyword("p/email"), Edn::string("ann@x")));
    let report = run_form(&world(), &Edn::Vector(tx_data.clone())).unwrap();
    assert_eq!(report.datoms.len(), 20_000);
    let again = run_form(&report.db_after, &Edn::Vector(tx_data)).unwrap();
    assert_eq!(again.datoms.len(), 1, "all of them exist");
}

#[test]
fn rule_12_a_unique_value_never_upserts() {
    let db = world();
    check_error(&db, "[{:db/id \"a\" :p/badge 1 :n/one 1}]", "unique-conflict", &["1 belongs to", "for \"a\""]);
    check(&db, "[{:p/badge 7} {:p/badge 7 :n/one 1}]", "unique-conflict");
    check(&db, r#"[{:p/badge 1 :p/email "ann@x" :n/one 1}]"#, "+[:ann :n/one 1]");
    check(&db, r#"[{:p/badge 2 :p/email "ann@x"}]"#, "unique-conflict");
}

#[test]
fn rule_12_an_explicit_entity_never_upserts() {
    let db = world();
    check(&db, r#"[{:db/id :x :p/email "ann@x"}]"#, "unique-conflict");
    check(&db, r#"[[:db/add [:p/email "bob@x"] :p/email "ann@x"]]"#, "unique-conflict");
    // Nor does a tempid become an entity that gets the value in this transaction.
    check(&db, r#"[{:db/id :x :p/email "new@x"} {:p/email "new@x" :n/one 1}]"#, "unique-conflict");
}

/// Who asserts × which uniqueness × whose value it is, and what comes of it.
#[test]
fn rule_12_the_matrix_of_uniqueness() {
    let db = world();
    let new = |facts: &str| {
        let entity = format!("({facts})");
        facts.replace('_', &entity)
    };
    for (entity, a, absent, same_owner, other_owner) in [
        ("\"t\"", "p/email", new("+[_ :p/email \"none@x\"]"), "", ""),
        (":bob", "p/email", "+[:bob :p/email \"none@x\"] -[:bob :p/email \"bob@x\"]".into(), "", "unique-conflict"),
        (
            "[:p/email \"bob@x\"]",
            "p/email",
            "+[:bob :p/email \"none@x\"] -[:bob :p/email \"bob@x\"]".into(),
            "",
            "unique-conflict",
        ),
        ("\"t\"", "p/badge", new("+[_ :p/badge 9]"), "unique-conflict", "unique-conflict"),
        (":bob", "p/badge", "+[:bob :p/badge 9] -[:bob :p/badge 2]".into(), "", "unique-conflict"),
        ("[:p/email \"bob@x\"]", "p/badge", "+[:bob :p/badge 9] -[:bob :p/badge 2]".into(), "", "unique-conflict"),
    ] {
        let [none, own, other] =
            if a == "p/email" { ["\"none@x\"", "\"bob@x\"", "\"ann@x\""] } else { ["9", "2", "1"] };
        check(&db, &format!("[[:db/add {entity} :{a} {none}]]"), &absent);
        check(&db, &format!("[[:db/add {entity} :{a} {own}]]"), same_owner);
        check(&db, &format!("[[:db/add {entity} :{a} {other}]]"), other_owner);
    }
    // The swap of two values in one transaction.
    check(
        &db,
        r#"[[:db/add :ann :p/email "bob@x"] [:db/add :bob :p/email "ann@x"]]"#,
        "+[:ann :p/email \"bob@x\"] +[:bob :p/email \"ann@x\"] -[:ann :p/email \"ann@x\"] -[:bob :p/email \"bob@x\"]",
    );
    check(
        &db,
        r#"[[:db/add [:p/email "ann@x"] :p/badge 2] [:db/add [:p/email "bob@x"] :p/badge 1]]"#,
        "+[:ann :p/badge 2] +[:bob :p/badge 1] -[:ann :p/badge 1] -[:bob :p/badge 2]",
    );
    check(
        &db,
        r#"[{:p/email "ann@x" :p/badge 2} {:p/email "bob@x" :p/badge 1}]"#,
        "+[:ann :p/badge 2] +[:bob :p/badge 1] -[:ann :p/badge 1] -[:bob :p/badge 2]",
    );
}
