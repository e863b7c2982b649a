//! Joins of relations held in memory.

use super::ast::Var;
use super::relation::{Column, Meter, NONE, Relation, RowSet, hash_value, hashes_of};
use crate::Result;
use crate::budget::Budget;
use crate::model::{EntityId, Value};

/// Rows by the value of one column.
pub(crate) enum KeyIndex {
    /// Entities whose numbers lie close together: one slot a number.
    Dense {
        base: u64,
        heads: Vec<u32>,
        next: Vec<u32>,
    },
    Hashed {
        set: RowSet,
        heads: Vec<u32>,
        next: Vec<u32>,
        column: Column,
    },
}

impl KeyIndex {
    pub(crate) fn new(column: &Column) -> KeyIndex {
        if let Column::Ref(entities) = column
            && let Some(dense) = KeyIndex::dense(entities)
        {
            return dense;
        }
        let rows = column.len();
        let hashes = hashes_of(std::slice::from_ref(column), rows);
        let mut set = RowSet::with_capacity(rows);
        // `heads` is by the first row of a value, and rows are chained behind it in order.
        let (mut heads, mut next) = (vec![NONE; rows], vec![NONE; rows]);
        for row in (0..rows).rev() {
            let found = set.find_or_insert(hashes[row], row as u32, |other| column.same(row, column, other as usize));
            let head = if found == NONE { row } else { found as usize };
            next[row] = heads[head];
            heads[head] = row as u32;
        }
        KeyIndex::Hashed { set, heads, next, column: column.clone() }
    }

    fn dense(entities: &[EntityId]) -> Option<KeyIndex> {
        let base = entities.iter().map(|e| e.as_u64()).min()?;
        // What stands for no entity must not stretch the range.
        let last = entities.iter().filter(|e| **e != EntityId::MAX).map(|e| e.as_u64()).max()?;
        let span = usize::try_from(last - base + 1).ok()?;
        if span > 4096 && span > entities.len().saturating_mul(16) {
            return None;
        }
        let (mut heads, mut next) = (vec![NONE; span], vec![NONE; entities.len()]);
        for (row, e) in entities.iter().enumerate().rev() {
            if let Some(head) = heads.get_mut((e.as_u64() - base) as usize) {
                next[row] = *head;
                *head = row as u32;
            }
        }
        Some(KeyIndex::Dense { base, heads, next })
    }

    /// The first row with the entity, or NONE.
    #[inline]
    pub(crate) fn first_entity(&self, e: EntityId) -> u32 {
        match self {
            KeyIndex::Dense { base, heads, .. } => {
                e.as_u64().checked_sub(*base).and_then(|at| heads.get(at as usize)).copied().unwrap_or(NONE)
            }
            KeyIndex::Hashed { .. } => self.first(&Value::Ref(e)),
        }
    }

    /// The first row that unifies with the value, or NONE.
    #[inline]
    pub(crate) fn first(&self, value: &Value) -> u32 {
        match self {
            KeyIndex::Dense { .. } => value.as_ref().map_or(NONE, |e| self.first_entity(e)),
            KeyIndex::Hashed { set, heads, column, .. } => {
                let found = set.find(hash_value(value), |row| column.unifies_value(row as usize, value));
                if found == NONE { NONE } else { heads[found as usize] }
            }
        }
    }

    /// The next row with the same value, or NONE.
    #[inline]
    pub(crate) fn next(&self, row: u32) -> u32 {
        match self {
            KeyIndex::Dense { next, .. } | KeyIndex::Hashed { next, .. } => next[row as usize],
        }
    }
}

/// Rows of several columns by their values.
pub(crate) struct RowIndex {
    set: RowSet,
    heads: Vec<u32>,
    next: Vec<u32>,
}

impl RowIndex {
    pub(crate) fn new(columns: &[&Column], rows: usize, budget: &Budget<'_>) -> Result<RowIndex> {
        let mut set = RowSet::with_capacity(rows);
        let (mut heads, mut next) = (vec![NONE; rows], vec![NONE; rows]);
        let hashes = hashes(columns, rows);
        for row in (0..rows).rev() {
            budget.step()?;
            let found = set.find_or_insert(hashes[row], row as u32, |other| {
                columns.iter().all(|column| column.same(row, column, other as usize))
            });
            let head = if found == NONE { row } else { found as usize };
            next[row] = heads[head];
            heads[head] = row as u32;
        }
        Ok(RowIndex { set, heads, next })
    }

    #[inline]
    fn first(&self, hash: u64, same: impl Fn(u32) -> bool) -> u32 {
        let found = self.set.find(hash, same);
        if found == NONE { NONE } else { self.heads[found as usize] }
    }
}

fn hashes(columns: &[&Column], rows: usize) -> Vec<u64> {
    let mut hashes = vec![0; rows];
    columns.iter().for_each(|column| column.hash_into(&mut hashes));
    hashes
}

/// What makes two rows match.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// Values that unify: NaN with nothing.
    Unify,
    /// The same value, NaN included: one side was made from the rows of the other.
    Same,
}

/// The natural join: rows that match in the variables both have; all pairs where they share none.
pub(crate) fn join(left: &Relation, right: &Relation, by: Match, budget: &Budget<'_>) -> Result<Relation> {
    let shared: Vec<Var> = left.vars.iter().copied().filter(|var| right.has(*var)).collect();
    // The smaller side is hashed.
    if left.rows < right.rows && !shared.is_empty() {
        return hash_join(right, left, &shared, by, budget);
    }
    hash_join(left, right, &shared, by, budget)
}

fn hash_join(probe: &Relation, build: &Relation, shared: &[Var], by: Match, budget: &Budget<'_>) -> Result<Relation> {
    let added: Vec<usize> = (0..build.vars.len()).filter(|at| !probe.has(build.vars[*at])).collect();
    let (mut probe_rows, mut build_rows) = (Vec::new(), Vec::new());
    let mut meter = Meter::new(budget, probe.vars.len() + added.len());
    if shared.is_empty() {
        for a in 0..probe.rows {
            for b in 0..build.rows {
                meter.row()?;
                probe_rows.push(a as u32);
                build_rows.push(b as u32);
            }
        }
    } else {
        let column = |relation: &'_ Relation, var: &Var| relation.position(*var).expect("a shared variable");
        let probe_keys: Vec<&Column> = shared.iter().map(|var| &probe.columns[column(probe, var)]).collect();
        let build_keys: Vec<&Column> = shared.iter().map(|var| &build.columns[column(build, var)]).collect();
        let index = RowIndex::new(&build_keys, build.rows, budget)?;
        let hashes = hashes(&probe_keys, probe.rows);
        for (a, hash) in hashes.into_iter().enumerate() {
            budget.step()?;
            let mut b = index.first(hash, |b| {
                probe_keys.iter().zip(&build_keys).all(|(probe, build)| match by {
                    Match::Unify => probe.unifies(a, build, b as usize),
                    Match::Same => probe.same(a, build, b as usize),
                })
            });
            while b != NONE {
                meter.row()?;
                probe_rows.push(a as u32);
                build_rows.push(b);
                b = index.next[b as usize];
            }
        }
    }
    let mut joined = probe.gather(&probe_rows);
    for at in added {
        joined.vars.push(build.vars[at]);
        joined.columns.push(build.columns[at].gather(&build_rows));
    }
    if joined.vars.is_empty() {
        joined.rows = joined.rows.min(1);
    }
    joined.distinct = probe.distinct && build.distinct;
    for pair in &build.determined {
        if !joined.determined.contains(pair) {
            joined.determined.push(*pair);
        }
    }
    meter.finish()?;
    Ok(joined)
}

/// Whether each row of `left` unifies with some row of `right` in the variables both have.
pub(crate) fn matches(left: &Relation, right: &Relation, budget: &Budget<'_>) -> Result<Vec<bool>> {
    let shared: Vec<Var> = left.vars.iter().copied().filter(|var| right.has(*var)).collect();
    if shared.is_empty() || right.rows == 0 {
        return Ok(vec![right.rows > 0; left.rows]);
    }
    let keys = |relation: &Relation| -> Vec<usize> {
        shared.iter().map(|var| relation.position(*var).expect("a shared variable")).collect()
    };
    let left_keys: Vec<&Column> = keys(left).into_iter().map(|at| &left.columns[at]).collect();
    let right_keys: Vec<&Column> = keys(right).into_iter().map(|at| &right.columns[at]).collect();
    let index = RowIndex::new(&right_keys, right.rows, budget)?;
    let mut matched = Vec::with_capacity(left.rows);
    for (row, hash) in hashes(&left_keys, left.rows).into_iter().enumerate() {
        budget.step()?;
        // The rows on the right are projections of those on the left: what is the same matches, NaN too.
        matched.push(
            index.first(hash, |other| left_keys.iter().zip(&right_keys).all(|(a, b)| a.same(row, b, other as usize)))
                != NONE,
        );
    }
    Ok(matched)
}
