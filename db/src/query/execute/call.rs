//! Predicates and functions.

use super::super::ast::{Arg, Binding, Call, Clause, SourceId, Var};
use super::super::explain::{How, Read};
use super::super::functions::{Comparison, Op, equal_key, is_truthy};
use super::super::relation::{Column, Meter, NONE, Relation, unify};
use super::context::Context;
use super::resolve::{attribute_in, entity_in, in_clause};
use super::{Place, Run};
use crate::budget::Budget;
use crate::model::{AttrId, EntityId, Value};
use crate::text::brief;
use crate::view::Pattern;
use crate::{Db, Error, Result};
use rustc_hash::FxHashMap;

/// An argument with its values at hand.
enum Input<'a> {
    Constant(Option<Value>),
    Column(&'a Column),
}

impl Input<'_> {
    #[inline]
    fn get(&self, row: usize) -> Option<Value> {
        match self {
            Input::Constant(value) => value.clone(),
            Input::Column(column) => Some(column.get(row)),
        }
    }
}

impl Run<'_> {
    /// Works a predicate or function whose arguments are bound into the context.
    pub(super) fn call(&self, place: Place<'_>, clause: &Clause, call: &Call, mut context: Context) -> Result<Context> {
        // What has one value only need not be multiplied with the rest.
        let singles: Vec<(Var, Value)> = call
            .args
            .iter()
            .filter_map(|arg| match arg {
                Arg::Var(var) => context.single(*var).map(|value| (*var, value)),
                _ => None,
            })
            .collect();
        let is_single = |var: &Var| singles.iter().any(|(other, _)| other == var);
        let needed: Vec<Var> = call
            .args
            .iter()
            .filter_map(|arg| match arg {
                Arg::Var(var) if !is_single(var) => Some(*var),
                _ => None,
            })
            .collect();
        if let (Op::Compare(comparison), None, [a, b]) = (&call.function.op, &call.binding, needed.as_slice())
            // With a third argument, a constant or one value, more is asked than of this pair.
            && call.args.len() == 2
            && context.relation_of(*a).is_some_and(|relation| !relation.has(*b))
        {
            let (left, right) = (context.take(*a), context.take(*b));
            if let (Some(left), Some(right)) = (left, right) {
                let how = if *comparison == Comparison::Equal { How::HashJoin } else { How::AllPairs };
                self.note(|| Read::plain(how));
                context.push(self.compare_pairs(*comparison, (left, *a), (right, *b))?);
            }
            return Ok(context);
        }
        let relation = context.take_all(needed.into_iter(), self.env.budget)?;
        let inputs: Vec<Input<'_>> = call
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Nil | Arg::Source(_) => Input::Constant(None),
                Arg::Const(value) => Input::Constant(Some(value.clone())),
                Arg::Var(var) => match relation.column(*var) {
                    Some(column) => Input::Column(column),
                    None => {
                        let single = singles.iter().find(|(other, _)| other == var).map(|(_, value)| value.clone());
                        Input::Constant(single)
                    }
                },
            })
            .collect();
        let Some(binding) = &call.binding else {
            let rows = self.filter(place, clause, call, &inputs, relation.rows)?;
            let mut relation = relation.select(&rows);
            if relation.vars.is_empty() {
                relation.rows = rows.len().min(1);
            }
            context.push(relation);
            return Ok(context);
        };
        let made = self.bind(place, clause, call, binding, &inputs, relation.rows)?;
        let vars = binding.vars();
        let mut bound = relation.gather(&made.rows);
        bound.rows = made.rows.len();
        // Variables bound already unify; the new columns stand beside them under other names until then.
        let mut fresh = Relation { rows: made.rows.len(), ..Relation::unit() };
        fresh.vars = vars.clone();
        fresh.columns = made.columns;
        for var in &vars {
            // Filtering rows here would lose their place beside the relation's: mark them instead.
            fresh = self.resolved_in_place(place, fresh, *var)?;
        }
        let mut keep: Vec<u32> = Vec::new();
        for row in 0..bound.rows {
            self.env.budget.step()?;
            let mut unifies = true;
            for (var, column) in vars.iter().zip(&fresh.columns) {
                unifies &= column.get(row) != Value::Ref(EntityId::MAX)
                    && match bound.column(*var) {
                        Some(before) if place.scope.may_be_unresolved(*var) => {
                            let form = |column: &Column| self.form(place, *var, &column.get(row));
                            unify(&form(before)?, &form(column)?)
                        }
                        Some(before) => before.unifies(row, column, row),
                        None => true,
                    };
            }
            if unifies {
                keep.push(row as u32);
            }
        }
        let mut result = if keep.len() == bound.rows { bound } else { bound.gather(&keep) };
        result.rows = keep.len();
        result.distinct = relation.distinct && matches!(binding, Binding::Scalar(_));
        for (var, column) in vars.iter().zip(fresh.columns) {
            let column = if keep.len() == made.rows.len() { column } else { column.gather(&keep) };
            if !result.has(*var) {
                result.vars.push(*var);
                result.columns.push(column);
            } else if place.scope.may_be_unresolved(*var) {
                result.take_form(*var, &column);
            }
        }
        if result.vars.is_empty() {
            result.rows = result.rows.min(1);
        }
        self.join_given(place, context, result, vars)
    }

    /// Values given to a variable that stands for entities become entities, `EntityId::MAX` where there is none.
    fn resolved_in_place(&self, place: Place<'_>, mut relation: Relation, var: Var) -> Result<Relation> {
        self.take_literals(place, &mut relation, var)?;
        let Some(source) = place.scope.resolves_in(var) else { return Ok(relation) };
        let db = self.db(source)?;
        let at = relation.position(var).expect("the binding has the variable");
        if !matches!(relation.columns[at], Column::Ref(_)) {
            let column = &relation.columns[at];
            let entities = (0..column.len())
                .map(|row| {
                    self.env.budget.step()?;
                    Ok(entity_in(db, &column.get(row))?.unwrap_or(EntityId::MAX))
                })
                .collect::<Result<Vec<EntityId>>>()?;
            relation.columns[at] = Column::Ref(entities);
        }
        Ok(relation)
    }

    /// The rows for which a predicate holds.
    fn filter(
        &self,
        place: Place<'_>,
        clause: &Clause,
        call: &Call,
        inputs: &[Input<'_>],
        rows: usize,
    ) -> Result<Vec<u32>> {
        let mut kept = Vec::new();
        if let Op::Compare(comparison) = call.function.op
            && let [left, right] = inputs
        {
            for row in 0..rows {
                self.env.budget.step()?;
                if holds(comparison, left, right, row) {
                    kept.push(row as u32);
                }
            }
            return Ok(kept);
        }
        let mut args = Vec::with_capacity(inputs.len());
        for row in 0..rows {
            self.env.budget.step()?;
            args.clear();
            args.extend(inputs.iter().map(|input| input.get(row)));
            if is_truthy(&self.evaluate(place, clause, call, &args)?) {
                kept.push(row as u32);
            }
        }
        Ok(kept)
    }

    /// The pairs of rows for which a comparison holds.
    fn compare_pairs(
        &self,
        comparison: Comparison,
        (left, a): (Relation, Var),
        (right, b): (Relation, Var),
    ) -> Result<Relation> {
        let (x, y) = (left.column(a).expect("given with it"), right.column(b).expect("given with it"));
        let mut meter = Meter::new(self.env.budget, left.vars.len() + right.vars.len());
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        if comparison == Comparison::Equal {
            let held = right.rows * EqualIndex::ROW_BYTES;
            self.env.budget.hold(held)?;
            let index = EqualIndex::new(y, self.env.budget)?;
            for i in 0..left.rows {
                self.env.budget.step()?;
                let value = x.get(i);
                for j in index.rows(&value) {
                    self.env.budget.step()?;
                    // Keys only bring together what may be equal.
                    if comparison.holds_between(&value, &y.get(j as usize)) {
                        meter.row()?;
                        lefts.push(i as u32);
                        rights.push(j);
                    }
                }
            }
            self.env.budget.release(held);
        } else {
            let y = Input::Column(y);
            for i in 0..left.rows {
                let constant = Input::Constant(Some(x.get(i)));
                for j in 0..right.rows {
                    self.env.budget.step()?;
                    if holds(comparison, &constant, &y, j) {
                        meter.row()?;
                        lefts.push(i as u32);
                        rights.push(j as u32);
                    }
                }
            }
        }
        let mut pairs = left.gather(&lefts);
        let right_part = right.gather(&rights);
        pairs.vars.extend(right_part.vars);
        pairs.columns.extend(right_part.columns);
        pairs.determined.extend(right_part.determined);
        pairs.distinct = left.distinct && right.distinct;
        meter.finish()?;
        Ok(pairs)
    }

    /// The rows a function's results make, and the values they bind.
    fn bind(
        &self,
        place: Place<'_>,
        clause: &Clause,
        call: &Call,
        binding: &Binding,
        inputs: &[Input<'_>],
        rows: usize,
    ) -> Result<Made> {
        let vars = binding.vars();
        let mut made =
            Made { rows: Vec::new(), columns: vars.iter().map(|_| Column::Value(Vec::new())).collect(), vars };
        let mut meter = Meter::new(self.env.budget, made.vars.len());
        let mut args = Vec::with_capacity(inputs.len());
        for row in 0..rows {
            self.env.budget.step()?;
            args.clear();
            args.extend(inputs.iter().map(|input| input.get(row)));
            let Some(value) = self.evaluate(place, clause, call, &args)? else { continue };
            made.take(row as u32, binding, &value, &mut meter).map_err(|error| in_clause(error, clause))?;
        }
        meter.finish()?;
        Ok(made)
    }

    fn evaluate(
        &self,
        place: Place<'_>,
        clause: &Clause,
        call: &Call,
        args: &[Option<Value>],
    ) -> Result<Option<Value>> {
        let result = match &call.function.op {
            Op::Compare(comparison) => return Ok(Some(Value::Boolean(comparison.holds(args)))),
            Op::Pure(f) => f(&self.env, args),
            op => self.with_db(place, clause, call).and_then(|db| read_entity(db, op, args)),
        };
        result.map_err(|error| in_clause(error, clause))
    }

    /// The database that a function names first.
    fn with_db(&self, place: Place<'_>, clause: &Clause, call: &Call) -> Result<&Db> {
        match call.args.first() {
            // `$` inside a clause that names a source of its own means that source.
            Some(Arg::Source(source)) => self.db(self.placed(place, *source)),
            _ => Err(Error::incorrect(
                "db.error/invalid-query",
                format!(
                    "{} takes a database such as $ as its first argument: {}",
                    call.function.name,
                    brief(&clause.form)
                ),
            )),
        }
    }

    fn placed(&self, place: Place<'_>, source: SourceId) -> SourceId {
        match place.source {
            Some(own) if self.source_names[source.0] == "$" => own,
            _ => source,
        }
    }
}

#[inline]
fn holds(comparison: Comparison, left: &Input<'_>, right: &Input<'_>, row: usize) -> bool {
    match (left, right) {
        (Input::Column(Column::Long(a)), Input::Column(Column::Long(b))) => comparison.admits(a[row].cmp(&b[row])),
        (Input::Column(Column::Ref(a)), Input::Column(Column::Ref(b))) => comparison.admits(a[row].cmp(&b[row])),
        (Input::Column(Column::Long(a)), Input::Constant(Some(Value::Long(b)))) => comparison.admits(a[row].cmp(b)),
        (Input::Constant(Some(Value::Long(a))), Input::Column(Column::Long(b))) => comparison.admits(a.cmp(&b[row])),
        (Input::Column(Column::Value(a)), Input::Constant(Some(b))) => comparison.holds_between(&a[row], b),
        (Input::Column(Column::Value(a)), Input::Column(Column::Value(b))) => {
            comparison.holds_between(&a[row], &b[row])
        }
        _ => comparison.holds(&[left.get(row), right.get(row)]),
    }
}

/// Rows by the value of a column, as `=` takes values.
struct EqualIndex {
    heads: FxHashMap<Value, u32>,
    /// The next row with the same key.
    next: Vec<u32>,
}

impl EqualIndex {
    /// About what a row takes: its key and its place, in a table that is half full.
    const ROW_BYTES: usize = 52;

    fn new(column: &Column, budget: &Budget<'_>) -> Result<EqualIndex> {
        let rows = column.len();
        let mut index = EqualIndex { heads: FxHashMap::default(), next: vec![NONE; rows] };
        // From the last: chains then stand in the order of the rows.
        for row in (0..rows).rev() {
            budget.step()?;
            if let Some(key) = equal_key(&column.get(row)) {
                let head = index.heads.entry(key).or_insert(NONE);
                index.next[row] = std::mem::replace(head, row as u32);
            }
        }
        Ok(index)
    }

    /// The rows whose value may equal this one, and all that do.
    fn rows(&self, value: &Value) -> impl Iterator<Item = u32> + '_ {
        let mut row = equal_key(value).and_then(|key| self.heads.get(&key).copied()).unwrap_or(NONE);
        std::iter::from_fn(move || {
            let found = (row != NONE).then_some(row)?;
            row = self.next[found as usize];
            Some(found)
        })
    }
}

/// What a function's results bind: for each result row the row it came from, and its values.
struct Made {
    vars: Vec<Var>,
    rows: Vec<u32>,
    columns: Vec<Column>,
}

impl Made {
    fn take(&mut self, row: u32, binding: &Binding, value: &Value, meter: &mut Meter<'_>) -> Result<()> {
        let collection = |value: &Value| match value {
            Value::Tuple(elements) => Ok(elements.clone()),
            other => Err(Error::incorrect(
                "db.error/invalid-binding",
                format!("a collection is to be bound but the function gave {other}"),
            )),
        };
        match binding {
            Binding::Ignore => self.push(row, &[], meter),
            Binding::Scalar(_) => self.push(row, &[Some(value)], meter),
            Binding::Tuple(parts) => self.take_tuple(row, parts, value, meter),
            Binding::Collection(inner) => {
                for element in collection(value)?.iter().flatten() {
                    self.take(row, inner, element, meter)?;
                }
                Ok(())
            }
            Binding::Relation(parts) => {
                for element in collection(value)?.iter().flatten() {
                    self.take_tuple(row, parts, element, meter)?;
                }
                Ok(())
            }
        }
    }

    fn take_tuple(&mut self, row: u32, parts: &[Binding], value: &Value, meter: &mut Meter<'_>) -> Result<()> {
        let elements = match value {
            Value::Tuple(elements) if elements.len() >= parts.len() => elements,
            Value::Tuple(elements) => {
                return Err(Error::incorrect(
                    "db.error/invalid-binding",
                    format!(
                        "a tuple of {} is to be bound but the function gave one of {}",
                        parts.len(),
                        elements.len()
                    ),
                ));
            }
            other => {
                return Err(Error::incorrect(
                    "db.error/invalid-binding",
                    format!("a tuple of {} is to be bound but the function gave {other}", parts.len()),
                ));
            }
        };
        let mut bound: Vec<Option<&Value>> = vec![None; self.vars.len()];
        for (part, element) in parts.iter().zip(elements.iter()) {
            let Binding::Scalar(var) = part else { continue };
            let at = self.vars.iter().position(|other| other == var).expect("the binding's own variable");
            match (element, bound[at]) {
                // A variable without a value: nil binds nothing, and its row goes.
                (None, _) => return Ok(()),
                (Some(element), Some(before)) if !unify(before, element) => return Ok(()),
                (Some(element), _) => bound[at] = Some(element),
            }
        }
        self.push(row, &bound, meter)
    }

    fn push(&mut self, row: u32, values: &[Option<&Value>], meter: &mut Meter<'_>) -> Result<()> {
        if values.iter().any(Option::is_none) {
            return Ok(());
        }
        meter.row()?;
        self.rows.push(row);
        for (column, value) in self.columns.iter_mut().zip(values.iter().flatten()) {
            column.push_ref(value);
        }
        Ok(())
    }
}

/// `get-else`, `get-some` and `missing?`: what a database says of an entity.
fn read_entity(db: &Db, op: &Op, args: &[Option<Value>]) -> Result<Option<Value>> {
    let attribute = |arg: &Option<Value>| match arg {
        Some(value) => attribute_in(db, value),
        None => Err(Error::incorrect("db.error/not-an-entity", "nil is no attribute")),
    };
    let entity: Option<EntityId> = match &args[1] {
        Some(value) => entity_in(db, value)?,
        None => None,
    };
    let value_of = |a: AttrId| -> Result<Option<Value>> {
        match entity {
            Some(e) => Ok(db.first(&Pattern::all().e(e).a(a))?.map(|datom| datom.v)),
            None => Ok(None),
        }
    };
    match op {
        Op::Missing => Ok(Some(Value::Boolean(value_of(attribute(&args[2])?)?.is_none()))),
        Op::GetElse => {
            let a = attribute(&args[2])?;
            let ident = &db.schema().attribute(a).ident;
            if db.schema().attribute(a).is_many() {
                let message = format!("get-else needs an attribute of cardinality one, which {ident} is not");
                return Err(Error::incorrect("db.error/invalid-function-use", message));
            }
            if args[3].is_none() {
                let message = format!("get-else of {ident} has nil as its default; use missing? instead");
                return Err(Error::incorrect("db.error/nil-value", message));
            }
            Ok(value_of(a)?.or_else(|| args[3].clone()))
        }
        _ => {
            for arg in &args[2..] {
                let a = attribute(arg)?;
                if let Some(value) = value_of(a)? {
                    let e = Value::Ref(db.schema().attribute(a).id);
                    return Ok(Some(Value::Tuple(std::sync::Arc::new(vec![Some(e), Some(value)]))));
                }
            }
            Ok(None)
        }
    }
}
