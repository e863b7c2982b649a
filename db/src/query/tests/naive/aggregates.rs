//! Aggregates as their definitions say, over the set of tuples that the evaluator found.

use super::super::*;
use super::Random;
use crate::model::Value;
use crate::query::ast::{Aggregate, FindElement, Var};
use std::collections::{BTreeMap, BTreeSet};

/// The second element of `:find`, and perhaps a `:with`.
pub(super) fn element(random: &mut Random, var: &str) -> (String, String) {
    if random.below(2) == 0 {
        return (var.to_string(), String::new());
    }
    let aggregate = random.pick(&[
        "count",
        "count-distinct",
        "distinct",
        "min",
        "max",
        "min 2",
        "max 2",
        "sum",
        "avg",
        "median",
        "variance",
        "stddev",
        "rand",
        "rand 3",
        "sample 2",
    ]);
    let with = if random.below(2) == 0 { format!(":with {}", random.pick(&super::VARS)) } else { String::new() };
    (format!("({aggregate} {var})"), with)
}

/// Holds what was found against the tuples of all variables of `:find` and `:with`.
pub(super) fn check(query: &Query, vars: &[Var], tuples: &BTreeSet<Vec<Value>>, found: &Result<Answer>, place: &str) {
    let at = |var: Var| vars.iter().position(|other| *other == var).unwrap();
    let (key, second) = (at(query.find[0].var()), &query.find[1]);
    let FindElement::Aggregate { aggregate, var } = second else {
        let expected: BTreeSet<Vec<Value>> =
            tuples.iter().map(|tuple| vec![tuple[key].clone(), tuple[at(second.var())].clone()]).collect();
        let found = found.as_ref().unwrap_or_else(|error| panic!("{place}: {error}"));
        let rows: BTreeSet<Vec<Value>> =
            found.rows.iter().map(|row| row.iter().map(|item| value(item).clone()).collect()).collect();
        assert_eq!((rows.len(), &rows), (found.rows.len(), &expected), "{place}");
        return;
    };
    let mut groups: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for tuple in tuples {
        groups.entry(tuple[key].clone()).or_default().push(tuple[at(*var)].clone());
    }
    let of_numbers = matches!(
        aggregate,
        Aggregate::Sum | Aggregate::Avg | Aggregate::Median | Aggregate::Variance | Aggregate::Stddev
    );
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            assert_eq!(error.code(), "db.error/wrong-type-for-aggregate", "{place}: {error}");
            let no_number = groups.values().flatten().any(|value| !value.is_number());
            assert!(of_numbers && no_number, "{place}: {error}");
            return;
        }
    };
    assert_eq!(found.rows.len(), groups.len(), "{place}");
    for (row, (key, mut values)) in found.rows.iter().zip(groups) {
        assert_eq!(*value(&row[0]), key, "{place}");
        values.sort();
        assert!(is(*aggregate, &values, &row[1]), "{place}: {aggregate:?} of {values:?} is not {:?}", row[1]);
    }
}

pub(super) fn value(item: &Item) -> &Value {
    let Item::Value(value) = item else { panic!("{item:?} is no value") };
    value
}

fn items(item: &Item) -> Vec<Value> {
    let (Item::Vector(items) | Item::Set(items)) = item else { panic!("{item:?} is no collection") };
    items.iter().map(|item| value(item).clone()).collect()
}

/// Whether an item is the aggregate of sorted values.
fn is(aggregate: Aggregate, values: &[Value], item: &Item) -> bool {
    let distinct: Vec<Value> = values.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let numbers = || -> Vec<f64> {
        let number = |value: &Value| match value {
            Value::Long(x) => *x as f64,
            other => panic!("{other} is no number"),
        };
        values.iter().map(number).collect()
    };
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let variance = || {
        let numbers = numbers();
        let middle = mean(&numbers);
        mean(&numbers.iter().map(|x| (x - middle).powi(2)).collect::<Vec<f64>>())
    };
    let is_about = |expected: f64| matches!(value(item), Value::Double(x) if (x - expected).abs() < 1e-9);
    match aggregate {
        Aggregate::Count => *value(item) == Value::Long(values.len() as i64),
        Aggregate::CountDistinct => *value(item) == Value::Long(distinct.len() as i64),
        Aggregate::Distinct => items(item) == distinct,
        Aggregate::Min => value(item) == &values[0],
        Aggregate::Max => value(item) == &values[values.len() - 1],
        Aggregate::MinN(n) => items(item) == values[..n.min(values.len())],
        Aggregate::MaxN(n) => items(item).iter().eq(values.iter().rev().take(n)),
        Aggregate::Sum => *value(item) == Value::Long(numbers().iter().sum::<f64>() as i64),
        Aggregate::Avg => is_about(mean(&numbers())),
        Aggregate::Median => {
            let (numbers, middle) = (numbers(), values.len() / 2);
            let expected =
                if values.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 };
            // An even sum of longs is halved to a long.
            matches!(value(item), Value::Long(x) if *x as f64 == expected) || is_about(expected)
        }
        Aggregate::Variance => is_about(variance()),
        Aggregate::Stddev => is_about(variance().sqrt()),
        Aggregate::Rand => values.contains(value(item)),
        Aggregate::RandN(n) => items(item).len() == n && items(item).iter().all(|value| values.contains(value)),
        Aggregate::Sample(n) => {
            let drawn: BTreeSet<Value> = items(item).into_iter().collect();
            drawn.len() == n.min(distinct.len())
                && items(item).len() == drawn.len()
                && drawn.iter().all(|value| distinct.contains(value))
        }
    }
}
