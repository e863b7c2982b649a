//! Rules 1, 3, 6–11, 13–16, 20, 21 and 23. Schema (2, 3) and upserts (12) have files of their own.

use super::*;
use crate::Category;

#[test]
fn rule_1_every_type_takes_its_own_values() {
    let db = world();
    for (a, value) in [
        ("n/one", "-5"),
        ("n/flag", "true"),
        ("p/name", "\"ä\""),
        ("v/bigint", "123456789012345678901234567890N"),
        ("v/double", "1.5"),
        ("v/double", "##NaN"),
        ("v/float", "0.1"),
        ("v/bigdec", "1.50M"),
        ("v/instant", "#inst \"2024-01-31T12:00:00.000Z\""),
        ("v/keyword", ":a/b"),
        ("v/symbol", "a/b"),
        ("v/uuid", "#uuid \"00112233-4455-6677-8899-aabbccddeeff\""),
        ("v/uri", "#uri \"https://example.org/\""),
        ("v/bytes", "#bytes \"aGVsbG8=\""),
    ] {
        check(&db, &format!("[[:db/add :y :{a} {value}]]"), &{
            let mut expected = format!("+[:y :{a} {value}]");
            if a == "n/one" {
                expected.push_str(" -[:y :n/one 1]");
            }
            expected
        });
    }
    // A long widens to a bigint and to nothing else.
    check(&db, "[[:db/add :y :v/bigint 5]]", "+[:y :v/bigint 5N]");
    let reference = after(&db, "[[:db/add :y :p/friend :x]]");
    assert_eq!(values(&reference, ":y", "p/friend").len(), 1);
}

#[test]
fn rule_1_values_of_another_type_are_refused_with_the_remedy() {
    let db = world();
    for (a, value, remedy) in [
        ("n/one", "1.0", "not a valid long for :n/one"),
        ("n/one", "1N", "not a valid long"),
        ("n/one", "\"1\"", "\"1\" is not a valid long"),
        ("n/one", "[1]", "not a valid long"),
        ("n/one", "1/2", "not a valid long"),
        ("n/flag", "1", "not a valid boolean"),
        ("p/name", ":ann", "not a valid string"),
        ("p/name", "\\a", "not a valid string"),
        ("v/double", "1", "write 1.0"),
        ("v/float", "1", "write 1.0"),
        ("v/float", "1e300", "not a valid float"),
        ("v/bigdec", "1.5", "such as 1.50M"),
        ("v/bigint", "1.0", "such as 5 or 5N"),
        ("v/instant", "\"2024-01-31\"", "write #inst"),
        ("v/uuid", "\"00112233-4455-6677-8899-aabbccddeeff\"", "write #uuid"),
        ("v/uri", "\"https://example.org/\"", "write #uri"),
        ("v/bytes", "#bytes \"not base 64!\"", "in base 64"),
        ("v/keyword", "a", "not a valid keyword"),
        ("v/symbol", ":a", "not a valid symbol"),
        ("p/friend", "1.0", "not a valid ref"),
        ("p/friend", "#{:x}", "not a valid ref"),
    ] {
        check_error(&db, &format!("[[:db/add :y :{a} {value}]]"), "wrong-type-for-attribute", &[remedy, "[:db/add :y"]);
        check(&db, &format!("[[:db/retract :y :{a} {value}]]"), "wrong-type-for-attribute");
        if !matches!(a, "p/friend") {
            check(&db, &format!("[{{:db/id :y :{a} {value}}}]"), "wrong-type-for-attribute");
        }
    }
}

#[test]
fn rule_1_nil_is_refused_wherever_a_value_stands() {
    let db = world();
    for tx_data in [
        "[[:db/add :x :n/one nil]]",
        "[[:db/add :x :p/friend nil]]",
        "[[:db/retract :x :n/one nil]]",
        "[{:db/id :x :n/one nil}]",
        "[{:db/id :x :n/many [1 nil]}]",
        "[{:db/id :x :p/friend nil}]",
        "[{:db/id :x :p/_friend nil}]",
        "[{:db/id nil :n/one 1}]",
        "[[:db/add nil :n/one 1]]",
        "[[:db/cas :x :n/one 0 nil]]",
        "[[:db/retractEntity nil]]",
    ] {
        check(&db, tx_data, "nil-value");
    }
    check_error(&db, "[{:db/id :x :n/one nil}]", "nil-value", &["nil is no value for :n/one"]);
}

#[test]
fn rule_3_data_cannot_use_schema_of_its_own_transaction() {
    check_error(
        &world(),
        "[{:db/ident :new/attr :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
          [:db/add :x :new/attr 1]]",
        "not-an-entity",
        &[":new/attr is no attribute", "separate transactions"],
    );
    check_error(
        &world(),
        "[[:db/add :x :n/on 1]]",
        "not-an-entity",
        &["unknown attribute :n/on", "did you mean :n/one?"],
    );
}

#[test]
fn rule_6_limits_name_the_attribute_and_the_size() {
    let db = world();
    let limits = TxLimits { value_bytes_max: 10, datoms_max: 5, forms_max: 8, depth_max: 3 };
    let check_limit = |tx_data: &str, code: &str, words: &[&str]| {
        let tx_data = edn::read(tx_data).unwrap();
        let error = transact(&db, &tx_data, NOW, &functions(), &limits).unwrap_err();
        assert_eq!(error.code(), format!("db.error/{code}"), "{tx_data}: {error}");
        for word in words {
            assert!(error.message().contains(word), "{word}: {error}");
        }
    };
    check_limit("[[:db/add :x :p/name \"12345678901\"]]", "value-too-large", &[":p/name", "11 bytes", "at most 10"]);
    check_limit("[[:db/add :x :v/uri #uri \"12345678901\"]]", "value-too-large", &[":v/uri"]);
    check_limit("[[:db/add :x :v/bytes #bytes \"AAAAAAAAAAAAAAAAAAAA\"]]", "value-too-large", &[":v/bytes", "15"]);
    check_limit("[{:db/id :x :n/many [1 2 3 4 5 6]}]", "transaction-too-large", &["more than 5 datoms"]);
    check_limit("[[:test/burst 0]]", "expansion-too-deep", &["more than 3 deep"]);
    check_limit("[[:test/down 4]]", "expansion-too-deep", &["functions"]);
    check_limit(
        "[[:test/down 1] [:test/down 1] [:test/down 1] [:test/down 1] [:test/down 1]]",
        "transaction-too-large",
        &["more than 8 forms"],
    );
    check_limit(
        "[{:p/part {:p/part {:p/part {:p/part {:p/part {:n/one 1}}}}}}]",
        "expansion-too-deep",
        &["maps are nested"],
    );
    // The default for strings is one MiB.
    let fits = "a".repeat(1 << 20);
    let fits = Edn::Vector(vec![assertion(Edn::keyword("x"), Edn::keyword("p/name"), Edn::string(&fits))]);
    assert!(run_form(&db, &fits).is_ok());
    let exceeds = "a".repeat((1 << 20) + 1);
    let exceeds = Edn::Vector(vec![assertion(Edn::keyword("x"), Edn::keyword("p/name"), Edn::string(&exceeds))]);
    let error = run_form(&db, &exceeds).unwrap_err();
    // Conflicts of large values come in small errors.
    let half = |c: &str| assertion(Edn::keyword("x"), Edn::keyword("p/name"), Edn::string(c.repeat(1 << 19)));
    let conflict = run_form(&db, &Edn::Vector(vec![half("a"), half("b")])).unwrap_err();
    assert!(format!("{}{:?}", conflict.message(), conflict.details()).len() < 3000);
    assert!(error.message().contains("1048577 bytes") && error.message().len() < 1000, "{error}");
}

#[test]
fn rule_7_all_forms_are_taken() {
    let db = world();
    check(&db, "[(:db/add :x :n/many 3)]", "+[:x :n/many 3]");
    check(&db, "[[:db/retract :x :n/many 1]]", "-[:x :n/many 1]");
    check(&db, "[[:db/retract :x :n/many]]", "-[:x :n/many 1] -[:x :n/many 2]");
    check(&db, "[[:db/retract :y :n/many]]", "");
    check(&db, "[[:db/retract :x :n/many 9]]", "");
    check(&db, "[]", "");
    check(&db, "[{}]", "");
    check(&db, "[{:db/id :x :n/many [3 4 3]}]", "+[:x :n/many 3] +[:x :n/many 4]");
    check(&db, "[{:db/id :x :n/many #{3 4}}]", "+[:x :n/many 3] +[:x :n/many 4]");
    check(&db, "[{:db/id :x :n/many (3)}]", "+[:x :n/many 3]");
    check(&db, "[{:db/id :x :n/many 3}]", "+[:x :n/many 3]");
    check(&db, "[{:db/id :x :n/many []}]", "");
    // Attributes by entity id.
    let one = db.schema().attribute(db.schema().attr_of_ident(&"n/one".into()).unwrap()).id;
    check(
        &db,
        &format!("[[:db/add :y {one} 4] {{:db/id :x {one} 3}}]"),
        "+[:x :n/one 3] +[:y :n/one 4] -[:x :n/one 0] -[:y :n/one 1]",
    );
}

#[test]
fn rule_7_reversed_keys_refer_from_the_other_side() {
    let db = world();
    check(&db, "[{:db/id :x :p/_friends [:ann :bob]}]", "+[:ann :p/friends :x] +[:bob :p/friends :x]");
    check(&db, "[{:db/id :x :p/_friend :ann}]", "+[:ann :p/friend :x]");
    check(&db, r#"[{:db/id :x :p/_friend [:p/email "ann@x"]}]"#, "+[:ann :p/friend :x]");
    check(
        &db,
        r#"[{:db/id :x :p/_friend [{:db/id "n" :p/name "N"}]}]"#,
        "+[(+[_ :p/friend :x] +[_ :p/name \"N\"]) :p/friend :x] +[(+[_ :p/friend :x] +[_ :p/name \"N\"]) :p/name \"N\"]",
    );
    check_error(&db, "[{:db/id :x :n/_one 5}]", "wrong-type-for-attribute", &[":n/one is no reference"]);
    check_error(&db, "[[:db/add :x :p/_friend :ann]]", "not-an-attribute", &["keys of maps"]);
}

#[test]
fn rule_7_a_vector_that_names_a_unique_attribute_is_one_lookup_ref() {
    let db = world();
    check(&db, r#"[{:db/id :x :p/friends [:p/email "ann@x"]}]"#, "+[:x :p/friends :ann]");
    check(&db, r#"[{:db/id :x :p/friends [[:p/email "ann@x"] :bob]}]"#, "+[:x :p/friends :ann] +[:x :p/friends :bob]");
    check(&db, r#"[{:db/id :x :p/friends [:ann :bob]}]"#, "+[:x :p/friends :ann] +[:x :p/friends :bob]");
}

#[test]
fn rule_7_what_functions_return_may_call_functions() {
    let db = world();
    check(
        &db,
        "[[:test/quote [:test/quote [:test/inc :y :n/one] {:db/id :x :n/many 5}] [:db/add :x :n/one 3]]]",
        "+[:x :n/many 5] +[:x :n/one 3] +[:y :n/one 2] -[:x :n/one 0] -[:y :n/one 1]",
    );
    check(&db, "[[:test/down 40]]", "");
    check_error(&db, "[[:test/down 70]]", "expansion-too-deep", &["functions are nested more than 64 deep"]);
    check_error(&db, "[[:test/ink :y :n/one]]", "not-a-data-function", &[":test/ink", "did you mean :test/inc?"]);
    check_error(&db, "[[:db/ad :y :n/one 1]]", "not-a-data-function", &["did you mean :db/add?"]);
    check_error(&db, "[[:test/nonsense]]", "invalid-tx-data", &[":test/nonsense returned 5"]);
    check(&db, "[[:test/panic]]", "fault");
    assert_eq!(run(&db, "[[:test/ink]]").unwrap_err().category(), Category::NotFound);
}

#[test]
fn rule_8_the_transaction_has_a_tempid() {
    let db = world();
    for name in ["datomic.tx", "diachron.tx"] {
        check(&db, &format!(r#"[{{:db/id "{name}" :p/name "import"}}]"#), "+[tx :p/name \"import\"]");
        check(&db, &format!(r#"[[:db/add :x :p/friend "{name}"]]"#), "+[:x :p/friend tx]");
        // In a function's result too.
        check(&db, &format!(r#"[[:test/quote [:db/add "{name}" :p/name "f"]]]"#), "+[tx :p/name \"f\"]");
    }
    let report = run(&db, r#"[[:db/add "datomic.tx" :p/name "import"]]"#).unwrap();
    assert_eq!(report.tempids, BTreeMap::from([("datomic.tx".to_string(), EntityId::of_tx(report.t))]));
    check(&db, r#"[[:db/add "datomic.tx" :p/email "ann@x"]]"#, "unique-conflict");
}

#[test]
fn rule_8_a_tempid_used_only_as_a_value_is_an_error() {
    let db = world();
    check_error(&db, r#"[[:db/add :x :p/friend "who"]]"#, "tempid-not-an-entity", &["\"who\""]);
    check(&db, r#"[{:db/id :x :p/friends ["who" :ann]}]"#, "tempid-not-an-entity");
    check(&db, r#"[[:db/retract :x :p/friend "who"]]"#, "tempid-not-an-entity");
    check(&db, r#"[[:db/retract "who" :p/name "Who"]]"#, "tempid-not-an-entity");
    check(&db, r#"[[:db/retract "who" :p/name]]"#, "tempid-not-an-entity");
    check(&db, r#"[{:db/id "who"} [:db/add :x :p/friend "who"]]"#, "tempid-not-an-entity");
    check_error(&db, "[{:db/id :x :p/part {}}]", "tempid-not-an-entity", &["a nested map has no attributes"]);
    // Alone a map without attributes says nothing.
    check(&db, r#"[{:db/id "who"}]"#, "");
    assert!(run(&db, r#"[{:db/id "who"}]"#).unwrap().tempids.is_empty());
    check_error(&db, "[[:db/add -1 :p/name \"N\"]]", "not-an-entity", &["-1 is no entity", "by a string"]);
    check(&db, "[{:db/id -1 :p/name \"N\"}]", "not-an-entity");
}

#[test]
fn rule_8_tempids_of_functions_do_not_collide() {
    let db = world();
    let report = run(&db, r#"[[:test/person "A"] [:test/person "B"] {:db/id "p" :p/name "C"}]"#).unwrap();
    let people: BTreeSet<EntityId> = report.datoms.iter().map(|d| d.e).filter(|e| e.as_tx().is_none()).collect();
    assert_eq!(people.len(), 3);
    assert_eq!(report.tempids.keys().collect::<Vec<_>>(), ["p"]);
    // A tempid that was passed is the caller's, however deep the call.
    check(
        &db,
        r#"[[:test/quote [:db/add "q" :n/one 1]] [:db/add "q" :n/many 2]]"#,
        "+[(+[_ :n/many 2] +[_ :n/one 1]) :n/many 2] +[(+[_ :n/many 2] +[_ :n/one 1]) :n/one 1]",
    );
    let report = run(&db, r#"[[:test/quote [:test/quote {:db/id "q" :n/one 1}]] [:test/person "q"]]"#).unwrap();
    assert_eq!(report.tempids.len(), 1);
    check_error(
        &db,
        r#"[[:test/quote [:test/quote [:test/nobody 5]]]]"#,
        "not-a-data-function",
        &["[:test/quote [:test/quote [:test/nobody 5]]]: [:test/nobody 5]: no transaction function is named"],
    );
}

#[test]
fn rule_9_conflicts_are_found_before_redundancy_is_removed() {
    let db = world();
    check(&db, "[[:db/add :x :n/one 0]]", "");
    check(&db, "[[:db/add :x :n/many 1] [:db/add :x :n/many 3] [:db/retract :x :n/many 8]]", "+[:x :n/many 3]");
    check(&db, "[[:db/add :x :n/one 0] [:db/add :x :n/one 1]]", "datoms-conflict");
    check(&db, "[[:db/add :x :n/many 8] [:db/retract :x :n/many 8]]", "datoms-conflict");
    // The transaction entity is always written.
    let report = run(&db, "[[:db/add :x :n/one 0]]").unwrap();
    assert_eq!(report.datoms.len(), 1);
    assert_eq!((report.datoms[0].e, &report.datoms[0].v), (EntityId::of_tx(report.t), &Value::Instant(NOW)));
}

#[test]
fn rule_9_all_conflicts_are_in_the_error() {
    let error = run(&world(), "[{:db/id :x :n/one 1 :p/name \"a\"} {:db/id :x :n/one 2 :p/name \"b\"}]").unwrap_err();
    assert!(error.message().contains("1 more problem"), "{error}");
    let (_, others) = error.details().iter().find(|(key, _)| key == "problems").unwrap();
    assert!(others.to_string().contains(":p/name"), "{others}");
}

#[test]
fn rule_10_a_new_value_retracts_the_old_one() {
    let db = world();
    check(&db, "[[:db/add :x :n/one 5]]", "+[:x :n/one 5] -[:x :n/one 0]");
    // Retracting it too changes nothing.
    check(&db, "[[:db/add :x :n/one 5] [:db/retract :x :n/one 0]]", "+[:x :n/one 5] -[:x :n/one 0]");
    check(&db, "[[:db/add :x :n/one 5] [:db/retract :x :n/one]]", "+[:x :n/one 5] -[:x :n/one 0]");
    check(&db, "[[:db/add :x :n/one 5] [:db/retract :x :n/one 77]]", "+[:x :n/one 5] -[:x :n/one 0]");
    let report = run(&db, "[[:db/add :x :n/one -5]]").unwrap();
    let added: Vec<bool> = report.datoms.iter().filter(|d| d.e.as_tx().is_none()).map(Datom::added).collect();
    assert_eq!(added, [false, true], "the retraction comes first");
    assert_eq!(values(&report.db_after, ":x", "n/one"), [Value::Long(-5)]);
}

#[test]
fn rule_11_unique_values_may_move_and_are_never_shared() {
    let db = world();
    check_error(
        &db,
        r#"[[:db/add :x :p/email "ann@x"]]"#,
        "unique-conflict",
        &[":p/email is unique", "\"ann@x\" belongs to"],
    );
    check(&db, "[[:db/add :x :p/badge 1]]", "unique-conflict");
    check(&db, "[[:db/add :x :p/badge 9] [:db/add :y :p/badge 9]]", "unique-conflict");
    check(
        &db,
        "[[:db/add :ann :p/badge 2] [:db/add :bob :p/badge 1]]",
        "+[:ann :p/badge 2] +[:bob :p/badge 1] -[:ann :p/badge 1] -[:bob :p/badge 2]",
    );
    check(
        &db,
        r#"[[:db/add :x :p/email "ann@x"] [:db/retract :ann :p/email]]"#,
        "+[:x :p/email \"ann@x\"] -[:ann :p/email \"ann@x\"]",
    );
    check(
        &db,
        "[[:db/add :x :p/badge 1] [:db/add :ann :p/badge 3]]",
        "+[:ann :p/badge 3] +[:x :p/badge 1] -[:ann :p/badge 1]",
    );
    // A value that stays by an assertion that changes nothing is not given up.
    check(&db, "[[:db/add :x :p/badge 1] [:db/add :ann :p/badge 1]]", "unique-conflict");
    check(
        &db,
        "[[:db/retractEntity :ann] [:db/add :x :p/badge 1]]",
        &format!("+[:x :p/badge 1] {}", outcome(&run(&db, "[[:db/retractEntity :ann]]"))),
    );
    // Chains and rings of moves.
    check(
        &db,
        "[[:db/add :ann :p/badge 2] [:db/add :bob :p/badge 3] [:db/add :x :p/badge 1]]",
        "+[:ann :p/badge 2] +[:bob :p/badge 3] +[:x :p/badge 1] -[:ann :p/badge 1] -[:bob :p/badge 2]",
    );
}

#[test]
fn rule_13_unknown_ids_are_refused_and_new_ones_come_from_the_value() {
    let db = world();
    let next = db.next_counter();
    for unknown in [next as i64, (4 << 42) | next as i64, i64::MAX, 999, EntityId::of_tx(db.basis_t() + 1).as_long()] {
        check_error(&db, &format!("[[:db/add {unknown} :n/one 1]]"), "not-an-entity", &["there is no entity"]);
        check(&db, &format!("[[:db/add :x :p/friend {unknown}]]"), "not-an-entity");
        check(&db, &format!("[[:db/retract :x :p/friend {unknown}]]"), "not-an-entity");
        check(&db, &format!("[[:db/retractEntity {unknown}]]"), "not-an-entity");
        check(&db, &format!("[{{:db/id {unknown} :n/one 1}}]"), "not-an-entity");
    }
    check(&db, "[[:db/add :nobody :n/one 1]]", "not-an-entity");
    check(&db, r#"[[:db/add [:p/email "nobody@x"] :n/one 1]]"#, "not-an-entity");

    let tx_data = r#"[{:p/name "A" :p/part {:p/name "B"}} [:db/add "c" :p/friend "d"] {:db/id "d" :p/name "D"}]"#;
    let (one, two) = (run(&db, tx_data).unwrap(), run(&db, tx_data).unwrap());
    assert_eq!((&one.datoms, &one.tempids), (&two.datoms, &two.tempids));
    let user = |n| EntityId::new(crate::model::Partition::User, next + n);
    // By first appearance: the map and its part, then "c", then "d", which appears as its value.
    assert_eq!(one.tempids, BTreeMap::from([("c".into(), user(2)), ("d".into(), user(3))]));
    assert_eq!(one.db_after.next_counter(), next + 4);
    // An aborted transaction leaves no trace.
    assert!(run(&db, r#"[{:p/name "A"} [:db/add :nobody :n/one 1]]"#).is_err());
    assert_eq!(db.next_counter(), next);
    // An entity whose facts are all retracted was still given out.
    let gone = after(&one.db_after, &format!("[[:db/retractEntity {}]]", user(0)));
    check(&gone, &format!("[[:db/add {} :n/one 1]]", user(0)), &format!("+[{} :n/one 1]", user(0)));
}

#[test]
fn rule_14_a_nested_map_needs_a_component_or_a_unique_attribute() {
    let db = world();
    check_error(
        &db,
        "[{:db/id :x :p/friend {:p/name \"N\"}}]",
        "invalid-nested-entity",
        &["component attribute above", ":p/friend is none"],
    );
    check(&db, "[{:db/id :x :p/friends [{:p/name \"N\"}]}]", "invalid-nested-entity");
    let new = |facts: &str, v: &str| format!("+[({facts}) {v}]");
    let part = "+[:x :p/part _] +[_ :p/name \"N\"]";
    check(
        &db,
        "[{:db/id :x :p/part {:p/name \"N\"}}]",
        &format!("{} +[:x :p/part ({part})]", new(part, ":p/name \"N\"")),
    );
    check(&db, "[{:db/id :x :p/friend {:p/email \"ann@x\" :n/one 3}}]", "+[:ann :n/one 3] +[:x :p/friend :ann]");
    check(&db, "[{:db/id :x :p/friend {:p/badge 1 :n/one 3}}]", "unique-conflict");
    check(
        &db,
        "[{:db/id :x :p/friends [{:db/id :ann :n/one 3} :bob]}]",
        "+[:ann :n/one 3] +[:x :p/friends :ann] +[:x :p/friends :bob]",
    );
    check(&db, "[[:db/add :x :p/part {:p/name \"N\"}]]", "invalid-tx-data");
    // Components in components.
    let report = run(&db, "[{:db/id :x :p/parts [{:n/one 1 :p/part {:n/one 2}} {:n/one 3}]}]").unwrap();
    assert_eq!(report.db_after.next_counter() - db.next_counter(), 3);
}

#[test]
fn rule_15_retracting_an_entity_takes_references_and_components() {
    let db = world();
    check(
        &db,
        "[[:db/retractEntity :x]]",
        "-[EX :db/ident :x] -[EX :n/flag false] -[EX :n/many 1] -[EX :n/many 2] -[EX :n/one 0] -[:bob :p/friend EX]"
            .replace("EX", &db.entity_of_ident(&"x".into()).unwrap().unwrap().to_string())
            .as_str(),
    );
    let db = after(
        &db,
        r#"[{:db/id "a" :db/ident :a :p/parts [{:db/id "b" :n/one 1 :p/part {:db/id "c" :n/one 2 :p/parts ["a" "b"]}}]}
            {:db/ident :d :p/friends ["b" "c"]}]"#,
    );
    let report = run(&db, "[[:db/retractEntity :a]]").unwrap();
    assert!(report.datoms.iter().all(|datom| !datom.added() || datom.e.as_tx().is_some()));
    // Everything of a, b and c, and both references of d: cyclic components end.
    assert_eq!(report.datoms.len(), 1 + 9);
    let left = report.db_after.datoms(&Pattern::all().e(db.entity_of_ident(&"d".into()).unwrap().unwrap())).unwrap();
    assert_eq!(left.len(), 1, "the ident");
    // None there is no error.
    let d = db.entity_of_ident(&"d".into()).unwrap().unwrap();
    let gone = after(&db, "[[:db/retractEntity :d]]");
    check(&gone, &format!("[[:db/retractEntity {d}]]"), "");
    check(&gone, &format!("[[:db.fn/retractEntity {d}]]"), "");
    check_error(&db, r#"[[:db/retractEntity "new"]]"#, "not-an-entity", &["cannot take the tempid"]);
    check(&db, "[[:db/retractEntity]]", "invalid-tx-data");
    check(&db, "[[:db/retractEntity :x :y]]", "invalid-tx-data");
    check(&db, "[[:db/retractEntity :db/ident]]", "system-entity");
    check(&db, "[[:db/retractEntity :n/one]]", "invalid-alter-attribute");
    check(&db, &format!("[[:db/retractEntity {}]]", EntityId::of_tx(1)), "reset-tx-instant");
}

#[test]
fn rule_16_compare_and_set_knows_no_value_and_false() {
    let db = world();
    check(&db, "[[:db/cas :x :p/name nil \"X\"]]", "+[:x :p/name \"X\"]");
    check_error(&db, "[[:db/cas :x :n/one nil 1]]", "cas-failed", &["is 0, not nil"]);
    check(&db, "[[:db/cas :x :n/flag false true]]", "+[:x :n/flag true] -[:x :n/flag false]");
    check(&db, "[[:db/cas :x :n/flag nil true]]", "cas-failed");
    check(&db, "[[:db/cas :y :n/flag nil false]]", "+[:y :n/flag false]");
    check(&db, "[[:db/cas :y :n/flag false true]]", "cas-failed");
    check(&db, "[[:db.fn/cas :x :n/one 0 1]]", "+[:x :n/one 1] -[:x :n/one 0]");
    check(&db, "[[:db/cas :x :n/one 0 0]]", "");
    check(&db, "[[:db/cas [:p/email \"bob@x\"] :p/friend :x :y]]", "+[:bob :p/friend :y] -[:bob :p/friend :x]");
    check(&db, "[[:db/cas :bob :p/friend [:p/email \"ann@x\"] :y]]", "cas-failed");
    let friend = "(+[:bob :p/friend _] +[_ :n/one 4])";
    check(
        &db,
        r#"[[:db/cas :bob :p/friend :x "n"] [:db/add "n" :n/one 4]]"#,
        &format!("+[{friend} :n/one 4] +[:bob :p/friend {friend}] -[:bob :p/friend :x]"),
    );
    check_error(&db, "[[:db/cas :x :n/many 1 2]]", "cas-cardinality-many", &[":n/many"]);
    check(&db, "[[:db/cas :x :n/one 0]]", "invalid-tx-data");
    check(&db, "[[:db/cas :x :n/one 0.0 1]]", "wrong-type-for-attribute");
    check(&db, "[[:db/cas \"new\" :n/one nil 1]]", "not-an-entity");
    let error = run(&db, "[[:db/cas :x :n/one 5 1]]").unwrap_err();
    assert_eq!(error.category(), Category::Conflict);
    assert!(error.details().contains(&("v".into(), Edn::Long(0))), "{:?}", error.details());
}

#[test]
fn rule_20_instants_never_go_back() {
    let db = world();
    let at = |tx_data: &str, now: i64| {
        transact(&db, &edn::read(tx_data).unwrap(), Instant(now), &functions(), &TxLimits::default())
    };
    assert_eq!(at("[]", NOW.0 + 5).unwrap().instant, Instant(NOW.0 + 5));
    // The clock is behind: the last instant again.
    assert_eq!(at("[]", NOW.0 - 5).unwrap().instant, NOW);
    assert_eq!(at("[[:test/now :x]]", NOW.0 - 5).unwrap().datoms.len(), 2);

    let explicit = |ms: i64| format!("[{{:db/id \"datomic.tx\" :db/txInstant #inst \"{}\"}}]", Instant(ms));
    assert_eq!(at(&explicit(NOW.0 + 3), NOW.0 + 5).unwrap().instant, Instant(NOW.0 + 3));
    assert_eq!(at(&explicit(NOW.0), NOW.0 + 5).unwrap().instant, NOW);
    assert_eq!(at(&explicit(NOW.0), NOW.0 - 5).unwrap().instant, NOW);
    assert_eq!(at(&explicit(NOW.0 - 1), NOW.0 + 5).unwrap_err().code(), "db.error/past-tx-instant");
    assert_eq!(at(&explicit(NOW.0 + 6), NOW.0 + 5).unwrap_err().code(), "db.error/future-tx-instant");
    let list = format!("[[:db/add \"diachron.tx\" :db/txInstant #inst \"{}\"] [:test/now :x]]", Instant(NOW.0 + 2));
    let report = at(&list, NOW.0 + 5).unwrap();
    assert_eq!(report.instant, Instant(NOW.0 + 2));
    assert_eq!(values(&report.db_after, ":x", "v/instant"), [Value::Instant(Instant(NOW.0 + 2))], "functions see it");

    let two =
        "[{:db/id \"datomic.tx\" :db/txInstant #inst \"2030\"} [:db/add \"datomic.tx\" :db/txInstant #inst \"2031\"]]";
    check_error(&db, two, "datoms-conflict", &["2030", "2031"]);
    // A function comes too late to set it.
    check(&db, "[[:test/quote [:db/add \"datomic.tx\" :db/txInstant #inst \"2030\"]]]", "datoms-conflict");
    check(&db, "[[:db/add :x :db/txInstant #inst \"2030\"]]", "reset-tx-instant");
    check(&db, &format!("[[:db/retract {} :db/txInstant]]", EntityId::of_tx(1)), "reset-tx-instant");
    check(&db, "[{:db/id \"datomic.tx\" :db/txInstant 5}]", "wrong-type-for-attribute");
}

#[test]
fn rule_20_the_first_transaction_may_have_any_instant() {
    let report = run(&Db::bootstrap(), "[{:db/id \"datomic.tx\" :db/txInstant #inst \"1900-01-01\"}]").unwrap();
    assert_eq!((report.t, report.instant), (1, Instant::parse("1900-01-01").unwrap()));
    assert_eq!(report.db_after.last_instant(), Some(report.instant));
}

#[test]
fn rule_21_errors_carry_category_code_and_the_tempids_that_resolved() {
    let db = world();
    let error = run(&db, r#"[{:db/id "a" :p/email "ann@x" :n/one 1} [:db/add "a" :n/one 2] {:db/id "n" :p/name "N"}]"#)
        .unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Conflict, "db.error/datoms-conflict"));
    let detail = |key: &str| &error.details().iter().find(|(k, _)| k == key).unwrap().1;
    let ann = db.entity_of_ident(&"ann".into()).unwrap().unwrap();
    assert_eq!(detail("tempids").to_string(), format!("{{\"a\" {ann}}}"));
    assert_eq!(detail("datoms").to_string(), format!("[[:db/add {ann} :n/one 1] [:db/add {ann} :n/one 2]]"));
    // A new entity is called by its tempid.
    check_error(
        &db,
        r#"[[:db/add "n" :n/one 1] [:db/add "n" :n/one 2]]"#,
        "datoms-conflict",
        &[r#"[:db/add "n" :n/one 1]"#],
    );
    assert_eq!(run(&db, "5").unwrap_err().category(), Category::Incorrect);
    assert_eq!(run(&db, "[[:db/cas :x :n/one 1 2]]").unwrap_err().category(), Category::Conflict);
    assert_eq!(run(&db, "[[:db/add :nobody :n/one 2]]").unwrap_err().category(), Category::NotFound);
}

#[test]
fn rule_23_what_is_no_tx_data_is_refused() {
    let db = world();
    for tx_data in [
        "nil",
        "5",
        "\"text\"",
        ":x",
        "x",
        "{:db/id :x :n/one 1}",
        "#{[:db/add :x :n/one 1]}",
        "[nil]",
        "[5]",
        "[\"text\"]",
        "[[]]",
        "[[5]]",
        "[[nil nil]]",
        "[[\"db/add\" :x :n/one 1]]",
        "[[:db/add]]",
        "[[:db/add :x]]",
        "[[:db/add :x :n/one]]",
        "[[:db/add :x :n/one 1 2]]",
        "[[:db/retract]]",
        "[[:db/retract :x]]",
        "[[:db/retract :x :n/one 1 2]]",
        "[[[:db/add :x :n/one 1]]]",
        "[#inst \"2024\"]",
        "[#foo [1]]",
        "[()]",
        "[{:db/id :x :db/id :y}]",
    ] {
        let Ok(form) = edn::read(tx_data) else { continue };
        let error = run_form(&db, &form).unwrap_err();
        assert_eq!(error.code(), "db.error/invalid-tx-data", "{tx_data}: {error}");
        assert_eq!(error.category(), Category::Incorrect);
    }
    for (tx_data, code) in [
        ("[[:db/add :x 5 1]]", "not-an-entity"),
        ("[[:db/add :x \"n/one\" 1]]", "not-an-attribute"),
        ("[{\"n/one\" 1}]", "not-an-attribute"),
        ("[{nil 1}]", "not-an-attribute"),
        ("[[:db/add 1.5 :n/one 1]]", "not-an-entity"),
        ("[[:db/add {} :n/one 1]]", "not-an-entity"),
        ("[[:db/add [] :n/one 1]]", "invalid-lookup-ref"),
        ("[[:db/add [:n/one 0] :n/one 1]]", "invalid-lookup-ref"),
        ("[[:db/add [:p/email nil] :n/one 1]]", "invalid-lookup-ref"),
        ("[[:db/add [:p/email \"a\" 1] :n/one 1]]", "invalid-lookup-ref"),
        ("[[:db/add [:p/email 5] :n/one 1]]", "wrong-type-for-attribute"),
        ("[[:db/add [:p/none 5] :n/one 1]]", "not-an-entity"),
    ] {
        check(&db, tx_data, code);
    }
}

#[test]
fn rule_23_deep_and_huge_forms_are_refused_without_harm() {
    let db = world();
    // As deep as a reader lets through, and a lookup ref in a lookup ref in …
    let mut nested = Edn::keyword("x");
    for _ in 0..200 {
        nested = Edn::Vector(vec![Edn::keyword("p/twin"), nested]);
    }
    let tx_data = Edn::Vector(vec![assertion(nested.clone(), Edn::keyword("n/one"), Edn::Long(1))]);
    assert_eq!(run_form(&db, &tx_data).unwrap_err().code(), "db.error/invalid-lookup-ref");
    assert_eq!(run_form(&db, &nested).unwrap_err().code(), "db.error/invalid-tx-data");
    let mut map = Edn::Map(vec![(Edn::keyword("n/one"), Edn::Long(1))]);
    for _ in 0..200 {
        map = Edn::Map(vec![(Edn::keyword("p/part"), map)]);
    }
    let error = run_form(&db, &Edn::Vector(vec![map])).unwrap_err();
    assert_eq!(error.code(), "db.error/expansion-too-deep");
    assert!(error.message().len() < 2000, "{}", error.message().len());
}

#[test]
fn a_transaction_applies_to_no_view() {
    let db = world();
    for view in [db.history(), db.as_of(1), db.since(1)] {
        check(&view, "[]", "filtered-database");
    }
}
