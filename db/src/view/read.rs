//! Reading a database value by patterns.

use super::Db;
use super::reading::{READY_MAX, Range, Rest};
use crate::Result;
use crate::index::{
    Bounds, Life, Open, Persisted, Run, Seen, Sort, ValueRange, at_entity, at_reference, at_value, rank,
};
use crate::model::{AttrId, Datom, EntityId, Keyword, T, Value};
use crate::schema::ids;
use std::cmp::Ordering;
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

/// An entity's attribute, and one value of it or all.
pub(crate) struct Fact<'a> {
    pub e: EntityId,
    pub a: AttrId,
    pub v: Option<&'a Value>,
}

impl Db {
    /// Calls `f` with every datom that matches, in the order of the sort that serves the pattern best ([`Db::sort`]);
    /// in a history view datoms of one e, a and v follow each other by t.
    pub fn each(&self, pattern: &Pattern<'_>, mut f: impl FnMut(&Datom) -> ControlFlow<()>) -> Result<()> {
        let (sort, bounds) = self.plan(pattern)?;
        if self.base.index.trees.is_none() && self.sees_present() {
            // All is in memory, and closed lives are over by now: the shortest way.
            let novelty = &self.base.index.novelty;
            let _ = match (self.view.since, pattern.t) {
                (None, None) => novelty.each_current(sort, &bounds, &mut f),
                (_, only) => novelty.each_current(sort, &bounds, &mut |datom| {
                    let is_wanted = self.in_window(datom.t()) && only.is_none_or(|t| t == datom.t());
                    if is_wanted { f(datom) } else { ControlFlow::Continue(()) }
                }),
            };
            return Ok(());
        }
        let range = Matching { sort, is_exact: bounds.is_exact(sort), bounds, t: pattern.t };
        if let (Some(_), Some(a)) = (pattern.e, pattern.a)
            && !self.schema().attribute(a).was_ever_many()
            && let Some(only) = self.closed_in_force(sort, range)?
        {
            // Where an entity had one value at a time, nothing else was in force then.
            if self.in_window(only.t()) && range.position(&only).is_eq() && range.admits(&only) {
                let _ = f(&only);
            }
            return Ok(());
        }
        let mut rest = Rest::default();
        let _ = self.reading(sort, false, range, &rest, READY_MAX)?.each(&mut rest, &mut || Ok(()), &mut f)?;
        Ok(())
    }

    /// The last datom that matches in the order of [`Db::each`].
    pub fn last(&self, pattern: &Pattern<'_>) -> Result<Option<Datom>> {
        let (sort, bounds) = self.plan(pattern)?;
        let range = Matching { sort, is_exact: bounds.is_exact(sort), bounds, t: pattern.t };
        let (mut rest, mut last) = (Rest::default(), None);
        let _ = self.reading(sort, true, range, &rest, READY_MAX)?.each(&mut rest, &mut || Ok(()), &mut |datom| {
            last = Some(datom.clone());
            ControlFlow::Break(())
        })?;
        Ok(last)
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
            let novelty = &self.base.index.novelty;
            if self.base.index.trees.is_none() {
                let _ = novelty.each_of_entities(a, entities, &mut f);
                return Ok(());
            }
            return self.each_probe(Sort::Aevt, entities, |datom, probe| at_entity(datom, a, probe), f);
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
            let novelty = &self.base.index.novelty;
            if self.base.index.trees.is_none() {
                let _ = novelty.each_of_values(a, values, &mut f);
                return Ok(());
            }
            return self.each_probe(Sort::Avet, values, |datom, probe| at_value(datom, a, probe), f);
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
            let novelty = &self.base.index.novelty;
            if self.base.index.trees.is_none() {
                let _ = novelty.each_of_references(a, entities, &mut f);
                return Ok(());
            }
            return self.each_probe(Sort::Vaet, entities, |datom, probe| at_reference(datom, a, probe), f);
        }
        let values: Vec<Value> = entities.iter().copied().map(Value::Ref).collect();
        self.each_one_by_one(values.len(), |i| Pattern::all().a(a).v(&values[i]), f)
    }

    /// Calls `f` with the index of each fact and the open lives that it speaks of. The facts must stand in order, each
    /// once, and no view may be in the way: one walk over EAVT serves all of them.
    pub(crate) fn each_of_facts(
        &self,
        facts: &[Fact<'_>],
        f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        debug_assert!(!self.is_filtered());
        let at_fact = |datom: &Datom, fact: &Fact<'_>| {
            let of_value = || fact.v.map_or(Ordering::Equal, |v| datom.v.cmp(v));
            datom.e.cmp(&fact.e).then(datom.a().cmp(&fact.a)).then_with(of_value)
        };
        self.each_probe(Sort::Eavt, facts, at_fact, f)
    }

    /// Calls `f` with the index of each attribute and value and the open lives that have it. They must stand in order,
    /// each once, AVET must cover the attributes, and no view may be in the way.
    pub(crate) fn each_of_keys(
        &self,
        keys: &[(AttrId, &Value)],
        f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        debug_assert!(!self.is_filtered());
        self.each_probe(Sort::Avet, keys, |datom, (a, v)| at_value(datom, *a, v), f)
    }

    /// Looks many probes up in one pass over the present. They must stand in the order of the sort.
    fn each_probe<X>(
        &self,
        sort: Sort,
        probes: &[X],
        position: impl Fn(&Datom, &X) -> Ordering,
        mut f: impl FnMut(usize, &Datom) -> ControlFlow<()>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (probes.first(), probes.last()) else { return Ok(()) };
        let within = |datom: &Datom| {
            if position(datom, first).is_lt() {
                Ordering::Less
            } else if position(datom, last).is_gt() {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        };
        let wanted = self.wanted(None);
        let mut open = Open::new(&self.base.index, wanted.open, sort, false, wanted.ends, &within)?;
        for (i, probe) in probes.iter().enumerate() {
            open.seek(&|datom| position(datom, probe).is_lt())?;
            let mut stopped = false;
            open.take_while(&|datom| position(datom, probe).is_eq(), &mut |datoms| {
                let flow = datoms.iter().try_for_each(|datom| f(i, datom));
                stopped = flow.is_break();
                flow
            })?;
            if stopped {
                break;
            }
        }
        Ok(())
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
    pub fn count(&self, pattern: &Pattern<'_>) -> Result<u64> {
        let (sort, bounds) = self.plan(pattern)?;
        self.count_in(sort, &bounds)
    }

    fn count_in(&self, sort: Sort, bounds: &Bounds<'_>) -> Result<u64> {
        let wanted = self.wanted(None);
        let index = &self.base.index;
        let trees = index.trees.as_deref();
        let of = |datom: &Datom| bounds.position(sort, datom);
        let of_life = |life: &Life| bounds.position_of_life(sort, life, wanted.closed_after);
        let mut count = 0;
        if let Some(trees) = trees {
            let source = &*trees.source;
            count += within(&Persisted { source, root: trees.open.of(sort), seen: Seen::ALL }, &of)?;
            if wanted.closed.trees.is_some() {
                let run = Persisted { source, root: trees.closed.of(sort), seen: Seen::ALL };
                count += within(&run, &of_life)? * if self.view.history { 2 } else { 1 };
            }
        }
        if wanted.open.novelty {
            count += within(&index.novelty.current.run(sort), &of)?;
            let ended = if trees.is_some() { within(&index.novelty.ended.run(sort), &of)? } else { 0 };
            if self.view.history {
                count += ended;
            } else if self.sees_present() {
                count -= ended;
            }
            if wanted.closed.novelty {
                let closed = within(&index.novelty.history.run(sort), &of_life)?;
                count += closed * if self.view.history { 2 } else { 1 };
            }
        }
        Ok(count)
    }

    /// How many facts there are in the value below any view. Reads nothing.
    pub fn len(&self) -> u64 {
        let index = &self.base.index;
        let kept = index.trees.as_ref().map_or(0, |trees| trees.open.count()) - index.novelty.ended.len() as u64;
        kept + index.novelty.current.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sort in which [`Db::each`] reads a pattern.
    pub fn sort(&self, pattern: &Pattern<'_>) -> Result<Sort> {
        Ok(self.plan(pattern)?.0)
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
    pub fn entity_of_ident(&self, ident: &Keyword) -> Result<Option<EntityId>> {
        if let Some(a) = self.schema().attr_of_ident(ident) {
            return Ok(Some(self.schema().attribute(a).id));
        }
        let Some(a) = self.schema().attr_of_entity(ids::IDENT) else { return Ok(None) };
        self.unfiltered().lookup(a, &Value::Keyword(ident.clone()))
    }

    /// An entity's ident today, whatever the view.
    pub fn ident_of_entity(&self, e: EntityId) -> Result<Option<Keyword>> {
        if let Some(a) = self.schema().attr_of_entity(e) {
            return Ok(Some(self.schema().attribute(a).ident.clone()));
        }
        let Some(a) = self.schema().attr_of_entity(ids::IDENT) else { return Ok(None) };
        match self.unfiltered().value(e, a)? {
            Some(Value::Keyword(ident)) => Ok(Some(ident)),
            _ => Ok(None),
        }
    }

    /// Whether any fact was ever said of this entity, whatever the view.
    pub fn entity_exists(&self, e: EntityId) -> Result<bool> {
        Ok(self.unfiltered().history().first(&Pattern::all().e(e))?.is_some())
    }

    fn plan<'a>(&self, pattern: &Pattern<'a>) -> Result<(Sort, Bounds<'a>)> {
        let bounds = pattern.bounds();
        let has_avet = pattern.a.is_some_and(|a| self.schema().attribute(a).has_avet());
        let sort = bounds.sort(has_avet);
        let is_range = matches!(bounds.v, ValueRange::Between(..));
        if let (Sort::Avet, true, Some(a), false) = (sort, is_range, pattern.a, self.sees_present())
            && !self.view.history
            && !self.schema().attribute(a).was_ever_many()
        {
            // A range of the past has every life that ever was in it; an entity has one life at a time, and costs a
            // seek in AEVT.
            let lives = self.count_in(Sort::Avet, &bounds)?;
            let entities = self.stats(a).rows;
            if lives > SEEK_LIVES * entities {
                return Ok((Sort::Aevt, bounds));
            }
        }
        Ok((sort, bounds))
    }
}

/// So many lives are read in the time of a seek.
const SEEK_LIVES: u64 = 4;

/// The datoms of a pattern as a range of the sort that serves it.
#[derive(Clone, Copy)]
struct Matching<'a> {
    sort: Sort,
    bounds: Bounds<'a>,
    is_exact: bool,
    t: Option<T>,
}

impl Range for Matching<'_> {
    #[inline]
    fn position(self, datom: &Datom) -> Ordering {
        self.bounds.position(self.sort, datom)
    }

    #[inline]
    fn life_position(self, life: &Life, after: Option<T>) -> Ordering {
        self.bounds.position_of_life(self.sort, life, after)
    }

    #[inline]
    fn admits(self, datom: &Datom) -> bool {
        (self.is_exact || self.bounds.admits(datom)) && self.t.is_none_or(|t| t == datom.t())
    }

    fn only_t(self) -> Option<T> {
        self.t
    }
}

/// How many rows of a run stand in a range.
fn within<N: Run>(run: &N, position: &dyn Fn(&N::Row) -> Ordering) -> Result<u64> {
    let before = rank(run, &|row| position(row) == Ordering::Less)?;
    Ok(rank(run, &|row| position(row) != Ordering::Greater)? - before)
}
