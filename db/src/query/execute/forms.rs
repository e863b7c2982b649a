//! Forms in which values are given: entities by ids, idents and lookup refs; transactions by their t; what has no
//! literal of its own by the literal next to it.
//!
//! Where a variable is an entity in all that is found, what is given for it is resolved at once (`given`). Elsewhere it
//! stays as it was given, each clause resolves it for itself, and forms of the same entity unify.

use super::super::ast::Var;
use super::super::join::Match;
use super::super::relation::{Column, Relation};
use super::context::Context;
use super::resolve::{entity_in, of_type, transaction_of_t};
use super::{Place, Run, Source};
use crate::Result;
use crate::model::Value;

impl Run<'_> {
    /// Resolves the values that an input, function or relation gave to a variable where it stands for entities of
    /// one database only.
    pub(crate) fn given(&self, place: Place<'_>, mut relation: Relation, var: Var) -> Result<Relation> {
        self.take_literals(place, &mut relation, var)?;
        let Some(source) = place.scope.resolves_in(var) else { return Ok(relation) };
        if matches!(relation.column(var), Some(Column::Ref(_))) {
            return Ok(relation);
        }
        let Source::Db(db) = &self.sources[source.0] else { return Ok(relation) };
        let alias = Var::hidden(0);
        let mut relation = self.with_entities(db, relation, var, alias)?;
        let entities = relation.columns.pop().expect("with_entities adds a column");
        relation.vars.pop();
        let at = relation.position(var).expect("the variable is among the relation's");
        relation.columns[at] = entities;
        // Two forms of one entity make one row.
        relation.distinct = false;
        Ok(relation)
    }

    /// What is given by another literal becomes what it stands for: a t where the variable stands for transactions, a
    /// double where it stands for values of an attribute of floats, and the like.
    pub(super) fn take_literals(&self, place: Place<'_>, relation: &mut Relation, var: Var) -> Result<()> {
        if place.scope.takes_t(var) {
            self.map(relation, var, transaction_of_t)?;
        }
        match place.scope.takes_type(var) {
            Some(value_type) if place.scope.is_given(var) => {
                self.map(relation, var, |value| of_type(value_type, &value))
            }
            _ => Ok(()),
        }
    }

    fn map(&self, relation: &mut Relation, var: Var, f: impl Fn(Value) -> Value) -> Result<()> {
        let at = relation.position(var).expect("the variable is among the relation's");
        let column = &relation.columns[at];
        if matches!(column, Column::Ref(_)) {
            return Ok(());
        }
        let values = (0..column.len()).map(|row| {
            self.env.budget.step()?;
            Ok(f(column.get(row)))
        });
        relation.columns[at] = Column::from_values(values.collect::<Result<Vec<Value>>>()?);
        // Two literals of one value make one row.
        relation.distinct = false;
        Ok(())
    }

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
