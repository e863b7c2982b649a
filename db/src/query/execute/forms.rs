//! Forms in which entities are given: ids, idents and lookup refs, for variables that plain values may stand for too.
//!
//! Where a variable is an entity in all that is found, what is given for it is resolved at once (`given`). Elsewhere it
//! stays as it was given, each clause resolves it for itself, and forms of the same entity unify.

use super::super::ast::Var;
use super::super::join::Match;
use super::super::relation::{Column, Relation};
use super::context::Context;
use super::resolve::entity_in;
use super::{Place, Run};
use crate::Result;
use crate::model::Value;

impl Run<'_> {
    /// Joins a relation whose values of some variables came in a form of their own: forms of the same entity unify,
    /// whichever of them was there first.
    pub(super) fn join_given(
        &self,
        place: Place<'_>,
        mut context: Context,
        mut relation: Relation,
        given: Vec<Var>,
    ) -> Result<Context> {
        let formed: Vec<Var> =
            given.into_iter().filter(|var| context.has(*var) && place.scope.may_be_unresolved(*var)).collect();
        let alias = |i: usize| (Var::hidden(64 + i), Var::hidden(64 + formed.len() + i));
        for (i, var) in formed.iter().enumerate() {
            let (form, given) = alias(i);
            if let Some(other) = context.take(*var) {
                context.push(self.with_forms(place, other, *var, form)?);
            }
            relation = self.with_forms(place, relation, *var, form)?;
            relation.rename(*var, given);
        }
        context.join(relation, Match::Unify, self.env.budget)?;
        for (i, var) in formed.iter().enumerate() {
            let (form, given) = alias(i);
            if let Some(mut joined) = context.take(*var) {
                let column = joined.column(given).expect("joined with the relation").clone();
                joined.take_form(*var, &column);
                joined.retain(|other| other != form && other != given);
                context.push(joined);
            }
        }
        Ok(context)
    }

    /// The entity that a value of a variable is a form of, where the variable stands for entities; else the value.
    pub(super) fn form(&self, place: Place<'_>, var: Var, value: &Value) -> Result<Value> {
        for source in place.scope.entity_sources(var) {
            if let Some(e) = entity_in(self.db(*source)?, value)? {
                return Ok(Value::Ref(e));
            }
        }
        Ok(value.clone())
    }

    /// The relation with one more variable: what the values of another are forms of.
    fn with_forms(&self, place: Place<'_>, mut relation: Relation, var: Var, alias: Var) -> Result<Relation> {
        let column = relation.column(var).expect("the variable is among the relation's");
        let forms = (0..relation.rows).map(|row| {
            self.env.budget.step()?;
            self.form(place, var, &column.get(row))
        });
        let forms = Column::from_values(forms.collect::<Result<Vec<Value>>>()?);
        relation.vars.push(alias);
        relation.columns.push(forms);
        Ok(relation)
    }
}
