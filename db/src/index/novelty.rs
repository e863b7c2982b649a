//! Novelty: what was said after the trees were made, in the four sorts, current and history.

use super::batch::Changes;
use super::order::{Aevt, Avet, Bounds, Eavt, Life, Sort, Vaet};
use super::run::InMemory;
use super::tree::{Order, Tree};
use crate::model::{AttrId, Datom, EntityId, Instant, T, Value};
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The same rows in four sorts. AVET holds those of covered attributes only, VAET references only.
pub(crate) struct Sorts<R> {
    eavt: Tree<R, Eavt>,
    aevt: Tree<R, Aevt>,
    avet: Tree<R, Avet>,
    vaet: Tree<R, Vaet>,
}

/// The memory index, as one persistent value. `docs/decisions/0006-index-trees.md` has its parts.
#[derive(Clone, Default)]
pub(crate) struct Novelty {
    /// Lives that began after the trees were made, and are open.
    pub current: Sorts<Datom>,
    /// Lives that began after the trees were made, and have ended.
    pub history: Sorts<Life>,
    /// Retractions of lives that are open in the trees.
    pub ended: Sorts<Datom>,
    said: Tree<Said, ByT>,
    bytes: usize,
}

/// A transaction as it was said.
#[derive(Clone)]
pub(crate) struct Said {
    pub t: T,
    pub instant: Instant,
    pub datoms: Arc<[Datom]>,
}

struct ByT;

impl Order<Said> for ByT {
    fn cmp(x: &Said, y: &Said) -> Ordering {
        x.t.cmp(&y.t)
    }
}

/// What a row takes in one sort, about: 32 or 40 bytes in leaves that are three quarters full, and its share of
/// branches.
const ROW_BYTES: usize = 48;
const SAID_BYTES: usize = 96;

/// A row of either kind of index.
pub(crate) trait Row: Clone {
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

impl Novelty {
    /// Begins a life. `in_avet`: AVET covers the datom's attribute. False if it is open already.
    pub fn assert(&mut self, datom: &Datom, in_avet: bool) -> bool {
        self.bytes += Self::row_bytes(datom, in_avet);
        self.current.insert(datom.clone(), in_avet)
    }

    /// Ends the life of a retraction's e, a and v. False if there is none to end: if it began before, in the
    /// trees, that is for [`Novelty::end`].
    pub fn retract(&mut self, retraction: &Datom) -> bool {
        let Some((open, in_avet)) = self.current.remove(retraction) else { return false };
        self.history.insert(Life { datom: open, to: retraction.t() }, in_avet);
        true
    }

    /// Notes that a life in the trees has ended. False if that was noted before.
    pub fn end(&mut self, retraction: &Datom, in_avet: bool) -> bool {
        self.bytes += Self::row_bytes(retraction, in_avet);
        self.ended.insert(retraction.clone(), in_avet)
    }

    /// Keeps a transaction as it was said.
    pub fn say(&mut self, said: Said) {
        self.bytes += SAID_BYTES + size_of_val(&*said.datoms);
        self.said.insert(said);
    }

    /// Whether a life of the trees is known to have ended.
    pub fn has_ended(&self, retraction: &Datom) -> bool {
        self.ended.eavt.find(|other| Eavt::cmp(other, retraction)).is_some()
    }

    /// Takes in what many datoms came to. `in_avet`: AVET covers the attribute.
    pub(super) fn apply(&mut self, changes: Changes, in_avet: &dyn Fn(AttrId) -> bool) {
        self.bytes += changes.bytes;
        self.current.apply(changes.current, in_avet);
        let put = |life: Life| (life, true);
        let mut history: Vec<_> = changes.history.into_iter().map(put).collect();
        history.sort_unstable_by(|x, y| Eavt::cmp(&x.0, &y.0));
        self.history.apply(history, in_avet);
        self.ended.apply(changes.ended.into_iter().map(|datom| (datom, true)).collect(), in_avet);
    }

    /// The open life of each of many facts, which stand in order: one walk over EAVT. Each fact has one datom at least.
    pub(super) fn each_of_facts<'a>(
        &'a self,
        facts: &[&[&Datom]],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.current.eavt.each_probe(facts, &|datom, fact| Eavt::cmp(datom, fact[0]), f)
    }

    /// The transactions after `t`, in order.
    pub fn said_after<'a>(&'a self, t: T, f: &mut impl FnMut(&'a Said) -> ControlFlow<()>) -> ControlFlow<()> {
        let position = |said: &Said| if said.t <= t { Ordering::Less } else { Ordering::Equal };
        self.said.each_slice(&position, &mut |rows| rows.iter().try_for_each(&mut *f))
    }

    /// What a row takes in all its sorts, about.
    pub(super) fn row_bytes(datom: &Datom, in_avet: bool) -> usize {
        let sorts = 2 + usize::from(in_avet) + usize::from(matches!(datom.v, Value::Ref(_)));
        sorts * ROW_BYTES + datom.v.heap_bytes()
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
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

    /// Open lives of an attribute for each of many entities, which stand in order: one walk over AEVT.
    pub fn each_of_entities<'a>(
        &'a self,
        a: AttrId,
        entities: &[EntityId],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.current.aevt.each_probe(entities, &|datom, e| at_entity(datom, a, e), f)
    }

    /// Open lives of an attribute for each of many values, which stand in order: one walk over AVET, which must
    /// cover the attribute.
    pub fn each_of_values<'a>(
        &'a self,
        a: AttrId,
        values: &[Value],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.current.avet.each_probe(values, &|datom, v| at_value(datom, a, v), f)
    }

    /// Open lives of an attribute that refer to each of many entities, which stand in order: one walk over VAET.
    pub fn each_of_references<'a>(
        &'a self,
        a: AttrId,
        entities: &[EntityId],
        f: &mut impl FnMut(usize, &'a Datom) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.current.vaet.each_probe(entities, &|datom, e| at_reference(datom, a, e), f)
    }
}

/// Where a row of AEVT stands to an attribute and an entity.
pub(crate) fn at_entity(datom: &Datom, a: AttrId, e: &EntityId) -> Ordering {
    datom.a().cmp(&a).then(datom.e.cmp(e))
}

/// Where a row of AVET stands to an attribute and a value.
pub(crate) fn at_value(datom: &Datom, a: AttrId, v: &Value) -> Ordering {
    datom.a().cmp(&a).then_with(|| datom.v.cmp(v))
}

/// Where a row of VAET, which holds references only, stands to an entity referred to and an attribute.
pub(crate) fn at_reference(datom: &Datom, a: AttrId, e: &EntityId) -> Ordering {
    datom.v.cmp(&Value::Ref(*e)).then(datom.a().cmp(&a))
}

impl<R: Row> Sorts<R>
where
    Eavt: Order<R>,
    Aevt: Order<R>,
    Avet: Order<R>,
    Vaet: Order<R>,
{
    /// Puts and takes out rows, which stand in the order of EAVT.
    fn apply(&mut self, changes: Vec<(R, bool)>, in_avet: &dyn Fn(AttrId) -> bool) {
        if changes.is_empty() {
            return;
        }
        let a = |change: &(R, bool)| change.0.datom().a();
        let is_reference = |change: &&(R, bool)| matches!(change.0.datom().v, Value::Ref(_));
        let mut references: Vec<_> = changes.iter().filter(is_reference).cloned().collect();
        references.sort_unstable_by(|x, y| Vaet::cmp(&x.0, &y.0));
        self.vaet.apply(references);
        // What stands in the order of EAVT stands in that of AEVT within each attribute.
        let mut by_attribute = changes.clone();
        by_attribute.sort_by_key(a);
        let covered = by_attribute.chunk_by(|x, y| a(x) == a(y)).filter(|own| in_avet(a(&own[0])));
        let mut by_value: Vec<_> = covered.flatten().cloned().collect();
        by_value.sort_unstable_by(|x, y| Avet::cmp(&x.0, &y.0));
        self.avet.apply(by_value);
        self.aevt.apply(by_attribute);
        self.eavt.apply(changes);
    }

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

    /// All rows of a sort.
    pub fn run(&self, sort: Sort) -> InMemory<'_, R> {
        InMemory(match sort {
            Sort::Eavt => self.eavt.root_node(),
            Sort::Aevt => self.aevt.root_node(),
            Sort::Avet => self.avet.root_node(),
            Sort::Vaet => self.vaet.root_node(),
        })
    }

    pub fn len(&self) -> usize {
        self.eavt.len()
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
