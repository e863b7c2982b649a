//! Rules 5 and 24–34 of docs/rules.md by number.

use super::*;

#[test]
fn rule_5_one_and_one_point_zero_do_not_unify_but_compare_equal() {
    check("[:find [?n ...] :where [?e :p/age 20] [?e :p/name ?n]]", &["$"], r#"["Bob" "Cid"]"#);
    check("[:find [?e ...] :where [?e :p/age 20.0]]", &["$"], "[]");
    check("[:find [?n ...] :where [?e :p/age ?a] [(= ?a 20.0)] [?e :p/name ?n]]", &["$"], r#"["Bob" "Cid"]"#);
    check("[:find [?a ...] :where [?e :p/age ?a] [(< ?a 30.5)]]", &["$"], "[20 30]");
    check("[:find [?h ...] :where [?e :p/height ?h] [(> ?h 1)]]", &["$"], "[1.7 1.8]");
    check("[:find [?x ...] :in [?x ...] [?y ...] :where [(= ?x ?y)]]", &["[1 2]", "[1.0 3]"], "[1]");
    check("[:find [?x ...] :in [[?x]] $r :where [$r ?x]]", &["[[1] [2.0]]", "[[1.0] [2.0]]"], "[2.0]");
}

#[test]
fn rule_5_nan_equals_nothing_and_big_decimals_mind_their_scale() {
    check("[:find ?n ?h :where [?e :p/height ?h] [?e :p/name ?n] [(< ?n \"B\")]]", &["$"], r#"[["Ann" 1.7]]"#);
    check("[:find (count ?h) . :where [?e :p/height ?h]]", &["$"], "3");
    check("[:find [?n ...] :where [?e :p/height ##NaN] [?e :p/name ?n]]", &["$"], "[]");
    check("[:find [?n ...] :where [?e :p/height ?h] [?f :p/height ?h] [?e :p/name ?n]]", &["$"], r#"["Ann" "Bob"]"#);
    check("[:find [?n ...] :where [?e :p/height ?h] [(= ?h ?h)] [?e :p/name ?n]]", &["$"], r#"["Ann" "Bob"]"#);
    check("[:find [?n ...] :where [?e :p/price 1.5M] [?e :p/name ?n]]", &["$"], "[]");
    check("[:find [?n ...] :where [?e :p/price 1.50M] [?e :p/name ?n]]", &["$"], r#"["Ann"]"#);
}

#[test]
fn rule_24_find_specs() {
    let age = ":where [?e :p/name ?n] [?e :p/age ?a]";
    let all = r#"[["Ann" 30] ["Bob" 20] ["Cid" 20] ["Dot" 41]]"#;
    check(&format!("[:find ?n ?a {age}]"), &["$"], all);
    check(&format!("[:find [?a ...] {age}]"), &["$"], "[20 30 41]");
    check(&format!("[:find [?n ?a] {age}]"), &["$"], r#"["Ann" 30]"#);
    check(&format!("[:find ?a . {age}]"), &["$"], "20");
    check("[:find ?a . :where [?e :p/name \"Eve\"] [?e :p/age ?a]]", &["$"], "nil");
    check("[:find [?e ?a] :where [?e :p/name \"Eve\"] [?e :p/age ?a]]", &["$"], "nil");
    check("[:find ?n ?n :where [?e :p/name ?n] [?e :p/age 30]]", &["$"], r#"[["Ann" "Ann"]]"#);
    check(&format!("[:find ?n ?a :keys name age {age} [(= ?a 30)]]"), &["$"], r#"[{:name "Ann" :age 30}]"#);
    check(&format!("[:find ?n ?a :strs name age {age} [(= ?a 30)]]"), &["$"], r#"[{"name" "Ann" "age" 30}]"#);
    check(&format!("[:find [?n ?a] :syms name age {age} [(= ?a 30)]]"), &["$"], r#"{name "Ann" age 30}"#);
    let map = "{:find [?n] :in [$ ?a] :where [[?e :p/age ?a] [?e :p/name ?n]]}";
    check(map, &["$", "30"], r#"[["Ann"]]"#);
}

#[test]
fn rule_24_inputs_bind_scalars_tuples_collections_and_relations() {
    let of = |bindings: &str| format!("[:find ?n ?x :in $ {bindings} :where [?e :p/age ?a] [?e :p/name ?n]]");
    check(&of("[?a ?x]"), &["$", "[30 :t]"], r#"[["Ann" :t]]"#);
    check(&of("[[?a ?x]]"), &["$", "[[30 1] [20 2] [99 3]]"], r#"[["Ann" 1] ["Bob" 2] ["Cid" 2]]"#);
    check(&of("[[?a _ ?x]]"), &["$", "[[30 0 1]]"], r#"[["Ann" 1]]"#);
    check(&of("?a ?x"), &["$", "41", "\"s\""], r#"[["Dot" "s"]]"#);
    check(&of("[?a ...] ?x"), &["$", "[30 41 41]", "1"], r#"[["Ann" 1] ["Dot" 1]]"#);
    check(&of("[?a ...] ?x"), &["$", "[]", "1"], "[]");
    check(&of("_ ?a ?x"), &["$", ":ignored", "30", "1"], r#"[["Ann" 1]]"#);
    check("[:find ?x ?y :in [?x ...] [?y ...]]", &["[1 2]", "[:a]"], "[[1 :a] [2 :a]]");
}

#[test]
fn rule_24_pulls_in_find() {
    let by_name = ":where [?e :p/name \"Ann\"]";
    check(&format!("[:find (pull ?e [:p/name :p/age]) . {by_name}]"), &["$"], r#"{:p/name "Ann" :p/age 30}"#);
    check(&format!("[:find (pull $ ?e pattern) . :in $ pattern {by_name}]"), &["$", "[:p/age]"], "{:p/age 30}");
    let grouped = "[:find (pull ?b [:p/name]) (count ?e) :where [?e :p/boss ?b]]";
    check(grouped, &["$"], r#"[[{:p/name "Ann"} 1] [{:p/name "Bob"} 2]]"#);
    check("[:find (pull ?e [:p/name]) . :in $ ?e]", &["$", "[:p/name \"Cid\"]"], r#"{:p/name "Cid"}"#);
}

#[test]
fn rule_25_answers_are_sets_and_with_keeps_a_bag() {
    check("[:find ?a :where [_ :p/age ?a]]", &["$"], "[[20] [30] [41]]");
    check("[:find (sum ?a) . :where [_ :p/age ?a]]", &["$"], "91");
    check("[:find (sum ?a) . :with ?e :where [?e :p/age ?a]]", &["$"], "111");
    check("[:find [?a ...] :with ?e :where [?e :p/age ?a]]", &["$"], "[20 20 30 41]");
    check("[:find ?a (count ?e) :where [?e :p/age ?a]]", &["$"], "[[20 2] [30 1] [41 1]]");
    check("[:find (count ?e) :where [?e :p/age 99]]", &["$"], "[]");
    check("[:find (count ?e) . :where [?e :p/age 99]]", &["$"], "nil");
    check("[:find (sum ?x) ?y :in [[?x ?y]]]", &["[[1 :a] [1 :a] [2 :a] [5 :b]]"], "[[3 :a] [5 :b]]");
}

#[test]
fn rule_26_what_is_drawn_by_chance_hangs_on_the_seed_and_on_nothing_else() {
    let rows = format!("[{}]", (0..100).map(|i| format!("[:g{} {i} {}]", i % 3, i / 2)).collect::<Vec<_>>().join(" "));
    let text = "[:find ?g (rand ?x) (rand 7 ?x) (sample 7 ?x) (sample 99 ?x) :with ?i :in [[?g ?i ?x]]]";
    let query = Query::parse(&read(text)).unwrap();
    let draw = |rows: &str, seed: u64| {
        let options = Options { seed, ..Options::default() };
        query_with(&query, &[Input::Value(read(rows))], &options, &Budget::unlimited()).unwrap().rows
    };
    let reversed = format!("[{}]", (0..100).rev().map(|i| format!("[:g{} {i} {}]", i % 3, i / 2)).collect::<String>());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let drawn = draw(&rows, seed);
        assert_eq!(drawn, draw(&reversed, seed), "seed {seed}: the order of the rows decides nothing");
        for row in &drawn {
            let Edn::Keyword(group) = Edn::from(&row[0]) else { panic!("{row:?}") };
            let group: i64 = group.as_str()[1..].parse().unwrap();
            let of_group = |item: &Item| {
                let Edn::Long(x) = Edn::from(item) else { panic!("{item:?}") };
                assert!((2 * x) % 3 == group || (2 * x + 1) % 3 == group, "{x} is none of group {group}");
                x
            };
            let all = |item: &Item| match item {
                Item::Vector(items) => items.iter().map(of_group).collect::<Vec<i64>>(),
                other => panic!("{other:?}"),
            };
            of_group(&row[1]);
            let (some, different, every) = (all(&row[2]), all(&row[3]), all(&row[4]));
            let set = |xs: &[i64]| xs.iter().copied().collect::<std::collections::BTreeSet<i64>>();
            assert_eq!((some.len(), different.len(), set(&different).len()), (7, 7, 7), "seed {seed}");
            assert_eq!(set(&every).len(), every.len(), "seed {seed}: a sample of more than there are holds each once");
            assert!(every.len() >= 33, "seed {seed}");
            seen.extend(different);
        }
    }
    assert_eq!(seen.len(), 50, "what can be drawn is drawn now and then");
    assert_ne!(draw(&rows, 1), draw(&rows, 2));
}

#[test]
fn lesson_18_draws_end_within_the_budget() {
    let limits = crate::budget::Limits { rows_max: 10_000_000, bytes_max: 4 << 20 };
    for text in ["[:find ?x (rand 1000000 ?x) :in [?x ...]]", "[:find ?x (sample 1000000000000 ?x) :in [?x ...]]"] {
        let query = Query::parse(&read(text)).unwrap();
        let budget = Budget::new(limits, &crate::budget::Uninterrupted);
        let found = query_with(&query, &inputs(&people(), &["[1 2 3 4]"]), &Options::default(), &budget);
        match found {
            Err(error) => assert_eq!(error.code(), "db.error/byte-limit", "{text}"),
            Ok(answer) => assert_eq!(answer.to_edn(), read("[[1 [1]] [2 [2]] [3 [3]] [4 [4]]]"), "{text}"),
        }
    }
}

#[test]
fn rule_26_aggregates() {
    let of = |aggregate: &str| format!("[:find ({aggregate} ?x) . :with ?i :in [[?i ?x]]]");
    let longs = "[[1 4] [2 4] [3 1] [4 10]]";
    for (aggregate, expected) in [
        ("count", "4"),
        ("count-distinct", "3"),
        ("sum", "19"),
        ("avg", "4.75"),
        ("min", "1"),
        ("max", "10"),
        ("min 2", "[1 4]"),
        ("max 2", "[10 4]"),
        ("max 9", "[10 4 4 1]"),
        ("median", "4"),
        ("variance", "10.6875"),
        ("stddev", "3.2691742076555053"),
        ("distinct", "#{1 4 10}"),
    ] {
        check(&of(aggregate), &[longs], expected);
    }
    check(&of("median"), &["[[1 1] [2 2]]"], "1.5");
    check(&of("avg"), &["[[1 1] [2 3]]"], "2.0");
    check(&of("sum"), &["[[1 1] [2 0.5]]"], "1.5");
    check(&of("sum"), &["[[1 1.10M] [2 2]]"], "3.10M");
    check(&of("min"), &["[[1 \"b\"] [2 \"a\"]]"], "\"a\"");
    check(&of("max"), &["[[1 :b] [2 :a]]"], ":b");
    check("[:find (min ?a) (max ?a) (avg ?a) :where [_ :p/age ?a]]", &["$"], "[[20 41 30.333333333333332]]");
    refused(&of("sum"), &["[[1 9223372036854775807] [2 1]]"], "arithmetic", "overflows");
    refused(&of("sum"), &["[[1 :a]]"], "wrong-type-for-aggregate", "sum takes numbers, not :a");
    refused(&of("cuont"), &[longs], "unknown-aggregate", "near it: count");
}

#[test]
fn rule_27_patterns_join_over_several_sources_and_relations() {
    check(
        "[:find ?n ?m :where [?e :p/name ?n] [?e :p/friends ?f] [?f :p/name ?m] [?f :p/friends ?e]]",
        &["$"],
        r#"[["Ann" "Cid"] ["Cid" "Ann"] ["Dot" "Dot"]]"#,
    );
    check(
        "[:find ?n ?x :in $ $r :where [?e :p/name ?n] [?e :p/age ?a] [$r ?a ?x]]",
        &["$", "[[30 :thirty] [20 :twenty]]"],
        r#"[["Ann" :thirty] ["Bob" :twenty] ["Cid" :twenty]]"#,
    );
    check("[:find ?x :in $r :where [$r ?x ?x]]", &["[[1 1] [1 2] [3 3]]"], "[[1] [3]]");
    check("[:find ?x :in $r :where [$r ?x _ :k]]", &["[[1 1 :k] [2 2 :l]]"], "[[1]]");
    check(
        "[:find ?n :in $ $r :where [?e :p/name ?n] ($r not [?n])]",
        &["$", "[[\"Ann\"] [\"Bob\"]]"],
        r#"[["Cid"] ["Dot"]]"#,
    );
    let tx = "[:find (count ?tx) . :where [?e :p/name _ ?tx]]";
    check(tx, &["$"], "1");
    check("[:find ?n :where [?e :p/name ?n ?tx true] [?e :p/age 30 ?tx]]", &["$"], r#"[["Ann"]]"#);
}

#[test]
fn rule_27_functions_bind_scalars_tuples_collections_and_relations() {
    check(
        "[:find ?n ?b :where [?e :p/name ?n] [?e :p/age ?a] [(+ ?a 1) ?b] [(> ?b 30)]]",
        &["$"],
        r#"[["Ann" 31] ["Dot" 42]]"#,
    );
    check("[:find ?x ?y :where [(ground [1 2]) [?x ?y]]]", &["$"], "[[1 2]]");
    check("[:find [?x ...] :where [(ground [1 2 2]) [?x ...]]]", &["$"], "[1 2]");
    check("[:find ?x ?y :where [(ground [[1 2] [3 4]]) [[?x ?y]]]]", &["$"], "[[1 2] [3 4]]");
    check("[:find ?x ?y :where [(ground [[1 2 3] [3 4 5]]) [[?x _ ?y]]]]", &["$"], "[[1 3] [3 5]]");
    check("[:find ?t :where [(tuple 1 \"a\") ?t]]", &["$"], "[[[1 \"a\"]]]");
    check("[:find ?b :where [(tuple 1 \"a\") ?t] [(untuple ?t) [_ ?b]]]", &["$"], "[[\"a\"]]");
    check("[:find ?n :in $ ?x :where [?e :p/age ?a] [?e :p/name ?n] [(- ?a 10) ?x]]", &["$", "20"], r#"[["Ann"]]"#);
    check("[:find ?a ?b :where [?e :p/age ?a] [(identity ?a) ?b] [?f :p/age ?b] [(< ?b 30)]]", &["$"], "[[20 20]]");
    check(
        "[:find ?e2 :where [?e :p/name \"Ann\"] [(identity ?e) ?x] [?x :p/friends ?f] [?f :p/name ?e2]]",
        &["$"],
        r#"[["Bob"] ["Cid"]]"#,
    );
}

#[test]
fn rule_27_not_and_not_join() {
    check("[:find [?n ...] :where [?e :p/name ?n] (not [?e :p/boss _])]", &["$"], r#"["Ann"]"#);
    check("[:find [?n ...] :where [?e :p/name ?n] (not [?e :p/age ?a] [(> ?a 25)])]", &["$"], r#"["Bob" "Cid"]"#);
    check(
        "[:find [?n ...] :where [?e :p/name ?n] (not-join [?e] [?e :p/friends ?f] [?f :p/age ?a] [(> ?a 25)])]",
        &["$"],
        r#"["Ann" "Bob"]"#,
    );
    // The inner variable of a not-join is not the outer one of the same name.
    check(
        "[:find ?n ?f :where [?e :p/name ?n] [?e :p/age ?f] (not-join [?e] [?e :p/friends ?f] [?f :p/age 20])]",
        &["$"],
        r#"[["Cid" 20] ["Dot" 41]]"#,
    );
    check("[:find [?n ...] :where [?e :p/name ?n] (not (not [?e :p/boss _]))]", &["$"], r#"["Bob" "Cid" "Dot"]"#);
    check("[:find ?a ?b :in [?a ...] [?b ...] :where (not [(= ?a ?b)])]", &["[1 2]", "[2 3]"], "[[1 2] [1 3] [2 3]]");
}

#[test]
fn rule_27_or_and_or_join() {
    check("[:find [?n ...] :where [?e :p/name ?n] (or [?e :p/age 30] [?e :p/tags :x])]", &["$"], r#"["Ann" "Bob"]"#);
    check(
        "[:find [?n ...] :where [?e :p/name ?n] (or [?e :p/age 41] (and [?e :p/tags :x] [?e :p/age 20]))]",
        &["$"],
        r#"["Bob" "Dot"]"#,
    );
    check(
        "[:find ?n ?x :where [?e :p/name ?n] (or-join [?e ?x] (and [?e :p/age ?y] [(* ?y 2) ?x]) [?e :p/tags ?x])]",
        &["$"],
        r#"[["Ann" 60] ["Ann" :x] ["Ann" :y] ["Bob" 40] ["Bob" :x] ["Cid" 40] ["Dot" 82]]"#,
    );
    check(
        "[:find [?n ...] :where [?e :p/name ?n] [?e :p/age ?a]
          (or-join [[?a]] [(= ?a 30)] (and [(> ?a 40)] [(< ?a 50)]))]",
        &["$"],
        r#"["Ann" "Dot"]"#,
    );
    check(
        "[:find [?n ...] :where [?e :p/name ?n] [?e :p/boss ?b] (or [?b :p/name \"Ann\"] (not [?b :p/kind :kind/bad]))]",
        &["$"],
        r#"["Bob"]"#,
    );
    check("[:find [?x ...] :where (or [(ground 1) ?x] [(ground 2) ?x])]", &["$"], "[1 2]");
    check(
        "[:find [?n ...] :in $ $r :where ($r or [?n 1] [?n 2]) [?e :p/name ?n]]",
        &["$", "[[\"Ann\" 1] [\"Bob\" 3]]"],
        r#"["Ann"]"#,
    );
}

#[test]
fn rule_29_blanks_do_not_unify_and_a_variable_unifies_with_itself() {
    check("[:find [?n ...] :where [?e :p/friends ?e] [?e :p/name ?n]]", &["$"], r#"["Dot"]"#);
    check("[:find (count ?e) . :where [?e :p/friends _] [_ :p/boss _]]", &["$"], "4");
    check("[:find [?n ...] :where [?e :p/boss _] [?e :p/name ?n] [_ :p/age _]]", &["$"], r#"["Bob" "Cid" "Dot"]"#);
}

#[test]
fn rule_31_functions_over_the_database() {
    check(
        "[:find ?n ?k :where [?e :p/name ?n] [(get-else $ ?e :p/height -1.0) ?k] [(< ?k 1.75)]]",
        &["$"],
        r#"[["Ann" 1.7] ["Cid" -1.0]]"#,
    );
    check("[:find [?n ...] :where [?e :p/name ?n] [(missing? $ ?e :p/height)]]", &["$"], r#"["Cid"]"#);
    check(
        "[:find ?n ?i ?v :where [?e :p/name ?n] [(get-some $ ?e :p/boss :p/worth) [?a ?v]] [?a :db/ident ?i] [(= ?i :p/worth)]]",
        &["$"],
        r#"[["Ann" :p/worth 5N]]"#,
    );
    check("[:find ?v . :in $ ?e :where [(get-else $ ?e :p/age 0) ?v]]", &["$", "[:p/name \"Bob\"]"], "20");
    check("[:find [?n ...] :where [?e :p/name ?n] [(starts-with? ?n \"A\")]]", &["$"], r#"["Ann"]"#);
    check(
        "[:find [?u ...] :where [_ :p/name ?n] [(re-find \"o[bt]$\" ?n) ?m] [(str ?n \"-\" ?m) ?u]]",
        &["$"],
        r#"["Bob-ob" "Dot-ot"]"#,
    );
    check(
        "[:find [?n ...] :where [?e :p/name ?n] [?e :p/age ?a] [(even? ?a)] [(<= 20 ?a 29)]]",
        &["$"],
        r#"["Bob" "Cid"]"#,
    );
    check("[:find [?n ...] :where [?e :p/born ?b] [(< ?b #inst \"1991\")] [?e :p/name ?n]]", &["$"], r#"["Ann"]"#);
    refused(
        "[:find ?v :where [?e :p/age] [(get-else $ ?e :p/tags :none) ?v]]",
        &["$"],
        "invalid-function-use",
        "cardinality one, which :p/tags is not",
    );
    refused("[:find ?v :where [?e :p/age] [(get-else $ ?e :p/age nil) ?v]]", &["$"], "nil-value", "nil as its default");
}

#[test]
fn rule_32_false_nil_and_empty_collections_drop_rows() {
    check("[:find [?x ...] :in [?x ...] :where [(identity ?x)]]", &["[1 false true]"], "[1 true]");
    check("[:find [?n ...] :where [?e :p/name ?n] [(re-find \"x\" ?n) ?m]]", &["$"], "[]");
    check("[:find ?x ?y :in [?x ...] :where [(ground []) [?y ...]]]", &["[1]"], "[]");
    check("[:find ?x ?y :in [?x ...] :where [(ground [[1] [2]]) [[?y]]]]", &["[7]"], "[[7 1] [7 2]]");
}

#[test]
fn rule_34_idents_lookup_refs_and_ids_stand_for_entities() {
    let db = people();
    let ann = run("[:find ?e . :where [?e :p/name \"Ann\"]]", &inputs(&db, &["$"])).unwrap().to_edn().to_string();
    // Constants in the body.
    check("[:find ?a . :where [[:p/name \"Ann\"] :p/age ?a]]", &["$"], "30");
    check(&format!("[:find ?a . :where [{ann} :p/age ?a]]"), &["$"], "30");
    check("[:find [?n ...] :where [?e :p/boss [:p/name \"Bob\"]] [?e :p/name ?n]]", &["$"], r#"["Cid" "Dot"]"#);
    check("[:find [?n ...] :where [?e :p/kind :kind/good] [?e :p/name ?n]]", &["$"], r#"["Ann"]"#);
    check("[:find ?t . :where [:p/age :db/valueType ?v] [?v :db/ident ?t]]", &["$"], ":db.type/long");
    check("[:find ?a . :where [[:p/name \"Nobody\"] :p/age ?a]]", &["$"], "nil");
    check("[:find ?a . :where [:no/ident :p/age ?a]]", &["$"], "nil");
    // Inputs of all shapes, in e and in v.
    for e in [ann.as_str(), "[:p/name \"Ann\"]"] {
        check("[:find ?a . :in $ ?e :where [?e :p/age ?a]]", &["$", e], "30");
        check("[:find [?n ...] :in $ ?b :where [?e :p/boss ?b] [?e :p/name ?n]]", &["$", e], r#"["Bob"]"#);
        let both = format!("[{e} [:p/name \"Bob\"]]");
        check("[:find [?a ...] :in $ [?e ...] :where [?e :p/age ?a]]", &["$", &both], "[20 30]");
        check(
            "[:find [?n ...] :in $ [?b ...] :where [?e :p/boss ?b] [?e :p/name ?n]]",
            &["$", &both],
            r#"["Bob" "Cid" "Dot"]"#,
        );
        let pairs = format!("[[{e} 1] [[:p/name \"Bob\"] 2]]");
        check("[:find ?a ?x :in $ [[?e ?x]] :where [?e :p/age ?a]]", &["$", &pairs], "[[20 2] [30 1]]");
        check("[:find ?a ?x :in $ [?e ?x] :where [?e :p/age ?a]]", &["$", &format!("[{e} 7]")], "[[30 7]]");
        check("[:find ?n . :in $ $r :where [$r ?e] [?e :p/name ?n]]", &["$", &format!("[[{e}]]")], "\"Ann\"");
    }
    check("[:find [?n ...] :in $ ?k :where [?e :p/kind ?k] [?e :p/name ?n]]", &["$", ":kind/bad"], r#"["Bob"]"#);
    check(
        "[:find [?n ...] :in $ [?k ...] :where [?e :p/kind ?k] [?e :p/name ?n]]",
        &["$", "[:kind/bad :kind/good]"],
        r#"["Ann" "Bob"]"#,
    );
    // One input as an entity and as a value.
    check("[:find ?n . :in $ ?k :where [?e :p/attr ?k] [?k :db/ident _] [?e :p/name ?n]]", &["$", ":p/age"], "\"Ann\"");
    check(
        "[:find ?n ?k :in $ [?k ...] :where [?e :p/attr ?k] [?k :db/ident _] [?e :p/name ?n]]",
        &["$", "[:p/age :p/name :p/none]"],
        r#"[["Ann" :p/age] ["Cid" :p/name]]"#,
    );
    // A keyword that a datom has is a value, no ident.
    check("[:find ?n :where [?e :p/attr ?k] [?k :db/ident ?n]]", &["$"], "[]");
}

#[test]
fn rule_34_each_clause_resolves_against_its_own_source() {
    let db = people();
    let other =
        transacted(&transacted(&Db::bootstrap(), SCHEMA), r#"[{:p/name "Zoe" :p/age 1} {:p/name "Ann" :p/age 2}]"#);
    let query = "[:find ?x ?y :in $a $b [?e ...] :where [$a ?e :p/age ?x] [$b ?e :p/age ?y]]";
    let inputs = [Input::Db(db), Input::Db(other), Input::Value(read("[[:p/name \"Ann\"] [:p/name \"Bob\"]]"))];
    assert_eq!(run(query, &inputs).unwrap().to_edn(), read("[[30 2]]"));
}

#[test]
fn attributes_may_be_variables() {
    check("[:find ?v . :in $ ?a :where [[:p/name \"Ann\"] ?a ?v]]", &["$", ":p/age"], "30");
    check(
        "[:find ?i ?v :in $ [?a ...] :where [?e ?a ?v] [?e :p/name \"Ann\"] [?a :db/ident ?i]]",
        &["$", "[:p/age :p/name]"],
        r#"[[:p/age 30] [:p/name "Ann"]]"#,
    );
    check(
        "[:find [?i ...] :where [?e :p/name \"Dot\"] [?e ?a _] [?a :db/ident ?i]]",
        &["$"],
        "[:p/age :p/boss :p/friends :p/height :p/name]",
    );
    check("[:find [?n ...] :where [?e ?a 20] [?e :p/name ?n]]", &["$"], r#"["Bob" "Cid"]"#);
    check("[:find [?i ...] :where [_ ?a [:p/name \"Bob\"]] [?a :db/ident ?i]]", &["$"], "[:p/boss :p/friends]");
    check("[:find [?i ...] :where [?f :p/name \"Bob\"] [_ ?a ?f] [?a :db/ident ?i]]", &["$"], "[:p/boss :p/friends]");
}

#[test]
fn ranges_reach_the_index_and_mean_the_same_without_one() {
    check("[:find [?a ...] :where [?e :p/age ?a] [(> ?a 20)] [(<= ?a 30)]]", &["$"], "[30]");
    check("[:find [?a ...] :in $ ?x :where [?e :p/age ?a] [(< ?x ?a)]]", &["$", "30"], "[41]");
    check("[:find [?a ...] :where [?e :p/age ?a] [(> ?a 30)] [(< ?a 30)]]", &["$"], "[]");
    check("[:find [?h ...] :where [?e :p/height ?h] [(>= ?h 1.8)]]", &["$"], "[1.8]");
    check("[:find [?w ...] :where [?e :p/worth ?w] [(> ?w 4)]]", &["$"], "[5N]");
    check("[:find [?w ...] :where [?e :p/weight ?w] [(> ?w 60)]]", &["$"], "[60.5]");
    check("[:find [?n ...] :where [?e :p/name ?n] [(= ?n \"Ann\")]]", &["$"], r#"["Ann"]"#);
    check("[:find [?e ...] :where [?e :p/weight 60.5] [?e :p/worth 5] [?e :p/name \"Eve\"]]", &["$"], "[]");
}

#[test]
fn rule_31_equality_of_two_sets_of_rows_is_what_holds_pair_by_pair() {
    let numbers = "[1 1.0 1N 1.0M 1.00M 2 2.5 2.5M 2.50M 9007199254740993 9007199254740993N 9007199254740992.0 :a \"a\" [1] [1.0]]";
    let values = read(numbers);
    let values = values.as_sequence().unwrap();
    let (pairs, flipped) = (
        "[:find ?x ?y :in [?x ...] [?y ...] :where [(= ?x ?y)]]",
        "[:find ?x ?y :in [?x ...] [?y ...] :where [(= ?y ?x)]]",
    );
    let mut expected = Vec::new();
    for x in values {
        for y in values {
            let one =
                run("[:find ?x . :in ?x ?y :where [(= ?x ?y)]]", &[Input::Value(x.clone()), Input::Value(y.clone())]);
            if !one.unwrap().rows.is_empty() {
                expected.push(Edn::Vector(vec![x.clone(), y.clone()]));
            }
        }
    }
    expected.sort();
    for text in [pairs, flipped] {
        let Edn::Vector(mut found) =
            run(text, &[Input::Value(read(numbers)), Input::Value(read(numbers))]).unwrap().to_edn()
        else {
            panic!()
        };
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
    assert!(expected.len() > values.len(), "some are equal across types");
    // Variables of two patterns, an entity and its id, and NaN.
    check(
        "[:find ?n ?m :where [?e :p/name ?n] [?f :p/name ?m] [?e :p/age ?a] [?f :p/age ?b] [(= ?a ?b)] [(< ?n ?m)]]",
        &["$"],
        r#"[["Bob" "Cid"]]"#,
    );
    check("[:find (count ?e) . :where [?e :p/height ?h] [?f :p/height ?i] [(= ?h ?i)]]", &["$"], "2");
    let ids = run("[:find [?e ...] :where [?e :p/name]]", &inputs(&people(), &["$"])).unwrap().to_edn().to_string();
    check("[:find (count ?e) . :in $ [?x ...] :where [?e :p/name] [(= ?e ?x)]]", &["$", &ids], "4");
}

#[test]
fn equality_of_large_sets_costs_what_they_hold_not_their_product() {
    let rows = format!("[{}]", (0..100_000).map(|i| i.to_string()).collect::<Vec<_>>().join(" "));
    let inputs = [Input::Value(read(&rows)), Input::Value(read(&rows))];
    let query = Query::parse(&read("[:find (count ?x) . :in [?x ...] [?y ...] :where [(= ?x ?y)]]")).unwrap();
    let limits = crate::budget::Limits { rows_max: 1_000_000, bytes_max: 1 << 30 };
    struct Looks(std::cell::Cell<u64>);
    impl crate::budget::Interrupt for Looks {
        fn stop(&self) -> Option<crate::budget::Stop> {
            self.0.set(self.0.get() + 1);
            (self.0.get() > 20_000).then_some(crate::budget::Stop::Deadline)
        }
    }
    let looks = Looks(std::cell::Cell::new(0));
    let answer = query_with(&query, &inputs, &Options::default(), &Budget::new(limits, &looks)).unwrap();
    assert_eq!(answer.to_edn(), Edn::Long(100_000));
}

#[test]
fn rule_31_comparisons_of_more_than_two_mind_all_of_them() {
    let found =
        |text: &str| run(text, &[Input::Value(read("[1 4 7]")), Input::Value(read("[3 6 9]"))]).unwrap().to_edn();
    assert_eq!(found("[:find ?x ?y :in [?x ...] [?y ...] :where [(< ?x 5 ?y)]]"), read("[[1 6] [1 9] [4 6] [4 9]]"));
    assert_eq!(found("[:find ?x ?y :in [?x ...] [?y ...] :where [(< 3 ?x ?y)]]"), read("[[4 6] [4 9] [7 9]]"));
    assert_eq!(found("[:find ?x ?y :in [?x ...] [?y ...] :where [(= ?x 4 ?y)]]"), read("[]"));
}

#[test]
fn what_can_never_match_is_warned_of() {
    let warnings = |text: &str, more: &[&str]| {
        let budget = Budget::unlimited();
        let query = Query::parse(&read(text)).unwrap();
        query_with(&query, &inputs(&people(), more), &Options::default(), &budget).unwrap();
        budget.take_warnings()
    };
    let warned = warnings("[:find ?e :where [?e :p/age \"30\"]]", &["$"]);
    assert_eq!(warned, ["[?e :p/age \"30\"] never matches: :p/age is of type long, \"30\" is a string"]);
    assert_eq!(warnings("[:find ?e :where [?e :p/name ?n] (not [?e :p/tags \"x\"])]", &["$"]).len(), 1);
    assert_eq!(warnings("[:find ?e :in $ % :where (old ?e)]", &["$", "%[[(old ?e) [?e :p/age 30.0]]]"]).len(), 1);
    assert_eq!(warnings("[:find ?e :where [?e :p/friends \"Ann\"]]", &["$"]).len(), 1);
    for text in [
        "[:find ?e :where [?e :p/age 30]]",
        "[:find ?e :where [?e :p/weight 60.5] [?e :p/worth 5]]",
        "[:find ?e :where [?e :p/friends [:p/name \"Ann\"]]]",
        "[:find ?e :where [?e :p/kind :kind/good]]",
    ] {
        assert_eq!(warnings(text, &["$"]), [""; 0], "{text}");
    }
}
