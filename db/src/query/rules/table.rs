//! A growing set of rows: what a fixpoint has found of one predicate.

use super::super::ast::Var;
use super::super::relation::{Column, NONE, Relation, RowSet, hashes_of};
use crate::Result;
use crate::budget::Budget;

#[derive(Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: usize,
    set: RowSet,
    /// Rows before this one have had their turn.
    seen: usize,
    /// Rows from `seen` to here have it now.
    current: usize,
    held: usize,
}

impl Table {
    pub(super) fn new(width: usize) -> Table {
        Table { columns: (0..width).map(|_| Column::Value(Vec::new())).collect(), ..Table::default() }
    }

    /// Takes in the rows of a relation, whose columns are this table's, that are not there yet.
    pub(super) fn insert(&mut self, relation: &Relation, budget: &Budget<'_>) -> Result<()> {
        let hashes = hashes_of(&relation.columns, relation.rows);
        let before = self.rows;
        for (row, hash) in hashes.into_iter().enumerate() {
            budget.step()?;
            let columns = &self.columns;
            let found = self.set.find_or_insert(hash, self.rows as u32, |other| {
                columns.iter().zip(&relation.columns).all(|(column, more)| column.same(other as usize, more, row))
            });
            if found == NONE {
                for (column, more) in self.columns.iter_mut().zip(&relation.columns) {
                    match (column, more) {
                        (Column::Ref(column), Column::Ref(more)) => column.push(more[row]),
                        (column, more) => column.push(more.get(row)),
                    }
                }
                self.rows += 1;
            }
        }
        let added = self.rows - before;
        budget.rows(added)?;
        let bytes = added * (16 * self.columns.len() + 24);
        self.held += bytes;
        budget.hold(bytes)
    }

    /// Gives the rows away under these variables, and back what was held for them.
    pub(super) fn finish(mut self, vars: Vec<Var>, budget: &Budget<'_>) -> Relation {
        budget.release(self.held);
        let columns = std::mem::take(&mut self.columns);
        self.relation(vars, columns)
    }

    /// Gives the rows found since the last turn theirs; false where there are none.
    pub(super) fn turn(&mut self) -> bool {
        self.seen = self.current;
        self.current = self.rows;
        self.seen < self.current
    }

    /// All rows, under these variables.
    pub(super) fn all(&self, vars: Vec<Var>) -> Relation {
        self.relation(vars, self.columns.clone())
    }

    /// The rows whose turn it is.
    pub(super) fn fresh(&self, vars: Vec<Var>) -> Relation {
        let rows: Vec<u32> = (self.seen as u32..self.current as u32).collect();
        self.relation(vars, self.columns.iter().map(|column| column.gather(&rows)).collect())
    }

    pub(super) fn has_fresh(&self) -> bool {
        self.seen < self.current
    }

    fn relation(&self, vars: Vec<Var>, mut columns: Vec<Column>) -> Relation {
        columns.truncate(vars.len());
        let mut relation = Relation::new(vars, columns);
        relation.distinct = true;
        relation
    }
}
