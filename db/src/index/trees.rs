//! The persisted index trees of a database: their roots, and where their segments come from.

use super::segment::{Child, Node, Row, Rows, Segment, SegmentId, Source};
use super::stats::Stats;
use super::{Life, Sort};
use crate::log::{self, IndexBody};
use crate::model::{Datom, T};
use crate::{Error, Result};
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

/// All that was said up to `index_t`, in eight trees. A database value stands on one of these and on its novelty.
pub struct Trees {
    /// The last t that the trees hold.
    pub index_t: T,
    pub open: Roots<Datom>,
    pub closed: Roots<Life>,
    /// Statistics of the open lives.
    pub(crate) stats: Stats,
    pub source: Arc<dyn Source>,
}

impl Trees {
    /// The trees that an index record names. `stats` are those of its meta segment.
    pub fn of(body: &IndexBody, stats: Stats, source: Arc<dyn Source>) -> Trees {
        let open = Roots::of_record(&body.current);
        Trees { index_t: body.index_t, open, closed: Roots::of_record(&body.history), stats, source }
    }

    /// The same trees, all nodes of which come from another source.
    pub(crate) fn read_from(&self, source: Arc<dyn Source>) -> Trees {
        let Trees { index_t, open, closed, stats, .. } = self;
        let (open, closed) = (Roots::of_record(&open.to_record()), Roots::of_record(&closed.to_record()));
        Trees { index_t: *index_t, open, closed, stats: stats.clone(), source }
    }
}

impl Trees {
    /// Tells `visit` of every segment of the eight trees: its name, length, and whether it is a branch. What is below a
    /// branch is told of if `visit` says so. Leaves are not read.
    pub fn each_segment(&self, visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>) -> Result<()> {
        let source = &*self.source;
        for sort in Sort::ALL {
            if let Some(root) = self.open.of(sort) {
                each_below::<Datom>(&root.summary, source, visit)?;
            }
            if let Some(root) = self.closed.of(sort) {
                each_below::<Life>(&root.summary, source, visit)?;
            }
        }
        Ok(())
    }
}

fn each_below<R: TreeRow>(
    said: &log::Root,
    source: &dyn Source,
    visit: &mut dyn FnMut(&SegmentId, u32, bool) -> Result<bool>,
) -> Result<()> {
    if visit(&said.id, said.bytes, said.depth > 0)? && said.depth > 0 {
        let segment = R::fetch(source, &said.id)?;
        for child in R::children(&segment) {
            each_below::<R>(&child.as_root(said.depth - 1), source, visit)?;
        }
    }
    Ok(())
}

/// The roots of the four sorts, in the order EAVT, AEVT, AVET, VAET; None where a tree has no rows.
pub struct Roots<R>(pub [Option<Root<R>>; 4]);

/// The topmost node of a tree, kept once it was read.
pub struct Root<R> {
    /// What a branch above would say of it, but for its first row.
    pub summary: log::Root,
    node: OnceLock<Arc<Segment>>,
    rows: PhantomData<fn() -> R>,
}

/// A row of a persisted tree.
pub trait TreeRow: Row + Clone + fmt::Debug {
    fn node(segment: &Segment) -> Option<&Node<Self>>;

    fn segment(sort: Sort, node: Node<Self>) -> Segment;

    /// The order of a tree of such rows.
    fn cmp(sort: Sort, x: &Self, y: &Self) -> Ordering;

    fn leaf(segment: &Segment) -> Option<&[Self]> {
        match Self::node(segment) {
            Some(Node::Leaf(rows)) => Some(rows),
            _ => None,
        }
    }

    fn children(segment: &Segment) -> &[Child<Self>] {
        match Self::node(segment) {
            Some(Node::Branch(children)) => children,
            _ => &[],
        }
    }

    /// A node of a tree of such rows.
    fn fetch(source: &dyn Source, id: &SegmentId) -> Result<Arc<Segment>> {
        let segment = source.fetch(id)?;
        let is_empty = match Self::node(&segment) {
            Some(Node::Leaf(rows)) => rows.is_empty(),
            Some(Node::Branch(children)) => children.is_empty(),
            None => true,
        };
        if is_empty {
            let message = format!("segment {id} is no node of the tree that names it");
            return Err(Error::corrupt("db.error/segment-damaged", message).with("segment", id.to_string()));
        }
        Ok(segment)
    }
}

impl TreeRow for Datom {
    fn node(segment: &Segment) -> Option<&Node<Datom>> {
        match &segment.rows {
            Rows::Open(node) => Some(node),
            Rows::Closed(_) => None,
        }
    }

    fn segment(sort: Sort, node: Node<Datom>) -> Segment {
        Segment { sort, rows: Rows::Open(node) }
    }

    fn cmp(sort: Sort, x: &Datom, y: &Datom) -> Ordering {
        sort.cmp(x, y)
    }
}

impl TreeRow for Life {
    fn node(segment: &Segment) -> Option<&Node<Life>> {
        match &segment.rows {
            Rows::Closed(node) => Some(node),
            Rows::Open(_) => None,
        }
    }

    fn segment(sort: Sort, node: Node<Life>) -> Segment {
        Segment { sort, rows: Rows::Closed(node) }
    }

    fn cmp(sort: Sort, x: &Life, y: &Life) -> Ordering {
        sort.cmp_group(&x.datom, &y.datom).then(x.to.cmp(&y.to)).then_with(|| sort.cmp(&x.datom, &y.datom))
    }
}

impl<R> Root<R> {
    pub fn new(summary: log::Root) -> Self {
        Root { summary, node: OnceLock::new(), rows: PhantomData }
    }
}

impl<R: TreeRow> Root<R> {
    pub(crate) fn node(&self, source: &dyn Source) -> Result<Arc<Segment>> {
        if let Some(node) = self.node.get() {
            return Ok(node.clone());
        }
        let node = R::fetch(source, &self.summary.id)?;
        Ok(self.node.get_or_init(|| node).clone())
    }
}

impl<R> Roots<R> {
    fn of_record(roots: &log::Roots) -> Self {
        Roots(Sort::ALL.map(|sort| roots.of(sort).copied().map(Root::new)))
    }

    /// As an index record names them.
    pub fn to_record(&self) -> log::Roots {
        let mut roots = log::Roots::default();
        Sort::ALL.into_iter().for_each(|sort| roots.set(sort, self.of(sort).map(|root| root.summary)));
        roots
    }

    pub fn of(&self, sort: Sort) -> Option<&Root<R>> {
        self.0[sort as usize].as_ref()
    }

    /// Rows of the tree that holds all of them.
    pub fn count(&self) -> u64 {
        self.of(Sort::Eavt).map_or(0, |root| root.summary.count)
    }
}

impl<R> Default for Roots<R> {
    fn default() -> Self {
        Roots([None, None, None, None])
    }
}
