//! Merging what trees and novelty hold of a range.

use super::run::{Cursor, InMemory, Persisted, Seen, count_while, next_rows};
use super::{Index, Life, Sort};
use crate::Result;
use crate::model::{Datom, T};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// What the retractions of lives that are open in the trees mean to a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    /// Those up to a t hide what they ended.
    HideUpTo(T),
    /// They are datoms to be read.
    Shown,
}

/// The open lives of a range, in order: those of the trees that have not ended, and those of novelty. `position` may ask
/// for e, a and v, but not for t.
pub(crate) struct Open<'a, P> {
    sort: Sort,
    reverse: bool,
    ends: Ends,
    trees: Option<Cursor<Persisted<'a, Datom>, P>>,
    fresh: Option<Cursor<InMemory<'a, Datom>, P>>,
    ended: Option<Cursor<InMemory<'a, Datom>, P>>,
}

/// Which parts of an index a reader needs, and what it can see of the persisted ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub trees: Option<Seen>,
    pub novelty: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum From {
    Trees,
    Fresh,
    Ended,
}

impl<'a, P: Fn(&Datom) -> Ordering + Copy> Open<'a, P> {
    pub fn new(index: &'a Index, parts: Parts, sort: Sort, reverse: bool, ends: Ends, position: P) -> Result<Self> {
        let trees = match (&index.trees, parts.trees) {
            (Some(trees), Some(seen)) => {
                let run = Persisted { source: &*trees.source, root: trees.open.of(sort), seen };
                Some(Cursor::new(run, position, reverse)?)
            }
            _ => None,
        };
        let novelty = &index.novelty;
        let fresh = if parts.novelty { Some(novelty.current.run(sort)) } else { None };
        let ended = (parts.novelty && novelty.ended.len() > 0).then(|| novelty.ended.run(sort));
        Ok(Open {
            sort,
            reverse,
            ends,
            trees,
            fresh: fresh.map(|run| Cursor::new(run, position, reverse)).transpose()?,
            ended: ended.map(|run| Cursor::new(run, position, reverse)).transpose()?,
        })
    }

    /// Gives what comes next to `f`, slice by slice, as long as it comes before `until`. Slices stand in the order of
    /// the index, backwards too: then their last row comes first. After `f` breaks, the merge is of no use any more.
    pub fn each(
        &mut self,
        until: Option<&Datom>,
        f: &mut impl FnMut(&[Datom]) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        loop {
            match self.each_slice(until, &mut |datoms| Ok((datoms.len(), f(datoms)?)))? {
                None => return Ok(ControlFlow::Continue(())),
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
            }
        }
    }

    /// Gives the next slice to `f`, and passes over as many of its rows as `f` says. None where nothing comes next.
    fn each_slice(
        &mut self,
        until: Option<&Datom>,
        f: &mut impl FnMut(&[Datom]) -> Result<(usize, ControlFlow<()>)>,
    ) -> Result<Option<ControlFlow<()>>> {
        self.pass_ended()?;
        let (sort, reverse) = (self.sort, self.reverse);
        let is_before = |x: &Datom, y: &Datom| in_direction(cmp(sort, x, y), reverse).is_lt();
        let Open { trees, fresh, ended, ends, .. } = self;
        let shows_ends = matches!(ends, Ends::Shown);
        let fronts = [
            (From::Trees, trees.as_ref().and_then(Cursor::front)),
            (From::Fresh, fresh.as_ref().and_then(Cursor::front)),
            (From::Ended, ended.as_ref().and_then(Cursor::front).filter(|_| shows_ends)),
        ];
        let mut next: Option<(From, &Datom)> = None;
        // The first row that stands in the way of the next one's neighbours.
        let mut limit = until;
        for (from, front) in fronts {
            let Some(front) = front else { continue };
            match next {
                Some((_, first)) if is_before(first, front) => limit = earlier(limit, front, is_before),
                Some((_, first)) => {
                    limit = earlier(limit, first, is_before);
                    next = Some((from, front));
                }
                None => next = Some((from, front)),
            }
        }
        let Some((from, first)) = next else { return Ok(None) };
        if until.is_some_and(|until| !is_before(first, until)) {
            return Ok(None);
        }
        let limit = limit.cloned();
        // What ended hides, and stands in the way of the trees alone.
        let end = ended.as_ref().and_then(Cursor::front).filter(|_| from == From::Trees && !shows_ends).cloned();
        let rows = match from {
            From::Trees => trees.as_mut().map_or(&[][..], Cursor::rows),
            From::Fresh => fresh.as_mut().map_or(&[][..], Cursor::rows),
            From::Ended => ended.as_mut().map_or(&[][..], Cursor::rows),
        };
        let mut slice = match &limit {
            Some(limit) => next_rows(rows, reverse, count_while(rows, reverse, &|row| is_before(row, limit))),
            None => rows,
        };
        if let Some(end) = end {
            let is_open = |row: &Datom| in_direction(sort.cmp(row, &end), reverse).is_lt();
            slice = next_rows(slice, reverse, count_while(slice, reverse, &is_open));
        }
        let (taken, flow) = f(slice)?;
        match (from, trees, fresh, ended) {
            (From::Trees, Some(cursor), ..) => cursor.skip(taken)?,
            (From::Fresh, _, Some(cursor), _) | (From::Ended, _, _, Some(cursor)) => cursor.skip(taken)?,
            // What comes next is the front of one of them.
            _ => {}
        }
        Ok(Some(flow))
    }

    /// Gives what comes next to `f`, slice by slice, as long as `holds`, which does for a prefix; and passes over it.
    pub fn take_while(
        &mut self,
        holds: &dyn Fn(&Datom) -> bool,
        f: &mut impl FnMut(&[Datom]) -> ControlFlow<()>,
    ) -> Result<()> {
        let reverse = self.reverse;
        let mut is_over = false;
        while !is_over {
            let flow = self.each_slice(None, &mut |datoms| {
                let count = count_while(datoms, reverse, holds);
                is_over = count < datoms.len();
                Ok((count, if count > 0 { f(next_rows(datoms, reverse, count)) } else { ControlFlow::Continue(()) }))
            })?;
            if flow.is_none_or(|flow| flow.is_break()) {
                break;
            }
        }
        Ok(())
    }

    /// Goes forward to the first row that `passed` does not hold for.
    pub fn seek(&mut self, passed: &dyn Fn(&Datom) -> bool) -> Result<()> {
        if let Some(trees) = &mut self.trees {
            trees.seek(passed)?;
        }
        for cursor in [&mut self.fresh, &mut self.ended].into_iter().flatten() {
            cursor.seek(passed)?;
        }
        Ok(())
    }

    /// Passes over lives of the trees that have ended, until one comes that has not.
    fn pass_ended(&mut self) -> Result<()> {
        let (Ends::HideUpTo(upto), Some(trees), Some(ended)) = (self.ends, &mut self.trees, &mut self.ended) else {
            return Ok(());
        };
        while let (Some(open), Some(end)) = (trees.front(), ended.front()) {
            match in_direction(self.sort.cmp(end, open), self.reverse) {
                // The reader could not see the life that it ended.
                Ordering::Less => {
                    let (sort, reverse) = (self.sort, self.reverse);
                    ended.seek(&|end| in_direction(sort.cmp(end, open), reverse).is_lt())?;
                }
                Ordering::Equal => {
                    if end.t() <= upto {
                        trees.skip(1)?;
                    }
                    ended.skip(1)?;
                }
                Ordering::Greater => break,
            }
        }
        Ok(())
    }
}

/// The order in which a reader gets datoms: that of the sort, and those of one e, a and v by t.
fn cmp(sort: Sort, x: &Datom, y: &Datom) -> Ordering {
    sort.cmp(x, y).then_with(|| x.t().cmp(&y.t()))
}

fn in_direction(order: Ordering, reverse: bool) -> Ordering {
    if reverse { order.reverse() } else { order }
}

fn earlier<'d>(
    limit: Option<&'d Datom>,
    row: &'d Datom,
    is_before: impl Fn(&Datom, &Datom) -> bool,
) -> Option<&'d Datom> {
    match limit {
        Some(limit) if is_before(limit, row) => Some(limit),
        _ => Some(row),
    }
}

/// The closed lives of a range, by groups with the same two leading components: after those comes `to`, so that only
/// groups stand in the order of the sort.
pub(crate) struct Closed<'a, P> {
    sort: Sort,
    reverse: bool,
    /// Only lives that ended after this.
    after: Option<T>,
    /// A group that was read, of which there may be more: passed over when the next one is asked for.
    passed: Option<Datom>,
    trees: Option<Cursor<Persisted<'a, Life>, P>>,
    fresh: Option<Cursor<InMemory<'a, Life>, P>>,
}

impl<'a, P: Fn(&Life) -> Ordering + Copy> Closed<'a, P> {
    pub fn new(
        index: &'a Index,
        parts: Parts,
        sort: Sort,
        reverse: bool,
        after: Option<T>,
        position: P,
    ) -> Result<Self> {
        let trees = match (&index.trees, parts.trees) {
            (Some(trees), Some(seen)) => {
                let run = Persisted { source: &*trees.source, root: trees.closed.of(sort), seen };
                Some(Cursor::new(run, position, reverse)?)
            }
            _ => None,
        };
        let fresh = (parts.novelty && index.novelty.history.len() > 0).then(|| index.novelty.history.run(sort));
        let fresh = fresh.map(|run| Cursor::new(run, position, reverse)).transpose()?;
        Ok(Closed { sort, reverse, after, passed: None, trees, fresh })
    }

    /// A datom of the group that comes next.
    pub fn group(&mut self) -> Result<Option<Datom>> {
        if let Some(passed) = self.passed.take() {
            let (sort, reverse) = (self.sort, self.reverse);
            let is_passed = |life: &Life| in_direction(sort.cmp_group(&life.datom, &passed), reverse).is_le();
            if let Some(trees) = &mut self.trees {
                trees.seek(&is_passed)?;
            }
            if let Some(fresh) = &mut self.fresh {
                fresh.seek(&is_passed)?;
            }
        }
        let trees = self.trees.as_ref().and_then(Cursor::front);
        let fresh = self.fresh.as_ref().and_then(Cursor::front);
        let first = match (trees, fresh) {
            (Some(x), Some(y)) if self.order(x, &y.datom).is_le() => x,
            (_, Some(y)) => y,
            (Some(x), None) => x,
            (None, None) => return Ok(None),
        };
        Ok(Some(first.datom.clone()))
    }

    /// Gives the lives of a group, which must come next, to `f`. `is_single`: lives of
    /// the group follow each other, so that the first one that ended late enough is the only one that can be wanted.
    pub fn read(&mut self, group: &Datom, is_single: bool, f: &mut impl FnMut(&Life) -> Result<()>) -> Result<()> {
        let Closed { sort, reverse, after, trees, fresh, .. } = self;
        if let Some(trees) = trees {
            read(trees, (*sort, *reverse, *after, is_single), group, f)?;
        }
        if let Some(fresh) = fresh {
            read(fresh, (*sort, *reverse, *after, is_single), group, f)?;
        }
        self.passed = Some(group.clone());
        Ok(())
    }

    /// Goes to the beginning of a group, or behind it.
    pub fn restart(&mut self, group: &Datom, behind: bool) -> Result<()> {
        let (sort, reverse) = (self.sort, self.reverse);
        let is_passed = |life: &Life| match in_direction(sort.cmp_group(&life.datom, group), reverse) {
            Ordering::Less => true,
            Ordering::Equal => behind,
            Ordering::Greater => false,
        };
        self.passed = None;
        if let Some(trees) = &mut self.trees {
            trees.restart(&is_passed)?;
        }
        if let Some(fresh) = &mut self.fresh {
            fresh.restart(&is_passed)?;
        }
        Ok(())
    }

    fn order(&self, life: &Life, other: &Datom) -> Ordering {
        in_direction(self.sort.cmp_group(&life.datom, other), self.reverse)
    }
}

fn read<N, P>(
    cursor: &mut Cursor<N, P>,
    (sort, reverse, after, is_single): (Sort, bool, Option<T>, bool),
    group: &Datom,
    f: &mut impl FnMut(&Life) -> Result<()>,
) -> Result<()>
where
    N: super::run::Run<Row = Life>,
    P: Fn(&Life) -> Ordering,
{
    let order = |life: &Life| in_direction(sort.cmp_group(&life.datom, group), reverse);
    let is_over = |life: &Life| after.is_some_and(|t| life.to <= t);
    if after.is_some() && !reverse {
        // Those that had ended by then stand first.
        cursor.seek(&|life| order(life).is_lt() || (order(life).is_eq() && is_over(life)))?;
    }
    if is_single && !reverse && after.is_some() {
        if let Some(first) = cursor.front().filter(|life| order(life).is_eq()) {
            f(first)?;
        }
        return Ok(());
    }
    loop {
        let rows = cursor.rows();
        let count = count_while(rows, reverse, &|life| order(life).is_eq() && !(reverse && is_over(life)));
        if count == 0 {
            break;
        }
        next_rows(rows, reverse, count).iter().try_for_each(&mut *f)?;
        cursor.skip(count)?;
    }
    Ok(())
}
