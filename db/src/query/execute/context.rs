//! What is bound so far.

use super::super::ast::{Var, VarSet};
use super::super::join::{Match, join};
use super::super::relation::Relation;
use crate::Result;
use crate::budget::Budget;
use crate::model::Value;

/// Relations that share no variable; together they stand for all combinations of their rows. A relation without
/// variables is never kept: without rows it makes the whole context empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub relations: Vec<Relation>,
    no_rows: bool,
    /// Rows of the largest relation when duplicates were last looked for.
    looked_at_rows: usize,
}

impl Context {
    pub(crate) fn empty() -> Context {
        Context { no_rows: true, ..Context::default() }
    }

    pub(crate) fn of(relations: impl IntoIterator<Item = Relation>) -> Context {
        let mut context = Context::default();
        relations.into_iter().for_each(|relation| context.push(relation));
        context
    }

    /// Adds a relation that shares no variable with the others.
    pub(crate) fn push(&mut self, relation: Relation) {
        if relation.rows == 0 {
            self.no_rows = true;
        }
        if !relation.vars.is_empty() {
            self.relations.push(relation);
        }
    }

    pub(crate) fn has_no_rows(&self) -> bool {
        self.no_rows
    }

    pub(crate) fn has(&self, var: Var) -> bool {
        self.relations.iter().any(|relation| relation.has(var))
    }

    pub(crate) fn bound(&self) -> VarSet {
        self.relations
            .iter()
            .flat_map(|relation| relation.vars.iter().copied())
            .filter(|var| !var.is_hidden())
            .collect()
    }

    /// Rows of the relations that have any of these variables, all their combinations.
    pub(crate) fn rows_over(&self, vars: &VarSet) -> u64 {
        if self.no_rows {
            return 0;
        }
        let touched = |relation: &&Relation| relation.vars.iter().any(|var| !var.is_hidden() && vars.contains(*var));
        self.relations.iter().filter(touched).fold(1, |rows, relation| rows.saturating_mul(relation.rows as u64))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.relations.iter().map(Relation::bytes).sum()
    }

    /// The relation a variable stands in.
    pub(crate) fn relation_of(&self, var: Var) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.has(var))
    }

    /// The value of a variable that has only one.
    pub(crate) fn single(&self, var: Var) -> Option<Value> {
        let relation = self.relation_of(var)?;
        if relation.rows == 1 { relation.column(var).map(|column| column.get(0)) } else { None }
    }

    /// The rows that these variables take, relation by relation: what a block of clauses is begun with.
    pub(crate) fn seeds(&self, vars: &[Var], budget: &Budget<'_>) -> Result<Context> {
        let mut seeds = Context::default();
        for relation in &self.relations {
            let shared: Vec<Var> = vars.iter().copied().filter(|var| relation.has(*var)).collect();
            if !shared.is_empty() {
                seeds.push(relation.project(&shared, budget)?);
            }
        }
        Ok(seeds)
    }

    /// Gives all variables other names.
    pub(crate) fn rename(&mut self, name: impl Fn(Var) -> Var) {
        for relation in &mut self.relations {
            relation.vars.iter_mut().for_each(|var| *var = name(*var));
            relation.determined.iter_mut().for_each(|(x, y)| (*x, *y) = (name(*x), name(*y)));
        }
    }

    /// Takes out the relation of a variable.
    pub(crate) fn take(&mut self, var: Var) -> Option<Relation> {
        let at = self.relations.iter().position(|relation| relation.has(var))?;
        Some(self.relations.swap_remove(at))
    }

    /// Takes out the relations of these variables, multiplied into one; a unit relation where none is bound.
    pub(crate) fn take_all(&mut self, vars: impl Iterator<Item = Var>, budget: &Budget<'_>) -> Result<Relation> {
        let mut taken: Option<Relation> = None;
        for var in vars {
            if taken.as_ref().is_some_and(|relation| relation.has(var)) {
                continue;
            }
            if let Some(relation) = self.take(var) {
                taken = Some(match taken {
                    None => relation,
                    Some(other) => join(&other, &relation, Match::Unify, budget)?,
                });
            }
        }
        Ok(taken.unwrap_or_else(Relation::unit))
    }

    /// Joins a relation with those that share variables with it.
    pub(crate) fn join(&mut self, mut relation: Relation, by: Match, budget: &Budget<'_>) -> Result<()> {
        while let Some(at) = self.relations.iter().position(|other| other.vars.iter().any(|var| relation.has(*var))) {
            let other = self.relations.swap_remove(at);
            relation = join(&other, &relation, by, budget)?;
        }
        self.push(relation);
        Ok(())
    }

    /// Drops the variables for which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(Var) -> bool) {
        for relation in &mut self.relations {
            relation.retain(&keep);
        }
        self.no_rows |= self.relations.iter().any(|relation| relation.rows == 0);
        self.relations.retain(|relation| !relation.vars.is_empty());
    }

    /// Removes duplicate rows where relations have grown since the last time: rows multiplied by later joins
    /// should not be multiplied twice.
    pub(crate) fn dedup_if_grown(&mut self, budget: &Budget<'_>) -> Result<()> {
        let largest = self.relations.iter().filter(|relation| !relation.distinct).map(|relation| relation.rows).max();
        if largest.is_some_and(|rows| rows > self.looked_at_rows) {
            for relation in &mut self.relations {
                relation.dedup(budget)?;
            }
            self.looked_at_rows = self.relations.iter().map(|relation| relation.rows).max().unwrap_or(0);
        }
        Ok(())
    }

    /// The rows over these variables, each once.
    pub(crate) fn into_relation(mut self, vars: &[Var], budget: &Budget<'_>) -> Result<Relation> {
        if self.no_rows {
            return Ok(Relation::empty(vars.to_vec()));
        }
        self.retain(|var| vars.contains(&var));
        let relation = self.take_all(vars.iter().copied(), budget)?;
        if relation.vars == vars {
            let mut relation = relation;
            relation.dedup(budget)?;
            return Ok(relation);
        }
        relation.project(vars, budget)
    }
}
