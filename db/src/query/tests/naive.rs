//! Random queries against an evaluator that knows nothing of plans, columns or indexes.
//!
//! The evaluator takes one row at a time through the clauses, trying every datom; rules are run by trying every
//! row of the answer so far until nothing is added. It shares only the parser with the engine.

use super::*;
use crate::model::{Datom, Symbol, Value};
use crate::query::ast::{Arg, Clause, FindElement, Kind, Rule, Term, Var};
use crate::query::functions::Op;
use crate::query::parse::parse_rules;
use std::collections::{BTreeMap, BTreeSet};

/// One row: what each variable is bound to.
type Row = BTreeMap<Var, Value>;
type Answers = BTreeMap<Symbol, BTreeSet<Vec<Value>>>;

struct Naive<'a> {
    db: &'a Db,
    datoms: Vec<Datom>,
    rules: &'a BTreeMap<Symbol, Rule>,
}

impl Naive<'_> {
    fn term(&self, term: &Term, value: Value, row: &mut Row) -> bool {
        match term {
            Term::Blank => true,
            Term::Const(constant) => {
                // The generator writes idents for attributes and plain values elsewhere.
                let constant = match constant {
                    Value::Keyword(ident) => self.db.entity_of_ident(ident).map(Value::Ref),
                    _ => None,
                }
                .unwrap_or_else(|| constant.clone());
                constant == value
            }
            Term::Var(var) => match row.get(var) {
                Some(before) => *before == value,
                None => {
                    row.insert(*var, value);
                    true
                }
            },
        }
    }

    fn pattern(&self, terms: &[Term], row: &Row) -> Vec<Row> {
        let mut found = Vec::new();
        for datom in &self.datoms {
            let attribute = self.db.schema().attribute(datom.a()).id;
            let parts = [
                Value::Ref(datom.e),
                Value::Ref(attribute),
                datom.v.clone(),
                Value::Ref(datom.tx()),
                Value::Boolean(datom.added()),
            ];
            let mut row = row.clone();
            if terms.iter().zip(parts).all(|(term, part)| self.term(term, part, &mut row)) {
                found.push(row);
            }
        }
        found
    }

    fn call(&self, clause: &Clause, row: &Row) -> Vec<Row> {
        let Kind::Call(call) = &clause.kind else { return Vec::new() };
        let args: Vec<Option<Value>> = call
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Var(var) => row.get(var).cloned(),
                Arg::Const(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        let budget = Budget::unlimited();
        let value = match &call.function.op {
            Op::Compare(comparison) => Some(Value::Boolean(comparison.holds(&args))),
            Op::Pure(f) => f(&Env::new(&budget), &args).unwrap(),
            _ => panic!("the generator writes no such function"),
        };
        match (&call.binding, value) {
            (None, Some(Value::Boolean(true))) => vec![row.clone()],
            (Some(binding), Some(value)) => {
                let mut row = row.clone();
                if self.term(&Term::Var(binding.vars()[0]), value, &mut row) { vec![row] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn solve(&self, clauses: &[Clause], rows: Vec<Row>, answers: &Answers) -> Vec<Row> {
        let mut open: Vec<&Clause> = clauses.iter().collect();
        let mut bound: BTreeSet<Var> = rows.iter().flat_map(|row| row.keys().copied()).collect();
        let mut rows = rows;
        // Patterns and rules first, then what binds, then what only asks.
        let rank = |clause: &Clause, bound: &BTreeSet<Var>, open: &[&Clause]| -> u32 {
            let bindable = |var: Var| open.iter().any(|clause| clause.binds.contains(var));
            match &clause.kind {
                Kind::Pattern { .. } | Kind::Rule { .. } => 0,
                Kind::Call(call) => {
                    let ready = call.args.iter().all(|arg| !matches!(arg, Arg::Var(var) if !bound.contains(var)));
                    if ready { 1 } else { 9 }
                }
                Kind::Or { .. } => {
                    let waits = clause.vars.iter().any(|var| {
                        !bound.contains(&var)
                            && open.iter().any(|other| !std::ptr::eq(*other, clause) && other.binds.contains(var))
                    });
                    if waits { 5 } else { 2 }
                }
                Kind::Not { .. } => {
                    if clause.vars.iter().any(|var| !bound.contains(&var) && bindable(var)) {
                        8
                    } else {
                        3
                    }
                }
            }
        };
        while !open.is_empty() {
            let at = (0..open.len()).min_by_key(|at| rank(open[*at], &bound, &open)).unwrap();
            let clause = open.remove(at);
            let mut next = Vec::new();
            for row in &rows {
                match &clause.kind {
                    Kind::Pattern { terms, .. } => next.extend(self.pattern(terms, row)),
                    Kind::Call(_) => next.extend(self.call(clause, row)),
                    Kind::Not { join, clauses, .. } => {
                        let inner: Row = match join {
                            Some(join) => {
                                row.iter().filter(|(var, _)| join.contains(var)).map(|(k, v)| (*k, v.clone())).collect()
                            }
                            None => row.clone(),
                        };
                        if self.solve(clauses, vec![inner], answers).is_empty() {
                            next.push(row.clone());
                        }
                    }
                    Kind::Or { branches, vars, .. } => {
                        for branch in branches {
                            let inner: Row = row
                                .iter()
                                .filter(|(var, _)| clause.vars.contains(**var))
                                .map(|(k, v)| (*k, v.clone()))
                                .collect();
                            for found in self.solve(branch, vec![inner], answers) {
                                let mut row = row.clone();
                                row.extend(found.into_iter().filter(|(var, _)| vars.contains(var)));
                                next.push(row);
                            }
                        }
                    }
                    Kind::Rule { name, args, .. } => {
                        for answer in &answers[name] {
                            let mut row = row.clone();
                            if args.iter().zip(answer).all(|(arg, value)| self.term(arg, value.clone(), &mut row)) {
                                next.push(row);
                            }
                        }
                    }
                }
            }
            bound.extend(clause.binds.iter());
            next.sort();
            next.dedup();
            rows = next;
        }
        rows
    }

    fn fixpoint(&self) -> Answers {
        let mut answers: Answers = self.rules.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        loop {
            let mut grown = false;
            for rule in self.rules.values() {
                for branch in &rule.branches {
                    for row in self.solve(&branch.clauses, vec![Row::new()], &answers) {
                        let answer: Vec<Value> = branch.params.iter().map(|param| row[param].clone()).collect();
                        grown |= answers.get_mut(&rule.name).unwrap().insert(answer);
                    }
                }
            }
            if !grown {
                return answers;
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const VARS: [&str; 5] = ["?a", "?b", "?c", "?d", "?e"];
const ATTRS: [&str; 5] = [":g/one", ":g/many", ":g/to", ":g/up", ":g/text"];

fn database(random: &mut Random) -> Db {
    let schema = transacted(
        &Db::bootstrap(),
        "[{:db/ident :g/one :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
          {:db/ident :g/many :db/valueType :db.type/long :db/cardinality :db.cardinality/many}
          {:db/ident :g/to :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
          {:db/ident :g/up :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
          {:db/ident :g/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}]",
    );
    let mut db = schema;
    let size = 3 + random.below(5);
    for step in 0..2 {
        let mut forms = String::from("[");
        for _ in 0..(4 + random.below(16)) {
            let e = |random: &mut Random| {
                let i = random.below(size);
                if step == 0 { format!("\"e{i}\"") } else { format!("{}", (4u64 << 42) + 1029 + i) }
            };
            let a = random.pick(&ATTRS);
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
            Ok(report) => db = report.db_after,
            Err(error) if step == 1 => drop(error),
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
    match random.below(12) {
        0 => format!("[{e} {a} {v} {}]", random.pick(vars)),
        _ => format!("[{e} {a} {v}]"),
    }
}

fn clause(random: &mut Random, depth: u32) -> String {
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

fn rules(random: &mut Random) -> String {
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

/// The answers of the evaluator and the engine to one random query; false where the query cannot be run.
fn compare(seed: u64) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let db = database(&mut random);
    let count = 1 + random.below(4);
    let clauses: Vec<String> = (0..count).map(|_| clause(&mut random, 0)).collect();
    let find = VARS[random.below(3) as usize];
    let more = VARS[random.below(5) as usize];
    let text = format!("[:find {find} {more} :in $ % :where {}]", clauses.join(" "));
    let rules_text = rules(&mut random);
    let Ok(query) = Query::parse(&read(&text)) else { return false };
    let inputs = [Input::Db(db.clone()), Input::Rules(read(&rules_text))];
    let place = format!("seed {seed}: {text} with {rules_text}");
    let found = match query_with(&query, &inputs, &Options::default(), &Budget::unlimited()) {
        Ok(answer) => answer.to_edn(),
        Err(error) if error.code() == "db.error/insufficient-binding" => return false,
        Err(error) => panic!("{place}: {error}"),
    };

    let rules = parse_rules(&read(&rules_text), &query.sources).unwrap();
    let naive = Naive { db: &db, datoms: db.datoms(&crate::Pattern::all()).unwrap(), rules: &rules };
    let answers = naive.fixpoint();
    let rows = naive.solve(&query.clauses, vec![Row::new()], &answers);
    let value = |row: &Row, element: &FindElement| Edn::from(&row[&element.var()]);
    let expected: BTreeSet<Edn> =
        rows.iter().map(|row| Edn::Vector(query.find.iter().map(|element| value(row, element)).collect())).collect();
    let set = |edn: &Edn| -> BTreeSet<Edn> { edn.as_sequence().unwrap().iter().cloned().collect() };
    assert_eq!(set(&found), expected, "{place}");
    for form in permutations(&read(&text)).into_iter().take(6) {
        let query = Query::parse(&form).unwrap();
        for plan in 0..3 {
            let options = Options { any_order: Some(seed * 31 + plan), ..Options::default() };
            let answer = query_with(&query, &inputs, &options, &Budget::unlimited()).unwrap();
            assert_eq!(answer.to_edn(), found, "plan {plan}, {place}");
        }
    }
    true
}

#[test]
fn lesson_25_random_queries_agree_with_a_naive_evaluator_in_every_order() {
    let run = (0..5000).filter(|seed| compare(*seed)).count();
    assert!(run >= 500, "only {run} of the random queries could be run");
}
