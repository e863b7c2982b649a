//! Reading a database value by patterns. Here and in `walk`, and nowhere else, the parts of an index are merged and views
//! applied.

use super::Db;
use crate::Result;
use crate::index::{Bounds, Sort, ValueRange};
use crate::model::{AttrId, Datom, EntityId, Keyword, T, Value};
use crate::schema::ids;
use std::ops::{Bound, ControlFlow};

/// Which datoms a read wants.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'a> {
    pub e: Option<EntityId>,
    pub a: Option<AttrId>,
    pub v: ValueRange<'a>,
    /// Only datoms of this transaction.
    pub t: Option<T>,
}

impl<'a> Pattern<'a> {
    pub fn all() -> Self {
        Pattern { e: None, a: None, v: ValueRange::Any, t: None }
    }

    pub fn e(self, e: EntityId) -> Self {
        Pattern { e: Some(e), ..self }
    }

    pub fn a(self, a: AttrId) -> Self {
        Pattern { a: Some(a), ..self }
    }

    pub fn v(self, v: &'a Value) -> Self {
        Pattern { v: ValueRange::Is(v), ..self }
    }

    pub fn between(self, low: Bound<&'a Value>, high: Bound<&'a Value>) -> Self {
        Pattern { v: ValueRange::Between(low, high), ..self }
    }

    pub fn t(self, t: T) -> Self {
        Pattern { t: Some(t), ..self }
    }

    fn bounds(&self) -> Bounds<'a> {
        Bounds { e: self.e, a: self.a, v: self.v }
    }
}

impl Db {
    /// Calls `f` with every datom that matches, in the order of the sort that serves the pattern best ([`Db::sort`]);
    /// in a history view datoms of one e, a and v follow each other by t.
    pub fn each(&self, pattern: &Pattern<'_>, mut f: impl FnMut(&Datom) -> ControlFlow<()>) -> Result<()> {
        let (sort, bounds) = self.plan(pattern);
        let view = self.view;
        let as_of = view.as_of.unwrap_or(T::MAX);
        let since = view.since;
        let in_window = |t: T| t <= as_of && since.is_none_or(|since| t > since);
        let wanted = |t: T| pattern.t.is_none_or(|only| only == t);
        let novelty = &self.base.novelty;

        if view.history {
            let mut datoms: Vec<Datom> = Vec::new();
            let _ = novelty.each_current(sort, &bounds, &mut |datom| {
                if in_window(datom.t()) && wanted(datom.t()) {
                    datoms.push(datom.clone());
                }
                ControlFlow::Continue(())
            });
            let _ = novelty.each_closed(sort, &bounds, None, &mut |life| {
                if in_window(life.datom.t()) && wanted(life.datom.t()) {
                    datoms.push(life.datom.clone());
                }
                if in_window(life.to) && wanted(life.to) {
                    datoms.push(Datom::new(life.datom.e, life.datom.a(), life.datom.v.clone(), life.to, false));
                }
                ControlFlow::Continue(())
            });
            datoms.sort_by(|x, y| sort.cmp(x, y).then(x.t().cmp(&y.t())));
            let _ = datoms.iter().try_for_each(f);
            return Ok(());
        }

        if view.as_of.is_none_or(|t| t >= self.basis_t()) {
            // Closed lives are over by now: only open ones can be seen.
            let _ = match (since, pattern.t) {
                (None, None) => novelty.each_current(sort, &bounds, &mut f),
                _ => novelty.each_current(sort, &bounds, &mut |datom| {
                    if in_window(datom.t()) && wanted(datom.t()) { f(datom) } else { ControlFlow::Continue(()) }
                }),
            };
            return Ok(());
        }

        // Lives that were in force then and have ended since, merged with those still open.
        let mut ended: Vec<&Datom> = Vec::new();
        let _ = novelty.each_closed(sort, &bounds, Some(as_of), &mut |life| {
            if life.to > as_of && in_window(life.datom.t()) && wanted(life.datom.t()) {
                ended.push(&life.datom);
            }
            ControlFlow::Continue(())
        });
        ended.sort_by(|x, y| sort.cmp(x, y));
        let mut ended = ended.into_iter().peekable();
        let flow = novelty.each_current(sort, &bounds, &mut |datom| {
            while let Some(past) = ended.next_if(|past| sort.cmp(past, datom).is_lt()) {
                f(past)?;
            }
            if in_window(datom.t()) && wanted(datom.t()) { f(datom) } else { ControlFlow::Continue(()) }
        });
        if flow.is_continue() {
            let _ = ended.try_for_each(f);
        }
        Ok(())
    }

    /// Calls `f` with the index of each entity and its datoms of attribute `a`. The entities must stand in order,
    /// each once. Without a view one walk over the index serves all of them.
    pub fn each_of_entities(
        &self,
        a: AttrId,
        entities: &[EntityId],
        mut f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        debug_assert!(entities.is_sorted_by(|x, y| x < y));
        if !self.is_filtered() {
            let _ = self.base.novelty.each_of_entities(a, entities, &mut f);
            return Ok(());
        }
        self.each_one_by_one(entities.len(), |i| Pattern::all().a(a).e(entities[i]), f)
    }

    /// Calls `f` with the index of each value and the datoms of attribute `a` that have it. The values must stand in
    /// order, each once. Without a view, and with an index on the attribute, one walk serves all of them.
    pub fn each_of_values(
        &self,
        a: AttrId,
        values: &[Value],
        mut f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        debug_assert!(values.is_sorted_by(|x, y| x < y));
        if !self.is_filtered() && self.schema().attribute(a).has_avet() {
            let _ = self.base.novelty.each_of_values(a, values, &mut f);
            return Ok(());
        }
        self.each_one_by_one(values.len(), |i| Pattern::all().a(a).v(&values[i]), f)
    }

    /// Calls `f` with the index of each entity and the datoms of the reference attribute `a` that refer to it. The
    /// entities must stand in order, each once.
    pub fn each_of_references(
        &self,
        a: AttrId,
        entities: &[EntityId],
        mut f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        debug_assert!(entities.is_sorted_by(|x, y| x < y));
        if !self.is_filtered() {
            let _ = self.base.novelty.each_of_references(a, entities, &mut f);
            return Ok(());
        }
        let values: Vec<Value> = entities.iter().copied().map(Value::Ref).collect();
        self.each_one_by_one(values.len(), |i| Pattern::all().a(a).v(&values[i]), f)
    }

    fn each_one_by_one<'a>(
        &self,
        count: usize,
        pattern: impl Fn(usize) -> Pattern<'a>,
        mut f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut flow = ControlFlow::Continue(());
        for i in 0..count {
            self.each(&pattern(i), |datom| {
                flow = f(i, datom);
                flow
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All datoms that match, in the order of [`Db::each`].
    pub fn datoms(&self, pattern: &Pattern<'_>) -> Result<Vec<Datom>> {
        let mut datoms = Vec::new();
        self.each(pattern, |datom| {
            datoms.push(datom.clone());
            ControlFlow::Continue(())
        })?;
        Ok(datoms)
    }

    /// The first datom that matches.
    pub fn first(&self, pattern: &Pattern<'_>) -> Result<Option<Datom>> {
        let mut first = None;
        self.each(pattern, |datom| {
            first = Some(datom.clone());
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// About how many datoms match, in logarithmic time: exact for a value without views where the sort turns the
    /// pattern into one range, an upper bound otherwise.
    pub fn count(&self, pattern: &Pattern<'_>) -> u64 {
        let (sort, bounds) = self.plan(pattern);
        let novelty = &self.base.novelty;
        let mut count = novelty.count_current(sort, &bounds);
        if self.view.history {
            count += 2 * novelty.count_closed(sort, &bounds, None);
        } else if let Some(t) = self.view.as_of.filter(|t| *t < self.basis_t()) {
            count += novelty.count_closed(sort, &bounds, Some(t));
        }
        count as u64
    }

    /// The sort in which [`Db::each`] reads a pattern.
    pub fn sort(&self, pattern: &Pattern<'_>) -> Sort {
        self.plan(pattern).0
    }

    /// The value of a cardinality-one attribute; the first one of another.
    pub fn value(&self, e: EntityId, a: AttrId) -> Result<Option<Value>> {
        Ok(self.first(&Pattern::all().e(e).a(a))?.map(|datom| datom.v))
    }

    /// The entity that has a value of a unique attribute.
    pub fn lookup(&self, a: AttrId, v: &Value) -> Result<Option<EntityId>> {
        Ok(self.first(&Pattern::all().a(a).v(v))?.map(|datom| datom.e))
    }

    /// The entity an ident names today, whatever the view.
    pub fn entity_of_ident(&self, ident: &Keyword) -> Option<EntityId> {
        if let Some(a) = self.schema().attr_of_ident(ident) {
            return Some(self.schema().attribute(a).id);
        }
        let a = self.schema().attr_of_entity(ids::IDENT)?;
        self.unfiltered().lookup(a, &Value::Keyword(ident.clone())).ok().flatten()
    }

    /// An entity's ident today, whatever the view.
    pub fn ident_of_entity(&self, e: EntityId) -> Option<Keyword> {
        if let Some(a) = self.schema().attr_of_entity(e) {
            return Some(self.schema().attribute(a).ident.clone());
        }
        let a = self.schema().attr_of_entity(ids::IDENT)?;
        match self.unfiltered().value(e, a).ok().flatten()? {
            Value::Keyword(ident) => Some(ident),
            _ => None,
        }
    }

    /// Whether any fact was ever said of this entity, whatever the view.
    pub fn entity_exists(&self, e: EntityId) -> Result<bool> {
        let bounds = Pattern::all().e(e).bounds();
        let novelty = &self.base.novelty;
        Ok(novelty.count_current(Sort::Eavt, &bounds) > 0 || novelty.count_closed(Sort::Eavt, &bounds, None) > 0)
    }

    fn plan<'a>(&self, pattern: &Pattern<'a>) -> (Sort, Bounds<'a>) {
        let bounds = pattern.bounds();
        let has_avet = pattern.a.is_some_and(|a| self.schema().attribute(a).has_avet());
        (bounds.sort(has_avet), bounds)
    }
}
