//! Sums, and what is made of sums: averages and variances.

use super::super::ast::Aggregate;
use super::super::functions::{add, divide, subtract, to_double};
use super::super::relation::Column;
use super::{Groups, check_number};
use crate::budget::Budget;
use crate::item::Item;
use crate::model::{BigInt, Value};
use crate::{Error, Result};
use std::sync::Arc;

/// Sums and averages, in whatever order the rows come.
pub(super) fn sums(aggregate: Aggregate, column: &Column, groups: &Groups, budget: &Budget<'_>) -> Result<Vec<Item>> {
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
        check_number(name, &value)?;
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

/// The population variance of some rows: the mean of the squares of the distances from the mean. The rows are in
/// the order of their values, so that every plan gives the same.
pub(super) fn variance(name: &str, rows: &[u32], column: &Column, budget: &Budget<'_>) -> Result<f64> {
    let values: Vec<Value> = rows.iter().map(|row| column.get(*row as usize)).collect();
    for value in &values {
        budget.step()?;
        check_number(name, value)?;
    }
    // A variance does not mind where zero is. What would lose digits as a double is told from the least value first.
    let numbers: Vec<f64> = if values.iter().all(is_double_exactly) {
        values.iter().map(to_double).collect()
    } else {
        let least = widened(&values[0]);
        let distances = values.iter().map(|value| Ok(to_double(&subtract(&widened(value), &least)?)));
        distances.collect::<Result<_>>()?
    };
    let count = numbers.len() as f64;
    let mean = sum_of(numbers.iter().copied()) / count;
    budget.look()?;
    Ok(sum_of(numbers.iter().map(|x| (x - mean) * (x - mean))) / count)
}

/// Longs up to here are doubles exactly.
const EXACT: u64 = 1 << 53;

fn is_double_exactly(value: &Value) -> bool {
    match value {
        Value::Long(x) => x.unsigned_abs() <= EXACT,
        Value::Double(_) | Value::Float(_) => true,
        _ => false,
    }
}

/// Longs as big integers, whose difference cannot overflow.
fn widened(value: &Value) -> Value {
    match value {
        Value::Long(x) => Value::BigInt(Arc::new(BigInt::from(*x))),
        other => other.clone(),
    }
}

fn sum_of(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    numbers.for_each(|x| sum.add_double(x));
    sum.rounded()
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
    has_doubles: bool,
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
        self.has_doubles = true;
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
        Ok(Value::double(self.rounded()))
    }

    /// The sum of the doubles.
    fn rounded(mut self) -> f64 {
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
        sum + self.beyond
    }

    fn total(self) -> Result<Value> {
        if self.has_doubles {
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
