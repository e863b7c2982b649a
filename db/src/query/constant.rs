//! Constants of queries and inputs: EDN forms as values.

use crate::edn::Edn;
use crate::model::Value;
use crate::text::brief;
use crate::{Error, Result};
use std::sync::Arc;

/// The value a form stands for, None for nil. Lists and vectors are tuples, sets are tuples in order.
pub(crate) fn value_of(form: &Edn) -> Result<Option<Value>> {
    value_at_depth(form, 0)
}

/// Constants nest no deeper.
const DEPTH_MAX: usize = 16;

fn value_at_depth(form: &Edn, depth: usize) -> Result<Option<Value>> {
    if depth > DEPTH_MAX {
        return Err(Error::incorrect(
            "db.error/invalid-constant",
            format!("a constant nests deeper than {DEPTH_MAX} levels"),
        ));
    }
    Ok(Some(match form {
        Edn::Nil => return Ok(None),
        Edn::List(elements) | Edn::Vector(elements) => {
            let values = elements.iter().map(|element| value_at_depth(element, depth + 1)).collect::<Result<_>>()?;
            Value::Tuple(Arc::new(values))
        }
        Edn::Set(elements) => {
            let mut values: Vec<Option<Value>> =
                elements.iter().map(|element| value_at_depth(element, depth + 1)).collect::<Result<_>>()?;
            values.sort();
            values.dedup();
            Value::Tuple(Arc::new(values))
        }
        other => other.scalar().ok_or_else(|| unusable(other))?,
    }))
}

fn unusable(form: &Edn) -> Error {
    let kind = match form {
        Edn::Map(_) => "a map",
        Edn::Ratio(_) => "a ratio",
        _ => "a tagged element",
    };
    Error::incorrect(
        "db.error/invalid-constant",
        format!("{} is {kind}; constants and inputs are values, or vectors and sets of them", brief(form)),
    )
}
