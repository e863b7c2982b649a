//! A persistent B+ tree with counts: the sorted, shared, cheap-to-snapshot set every index is made of.
//!
//! Invariants: rows stand in the order of `O` and are distinct in it; every leaf and branch but the root is non-empty;
//! all leaves have the same depth; a child's `first` and `len` are those of its rows. A node is changed in place
//! only where nobody else holds it (`Arc::make_mut`), so a clone is a snapshot. Not here: removal keeps nodes
//! at a quarter full or more only by merging neighbours; the tree never borrows rows between siblings.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The order in which a tree keeps its rows.
pub trait Order<R> {
    fn cmp(a: &R, b: &R) -> Ordering;
}

/// Small enough that copying one leaf for one change is cheap, large enough that scans run over slices.
const LEAF_ROWS_MAX: usize = 64;
const BRANCH_CHILDREN_MAX: usize = 32;

pub struct Tree<R, O> {
    root: Arc<Node<R>>,
    len: usize,
    order: PhantomData<fn() -> O>,
}

pub(crate) enum Node<R> {
    Leaf(Vec<R>),
    Branch(Vec<Child<R>>),
}

/// A node is cloned to be changed: with room for a few more, so that the change does not copy it once again, nor
/// double what it holds.
const SPARE: usize = 4;

impl<R: Clone> Clone for Node<R> {
    fn clone(&self) -> Self {
        fn with_room<X: Clone>(items: &[X]) -> Vec<X> {
            let mut copy = Vec::with_capacity(items.len() + SPARE);
            copy.extend_from_slice(items);
            copy
        }
        match self {
            Node::Leaf(rows) => Node::Leaf(with_room(rows)),
            Node::Branch(children) => Node::Branch(with_room(children)),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Child<R> {
    pub(super) first: R,
    pub(super) len: usize,
    pub(super) node: Arc<Node<R>>,
}

impl<R, O> Clone for Tree<R, O> {
    fn clone(&self) -> Self {
        Tree { root: self.root.clone(), len: self.len, order: PhantomData }
    }
}

impl<R: Clone, O: Order<R>> Default for Tree<R, O> {
    fn default() -> Self {
        Tree { root: Arc::new(Node::Leaf(Vec::new())), len: 0, order: PhantomData }
    }
}

impl<R: Clone, O: Order<R>> Tree<R, O> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn root_node(&self) -> &Node<R> {
        &self.root
    }

    /// Puts a row in its place, replacing one that is equal in this order. True if the tree grew.
    pub fn insert(&mut self, row: R) -> bool {
        let (grew, split) = insert::<R, O>(Arc::make_mut(&mut self.root), row);
        self.len += usize::from(grew);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            self.root = Arc::new(Node::Branch(vec![Child::of(left), Child::of(right)]));
        }
        grew
    }

    /// Takes out the row that is equal in this order.
    pub fn remove(&mut self, row: &R) -> Option<R> {
        // Look first: a miss must not copy the path.
        self.find(|other| O::cmp(other, row))?;
        let removed = remove::<R, O>(Arc::make_mut(&mut self.root), row)?;
        self.len -= 1;
        self.without_single_children();
        Some(removed)
    }

    /// Puts and takes out many rows at once, which stand in order, each once: of a pair `true` puts the row as
    /// [`Tree::insert`] does, `false` takes out what is equal to it, if that is there. Each node is touched once.
    pub fn apply(&mut self, changes: Vec<(R, bool)>) {
        if changes.is_empty() {
            return;
        }
        debug_assert!(changes.is_sorted_by(|x, y| O::cmp(&x.0, &y.0) == Ordering::Less), "in order, each once");
        let root = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
        let count = changes.len();
        let mut nodes = Vec::new();
        apply::<R, O>(root, &mut changes.into_iter(), count, true, &mut nodes);
        while nodes.len() > 1 {
            nodes = cut(nodes, BRANCH_CHILDREN_MAX, true)
                .map(|children| Child::of(Arc::new(Node::Branch(children))))
                .collect();
        }
        self.len = nodes.first().map_or(0, |child| child.len);
        if let Some(child) = nodes.pop() {
            self.root = child.node;
        }
        self.without_single_children();
    }

    /// A root with one child says nothing that the child does not.
    fn without_single_children(&mut self) {
        while let Node::Branch(children) = &*self.root {
            match children.as_slice() {
                [only] => self.root = only.node.clone(),
                [] => self.root = Arc::new(Node::Leaf(Vec::new())),
                _ => break,
            }
        }
    }

    /// The first row for which `position` says Equal, given that it says Less for all rows before and Greater
    /// for all rows after those.
    pub fn find(&self, position: impl Fn(&R) -> Ordering) -> Option<&R> {
        let mut found = None;
        let _ = self.each_slice(&position, &mut |rows| {
            found = rows.first();
            ControlFlow::Break(())
        });
        found
    }

    /// Calls `f` with the rows for which `position` says Equal, in order, slice by slice. Breaks only where `f`
    /// does.
    pub fn each_slice<'a>(
        &'a self,
        position: &impl Fn(&R) -> Ordering,
        f: &mut impl FnMut(&'a [R]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match each_slice(&self.root, position, false, f) {
            ControlFlow::Break(End::Stopped) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Looks many probes up at once: calls `f` with a probe's index and each row for which `position` says Equal,
    /// in order. The probes must stand in the order of the tree, each once. One walk serves all of them, so that dense probes
    /// cost a merge and sparse ones a seek each.
    pub fn each_probe<'a, P>(
        &'a self,
        probes: &[P],
        position: &impl Fn(&R, &P) -> Ordering,
        f: &mut impl FnMut(usize, &'a R) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        each_probe(&self.root, probes, 0, position, f)
    }

    /// How many rows `position` says Equal for, in logarithmic time.
    pub fn count(&self, position: &impl Fn(&R) -> Ordering) -> usize {
        let upto = |inside: bool| {
            rank(&self.root, &|row| {
                let position = position(row);
                position == Ordering::Less || (inside && position == Ordering::Equal)
            })
        };
        upto(true) - upto(false)
    }

    /// How many rows stand before the first for which `before` is false.
    pub fn rank(&self, before: &impl Fn(&R) -> bool) -> usize {
        rank(&self.root, before)
    }

    /// The row with `index` rows before it.
    pub fn get(&self, index: usize) -> Option<&R> {
        let (rows, at) = self.leaf_at(index)?;
        rows.get(at)
    }

    /// The leaf that holds the row with `index` rows before it, and where in the leaf it stands.
    pub fn leaf_at(&self, mut index: usize) -> Option<(&[R], usize)> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(rows) => return (index < rows.len()).then_some((rows, index)),
                Node::Branch(children) => {
                    let mut children = children.iter();
                    node = loop {
                        let child = children.next()?;
                        if index < child.len {
                            break &child.node;
                        }
                        index -= child.len;
                    };
                }
            }
        }
    }
}

impl<R> Node<R> {
    /// The children of a branch; a leaf has none.
    pub(super) fn children(&self) -> &[Child<R>] {
        match self {
            Node::Leaf(_) => &[],
            Node::Branch(children) => children,
        }
    }
}

impl<R: Clone> Node<R> {
    fn first(&self) -> &R {
        match self {
            Node::Leaf(rows) => &rows[0],
            Node::Branch(children) => &children[0].first,
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(rows) => rows.len(),
            Node::Branch(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    /// Slots used, of the node's own kind.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(rows) => rows.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn width_max(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_ROWS_MAX,
            Node::Branch(_) => BRANCH_CHILDREN_MAX,
        }
    }

    /// Cuts an overfull node in two. Where the last insertion was at the end, nearly all stays on the left, so
    /// that ascending loads fill their nodes.
    fn split(&mut self, at_end: bool) -> Option<Arc<Node<R>>> {
        let width = self.width();
        if width <= self.width_max() {
            return None;
        }
        let at = if at_end { width - 1 } else { width / 2 };
        Some(Arc::new(match self {
            Node::Leaf(rows) => Node::Leaf(split_off(rows, at)),
            Node::Branch(children) => Node::Branch(split_off(children, at)),
        }))
    }
}

fn split_off<X>(items: &mut Vec<X>, at: usize) -> Vec<X> {
    let mut right = Vec::with_capacity(items.len() - at + 4 * SPARE);
    right.extend(items.drain(at..));
    items.shrink_to(at + SPARE);
    right
}

impl<R: Clone> Child<R> {
    fn of(node: Arc<Node<R>>) -> Self {
        Child { first: node.first().clone(), len: node.len(), node }
    }
}

/// The child in which a row that `before` tells from those after it would stand.
fn child_for<R>(children: &[Child<R>], not_after: impl Fn(&R) -> bool) -> usize {
    children.partition_point(|child| not_after(&child.first)).saturating_sub(1)
}

fn insert<R: Clone, O: Order<R>>(node: &mut Node<R>, row: R) -> (bool, Option<Arc<Node<R>>>) {
    match node {
        Node::Leaf(rows) => {
            let at = rows.partition_point(|other| O::cmp(other, &row) == Ordering::Less);
            if rows.get(at).is_some_and(|other| O::cmp(other, &row) == Ordering::Equal) {
                rows[at] = row;
                return (false, None);
            }
            let at_end = at == rows.len();
            if rows.len() == rows.capacity() {
                rows.reserve_exact(4 * SPARE);
            }
            rows.insert(at, row);
            (true, node.split(at_end))
        }
        Node::Branch(children) => {
            let at = child_for(children, |first| O::cmp(first, &row) != Ordering::Greater);
            let child = &mut children[at];
            let (grew, split) = insert::<R, O>(Arc::make_mut(&mut child.node), row);
            child.first = child.node.first().clone();
            child.len += usize::from(grew);
            let Some(right) = split else { return (grew, None) };
            child.len = child.node.len();
            let at_end = at + 1 == children.len();
            children.insert(at + 1, Child::of(right));
            (grew, node.split(at_end))
        }
    }
}

fn remove<R: Clone, O: Order<R>>(node: &mut Node<R>, row: &R) -> Option<R> {
    match node {
        Node::Leaf(rows) => {
            let at = rows.partition_point(|other| O::cmp(other, row) == Ordering::Less);
            let here = rows.get(at).is_some_and(|other| O::cmp(other, row) == Ordering::Equal);
            here.then(|| rows.remove(at))
        }
        Node::Branch(children) => {
            let at = child_for(children, |first| O::cmp(first, row) != Ordering::Greater);
            let child = &mut children[at];
            let removed = remove::<R, O>(Arc::make_mut(&mut child.node), row)?;
            child.len -= 1;
            if child.len == 0 {
                children.remove(at);
            } else {
                child.first = child.node.first().clone();
                if child.node.width() < child.node.width_max() / 4 {
                    merge_small(children, at);
                }
            }
            Some(removed)
        }
    }
}

/// Takes the next `count` changes into the rows of a node, and pushes the nodes that are made of it, all of its depth.
/// `is_last`: nothing of the tree stands behind it.
fn apply<R: Clone, O: Order<R>>(
    node: Arc<Node<R>>,
    changes: &mut std::vec::IntoIter<(R, bool)>,
    count: usize,
    is_last: bool,
    made: &mut Vec<Child<R>>,
) {
    // What nobody else holds is taken apart, not copied.
    match Arc::try_unwrap(node).unwrap_or_else(|shared| Node::clone(&shared)) {
        Node::Leaf(rows) => {
            let at_end = rows.last().is_none_or(|last| O::cmp(last, &changes.as_slice()[0].0) == Ordering::Less);
            let mut merged = Vec::with_capacity(rows.len() + count);
            let mut rows = rows.into_iter();
            for (row, is_put) in changes.take(count) {
                let before = gallop(rows.as_slice(), |other| O::cmp(other, &row) == Ordering::Less);
                merged.extend(rows.by_ref().take(before));
                if rows.as_slice().first().is_some_and(|other| O::cmp(other, &row) == Ordering::Equal) {
                    rows.next();
                }
                if is_put {
                    merged.push(row);
                }
            }
            merged.extend(rows);
            let leaves = cut(merged, LEAF_ROWS_MAX, is_last && at_end);
            made.extend(leaves.map(|rows| Child::of(Arc::new(Node::Leaf(rows)))));
        }
        Node::Branch(children) => {
            let mut all = Vec::with_capacity(children.len() + 2);
            let mut left = count;
            let mut children = children.into_iter();
            while let Some(child) = children.next() {
                let own = match children.as_slice().first() {
                    None => left,
                    Some(next) => {
                        gallop(&changes.as_slice()[..left], |(row, _)| O::cmp(row, &next.first) == Ordering::Less)
                    }
                };
                if own == 0 {
                    all.push(child);
                    continue;
                }
                left -= own;
                apply::<R, O>(child.node, changes, own, is_last && children.len() == 0, &mut all);
            }
            let mut at = 0;
            while at < all.len() {
                let is_small = all[at].node.width() < all[at].node.width_max() / 4;
                let before = all.len();
                if is_small {
                    merge_small(&mut all, at);
                }
                // What was joined may still be small; its neighbour stands in its place now.
                at += usize::from(all.len() == before);
            }
            let at_end = is_last && all.len() > BRANCH_CHILDREN_MAX;
            let branches = cut(all, BRANCH_CHILDREN_MAX, at_end);
            made.extend(branches.map(|children| Child::of(Arc::new(Node::Branch(children)))));
        }
    }
}

/// Cuts what a node would hold into as many as are needed: even ones, or at the end of a tree, where more will come, full
/// ones.
fn cut<X>(mut items: Vec<X>, most: usize, is_full: bool) -> impl Iterator<Item = Vec<X>> {
    let count = items.len().div_ceil(most);
    let each = if is_full { most } else { items.len().div_ceil(count.max(1)) };
    let whole = (count == 1).then(|| std::mem::take(&mut items));
    let mut items = items.into_iter();
    let parts = (whole.is_none()).then(|| {
        std::iter::from_fn(move || {
            let mut part = Vec::with_capacity(each.min(items.len()));
            part.extend(items.by_ref().take(each));
            (!part.is_empty()).then_some(part)
        })
    });
    whole.into_iter().chain(parts.into_iter().flatten())
}

/// Joins a small child with a neighbour where both fit into one node.
fn merge_small<R: Clone>(children: &mut Vec<Child<R>>, at: usize) {
    let left = if at > 0 { at - 1 } else { at };
    let Some(right) = children.get(left + 1) else { return };
    if children[left].node.width() + right.node.width() > right.node.width_max() {
        return;
    }
    let right = children.remove(left + 1);
    let child = &mut children[left];
    match (Arc::make_mut(&mut child.node), &*right.node) {
        (Node::Leaf(rows), Node::Leaf(more)) => rows.extend_from_slice(more),
        (Node::Branch(nodes), Node::Branch(more)) => nodes.extend_from_slice(more),
        _ => unreachable!("neighbours stand at the same depth"),
    }
    child.len += right.len;
}

/// Why a walk goes no further.
enum End {
    /// The next row stands beyond the range.
    Beyond,
    /// The caller has seen enough.
    Stopped,
}

/// `inside_from_start`: all rows of the node are known not to stand before the range.
fn each_slice<'a, R>(
    node: &'a Node<R>,
    position: &impl Fn(&R) -> Ordering,
    inside_from_start: bool,
    f: &mut impl FnMut(&'a [R]) -> ControlFlow<()>,
) -> ControlFlow<End> {
    let before = |row: &R| position(row) == Ordering::Less;
    match node {
        Node::Leaf(rows) => {
            let from = if inside_from_start { 0 } else { rows.partition_point(before) };
            let rows = &rows[from..];
            let Some(last) = rows.last() else { return ControlFlow::Continue(()) };
            if position(last) != Ordering::Greater {
                return f(rows).map_break(|()| End::Stopped);
            }
            let to = rows.partition_point(|row| position(row) != Ordering::Greater);
            if to > 0 {
                f(&rows[..to]).map_break(|()| End::Stopped)?;
            }
            ControlFlow::Break(End::Beyond)
        }
        Node::Branch(children) => {
            let from = if inside_from_start { 0 } else { child_for(children, before) };
            for (i, child) in children[from..].iter().enumerate() {
                // Only the first child visited may hold rows before the range; none after may begin beyond it.
                let whole = inside_from_start || i > 0;
                if whole && position(&child.first) == Ordering::Greater {
                    return ControlFlow::Break(End::Beyond);
                }
                each_slice(&child.node, position, whole, f)?;
            }
            ControlFlow::Continue(())
        }
    }
}

/// `offset`: the index of the first of these probes among all.
fn each_probe<'a, R, P>(
    node: &'a Node<R>,
    probes: &[P],
    offset: usize,
    position: &impl Fn(&R, &P) -> Ordering,
    f: &mut impl FnMut(usize, &'a R) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match node {
        Node::Leaf(rows) => {
            let mut at = 0;
            for (i, probe) in probes.iter().enumerate() {
                at += gallop(&rows[at..], |row| position(row, probe) == Ordering::Less);
                for row in rows[at..].iter().take_while(|row| position(row, probe) == Ordering::Equal) {
                    f(offset + i, row)?;
                }
                if at == rows.len() {
                    break;
                }
            }
        }
        Node::Branch(children) => {
            let mut from = 0;
            for (i, child) in children.iter().enumerate() {
                if i > 0 {
                    from += gallop(&probes[from..], |probe| position(&child.first, probe) == Ordering::Greater);
                }
                // A probe whose rows begin after the next child's first row has none here.
                let to = match children.get(i + 1) {
                    Some(next) => {
                        from + gallop(&probes[from..], |probe| position(&next.first, probe) != Ordering::Less)
                    }
                    None => probes.len(),
                };
                if from < to {
                    each_probe(&child.node, &probes[from..to], offset + from, position, f)?;
                }
                if from == probes.len() {
                    break;
                }
            }
        }
    }
    ControlFlow::Continue(())
}

/// How many items at the front satisfy `before`, which holds for a prefix: looks near the front first.
fn gallop<X>(items: &[X], before: impl Fn(&X) -> bool) -> usize {
    let mut reach = 1;
    while reach <= items.len() && before(&items[reach - 1]) {
        reach *= 2;
    }
    let from = reach / 2;
    from + items[from..items.len().min(reach)].partition_point(before)
}

fn rank<R>(node: &Node<R>, before: &impl Fn(&R) -> bool) -> usize {
    match node {
        Node::Leaf(rows) => rows.partition_point(before),
        Node::Branch(children) => {
            let at = child_for(children, before);
            children[..at].iter().map(|child| child.len).sum::<usize>() + rank(&children[at].node, before)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    struct Natural;
    impl Order<u32> for Natural {
        fn cmp(a: &u32, b: &u32) -> Ordering {
            a.cmp(b)
        }
    }

    fn rows(tree: &Tree<u32, Natural>, from: u32, to: u32) -> Vec<u32> {
        let mut rows = Vec::new();
        let _ = tree.each_slice(&within(from, to), &mut |slice| {
            assert!(!slice.is_empty());
            rows.extend_from_slice(slice);
            ControlFlow::Continue(())
        });
        rows
    }

    fn within(from: u32, to: u32) -> impl Fn(&u32) -> Ordering {
        move |row| {
            if *row < from { Ordering::Less } else { if *row >= to { Ordering::Greater } else { Ordering::Equal } }
        }
    }

    fn check_nodes(node: &Node<u32>) -> usize {
        if let Node::Branch(children) = node {
            let depths: Vec<usize> = children
                .iter()
                .map(|child| {
                    assert_eq!((&child.first, child.len), (child.node.first(), child.node.len()));
                    check_nodes(&child.node)
                })
                .collect();
            assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "leaves at one depth");
            return depths[0] + 1;
        }
        0
    }

    proptest! {
        #[test]
        fn a_tree_is_the_set_of_its_rows_and_its_snapshots_do_not_change(
            steps in proptest::collection::vec((any::<bool>(), 0u32..3000), 0..6000),
            bounds in proptest::collection::vec((0u32..3000, 0u32..3000), 10),
        ) {
            let (mut tree, mut model) = (Tree::<u32, Natural>::default(), BTreeSet::new());
            let mut snapshot = (tree.clone(), model.clone());
            for (i, (add, row)) in steps.iter().enumerate() {
                if *add {
                    prop_assert_eq!(tree.insert(*row), model.insert(*row));
                } else {
                    prop_assert_eq!(tree.remove(row).is_some(), model.remove(row));
                }
                if i == steps.len() / 2 {
                    snapshot = (tree.clone(), model.clone());
                }
            }
            for (tree, model) in [(tree, model), snapshot] {
                check_nodes(&tree.root);
                prop_assert_eq!(tree.len(), model.len());
                prop_assert_eq!(rows(&tree, 0, u32::MAX), model.iter().copied().collect::<Vec<_>>());
                for (from, to) in &bounds {
                    let expected: Vec<u32> = model.iter().copied().filter(|row| row >= from && row < to).collect();
                    prop_assert_eq!(tree.count(&within(*from, *to)), expected.len());
                    prop_assert_eq!(tree.find(within(*from, *to)), expected.first());
                    prop_assert_eq!(rows(&tree, *from, *to), expected);
                    let probes: Vec<u32> = if from < to { (*from..*to).collect() } else { vec![*to, *from + 1, *from + 9] };
                    let mut probed = Vec::new();
                    let _ = tree.each_probe(&probes, &|row: &u32, probe: &u32| row.cmp(probe), &mut |i, row| {
                        probed.push((i, *row));
                        ControlFlow::Continue(())
                    });
                    let there = probes.iter().copied().enumerate().filter(|(_, probe)| model.contains(probe));
                    prop_assert_eq!(probed, there.collect::<Vec<_>>());
                    // Tens as probes: many rows each, over the edges of leaves.
                    let tens: Vec<u32> = (from / 10..from / 10 + 30).collect();
                    let mut probed = Vec::new();
                    let _ = tree.each_probe(&tens, &|row: &u32, ten: &u32| (row / 10).cmp(ten), &mut |i, row| {
                        probed.push((tens[i], *row));
                        ControlFlow::Continue(())
                    });
                    let there = model.iter().filter(|row| tens.contains(&(*row / 10))).map(|row| (row / 10, *row));
                    prop_assert_eq!(probed, there.collect::<Vec<_>>());
                    let index = *from as usize % 64;
                    prop_assert_eq!(tree.get(index), model.iter().nth(index));
                    match tree.leaf_at(index) {
                        Some((rows, at)) => prop_assert_eq!(Some(&rows[at]), model.iter().nth(index)),
                        None => prop_assert!(index >= model.len()),
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn many_changes_at_once_are_the_same_as_one_by_one(
            batches in proptest::collection::vec(
                (0u32..3000, 1u32..4, proptest::collection::btree_map(0u32..3000, any::<bool>(), 0..1500)), 1..8),
        ) {
            let (mut tree, mut model) = (Tree::<u32, Natural>::default(), BTreeSet::new());
            let mut snapshots = Vec::new();
            for (least, spread, batch) in batches {
                snapshots.push((tree.clone(), model.clone()));
                // Dense and sparse ones, at the beginning and at the end.
                let batch: Vec<_> = batch.into_iter().filter(|(row, _)| row % spread == 0 && *row >= least / spread).collect();
                for (row, is_put) in &batch {
                    if *is_put { model.insert(*row) } else { model.remove(row) };
                }
                tree.apply(batch);
                if spread == 3 {
                    tree.insert(least);
                    model.insert(least);
                }
            }
            snapshots.push((tree, model));
            for (tree, model) in snapshots {
                check_nodes(&tree.root);
                prop_assert_eq!(tree.len(), model.len());
                prop_assert_eq!(rows(&tree, 0, u32::MAX), model.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn ascending_loads_fill_their_leaves() {
        let mut tree = Tree::<u32, Natural>::default();
        (0..100_000).for_each(|row| assert!(tree.insert(row)));
        let mut leaves = 0;
        let _ = tree.each_slice(&|_| Ordering::Equal, &mut |_| {
            leaves += 1;
            ControlFlow::Continue(())
        });
        assert!(leaves <= 100_000 / LEAF_ROWS_MAX + 1, "{leaves} leaves");
    }
}
