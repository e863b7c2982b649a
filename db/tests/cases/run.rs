//! One case: its setup, its form in every order, what came of it.

use crate::case::{Case, Setup};
use crate::functions::functions;
use crate::order;
use diachron_db as db;

use db::budget::Budget;
use db::edn::{self, Edn};
use db::query::{self, Input, Options, Query, Shape};
use db::tx::{TxLimits, transact};
use db::{Datom, Db, EntityId, Error, Instant, Pattern, Result};
use std::collections::BTreeMap;

/// What was found where something else was expected.
type Outcome = std::result::Result<usize, String>;

const DAY_MS: i64 = 86_400_000;
/// 2020-01-01T00:00:00Z: the clock at t 1. Each transaction after it comes a day later.
const FIRST_DAY: Instant = Instant(1_577_836_800_000);

pub fn run(case: &Case) -> Outcome {
    if let Some(text) = case.get("read") {
        return read(case, &World::default().resolved(text)?);
    }
    let world = World::of(case)?;
    world.check_past()?;
    if let Some(tx_data) = case.get("transact") {
        return transactions(case, &world, tx_data);
    }
    if let Some(query) = case.get("query") {
        return queries(case, &world, query);
    }
    match case.get("pull").and_then(Edn::as_sequence) {
        Some([pattern, entity]) => pull(case, &world, pattern, entity),
        _ => Err("a case has one of :read, :transact, :query and :pull [pattern entity]".into()),
    }
}

/// A database and the names its entities were given by tempids.
struct World {
    db: Db,
    /// The value after each transaction, from t 0 on.
    values: Vec<Db>,
    names: BTreeMap<String, EntityId>,
}

impl Default for World {
    fn default() -> Self {
        World { db: Db::bootstrap(), values: vec![Db::bootstrap()], names: BTreeMap::new() }
    }
}

impl World {
    fn of(case: &Case) -> std::result::Result<World, String> {
        let mut world = World::default();
        for setup in &case.setup {
            let tx_data = match setup {
                Setup::Schema(attributes) => attributes_in_full(attributes),
                Setup::Transaction(tx_data) => world.resolved(tx_data)?,
            };
            world.transact(&tx_data, None).map_err(|error| format!("setting up {tx_data}: {error:?}"))?;
        }
        Ok(world)
    }

    fn transact(&mut self, tx_data: &Edn, now: Option<Instant>) -> Result<Vec<Datom>> {
        let now = now.unwrap_or(Instant(FIRST_DAY.0 + DAY_MS * self.db.basis_t() as i64));
        let report = transact(&self.db, tx_data, now, &functions(), &TxLimits::default())?;
        self.db = report.db_after;
        self.values.push(self.db.clone());
        self.names.extend(report.tempids);
        Ok(report.datoms)
    }

    /// The form with the suite's tags replaced by what they stand for.
    fn resolved(&self, form: &Edn) -> std::result::Result<Edn, String> {
        let all = |forms: &[Edn]| forms.iter().map(|form| self.resolved(form)).collect::<std::result::Result<_, _>>();
        Ok(match form {
            Edn::List(forms) => Edn::List(all(forms)?),
            Edn::Vector(forms) => Edn::Vector(all(forms)?),
            Edn::Set(forms) => Edn::Set(all(forms)?),
            Edn::Map(entries) => {
                let entry = |(key, value): &(Edn, Edn)| Ok((self.resolved(key)?, self.resolved(value)?));
                Edn::Map(entries.iter().map(entry).collect::<std::result::Result<_, String>>()?)
            }
            Edn::Tagged(tag, inner) => match (tag.as_str(), &self.resolved(inner)?) {
                ("e", Edn::String(name)) => {
                    let e = self.names.get(&**name).ok_or_else(|| format!("{form}: no tempid of that name"))?;
                    Edn::Long(e.as_long())
                }
                ("tx", Edn::Long(t)) => Edn::Long(EntityId::of_tx(*t as u64).as_long()),
                ("ident", Edn::Keyword(ident)) => {
                    let e = self.db.entity_of_ident(ident).ok_or_else(|| format!("{form}: no such ident"))?;
                    Edn::Long(e.as_long())
                }
                ("range", Edn::Vector(bounds)) => match &bounds[..] {
                    [Edn::Long(from), Edn::Long(to)] => Edn::Vector((*from..*to).map(Edn::Long).collect()),
                    _ => return Err(format!("{form}: #range takes [from to]")),
                },
                ("repeat", Edn::Vector(parts)) => match &parts[..] {
                    [Edn::Long(times), Edn::String(text)] => Edn::string(text.repeat(*times as usize)),
                    _ => return Err(format!("{form}: #repeat takes [times text]")),
                },
                ("text", Edn::Vector(parts)) => {
                    let text =
                        |part: &Edn| if let Edn::String(text) = part { text.to_string() } else { part.to_string() };
                    Edn::string(parts.iter().map(text).collect::<String>())
                }
                (_, inner) => Edn::Tagged(tag.clone(), Box::new(inner.clone())),
            },
            other => other.clone(),
        })
    }

    /// What `as-of t` shows is what was there at t, and history is the fold of all that was said.
    fn check_past(&self) -> std::result::Result<(), String> {
        let all = |db: &Db| db.datoms(&Pattern::all()).map_err(|error| format!("{error:?}"));
        for (t, value) in self.values.iter().enumerate() {
            let then = self.db.as_of(db::TimePoint::T(t as u64));
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
            let db = if as_of_basis { self.db.as_of(db::TimePoint::T(self.db.basis_t())) } else { self.db.clone() };
            return Ok(Input::Db(db));
        };
        let mut db = self.db.clone();
        for (key, value) in entries {
            let Edn::Keyword(key) = key else { return Err(unknown_view(key)) };
            db = match key.as_str() {
                "relation" => return Ok(Input::Value(value.clone())),
                "value-at" => match value {
                    Edn::Long(t) => self.values[*t as usize].clone(),
                    other => return Err(unknown_view(other)),
                },
                "as-of" => db.as_of(db.time_point(value)?),
                "since" => db.since(db.time_point(value)?),
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

/// `[ident type flag…]` written as the map that installs it.
fn attributes_in_full(attributes: &Edn) -> Edn {
    let keyword = Edn::keyword;
    let in_full = |attribute: &Edn| {
        let Edn::Vector(parts) = attribute else { return attribute.clone() };
        let [ident, Edn::Keyword(value_type), flags @ ..] = &parts[..] else { return attribute.clone() };
        let has = |flag: &str| flags.contains(&keyword(flag));
        let mut entries = vec![
            (keyword("db/ident"), ident.clone()),
            (keyword("db/valueType"), keyword(&format!("db.type/{}", value_type.as_str()))),
            (
                keyword("db/cardinality"),
                keyword(if has("many") { "db.cardinality/many" } else { "db.cardinality/one" }),
            ),
        ];
        for unique in ["identity", "value"].into_iter().filter(|unique| has(unique)) {
            entries.push((keyword("db/unique"), keyword(&format!("db.unique/{unique}"))));
        }
        for (flag, attribute) in [("component", "db/isComponent"), ("index", "db/index")] {
            if has(flag) {
                entries.push((keyword(attribute), Edn::Bool(true)));
            }
        }
        Edn::Map(entries)
    };
    Edn::Vector(attributes.as_sequence().unwrap_or_default().iter().map(in_full).collect())
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
        let mut after = World { db: world.db.clone(), values: world.values.clone(), names: world.names.clone() };
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

fn texts(form: Option<&Edn>) -> Vec<String> {
    match form {
        Some(Edn::String(text)) => vec![text.to_string()],
        Some(Edn::Vector(forms)) => forms.iter().flat_map(|form| texts(Some(form))).collect(),
        _ => Vec::new(),
    }
}

fn check(case: &Case, world: &World, found: Result<Edn>, variant: &str) -> std::result::Result<(), String> {
    let differs = |expected: &Edn, found: &dyn std::fmt::Display| {
        Err(format!("  {variant}\n  expected {expected}\n  found    {found}"))
    };
    match (case.get("expected"), case.get("error"), found) {
        (Some(expected), None, Ok(found)) => {
            let expected = world.resolved(expected)?;
            // The rows of a relation and of a collection have no order.
            let same = match (&expected, &found) {
                (Edn::Set(rows) | Edn::Vector(rows), Edn::Vector(found)) if case.get("query").is_some() => {
                    let mut rows = rows.clone();
                    rows.sort();
                    rows == *found || matches!(&expected, Edn::Vector(rows) if rows == found)
                }
                _ => expected == found,
            };
            if same { Ok(()) } else { differs(&expected, &found) }
        }
        (None, Some(expected), Err(error)) => {
            let is = |key: &str, found: &str| match expected.get(key) {
                Some(Edn::Keyword(expected)) => expected.as_str() == found,
                _ => true,
            };
            let tells = texts(expected.get("message-contains"));
            let category_fits = is("category", error.category().name());
            let silent = tells.iter().find(|text| !error.message().contains(text.as_str()));
            if category_fits && is("code", error.code()) && silent.is_none() {
                return Ok(());
            }
            differs(expected, &format!("{error:?}"))
        }
        (Some(expected), None, Err(error)) => differs(expected, &format!("{error:?}")),
        (None, Some(expected), Ok(found)) => differs(expected, &found),
        _ => Err("a case has one of :expected and :error".into()),
    }
}
