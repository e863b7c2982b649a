//! Groups of rows and what is made of them.

use super::ast::Aggregate;
use super::functions::{add, divide};
use super::relation::{Column, NONE, RowSet};
use crate::budget::Budget;
use crate::item::Item;
use crate::model::{BigInt, Value};
use crate::{Error, Result};
use std::sync::Arc;

/// Rows by group.
pub(super) struct Groups {
    /// The group of each row.
    of_row: Vec<u32>,
    /// The first row of each group.
    pub first: Vec<u32>,
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
    budget: &Budget<'_>,
) -> Result<Vec<Item>> {
    let count = groups.first.len();
    match aggregate {
        Aggregate::Count => {
            let mut counts = vec![0i64; count];
            groups.of_row.iter().for_each(|group| counts[*group as usize] += 1);
            Ok(counts.into_iter().map(|count| Item::Value(Value::Long(count))).collect())
        }
        Aggregate::Sum | Aggregate::Avg => sums(aggregate, column, groups, budget),
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
        _ => collected(aggregate, column, groups, budget),
    }
}

/// Sums and averages, in whatever order the rows come.
fn sums(aggregate: Aggregate, column: &Column, groups: &Groups, budget: &Budget<'_>) -> Result<Vec<Item>> {
    let name = if aggregate == Aggregate::Sum { "sum" } else { "avg" };
    let count = groups.first.len();
    let mut counts = vec![0u64; count];
    groups.of_row.iter().for_each(|group| counts[*group as usize] += 1);
    if let Column::Long(longs) = column {
        let mut sums = vec![0i128; count];
        for (long, group) in longs.iter().zip(&groups.of_row) {
            sums[*group as usize] += i128::from(*long);
        }
        budget.look()?;
        return sums
            .into_iter()
            .zip(counts)
            .map(|(sum, count)| {
                if aggregate == Aggregate::Avg {
                    return Ok(Item::Value(Value::double(sum as f64 / count as f64)));
                }
                long_sum(sum).map(Item::Value)
            })
            .collect();
    }
    let mut sums = vec![Sum::default(); count];
    for (row, group) in groups.of_row.iter().enumerate() {
        budget.step()?;
        let value = column.get(row);
        if !value.is_number() {
            return Err(Error::incorrect(
                "db.error/wrong-type-for-aggregate",
                format!("{name} takes numbers, not {value}, a {}", value.value_type().name()),
            ));
        }
        sums[*group as usize].add(&value)?;
    }
    sums.into_iter()
        .zip(counts)
        .map(|(sum, count)| {
            if aggregate == Aggregate::Sum {
                return sum.total().map(Item::Value);
            }
            divide(&sum.into_double()?, &Value::Double(count as f64)).map(Item::Value)
        })
        .collect()
}

/// A sum that does not hang on the order of what is added, which is the plan's: doubles are summed exactly and
/// rounded once, longs may pass beyond 64 bits on the way.
#[derive(Clone, Default)]
struct Sum {
    longs: i128,
    /// Big integers and decimals.
    big: Option<Value>,
    /// Doubles none of which overlaps another, the least first: together the exact sum (Shewchuk 1997).
    parts: Vec<f64>,
    /// Infinities and NaN.
    beyond: f64,
    hinto_doubles: bool,
}

impl Sum {
    fn add(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Long(x) => self.longs += i128::from(*x),
            Value::Double(x) => self.add_double(*x),
            Value::Float(x) => self.add_double(f64::from(*x)),
            big => {
                self.big = Some(match &self.big {
                    None => big.clone(),
                    Some(sum) => add(sum, big)?,
                });
            }
        }
        Ok(())
    }

    fn add_double(&mut self, mut x: f64) {
        self.hinto_doubles = true;
        if !x.is_finite() {
            self.beyond += x;
            return;
        }
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let y = self.parts[at];
            let (large, small) = if x.abs() < y.abs() { (y, x) } else { (x, y) };
            let sum = large + small;
            let rest = small - (sum - large);
            if rest != 0.0 {
                self.parts[kept] = rest;
                kept += 1;
            }
            x = sum;
        }
        self.parts.truncate(kept);
        if x.is_finite() { self.parts.push(x) } else { self.beyond += x }
    }

    /// Longs and big numbers together.
    fn exact(&self) -> Result<Value> {
        let longs = Value::BigInt(Arc::new(BigInt::from(self.longs)));
        match &self.big {
            Some(big) => add(&longs, big),
            None => Ok(longs),
        }
    }

    fn into_double(mut self) -> Result<Value> {
        if let Value::Double(exact) = add(&self.exact()?, &Value::Double(0.0))? {
            self.add_double(exact);
        }
        // From the largest down: the first that leaves something decides the rounding, but for a tie.
        let mut sum = 0.0;
        while let Some(part) = self.parts.pop() {
            let before = sum;
            sum = before + part;
            let rest = part - (sum - before);
            if rest != 0.0 {
                let tie = self.parts.last().is_some_and(|next| (*next < 0.0) == (rest < 0.0));
                if tie && (sum + 2.0 * rest) - sum == 2.0 * rest {
                    sum += 2.0 * rest;
                }
                break;
            }
        }
        Ok(Value::double(sum + self.beyond))
    }

    fn total(self) -> Result<Value> {
        if self.hinto_doubles {
            return self.into_double();
        }
        if self.big.is_some() {
            return self.exact();
        }
        long_sum(self.longs)
    }
}

fn long_sum(sum: i128) -> Result<Value> {
    i64::try_from(sum)
        .map(Value::Long)
        .map_err(|_| Error::incorrect("db.error/arithmetic", format!("sum: {sum} overflows a long")))
}

/// Aggregates that need all values of a group together, sorted.
fn collected(aggregate: Aggregate, column: &Column, groups: &Groups, budget: &Budget<'_>) -> Result<Vec<Item>> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); groups.first.len()];
    for (row, group) in groups.of_row.iter().enumerate() {
        budget.step()?;
        rows[*group as usize].push(row as u32);
    }
    rows.into_iter()
        .map(|mut rows| {
            budget.look()?;
            rows.sort_by(|a, b| column.compare(*a as usize, *b as usize));
            let value = |row: &u32| column.get(*row as usize);
            let item = |row: &u32| Item::Value(value(row));
            Ok(match aggregate {
                Aggregate::MinN(n) => Item::Vector(rows.iter().take(n).map(item).collect()),
                Aggregate::MaxN(n) => Item::Vector(rows.iter().rev().take(n).map(item).collect()),
                Aggregate::Median => Item::Value(median(&rows, value)?),
                _ => {
                    rows.dedup_by(|a, b| column.same(*a as usize, column, *b as usize));
                    if aggregate == Aggregate::CountDistinct {
                        Item::Value(Value::Long(rows.len() as i64))
                    } else {
                        Item::Set(rows.iter().map(item).collect())
                    }
                }
            })
        })
        .collect()
}

/// The middle value, or half the sum of the two in the middle.
fn median(rows: &[u32], value: impl Fn(&u32) -> Value) -> Result<Value> {
    let middle = value(&rows[rows.len() / 2]);
    if !middle.is_number() {
        return Err(Error::incorrect(
            "db.error/wrong-type-for-aggregate",
            format!("median takes numbers, not {middle}, a {}", middle.value_type().name()),
        ));
    }
    if rows.len() % 2 == 1 {
        return Ok(middle);
    }
    divide(&add(&value(&rows[rows.len() / 2 - 1]), &middle)?, &Value::Long(2))
}
