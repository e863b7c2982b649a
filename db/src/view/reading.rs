//! Reading a range of an index through a view, in order: here, and nowhere else, views are applied.
//!
//! What a view can see decides which parts of the index are read at all: the present needs no closed lives, and a
//! moment before the trees were made needs no novelty. Closed lives stand by the t that ended them inside each group of
//! two leading components (see `index`); a group is sorted when the reading comes to it, a large one part by part.

use super::Db;
use crate::Result;
use crate::index::{Closed, Ends, Life, Open, Parts, Seen, Sort};
use crate::model::{Datom, T};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Datoms of one group of closed lives that are sorted ahead; of a larger group the first ones at a time.
pub(super) const READY_MAX: usize = 1 << 16;

/// Which datoms are read, by components of the sort.
pub(super) trait Range: Copy {
    /// Where a datom stands to the range by e, a and v: before it, inside, or beyond.
    fn position(self, datom: &Datom) -> Ordering;

    /// The same of a closed life by the two leading components of the sort; one that had ended by `after` may stand
    /// before the range.
    fn life_position(self, life: &Life, after: Option<T>) -> Ordering;

    /// Whether a datom inside is wanted.
    fn admits(self, datom: &Datom) -> bool;

    /// The only t of a datom that is wanted, if there is only one.
    fn only_t(self) -> Option<T> {
        None
    }
}

/// Where a reading stands in the closed lives. What it holds is bounded: at most [`READY_MAX`] datoms and a few more.
#[derive(Default)]
pub(super) struct Rest {
    /// What comes next of the group that is being read.
    ready: VecDeque<Datom>,
    /// The group, if there is more of it than what is ready: a datom of it, and the last one that was made ready.
    group: Option<(Datom, Datom)>,
    /// A datom of the last group that was begun.
    begun: Option<Datom>,
}

/// A reading of a range that is under way.
pub(super) struct Reading<'a, R, P, Q> {
    db: &'a Db,
    sort: Sort,
    reverse: bool,
    range: R,
    open: Open<'a, P>,
    closed: Option<Closed<'a, Q>>,
    ready_max: usize,
}

/// The parts of an index that a view reads.
pub(super) struct Wanted {
    pub open: Parts,
    pub ends: Ends,
    pub closed: Parts,
    /// Closed lives are seen if they ended after this; None: whenever they did.
    pub closed_after: Option<T>,
}

impl Db {
    /// Whether the present, without views that hide any of it, is all there is to see.
    pub(super) fn sees_present(&self) -> bool {
        !self.view.history && self.view.as_of.is_none_or(|t| t >= self.basis_t())
    }

    pub(super) fn in_window(&self, t: T) -> bool {
        self.view.as_of.is_none_or(|as_of| t <= as_of) && self.view.since.is_none_or(|since| t > since)
    }

    pub(super) fn wanted(&self, only_t: Option<T>) -> Wanted {
        let view = self.view;
        let as_of = view.as_of.unwrap_or(T::MAX);
        let trees = self.base.index.trees.as_ref();
        let novelty = trees.is_none_or(|trees| as_of > trees.index_t);
        let before_trees = trees.is_some_and(|trees| as_of < trees.index_t);
        let after = view.since.map_or(0, |since| since + 1);
        let seen = Seen {
            from_at_least: after.max(only_t.unwrap_or(0)),
            from_at_most: as_of.min(only_t.unwrap_or(T::MAX)),
            to_at_least: 0,
        };
        let open = Parts { trees: Some(seen), novelty };
        if view.history {
            let seen = Seen { from_at_least: 0, from_at_most: seen.from_at_most, to_at_least: seen.from_at_least };
            let closed = Parts { trees: Some(seen), novelty };
            return Wanted { open, ends: Ends::Shown, closed, closed_after: None };
        }
        let closed = Parts {
            trees: before_trees.then(|| Seen { to_at_least: as_of.saturating_add(1), ..seen }),
            novelty: novelty && as_of < self.basis_t(),
        };
        Wanted { open, ends: Ends::HideUpTo(as_of), closed, closed_after: Some(as_of) }
    }

    /// Begins a reading, or goes on where `rest` says that another one of the same range ended.
    // Closures have no names that a shorter type could be made of.
    #[allow(clippy::type_complexity)]
    pub(super) fn reading<'a, R: Range + 'a>(
        &'a self,
        sort: Sort,
        reverse: bool,
        range: R,
        rest: &Rest,
        ready_max: usize,
    ) -> Result<Reading<'a, R, impl Fn(&Datom) -> Ordering + Copy + use<R>, impl Fn(&Life) -> Ordering + Copy + use<R>>>
    {
        let wanted = self.wanted(range.only_t());
        let index = &self.base.index;
        let position = move |datom: &Datom| range.position(datom);
        let open = Open::new(index, wanted.open, sort, reverse, wanted.ends, position)?;
        let has_closed = wanted.closed.trees.is_some() || wanted.closed.novelty;
        let closed = if has_closed {
            let after = wanted.closed_after;
            let position = move |life: &Life| range.life_position(life, after);
            let mut closed = Closed::new(index, wanted.closed, sort, reverse, wanted.closed_after, position)?;
            if let Some(begun) = &rest.begun {
                closed.restart(begun, true)?;
            }
            Some(closed)
        } else {
            None
        };
        Ok(Reading { db: self, sort, reverse, range, open, closed, ready_max })
    }

    /// Of a range of one entity and one attribute of one value: the life that was in force at the moment of the view and
    /// has ended since, if there is one.
    pub(super) fn closed_in_force<R: Range>(&self, sort: Sort, range: R) -> Result<Option<Datom>> {
        let (Some(as_of), false) = (self.view.as_of, self.view.history) else { return Ok(None) };
        let wanted = self.wanted(None);
        if wanted.closed.trees.is_none() && !wanted.closed.novelty {
            return Ok(None);
        }
        let position = |life: &Life| range.life_position(life, wanted.closed_after);
        let mut closed = Closed::new(&self.base.index, wanted.closed, sort, false, wanted.closed_after, &position)?;
        let Some(group) = closed.group()? else { return Ok(None) };
        let mut in_force = None;
        closed.read(&group, true, &mut |life| {
            in_force = Some(life.datom.clone()).filter(|datom| datom.t() <= as_of);
            Ok(())
        })?;
        Ok(in_force)
    }

    /// Whether the datom that began a closed life is seen through the view.
    fn is_seen(&self, life: &Life) -> bool {
        let in_force = self.view.history || self.view.as_of.is_some_and(|t| life.to > t);
        in_force && self.in_window(life.datom.t())
    }
}

impl<R: Range, P, Q> Reading<'_, R, P, Q>
where
    P: Fn(&Datom) -> Ordering + Copy,
    Q: Fn(&Life) -> Ordering + Copy,
{
    /// Gives datoms to `f` until it breaks or none are left; `step` is asked for each one that is looked at.
    pub(super) fn each(
        &mut self,
        rest: &mut Rest,
        step: &mut impl FnMut() -> Result<()>,
        f: &mut impl FnMut(&Datom) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (db, range, reverse) = (self.db, self.range, self.reverse);
        loop {
            while rest.ready.is_empty() && self.fill(rest, step)? {}
            let mut give = |datom: &Datom, step: &mut dyn FnMut() -> Result<()>| {
                step()?;
                let is_wanted = db.in_window(datom.t()) && range.admits(datom);
                Ok(if is_wanted { f(datom) } else { ControlFlow::Continue(()) })
            };
            let flow = self.open.each(rest.ready.front(), &mut |datoms| {
                let mut each = |datom: &Datom| match give(datom, step) {
                    Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                    Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
                    Err(error) => ControlFlow::Break(Err(error)),
                };
                let flow = match reverse {
                    false => datoms.iter().try_for_each(&mut each),
                    true => datoms.iter().rev().try_for_each(&mut each),
                };
                match flow {
                    ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
                    ControlFlow::Break(stopped) => stopped.map(|()| ControlFlow::Break(())),
                }
            })?;
            if flow.is_break() {
                return Ok(flow);
            }
            let Some(datom) = rest.ready.pop_front() else { return Ok(ControlFlow::Continue(())) };
            if f(&datom).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Makes the next datoms of closed lives ready. False when none are left.
    fn fill(&mut self, rest: &mut Rest, step: &mut impl FnMut() -> Result<()>) -> Result<bool> {
        let Some(closed) = &mut self.closed else { return Ok(false) };
        let (group, last) = match rest.group.take() {
            Some((group, last)) => {
                closed.restart(&group, false)?;
                (group, Some(last))
            }
            None => match closed.group()? {
                Some(group) => (group, None),
                None => return Ok(false),
            },
        };
        let (db, sort, reverse, range, ready_max) = (self.db, self.sort, self.reverse, self.range, self.ready_max);
        let order = |x: &Datom, y: &Datom| {
            let order = sort.cmp(x, y).then_with(|| x.t().cmp(&y.t()));
            if reverse { order.reverse() } else { order }
        };
        let mut found: Vec<Datom> = Vec::new();
        let mut more = false;
        let is_single = matches!(sort, Sort::Eavt | Sort::Aevt) && !db.schema().attribute(group.a()).was_ever_many();
        closed.read(&group, is_single, &mut |life| {
            step()?;
            let begun = Some(&life.datom).filter(|_| db.is_seen(life)).cloned();
            let ended = Some(life.to).filter(|to| db.view.history && db.in_window(*to)).map(|to| {
                let datom = &life.datom;
                Datom::new(datom.e, datom.a(), datom.v.clone(), to, false)
            });
            let is_next = |datom: &Datom| {
                range.position(datom).is_eq()
                    && range.admits(datom)
                    && last.as_ref().is_none_or(|last| order(datom, last).is_gt())
            };
            found.extend(begun.into_iter().chain(ended).filter(is_next));
            if found.len() >= 2 * ready_max {
                found.select_nth_unstable_by(ready_max, order);
                found.truncate(ready_max);
                more = true;
            }
            Ok(())
        })?;
        found.sort_unstable_by(order);
        if found.len() > ready_max {
            found.truncate(ready_max);
            more = true;
        }
        rest.begun = Some(group.clone());
        rest.group = found.last().filter(|_| more).map(|last| (group, last.clone()));
        rest.ready = found.into();
        Ok(true)
    }
}
