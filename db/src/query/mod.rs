//! Datalog over database values.
//!
//! [`Query::parse`] turns EDN into a [`Query`]; [`query`] runs one over inputs and gives an [`Answer`]. A query is
//! run set at a time: clauses are worked one by one into relations kept by column, in an order found from what is
//! bound and what the indexes count, never from the order in which they were written (`execute`). Rules run to
//! their least fixpoint, each round on what the last one found (`rules`).
//!
//! The rows of an answer are a set (a bag under `:with`), and come in the order of their plain variables from left
//! to right: the same value and query give the same answer everywhere.

mod aggregate;
mod ast;
mod constant;
mod execute;
mod explain;
mod find;
pub(crate) mod functions;
mod input;
mod join;
mod parse;
mod relation;
mod rules;

pub use ast::{KeyKind, Keys, Query, Shape};
pub use explain::{Explanation, How, Read, Step, StepKind};
pub(crate) use parse::{callable_names, connective_names, section_names};

use crate::budget::Budget;
use crate::edn::Edn;
use crate::item::Item;
use crate::text::brief;
use crate::{Category, Db, Result};
use ast::VarSet;
use execute::{Place, Run, Scope, check_order};
use explain::{Recorder, StepStart};
use functions::Env;
use input::Inputs;
use rules::RuleFacts;

/// One input of a query, in the order of its `:in`.
#[derive(Clone, Debug)]
pub enum Input {
    Db(Db),
    /// A scalar, tuple, collection or relation to bind; a relation in place of a database; a pull pattern.
    Value(Edn),
    /// A rule set for `%`.
    Rules(Edn),
}

/// What a caller may choose about a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Patterns with nothing bound, such as `[?e ?a ?v]`, read the whole database instead of being refused.
    pub allow_full_scan: bool,
    /// What `rand` and `sample` draw by: the same seed draws the same from the same rows. A caller who wants chance
    /// gives a number of chance.
    pub seed: u64,
    /// Takes clauses in any order that can be worked in, told by a seed, instead of the one that looks best.
    #[cfg(test)]
    any_order: Option<u64>,
}

/// The rows a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub shape: Shape,
    /// The elements of `:find` as written.
    pub columns: Vec<String>,
    /// The return map asked for; rows are tuples in any case.
    pub keys: Option<Keys>,
    /// At most one for a tuple or a scalar.
    pub rows: Vec<Vec<Item>>,
}

/// Runs a query.
pub fn query(query: &Query, inputs: &[Input], budget: &Budget<'_>) -> Result<Answer> {
    query_with(query, inputs, &Options::default(), budget)
}

/// Runs a query with options.
pub fn query_with(query: &Query, inputs: &[Input], options: &Options, budget: &Budget<'_>) -> Result<Answer> {
    run(query, inputs, options, budget, None)
}

/// Runs a query, and tells how it was carried out instead of what it found. One that a limit or the deadline ended
/// is told as far as it went.
pub fn explain(query: &Query, inputs: &[Input], options: &Options, budget: &Budget<'_>) -> Result<Explanation> {
    let recorder = Recorder::new();
    let (rows, stopped) = match run(query, inputs, options, budget, Some(&recorder)) {
        Ok(answer) => (answer.rows.len() as u64, None),
        Err(error) if error.category() == Category::Interrupted => (0, Some(error.message().to_string())),
        Err(error) => return Err(error),
    };
    Ok(recorder.finish(rows, budget.rows_made(), stopped))
}

fn run(
    query: &Query,
    inputs: &[Input],
    options: &Options,
    budget: &Budget<'_>,
    recorder: Option<&Recorder>,
) -> Result<Answer> {
    let inputs = Inputs::bind(query, inputs, budget)?;
    let default = query.default_source;
    let full_scan = options.allow_full_scan;
    let facts = RuleFacts::new(&inputs.rules, &inputs.sources, default, &query.clauses, full_scan)?;
    let given = inputs.vars();
    let mut scope = Scope::new(&inputs.sources, &facts, &query.names, default, &query.clauses, &given)?;
    find::note_entities(query, &mut scope);
    scope.warnings().iter().chain(facts.warnings()).for_each(|warning| budget.warn(|| warning.clone()));
    let run = Run {
        sources: &inputs.sources,
        source_names: &query.sources,
        rules: &inputs.rules,
        facts: &facts,
        env: Env::new(budget),
        options,
        recorder,
    };
    let place = Place { scope: &scope, source: default };
    check_order(&run.readiness(), &scope, default, &query.clauses, &given)?;

    let vars = find::vars(query);
    let keep: VarSet = vars.iter().copied().collect();
    let context = inputs.context(&run, place)?;
    let clauses: Vec<_> = query.clauses.iter().collect();
    let context = run.solve(place, &clauses, context, &keep)?;
    let found = context.into_relation(&vars, budget)?;
    run.begin(|| StepStart {
        kind: StepKind::Find,
        clause: brief(&format_args!(":find {}", query.columns.join(" "))),
        rows_expected: None,
        rows_in: found.rows as u64,
    });
    let rows = find::rows(&run, query, &inputs, found)?;
    run.end(|| rows.len() as u64);
    Ok(Answer { shape: query.shape, columns: query.columns.clone(), keys: query.keys.clone(), rows })
}

impl Answer {
    /// The answer in the shape the query asked for: rows as vectors or maps, values alone, nil where a tuple or a
    /// scalar found nothing.
    pub fn to_edn(&self) -> Edn {
        let value = |row: &Vec<Item>| row.first().map_or(Edn::Nil, Edn::from);
        let tuple = |row: &Vec<Item>| match &self.keys {
            None => Edn::Vector(row.iter().map(Edn::from).collect()),
            Some(keys) => Edn::Map(keys.forms().zip(row.iter().map(Edn::from)).collect()),
        };
        match self.shape {
            Shape::Relation => Edn::Vector(self.rows.iter().map(tuple).collect()),
            Shape::Collection => Edn::Vector(self.rows.iter().map(value).collect()),
            Shape::Tuple => self.rows.first().map_or(Edn::Nil, tuple),
            Shape::Scalar => self.rows.first().map_or(Edn::Nil, value),
        }
    }
}

impl Keys {
    /// The keys as forms, in the order of the columns.
    pub fn forms(&self) -> impl Iterator<Item = Edn> + '_ {
        self.names.iter().map(|name| match self.kind {
            KeyKind::Keyword => Edn::keyword(name),
            KeyKind::String => Edn::string(name),
            KeyKind::Symbol => Edn::symbol(name),
        })
    }
}

#[cfg(test)]
mod tests;
