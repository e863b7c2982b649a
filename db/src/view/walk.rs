//! Reading an index in order, from place to place, forwards or backwards, a piece at a time.
//!
//! A [`Walk`] owns its database value and knows after which datom it goes on, so that it can rest between two pieces
//! for as long as its reader likes, on any thread, and go on without losing or doubling anything.

use super::reading::{READY_MAX, Range, Rest};
use super::{Db, Place};
use crate::Result;
use crate::budget::Budget;
use crate::index::{Life, Sort};
use crate::model::{Datom, T};
use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

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
    /// What is left of it: `after` moves on.
    span: Span,
    rest: Rest,
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
    fn position_of(&self, depth: usize, datom: &Datom) -> Ordering {
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
}

/// The components that stand in order among open lives.
const ROW_DEPTH: usize = 3;

impl Range for &Span {
    fn position(self, datom: &Datom) -> Ordering {
        self.position_of(ROW_DEPTH, datom)
    }

    fn life_position(self, life: &Life, _after: Option<T>) -> Ordering {
        self.position_of(GROUP_DEPTH, &life.datom)
    }

    fn admits(self, datom: &Datom) -> bool {
        self.position_of(4, datom).is_eq()
    }
}

impl Db {
    /// Begins to read a span of an index through the view.
    pub fn walk(&self, span: Span) -> Walk {
        self.walk_with(span, READY_MAX)
    }

    pub(super) fn walk_with(&self, span: Span, ready_max: usize) -> Walk {
        Walk { db: self.clone(), span, rest: Rest::default(), ready_max }
    }
}

impl Walk {
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The next datoms, at most `count_max` of them and not many more than `bytes_max` bytes. After an error the walk
    /// stands where it stood before.
    pub fn take(&mut self, count_max: usize, bytes_max: usize, budget: &Budget<'_>) -> Result<Piece> {
        let mut piece = Piece { datoms: Vec::new(), is_last: false };
        if count_max == 0 || bytes_max == 0 {
            return Ok(piece);
        }
        // After an error the next reading finds its place by the span alone.
        let mut rest = std::mem::take(&mut self.rest);
        let Walk { db, span, ready_max, .. } = &*self;
        let mut bytes = 0;
        let flow = db.reading(span.sort, span.reverse, span, &rest, *ready_max)?.each(
            &mut rest,
            &mut || budget.step(),
            &mut |datom| {
                bytes += size_of::<Datom>() + datom.v.heap_bytes();
                piece.datoms.push(datom.clone());
                let is_full = piece.datoms.len() >= count_max || bytes >= bytes_max;
                if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        piece.is_last = flow.is_continue();
        self.rest = rest;
        if let Some(last) = piece.datoms.last() {
            self.span.after = Some(Place::from(last));
        }
        Ok(piece)
    }
}
