//! Random databases, queries and rules.

use super::super::*;
use crate::testing::in_trees;

pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(super) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

pub(super) const VARS: [&str; 5] = ["?a", "?b", "?c", "?d", "?e"];
const ATTRS: [&str; 5] = [":g/one", ":g/many", ":g/to", ":g/up", ":g/text"];

pub(super) fn database(random: &mut Random) -> Db {
    let schema = transacted(
        &Db::bootstrap(),
        "[{:db/ident :g/one :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
          {:db/ident :g/many :db/valueType :db.type/long :db/cardinality :db.cardinality/many}
          {:db/ident :g/to :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
          {:db/ident :g/up :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
          {:db/ident :g/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}]",
    );
    let mut db = schema;
    let (store, mut indexing) = (Default::default(), Random(random.0));
    let size = 3 + random.below(5);
    for step in 0..4 {
        let mut forms = String::from("[");
        for _ in 0..(4 + random.below(16)) {
            let e = |random: &mut Random| {
                let i = random.below(size);
                if step == 0 { format!("\"e{i}\"") } else { format!("{}", (4u64 << 42) + 1029 + i) }
            };
            let a = random.pick(&ATTRS);
            if step > 0 && random.below(3) == 0 {
                let subject = e(random);
                forms.push_str(&format!("[:db/retract {subject} {a}] "));
                continue;
            }
            let v = match a {
                ":g/to" | ":g/up" => e(random),
                ":g/text" => format!("\"{}\"", random.pick(&["x", "y", "z"])),
                _ => random.below(4).to_string(),
            };
            let subject = e(random);
            // One value an entity: two would contradict each other.
            if !matches!(a, ":g/one" | ":g/up" | ":g/text") || !forms.contains(&format!("{subject} {a} ")) {
                forms.push_str(&format!("[:db/add {subject} {a} {v}] "));
            }
        }
        for i in 0..size {
            if step == 0 {
                forms.push_str(&format!("[:db/add \"e{i}\" :g/many {i}] "));
            }
        }
        forms.push(']');
        let limits = TxLimits::default();
        match transact(&db, &read(&forms), Instant(0), &Functions::builtin(), &limits) {
            // Now and then in trees, with what comes after in novelty.
            Ok(report) if indexing.below(3) == 0 => db = in_trees(&report.db_after, &store),
            Ok(report) => db = report.db_after,
            Err(error) if step > 0 => drop(error),
            Err(error) => panic!("{forms}: {error}"),
        }
    }
    db
}

fn pattern(random: &mut Random, rule: bool) -> String {
    let vars = if rule { &VARS[..3] } else { &VARS[..] };
    let e = if random.below(8) == 0 { "_" } else { random.pick(vars) };
    let a = random.pick(&ATTRS);
    let v = match random.below(6) {
        0 if a == ":g/text" => "\"x\"".to_string(),
        0 if a == ":g/one" || a == ":g/many" => random.below(4).to_string(),
        1 => "_".to_string(),
        _ => random.pick(vars).to_string(),
    };
    match random.below(16) {
        0 => format!("[{e} {a} {v} {}]", random.pick(vars)),
        // Over what is not history every datom is an assertion.
        1 => format!("[{e} {a} {v} _ {}]", random.pick(&["true", "false"])),
        2 => format!("[{e} {a} {v} {} {}]", random.pick(vars), random.pick(vars)),
        _ => format!("[{e} {a} {v}]"),
    }
}

/// A value for `:in`.
pub(super) fn given(random: &mut Random) -> String {
    match random.below(6) {
        0 | 1 => random.below(4).to_string(),
        2 => format!("{:?}", random.pick(&["x", "hello"])),
        3 => ":g/one".to_owned(),
        _ => ((4u64 << 42) + 1029 + random.below(8)).to_string(),
    }
}

pub(super) fn clause(random: &mut Random, depth: u32) -> String {
    let var = |random: &mut Random| random.pick(&VARS);
    match random.below(if depth > 1 { 8 } else { 14 }) {
        0 => format!("[({} {} {})]", random.pick(&["<", ">=", "!=", "="]), var(random), random.below(4)),
        1 => format!("[({} {} {})]", random.pick(&["<", "<=", "!=", "="]), var(random), var(random)),
        2 => format!("[(identity {}) {}]", var(random), var(random)),
        8 => format!("(not {})", body(random, depth + 1)),
        9 => format!("(not-join [{}] {})", var(random), body(random, depth + 1)),
        10 => {
            let (x, y) = (var(random), var(random));
            format!("(or [{x} :g/to {y}] [{x} {} {y}])", random.pick(&[":g/up", ":g/one", ":g/many"]))
        }
        11 => {
            let x = var(random);
            format!("(or-join [{x}] {} (and {}))", pattern(random, false), body(random, depth + 1))
        }
        12 | 13 => format!("({} {} {})", random.pick(&["r", "s"]), var(random), var(random)),
        _ => pattern(random, false),
    }
}

fn body(random: &mut Random, depth: u32) -> String {
    let count = 1 + random.below(2);
    (0..count).map(|_| clause(random, depth)).collect::<Vec<_>>().join(" ")
}

pub(super) fn rules(random: &mut Random) -> String {
    let mut text = String::from("[[(r ?a ?b) [?a :g/to ?b]] [(s ?a ?b) [?a :g/up ?b]]");
    for _ in 0..(1 + random.below(3)) {
        let head = random.pick(&["r", "s"]);
        let (first, second) = (random.pick(&["r", "s"]), random.pick(&["r", "s"]));
        let body = match random.below(6) {
            0 => format!("[?a :g/to ?c] ({first} ?c ?b)"),
            1 => format!("({first} ?a ?c) [?c :g/up ?b]"),
            2 => format!("({first} ?a ?c) ({second} ?c ?b)"),
            3 => format!("({first} ?b ?a)"),
            4 => format!("(or-join [?a ?b] (and [?a :g/to ?c] ({first} ?c ?b)) [?b :g/up ?a])"),
            _ => format!("({first} ?a ?b) {} [?a :g/many ?c]", pattern(random, true)),
        };
        text.push_str(&format!(" [({head} ?a ?b) {body}]"));
    }
    text.push(']');
    text
}

/// The database, or a view of it.
pub(super) fn view(random: &mut Random, db: &Db) -> (Db, String) {
    let t = |random: &mut Random| random.below(db.basis_t() + 1);
    match random.below(8) {
        0 => {
            let t = t(random);
            (db.as_of(t), format!("as of {t}"))
        }
        1 => {
            let t = t(random);
            (db.since(t), format!("since {t}"))
        }
        2 => (db.history(), "history".into()),
        3 => {
            let t = t(random);
            (db.as_of(t).history(), format!("history as of {t}"))
        }
        _ => (db.clone(), "now".into()),
    }
}
