//! Tuples and constants.

use super::{Env, Function, Op, boolean, pure, wrong_type};
use crate::model::Value;
use crate::{Error, Result};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "get-else", args_min: 4, args_max: Some(4), op: Op::GetElse },
    Function { name: "get-some", args_min: 3, args_max: None, op: Op::GetSome },
    Function { name: "missing?", args_min: 3, args_max: Some(3), op: Op::Missing },
    pure("ground", 1, Some(1), |_, args| Ok(args[0].clone())),
    pure("tuple", 1, None, tuple),
    pure("vector", 1, None, tuple),
    pure("untuple", 1, Some(1), |_, args| match &args[0] {
        Some(Value::Tuple(_)) => Ok(args[0].clone()),
        other => Err(wrong_type("untuple", "a tuple", other)),
    }),
    pure("count", 1, Some(1), |_, args| {
        Ok(Some(Value::Long(match &args[0] {
            None => 0,
            Some(Value::Tuple(elements)) => elements.len() as i64,
            Some(Value::String(text)) => text.chars().count() as i64,
            Some(Value::Bytes(bytes)) => bytes.len() as i64,
            other => return Err(wrong_type("count", "a string or a tuple", other)),
        })))
    }),
    pure("empty?", 1, Some(1), |_, args| match &args[0] {
        None => boolean(true),
        Some(Value::Tuple(elements)) => boolean(elements.is_empty()),
        Some(Value::String(text)) => boolean(text.is_empty()),
        other => Err(wrong_type("empty?", "a string or a tuple", other)),
    }),
    pure("first", 1, Some(1), |_, args| Ok(elements("first", &args[0])?.first().cloned().flatten())),
    pure("second", 1, Some(1), |_, args| Ok(elements("second", &args[0])?.get(1).cloned().flatten())),
    pure("last", 1, Some(1), |_, args| Ok(elements("last", &args[0])?.last().cloned().flatten())),
    pure("nth", 2, Some(2), |_, args| {
        let elements = elements("nth", &args[0])?;
        let Some(Value::Long(index)) = args[1] else { return Err(wrong_type("nth", "an index", &args[1])) };
        usize::try_from(index).ok().and_then(|index| elements.get(index)).cloned().ok_or_else(|| {
            let message = format!("nth has no element {index} in a tuple of {}", elements.len());
            Error::incorrect("db.error/out-of-range", message)
        })
    }),
];

fn tuple(_: &Env<'_>, args: &[Option<Value>]) -> Result<Option<Value>> {
    Ok(Some(Value::Tuple(Arc::new(args.to_vec()))))
}

fn elements<'a>(function: &str, value: &'a Option<Value>) -> Result<&'a [Option<Value>]> {
    match value {
        None => Ok(&[]),
        Some(Value::Tuple(elements)) => Ok(elements),
        other => Err(wrong_type(function, "a tuple", other)),
    }
}
