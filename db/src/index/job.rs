//! The index job: trees and the novelty over them become new trees.
//!
//! Only the paths that novelty touches are read and written; everything else is named again as it was. New leaves and
//! branches are held until their neighbours are known, so that small ones join, and are then handed to a sink.

use super::run::{Cursor, InMemory};
use super::segment::{Child, Node, Segment, SegmentId, Sizes};
use super::trees::{Root, Roots, TreeRow, Trees};
use super::{Index, Life, Sort};
use crate::model::{AttrId, Datom, T};
use crate::{Error, Result};
use std::cmp::Ordering;
use std::sync::Arc;

/// Where a job puts the segments it makes. They must be durable before any record names the new roots.
pub trait Sink {
    /// Takes a segment; gives its name and the length of its bytes.
    fn put(&mut self, segment: Segment) -> Result<(SegmentId, u32)>;
}

/// The roots a job made.
pub struct Merged {
    pub open: Roots<Datom>,
    pub closed: Roots<Life>,
}

/// What novelty does to a tree.
struct Change<R> {
    /// Of an end the retraction: its t is the one that ends the life.
    row: R,
    is_end: bool,
}

/// A node that a job made or kept, before its parent is made.
enum Piece<R> {
    Kept(Child<R>),
    Leaf(Vec<R>),
    Branch(Vec<Child<R>>),
}

/// Makes trees that hold all that the index holds. `covers`: AVET covers the attribute. `go_on` is asked now and then,
/// and ends the job with its error.
pub(crate) fn merge(
    index: &Index,
    covers: &dyn Fn(AttrId) -> bool,
    sizes: Sizes,
    sink: &mut dyn Sink,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Merged> {
    let novelty = &index.novelty;
    let trees = index.trees.as_deref();
    let mut merged = Merged { open: Roots::default(), closed: Roots::default() };
    // Lives of the trees that novelty ended: EAVT knows when they began.
    let mut ended: Vec<Life> = Vec::new();
    for sort in Sort::ALL {
        let changes = open_changes(sort, novelty.current.run(sort), novelty.ended.run(sort))?;
        let mut dropped = Vec::new();
        let mut job = Job { index, sort, sizes, sink, go_on, dropped: &mut dropped };
        merged.open.0[sort as usize] = job.tree(trees.and_then(|trees| trees.open.of(sort)), &changes)?;
        if sort == Sort::Eavt {
            let ends = changes.iter().filter(|change| change.is_end).map(|change| change.row.t());
            ended = dropped.into_iter().zip(ends).map(|(datom, to)| Life { datom, to }).collect();
        }
    }
    for sort in Sort::ALL {
        let mut lives = all(novelty.history.run(sort))?;
        let is_held = |life: &&Life| match sort {
            Sort::Eavt | Sort::Aevt => true,
            Sort::Avet => covers(life.datom.a()),
            Sort::Vaet => life.datom.v.as_ref().is_some(),
        };
        lives.extend(ended.iter().filter(is_held).cloned());
        lives.sort_unstable_by(|x, y| Life::cmp(sort, x, y));
        let changes: Vec<Change<Life>> = lives.into_iter().map(|row| Change { row, is_end: false }).collect();
        let mut job = Job { index, sort, sizes, sink, go_on, dropped: &mut Vec::new() };
        merged.closed.0[sort as usize] = job.tree(trees.and_then(|trees| trees.closed.of(sort)), &changes)?;
    }
    Ok(merged)
}

/// Lives that are taken out of trees, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erased {
    pub open: Vec<Datom>,
    pub closed: Vec<Life>,
}

/// Makes trees without some of the lives that stand in them.
pub(crate) fn erase(
    trees: Arc<Trees>,
    erased: &Erased,
    covers: &dyn Fn(AttrId) -> bool,
    sizes: Sizes,
    sink: &mut dyn Sink,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Merged> {
    let index = Index { trees: Some(trees.clone()), ..Index::default() };
    let mut merged = Merged { open: Roots::default(), closed: Roots::default() };
    let is_held = |sort: Sort, datom: &Datom| match sort {
        Sort::Eavt | Sort::Aevt => true,
        Sort::Avet => covers(datom.a()),
        Sort::Vaet => datom.v.as_ref().is_some(),
    };
    for sort in Sort::ALL {
        let mut rows: Vec<&Datom> = erased.open.iter().filter(|row| is_held(sort, row)).collect();
        rows.sort_unstable_by(|x, y| Datom::cmp(sort, x, y));
        let changes: Vec<Change<Datom>> =
            rows.into_iter().map(|row| Change { row: row.clone(), is_end: true }).collect();
        let mut job = Job { index: &index, sort, sizes, sink, go_on, dropped: &mut Vec::new() };
        merged.open.0[sort as usize] = job.tree(trees.open.of(sort), &changes)?;
    }
    for sort in Sort::ALL {
        let mut rows: Vec<&Life> = erased.closed.iter().filter(|life| is_held(sort, &life.datom)).collect();
        rows.sort_unstable_by(|x, y| Life::cmp(sort, x, y));
        let changes: Vec<Change<Life>> =
            rows.into_iter().map(|row| Change { row: row.clone(), is_end: true }).collect();
        let mut job = Job { index: &index, sort, sizes, sink, go_on, dropped: &mut Vec::new() };
        merged.closed.0[sort as usize] = job.tree(trees.closed.of(sort), &changes)?;
    }
    Ok(merged)
}

/// What began and what ended, in order; of one e, a and v the end first.
fn open_changes(sort: Sort, current: InMemory<'_, Datom>, ended: InMemory<'_, Datom>) -> Result<Vec<Change<Datom>>> {
    let mut changes: Vec<Change<Datom>> = all(ended)?.into_iter().map(|row| Change { row, is_end: true }).collect();
    changes.extend(all(current)?.into_iter().map(|row| Change { row, is_end: false }));
    changes.sort_by(|x, y| Datom::cmp(sort, &x.row, &y.row).then(y.is_end.cmp(&x.is_end)));
    Ok(changes)
}

fn all<R: Clone>(run: InMemory<'_, R>) -> Result<Vec<R>> {
    let mut cursor = Cursor::new(run, |_: &R| Ordering::Equal, false)?;
    let mut rows = Vec::new();
    loop {
        let next = cursor.rows();
        if next.is_empty() {
            break;
        }
        let count = next.len();
        rows.extend_from_slice(next);
        cursor.skip(count)?;
    }
    Ok(rows)
}

/// The merge of one tree.
struct Job<'a, R> {
    index: &'a Index,
    sort: Sort,
    sizes: Sizes,
    sink: &'a mut dyn Sink,
    go_on: &'a mut dyn FnMut() -> Result<()>,
    /// The rows that changes ended, in the order of these.
    dropped: &'a mut Vec<R>,
}

impl<R: TreeRow> Job<'_, R> {
    fn tree(&mut self, root: Option<&Root<R>>, changes: &[Change<R>]) -> Result<Option<Root<R>>> {
        if changes.is_empty() {
            return Ok(root.map(|root| Root::new(root.summary)));
        }
        let mut pieces = match root {
            None => self.leaf(&[], changes, true)?,
            Some(root) => self.node(&root.summary.id, changes, true)?,
        };
        let mut depth = root.map_or(0, |root| root.summary.depth);
        loop {
            pieces = self.joined(pieces)?;
            // A branch with one child says nothing that the child does not.
            if let [Piece::Branch(children)] = &mut pieces[..]
                && children.len() == 1
            {
                pieces = children.drain(..).map(Piece::Kept).collect();
                depth -= 1;
            }
            let mut children = pieces.into_iter().map(|piece| self.save(piece)).collect::<Result<Vec<_>>>()?;
            match &children[..] {
                [] => return Ok(None),
                [root] => {
                    return Ok(Some(Root::new(root.as_root(depth))));
                }
                _ => {
                    pieces = self.branches(std::mem::take(&mut children), true);
                    depth += 1;
                }
            }
        }
    }

    /// What becomes of the node `id`; `is_last`: nothing of the tree stands behind it.
    fn node(&mut self, id: &SegmentId, changes: &[Change<R>], is_last: bool) -> Result<Vec<Piece<R>>> {
        (self.go_on)()?;
        let segment = self.fetch(id)?;
        if let Some(rows) = R::leaf(&segment) {
            return self.leaf(rows, changes, is_last);
        }
        let children = R::children(&segment);
        let mut pieces = Vec::with_capacity(children.len() + 2);
        let mut changes = changes;
        for (at, child) in children.iter().enumerate() {
            let next = children.get(at + 1);
            let count = match next {
                Some(next) => changes.partition_point(|change| R::cmp(self.sort, &change.row, &next.first).is_lt()),
                None => changes.len(),
            };
            let (own, rest) = changes.split_at(count);
            changes = rest;
            if own.is_empty() {
                pieces.push(Piece::Kept(child.clone()));
            } else {
                pieces.extend(self.node(&child.id, own, is_last && next.is_none())?);
            }
        }
        let pieces = self.joined(pieces)?;
        let children = pieces.into_iter().map(|piece| self.save(piece)).collect::<Result<Vec<_>>>()?;
        Ok(self.branches(children, is_last))
    }

    /// Applies changes to the rows of a leaf.
    fn leaf(&mut self, rows: &[R], changes: &[Change<R>], is_last: bool) -> Result<Vec<Piece<R>>> {
        let mut merged: Vec<R> = Vec::with_capacity(rows.len() + changes.len());
        let mut rows = rows;
        for change in changes {
            let before = rows.partition_point(|row| R::cmp(self.sort, row, &change.row).is_lt());
            merged.extend_from_slice(&rows[..before]);
            rows = &rows[before..];
            let own = rows.first().filter(|row| R::cmp(self.sort, row, &change.row).is_eq());
            match (own, change.is_end) {
                (Some(row), true) => {
                    self.dropped.push(row.clone());
                    rows = &rows[1..];
                }
                (None, false) => merged.push(change.row.clone()),
                (row, is_end) => {
                    let (what, there) = if is_end { ("ends", "is not") } else { ("begins", "is already") };
                    let row = row.unwrap_or(&change.row);
                    let message = format!("novelty {what} {row:?}, which {there} in the {} tree", self.sort.name());
                    return Err(Error::corrupt("db.error/index-damaged", message));
                }
            }
        }
        merged.extend_from_slice(rows);
        Ok(self.leaves(merged, is_last))
    }

    /// Cuts rows into leaves: full ones at the end of a tree, where more will come, even ones elsewhere.
    fn leaves(&self, mut rows: Vec<R>, is_last: bool) -> Vec<Piece<R>> {
        let mut pieces = Vec::new();
        while !rows.is_empty() {
            let count = even(rows.len(), self.sizes.leaf_len(&rows), is_last);
            let rest = rows.split_off(count);
            pieces.push(Piece::Leaf(std::mem::replace(&mut rows, rest)));
        }
        pieces
    }

    fn branches(&self, mut children: Vec<Child<R>>, is_last: bool) -> Vec<Piece<R>> {
        let mut pieces = Vec::new();
        while !children.is_empty() {
            let count = even(children.len(), self.sizes.branch_len(&children), is_last);
            let rest = children.split_off(count);
            pieces.push(Piece::Branch(std::mem::replace(&mut children, rest)));
        }
        pieces
    }

    /// Joins small nodes that were made with their neighbours, of which one may be an old one.
    fn joined(&mut self, pieces: Vec<Piece<R>>) -> Result<Vec<Piece<R>>> {
        let mut joined: Vec<Piece<R>> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let Some(before) = joined.pop() else {
                joined.push(piece);
                continue;
            };
            match self.join(before, piece)? {
                (piece, None) => joined.push(piece),
                (before, Some(piece)) => joined.extend([before, piece]),
            }
        }
        Ok(joined)
    }

    fn join(&mut self, before: Piece<R>, piece: Piece<R>) -> Result<(Piece<R>, Option<Piece<R>>)> {
        if !self.is_small(&before) || !self.is_small(&piece) {
            return Ok((before, Some(piece)));
        }
        // Two old ones stay as they are.
        if matches!((&before, &piece), (Piece::Kept(_), Piece::Kept(_))) {
            return Ok((before, Some(piece)));
        }
        match (self.opened(before)?, self.opened(piece)?) {
            (Piece::Leaf(mut rows), Piece::Leaf(more)) => {
                rows.extend(more);
                Ok((Piece::Leaf(rows), None))
            }
            (Piece::Branch(mut children), Piece::Branch(more)) => {
                children.extend(more);
                Ok((Piece::Branch(children), None))
            }
            (before, piece) => Ok((before, Some(piece))),
        }
    }

    /// Whether a node is so small that two of them make no more than one full node; of an old one, whether it may be.
    fn is_small(&self, piece: &Piece<R>) -> bool {
        match piece {
            Piece::Kept(child) => child.count <= self.half().leaf_rows as u64 || child.bytes < 1 << 10,
            Piece::Leaf(rows) => self.half().leaf_len(rows) == rows.len(),
            Piece::Branch(children) => self.half().branch_len(children) == children.len(),
        }
    }

    fn half(&self) -> Sizes {
        let Sizes { leaf_bytes, leaf_rows, branch_children } = self.sizes;
        Sizes { leaf_bytes: leaf_bytes / 2, leaf_rows: leaf_rows / 2, branch_children: branch_children / 2 }
    }

    fn opened(&self, piece: Piece<R>) -> Result<Piece<R>> {
        let Piece::Kept(child) = piece else { return Ok(piece) };
        let segment = self.fetch(&child.id)?;
        let opened = match R::node(&segment) {
            Some(Node::Leaf(rows)) => Piece::Leaf(rows.clone()),
            Some(Node::Branch(children)) => Piece::Branch(children.clone()),
            None => return Ok(Piece::Kept(child)),
        };
        Ok(if self.is_small(&opened) { opened } else { Piece::Kept(child) })
    }

    fn save(&mut self, piece: Piece<R>) -> Result<Child<R>> {
        let node = match piece {
            Piece::Kept(child) => return Ok(child),
            Piece::Leaf(rows) => Node::Leaf(rows),
            Piece::Branch(children) => Node::Branch(children),
        };
        (self.go_on)()?;
        let (first, count, from_min, from_max, to_max) = match &node {
            Node::Leaf(rows) => summed(rows.iter().map(|row| {
                let from = row.datom().t();
                (row.clone(), 1, from, from, row.to())
            })),
            Node::Branch(children) => summed(
                children
                    .iter()
                    .map(|child| (child.first.clone(), child.count, child.from_min, child.from_max, child.to_max)),
            ),
        };
        let (id, bytes) = self.sink.put(R::segment(self.sort, node))?;
        Ok(Child { first, id, bytes, count, from_min, from_max, to_max })
    }

    fn fetch(&self, id: &SegmentId) -> Result<std::sync::Arc<Segment>> {
        let trees = self.index.trees.as_ref();
        let trees = trees.ok_or_else(|| Error::fault("an index job met a segment without trees"))?;
        R::fetch(&*trees.source, id)
    }
}

/// How many of `count` things to put into the next node, if `full` fit.
fn even(count: usize, full: usize, is_last: bool) -> usize {
    if is_last { full } else { count.div_ceil(count.div_ceil(full.max(1)).max(1)) }
}

type Sum<R> = (R, u64, T, T, T);

/// What a parent says of a node: first row, count, least and greatest from, greatest to.
fn summed<R>(parts: impl Iterator<Item = Sum<R>>) -> Sum<R> {
    let sum = parts.reduce(|(first, count, from_min, from_max, to_max), (_, more, min, max, to)| {
        (first, count + more, from_min.min(min), from_max.max(max), to_max.max(to))
    });
    sum.expect("nodes without rows are not made")
}
