//! Groups of rows and what is made of them.
//!
//! Nothing here hangs on the order in which rows were found, which is the plan's: sums are exact, and whatever
//! needs an order takes that of the values.

mod random;
mod sums;

use super::ast::Aggregate;
use super::functions::{add, divide};
use super::relation::{Column, NONE, RowSet};
use crate::budget::Budget;
use crate::item::Item;
use crate::model::Value;
use crate::{Error, Result};
use random::Draw;

/// Rows by group.
pub(super) struct Groups {
    /// The group of each row.
    of_row: Vec<u32>,
    /// The first row of each group.
    pub first: Vec<u32>,
}

/// What the aggregates of chance are drawn by.
#[derive(Clone, Copy)]
pub(super) struct Chance<'a> {
    pub seed: u64,
    /// The place of the aggregate in `:find`: each draws for itself.
    pub element: usize,
    /// The groups in the order of their keys, which is the same for every plan.
    pub order: &'a [u32],
}

/// Groups rows by the values of some columns: all rows are one group where there are none.
pub(super) fn group(keys: &[&Column], rows: usize, budget: &Budget<'_>) -> Result<Groups> {
    if keys.is_empty() {
        return Ok(Groups { of_row: vec![0; rows], first: vec![0; rows.min(1)] });
    }
    let mut hashes = vec![0; rows];
    keys.iter().for_each(|column| column.hash_into(&mut hashes));
    let mut set = RowSet::with_capacity(16);
    let (mut of_row, mut first): (Vec<u32>, Vec<u32>) = (Vec::with_capacity(rows), Vec::new());
    for (row, hash) in hashes.into_iter().enumerate() {
        budget.step()?;
        let found = set.find_or_insert(hash, row as u32, |other| {
            keys.iter().all(|column| column.same(row, column, other as usize))
        });
        of_row.push(if found == NONE {
            first.push(row as u32);
            first.len() as u32 - 1
        } else {
            of_row[found as usize]
        });
    }
    Ok(Groups { of_row, first })
}

/// One aggregate of each group.
pub(super) fn aggregate(
    aggregate: Aggregate,
    column: &Column,
    groups: &Groups,
    chance: Chance<'_>,
    budget: &Budget<'_>,
) -> Result<Vec<Item>> {
    let count = groups.first.len();
    match aggregate {
        Aggregate::Count => {
            let mut counts = vec![0i64; count];
            groups.of_row.iter().for_each(|group| counts[*group as usize] += 1);
            Ok(counts.into_iter().map(|count| Item::Value(Value::Long(count))).collect())
        }
        Aggregate::Sum | Aggregate::Avg => sums::sums(aggregate, column, groups, budget),
        Aggregate::Min | Aggregate::Max => {
            let mut best: Vec<u32> = groups.first.clone();
            for (row, group) in groups.of_row.iter().enumerate() {
                budget.step()?;
                let best = &mut best[*group as usize];
                let ordering = column.compare(row, *best as usize);
                if if aggregate == Aggregate::Min { ordering.is_lt() } else { ordering.is_gt() } {
                    *best = row as u32;
                }
            }
            Ok(best.into_iter().map(|row| Item::Value(column.get(row as usize))).collect())
        }
        _ => collected(aggregate, column, groups, chance, budget),
    }
}

/// Aggregates that need all values of a group together, sorted.
fn collected(
    aggregate: Aggregate,
    column: &Column,
    groups: &Groups,
    chance: Chance<'_>,
    budget: &Budget<'_>,
) -> Result<Vec<Item>> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); groups.first.len()];
    for (row, group) in groups.of_row.iter().enumerate() {
        budget.step()?;
        rows[*group as usize].push(row as u32);
    }
    let mut items = vec![Item::Nil; rows.len()];
    for (place, group) in chance.order.iter().enumerate() {
        budget.look()?;
        let rows = &mut rows[*group as usize];
        rows.sort_by(|a, b| column.compare(*a as usize, *b as usize));
        let value = |row: &u32| column.get(*row as usize);
        let item = |row: &u32| Item::Value(value(row));
        let distinct = |rows: &mut Vec<u32>| rows.dedup_by(|a, b| column.same(*a as usize, column, *b as usize));
        let mut draw = Draw::new(chance.seed, chance.element, place);
        items[*group as usize] = match aggregate {
            Aggregate::MinN(n) => Item::Vector(rows.iter().take(n).map(item).collect()),
            Aggregate::MaxN(n) => Item::Vector(rows.iter().rev().take(n).map(item).collect()),
            Aggregate::Median => Item::Value(median(rows, value)?),
            Aggregate::Variance => Item::Value(Value::double(sums::variance("variance", rows, column, budget)?)),
            Aggregate::Stddev => Item::Value(Value::double(sums::variance("stddev", rows, column, budget)?.sqrt())),
            Aggregate::Rand => item(draw.one_of(rows)),
            Aggregate::RandN(n) => Item::Vector(draw.some_of(rows, n, budget)?.iter().map(item).collect()),
            Aggregate::Sample(n) => {
                distinct(rows);
                Item::Vector(draw.different_of(rows, n).iter().map(item).collect())
            }
            Aggregate::CountDistinct => {
                distinct(rows);
                Item::Value(Value::Long(rows.len() as i64))
            }
            _ => {
                distinct(rows);
                Item::Set(rows.iter().map(item).collect())
            }
        };
    }
    Ok(items)
}

/// The middle value, or half the sum of the two in the middle.
fn median(rows: &[u32], value: impl Fn(&u32) -> Value) -> Result<Value> {
    // Numbers stand before everything else: if the last value is one, all are.
    check_number("median", &value(&rows[rows.len() - 1]))?;
    let middle = value(&rows[rows.len() / 2]);
    if rows.len() % 2 == 1 {
        return Ok(middle);
    }
    divide(&add(&value(&rows[rows.len() / 2 - 1]), &middle)?, &Value::Long(2))
}

fn check_number(name: &str, value: &Value) -> Result<()> {
    if value.is_number() {
        return Ok(());
    }
    Err(Error::incorrect(
        "db.error/wrong-type-for-aggregate",
        format!("{name} takes numbers, not {value}, a {}", value.value_type().name()),
    ))
}
