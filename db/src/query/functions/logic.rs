//! Truth, identity, and predicates on one value.

use super::{Env, Function, boolean, is_truthy, pure};
use crate::Result;
use crate::model::Value;

pub(super) static FUNCTIONS: &[Function] = &[
    pure("identity", 1, Some(1), |_, args| Ok(args[0].clone())),
    pure("and", 0, None, and),
    pure("or", 0, None, |_, args| Ok(args.iter().find(|arg| is_truthy(arg)).or(args.last()).cloned().flatten())),
    pure("not", 1, Some(1), |_, args| boolean(!is_truthy(&args[0]))),
    pure("true?", 1, Some(1), |_, args| boolean(args[0] == Some(Value::Boolean(true)))),
    pure("false?", 1, Some(1), |_, args| boolean(args[0] == Some(Value::Boolean(false)))),
    pure("nil?", 1, Some(1), |_, args| boolean(args[0].is_none())),
    pure("some?", 1, Some(1), |_, args| boolean(args[0].is_some())),
    pure("string?", 1, Some(1), |_, args| boolean(matches!(args[0], Some(Value::String(_))))),
    pure("keyword?", 1, Some(1), |_, args| boolean(matches!(args[0], Some(Value::Keyword(_))))),
    pure("boolean?", 1, Some(1), |_, args| boolean(matches!(args[0], Some(Value::Boolean(_))))),
    pure("number?", 1, Some(1), |_, args| boolean(args[0].as_ref().is_some_and(Value::is_number))),
    pure("integer?", 1, Some(1), |_, args| boolean(matches!(args[0], Some(Value::Long(_) | Value::BigInt(_))))),
];

fn and(_: &Env<'_>, args: &[Option<Value>]) -> Result<Option<Value>> {
    if args.is_empty() {
        return boolean(true);
    }
    Ok(args.iter().find(|arg| !is_truthy(arg)).or(args.last()).cloned().flatten())
}
