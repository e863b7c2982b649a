//! Inputs: databases, relations, rules, and values to bind.

use super::Input;
use super::ast::{Binding, InputForm, Query, Rule, Var, VarSet};
use super::constant::value_of;
use super::execute::{Context, Place, Run, Source};
use super::parse::parse_rules;
use super::relation::{Column, Meter, Relation};
use crate::budget::Budget;
use crate::edn::Edn;
use crate::model::{Symbol, Value};
use crate::pull;
use crate::text::brief;
use crate::{Category, Error, Result};
use std::collections::BTreeMap;

/// The inputs of one run, bound to the forms of `:in`.
pub(super) struct Inputs {
    pub sources: Vec<Source>,
    pub rules: BTreeMap<Symbol, Rule>,
    /// Pull patterns by their position in `:in`.
    pub patterns: BTreeMap<usize, pull::Pattern>,
    relations: Vec<Relation>,
}

fn error(message: impl Into<String>) -> Error {
    Error::incorrect("db.error/invalid-input", message)
}

impl Inputs {
    pub(super) fn bind(query: &Query, inputs: &[Input], budget: &Budget<'_>) -> Result<Inputs> {
        if inputs.len() != query.inputs.len() {
            let forms: Vec<String> = query.inputs().map(Edn::to_string).collect();
            return Err(error(format!(
                "the query takes {} input{} ({}), not {}",
                forms.len(),
                if forms.len() == 1 { "" } else { "s" },
                forms.join(" "),
                inputs.len()
            )));
        }
        let mut bound =
            Inputs { sources: Vec::new(), rules: BTreeMap::new(), patterns: BTreeMap::new(), relations: Vec::new() };
        for (at, ((form, name), input)) in query.inputs.iter().zip(inputs).enumerate() {
            match (form, input) {
                (InputForm::Source, Input::Db(db)) => bound.sources.push(Source::Db(db.clone())),
                (InputForm::Source, Input::Value(rows)) => {
                    bound.sources.push(Source::Relation(rows_of(name, rows, budget)?));
                }
                (InputForm::Rules, Input::Rules(rules) | Input::Value(rules)) => {
                    bound.rules = parse_rules(rules, &query.sources)?;
                }
                (InputForm::Pattern, Input::Value(pattern)) => {
                    bound.patterns.insert(at, pull::Pattern::parse(pattern)?);
                }
                (InputForm::Binding(binding), Input::Value(value)) => {
                    let relation = bind(binding, value, budget).map_err(|problem| match problem.category() {
                        // A limit or the deadline is no fault of the input's.
                        Category::Interrupted => problem,
                        _ => error(format!("the input for {}: {}", brief(name), problem.message())),
                    })?;
                    bound.relations.extend(relation);
                }
                (InputForm::Source | InputForm::Pattern, Input::Rules(_))
                | (InputForm::Binding(_), Input::Rules(_)) => {
                    return Err(error(format!("rules were given for {}, which is no %", brief(name))));
                }
                (_, Input::Db(_)) => {
                    return Err(error(format!("a database was given for {}, which is no source", brief(name))));
                }
            }
        }
        Ok(bound)
    }

    /// The variables that inputs bind.
    pub(super) fn vars(&self) -> VarSet {
        self.relations.iter().flat_map(|relation| relation.vars.iter().copied()).collect()
    }

    /// What is bound before any clause.
    pub(super) fn context(&self, run: &Run<'_>, place: Place<'_>) -> Result<Context> {
        let mut relations = Vec::new();
        for relation in &self.relations {
            let mut relation = relation.clone();
            for var in relation.vars.clone() {
                relation = run.given(place, relation, var)?;
            }
            relation.dedup(run.env.budget)?;
            relations.push(relation);
        }
        Ok(Context::of(relations))
    }
}

/// The rows of a relation given in place of a database.
fn rows_of(name: &Edn, form: &Edn, budget: &Budget<'_>) -> Result<Vec<Vec<Value>>> {
    let not_relation = || error(format!("{name} takes a database or a collection of tuples"));
    let rows = elements(form).ok_or_else(not_relation)?;
    rows.iter()
        .map(|row| {
            budget.step()?;
            let row = row.as_sequence().ok_or_else(not_relation)?;
            row.iter().map(|value| value_of(value)?.ok_or_else(|| error(format!("nil in a tuple of {name}")))).collect()
        })
        .collect()
}

fn elements(form: &Edn) -> Option<&[Edn]> {
    match form {
        Edn::Vector(elements) | Edn::List(elements) | Edn::Set(elements) => Some(elements),
        _ => None,
    }
}

/// The relation that an input makes; None where it binds nothing.
fn bind(binding: &Binding, form: &Edn, budget: &Budget<'_>) -> Result<Option<Relation>> {
    let vars = binding.vars();
    let mut columns: Vec<Column> = vars.iter().map(|_| Column::Value(Vec::new())).collect();
    let mut meter = Meter::new(budget, vars.len());
    match binding {
        Binding::Ignore => return Ok(None),
        Binding::Scalar(_) => columns[0].push(scalar(form)?),
        Binding::Tuple(parts) => push_tuple(parts, form, &vars, &mut columns)?,
        Binding::Collection(inner) => {
            let elements = elements(form).ok_or_else(|| error(format!("a collection, not {}", brief(form))))?;
            for element in elements {
                meter.row()?;
                match &**inner {
                    Binding::Scalar(_) => columns[0].push(scalar(element)?),
                    _ => continue,
                }
            }
        }
        Binding::Relation(parts) => {
            let pairs: Vec<Edn>;
            let elements = match form {
                // As in Clojure, a map is a collection of its entries.
                Edn::Map(entries) => {
                    let pair = |(key, value): &(Edn, Edn)| Edn::Vector(vec![key.clone(), value.clone()]);
                    pairs = entries.iter().map(pair).collect();
                    &pairs
                }
                _ => elements(form).ok_or_else(|| error(format!("a collection of tuples, not {}", brief(form))))?,
            };
            for element in elements {
                meter.row()?;
                push_tuple(parts, element, &vars, &mut columns)?;
            }
        }
    }
    meter.finish()?;
    if vars.is_empty() {
        return Ok(None);
    }
    Ok(Some(Relation::new(vars, columns)))
}

fn scalar(form: &Edn) -> Result<Value> {
    value_of(form)?.ok_or_else(|| error("nil is no value"))
}

fn push_tuple(parts: &[Binding], form: &Edn, vars: &[Var], columns: &mut [Column]) -> Result<()> {
    let elements =
        form.as_sequence().ok_or_else(|| error(format!("a tuple of {}, not {}", parts.len(), brief(form))))?;
    if elements.len() != parts.len() {
        return Err(error(format!("a tuple of {}, not {}", parts.len(), brief(form))));
    }
    let mut row: Vec<Option<Value>> = vec![None; vars.len()];
    for (part, element) in parts.iter().zip(elements) {
        let Binding::Scalar(var) = part else { continue };
        let at = vars.iter().position(|other| other == var).expect("the binding's own variable");
        let value = scalar(element)?;
        match &row[at] {
            Some(before) if !super::relation::unify(before, &value) => return Ok(()),
            _ => row[at] = Some(value),
        }
    }
    for (column, value) in columns.iter_mut().zip(row) {
        column.push(value.expect("each variable stands in some part"));
    }
    Ok(())
}
