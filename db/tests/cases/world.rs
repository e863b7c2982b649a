//! What a case sets up, in process, and what it expects.

use super::case::{Case, Setup};
use super::functions::functions;
use diachron_db as db;

use db::edn::Edn;
use db::index::Trees;
use db::index::segment::{MemorySegments, Sizes};
use db::tx::{TxLimits, transact};
use db::{Datom, Db, EntityId, Error, Instant, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
/// 2020-01-01T00:00:00Z: the clock at t 1. Each transaction after it comes a day later.
const FIRST_DAY: Instant = Instant(1_577_836_800_000);

/// The clock when transaction `t` of a case is made, unless the case says.
pub fn clock_at(t: u64) -> Instant {
    Instant(FIRST_DAY.0 + DAY_MS * (t as i64 - 1))
}

/// A database and the names its entities were given by tempids.
#[derive(Clone)]
pub struct World {
    pub db: Db,
    /// The value after each transaction, from t 0 on.
    pub values: Vec<Db>,
    pub names: BTreeMap<String, EntityId>,
    /// After each transaction an index job makes trees, and those of the job before are adopted; now and then both.
    pub indexing: Option<Indexing>,
}

#[derive(Clone, Default)]
pub struct Indexing {
    segments: Arc<MemorySegments>,
    trees: Option<Arc<Trees>>,
}

impl Indexing {
    fn step(&mut self, db: Db) -> Result<Db> {
        // So small that every database has trees of some depth.
        let sizes = Sizes { leaf_rows: 8, branch_children: 4, ..Sizes::default() };
        let trees = self.segments.trees_of(&db, sizes)?;
        let before = self.trees.replace(trees.clone());
        match before {
            _ if db.basis_t().is_multiple_of(3) => db.onto(trees),
            Some(before) => db.onto(before),
            None => Ok(db),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        World { db: Db::bootstrap(), values: vec![Db::bootstrap()], names: BTreeMap::new(), indexing: None }
    }
}

impl World {
    /// The tx-data of a step of the setup.
    pub fn set_up(&self, setup: &Setup) -> std::result::Result<Edn, String> {
        match setup {
            Setup::Schema(attributes) => Ok(attributes_in_full(attributes)),
            Setup::Transaction(tx_data) => self.resolved(tx_data),
        }
    }

    pub fn transact(&mut self, tx_data: &Edn, now: Option<Instant>) -> Result<Vec<Datom>> {
        let now = now.unwrap_or(clock_at(self.db.basis_t() + 1));
        let report = transact(&self.db, tx_data, now, &functions(), &TxLimits::default())?;
        self.db = match &mut self.indexing {
            Some(indexing) => indexing.step(report.db_after)?,
            None => report.db_after,
        };
        self.values.push(self.db.clone());
        self.names.extend(report.tempids);
        Ok(report.datoms)
    }

    /// The world after transactions that nobody makes; each may name what those before it made.
    pub fn with(&self, transactions: &[Edn]) -> Result<World> {
        let mut after = self.clone();
        for tx_data in transactions {
            let tx_data = after.resolved(tx_data).map_err(|message| Error::incorrect("test/case", message))?;
            after.transact(&tx_data, None)?;
        }
        Ok(after)
    }

    /// The world with the names that tempids get in the case's speculations; one that fails is told of when it is
    /// asked for.
    pub fn knowing(mut self, case: &Case) -> World {
        let mut speculations: Vec<&[Edn]> = case.get("with").and_then(Edn::as_sequence).into_iter().collect();
        if let Some(views @ Edn::Map(entries)) = case.get("views") {
            let views = entries.iter().map(|(_, view)| view).chain([views]);
            speculations.extend(views.filter_map(|view| view.get("with")?.as_sequence()));
        }
        let names: Vec<_> = speculations.iter().flat_map(|transactions| self.with(transactions)).collect();
        names.into_iter().for_each(|after| self.names.extend(after.names));
        self
    }

    /// The form with the suite's tags replaced by what they stand for.
    pub fn resolved(&self, form: &Edn) -> std::result::Result<Edn, String> {
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
                    let e = self
                        .db
                        .entity_of_ident(ident)
                        .map_err(|error| error.to_string())?
                        .ok_or_else(|| format!("{form}: no such ident"))?;
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

pub fn texts(form: Option<&Edn>) -> Vec<String> {
    match form {
        Some(Edn::String(text)) => vec![text.to_string()],
        Some(Edn::Vector(forms)) => forms.iter().flat_map(|form| texts(Some(form))).collect(),
        _ => Vec::new(),
    }
}

/// Whether what was found is what the case expects.
pub fn check(case: &Case, world: &World, found: Result<Edn>, variant: &str) -> std::result::Result<(), String> {
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
