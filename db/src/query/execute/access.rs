//! What a pattern asks of an index: its constants resolved, its comparisons as ranges.

use super::super::ast::{Arg, Clause, Kind, Term, Var};
use super::super::explain::{How, Read};
use super::super::functions::{Comparison, Op};
use super::context::Context;
use super::resolve::{Scope, attribute_in, entity_in, t_in, value_for};
use crate::model::{AttrId, EntityId, T, Value, ValueType};
use crate::schema::Attribute;
use crate::view::{Pattern, ValueRange};
use crate::{Db, Result};
use std::ops::Bound;

/// The component of a datom that a slot speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    E,
    A,
    V,
    Tx,
    Op,
}

const PARTS: [Part; 5] = [Part::E, Part::A, Part::V, Part::Tx, Part::Op];

/// A pattern over a database with its constants resolved.
pub(super) struct Access<'d> {
    pub db: &'d Db,
    pub e: Option<EntityId>,
    pub a: Option<AttrId>,
    pub v: Option<Value>,
    /// What else the constant in the v slot may stand for while the attribute is open.
    pub v_entity: Option<EntityId>,
    pub low: Bound<Value>,
    pub high: Bound<Value>,
    pub t: Option<T>,
    pub op: Option<bool>,
    pub vars: Vec<(Part, Var)>,
}

impl<'d> Access<'d> {
    /// None where a constant stands for nothing in this database, so that nothing matches.
    pub(super) fn new(db: &'d Db, scope: &Scope, terms: &[Term], context: &Context) -> Result<Option<Access<'d>>> {
        let mut access = Access {
            db,
            e: None,
            a: None,
            v: None,
            v_entity: None,
            low: Bound::Unbounded,
            high: Bound::Unbounded,
            t: None,
            op: None,
            vars: Vec::new(),
        };
        for (part, term) in PARTS.into_iter().zip(terms) {
            // A variable that has one value only is as good as a constant.
            let value = match term {
                Term::Blank => continue,
                Term::Const(value) => Some((value.clone(), true)),
                Term::Var(var) => context.single(*var).map(|value| (value, scope.is_given(*var))),
            };
            let Some((value, given)) = value else {
                access.vars.extend(term.var().map(|var| (part, var)));
                continue;
            };
            let resolves = given || value.as_ref().is_some();
            let found = match part {
                Part::E => {
                    access.e = if resolves { entity_in(db, &value)? } else { None };
                    access.e.is_some()
                }
                Part::A => {
                    access.a = match term {
                        Term::Const(_) => Some(attribute_in(db, &value)?),
                        _ if resolves => entity_in(db, &value)?.and_then(|e| db.schema().attr_of_entity(e)),
                        _ => None,
                    };
                    access.a.is_some()
                }
                Part::V => {
                    let value = match access.a.map(|a| db.schema().attribute(a)) {
                        Some(attribute) if given => value_for(db, attribute, &value)?,
                        Some(_) => Some(value),
                        None => {
                            if given && !matches!(value, Value::Ref(_)) {
                                access.v_entity = entity_in(db, &value)?;
                            }
                            Some(value)
                        }
                    };
                    access.v = value.filter(|value| !value.is_nan());
                    access.v.is_some()
                }
                Part::Tx => {
                    access.t = if resolves { t_in(db, &value)? } else { None };
                    access.t.is_some()
                }
                Part::Op => {
                    access.op = match value {
                        Value::Boolean(op) => Some(op),
                        _ => None,
                    };
                    access.op.is_some()
                }
            };
            if !found {
                return Ok(None);
            }
        }
        Ok(Some(access))
    }

    pub(super) fn attribute(&self) -> Option<&'d Attribute> {
        self.a.map(|a| self.db.schema().attribute(a))
    }

    pub(super) fn var(&self, part: Part) -> Option<Var> {
        self.vars.iter().find(|(other, _)| *other == part).map(|(_, var)| *var)
    }

    /// What is read where nothing is looked up.
    pub(super) fn base(&self) -> Pattern<'_> {
        let v = match (&self.v, &self.low, &self.high) {
            (Some(_), ..) if self.v_entity.is_some() => ValueRange::Any,
            (Some(value), ..) => ValueRange::Is(value),
            (None, Bound::Unbounded, Bound::Unbounded) => ValueRange::Any,
            (None, low, high) => ValueRange::Between(low.as_ref(), high.as_ref()),
        };
        Pattern { e: self.e, a: self.a, v, t: self.t }
    }

    /// How it is read, for an explanation: with the part that each row brings, where rows are looked up.
    pub(super) fn read(&self, how: How, by: Option<Part>) -> Read {
        let base = self.base();
        // Which value it is does not matter for the choice of the sort.
        let any = Value::Ref(EntityId::MAX);
        let pattern = match (how, by) {
            (How::Walk, Some(Part::E)) if !self.db.is_filtered() => base,
            (_, Some(Part::E)) => Pattern { e: Some(EntityId::MAX), ..base },
            (_, Some(Part::V)) if self.a.is_none_or(|a| self.db.schema().attribute(a).is_ref()) => {
                Pattern { v: ValueRange::Is(&any), ..base }
            }
            (_, Some(Part::V)) => Pattern { v: ValueRange::Is(&Value::Boolean(true)), ..base },
            _ => base,
        };
        let has_range = matches!(base.v, ValueRange::Between(..));
        let has_value = self.v.is_some() && self.v_entity.is_none();
        Read {
            how,
            // Where it cannot be told, the read itself says why.
            index: self.db.sort(&pattern).ok(),
            bound: [
                (self.e.is_some() || by == Some(Part::E)).then_some("e"),
                self.a.is_some().then_some("a"),
                if has_value || by == Some(Part::V) { Some("v") } else { has_range.then_some("range") },
                self.t.is_some().then_some("tx"),
            ],
        }
    }

    /// About how many datoms a scan reads.
    pub(super) fn count(&self) -> Result<u64> {
        if self.a.is_none() && self.e.is_none() && self.v.is_some() {
            return self.attributes_of_value().map(|a| self.db.count(&Pattern { a: Some(a), ..self.base() })).sum();
        }
        self.db.count(&self.base())
    }

    /// Whether a lookup by value finds its rows without reading others.
    pub(super) fn looks_up_values(&self) -> bool {
        self.attribute().is_some_and(|attribute| attribute.has_avet() || attribute.is_ref())
    }

    /// Whether nothing but a key and perhaps a value is asked of each lookup.
    pub(super) fn can_walk(&self) -> bool {
        self.a.is_some()
            && self.e.is_none()
            && self.t.is_none()
            && self.v_entity.is_none()
            && matches!((&self.low, &self.high), (Bound::Unbounded, Bound::Unbounded))
    }

    /// The attributes that can have the constant value, where the attribute is open.
    pub(super) fn attributes_of_value(&self) -> impl Iterator<Item = AttrId> + '_ {
        let value_type = self.v.as_ref().map(Value::value_type);
        self.db
            .schema()
            .attributes()
            .filter(move |(_, attribute)| {
                Some(attribute.value_type) == value_type || (attribute.is_ref() && self.v_entity.is_some())
            })
            .map(|(a, _)| a)
    }

    /// Adds what comparisons say of the v slot to the scan; true for each comparison that need not be asked again.
    pub(super) fn push_range(&mut self, context: &Context, pending: &[&Clause]) -> Vec<bool> {
        let mut done = vec![false; pending.len()];
        let (Some(attribute), Some(var)) = (self.attribute(), self.var(Part::V)) else { return done };
        if self.vars.iter().filter(|(_, other)| *other == var).count() > 1 {
            return done;
        }
        let value_type = attribute.value_type;
        for (clause, done) in pending.iter().zip(&mut done) {
            let Kind::Call(call) = &clause.kind else { continue };
            let (Op::Compare(comparison), None) = (&call.function.op, &call.binding) else { continue };
            let [left, right] = call.args.as_slice() else { continue };
            let constant = |arg: &Arg| match arg {
                Arg::Const(value) => Some(value.clone()),
                Arg::Var(other) if *other != var => context.single(*other),
                _ => None,
            };
            let (comparison, value) = match (left, right) {
                (Arg::Var(x), other) if *x == var => (*comparison, constant(other)),
                (other, Arg::Var(x)) if *x == var => (comparison.flipped(), constant(other)),
                _ => continue,
            };
            let Some((value, exact)) = value.and_then(|value| bound_value(value_type, value)) else { continue };
            match comparison {
                Comparison::Equal => {
                    self.raise_low(Bound::Included(value.clone()));
                    self.lower_high(Bound::Included(value));
                }
                Comparison::Less => self.lower_high(Bound::Excluded(value)),
                Comparison::LessOrEqual => self.lower_high(Bound::Included(value)),
                Comparison::Greater => self.raise_low(Bound::Excluded(value)),
                Comparison::GreaterOrEqual => self.raise_low(Bound::Included(value)),
                Comparison::NotEqual => continue,
            }
            *done = exact;
        }
        done
    }

    fn raise_low(&mut self, bound: Bound<Value>) {
        let tighter = match (&self.low, &bound) {
            (Bound::Unbounded, _) => true,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Excluded(new)) => new >= old,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new)) => new > old,
            (_, Bound::Unbounded) => false,
        };
        if tighter {
            self.low = bound;
        }
    }

    fn lower_high(&mut self, bound: Bound<Value>) {
        let tighter = match (&self.high, &bound) {
            (Bound::Unbounded, _) => true,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Excluded(new)) => new <= old,
            (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new)) => new < old,
            (_, Bound::Unbounded) => false,
        };
        if tighter {
            self.high = bound;
        }
    }

    pub(super) fn range_is_empty(&self) -> bool {
        match (&self.low, &self.high) {
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
            _ => false,
        }
    }

    /// Whether each combination of the pattern's variables comes once.
    pub(super) fn is_distinct(&self) -> bool {
        let known = |part: Part| {
            self.var(part).is_some()
                || match part {
                    Part::E => self.e.is_some(),
                    Part::A => self.a.is_some(),
                    Part::V => self.v.is_some() && self.v_entity.is_none(),
                    Part::Tx => self.t.is_some(),
                    Part::Op => self.op.is_some(),
                }
        };
        let plain = known(Part::A) && known(Part::E) && (known(Part::V) || self.one_value());
        if self.db.is_history() { plain && known(Part::V) && known(Part::Tx) && known(Part::Op) } else { plain }
    }

    /// Each entity has at most one value: sure of today's facts only, since the schema may have changed.
    pub(super) fn one_value(&self) -> bool {
        !self.db.is_filtered() && self.attribute().is_some_and(|attribute| !attribute.is_many())
    }

    pub(super) fn determined(&self) -> Vec<(Var, Var)> {
        let mut determined = Vec::new();
        if let (Some(e), true) = (self.var(Part::E), self.one_value()) {
            determined.extend(
                self.vars
                    .iter()
                    .filter(|(part, var)| matches!(part, Part::V | Part::Tx) && *var != e)
                    .map(|(_, var)| (*var, e)),
            );
        }
        determined
    }
}

/// A constant as a bound of a range over values of a type, and whether the range says all that the comparison does.
fn bound_value(value_type: ValueType, value: Value) -> Option<(Value, bool)> {
    /// Longs up to here are doubles exactly.
    const EXACT: i64 = 1 << 53;
    match (value_type, value) {
        (ValueType::Double, Value::Long(long)) if long.abs() <= EXACT => Some((Value::double(long as f64), false)),
        // NaN stands in the index but satisfies no comparison.
        (ValueType::Double, value @ Value::Double(_)) if !value.is_nan() => Some((value, false)),
        (ValueType::Long | ValueType::Instant | ValueType::String | ValueType::Keyword | ValueType::Boolean, value)
            if value.value_type() == value_type =>
        {
            Some((value, true))
        }
        _ => None,
    }
}
