//! Runs the clauses of a query.
//!
//! The state is a [`Context`]: relations that share no variable. Each step takes the clause that is expected to
//! leave the fewest rows, from what is bound and what the indexes count, and works it into the context as a whole;
//! the choice of the next step sees real row counts. Relations are multiplied only where a clause or the answer
//! needs them together.

mod access;
mod block;
mod call;
mod context;
mod forms;
mod output;
mod pattern;
mod plan;
mod resolve;

pub(crate) use context::Context;
pub(crate) use plan::{Readiness, check_order};
pub(crate) use resolve::{Scope, entity_in, entity_vars};

use super::Options;
use super::ast::{Clause, Kind, Rule, SourceId, VarSet};
use super::explain::{Recorder, StepStart};
use super::functions::Env;
use super::rules::RuleFacts;
use crate::model::{Symbol, Value};
use crate::{Db, Error, Result};
use std::collections::BTreeMap;

/// What a source name stands for.
pub(crate) enum Source {
    Db(Db),
    Relation(Vec<Vec<Value>>),
}

/// One run of a query over its inputs.
pub(crate) struct Run<'a> {
    pub sources: &'a [Source],
    pub source_names: &'a [String],
    pub rules: &'a BTreeMap<Symbol, Rule>,
    pub facts: &'a RuleFacts,
    pub env: Env<'a>,
    pub options: &'a Options,
    /// What notes each step, where someone asked how the query is carried out.
    pub recorder: Option<&'a Recorder>,
}

/// Where clauses stand: their scope, and the source of those that name none.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub scope: &'a Scope,
    pub source: Option<SourceId>,
}

impl<'a> Place<'a> {
    /// Inside a clause that names a source of its own.
    pub(crate) fn within(self, source: Option<SourceId>) -> Place<'a> {
        Place { source: source.or(self.source), ..self }
    }
}

impl<'r> Run<'r> {
    /// The context after all clauses; of its variables those in `keep` are left.
    pub(crate) fn solve(
        &self,
        place: Place<'_>,
        clauses: &[&Clause],
        mut context: Context,
        keep: &VarSet,
    ) -> Result<Context> {
        let mut pending: Vec<&Clause> = clauses.to_vec();
        context.retain(|var| keep.contains(var) || pending.iter().any(|clause| clause.vars.contains(var)));
        let mut held = context.bytes();
        self.env.budget.hold(held)?;
        while !pending.is_empty() && !context.has_no_rows() {
            self.env.budget.step()?;
            let (at, expected) = self.choose(place, &pending, &context)?;
            let clause = pending.remove(at);
            self.begin(|| StepStart::of(clause, expected, context.rows_over(&clause.vars)));
            context = match &clause.kind {
                Kind::Pattern { source, terms } => {
                    self.pattern(place.within(*source), clause, terms, context, &mut pending)?
                }
                Kind::Call(call) => self.call(place, clause, call, context)?,
                Kind::Not { source, clauses, .. } => self.not(place.within(*source), clause, clauses, context)?,
                Kind::Or { source, branches, .. } => self.or(place.within(*source), clause, branches, context)?,
                Kind::Rule { source, name, args } => self.rule_call(place.within(*source), name, args, context)?,
            };
            self.end(|| context.rows_over(&clause.vars));
            context.retain(|var| keep.contains(var) || pending.iter().any(|clause| clause.vars.contains(var)));
            context.dedup_if_grown(self.env.budget)?;
            let bytes = context.bytes();
            self.env.budget.hold(bytes)?;
            self.env.budget.release(std::mem::replace(&mut held, bytes));
        }
        // The caller accounts for what it makes of the rows.
        self.env.budget.release(held);
        Ok(context)
    }

    /// Notes that a step begins, if anyone asked.
    #[inline]
    pub(crate) fn begin(&self, start: impl FnOnce() -> StepStart) {
        if let Some(recorder) = self.recorder {
            recorder.begin(start());
        }
    }

    /// Notes that the innermost step ended, and how many rows it left.
    #[inline]
    pub(crate) fn end(&self, rows: impl FnOnce() -> u64) {
        if let Some(recorder) = self.recorder {
            recorder.end(rows());
        }
    }

    /// The source of a clause that names none.
    pub(crate) fn source(&self, place: Place<'_>, clause: &Clause) -> Result<&'r Source> {
        let source = place.source.ok_or_else(|| {
            Error::incorrect(
                "db.error/invalid-query",
                format!("the clause {} names no source and :in has no $", crate::text::brief(&clause.form)),
            )
        })?;
        Ok(&self.sources[source.0])
    }

    /// The database a function or a find element names.
    pub(crate) fn db(&self, source: SourceId) -> Result<&'r Db> {
        match &self.sources[source.0] {
            Source::Db(db) => Ok(db),
            Source::Relation(_) => Err(Error::incorrect(
                "db.error/invalid-query",
                format!("{} is a relation; a database is needed here", self.source_names[source.0]),
            )),
        }
    }
}
