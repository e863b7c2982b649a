//! Pull, as EDN in and EDN out. `<x>` stands for the id of the entity with the ident `:x` (or the name below).

use super::*;
use crate::Category;
use crate::budget::{Interrupt, Limits, Stop};
use crate::edn;
use crate::model::Instant;
use crate::tx::{Functions, TxLimits, transact};
use proptest::prelude::*;

const NOW: Instant = Instant(1_700_000_000_000);

const SCHEMA: &str = "[
  {:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
  {:db/ident :p/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
  {:db/ident :p/aka :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
  {:db/ident :p/flag :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one}
  {:db/ident :p/boss :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
  {:db/ident :p/friends :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
  {:db/ident :p/enemies :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
  {:db/ident :p/part :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/isComponent true}
  {:db/ident :p/parts :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}
]";

/// A friendship chain a → b → c → d → a, where c is also b's enemy; parts within parts of the machine.
const DATA: &str = r#"[
  {:db/id "a" :db/ident :a :p/name "A" :p/email "a@x" :p/aka ["aa" "aaa"] :p/flag false :p/boss "n" :p/friends "b"}
  {:db/id "b" :db/ident :b :p/name "B" :p/friends ["c"] :p/enemies ["c" "n"]}
  {:db/id "c" :db/ident :c :p/name "C" :p/friends ["d"] :p/boss "c"}
  {:db/id "d" :db/ident :d :p/name "D" :p/friends ["a"]}
  {:db/id "n" :p/name "Nobody"}
  {:db/id "m" :db/ident :m :p/parts [{:db/id "m1" :p/name "M1" :p/part {:db/id "m2" :p/name "M2" :p/boss "a"}} {:db/id "m3" :p/aka "M3"}]}
  {:db/id "e1" :db/ident :e1 :p/part {:db/id "e2" :p/name "E2" :p/part "e1"}}
]"#;

struct World {
    db: Db,
    names: std::collections::BTreeMap<String, EntityId>,
}

fn transacted(db: &Db, tx_data: &Edn) -> crate::tx::TxReport {
    transact(db, tx_data, NOW, &Functions::builtin(), &TxLimits::default()).unwrap()
}

fn world() -> World {
    let db = transacted(&Db::bootstrap(), &edn::read(SCHEMA).unwrap()).db_after;
    let report = transacted(&db, &edn::read(DATA).unwrap());
    World { db: report.db_after, names: report.tempids }
}

impl World {
    fn text(&self, text: &str) -> String {
        self.names.iter().fold(text.to_string(), |text, (name, e)| text.replace(&format!("<{name}>"), &e.to_string()))
    }

    fn pull(&self, pattern: &str, entity: &str) -> Result<Item> {
        let read = |text: &str| edn::read(&self.text(text)).unwrap();
        pull(&self.db, &read(pattern), &read(entity), &Budget::unlimited())
    }

    #[track_caller]
    fn check(&self, pattern: &str, entity: &str, expected: &str) {
        let item = self.pull(pattern, entity).unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
        let item = Edn::from(&item);
        assert_eq!(item, edn::read(&self.text(expected)).unwrap(), "\n{pattern} of {entity}\n{item}");
    }

    #[track_caller]
    fn check_error(&self, pattern: &str, code: &str, words: &str) {
        let error = self.pull(pattern, ":a").unwrap_err();
        assert_eq!(error.code(), format!("db.error/{code}"), "{pattern}: {error}");
        assert!(error.message().contains(words), "{pattern}: {error}");
    }
}

#[test]
fn rule_37_attributes_come_in_the_order_of_the_pattern() {
    let world = world();
    world.check("[:p/name :p/aka]", ":a", r#"{:p/name "A" :p/aka ["aa" "aaa"]}"#);
    let item = world.pull("[:p/aka :db/id :p/name]", ":a").unwrap();
    assert_eq!(Edn::from(&item).to_string(), world.text(r#"{:p/aka ["aa" "aaa"], :db/id <a>, :p/name "A"}"#));
    world.check("[:p/name :p/name]", ":a", r#"{:p/name "A"}"#);
    // By id and by lookup ref.
    world.check("[:p/name]", "<a>", r#"{:p/name "A"}"#);
    world.check("[:p/name]", "[:p/email \"a@x\"]", r#"{:p/name "A"}"#);
    world.check("[:db/ident]", ":a", "{:db/ident :a}");
}

#[test]
fn rule_37_a_wildcard_takes_everything() {
    let world = world();
    let whole = r#"{:db/id <a> :db/ident :a :p/name "A" :p/email "a@x" :p/aka ["aa" "aaa"] :p/flag false
                    :p/boss {:db/id <n>} :p/friends [{:db/id <b> :db/ident :b}]}"#;
    world.check("[*]", ":a", whole);
    world.check("[\"*\"]", ":a", whole);
    // What the pattern speaks of itself is not taken a second time.
    world.check(
        "[* {:p/friends [:p/name]} (:p/aka :as :names :limit 1) {:p/_friends [:p/name]}]",
        ":a",
        r#"{:db/id <a> :db/ident :a :p/name "A" :p/email "a@x" :names ["aa"] :p/flag false
            :p/boss {:db/id <n>} :p/friends [{:p/name "B"}] :p/_friends [{:p/name "D"}]}"#,
    );
    world.check(
        "[{:p/friends [*]}]",
        ":c",
        r#"{:p/friends [{:db/id <d> :db/ident :d :p/name "D"
        :p/friends [{:db/id <a> :db/ident :a}]}]}"#,
    );
}

#[test]
fn rule_37_references_are_followed_both_ways() {
    let world = world();
    world.check("[{:p/boss [:p/name]}]", ":a", r#"{:p/boss {:p/name "Nobody"}}"#);
    world.check(
        "[{:p/friends [:p/name {:p/friends [:p/name]}]}]",
        ":a",
        r#"{:p/friends [{:p/name "B" :p/friends [{:p/name "C"}]}]}"#,
    );
    world.check("[:p/_friends]", ":a", "{:p/_friends [{:db/id <d> :db/ident :d}]}");
    world.check("[{:p/_boss [:p/name]}]", "<n>", r#"{:p/_boss [{:p/name "A"}]}"#);
    world.check(
        "[{:p/_friends [:p/name {:p/_friends [:p/name]}]}]",
        ":a",
        r#"{:p/_friends [{:p/name "D" :p/_friends [{:p/name "C"}]}]}"#,
    );
    world.check("[{(:p/friends :as :to :limit 1) [:p/name]}]", ":a", r#"{:to [{:p/name "B"}]}"#);
    world.check(
        "[{:p/friends [:p/name] :p/boss [:db/id]}]",
        ":a",
        r#"{:p/friends [{:p/name "B"}] :p/boss {:db/id <n>}}"#,
    );
}

#[test]
fn rule_37_recursion_goes_as_deep_as_asked() {
    let world = world();
    world.check("[:p/name {:p/friends 1}]", ":a", r#"{:p/name "A" :p/friends [{:p/name "B"}]}"#);
    world.check(
        "[:p/name {:p/friends 2}]",
        ":a",
        r#"{:p/name "A" :p/friends [{:p/name "B" :p/friends [{:p/name "C"}]}]}"#,
    );
    world.check(
        "[:p/name {:p/_friends 2}]",
        ":a",
        r#"{:p/name "A" :p/_friends [{:p/name "D" :p/_friends [{:p/name "C"}]}]}"#,
    );
    world.check("[:p/name {(:p/friends :as :f :default 0) 1}]", ":a", r#"{:p/name "A" :f [{:p/name "B"}]}"#);
    // Two recursions in one level have a depth each, counted along the way down.
    world.check("[:p/name {:p/friends 2 :p/enemies 1}]", ":a",
        r#"{:p/name "A" :p/friends [{:p/name "B" :p/friends [{:p/name "C"}] :p/enemies [{:p/name "Nobody"} {:p/name "C" :p/friends [{:p/name "D"}]}]}]}"#);
    // Within a nested pattern it is that pattern which recurs.
    world.check(
        "[{:p/friends [:p/name {:p/friends 1}]}]",
        ":a",
        r#"{:p/friends [{:p/name "B" :p/friends [{:p/name "C"}]}]}"#,
    );
    world.check("[\"*\" {:p/friends 1}]", ":d", r#"{:db/id <d> :db/ident :d :p/name "D" :p/friends
        [{:db/id <a> :db/ident :a :p/name "A" :p/email "a@x" :p/aka ["aa" "aaa"] :p/flag false :p/boss {:db/id <n>}}]}"#);
}

#[test]
fn rule_38_a_seen_entity_in_a_recursion_is_its_id() {
    let world = world();
    let circle = r#"{:p/name "A" :p/friends [{:p/name "B" :p/friends [{:p/name "C" :p/friends [{:p/name "D"
                     :p/friends [{:db/id <a>}]}]}]}]}"#;
    for dots in ["...", "\"...\"", "100"] {
        world.check(&format!("[:p/name {{:p/friends {dots}}}]"), ":a", circle);
    }
    world.check("[:p/name {:p/boss ...}]", ":c", r#"{:p/name "C" :p/boss {:db/id <c>}}"#);
    // Seen is what stands above, not beside.
    world.check(
        "[:p/name {:p/friends 1 :p/enemies 1}]",
        ":b",
        r#"{:p/name "B" :p/friends [{:p/name "C"}] :p/enemies [{:p/name "Nobody"} {:p/name "C" :p/friends [{:p/name "D"}]}]}"#,
    );
}

#[test]
fn rule_38_what_is_missing_is_left_out() {
    let world = world();
    world.check("[:p/email :p/name]", ":b", r#"{:p/name "B"}"#);
    world.check("[:p/email]", ":b", "{}");
    world.check("[:p/email :p/parts :p/_part]", ":b", "{}");
    world.check("[{:p/boss [:p/email]}]", ":a", "{}");
    world.check("[{:p/friends [:p/email]}]", ":b", "{:p/friends []}");
    world.check(
        "[{:p/enemies [:p/email]} {:p/_friends [:p/email]}]",
        ":b",
        "{:p/enemies [] :p/_friends [{:p/email \"a@x\"}]}",
    );
    // An entity of which nothing is known; a lookup ref that names none.
    world.check("[:p/name]", "17592186999999", "{}");
    world.check("[:db/id]", "17592186999999", "{:db/id 17592186999999}");
    world.check("[:p/name :db/id]", "[:p/email \"nobody@x\"]", "{}");
}

#[test]
fn rule_39_a_thousand_values_unless_the_limit_is_lifted() {
    let world = world();
    let many: Vec<Edn> = (0..1500).map(|n| Edn::string(format!("aka{n:04}"))).collect();
    let map = |e: &str, a: &str, v: Edn| Edn::Map(vec![(Edn::keyword("db/id"), Edn::keyword(e)), (Edn::keyword(a), v)]);
    let fans = (0..1200).map(|n| {
        Edn::Map(vec![
            (Edn::keyword("p/name"), Edn::string(format!("fan{n:04}"))),
            (Edn::keyword("p/boss"), Edn::keyword("d")),
        ])
    });
    let mut tx_data = vec![map("d", "p/aka", Edn::Vector(many))];
    tx_data.extend(fans);
    let db = transacted(&world.db, &Edn::Vector(tx_data)).db_after;
    let check = |pattern: &str, key: &str, length: usize, warned: bool| {
        let budget = Budget::unlimited();
        let item = pull(&db, &edn::read(pattern).unwrap(), &Edn::keyword("d"), &budget).unwrap();
        let item = Edn::from(&item);
        let Some(Edn::Vector(values)) = item.get(key) else { panic!("{pattern}: {item}") };
        assert_eq!(values.len(), length, "{pattern}");
        let warnings = budget.take_warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{pattern}: {warnings:?}");
        if warned {
            assert!(warnings[0].contains("cut off at the default limit of 1000"), "{warnings:?}");
            // By the name it was asked by, and the entity it is of.
            let name = if pattern.contains("_boss") { ":p/_boss" } else { ":p/aka" };
            let e = db.entity_of_ident(&crate::Keyword::new("d")).unwrap().unwrap();
            assert!(warnings[0].contains(&format!("{name} of entity {} ", e.as_long())), "{warnings:?}");
        }
    };
    check("[:p/aka]", "p/aka", 1000, true);
    check("[:p/name :p/aka]", "p/aka", 1000, true);
    check("[*]", "p/aka", 1000, true);
    check("[[:p/aka :limit 1200]]", "p/aka", 1200, false);
    check("[(limit :p/aka 10)]", "p/aka", 10, false);
    check("[(\"limit\" :p/aka 10)]", "p/aka", 10, false);
    check("[[:p/aka :limit nil]]", "p/aka", 1500, false);
    check("[(:p/aka :limit 5000 :as :n)]", "n", 1500, false);
    check("[:p/_boss]", "p/_boss", 1000, true);
    check("[{:p/_boss [:p/name]}]", "p/_boss", 1000, true);
    check("[{(:p/_boss :limit nil) [:p/name]}]", "p/_boss", 1200, false);
    check("[(:p/_boss :limit 7)]", "p/_boss", 7, false);
}

#[test]
fn rule_40_components_are_pulled_whole() {
    let world = world();
    let parts = r#"[{:db/id <m1> :p/name "M1" :p/part {:db/id <m2> :p/name "M2" :p/boss {:db/id <a> :db/ident :a}}}
                    {:db/id <m3> :p/aka ["M3"]}]"#;
    world.check("[:p/parts]", ":m", &format!("{{:p/parts {parts}}}"));
    world.check("[*]", ":m", &format!("{{:db/id <m> :db/ident :m :p/parts {parts}}}"));
    world.check("[{:p/parts [:p/name]}]", ":m", r#"{:p/parts [{:p/name "M1"}]}"#);
    world.check("[:p/_parts]", "<m1>", "{:p/_parts {:db/id <m> :db/ident :m}}");
    world.check("[:p/_part]", "<m2>", "{:p/_part {:db/id <m1>}}");
    world.check(
        "[{:p/_part [:p/name {:p/_parts [:db/ident]}]}]",
        "<m2>",
        r#"{:p/_part {:p/name "M1" :p/_parts {:db/ident :m}}}"#,
    );
    world.check("[{(:p/_part :as :whole) ...}]", "<m2>", "{}");
    world.check("[:p/name {:p/_part 3}]", "<m2>", r#"{:p/name "M2" :p/_part {:p/name "M1"}}"#);
    // Components in a circle end where they began.
    world.check(
        "[*]",
        ":e1",
        r#"{:db/id <e1> :db/ident :e1 :p/part {:db/id <e2> :p/name "E2" :p/part {:db/id <e1>}}}"#,
    );
    world.check("[:p/part]", ":e1", r#"{:p/part {:db/id <e2> :p/name "E2" :p/part {:db/id <e1>}}}"#);
}

#[test]
fn rule_41_defaults_and_false() {
    let world = world();
    world.check("[(:p/flag :default true)]", ":a", "{:p/flag false}");
    world.check("[[:p/flag :default true]]", ":b", "{:p/flag true}");
    world.check("[(default :p/email \"none\")]", ":b", r#"{:p/email "none"}"#);
    world.check("[(:p/email :default nil :as \"mail\")]", ":b", r#"{"mail" nil}"#);
    world.check("[(:p/friends :default [{:x 1}])]", "<n>", "{:p/friends [{:x 1}]}");
    world.check("[{(:p/boss :default :none) [:p/name]}]", ":b", "{:p/boss :none}");
    world.check("[(:p/_friends :default [])]", "<n>", "{:p/_friends []}");
    world.check("[(:db/id :as :id)]", ":a", "{:id <a>}");
}

#[test]
fn rule_41_history_is_refused_and_other_views_are_not() {
    let world = world();
    let changed = r#"[{:db/id :a :p/name "A2"} [:db/retract :a :p/friends :b] [:db/add :a :p/friends :d]]"#;
    let db = transacted(&world.db, &edn::read(changed).unwrap()).db_after;
    let check = |db: Db, expected: &str| {
        let pattern = edn::read("[:p/name {:p/friends [:p/name]}]").unwrap();
        let item = pull(&db, &pattern, &Edn::keyword("a"), &Budget::unlimited()).unwrap();
        assert_eq!(Edn::from(&item), edn::read(expected).unwrap());
    };
    check(db.clone(), r#"{:p/name "A2" :p/friends [{:p/name "D"}]}"#);
    check(db.as_of(2), r#"{:p/name "A" :p/friends [{:p/name "B"}]}"#);
    check(db.since(2), r#"{:p/name "A2" :p/friends []}"#);
    check(db.as_of(1), "{}");
    let history = World { db: db.history(), names: world.names };
    history.check_error("[:p/name]", "pull-history", "history");
}

#[test]
fn patterns_that_are_none_are_refused() {
    let world = world();
    let invalid = "invalid-pull-pattern";
    world.check_error("[:p/nam]", "not-an-entity", "did you mean :p/name?");
    world.check_error("[:p/_nam]", "not-an-entity", "unknown attribute :p/nam");
    world.check_error("[:p/_name]", invalid, ":p/name is no reference");
    world.check_error("[{:p/name [:p/aka]}]", invalid, ":p/name is no reference");
    world.check_error("[{:p/name ...}]", invalid, ":p/name is no reference");
    world.check_error("[(:p/name :xform my/f)]", "unknown-function", ":xform knows no my/f");
    world.check_error("[(:p/name :lim 5)]", invalid, "unknown option :lim");
    world.check_error("[(:p/aka :limit 0)]", invalid, "positive number");
    world.check_error("[(:p/aka :limit \"5\")]", invalid, "positive number");
    world.check_error("[(:p/aka :limit)]", invalid, "pairs");
    world.check_error("[{:p/friends 0}]", invalid, "a depth (1, 2, …)");
    world.check_error("[{:p/friends :p/name}]", invalid, "give a pattern");
    world.check_error("[{:p/friends []}]", invalid, "not empty");
    world.check_error("[{:db/id [:p/name]}]", invalid, ":db/id is no reference");
    world.check_error("[(:p/name :default 1/2)]", invalid, "cannot stand in an answer");
    for pattern in
        ["nil", "5", ":p/name", "{}", "(:p/name)", "[]", "[5]", "[nil]", "[[]]", "[p/name]", "[(foo :p/name 1)]"]
    {
        world.check_error(pattern, invalid, "");
    }
    let error = world.pull("[:p/name]", ":nobody").unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::NotFound, "db.error/not-an-entity"));
    for entity in ["nil", "\"a\"", "-1", "1.5", "{}", "[:p/email]", "[:p/name \"A\"]"] {
        assert!(world.pull("[:p/name]", entity).is_err(), "{entity}");
    }
    let mut deep = Edn::Vector(vec![Edn::keyword("p/name")]);
    for _ in 0..100 {
        deep = Edn::Vector(vec![Edn::Map(vec![(Edn::keyword("p/friends"), deep)])]);
    }
    assert!(Pattern::parse(&deep).unwrap_err().message().contains("nested more than 64 deep"));
}

/// A chain of bosses, `length` long.
fn chain(length: usize) -> Db {
    let boss = |n: usize| {
        let mut entries = vec![(Edn::keyword("db/id"), Edn::string(n.to_string()))];
        entries.push((Edn::keyword("p/name"), Edn::string(n.to_string())));
        if n == 0 {
            entries.push((Edn::keyword("db/ident"), Edn::keyword("chain")));
        }
        if n + 1 < length {
            entries.push((Edn::keyword("p/boss"), Edn::string((n + 1).to_string())));
            entries.push((Edn::keyword("p/part"), Edn::string((n + 1).to_string())));
        }
        Edn::Map(entries)
    };
    transacted(&world().db, &Edn::Vector((0..length).map(boss).collect())).db_after
}

#[test]
fn recursion_without_end_is_bounded() {
    let pull =
        |db: &Db, pattern: &str| pull(db, &edn::read(pattern).unwrap(), &Edn::keyword("chain"), &Budget::unlimited());
    for pattern in ["[:p/name {:p/boss ...}]", "[*]", "[{:p/part 1000000}]"] {
        assert!(pull(&chain(250), pattern).is_ok(), "{pattern}");
        let error = pull(&chain(5000), pattern).unwrap_err();
        assert_eq!(error.code(), "db.error/pull-too-deep", "{pattern}");
    }
    assert!(pull(&chain(5000), "[:p/name {:p/boss 200}]").is_ok());
}

#[test]
fn a_pull_ends_with_its_budget() {
    let world = world();
    struct Cancelled;
    impl Interrupt for Cancelled {
        fn stop(&self) -> Option<Stop> {
            Some(Stop::Cancelled)
        }
    }
    // Everyone befriends everyone: the paths through them are without number.
    let people: Vec<Edn> = (0..40)
        .map(|n| {
            let friends = (0..40).map(|n| Edn::string(format!("p{n}"))).collect();
            Edn::Map(vec![
                (Edn::keyword("db/id"), Edn::string(format!("p{n}"))),
                (Edn::keyword("p/email"), Edn::string(format!("p{n}@x"))),
                (Edn::keyword("p/friends"), Edn::Vector(friends)),
            ])
        })
        .collect();
    let db = transacted(&world.db, &Edn::Vector(people)).db_after;
    let pattern = edn::read("[:p/email {:p/friends ...}]").unwrap();
    let entity = edn::read("[:p/email \"p0@x\"]").unwrap();
    let limits = Limits { rows_max: u64::MAX, bytes_max: 1 << 20 };
    let error = pull(&db, &pattern, &entity, &Budget::new(limits, &crate::budget::Uninterrupted)).unwrap_err();
    assert_eq!(error.code(), "db.error/byte-limit");
    let error = pull(&db, &pattern, &entity, &Budget::new(Limits::default(), &Cancelled)).unwrap_err();
    assert_eq!(error.code(), "db.error/cancelled");
}

proptest! {
    #[test]
    fn nothing_panics_whatever_the_pattern(pattern in any_pattern()) {
        let world = world();
        for entity in [":a", ":m"] {
            let budget = Budget::new(Limits { rows_max: 10_000, bytes_max: 1 << 20 }, &crate::budget::Uninterrupted);
            if let Ok(item) = pull(&world.db, &pattern, &edn::read(entity).unwrap(), &budget) {
                prop_assert!(matches!(item, Item::Map(_)));
            }
        }
    }
}

fn any_pattern() -> impl Strategy<Value = Edn> {
    let words = [
        "*",
        "\"*\"",
        ":p/name",
        ":p/friends",
        ":p/_friends",
        ":p/parts",
        ":p/_part",
        ":p/boss",
        ":db/id",
        ":db/ident",
        "...",
        "2",
        "0",
        "nil",
        ":limit",
        ":as",
        ":default",
        "limit",
        "default",
        "\"x\"",
        "1/2",
        "5",
    ];
    let leaf = prop::sample::select(words.to_vec()).prop_map(|text| edn::read(text).unwrap());
    leaf.prop_recursive(4, 40, 5, |form| {
        prop_oneof![
            3 => prop::collection::vec(form.clone(), 1..5).prop_map(Edn::Vector),
            1 => prop::collection::vec(form.clone(), 1..4).prop_map(Edn::List),
            3 => prop::collection::vec((form.clone(), form), 1..3).prop_map(Edn::Map),
        ]
    })
    .prop_map(|form| if matches!(form, Edn::Vector(_)) { form } else { Edn::Vector(vec![form]) })
}

/// The answer of a pattern by its definition, over a list of facts.
struct Naive<'a> {
    db: &'a Db,
    facts: Vec<(EntityId, String, crate::Value)>,
}

impl Naive<'_> {
    fn attribute(&self, name: &str) -> (String, bool, bool, bool) {
        let forward = name.replace("/_", "/");
        let reverse = forward != name;
        let a = self.db.schema().attr_of_ident(&forward.as_str().into()).unwrap();
        let attribute = self.db.schema().attribute(a);
        let many = if reverse { !attribute.component } else { attribute.is_many() };
        (forward, reverse, many, attribute.component && !reverse)
    }

    fn values(&self, e: EntityId, name: &str) -> Vec<crate::Value> {
        let (forward, reverse, ..) = self.attribute(name);
        let facts = self.facts.iter().filter(|(_, a, _)| *a == forward);
        if reverse {
            let facts = facts.filter(|(.., v)| v.as_ref() == Some(e));
            return facts.map(|(from, ..)| crate::Value::Ref(*from)).collect();
        }
        facts.filter(|(from, ..)| *from == e).map(|(.., v)| v.clone()).collect()
    }

    fn map(&self, pattern: &[Edn], e: EntityId, above: &[EntityId], whole: &[EntityId], spent: u32) -> Vec<(Edn, Edn)> {
        let mut entries: Vec<(Edn, Edn)> = Vec::new();
        // What comes later counts instead of what came before, even if it is nothing; the wildcard comes first.
        let mut put = |name: &str, value: Option<Edn>| {
            entries.retain(|(key, _)| *key != Edn::keyword(name));
            entries.extend(value.map(|value| (Edn::keyword(name), value)));
        };
        let (wildcards, others): (Vec<&Edn>, Vec<&Edn>) =
            pattern.iter().partition(|spec| matches!(spec, Edn::Symbol(_)));
        for spec in wildcards.into_iter().chain(others) {
            match spec {
                Edn::Symbol(_) => {
                    put("db/id", Some(Edn::Long(e.as_long())));
                    let names: Vec<&String> =
                        self.facts.iter().filter(|(from, ..)| *from == e).map(|(_, a, _)| a).collect();
                    for name in names {
                        put(name, self.one_or_many(name, e, |v| Some(self.plain(name, v, e, whole))));
                    }
                }
                Edn::Keyword(name) if name.as_str() == "db/id" => put("db/id", Some(Edn::Long(e.as_long()))),
                Edn::Keyword(name) => {
                    put(
                        name.as_str(),
                        self.one_or_many(name.as_str(), e, |v| Some(self.plain(name.as_str(), v, e, &[]))),
                    );
                }
                Edn::Map(nested) => {
                    let (Edn::Keyword(name), then) = &nested[0] else { unreachable!() };
                    let value = self.one_or_many(name.as_str(), e, |v| {
                        let to = v.as_ref().unwrap();
                        let entries = match then {
                            Edn::Vector(pattern) => self.map(pattern, to, &[], &[], 0),
                            _ if above.contains(&to) || to == e => {
                                vec![(Edn::keyword("db/id"), Edn::Long(to.as_long()))]
                            }
                            _ => self.map(pattern, to, &[above, &[e]].concat(), &[], spent + 1),
                        };
                        (!entries.is_empty()).then_some(Edn::Map(entries))
                    });
                    let is_spent = matches!(then, Edn::Long(n) if *n == i64::from(spent));
                    put(name.as_str(), value.filter(|_| !is_spent));
                }
                _ => unreachable!(),
            }
        }
        entries
    }

    fn one_or_many(&self, name: &str, e: EntityId, f: impl Fn(&crate::Value) -> Option<Edn>) -> Option<Edn> {
        let values = self.values(e, name);
        if values.is_empty() {
            return None;
        }
        if self.attribute(name).2 { Some(Edn::Vector(values.iter().filter_map(f).collect())) } else { f(&values[0]) }
    }

    fn plain(&self, name: &str, value: &crate::Value, e: EntityId, whole: &[EntityId]) -> Edn {
        let Some(to) = value.as_ref() else { return Edn::from(value) };
        if self.attribute(name).3 {
            if to != e && !whole.contains(&to) {
                return Edn::Map(self.map(&[Edn::symbol("*")], to, &[], &[whole, &[e]].concat(), 0));
            }
            return Edn::Map(vec![(Edn::keyword("db/id"), Edn::Long(to.as_long()))]);
        }
        let mut entries = vec![(Edn::keyword("db/id"), Edn::Long(to.as_long()))];
        entries
            .extend(self.db.ident_of_entity(to).unwrap().map(|ident| (Edn::keyword("db/ident"), Edn::Keyword(ident))));
        Edn::Map(entries)
    }
}

/// A pattern in which at most one attribute of each level recurs.
fn pattern_within(depth: u32) -> BoxedStrategy<String> {
    let plain = prop::sample::select(vec![
        "*",
        ":db/id",
        ":p/name",
        ":p/aka",
        ":p/boss",
        ":p/friends",
        ":p/part",
        ":p/parts",
        ":p/_friends",
        ":p/_boss",
        ":p/_part",
    ]);
    let reference = || prop::sample::select(vec![":p/boss", ":p/friends", ":p/part", ":p/_friends", ":p/_parts"]);
    let recursion = (reference(), prop::sample::select(vec!["...", "1", "2", "3"]))
        .prop_map(|(a, depth)| format!("{{{a} {depth}}}"));
    let nested = if depth == 0 {
        Just(String::new()).boxed()
    } else {
        (reference(), pattern_within(depth - 1)).prop_map(|(a, pattern)| format!("{{{a} {pattern}}}")).boxed()
    };
    (prop::collection::vec(plain, 1..4), nested, prop::option::of(recursion))
        .prop_map(|(plain, nested, recursion)| {
            format!("[{} {nested} {}]", plain.join(" "), recursion.unwrap_or_default())
        })
        .boxed()
}

proptest! {
    #![proptest_config(crate::testing::cases(400))]

    #[test]
    fn every_view_is_pulled_as_its_facts_say(
        links in prop::collection::vec((0..5usize, 0..6usize, 0..5usize), 1..14),
        changes in prop::collection::vec((0..5usize, 0..6usize, 0..5usize), 0..6),
        pattern in pattern_within(2),
    ) {
        let names = ["p/boss", "p/friends", "p/part", "p/parts", "p/aka", "p/name"];
        let entity = |n: usize| ["a", "b", "c", "d", "m"][n];
        let say = |(from, a, to): &(usize, usize, usize)| {
            let to = if names[*a] == "p/aka" || names[*a] == "p/name" { format!("\"{to}\"") } else { format!(":{}", entity(*to)) };
            format!("[:db/add :{} :{} {to}]", entity(*from), names[*a])
        };
        let mut db = world().db;
        for link in links.iter().chain(&changes) {
            db = transacted(&db, &edn::read(&format!("[{}]", say(link))).unwrap()).db_after;
        }
        let form = edn::read(&pattern).unwrap();
        let Edn::Vector(specs) = &form else { unreachable!() };
        let then = 2 + links.len() as u64;
        for view in [db.clone(), db.as_of(then), db.since(then)] {
            let facts = view.datoms(&crate::Pattern::all()).unwrap();
            let mut facts: Vec<_> = facts
                .into_iter()
                .map(|datom| (datom.e, datom.a(), datom.v))
                .collect();
            facts.sort();
            let ident = |a| view.schema().attribute(a).ident.as_str().to_string();
            let facts = facts.into_iter().map(|(e, a, v)| (e, ident(a), v)).collect();
            let naive = Naive { db: &view, facts };
            for name in ["a", "m"] {
                let e = view.entity_of_ident(&name.into()).unwrap().unwrap();
                let budget = Budget::new(Limits { rows_max: u64::MAX, bytes_max: 1 << 24 }, &crate::budget::Uninterrupted);
                let Ok(item) = pull(&view, &form, &Edn::keyword(name), &budget) else { continue };
                prop_assert_eq!(Edn::from(&item), Edn::Map(naive.map(specs, e, &[], &[], 0)), "{} of {} in {:?}", pattern, name, view);
            }
        }
    }
}
