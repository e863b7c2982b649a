//! Reading an index in order, from place to place, forwards or backwards, a piece at a time.
//!
//! A [`Walk`] owns its database value and knows by count where it stands in each of its parts, so that it can rest
//! between two pieces for as long as its reader likes, on any thread, and go on without losing or doubling anything.
//! What it holds meanwhile is bounded: rows of one leaf, and of the closed lives at most [`READY_MAX`] sorted ahead.
//! Closed lives stand by the t that ended them inside each group of two leading components (see `index`); a group is
//! sorted when the walk comes to it, a large one part by part.

use super::{Db, Place};
use crate::Result;
use crate::budget::Budget;
use crate::index::{Life, Sort};
use crate::model::{Datom, T};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Bound, Range};

/// Which part of an index to read, and in which direction.
#[derive(Clone, Debug)]
pub struct Span {
    pub sort: Sort,
    /// Included: from the first datom that begins with the place. Excluded: from the first one beyond all of those.
    pub lower: Bound<Place>,
    /// Included: to the last datom that begins with the place. Excluded: to the last one before all of those.
    pub upper: Bound<Place>,
    /// From the upper end to the lower.
    pub reverse: bool,
    /// Only what comes after this place, in the direction of reading: where an earlier walk ended.
    pub after: Option<Place>,
}

/// A reading of a [`Span`] that is under way. In a history view datoms of one e, a and v follow each other by t.
pub struct Walk {
    db: Db,
    span: Span,
    /// Ranks of open and of closed lives that have not been looked at.
    open: Range<usize>,
    closed: Range<usize>,
    /// What was read of open lives and comes next, in the order of the walk.
    open_ready: VecDeque<Datom>,
    /// The same of the closed lives, from the group that is being read.
    closed_ready: VecDeque<Datom>,
    group: Option<Group>,
    /// How many of a group's datoms are sorted at once.
    ready_max: usize,
}

/// Some of a walk's datoms.
#[derive(Clone, Debug)]
pub struct Piece {
    pub datoms: Vec<Datom>,
    /// None come after these.
    pub is_last: bool,
}

/// Closed lives with the same two leading components that have not all been given.
struct Group {
    ranks: Range<usize>,
    /// The last one that was made ready.
    last: Option<Datom>,
}

/// Datoms of one group of closed lives that are sorted ahead; of a larger group the smallest ones at a time.
const READY_MAX: usize = 1 << 16;

/// The components before the one that `to` stands in front of.
const GROUP_DEPTH: usize = 2;

impl Span {
    /// Datoms that begin with a place.
    pub fn of(sort: Sort, place: Place) -> Self {
        Span { sort, lower: Bound::Included(place.clone()), upper: Bound::Included(place), reverse: false, after: None }
    }

    /// From a place to the end of the index, or back to its beginning.
    pub fn seek(sort: Sort, place: Place, reverse: bool) -> Self {
        let (lower, upper) = match reverse {
            false => (Bound::Included(place), Bound::Unbounded),
            true => (Bound::Unbounded, Bound::Included(place)),
        };
        Span { sort, lower, upper, reverse, after: None }
    }

    /// Where rows stand by their first `depth` components: Less before the span, Equal where some of them may be in
    /// it, Greater beyond.
    fn position(&self, depth: usize, datom: &Datom) -> Ordering {
        let (after_lower, after_upper) = match (&self.after, self.reverse) {
            (Some(after), false) => (Some(after), None),
            (Some(after), true) => (None, Some(after)),
            (None, _) => (None, None),
        };
        let position = |place: &Place| place.position(self.sort, depth, datom);
        // A place of more components leaves out only some of those that begin like it.
        let is_whole = |place: &Place| place.len(self.sort) <= depth;
        let before = |place: &Place, excluded: bool| match position(place) {
            Ordering::Less => true,
            Ordering::Equal => excluded && is_whole(place),
            Ordering::Greater => false,
        };
        let beyond = |place: &Place, excluded: bool| match position(place) {
            Ordering::Greater => true,
            Ordering::Equal => excluded && is_whole(place),
            Ordering::Less => false,
        };
        let is_before = match &self.lower {
            Bound::Included(place) => before(place, false),
            Bound::Excluded(place) => before(place, true),
            Bound::Unbounded => false,
        };
        let is_beyond = match &self.upper {
            Bound::Included(place) => beyond(place, false),
            Bound::Excluded(place) => beyond(place, true),
            Bound::Unbounded => false,
        };
        if is_before || after_lower.is_some_and(|place| before(place, true)) {
            Ordering::Less
        } else if is_beyond || after_upper.is_some_and(|place| beyond(place, true)) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    /// The order of the walk.
    fn cmp(&self, x: &Datom, y: &Datom) -> Ordering {
        let order = self.sort.cmp(x, y).then_with(|| x.t().cmp(&y.t()));
        if self.reverse { order.reverse() } else { order }
    }
}

impl Db {
    /// Begins to read a span of an index through the view.
    pub fn walk(&self, span: Span) -> Walk {
        self.walk_with(span, READY_MAX)
    }

    pub(super) fn walk_with(&self, span: Span, ready_max: usize) -> Walk {
        let novelty = &self.base.novelty;
        let ranks = |rank: &dyn Fn(Ordering) -> usize| {
            let from = rank(Ordering::Less);
            // Bounds that exclude each other leave nothing.
            from..rank(Ordering::Equal).max(from)
        };
        let open = ranks(&|upto| novelty.rank_current(span.sort, &|datom: &Datom| span.position(4, datom) <= upto));
        let closed = if self.sees_closed_lives() {
            let position = |life: &Life| span.position(GROUP_DEPTH, &life.datom);
            ranks(&|upto| novelty.rank_closed(span.sort, &|life: &Life| position(life) <= upto))
        } else {
            0..0
        };
        Walk {
            db: self.clone(),
            span,
            open,
            closed,
            open_ready: VecDeque::new(),
            closed_ready: VecDeque::new(),
            group: None,
            ready_max,
        }
    }

    fn sees_closed_lives(&self) -> bool {
        self.view.history || self.view.as_of.is_some_and(|t| t < self.basis_t())
    }

    fn in_window(&self, t: T) -> bool {
        self.view.as_of.is_none_or(|as_of| t <= as_of) && self.view.since.is_none_or(|since| t > since)
    }
}

impl Walk {
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The next datoms, at most `count_max` of them and not many more than `bytes_max` bytes.
    pub fn take(&mut self, count_max: usize, bytes_max: usize, budget: &Budget<'_>) -> Result<Piece> {
        let mut piece = Piece { datoms: Vec::new(), is_last: false };
        let mut bytes = 0;
        while piece.datoms.len() < count_max && bytes < bytes_max {
            let Some(datom) = self.next(budget)? else {
                piece.is_last = true;
                break;
            };
            bytes += size_of::<Datom>() + datom.v.heap_bytes();
            piece.datoms.push(datom);
        }
        Ok(piece)
    }

    fn next(&mut self, budget: &Budget<'_>) -> Result<Option<Datom>> {
        if self.open_ready.is_empty() {
            self.read_open(budget)?;
        }
        if self.closed_ready.is_empty() {
            self.read_closed(budget)?;
        }
        Ok(match (self.open_ready.front(), self.closed_ready.front()) {
            (Some(open), Some(closed)) if self.span.cmp(closed, open).is_lt() => self.closed_ready.pop_front(),
            (Some(_), _) => self.open_ready.pop_front(),
            (None, _) => self.closed_ready.pop_front(),
        })
    }

    /// Reads leaves of open lives until one has something to give.
    fn read_open(&mut self, budget: &Budget<'_>) -> Result<()> {
        let Walk { db, span, open, open_ready, .. } = self;
        while open_ready.is_empty()
            && let Some(datoms) = next_run(open, span.reverse, |rank| db.base.novelty.run_current(span.sort, rank))
        {
            for datom in datoms {
                budget.step()?;
                if db.in_window(datom.t()) {
                    open_ready.push_back(datom.clone());
                }
            }
            if span.reverse {
                open_ready.make_contiguous().reverse();
            }
        }
        Ok(())
    }

    /// Reads groups of closed lives until one has something to give.
    fn read_closed(&mut self, budget: &Budget<'_>) -> Result<()> {
        while self.closed_ready.is_empty() {
            let Some(group) = self.group.take().or_else(|| self.next_group()) else { return Ok(()) };
            self.read_group(group, budget)?;
        }
        Ok(())
    }

    fn next_group(&mut self) -> Option<Group> {
        if self.closed.is_empty() {
            return None;
        }
        let (novelty, sort) = (&self.db.base.novelty, self.span.sort);
        let first = if self.span.reverse { self.closed.end - 1 } else { self.closed.start };
        let (run, at) = novelty.run_closed(sort, first)?;
        let place = Place::from(&run[at].datom);
        let position = |life: &Life| place.position(sort, GROUP_DEPTH, &life.datom);
        let end = novelty.rank_closed(sort, &|life: &Life| position(life).is_le());
        let mut start = novelty.rank_closed(sort, &|life: &Life| position(life).is_lt());
        if self.span.reverse {
            self.closed.end = start;
        } else {
            self.closed.start = end;
        }
        if let (Some(t), false) = (self.db.view.as_of, self.db.view.history) {
            // Lives that had ended by then stand first, and are skipped unseen.
            let is_over = |life: &Life| position(life).then(life.to.cmp(&(t + 1)));
            start = novelty.rank_closed(sort, &|life: &Life| is_over(life).is_lt());
        }
        Some(Group { ranks: start..end, last: None })
    }

    /// Makes the next datoms of a group ready, and keeps the group if there are more.
    fn read_group(&mut self, group: Group, budget: &Budget<'_>) -> Result<()> {
        let mut found: Vec<Datom> = Vec::new();
        let mut more = false;
        let mut ranks = group.ranks.clone();
        let (db, span) = (&self.db, &self.span);
        while let Some(lives) = next_run(&mut ranks, false, |rank| db.base.novelty.run_closed(span.sort, rank)) {
            for life in lives {
                budget.step()?;
                let begun = Some(&life.datom).filter(|_| db.is_seen(life)).cloned();
                let ended = Some(life.to).filter(|to| db.view.history && db.in_window(*to)).map(|to| {
                    let datom = &life.datom;
                    Datom::new(datom.e, datom.a(), datom.v.clone(), to, false)
                });
                let is_next = |datom: &Datom| {
                    span.position(4, datom).is_eq()
                        && group.last.as_ref().is_none_or(|last| span.cmp(datom, last).is_gt())
                };
                found.extend(begun.into_iter().chain(ended).filter(is_next));
            }
            if found.len() >= 2 * self.ready_max {
                found.select_nth_unstable_by(self.ready_max, |x, y| span.cmp(x, y));
                found.truncate(self.ready_max);
                more = true;
            }
        }
        found.sort_unstable_by(|x, y| span.cmp(x, y));
        if found.len() > self.ready_max {
            found.truncate(self.ready_max);
            more = true;
        }
        if more {
            self.group = Some(Group { ranks: group.ranks, last: found.last().cloned() });
        }
        self.closed_ready = found.into();
        Ok(())
    }
}

impl Db {
    /// Whether the datom that began a closed life is seen through the view.
    fn is_seen(&self, life: &Life) -> bool {
        let in_force = self.view.history || self.view.as_of.is_some_and(|t| life.to > t);
        in_force && self.in_window(life.datom.t())
    }
}

/// The rows of the next leaf of a range, in the order of the index, and the range without them.
fn next_run<'a, R>(
    ranks: &mut Range<usize>,
    reverse: bool,
    run: impl Fn(usize) -> Option<(&'a [R], usize)>,
) -> Option<&'a [R]> {
    if Range::is_empty(ranks) {
        return None;
    }
    if reverse {
        let (rows, at) = run(ranks.end - 1)?;
        let from = (at + 1).saturating_sub(ranks.len());
        ranks.end -= at + 1 - from;
        Some(&rows[from..=at])
    } else {
        let (rows, at) = run(ranks.start)?;
        let to = rows.len().min(at + ranks.len());
        ranks.start += to - at;
        Some(&rows[at..to])
    }
}
