//! One case in process: its form in every order, what came of it.

use crate::case::Case;
use crate::order;
use crate::world::{Indexing, World, check, texts};
use diachron_db as db;

use db::budget::Budget;
use db::edn::{self, Edn};
use db::query::{self, Input, Options, Query, Shape};
use db::{Datom, Db, Error, Pattern, Result};
use std::collections::BTreeMap;

/// What was found where something else was expected.
type Outcome = std::result::Result<usize, String>;

/// Runs a case in memory, and again with index jobs between its transactions.
pub fn run(case: &Case) -> Outcome {
    let in_memory = run_on(case, None)?;
    let indexed = run_on(case, Some(Indexing::default()));
    Ok(in_memory + indexed.map_err(|failure| format!("with index jobs:\n{failure}"))?)
}

fn run_on(case: &Case, indexing: Option<Indexing>) -> Outcome {
    if let Some(text) = case.get("read") {
        return read(case, &World::default().resolved(text)?);
    }
    let world = World::of(case, indexing)?.knowing(case);
    world.check_past()?;
    if let Some(transactions) = case.get("with") {
        let Some([before @ .., last]) = transactions.as_sequence() else {
            return Err(":with takes transactions, at least one".into());
        };
        let world = world.with(before).map_err(|error| format!("before the last transaction: {error:?}"))?;
        return self::transactions(case, &world, last);
    }
    if let Some(tx_data) = case.get("transact") {
        return transactions(case, &world, tx_data);
    }
    if let Some(query) = case.get("query") {
        return queries(case, &world, query);
    }
    match case.get("pull").and_then(Edn::as_sequence) {
        Some([pattern, entity]) => pull(case, &world, pattern, entity),
        _ => Err("a case has one of :read, :transact, :with, :query and :pull [pattern entity]".into()),
    }
}

fn read(case: &Case, text: &Edn) -> Outcome {
    let Edn::String(text) = text else { return Err(":read takes a string".into()) };
    let form = edn::read(text);
    let world = World::default();
    if let Ok(form) = &form {
        let written = form.to_string();
        let again = edn::read(&written);
        if !matches!(&again, Ok(again) if again == form) {
            return Err(format!("written as {written}, read again as {again:?}"));
        }
        if let Some(Edn::String(expected)) = case.get("written")
            && **expected != *written
        {
            return Err(format!("  expected to be written {expected}\n  found {written}"));
        }
        if case.get("expected").is_none() && case.get("error").is_none() {
            return Ok(1);
        }
    }
    check(case, &world, form, "as written").map(|()| 1)
}

fn transactions(case: &Case, world: &World, tx_data: &Edn) -> Outcome {
    let tx_data = world.resolved(tx_data)?;
    let ordered = case.get("ordered") == Some(&Edn::Bool(true));
    let orders = match &tx_data {
        Edn::Vector(forms) if forms.len() > 1 && !ordered => order::orders(forms),
        _ => vec![],
    };
    let orders: Vec<Edn> =
        if orders.is_empty() { vec![tx_data] } else { orders.into_iter().map(Edn::Vector).collect() };
    let now = match case.get("now") {
        Some(Edn::Inst(now)) => Some(*now),
        _ => None,
    };
    for tx_data in &orders {
        let variant = format!("transacting {tx_data}");
        let mut after = world.clone();
        let datoms = after.transact(tx_data, now);
        let found = match (datoms, case.get("query")) {
            (Ok(_), Some(query)) => {
                after.check_past().map_err(|found| format!("{variant}\n{found}"))?;
                let query = after.resolved(query)?;
                ask(case, &after, &query, None, false)
            }
            (datoms, _) => datoms.map(|datoms| datoms_as_edn(&after.db, &datoms)),
        };
        check(case, &after, found, &variant)?;
    }
    Ok(orders.len())
}

/// `[e attribute v added]`, without the transaction's own instant.
fn datoms_as_edn(db: &Db, datoms: &[Datom]) -> Edn {
    let instant = Edn::keyword("db/txInstant");
    let form = |datom: &Datom| {
        let attribute = Edn::Keyword(db.schema().attribute(datom.a()).ident.clone());
        Edn::Vector(vec![Edn::Long(datom.e.as_long()), attribute, Edn::from(&datom.v), Edn::Bool(datom.added())])
    };
    let mut forms: Vec<Edn> = datoms.iter().map(form).collect();
    let instants = |form: &Edn| form.as_sequence().is_some_and(|parts| parts[1] == instant);
    if forms.iter().any(instants) {
        forms.retain(|form| !instants(form));
    } else {
        forms.push(Edn::string("no :db/txInstant"));
    }
    Edn::Set(forms)
}

fn queries(case: &Case, world: &World, query: &Edn) -> Outcome {
    let query = world.resolved(query)?;
    let rules = match case.get("rules") {
        Some(rules) => vec![Some(world.resolved(rules)?), Some(order::reversed_rules(&world.resolved(rules)?))],
        None => vec![None],
    };
    let mut runs = 0;
    for query in order::queries(&query) {
        for rules in &rules {
            for as_of_basis in [false, true] {
                let found = ask(case, world, &query, rules.as_ref(), as_of_basis);
                let view = if as_of_basis { " as of the basis" } else { "" };
                check(case, world, found, &format!("asking {query}{view}"))?;
                runs += 1;
            }
        }
    }
    Ok(runs)
}

fn ask(case: &Case, world: &World, query: &Edn, rules: Option<&Edn>, as_of_basis: bool) -> Result<Edn> {
    let query = Query::parse(query)?;
    let given = case.get("inputs").map_or(Ok(Edn::Vector(vec![])), |inputs| world.resolved(inputs));
    let given = given.map_err(|message| Error::incorrect("test/inputs", message))?;
    let mut given = given.as_sequence().unwrap_or_default().iter();
    let views = case.get("views").map_or(Ok(Edn::Nil), |views| world.resolved(views));
    let views = views.map_err(|message| Error::incorrect("test/views", message))?;
    let mut inputs = Vec::new();
    for form in query.inputs() {
        let name = form.to_string();
        if name.starts_with('$') {
            let view = match &views {
                Edn::Map(entries) => entries.iter().find(|(key, _)| key == form).map(|(_, view)| view),
                _ => None,
            };
            inputs.push(world.source(view, as_of_basis)?);
        } else if name == "%" && rules.is_some() {
            inputs.extend(rules.cloned().map(Input::Rules));
        } else {
            inputs.extend(given.next().cloned().map(Input::Value));
        }
    }
    inputs.extend(given.cloned().map(Input::Value));
    let options = Options { allow_full_scan: case.get("full-scan") == Some(&Edn::Bool(true)), ..Options::default() };
    let budget = Budget::unlimited();
    let answer = query::query_with(&query, &inputs, &options, &budget)?;
    let warnings = budget.take_warnings();
    for expected in texts(case.get("warnings")) {
        if !warnings.iter().any(|warning| warning.contains(&expected)) {
            return Err(Error::incorrect("test/warnings", format!("no warning with {expected:?} among {warnings:?}")));
        }
    }
    if case.get("warnings") == Some(&Edn::Vector(vec![])) && !warnings.is_empty() {
        return Err(Error::incorrect("test/warnings", format!("expected no warnings, found {warnings:?}")));
    }
    Ok(match (answer.shape, answer.to_edn()) {
        (Shape::Relation | Shape::Collection, Edn::Vector(mut rows)) => {
            rows.sort();
            Edn::Vector(rows)
        }
        (_, answer) => answer,
    })
}

fn pull(case: &Case, world: &World, pattern: &Edn, entity: &Edn) -> Outcome {
    let (pattern, entity) = (world.resolved(pattern)?, world.resolved(entity)?);
    let views = case.get("views").map(|views| world.resolved(views)).transpose()?;
    for as_of_basis in [false, true] {
        let budget = Budget::unlimited();
        let found = match world.source(views.as_ref(), as_of_basis) {
            Ok(Input::Db(db)) => db::pull::pull(&db, &pattern, &entity, &budget).map(|item| Edn::from(&item)),
            Ok(_) => return Err("a pull is of a database".into()),
            Err(error) => Err(error),
        };
        check(case, world, found, &format!("pulling {pattern} of {entity}"))?;
        let warnings = budget.take_warnings();
        for expected in texts(case.get("warnings")) {
            if !warnings.iter().any(|warning| warning.contains(&expected)) {
                return Err(format!("  expected a warning with {expected:?}\n  found {warnings:?}"));
            }
        }
        if case.get("warnings").is_none() && !warnings.is_empty() {
            return Err(format!("  expected no warnings\n  found {warnings:?}"));
        }
    }
    Ok(2)
}

impl World {
    fn of(case: &Case, indexing: Option<Indexing>) -> std::result::Result<World, String> {
        let mut world = World { indexing, ..World::default() };
        for setup in &case.setup {
            let tx_data = world.set_up(setup)?;
            world.transact(&tx_data, None).map_err(|error| format!("setting up {tx_data}: {error:?}"))?;
        }
        Ok(world)
    }

    /// What `as-of t` shows is what was there at t, and history is the fold of all that was said.
    fn check_past(&self) -> std::result::Result<(), String> {
        let all = |db: &Db| db.datoms(&Pattern::all()).map_err(|error| format!("{error:?}"));
        for (t, value) in self.values.iter().enumerate() {
            let then = self.db.as_of(t as u64);
            if all(value)? != all(&then)? {
                return Err(format!("as of {t}: {:?}\nat {t}: {:?}", all(&then)?, all(value)?));
            }
        }
        let mut fold: BTreeMap<_, Datom> = BTreeMap::new();
        let mut history = all(&self.db.history())?;
        history.sort_by_key(|datom| (datom.t(), datom.added()));
        for datom in history {
            let key = (datom.e, datom.a(), datom.v.clone());
            if datom.added() {
                fold.insert(key, datom)
            } else {
                fold.remove(&key)
            };
        }
        let (mut folded, mut now): (Vec<Datom>, Vec<Datom>) = (fold.into_values().collect(), all(&self.db)?);
        let order = |a: &Datom, b: &Datom| (a.e, a.a(), &a.v).cmp(&(b.e, b.a(), &b.v));
        folded.sort_by(order);
        now.sort_by(order);
        if folded == now { Ok(()) } else { Err(format!("history folds to {folded:?}\nnot to {now:?}")) }
    }

    /// The value or relation that a source stands for.
    fn source(&self, view: Option<&Edn>, as_of_basis: bool) -> Result<Input> {
        let Some(Edn::Map(entries)) = view else {
            let db = if as_of_basis { self.db.as_of(self.db.basis_t()) } else { self.db.clone() };
            return Ok(Input::Db(db));
        };
        // Speculation comes first, wherever it stands: the view looks at what it gave.
        let transactions = view.and_then(|view| view.get("with")?.as_sequence()).unwrap_or_default();
        let mut db = self.with(transactions)?.db;
        for (key, value) in entries {
            let Edn::Keyword(key) = key else { return Err(unknown_view(key)) };
            db = match key.as_str() {
                "with" => db,
                "relation" => return Ok(Input::Value(value.clone())),
                "value-at" => match value {
                    Edn::Long(t) => self.values[*t as usize].clone(),
                    other => return Err(unknown_view(other)),
                },
                "as-of" => db.as_of(db.t_at(db.time_point(value)?)?),
                "since" => db.since(db.t_at(db.time_point(value)?)?),
                "history" => db.history(),
                _ => return Err(unknown_view(&Edn::Keyword(key.clone()))),
            };
        }
        Ok(Input::Db(db))
    }
}

fn unknown_view(form: &Edn) -> Error {
    Error::incorrect("test/view", format!("{form} is no view"))
}
