//! Whether index trees hold together: every node of the eight trees is read and held against what is said of it.
//!
//! A segment's own bytes are checked by who fetches it (hash) and decodes it (order, counts). Here a node is held
//! against its parent: first row, rows, least and greatest t; rows ascend from leaf to leaf, too; and leaves are equally
//! deep. Then the sorts are held against each other: AEVT has the lives of EAVT, AVET those of covered attributes, VAET
//! the references. That is told by the sum of all rows' hashes, so that nothing is kept; only where sums differ are rows
//! looked up one by one. Statistics count the open lives. Whether lives are those of the log, [`Lives`] tells.

mod lives;

pub use lives::Lives;

use super::segment::{Node, SegmentId};
use super::stats::hash_of;
use super::trees::{Root, Roots, TreeRow};
use super::{Sort, Trees};
use crate::model::{AttrId, T, Value};
use crate::{Result, log};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// The first ones; none where all is well.
    pub faults: Vec<Fault>,
    pub segments: u64,
    /// Rows of the EAVT trees.
    pub open: u64,
    pub closed: u64,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `current` or `history`.
    pub tree: &'static str,
    pub sort: Sort,
    /// None where the tree as a whole is meant.
    pub segment: Option<SegmentId>,
    /// Which of the segment's rows or children, from 0.
    pub row: Option<usize>,
    pub what: String,
}

/// Reads all trees. `covers`: AVET covers the attribute. At most so many faults are told, and then no more is read;
/// `go_on` is asked at every segment, and ends the verification with its error.
pub fn verify(
    trees: &Trees,
    covers: &dyn Fn(AttrId) -> bool,
    faults_max: usize,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Verified> {
    let mut check = Check { trees, covers, faults_max, go_on, verified: Verified::default() };
    let mut rows_of: BTreeMap<AttrId, u64> = BTreeMap::new();
    check.verified.open = check.kind("current", &trees.open, &mut |a| *rows_of.entry(a).or_default() += 1)?;
    if check.verified.faults.is_empty() {
        check.statistics(&rows_of);
    }
    check.verified.closed = check.kind("history", &trees.closed, &mut |_| ())?;
    Ok(check.verified)
}

struct Check<'a> {
    trees: &'a Trees,
    covers: &'a dyn Fn(AttrId) -> bool,
    faults_max: usize,
    go_on: &'a mut dyn FnMut() -> Result<()>,
    verified: Verified,
}

/// Rows, and the sum of their hashes, whatever their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hashes: u64,
}

/// What is done with a leaf's rows; whether to go on.
type OfLeaf<'f, 'c, R> = dyn FnMut(&mut Check<'c>, &SegmentId, &[R]) -> Result<ControlFlow<()>> + 'f;

impl Sum {
    fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }
}

impl<'c> Check<'c> {
    /// The four trees of one kind of lives; gives the rows of EAVT, and tells each one's attribute.
    fn kind<R: TreeRow + PartialEq>(
        &mut self,
        tree: &'static str,
        roots: &Roots<R>,
        each: &mut dyn FnMut(AttrId),
    ) -> Result<u64> {
        let before = self.verified.faults.len();
        let covers = self.covers;
        // What EAVT has for each sort.
        let mut expected = [Sum::default(); 4];
        self.tree(tree, Sort::Eavt, roots.of(Sort::Eavt), &mut |row| {
            each(row.datom().a());
            let hash = hash_of_row(row);
            Sort::ALL.into_iter().filter(|sort| holds(*sort, row, covers)).for_each(|s| expected[s as usize].add(hash));
        })?;
        for sort in [Sort::Aevt, Sort::Avet, Sort::Vaet] {
            let mut found = Sum::default();
            self.tree(tree, sort, roots.of(sort), &mut |row| found.add(hash_of_row(row)))?;
            if self.verified.faults.len() == before && found != expected[sort as usize] {
                self.difference(tree, sort, roots)?;
            }
        }
        Ok(expected[Sort::Eavt as usize].rows)
    }

    fn tree<R: TreeRow + PartialEq>(
        &mut self,
        tree: &'static str,
        sort: Sort,
        root: Option<&Root<R>>,
        each: &mut dyn FnMut(&R),
    ) -> Result<()> {
        let Some(root) = root else { return Ok(()) };
        let mut walk = Walk { check: self, tree, sort, each, last: None };
        walk.node(&root.summary, None)
    }

    /// Looks for the rows that make two sorts differ.
    fn difference<R: TreeRow + PartialEq>(&mut self, tree: &'static str, sort: Sort, roots: &Roots<R>) -> Result<()> {
        let before = self.verified.faults.len();
        for (within, other) in [(sort, Sort::Eavt), (Sort::Eavt, sort)] {
            let Some(root) = roots.of(within) else { continue };
            // Ends at the first one.
            let _ = self.each_leaf(&root.summary.id, &mut |check, id, rows: &[R]| {
                for (at, row) in rows.iter().enumerate() {
                    let what = match holds(sort, row, check.covers) {
                        true if check.contains(other, roots.of(other), row)? => continue,
                        true => format!("{row:?} is not in {}", other.name()),
                        false if within == Sort::Eavt => continue,
                        false => format!("{row:?} has no place in {}", sort.name()),
                    };
                    check.fault(Fault { tree, sort: within, segment: Some(*id), row: Some(at), what });
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        if self.verified.faults.len() == before {
            let what = format!("its rows are not those of {}", Sort::Eavt.name());
            self.fault(Fault { tree, sort, segment: None, row: None, what });
        }
        Ok(())
    }

    fn each_leaf<R: TreeRow>(&mut self, id: &SegmentId, f: &mut OfLeaf<'_, 'c, R>) -> Result<ControlFlow<()>> {
        (self.go_on)()?;
        let segment = R::fetch(&*self.trees.source, id)?;
        if let Some(rows) = R::leaf(&segment) {
            return f(self, id, rows);
        }
        for child in R::children(&segment) {
            if self.each_leaf(&child.id, f)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn contains<R: TreeRow + PartialEq>(&mut self, sort: Sort, root: Option<&Root<R>>, row: &R) -> Result<bool> {
        let Some(root) = root else { return Ok(false) };
        let mut id = root.summary.id;
        loop {
            (self.go_on)()?;
            let segment = R::fetch(&*self.trees.source, &id)?;
            if let Some(rows) = R::leaf(&segment) {
                let found = rows.binary_search_by(|other| R::cmp(sort, other, row));
                return Ok(found.is_ok_and(|at| rows[at] == *row));
            }
            let children = R::children(&segment);
            let at = children.partition_point(|child| R::cmp(sort, &child.first, row).is_le());
            match at.checked_sub(1) {
                Some(at) => id = children[at].id,
                None => return Ok(false),
            }
        }
    }

    fn statistics(&mut self, rows_of: &BTreeMap<AttrId, u64>) {
        let stats = &self.trees.stats;
        let wrong = rows_of.iter().find(|(a, rows)| stats.of(**a).rows != **rows);
        if let Some((a, rows)) = wrong {
            let what =
                format!("{rows} open lives of attribute {}, where statistics tell of {}", a.0, stats.of(*a).rows);
            self.fault(Fault { tree: "current", sort: Sort::Eavt, segment: None, row: None, what });
        }
    }

    fn fault(&mut self, fault: Fault) {
        if !self.is_full() {
            self.verified.faults.push(fault);
        }
    }

    fn is_full(&self) -> bool {
        self.verified.faults.len() >= self.faults_max
    }
}

/// Whether a life has a place in the sort.
fn holds<R: TreeRow>(sort: Sort, row: &R, covers: &dyn Fn(AttrId) -> bool) -> bool {
    match sort {
        Sort::Eavt | Sort::Aevt => true,
        Sort::Avet => covers(row.datom().a()),
        Sort::Vaet => matches!(row.datom().v, Value::Ref(_)),
    }
}

fn hash_of_row<R: TreeRow>(row: &R) -> u64 {
    let datom = row.datom();
    hash_of(&[datom.e.as_u64(), u64::from(datom.a().0), datom.t(), row.to()], &datom.v)
}

/// The walk through one tree.
struct Walk<'a, 'c, R> {
    check: &'a mut Check<'c>,
    tree: &'static str,
    sort: Sort,
    each: &'a mut dyn FnMut(&R),
    /// The last row of the leaf before.
    last: Option<R>,
}

impl<R: TreeRow + PartialEq> Walk<'_, '_, R> {
    /// Checks a node and all below it.
    fn node(&mut self, said: &log::Root, first: Option<&R>) -> Result<()> {
        if self.check.is_full() {
            return Ok(());
        }
        (self.check.go_on)()?;
        let segment = match R::fetch(&*self.check.trees.source, &said.id) {
            Ok(segment) => segment,
            Err(error) => {
                self.fault(said, None, error.message().to_owned());
                return Ok(());
            }
        };
        self.check.verified.segments += 1;
        if segment.sort != self.sort {
            self.fault(said, None, format!("it is a node of {}", segment.sort.name()));
            return Ok(());
        }
        match R::node(&segment) {
            Some(Node::Leaf(rows)) if said.depth == 0 => self.leaf(said, first, rows),
            Some(Node::Branch(children)) if said.depth > 0 => {
                if first.is_some_and(|first| *first != children[0].first) {
                    self.fault(said, Some(0), "its first row is another than its parent says".into());
                }
                let parts = children.iter().map(|child| (child.count, child.from_min, child.from_max, child.to_max));
                self.summary(said, parts);
                for child in children {
                    self.node(&child.as_root(said.depth - 1), Some(&child.first))?;
                }
            }
            _ => self.fault(said, None, format!("it should have {} levels of branches above its leaves", said.depth)),
        }
        Ok(())
    }

    fn leaf(&mut self, said: &log::Root, first: Option<&R>, rows: &[R]) {
        // `fetch` gives no empty ones.
        if first.is_some_and(|first| *first != rows[0]) {
            self.fault(said, Some(0), "its first row is another than its parent says".into());
        }
        let sort = self.sort;
        let before = self.last.iter().chain(rows);
        let behind = before.zip(rows.iter().skip(usize::from(self.last.is_none())));
        let wrong = behind.enumerate().find(|(_, (x, y))| !R::cmp(sort, x, y).is_lt());
        if let Some((at, (x, y))) = wrong {
            let (at, what) = (at + usize::from(self.last.is_none()), format!("{y:?} stands after {x:?}"));
            self.fault(said, Some(at), what);
        }
        let index_t = self.check.trees.index_t;
        let later = rows.iter().position(|row| row.datom().t() > index_t || row.to() > index_t);
        if let Some(at) = later {
            self.fault(said, Some(at), format!("{:?} is later than index-t {index_t}", rows[at]));
        }
        self.summary(said, rows.iter().map(|row| (1, row.datom().t(), row.datom().t(), row.to())));
        rows.iter().for_each(|row| (self.each)(row));
        self.last = rows.last().cloned();
    }

    /// Holds count and bounds against those of the parts.
    fn summary(&mut self, said: &log::Root, parts: impl Iterator<Item = (u64, T, T, T)>) {
        let sum = parts.fold((0u64, T::MAX, 0, 0), |(count, from_min, from_max, to_max), (more, min, max, to)| {
            (count.saturating_add(more), from_min.min(min), from_max.max(max), to_max.max(to))
        });
        let expected = (said.count, said.from_min, said.from_max, said.to_max);
        if sum != expected {
            let of = |(count, from_min, from_max, to_max): (u64, T, T, T)| {
                format!("{count} rows, from {from_min} … {from_max}, to at most {to_max}")
            };
            self.fault(said, None, format!("it has {}; what is said of it is {}", of(sum), of(expected)));
        }
    }

    fn fault(&mut self, said: &log::Root, row: Option<usize>, what: String) {
        self.check.fault(Fault { tree: self.tree, sort: self.sort, segment: Some(said.id), row, what });
    }
}

/// `current EAVT, segment …, row 3: …`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tree, self.sort.name())?;
        if let Some(segment) = &self.segment {
            write!(f, ", {segment}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        write!(f, ": {}", self.what)
    }
}

#[cfg(test)]
mod tests;
