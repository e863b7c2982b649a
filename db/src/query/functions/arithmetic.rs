//! Arithmetic with Clojure's meaning: longs overflow with an error, a double makes the result a double, a big
//! integer or decimal makes it big.
//!
//! `/` of two longs (or big integers) that do not divide evenly gives a double, where Clojure gives a ratio.

use super::{Env, Function, boolean, compare, pure, wrong_type};
use crate::model::{BigDec, BigInt, Value};
use crate::{Error, Result};
use num_traits::{Signed, ToPrimitive, Zero};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Function] = &[
    pure("+", 0, None, |_, args| fold("+", args, Value::Long(0), add)),
    pure("-", 1, None, |_, args| match args {
        [one] => subtract(&Value::Long(0), &*number("-", one)?).map(Some),
        _ => reduce("-", args, subtract),
    }),
    pure("*", 0, None, |_, args| fold("*", args, Value::Long(1), multiply)),
    pure("/", 1, None, |_, args| match args {
        [one] => divide(&Value::Long(1), &*number("/", one)?).map(Some),
        _ => reduce("/", args, divide),
    }),
    pure("quot", 2, Some(2), |_, args| reduce("quot", args, |a, b| integer_division("quot", a, b))),
    pure("rem", 2, Some(2), |_, args| reduce("rem", args, |a, b| integer_division("rem", a, b))),
    pure("mod", 2, Some(2), |_, args| reduce("mod", args, |a, b| integer_division("mod", a, b))),
    pure("inc", 1, Some(1), |_, args| add(&*number("inc", &args[0])?, &Value::Long(1)).map(Some)),
    pure("dec", 1, Some(1), |_, args| subtract(&*number("dec", &args[0])?, &Value::Long(1)).map(Some)),
    pure("max", 1, None, |_, args| extreme("max", args, Ordering::Greater)),
    pure("min", 1, None, |_, args| extreme("min", args, Ordering::Less)),
    pure("abs", 1, Some(1), |_, args| {
        let x = number("abs", &args[0])?;
        if compare(&x, &Value::Long(0)) == Some(Ordering::Less) {
            subtract(&Value::Long(0), &x).map(Some)
        } else {
            Ok(Some(x.into_owned()))
        }
    }),
    pure("even?", 1, Some(1), |_, args| boolean(!is_odd("even?", &args[0])?)),
    pure("odd?", 1, Some(1), |_, args| boolean(is_odd("odd?", &args[0])?)),
    pure("zero?", 1, Some(1), |_, args| sign("zero?", &args[0], Ordering::Equal)),
    pure("pos?", 1, Some(1), |_, args| sign("pos?", &args[0], Ordering::Greater)),
    pure("neg?", 1, Some(1), |_, args| sign("neg?", &args[0], Ordering::Less)),
    pure("long", 1, Some(1), to_long),
    pure("double", 1, Some(1), |_, args| Ok(Some(Value::double(to_double(&*number("double", &args[0])?))))),
];

type Binary = fn(&Value, &Value) -> Result<Value>;

/// A number; an entity counts as its id.
fn number<'a>(function: &str, value: &'a Option<Value>) -> Result<Cow<'a, Value>> {
    match value {
        Some(value) if value.is_number() => Ok(Cow::Borrowed(value)),
        Some(Value::Ref(e)) => Ok(Cow::Owned(Value::Long(e.as_long()))),
        other => Err(wrong_type(function, "numbers", other)),
    }
}

fn fold(function: &str, args: &[Option<Value>], start: Value, f: Binary) -> Result<Option<Value>> {
    let mut sum = start;
    for arg in args {
        sum = f(&sum, &*number(function, arg)?)?;
    }
    Ok(Some(sum))
}

fn reduce(
    function: &str,
    args: &[Option<Value>],
    f: impl Fn(&Value, &Value) -> Result<Value>,
) -> Result<Option<Value>> {
    let mut result = number(function, &args[0])?.into_owned();
    for arg in &args[1..] {
        result = f(&result, &*number(function, arg)?)?;
    }
    Ok(Some(result))
}

/// The kinds of number, each swallowing those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Long,
    BigInt,
    BigDec,
    Double,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Long(_) => Kind::Long,
        Value::BigInt(_) => Kind::BigInt,
        Value::BigDec(_) => Kind::BigDec,
        _ => Kind::Double,
    }
}

pub(crate) fn to_double(value: &Value) -> f64 {
    match value {
        Value::Long(x) => *x as f64,
        Value::BigInt(x) => x.to_f64().unwrap_or(f64::NAN),
        Value::BigDec(x) => x.to_double(),
        Value::Float(x) => f64::from(*x),
        Value::Double(x) => *x,
        _ => f64::NAN,
    }
}

fn to_bigint(value: &Value) -> BigInt {
    match value {
        Value::Long(x) => BigInt::from(*x),
        Value::BigInt(x) => (**x).clone(),
        _ => BigInt::default(),
    }
}

fn to_bigdec(value: &Value) -> BigDec {
    match value {
        Value::BigDec(x) => (**x).clone(),
        other => BigDec::new(to_bigint(other), 0).expect("the scale 0 is within bounds"),
    }
}

/// Big numbers are bounded, so that a chain of products stays cheap.
const BITS_MAX: u64 = 65_536;

fn big(int: BigInt) -> Result<Value> {
    if int.bits() > BITS_MAX {
        return Err(arithmetic_error(format!("a number of more than {BITS_MAX} bits")));
    }
    Ok(Value::BigInt(Arc::new(int)))
}

fn decimal(unscaled: BigInt, scale: i32) -> Result<Value> {
    if unscaled.bits() > BITS_MAX {
        return Err(arithmetic_error(format!("a number of more than {BITS_MAX} bits")));
    }
    BigDec::new(unscaled, scale)
        .map(|dec| Value::BigDec(Arc::new(dec)))
        .ok_or_else(|| arithmetic_error(format!("a decimal with the scale {scale}")))
}

fn arithmetic_error(message: String) -> Error {
    Error::incorrect("db.error/arithmetic", message)
}

fn overflow(a: &Value, operator: &str, b: &Value) -> Error {
    arithmetic_error(format!("{a} {operator} {b} overflows a long; use a big integer such as 1N"))
}

pub(crate) fn add(a: &Value, b: &Value) -> Result<Value> {
    match (a, b, kind(a).max(kind(b))) {
        (Value::Long(x), Value::Long(y), _) => x.checked_add(*y).map(Value::Long).ok_or_else(|| overflow(a, "+", b)),
        (_, _, Kind::Double) => Ok(Value::double(to_double(a) + to_double(b))),
        (_, _, Kind::BigDec) => sum_of_decimals(a, b, |x, y| x + y),
        _ => big(to_bigint(a) + to_bigint(b)),
    }
}

pub(crate) fn subtract(a: &Value, b: &Value) -> Result<Value> {
    match (a, b, kind(a).max(kind(b))) {
        (Value::Long(x), Value::Long(y), _) => x.checked_sub(*y).map(Value::Long).ok_or_else(|| overflow(a, "-", b)),
        (_, _, Kind::Double) => Ok(Value::double(to_double(a) - to_double(b))),
        (_, _, Kind::BigDec) => sum_of_decimals(a, b, |x, y| x - y),
        _ => big(to_bigint(a) - to_bigint(b)),
    }
}

fn multiply(a: &Value, b: &Value) -> Result<Value> {
    match (a, b, kind(a).max(kind(b))) {
        (Value::Long(x), Value::Long(y), _) => x.checked_mul(*y).map(Value::Long).ok_or_else(|| overflow(a, "*", b)),
        (_, _, Kind::Double) => Ok(Value::double(to_double(a) * to_double(b))),
        (_, _, Kind::BigDec) => {
            let (x, y) = (to_bigdec(a), to_bigdec(b));
            decimal(x.unscaled() * y.unscaled(), x.scale() + y.scale())
        }
        _ => big(to_bigint(a) * to_bigint(b)),
    }
}

fn sum_of_decimals(a: &Value, b: &Value, f: impl Fn(BigInt, BigInt) -> BigInt) -> Result<Value> {
    let (x, y) = (to_bigdec(a), to_bigdec(b));
    let scale = x.scale().max(y.scale());
    decimal(f(x.raised(scale), y.raised(scale)), scale)
}

pub(crate) fn divide(a: &Value, b: &Value) -> Result<Value> {
    refuse_zero("/", a, b)?;
    match (a, b, kind(a).max(kind(b))) {
        (Value::Long(x), Value::Long(y), _) => match (x.checked_rem(*y), x.checked_div(*y)) {
            (Some(0), Some(quotient)) => Ok(Value::Long(quotient)),
            (Some(_), _) => Ok(Value::double(*x as f64 / *y as f64)),
            _ => Err(overflow(a, "/", b)),
        },
        (_, _, Kind::Double) => Ok(Value::double(to_double(a) / to_double(b))),
        (_, _, Kind::BigDec) => divide_decimals(a, b),
        _ => {
            let (x, y) = (to_bigint(a), to_bigint(b));
            if (&x % &y).is_zero() { big(x / y) } else { Ok(Value::double(to_double(a) / to_double(b))) }
        }
    }
}

/// Exact, or an error where the quotient has no end.
fn divide_decimals(a: &Value, b: &Value) -> Result<Value> {
    const DIGITS_MAX: i32 = 64;
    let (x, y) = (to_bigdec(a), to_bigdec(b));
    let shifted = x.unscaled() * BigInt::from(10).pow(DIGITS_MAX as u32);
    if !(&shifted % y.unscaled()).is_zero() {
        return Err(arithmetic_error(format!("{a} / {b} has no exact decimal; make one of them a double")));
    }
    let (mut quotient, mut scale) = (shifted / y.unscaled(), x.scale() - y.scale() + DIGITS_MAX);
    // As few digits as the preferred scale needs.
    let (preferred, ten) = (x.scale() - y.scale(), BigInt::from(10));
    while scale > preferred && (&quotient % &ten).is_zero() {
        quotient /= &ten;
        scale -= 1;
    }
    decimal(quotient, scale)
}

fn integer_division(function: &str, a: &Value, b: &Value) -> Result<Value> {
    refuse_zero(function, a, b)?;
    match (a, b, kind(a).max(kind(b))) {
        (Value::Long(x), Value::Long(y), _) => {
            let result = match function {
                "quot" => x.checked_div(*y),
                "rem" => Some(x.checked_rem(*y).unwrap_or(0)),
                _ => {
                    let rem = x.checked_rem(*y).unwrap_or(0);
                    Some(if rem != 0 && (rem < 0) != (*y < 0) { rem + y } else { rem })
                }
            };
            result.map(Value::Long).ok_or_else(|| overflow(a, function, b))
        }
        (_, _, Kind::Double) => {
            let (x, y) = (to_double(a), to_double(b));
            Ok(Value::double(match function {
                "quot" => (x / y).trunc(),
                "rem" => x % y,
                _ => x - y * (x / y).floor(),
            }))
        }
        (_, _, Kind::BigDec) => {
            let (x, y) = (to_bigdec(a), to_bigdec(b));
            let scale = x.scale().max(y.scale());
            let (x, y) = (x.raised(scale), y.raised(scale));
            match function {
                "quot" => decimal(x / y, 0),
                _ => decimal(remainder(function, &x, &y), scale),
            }
        }
        _ => {
            let (x, y) = (to_bigint(a), to_bigint(b));
            big(if function == "quot" { x / y } else { remainder(function, &x, &y) })
        }
    }
}

fn remainder(function: &str, x: &BigInt, y: &BigInt) -> BigInt {
    let rem = x % y;
    if function == "mod" && !rem.is_zero() && rem.is_negative() != y.is_negative() { rem + y } else { rem }
}

fn refuse_zero(function: &str, a: &Value, b: &Value) -> Result<()> {
    if compare(b, &Value::Long(0)) == Some(Ordering::Equal) {
        return Err(arithmetic_error(format!("{a} {function} {b} divides by zero")));
    }
    Ok(())
}

fn extreme(function: &str, args: &[Option<Value>], wanted: Ordering) -> Result<Option<Value>> {
    let mut best = number(function, &args[0])?;
    for arg in &args[1..] {
        let value = number(function, arg)?;
        // NaN is contagious, as in Java.
        if value.is_nan() || compare(&value, &best) == Some(wanted) {
            best = value;
        }
    }
    Ok(Some(best.into_owned()))
}

fn is_odd(function: &str, value: &Option<Value>) -> Result<bool> {
    match value {
        Some(Value::Long(x)) => Ok(x % 2 != 0),
        Some(Value::BigInt(x)) => Ok(x.bit(0)),
        Some(Value::Ref(e)) => Ok(e.as_long() % 2 != 0),
        other => Err(wrong_type(function, "integers", other)),
    }
}

fn sign(function: &str, value: &Option<Value>, wanted: Ordering) -> Result<Option<Value>> {
    boolean(compare(&*number(function, value)?, &Value::Long(0)) == Some(wanted))
}

fn to_long(_: &Env<'_>, args: &[Option<Value>]) -> Result<Option<Value>> {
    let value = number("long", &args[0])?;
    let long = match &*value {
        Value::Long(x) => Some(*x),
        Value::BigInt(x) => x.to_i64(),
        other => Some(to_double(other)).filter(|x| x.abs() < 9.2e18).map(|x| x as i64),
    };
    long.map(|long| Some(Value::Long(long)))
        .ok_or_else(|| arithmetic_error(format!("{value} is out of range for a long")))
}
