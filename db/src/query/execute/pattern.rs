//! Data patterns: scans of an index, and joins of a relation with an index.

use super::super::ast::{Clause, Term, Var};
use super::super::explain::{How, Read};
use super::super::join::{KeyIndex, Match};
use super::super::relation::{Column, Meter, NONE, Relation, unify};
use super::access::{Access, Part};
use super::context::Context;
use super::output::Output;
use super::resolve::{attribute_in, entity_in};
use super::{Place, Run, Source};
use crate::model::{AttrId, Datom, EntityId, Value};
use crate::view::{Pattern, ValueRange};
use crate::{Db, Result};
use rustc_hash::FxHashMap;
use std::ops::{Bound, ControlFlow};

/// What a lookup in an index costs beside reading one row on: one by one, and in a walk over sorted keys.
const ROWS_PER_LOOKUP: u64 = 24;
const ROWS_PER_STEP: u64 = 5;
/// So many lookups are worth sorting their keys for a walk.
const WALK_KEYS_MIN: usize = 4;

impl Run<'_> {
    /// Works a data pattern into the context. Comparisons that the scan takes over leave `pending`.
    pub(super) fn pattern(
        &self,
        place: Place<'_>,
        clause: &Clause,
        terms: &[Term],
        mut context: Context,
        pending: &mut Vec<&Clause>,
    ) -> Result<Context> {
        let db = match self.source(place, clause)? {
            Source::Db(db) => db,
            Source::Relation(rows) => {
                self.note(|| Read::plain(How::Relation));
                return self.relation_pattern(place, terms, rows, context);
            }
        };
        let hidden = self.resolve_vars(place, db, terms, &mut context)?;
        let substituted: Vec<Term>;
        let terms = if hidden.is_empty() {
            terms
        } else {
            substituted = terms
                .iter()
                .enumerate()
                .map(|(slot, term)| match term {
                    Term::Var(var) => match hidden.iter().find(|(at, other, _)| *at == slot && other == var) {
                        Some((.., alias)) => Term::Var(*alias),
                        None => term.clone(),
                    },
                    other => other.clone(),
                })
                .collect();
            &substituted
        };
        let Some(mut access) = Access::new(db, place.scope, terms, &context)? else {
            self.note(|| Read::plain(How::Nothing));
            return Ok(Context::empty());
        };
        if access.var(Part::V).is_some_and(|var| !context.has(var)) {
            let done = access.push_range(&context, pending);
            if let Some(recorder) = self.recorder {
                pending.iter().zip(&done).filter(|(_, done)| **done).for_each(|(clause, _)| recorder.range(clause));
            }
            let mut done = done.into_iter();
            pending.retain(|_| !done.next().unwrap_or(false));
            if access.range_is_empty() {
                self.note(|| Read::plain(How::Nothing));
                return Ok(Context::empty());
            }
        }
        let context = self.join_access(&access, context)?;
        if hidden.is_empty() {
            return Ok(context);
        }
        let mut context = context;
        context.retain(|var| !hidden.iter().any(|(.., alias)| *alias == var));
        Ok(context)
    }

    /// Notes how the clause is read, if anyone asked.
    #[inline]
    pub(super) fn note(&self, read: impl FnOnce() -> Read) {
        if let Some(recorder) = self.recorder {
            recorder.read(read());
        }
    }

    /// Gives each variable whose values this clause must resolve for itself an alias that holds the entities.
    fn resolve_vars(
        &self,
        place: Place<'_>,
        db: &Db,
        terms: &[Term],
        context: &mut Context,
    ) -> Result<Vec<(usize, Var, Var)>> {
        let mut hidden = Vec::new();
        let is_ref = |term: Option<&Term>| -> Result<bool> {
            Ok(match term {
                Some(Term::Const(value)) => db.schema().attribute(attribute_in(db, value)?).is_ref(),
                _ => false,
            })
        };
        for (slot, term) in terms.iter().enumerate() {
            let Term::Var(var) = term else { continue };
            let stands_for_entity = matches!(slot, 0 | 1 | 3) || (slot == 2 && is_ref(terms.get(1))?);
            if !stands_for_entity || !place.scope.may_be_unresolved(*var) {
                continue;
            }
            let Some(relation) = context.relation_of(*var) else { continue };
            // One value is resolved as constants are.
            if relation.rows == 1 || matches!(relation.column(*var), Some(Column::Ref(_))) {
                continue;
            }
            let alias = Var::hidden(slot);
            let relation = context.take(*var).expect("the variable's relation was just found");
            context.push(self.with_entities(db, relation, *var, alias)?);
            hidden.push((slot, *var, alias));
        }
        Ok(hidden)
    }

    /// The relation with one more variable: the entities that the values of another stand for. Rows whose value
    /// stands for none are left out.
    pub(super) fn with_entities(&self, db: &Db, relation: Relation, var: Var, alias: Var) -> Result<Relation> {
        let column = relation.column(var).expect("the variable is among the relation's");
        let (mut rows, mut entities) = (Vec::new(), Vec::new());
        let mut known: FxHashMap<Value, Option<EntityId>> = FxHashMap::default();
        for row in 0..relation.rows {
            self.env.budget.step()?;
            let value = column.get(row);
            let entity = match known.get(&value) {
                Some(entity) => *entity,
                None => {
                    let entity = entity_in(db, &value)?;
                    known.insert(value, entity);
                    entity
                }
            };
            if let Some(e) = entity {
                rows.push(row as u32);
                entities.push(e);
            }
        }
        let mut relation = relation.select(&rows);
        relation.vars.push(alias);
        relation.columns.push(Column::Ref(entities));
        Ok(relation)
    }

    fn join_access(&self, access: &Access<'_>, mut context: Context) -> Result<Context> {
        // The relation that has the entity drives the join, else the one that has the value, else any.
        let by_part = |part: Part| access.var(part).filter(|var| context.has(*var));
        let driver_var =
            by_part(Part::E).or(by_part(Part::V)).or(by_part(Part::A)).or(by_part(Part::Tx)).or(by_part(Part::Op));
        let driver_var = match (by_part(Part::E), by_part(Part::V)) {
            (Some(e), Some(v)) => {
                let rows = |var: Var| context.relation_of(var).map_or(0, |relation| relation.rows);
                Some(if rows(v) < rows(e) && access.looks_up_values() { v } else { e })
            }
            _ => driver_var,
        };
        let driver = driver_var.and_then(|var| context.take(var));
        let joined = match driver {
            None => self.scan(access, None)?,
            Some(driver) => self.join_relation(access, driver)?,
        };
        context.join(joined, Match::Unify, self.env.budget)?;
        Ok(context)
    }

    fn join_relation(&self, access: &Access<'_>, driver: Relation) -> Result<Relation> {
        if let Some(a) = access.var(Part::A).filter(|var| driver.has(*var)) {
            return self.join_by_attribute(access, driver, a);
        }
        let bound = |part: Part| access.var(part).and_then(|var| driver.position(var));
        let (e, v) = (bound(Part::E), bound(Part::V));
        let can_look_up_v = match access.a {
            Some(_) => access.looks_up_values(),
            // Without an attribute only references can be looked up by value.
            None => v.is_some_and(|at| matches!(driver.columns[at], Column::Ref(_))),
        };
        let per_lookup = if access.can_walk() { ROWS_PER_STEP } else { ROWS_PER_LOOKUP };
        let lookups = driver.rows as u64 * per_lookup;
        let scan_rows = access.count()? + driver.rows as u64;
        if e.is_some() && (lookups <= scan_rows || access.a.is_none()) {
            return self.look_up(access, driver, Part::E);
        }
        if v.is_some() && can_look_up_v && (lookups <= scan_rows || access.a.is_none()) {
            return self.look_up(access, driver, Part::V);
        }
        self.scan(access, Some(driver))
    }

    /// One join for each attribute the driver names.
    fn join_by_attribute(&self, access: &Access<'_>, driver: Relation, a: Var) -> Result<Relation> {
        let at = driver.position(a).expect("the driver has the variable");
        let mut by_attribute: std::collections::BTreeMap<AttrId, Vec<u32>> = Default::default();
        for row in 0..driver.rows {
            self.env.budget.step()?;
            let attr = driver.columns[at].get(row).as_ref().and_then(|e| access.db.schema().attr_of_entity(e));
            if let Some(attr) = attr {
                by_attribute.entry(attr).or_default().push(row as u32);
            }
        }
        let mut result: Option<Relation> = None;
        let vars: Vec<(Part, Var)> = access.vars.iter().filter(|(part, _)| *part != Part::A).copied().collect();
        for (attr, rows) in by_attribute {
            let attribute = access.db.schema().attribute(attr);
            let value = match (&access.v, access.v_entity) {
                (Some(_), Some(e)) if attribute.is_ref() => Some(Value::Ref(e)),
                (value, _) => value.clone(),
            };
            let access = Access {
                a: Some(attr),
                v: value,
                v_entity: None,
                low: Bound::Unbounded,
                high: Bound::Unbounded,
                vars: vars.clone(),
                ..*access
            };
            let mut part = self.join_relation(&access, driver.gather(&rows))?;
            match &mut result {
                None => result = Some(part),
                Some(whole) => {
                    // A join may order its columns as it likes.
                    if part.vars != whole.vars {
                        part = part.project(&whole.vars, self.env.budget)?;
                    }
                    whole.append(part);
                }
            }
        }
        Ok(result.unwrap_or_else(|| {
            let mut vars = driver.vars.clone();
            for (_, var) in &access.vars {
                if !vars.contains(var) {
                    vars.push(*var);
                }
            }
            Relation::empty(vars)
        }))
    }

    /// Reads the rows of the driver one by one, and for each what the index has for it.
    fn look_up(&self, access: &Access<'_>, driver: Relation, by: Part) -> Result<Relation> {
        let mut output = Output::new(self, access, Some(&driver), by);
        let key = output.key.expect("the driver binds the part looked up by");
        if let Some(a) = access.a
            && access.can_walk()
            && driver.rows >= WALK_KEYS_MIN
            && self.walk_index(access, a, &driver.columns[key], by, &mut output)?
        {
            self.note(|| access.read(How::Walk, Some(by)));
            return output.finish();
        }
        self.note(|| access.read(How::Lookup, Some(by)));
        let mut failed = Ok(());
        for row in 0..driver.rows {
            self.env.budget.step()?;
            let value;
            let mut pattern = access.base();
            match by {
                Part::E => match &driver.columns[key] {
                    Column::Ref(entities) => pattern.e = Some(entities[row]),
                    _ => match driver.columns[key].get(row).as_ref() {
                        Some(e) => pattern.e = Some(e),
                        None => continue,
                    },
                },
                _ => {
                    value = driver.columns[key].get(row);
                    if value.is_nan() {
                        continue;
                    }
                    pattern.v = ValueRange::Is(&value);
                }
            }
            access.db.each(&pattern, |datom| output.offer(datom, row as u32, &mut failed))?;
            std::mem::replace(&mut failed, Ok(()))?;
        }
        output.finish()
    }

    /// Looks all keys up in one walk over the index, in their order; false where the index has no such walk.
    fn walk_index(
        &self,
        access: &Access<'_>,
        a: AttrId,
        column: &Column,
        by: Part,
        output: &mut Output<'_, '_>,
    ) -> Result<bool> {
        let attribute = access.db.schema().attribute(a);
        let by_value = by == Part::V;
        if by_value && (access.e.is_some() || attribute.is_ref() != matches!(column, Column::Ref(_))) {
            return Ok(false);
        }
        let budget = self.env.budget;
        budget.look()?;
        let compare = |x: &u32, y: &u32| column.compare(*x as usize, *y as usize);
        let mut order: Vec<u32> = (0..column.len() as u32).collect();
        if !order.is_sorted_by(|x, y| compare(x, y).is_le()) {
            order.sort_by(compare);
        }
        // The rows of key i are order[starts[i]..starts[i + 1]].
        let mut starts: Vec<usize> = Vec::with_capacity(order.len() + 1);
        for (at, row) in order.iter().enumerate() {
            if at == 0 || compare(&order[at - 1], row).is_ne() {
                starts.push(at);
            }
        }
        let keys: Vec<u32> = starts.iter().map(|at| order[*at]).collect();
        starts.push(order.len());
        let mut failed = Ok(());
        let mut visit = |i: usize, datom: &Datom| {
            if let Err(error) = budget.step() {
                failed = Err(error);
                return ControlFlow::Break(());
            }
            if access.v.as_ref().is_some_and(|value| datom.v != *value) {
                return ControlFlow::Continue(());
            }
            order[starts[i]..starts[i + 1]].iter().try_for_each(|row| output.offer(datom, *row, &mut failed))
        };
        match column {
            Column::Ref(entities) => {
                let entities: Vec<EntityId> = keys.iter().map(|row| entities[*row as usize]).collect();
                if by_value {
                    access.db.each_of_references(a, &entities, &mut visit)?;
                } else {
                    access.db.each_of_entities(a, &entities, &mut visit)?;
                }
            }
            _ if by_value => {
                let values: Vec<Value> = keys.iter().map(|row| column.get(*row as usize)).collect();
                access.db.each_of_values(a, &values, |i, datom| {
                    if datom.v.is_nan() { ControlFlow::Continue(()) } else { visit(i, datom) }
                })?;
            }
            _ => return Ok(false),
        }
        failed?;
        Ok(true)
    }

    /// Reads all that the pattern wants, joined with the driver on the way.
    fn scan(&self, access: &Access<'_>, driver: Option<Relation>) -> Result<Relation> {
        let bound = |part: Part| access.var(part).filter(|var| driver.as_ref().is_some_and(|d| d.has(*var)));
        let by = [Part::E, Part::V, Part::Tx, Part::Op].into_iter().find(|part| bound(*part).is_some());
        self.note(|| access.read(if by.is_some() { How::ScanAndJoin } else { How::Scan }, None));
        let index = by.map(|by| {
            let var = bound(by).expect("found to be bound");
            KeyIndex::new(driver.as_ref().and_then(|driver| driver.column(var)).expect("the driver has the variable"))
        });
        let mut output = Output::new(self, access, driver.as_ref(), by.unwrap_or(Part::E));
        let mut failed = Ok(());
        let budget = self.env.budget;
        let mut visit = |datom: &Datom| {
            let Some(index) = &index else { return output.offer(datom, 0, &mut failed) };
            if let Err(error) = budget.step() {
                failed = Err(error);
                return ControlFlow::Break(());
            }
            let mut row = match by {
                Some(Part::E) => index.first_entity(datom.e),
                Some(Part::V) => index.first(&datom.v),
                Some(Part::Tx) => index.first_entity(datom.tx()),
                _ => index.first(&Value::Boolean(datom.added())),
            };
            while row != NONE {
                output.offer(datom, row, &mut failed)?;
                row = index.next(row);
            }
            ControlFlow::Continue(())
        };
        if access.a.is_none() && access.e.is_none() && access.v.is_some() {
            for a in access.attributes_of_value() {
                access.db.each(&Pattern { a: Some(a), ..access.base() }, &mut visit)?;
            }
        } else {
            access.db.each(&access.base(), &mut visit)?;
        }
        failed?;
        output.finish()
    }

    /// A pattern over a relation given as input: its rows, filtered and joined.
    fn relation_pattern(
        &self,
        place: Place<'_>,
        terms: &[Term],
        rows: &[Vec<Value>],
        context: Context,
    ) -> Result<Context> {
        let mut vars: Vec<Var> = Vec::new();
        terms.iter().filter_map(Term::var).for_each(|var| {
            if !vars.contains(&var) {
                vars.push(var);
            }
        });
        let mut columns: Vec<Column> = vars.iter().map(|_| Column::Value(Vec::new())).collect();
        let mut meter = Meter::new(self.env.budget, vars.len());
        let mut found = 0;
        'rows: for row in rows {
            self.env.budget.step()?;
            let mut bound: Vec<Option<&Value>> = vec![None; vars.len()];
            for (slot, term) in terms.iter().enumerate() {
                let Some(value) = row.get(slot) else {
                    return Err(crate::Error::incorrect(
                        "db.error/invalid-input",
                        format!("a pattern of {} slots over a relation with a row of {}", terms.len(), row.len()),
                    ));
                };
                match term {
                    Term::Blank => {}
                    Term::Const(constant) if unify(constant, value) => {}
                    Term::Const(_) => continue 'rows,
                    Term::Var(var) => {
                        let at = vars.iter().position(|other| other == var).expect("collected above");
                        match bound[at] {
                            None => bound[at] = Some(value),
                            Some(before) if unify(before, value) => {}
                            Some(_) => continue 'rows,
                        }
                    }
                }
            }
            meter.row()?;
            found += 1;
            for (column, value) in columns.iter_mut().zip(bound) {
                column.push_ref(value.expect("each variable stands in some slot"));
            }
        }
        let mut relation = Relation::new(vars.clone(), columns);
        if vars.is_empty() {
            relation.rows = found.min(1);
        }
        meter.finish()?;
        for var in &vars {
            relation = self.given(place, relation, *var)?;
        }
        self.join_given(place, context, relation, vars)
    }
}
