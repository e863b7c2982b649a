//! Sorted runs and the cursors that read them: of the memory index and of persisted trees alike.
//!
//! A run is a tree of nodes; its rows stand in leaves, in order, each once. A cursor stands in one leaf and gives the
//! rows of its range that come next as a slice, in the order of the index even when it runs backwards. It begins
//! where its range begins, passes over children that nobody can see, and seeks by going down from the root again.

use super::segment::{Segment, SegmentId, Source};
use super::tree;
use super::trees::{Root, TreeRow};
use crate::Result;
use crate::model::T;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// A tree of nodes that is read from its root.
pub(crate) trait Run {
    type Row;
    type Node;

    /// None when the run is empty.
    fn root(&self) -> Result<Option<Self::Node>>;

    /// The rows of a leaf; None of a branch.
    fn rows<'n>(&self, node: &'n Self::Node) -> Option<&'n [Self::Row]>;

    /// How many children a branch has.
    fn width(&self, node: &Self::Node) -> usize;

    /// The first row below a child.
    fn first<'n>(&self, node: &'n Self::Node, at: usize) -> &'n Self::Row;

    /// How many rows stand below a child.
    fn count(&self, node: &Self::Node, at: usize) -> u64;

    fn child(&self, node: &Self::Node, at: usize) -> Result<Self::Node>;

    /// Whether any row below a child can be of use to the reader.
    fn is_seen(&self, _node: &Self::Node, _at: usize) -> bool {
        true
    }

    /// A scan has come to the child `at` and goes on to its neighbours, as far as `wanted` holds.
    fn scanning(&self, _node: &Self::Node, _at: usize, _reverse: bool, _wanted: &dyn Fn(&Self::Row) -> bool) {}
}

/// A run in memory, by the root of its tree.
pub(crate) struct InMemory<'a, R>(pub &'a tree::Node<R>);

impl<'a, R> Run for InMemory<'a, R> {
    type Row = R;
    type Node = &'a tree::Node<R>;

    fn root(&self) -> Result<Option<Self::Node>> {
        let is_empty = self.rows(&self.0).is_some_and(<[R]>::is_empty);
        Ok((!is_empty).then_some(self.0))
    }

    fn rows<'n>(&self, node: &'n Self::Node) -> Option<&'n [R]> {
        match node {
            tree::Node::Leaf(rows) => Some(rows),
            tree::Node::Branch(_) => None,
        }
    }

    fn width(&self, node: &Self::Node) -> usize {
        node.children().len()
    }

    fn first<'n>(&self, node: &'n Self::Node, at: usize) -> &'n R {
        &node.children()[at].first
    }

    fn count(&self, node: &Self::Node, at: usize) -> u64 {
        node.children()[at].len as u64
    }

    fn child(&self, node: &Self::Node, at: usize) -> Result<Self::Node> {
        Ok(&node.children()[at].node)
    }
}

/// Which lives a reader can see, by the bounds that branches carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub from_at_least: T,
    pub from_at_most: T,
    pub to_at_least: T,
}

impl Seen {
    pub const ALL: Seen = Seen { from_at_least: 0, from_at_most: T::MAX, to_at_least: 0 };
}

/// A run of a persisted tree; its nodes are fetched as they are needed.
#[derive(Clone, Copy)]
pub(crate) struct Persisted<'a, R> {
    pub source: &'a dyn Source,
    pub root: Option<&'a Root<R>>,
    pub seen: Seen,
}

/// How many leaves ahead a scan says that it will read.
const AHEAD: usize = 8;

impl<R: TreeRow> Run for Persisted<'_, R> {
    type Row = R;
    type Node = Arc<Segment>;

    fn root(&self) -> Result<Option<Self::Node>> {
        self.root.map(|root| root.node(self.source)).transpose()
    }

    fn rows<'n>(&self, node: &'n Self::Node) -> Option<&'n [R]> {
        R::leaf(node)
    }

    fn width(&self, node: &Self::Node) -> usize {
        R::children(node).len()
    }

    fn first<'n>(&self, node: &'n Self::Node, at: usize) -> &'n R {
        &R::children(node)[at].first
    }

    fn count(&self, node: &Self::Node, at: usize) -> u64 {
        R::children(node)[at].count
    }

    fn child(&self, node: &Self::Node, at: usize) -> Result<Self::Node> {
        R::fetch(self.source, &R::children(node)[at].id)
    }

    fn is_seen(&self, node: &Self::Node, at: usize) -> bool {
        let (child, seen) = (&R::children(node)[at], &self.seen);
        child.from_min <= seen.from_at_most && child.from_max >= seen.from_at_least && child.to_max >= seen.to_at_least
    }

    fn scanning(&self, node: &Self::Node, at: usize, reverse: bool, wanted: &dyn Fn(&R) -> bool) {
        if !at.is_multiple_of(AHEAD / 2) {
            return;
        }
        let children = R::children(node);
        let ids = |ahead: &mut dyn Iterator<Item = usize>| -> Vec<SegmentId> {
            let seen = ahead.filter(|next| self.is_seen(node, *next));
            seen.take_while(|next| wanted(&children[*next].first)).map(|next| children[next].id).collect()
        };
        let ids = match reverse {
            false => ids(&mut (at + 1..children.len().min(at + 1 + AHEAD))),
            true => ids(&mut (at.saturating_sub(AHEAD)..at).rev()),
        };
        if !ids.is_empty() {
            self.source.will_read(&ids);
        }
    }
}

/// Reads the rows of a run for which `position` says Equal, given that it says Less for all rows before and Greater for
/// all rows after those.
///
/// Where the range ends within a leaf is found out only when somebody asks for more than the row that comes next: a
/// point read never asks.
pub(crate) struct Cursor<N: Run, P> {
    run: N,
    position: P,
    reverse: bool,
    /// The branches above, each with the child that the cursor is in.
    path: Vec<(N::Node, usize)>,
    leaf: Option<N::Node>,
    /// What is left of the leaf; the row that comes next is in the range.
    left: Range<usize>,
    /// All of what is left is in the range.
    is_cut: bool,
}

impl<N: Run, P: Fn(&N::Row) -> Ordering> Cursor<N, P> {
    pub fn new(run: N, position: P, reverse: bool) -> Result<Self> {
        let mut cursor = Cursor { run, position, reverse, path: Vec::new(), leaf: None, left: 0..0, is_cut: true };
        cursor.restart(&|_| false)?;
        Ok(cursor)
    }

    /// Rows that come next and stand together, in the order of the index: backwards, the last one comes first. Empty
    /// at the end of the range.
    pub fn rows(&mut self) -> &[N::Row] {
        self.cut();
        self.uncut_rows()
    }

    /// The row that comes next.
    pub fn front(&self) -> Option<&N::Row> {
        front(self.uncut_rows(), self.reverse)
    }

    /// What is left of the leaf, of the range and beyond.
    fn uncut_rows(&self) -> &[N::Row] {
        match &self.leaf {
            Some(leaf) => self.run.rows(leaf).map_or(&[], |rows| &rows[self.left.clone()]),
            None => &[],
        }
    }

    /// Leaves out what is beyond the range.
    fn cut(&mut self) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        let beyond = if self.reverse { Ordering::Less } else { Ordering::Greater };
        let count = count_while(self.uncut_rows(), self.reverse, &|row| (self.position)(row) != beyond);
        match self.reverse {
            false => self.left.end = self.left.start + count,
            true => self.left.start = self.left.end - count,
        }
    }

    /// Steps over the next `count` rows of [`Cursor::rows`].
    pub fn skip(&mut self, count: usize) -> Result<()> {
        match self.reverse {
            false => self.left.start += count,
            true => self.left.end -= count,
        }
        debug_assert!(self.left.start <= self.left.end);
        self.settle()
    }

    /// Steps over the rows that `passed` holds for, which come before all others.
    pub fn seek(&mut self, passed: &dyn Fn(&N::Row) -> bool) -> Result<()> {
        let rows = self.uncut_rows();
        let Some(last) = back(rows, self.reverse) else { return Ok(()) };
        if passed(last) {
            return if self.is_cut { self.next_after(passed) } else { self.restart(passed) };
        }
        match count_while(rows, self.reverse, passed) {
            0 => Ok(()),
            count => self.skip(count),
        }
    }

    /// The same where all that is left of the leaf is passed, and more of the range may come.
    fn next_after(&mut self, passed: &dyn Fn(&N::Row) -> bool) -> Result<()> {
        // A leaf that was cut before its end has the end of the range in it.
        let Some(leaf) = &self.leaf else { return Ok(()) };
        let whole = self.run.rows(leaf).map_or(0, <[N::Row]>::len);
        let is_last = if self.reverse { self.left.start > 0 } else { self.left.end < whole };
        if is_last {
            self.end();
            return Ok(());
        }
        self.restart(passed)
    }

    /// Sees to it that the row that comes next is one of the range, in this leaf or in another.
    fn settle(&mut self) -> Result<()> {
        let Some(front) = self.front() else {
            // A leaf that was cut before its end has the end of the range in it.
            let whole = self.leaf.as_ref().and_then(|leaf| self.run.rows(leaf)).map_or(0, <[N::Row]>::len);
            let goes_on = if self.reverse { self.left.start == 0 } else { self.left.end == whole };
            if goes_on {
                return self.next_leaf();
            }
            self.end();
            return Ok(());
        };
        if !self.is_cut && (self.position)(front) != Ordering::Equal {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.path.clear();
        self.leaf = None;
        self.left = 0..0;
        self.is_cut = true;
    }

    /// Goes to the first row of the range that `passed` does not hold for, wherever the cursor is.
    pub fn restart(&mut self, passed: &dyn Fn(&N::Row) -> bool) -> Result<()> {
        self.end();
        let Some(root) = self.run.root()? else { return Ok(()) };
        let reverse = self.reverse;
        let before = if reverse { Ordering::Greater } else { Ordering::Less };
        let position = &self.position;
        let is_passed = |row: &N::Row| position(row) == before || passed(row);
        let (run, mut node) = (&self.run, root);
        while run.rows(&node).is_none() {
            let at = if reverse {
                // Rows that are not passed stand in front: in the last child that begins with one.
                match partition(run.width(&node), |at| !is_passed(run.first(&node, at))) {
                    0 => return Ok(()),
                    count => count - 1,
                }
            } else {
                partition(run.width(&node), |at| is_passed(run.first(&node, at))).saturating_sub(1)
            };
            if !run.is_seen(&node, at) {
                self.path.push((node, at));
                return self.next_leaf();
            }
            let child = run.child(&node, at)?;
            self.path.push((node, at));
            node = child;
        }
        let rows = run.rows(&node).unwrap_or_default();
        self.left = if reverse {
            0..rows.partition_point(|row| !is_passed(row))
        } else {
            rows.partition_point(is_passed)..rows.len()
        };
        self.leaf = Some(node);
        self.is_cut = false;
        self.settle()
    }

    /// Goes to the next leaf that has rows of the range, or to the end.
    fn next_leaf(&mut self) -> Result<()> {
        let Cursor { run, position, reverse, path, leaf, left, is_cut } = self;
        let reverse = *reverse;
        *leaf = None;
        (*left, *is_cut) = (0..0, true);
        loop {
            // Up, to the first branch that has another child.
            let Some((node, at)) = path.last_mut() else { return Ok(()) };
            let next = if reverse {
                // The range begins below this child, or before it.
                let is_over = position(run.first(node, *at)) == Ordering::Less;
                if is_over { None } else { (0..*at).rev().find(|next| run.is_seen(node, *next)) }
            } else {
                let seen = (*at + 1..run.width(node)).find(|next| run.is_seen(node, *next));
                seen.filter(|next| position(run.first(node, *next)) != Ordering::Greater)
            };
            let Some(next) = next else {
                path.pop();
                continue;
            };
            *at = next;
            let mut below = run.child(node, next)?;
            if run.rows(&below).is_some() {
                run.scanning(node, next, reverse, &|row| reverse || position(row) != Ordering::Greater);
            }
            // Down again, along the edge.
            let rows = loop {
                if run.rows(&below).is_some() {
                    break Some(below);
                }
                let width = run.width(&below);
                let is_seen = |at: &usize| run.is_seen(&below, *at);
                let seen = if reverse { (0..width).rfind(is_seen) } else { (0..width).find(is_seen) };
                let Some(at) = seen else {
                    // Nothing below can be seen: as if all of it had been read.
                    path.push((below, if reverse { 0 } else { width - 1 }));
                    break None;
                };
                let child = run.child(&below, at)?;
                path.push((below, at));
                below = child;
            };
            let Some(below) = rows else { continue };
            let rows = run.rows(&below).unwrap_or_default();
            // A scan wants all of it: a look at the far end tells whether all is in the range.
            let far = if reverse { rows.first() } else { rows.last() };
            *is_cut = far.is_some_and(|far| position(far) == Ordering::Equal);
            let near = if reverse { rows.last() } else { rows.first() };
            if *is_cut || near.is_some_and(|near| position(near) == Ordering::Equal) {
                *left = 0..rows.len();
                *leaf = Some(below);
            } else {
                *is_cut = true;
            }
            return Ok(());
        }
    }
}

/// How many rows of a run stand before the first for which `before` is false.
pub(crate) fn rank<N: Run>(run: &N, before: &dyn Fn(&N::Row) -> bool) -> Result<u64> {
    let Some(mut node) = run.root()? else { return Ok(0) };
    let mut rank = 0;
    loop {
        if let Some(rows) = run.rows(&node) {
            return Ok(rank + rows.partition_point(before) as u64);
        }
        let at = partition(run.width(&node), |at| before(run.first(&node, at))).saturating_sub(1);
        rank += (0..at).map(|at| run.count(&node, at)).sum::<u64>();
        node = run.child(&node, at)?;
    }
}

/// How many numbers from 0 on satisfy `holds`, which does for a prefix of those below `end`.
fn partition(end: usize, holds: impl Fn(usize) -> bool) -> usize {
    let mut range = 0..end;
    while !range.is_empty() {
        let middle = range.start + range.len() / 2;
        if holds(middle) {
            range.start = middle + 1;
        } else {
            range.end = middle;
        }
    }
    range.start
}

/// The row of a slice that comes first in a direction.
pub(crate) fn front<R>(rows: &[R], reverse: bool) -> Option<&R> {
    if reverse { rows.last() } else { rows.first() }
}

fn back<R>(rows: &[R], reverse: bool) -> Option<&R> {
    front(rows, !reverse)
}

/// The next `count` rows of a slice in a direction.
pub(crate) fn next_rows<R>(rows: &[R], reverse: bool, count: usize) -> &[R] {
    if reverse { &rows[rows.len() - count..] } else { &rows[..count] }
}

/// How many of the rows that come first satisfy `holds`, after which none does: looks near the front first.
pub(crate) fn count_while<R>(rows: &[R], reverse: bool, holds: &dyn Fn(&R) -> bool) -> usize {
    let at = |place: usize| if reverse { &rows[rows.len() - 1 - place] } else { &rows[place] };
    let mut reach = 1;
    while reach <= rows.len() && holds(at(reach - 1)) {
        reach *= 2;
    }
    let from = reach / 2;
    from + partition(rows.len().min(reach) - from, |place| holds(at(from + place)))
}
