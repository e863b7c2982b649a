//! Random queries against an evaluator that knows nothing of plans, columns or indexes.
//!
//! The evaluator takes one row at a time through the clauses, trying every datom; rules are run by trying every
//! row of the answer so far until nothing is added. It shares only the parser with the engine.

mod aggregates;
mod random;

use super::*;
use crate::model::{Datom, EntityId, Symbol, Value};
use crate::query::ast::{Arg, Clause, FindElement, Kind, Rule, Term, Var};
use crate::query::constant::value_of;
use crate::query::functions::Op;
use crate::query::parse::parse_rules;
use random::{Random, VARS};
use std::collections::{BTreeMap, BTreeSet};

/// One row: what each variable is bound to.
type Row = BTreeMap<Var, Value>;
type Answers = BTreeMap<Symbol, BTreeSet<Vec<Value>>>;

struct Naive<'a> {
    db: &'a Db,
    /// Entities are taken for their numbers, which no plain value here is one of; so what was given as a number is the
    /// entity in all places where one stands.
    by_number: bool,
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
                    Value::Keyword(ident) => self.db.entity_of_ident(ident).unwrap().map(Value::Ref),
                    _ => None,
                }
                .unwrap_or_else(|| constant.clone());
                self.plain(constant) == value
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

    fn plain(&self, value: Value) -> Value {
        match value {
            Value::Ref(e) if self.by_number => Value::Long(e.as_long()),
            value => value,
        }
    }

    /// What becomes of a value that is given to a variable.
    fn given(&self, var: Var, value: Value, ts: &BTreeSet<Var>) -> Value {
        match value {
            Value::Long(t @ 0..100) if ts.contains(&var) => self.plain(Value::Ref(EntityId::of_tx(t as u64))),
            value => self.plain(value),
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
            if terms.iter().zip(parts).all(|(term, part)| self.term(term, self.plain(part), &mut row)) {
                found.push(row);
            }
        }
        found
    }

    fn call(&self, clause: &Clause, row: &Row, ts: &BTreeSet<Var>) -> Vec<Row> {
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
                let (mut row, var) = (row.clone(), binding.vars()[0]);
                let value = self.given(var, value, ts);
                if self.term(&Term::Var(var), value, &mut row) { vec![row] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    /// `ts`: the variables of which a t means its transaction.
    fn solve(&self, clauses: &[Clause], rows: Vec<Row>, answers: &Answers, ts: &BTreeSet<Var>) -> Vec<Row> {
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
                    Kind::Call(_) => next.extend(self.call(clause, row, ts)),
                    Kind::Not { join, clauses, .. } => {
                        let inner: Row = match join {
                            Some(join) => {
                                row.iter().filter(|(var, _)| join.contains(var)).map(|(k, v)| (*k, v.clone())).collect()
                            }
                            None => row.clone(),
                        };
                        if self.solve(clauses, vec![inner], answers, ts).is_empty() {
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
                            for found in self.solve(branch, vec![inner], answers, ts) {
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

    /// The variables that stand for a transaction somewhere, and nowhere for a plain value.
    fn taking_t(&self, clauses: &[Clause]) -> BTreeSet<Var> {
        let (mut transactions, mut values) = (BTreeSet::new(), BTreeSet::new());
        self.look_at(clauses, &mut transactions, &mut values);
        &transactions - &values
    }

    fn look_at(&self, clauses: &[Clause], transactions: &mut BTreeSet<Var>, values: &mut BTreeSet<Var>) {
        for clause in clauses {
            match &clause.kind {
                Kind::Pattern { terms, .. } => {
                    transactions.extend(terms.get(3).and_then(Term::var));
                    // The generator writes every attribute by its ident.
                    let Some(Term::Const(Value::Keyword(a))) = terms.get(1) else { panic!("{}", clause.form) };
                    let a = self.db.schema().attr_of_ident(a).unwrap();
                    let value = terms.get(2).filter(|_| !self.db.schema().attribute(a).is_ref());
                    values.extend([value, terms.get(4)].into_iter().flatten().filter_map(Term::var));
                }
                Kind::Call(call) => {
                    values.extend(
                        call.args.iter().filter_map(|arg| if let Arg::Var(var) = arg { Some(*var) } else { None }),
                    );
                }
                Kind::Not { clauses, .. } => self.look_at(clauses, transactions, values),
                Kind::Or { branches, .. } => {
                    branches.iter().for_each(|branch| self.look_at(branch, transactions, values));
                }
                Kind::Rule { .. } => {}
            }
        }
    }

    fn fixpoint(&self) -> Answers {
        let mut answers: Answers = self.rules.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        loop {
            let mut grown = false;
            for rule in self.rules.values() {
                for branch in &rule.branches {
                    for row in self.solve(&branch.clauses, vec![Row::new()], &answers, &self.taking_t(&branch.clauses))
                    {
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

/// The answers of the evaluator and the engine to one random query; false where the query cannot be run.
fn compare(seed: u64) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let db = random::database(&mut random);
    let (db, view) = random::view(&mut random, &db);
    let count = 1 + random.below(4);
    let clauses: Vec<String> = (0..count).map(|_| random::clause(&mut random, 0)).collect();
    let find = VARS[random.below(3) as usize];
    let more = VARS[random.below(5) as usize];
    let (element, with) = aggregates::element(&mut random, more);
    let text = format!("[:find {find} {element} {with} :in $ % :where {}]", clauses.join(" "));
    let rules_text = random::rules(&mut random);
    let Ok(query) = Query::parse(&read(&text)) else { return false };
    let inputs = [Input::Db(db.clone()), Input::Rules(read(&rules_text))];
    let place = format!("seed {seed}: {text} with {rules_text}, {view}");
    let options = Options { seed, ..Options::default() };
    let found = query_with(&query, &inputs, &options, &Budget::unlimited());
    if matches!(&found, Err(error) if error.code() == "db.error/insufficient-binding") {
        return false;
    }

    let rules = parse_rules(&read(&rules_text), &query.sources).unwrap();
    let naive = Naive { db: &db, by_number: false, datoms: db.datoms(&crate::Pattern::all()).unwrap(), rules: &rules };
    let answers = naive.fixpoint();
    let rows = naive.solve(&query.clauses, vec![Row::new()], &answers, &naive.taking_t(&query.clauses));
    let vars: Vec<Var> = super::super::find::vars(&query);
    let tuples: BTreeSet<Vec<Value>> =
        rows.iter().map(|row| vars.iter().map(|var| row[var].clone()).collect()).collect();
    aggregates::check(&query, &vars, &tuples, &found, &place);
    // Telling how it was done changes nothing.
    if let Ok(found) = &found {
        let told = explain(&query, &inputs, &options, &Budget::unlimited()).unwrap();
        assert_eq!((told.rows, told.stopped.as_deref(), told.cut), (found.rows.len() as u64, None, false), "{place}");
        assert!(told.steps.iter().all(|step| step.rows_out.is_some()), "{place}: {told}");
        assert_eq!(told.to_edn(), read(&told.to_edn().to_string()), "{place}");
    }
    for form in permutations(&read(&text)).into_iter().take(6) {
        let query = Query::parse(&form).unwrap();
        for plan in 0..3 {
            let options = Options { any_order: Some(seed * 31 + plan), ..options.clone() };
            let again = query_with(&query, &inputs, &options, &Budget::unlimited());
            match (&found, again) {
                (Ok(found), Ok(again)) => assert_eq!(again.to_edn(), found.to_edn(), "plan {plan}, {place}"),
                (Err(found), Err(again)) => assert_eq!(again.code(), found.code(), "plan {plan}, {place}"),
                (found, again) => panic!("plan {plan}, {place}: {found:?} and {again:?}"),
            }
        }
    }
    true
}

#[test]
fn lesson_25_random_queries_agree_with_a_naive_evaluator_in_every_order() {
    // More of them where there is time for it.
    let seeds = if std::env::var_os("DIACHRON_SLOW").is_some() { 100_000 } else { 5000 };
    let run = (0..seeds).filter(|seed| compare(*seed)).count();
    assert!(run >= 500, "only {run} of the random queries could be run");
}

/// The same of a query that is given values for one of its variables: numbers, texts, entities, an ident.
fn compare_given(seed: u64) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (db, view) = {
        let db = random::database(&mut random);
        random::view(&mut random, &db)
    };
    let clauses: Vec<String> = (0..1 + random.below(3)).map(|_| random::clause(&mut random, 0)).collect();
    let var = random.pick(&VARS);
    let find = format!("{} {}", VARS[random.below(5) as usize], var);
    let clauses = clauses.join(" ");
    // A number that is given and an entity that a function tells are two values where no entity stands; and entities
    // stand behind texts in the order of all values, where numbers stand before them.
    let tells_apart = [format!(") {var}]"), "(<".into(), "(>".into()];
    if tells_apart.iter().any(|part| clauses.contains(part)) {
        return false;
    }
    let text = format!("[:find {find} :in $ % [{var} ...] :where {clauses}]");
    let rules_text = random::rules(&mut random);
    let given: Vec<String> = (0..1 + random.below(5)).map(|_| random::given(&mut random)).collect();
    let given = read(&format!("[{}]", given.join(" ")));
    let Ok(query) = Query::parse(&read(&text)) else { return false };
    let inputs = [Input::Db(db.clone()), Input::Rules(read(&rules_text)), Input::Value(given.clone())];
    let place = format!("seed {seed}: {text} of {given} with {rules_text}, {view}");
    let ask = |query: &Query, plan: u64| {
        let options = Options { any_order: (plan > 0).then_some(seed * 31 + plan), ..Options::default() };
        query_with(query, &inputs, &options, &Budget::unlimited())
    };
    if ask(&query, 0).is_err_and(|error| error.code() == "db.error/insufficient-binding") {
        return false;
    }

    let rules = parse_rules(&read(&rules_text), &query.sources).unwrap();
    let naive = Naive { db: &db, by_number: true, datoms: db.datoms(&crate::Pattern::all()).unwrap(), rules: &rules };
    let ts = naive.taking_t(&query.clauses);
    let given_var = query.find[1].var();
    let (mut transactions, mut values) = (BTreeSet::new(), BTreeSet::new());
    naive.look_at(&query.clauses, &mut transactions, &mut values);
    if transactions.contains(&given_var) && values.contains(&given_var) {
        // It would be a t in one clause, and a number in another.
        return false;
    }
    let Edn::Vector(given) = given else { panic!("{place}") };
    let begun = given.iter().map(|value| {
        let value = value_of(value).unwrap().unwrap();
        Row::from([(given_var, naive.given(given_var, value, &ts))])
    });
    let vars: Vec<Var> = query.find.iter().map(FindElement::var).collect();
    let rows = naive.solve(&query.clauses, begun.collect(), &naive.fixpoint(), &ts);
    let expected: BTreeSet<Vec<Value>> =
        rows.iter().map(|row| vars.iter().map(|var| row[var].clone()).collect()).collect();
    for (plan, form) in (0..4).zip(permutations(&read(&text))) {
        let found = ask(&Query::parse(&form).unwrap(), plan).unwrap_or_else(|error| panic!("{plan}, {place}: {error}"));
        let plain = |item: &crate::Item| naive.plain(aggregates::value(item).clone());
        let rows: BTreeSet<Vec<Value>> = found.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        assert_eq!(rows, expected, "plan {plan}, {place}");
    }
    true
}

#[test]
fn rule_34_what_is_given_is_itself_and_an_entity_where_one_stands_in_every_order() {
    let seeds = if std::env::var_os("DIACHRON_SLOW").is_some() { 100_000 } else { 5000 };
    let run = (0..seeds).filter(|seed| compare_given(*seed)).count();
    assert!(run >= 500, "only {run} of the random queries could be run");
}
