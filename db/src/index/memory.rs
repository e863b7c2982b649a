//! The memory index: novelty in the four sorts, current and history.

use super::AttrStats;
use super::order::{Aevt, Avet, Bounds, Eavt, Life, Sort, Vaet};
use super::stats::Stats;
use super::tree::{Order, Tree};
use crate::model::{AttrId, Datom, EntityId, T, Value};
use std::ops::ControlFlow;

/// The same rows in four sorts. AVET holds those of covered attributes only, VAET references only.
struct Sorts<R> {
    eavt: Tree<R, Eavt>,
    aevt: Tree<R, Aevt>,
    avet: Tree<R, Avet>,
    vaet: Tree<R, Vaet>,
}

/// Open and closed lives with their statistics, as one persistent value.
#[derive(Clone, Default)]
pub struct MemoryIndex {
    current: Sorts<Datom>,
    history: Sorts<Life>,
    stats: Stats,
}

/// A row of either kind of index.
trait Row: Clone {
    fn datom(&self) -> &Datom;
}

impl Row for Datom {
    fn datom(&self) -> &Datom {
        self
    }
}

impl Row for Life {
    fn datom(&self) -> &Datom {
        &self.datom
    }
}

impl MemoryIndex {
    /// Begins a life. `in_avet`: AVET covers the datom's attribute.
    pub fn assert(&mut self, datom: &Datom, in_avet: bool) {
        if self.current.insert(datom.clone(), in_avet) {
            self.stats.add(datom.a(), &datom.v);
        }
    }

    /// Ends the life of the datom's e, a and v at `to`. False if there is none to end.
    pub fn retract(&mut self, datom: &Datom, to: T) -> bool {
        let Some((open, in_avet)) = self.current.remove(datom) else { return false };
        self.stats.remove(open.a());
        self.history.insert(Life { datom: open, to }, in_avet);
        true
    }

    pub fn stats(&self, a: AttrId) -> AttrStats {
        self.stats.of(a)
    }

    /// Open lives of the range, in the order of the sort.
    #[inline]
    pub fn each_current<'a>(
        &'a self,
        sort: Sort,
        bounds: &Bounds<'_>,
        f: &mut impl FnMut(&'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let exact = bounds.is_exact(sort);
        let mut each = |rows: &'a [Datom]| rows.iter().filter(|row| exact || bounds.admits(row)).try_for_each(&mut *f);
        // The sort is a constant in each arm, so that its comparison is compiled in.
        match sort {
            Sort::Eavt => self.current.eavt.each_slice(&|datom| bounds.position(Sort::Eavt, datom), &mut each),
            Sort::Aevt => self.current.aevt.each_slice(&|datom| bounds.position(Sort::Aevt, datom), &mut each),
            Sort::Avet => self.current.avet.each_slice(&|datom| bounds.position(Sort::Avet, datom), &mut each),
            Sort::Vaet => self.current.vaet.each_slice(&|datom| bounds.position(Sort::Vaet, datom), &mut each),
        }
    }

    /// Closed lives of the range; with `as_of` a part of those that ended by then is skipped unseen.
    pub fn each_closed<'a>(
        &'a self,
        sort: Sort,
        bounds: &Bounds<'_>,
        as_of: Option<T>,
        f: &mut impl FnMut(&'a Life) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let position = |life: &Life| bounds.position_of_life(sort, life, as_of);
        let mut each = |rows: &'a [Life]| rows.iter().filter(|row| bounds.admits(&row.datom)).try_for_each(&mut *f);
        match sort {
            Sort::Eavt => self.history.eavt.each_slice(&position, &mut each),
            Sort::Aevt => self.history.aevt.each_slice(&position, &mut each),
            Sort::Avet => self.history.avet.each_slice(&position, &mut each),
            Sort::Vaet => self.history.vaet.each_slice(&position, &mut each),
        }
    }

    /// Open lives of an attribute for each of many entities, which stand in order: one walk over AEVT.
    pub fn each_of_entities<'a>(
        &'a self,
        a: AttrId,
        entities: &[EntityId],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let position = |datom: &Datom, e: &EntityId| datom.a().cmp(&a).then(datom.e.cmp(e));
        self.current.aevt.each_probe(entities, &position, f)
    }

    /// Open lives of an attribute for each of many values, which stand in order: one walk over AVET, which must
    /// cover the attribute.
    pub fn each_of_values<'a>(
        &'a self,
        a: AttrId,
        values: &[Value],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let position = |datom: &Datom, v: &Value| datom.a().cmp(&a).then_with(|| datom.v.cmp(v));
        self.current.avet.each_probe(values, &position, f)
    }

    /// Open lives of an attribute that refer to each of many entities, which stand in order: one walk over VAET.
    pub fn each_of_references<'a>(
        &'a self,
        a: AttrId,
        entities: &[EntityId],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let position = |datom: &Datom, e: &EntityId| match &datom.v {
            Value::Ref(v) => v.cmp(e).then(datom.a().cmp(&a)),
            _ => unreachable!("VAET holds references only"),
        };
        self.current.vaet.each_probe(entities, &position, f)
    }

    /// Open lives in the range, in logarithmic time; bounds that the sort can't turn into a range don't count.
    pub fn count_current(&self, sort: Sort, bounds: &Bounds<'_>) -> usize {
        let position = |datom: &Datom| bounds.position(sort, datom);
        match sort {
            Sort::Eavt => self.current.eavt.count(&position),
            Sort::Aevt => self.current.aevt.count(&position),
            Sort::Avet => self.current.avet.count(&position),
            Sort::Vaet => self.current.vaet.count(&position),
        }
    }

    /// Closed lives in the range.
    pub fn count_closed(&self, sort: Sort, bounds: &Bounds<'_>, as_of: Option<T>) -> usize {
        let position = |life: &Life| bounds.position_of_life(sort, life, as_of);
        match sort {
            Sort::Eavt => self.history.eavt.count(&position),
            Sort::Aevt => self.history.aevt.count(&position),
            Sort::Avet => self.history.avet.count(&position),
            Sort::Vaet => self.history.vaet.count(&position),
        }
    }

    /// How many open lives stand before the first for which `before` is false.
    pub fn rank_current(&self, sort: Sort, before: &impl Fn(&Datom) -> bool) -> usize {
        self.current.rank(sort, before)
    }

    /// How many closed lives stand before the first for which `before` is false.
    pub fn rank_closed(&self, sort: Sort, before: &impl Fn(&Life) -> bool) -> usize {
        self.history.rank(sort, before)
    }

    /// Open lives that stand together, among them the one with `rank` others before it, and its place among them.
    pub fn run_current(&self, sort: Sort, rank: usize) -> Option<(&[Datom], usize)> {
        self.current.run(sort, rank)
    }

    /// Closed lives that stand together, among them the one with `rank` others before it, and its place among them.
    pub fn run_closed(&self, sort: Sort, rank: usize) -> Option<(&[Life], usize)> {
        self.history.run(sort, rank)
    }

    /// The last open life of an AVET-covered attribute with a value of at most `v`.
    pub fn last_at_most(&self, a: AttrId, v: &Value) -> Option<&Datom> {
        let rank = self.current.avet.rank(&|datom| (datom.a(), &datom.v) <= (a, v));
        self.current.avet.get(rank.checked_sub(1)?).filter(|datom| datom.a() == a)
    }
}

impl<R: Row> Sorts<R>
where
    Eavt: Order<R>,
    Aevt: Order<R>,
    Avet: Order<R>,
    Vaet: Order<R>,
{
    /// True if the row is new.
    fn insert(&mut self, row: R, in_avet: bool) -> bool {
        if in_avet {
            self.avet.insert(row.clone());
        }
        if matches!(row.datom().v, Value::Ref(_)) {
            self.vaet.insert(row.clone());
        }
        self.aevt.insert(row.clone());
        self.eavt.insert(row)
    }

    fn rank(&self, sort: Sort, before: &impl Fn(&R) -> bool) -> usize {
        match sort {
            Sort::Eavt => self.eavt.rank(before),
            Sort::Aevt => self.aevt.rank(before),
            Sort::Avet => self.avet.rank(before),
            Sort::Vaet => self.vaet.rank(before),
        }
    }

    fn run(&self, sort: Sort, rank: usize) -> Option<(&[R], usize)> {
        match sort {
            Sort::Eavt => self.eavt.leaf_at(rank),
            Sort::Aevt => self.aevt.leaf_at(rank),
            Sort::Avet => self.avet.leaf_at(rank),
            Sort::Vaet => self.vaet.leaf_at(rank),
        }
    }

    /// The row that was there, and whether AVET held it.
    fn remove(&mut self, row: &R) -> Option<(R, bool)> {
        let removed = self.eavt.remove(row)?;
        self.aevt.remove(row);
        if matches!(removed.datom().v, Value::Ref(_)) {
            self.vaet.remove(row);
        }
        let in_avet = self.avet.remove(row).is_some();
        Some((removed, in_avet))
    }
}

impl<R> Clone for Sorts<R> {
    fn clone(&self) -> Self {
        Sorts { eavt: self.eavt.clone(), aevt: self.aevt.clone(), avet: self.avet.clone(), vaet: self.vaet.clone() }
    }
}

impl<R: Row> Default for Sorts<R>
where
    Eavt: Order<R>,
    Aevt: Order<R>,
    Avet: Order<R>,
    Vaet: Order<R>,
{
    fn default() -> Self {
        Sorts { eavt: Tree::default(), aevt: Tree::default(), avet: Tree::default(), vaet: Tree::default() }
    }
}
