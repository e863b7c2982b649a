//! Relations: rows of bound variables, kept by column.

use super::ast::Var;
use crate::Result;
use crate::budget::Budget;
use crate::model::{EntityId, Value, ValueType};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// The values of one variable. References and longs stand unboxed; the same value may stand in a column of either
/// kind, and is then equal and hashes alike.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    Ref(Vec<EntityId>),
    Long(Vec<i64>),
    Value(Vec<Value>),
}

impl Column {
    /// An empty column for values of a type.
    pub(crate) fn of_type(value_type: ValueType) -> Column {
        match value_type {
            ValueType::Ref => Column::Ref(Vec::new()),
            ValueType::Long => Column::Long(Vec::new()),
            _ => Column::Value(Vec::new()),
        }
    }

    pub(crate) fn from_values(values: Vec<Value>) -> Column {
        let mut column = Column::of_type(values.first().map_or(ValueType::String, Value::value_type));
        values.into_iter().for_each(|value| column.push(value));
        column
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Ref(x) => x.len(),
            Column::Long(x) => x.len(),
            Column::Value(x) => x.len(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: Value) {
        match (&mut *self, value) {
            (Column::Ref(column), Value::Ref(e)) => column.push(e),
            (Column::Long(column), Value::Long(long)) => column.push(long),
            (Column::Value(column), value) => column.push(value),
            (_, value) => self.push_other(value),
        }
    }

    #[inline]
    pub(crate) fn push_ref(&mut self, value: &Value) {
        match (&mut *self, value) {
            (Column::Ref(column), Value::Ref(e)) => column.push(*e),
            (Column::Long(column), Value::Long(long)) => column.push(*long),
            (Column::Value(column), value) => column.push(value.clone()),
            (_, value) => self.push_other(value.clone()),
        }
    }

    #[inline]
    pub(crate) fn push_entity(&mut self, e: EntityId) {
        match self {
            Column::Ref(column) => column.push(e),
            _ => self.push(Value::Ref(e)),
        }
    }

    /// A value that does not fit the column's kind turns it into one of any kind.
    #[cold]
    fn push_other(&mut self, value: Value) {
        if self.len() == 0 {
            *self = Column::of_type(value.value_type());
            return self.push(value);
        }
        *self = Column::Value(match std::mem::replace(self, Column::Value(Vec::new())) {
            Column::Ref(column) => column.into_iter().map(Value::Ref).collect(),
            Column::Long(column) => column.into_iter().map(Value::Long).collect(),
            Column::Value(column) => column,
        });
        self.push(value);
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> Value {
        match self {
            Column::Ref(x) => Value::Ref(x[row]),
            Column::Long(x) => Value::Long(x[row]),
            Column::Value(x) => x[row].clone(),
        }
    }

    pub(crate) fn gather(&self, rows: &[u32]) -> Column {
        match self {
            Column::Ref(x) => Column::Ref(rows.iter().map(|row| x[*row as usize]).collect()),
            Column::Long(x) => Column::Long(rows.iter().map(|row| x[*row as usize]).collect()),
            Column::Value(x) => Column::Value(rows.iter().map(|row| x[*row as usize].clone()).collect()),
        }
    }

    pub(crate) fn append(&mut self, other: Column) {
        match (&mut *self, other) {
            (Column::Ref(column), Column::Ref(mut more)) => column.append(&mut more),
            (Column::Long(column), Column::Long(mut more)) => column.append(&mut more),
            (Column::Value(column), Column::Value(mut more)) => column.append(&mut more),
            (_, more) => {
                if self.len() == 0 {
                    *self = more;
                } else {
                    (0..more.len()).for_each(|row| self.push(more.get(row)));
                }
            }
        }
    }

    /// Whether two rows unify: equal as the index has it, but NaN with nothing.
    #[inline]
    pub(crate) fn unifies(&self, row: usize, other: &Column, other_row: usize) -> bool {
        match (self, other) {
            (Column::Ref(a), Column::Ref(b)) => a[row] == b[other_row],
            (Column::Long(a), Column::Long(b)) => a[row] == b[other_row],
            (Column::Value(a), Column::Value(b)) => unify(&a[row], &b[other_row]),
            _ => unify(&self.get(row), &other.get(other_row)),
        }
    }

    /// Whether a row unifies with a value.
    #[inline]
    pub(crate) fn unifies_value(&self, row: usize, value: &Value) -> bool {
        match (self, value) {
            (Column::Ref(a), Value::Ref(b)) => a[row] == *b,
            (Column::Long(a), Value::Long(b)) => a[row] == *b,
            (Column::Value(a), b) => unify(&a[row], b),
            _ => false,
        }
    }

    /// Whether two rows hold the same value, NaN being the same as NaN.
    #[inline]
    pub(crate) fn same(&self, row: usize, other: &Column, other_row: usize) -> bool {
        match (self, other) {
            (Column::Ref(a), Column::Ref(b)) => a[row] == b[other_row],
            (Column::Long(a), Column::Long(b)) => a[row] == b[other_row],
            (Column::Value(a), Column::Value(b)) => a[row] == b[other_row],
            _ => self.get(row) == other.get(other_row),
        }
    }

    /// Mixes the hashes of all rows into those given.
    pub(crate) fn hash_into(&self, hashes: &mut [u64]) {
        match self {
            Column::Ref(x) => hashes.iter_mut().zip(x).for_each(|(hash, e)| *hash = mix(*hash, hash_entity(*e))),
            Column::Long(x) => hashes.iter_mut().zip(x).for_each(|(hash, long)| *hash = mix(*hash, *long as u64)),
            Column::Value(x) => hashes.iter_mut().zip(x).for_each(|(hash, value)| *hash = mix(*hash, hash_of(value))),
        }
    }

    pub(crate) fn compare(&self, a: usize, b: usize) -> std::cmp::Ordering {
        match self {
            Column::Ref(x) => x[a].cmp(&x[b]),
            Column::Long(x) => x[a].cmp(&x[b]),
            Column::Value(x) => x[a].cmp(&x[b]),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Column::Ref(x) => x.len() * 8,
            Column::Long(x) => x.len() * 8,
            // Values are shared with the index; only what stands in the column itself counts.
            Column::Value(x) => x.len() * 16,
        }
    }
}

/// Equality of unification: types count, NaN equals nothing.
#[inline]
pub(crate) fn unify(a: &Value, b: &Value) -> bool {
    a == b && !a.is_nan()
}

#[inline]
fn hash_entity(e: EntityId) -> u64 {
    // Apart from the long of the same number, which is another value.
    e.as_u64() ^ 0x5bd1_e995_7f4a_7c15
}

#[inline]
fn hash_of(value: &Value) -> u64 {
    match value {
        Value::Long(long) => *long as u64,
        Value::Ref(e) => hash_entity(*e),
        value => {
            let mut hasher = FxHasher::default();
            value.hash(&mut hasher);
            hasher.finish()
        }
    }
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    // The whole product folded: low bits depend on high ones and the other way round.
    let product = u128::from(hash.rotate_left(23) ^ word ^ 0xf39c_c060_5ced_c835) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}

/// One value's hash as a row of one column has it.
#[inline]
pub(crate) fn hash_value(value: &Value) -> u64 {
    mix(0, hash_of(value))
}

/// Rows of bound variables. Without variables it holds one row or none: a truth.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub vars: Vec<Var>,
    pub columns: Vec<Column>,
    pub rows: usize,
    /// Known to hold no row twice.
    pub distinct: bool,
    /// `(x, y)`: the variable x has one value for each value of y.
    pub determined: Vec<(Var, Var)>,
}

impl Relation {
    /// One row that binds nothing.
    pub(crate) fn unit() -> Relation {
        Relation { vars: Vec::new(), columns: Vec::new(), rows: 1, distinct: true, determined: Vec::new() }
    }

    /// No rows of these variables.
    pub(crate) fn empty(vars: Vec<Var>) -> Relation {
        let columns = vars.iter().map(|_| Column::Value(Vec::new())).collect();
        Relation { vars, columns, rows: 0, distinct: true, determined: Vec::new() }
    }

    pub(crate) fn new(vars: Vec<Var>, columns: Vec<Column>) -> Relation {
        let rows = columns.first().map_or(0, Column::len);
        debug_assert!(columns.iter().all(|column| column.len() == rows));
        Relation { vars, columns, rows, distinct: false, determined: Vec::new() }
    }

    pub(crate) fn position(&self, var: Var) -> Option<usize> {
        self.vars.iter().position(|other| *other == var)
    }

    pub(crate) fn has(&self, var: Var) -> bool {
        self.vars.contains(&var)
    }

    pub(crate) fn column(&self, var: Var) -> Option<&Column> {
        self.position(var).map(|at| &self.columns[at])
    }

    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    pub(crate) fn gather(&self, rows: &[u32]) -> Relation {
        Relation {
            vars: self.vars.clone(),
            columns: self.columns.iter().map(|column| column.gather(rows)).collect(),
            rows: rows.len(),
            distinct: false,
            determined: self.determined.clone(),
        }
    }

    /// Gives a variable another name.
    pub(crate) fn rename(&mut self, var: Var, name: Var) {
        let renamed = |other: &mut Var| *other = if *other == var { name } else { *other };
        self.vars.iter_mut().for_each(renamed);
        self.determined.iter_mut().for_each(|(x, y)| {
            renamed(x);
            renamed(y);
        });
    }

    /// Of a variable's values and others that are forms of the same entities, row by row, those that are not the
    /// entity itself; of two such forms the lower. So it does not matter which was there first.
    pub(crate) fn take_form(&mut self, var: Var, others: &Column) {
        let at = self.position(var).expect("the variable is among the relation's");
        let column = &self.columns[at];
        let values = (0..self.rows).map(|row| match (column.get(row), others.get(row)) {
            (Value::Ref(_), other) => other,
            (value, Value::Ref(_)) => value,
            (value, other) => value.min(other),
        });
        self.columns[at] = Column::from_values(values.collect());
        self.distinct = false;
        self.determined.retain(|(x, _)| *x != var);
    }

    /// The rows given, each at most once and ascending.
    pub(crate) fn select(self, rows: &[u32]) -> Relation {
        if rows.len() == self.rows {
            return self;
        }
        let distinct = self.distinct;
        Relation { distinct, ..self.gather(rows) }
    }

    /// Drops the variables for which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(Var) -> bool) {
        let mut at = 0;
        while at < self.vars.len() {
            let var = self.vars[at];
            if keep(var) {
                at += 1;
                continue;
            }
            self.vars.remove(at);
            self.columns.remove(at);
            self.distinct &= self.determined.iter().any(|(x, y)| *x == var && self.vars.contains(y));
            self.determined.retain(|(x, y)| *x != var && *y != var);
        }
        if self.vars.is_empty() {
            self.rows = self.rows.min(1);
            self.distinct = true;
        }
    }

    /// The columns of these variables, in their order, each row once.
    pub(crate) fn project(&self, vars: &[Var], budget: &Budget<'_>) -> Result<Relation> {
        let mut relation = self.clone_vars(vars);
        relation.dedup(budget)?;
        Ok(relation)
    }

    fn clone_vars(&self, vars: &[Var]) -> Relation {
        let columns: Vec<Column> =
            vars.iter().map(|var| self.column(*var).expect("the variable is among the relation's").clone()).collect();
        let rows = if vars.is_empty() { self.rows.min(1) } else { self.rows };
        // What was distinct stays so where nothing is left out but what follows from the rest.
        let dropped = self.vars.iter().filter(|var| !vars.contains(var));
        let follows = |var: &Var| self.determined.iter().any(|(x, y)| x == var && vars.contains(y));
        let distinct = vars.is_empty() || (self.distinct && dropped.into_iter().all(follows));
        let determined =
            self.determined.iter().filter(|(x, y)| vars.contains(x) && vars.contains(y)).copied().collect();
        Relation { vars: vars.to_vec(), columns, rows, distinct, determined }
    }

    /// Keeps the first of equal rows.
    pub(crate) fn dedup(&mut self, budget: &Budget<'_>) -> Result<()> {
        if self.distinct {
            return Ok(());
        }
        if self.vars.is_empty() {
            self.rows = self.rows.min(1);
        } else if let Some(rows) = first_rows(&self.columns, self.rows, budget)? {
            *self = self.gather(&rows);
        }
        self.distinct = true;
        Ok(())
    }

    /// Adds the rows of a relation with the same variables in the same order.
    pub(crate) fn append(&mut self, other: Relation) {
        debug_assert_eq!(self.vars, other.vars);
        self.distinct = (self.distinct && other.rows == 0) || (self.rows == 0 && other.distinct);
        self.determined.clear();
        if self.vars.is_empty() {
            self.rows = (self.rows + other.rows).min(1);
            self.distinct = true;
            return;
        }
        self.rows += other.rows;
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.append(more);
        }
    }
}

/// The first row of each group of equal ones, ascending; None where all differ.
fn first_rows(columns: &[Column], rows: usize, budget: &Budget<'_>) -> Result<Option<Vec<u32>>> {
    let hashes = hashes_of(columns, rows);
    let mut set = RowSet::with_capacity(rows);
    let mut first = Vec::with_capacity(rows);
    for (row, hash) in hashes.into_iter().enumerate() {
        budget.step()?;
        let found = set.find_or_insert(hash, row as u32, |other| {
            columns.iter().all(|column| column.same(row, column, other as usize))
        });
        if found == NONE {
            first.push(row as u32);
        }
    }
    Ok((first.len() < rows).then_some(first))
}

/// The hash of each row over all columns.
pub(crate) fn hashes_of(columns: &[Column], rows: usize) -> Vec<u64> {
    let mut hashes = vec![0; rows];
    columns.iter().for_each(|column| column.hash_into(&mut hashes));
    hashes
}

/// A hash table of row numbers; the rows themselves stand elsewhere. Open addressing, at most half full.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    /// Row and the upper half of its hash.
    slots: Vec<(u32, u32)>,
    len: usize,
    /// Full hashes in order of insertion, to grow by.
    hashes: Vec<(u64, u32)>,
}

impl RowSet {
    pub(crate) fn with_capacity(rows: usize) -> RowSet {
        let slots = (rows.max(4) * 2).next_power_of_two();
        RowSet { slots: vec![(NONE, 0); slots], len: 0, hashes: Vec::with_capacity(rows) }
    }

    /// The row that is equal, or NONE after the new one was taken in.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, hash: u64, row: u32, same: impl Fn(u32) -> bool) -> u32 {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let (other, other_tag) = self.slots[at];
            if other == NONE {
                self.slots[at] = (row, tag);
                self.hashes.push((hash, row));
                self.len += 1;
                return NONE;
            }
            if other_tag == tag && same(other) {
                return other;
            }
            at = (at + 1) & mask;
        }
    }

    /// The row that is equal, or NONE.
    #[inline]
    pub(crate) fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> u32 {
        if self.slots.is_empty() {
            return NONE;
        }
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let (other, other_tag) = self.slots[at];
            if other == NONE || (other_tag == tag && same(other)) {
                return other;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(16);
        self.slots = vec![(NONE, 0); size];
        for (hash, row) in &self.hashes {
            let mut at = *hash as usize & (size - 1);
            while self.slots[at].0 != NONE {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = (*row, (*hash >> 32) as u32);
        }
    }
}

/// Counts rows as a loop makes them, so that limits stop it on the way and not after.
pub(crate) struct Meter<'a> {
    budget: &'a Budget<'a>,
    row_bytes: usize,
    pending: usize,
    held: usize,
}

const METER_ROWS: usize = 2048;

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: &'a Budget<'a>, columns: usize) -> Self {
        Meter { budget, row_bytes: 16 * columns + 4, pending: 0, held: 0 }
    }

    #[inline]
    pub(crate) fn row(&mut self) -> Result<()> {
        self.pending += 1;
        if self.pending == METER_ROWS { self.flush() } else { Ok(()) }
    }

    #[cold]
    fn flush(&mut self) -> Result<()> {
        self.budget.rows(self.pending)?;
        let bytes = self.pending * self.row_bytes;
        self.held += bytes;
        self.pending = 0;
        self.budget.hold(bytes)
    }

    /// Ends the loop: its rows count, their bytes become the caller's to account for.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.budget.release(self.held);
    }
}
