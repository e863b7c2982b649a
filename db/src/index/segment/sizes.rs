//! How large segments are made.

use super::Child;
use super::rows::Row;

/// Where writers end a leaf or a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the facts in a leaf, each as a [`Sizes::ROW_BYTES`] and what its value takes.
    pub leaf_bytes: usize,
    pub leaf_rows: usize,
    pub branch_children: usize,
}

impl Default for Sizes {
    /// Four thousand rows of short values: enough for columns to be worth it, few enough to be decoded for one of them.
    fn default() -> Self {
        Sizes { leaf_bytes: 64 << 10, leaf_rows: 4096, branch_children: 1024 }
    }
}

impl Sizes {
    /// What a row counts beside its value: e, a and t.
    const ROW_BYTES: usize = 8;
    /// A branch ends before its first rows take more than so many leaves, however few they are; but it has two children.
    const BRANCH_LEAVES: usize = 16;

    /// How many of the first rows make a leaf: at least one where there are rows.
    pub fn leaf_len<R: Row>(&self, rows: &[R]) -> usize {
        let most = rows.len().min(self.leaf_rows.max(1));
        prefix_len(rows[..most].iter(), self.leaf_bytes).max(1).min(most)
    }

    /// How many of the first children make a branch: at least two where there are two.
    pub fn branch_len<R: Row>(&self, children: &[Child<R>]) -> usize {
        let most = children.len().min(self.branch_children.max(2));
        prefix_len(children[..most].iter().map(|child| &child.first), self.leaf_bytes * Self::BRANCH_LEAVES)
            .max(2)
            .min(most)
    }
}

/// How many of the first rows fit.
fn prefix_len<'a, R: Row + 'a>(rows: impl Iterator<Item = &'a R>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    rows.take_while(|row| {
        bytes += Sizes::ROW_BYTES + row.datom().v.heap_bytes().max(8);
        bytes <= bytes_max
    })
    .count()
}
