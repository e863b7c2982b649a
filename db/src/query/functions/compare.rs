//! Comparison: numbers by value whatever their types, everything else in the order of values.

use super::{Function, Op};
use crate::model::{BigInt, Value};
use num_traits::ToPrimitive;
use std::cmp::Ordering;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const fn comparison(name: &'static str, comparison: Comparison) -> Function {
    Function { name, args_min: 1, args_max: None, op: Op::Compare(comparison) }
}

pub(super) static FUNCTIONS: &[Function] = &[
    comparison("=", Comparison::Equal),
    comparison("==", Comparison::Equal),
    comparison("!=", Comparison::NotEqual),
    comparison("not=", Comparison::NotEqual),
    comparison("<", Comparison::Less),
    comparison("<=", Comparison::LessOrEqual),
    comparison(">", Comparison::Greater),
    comparison(">=", Comparison::GreaterOrEqual),
];

impl Comparison {
    /// Whether it holds between all neighbours; `!=` holds where not all are equal.
    pub(crate) fn holds(self, values: &[Option<Value>]) -> bool {
        if self == Comparison::NotEqual {
            return !Comparison::Equal.holds(values);
        }
        values.windows(2).all(|pair| match (&pair[0], &pair[1]) {
            (Some(a), Some(b)) => self.holds_between(a, b),
            (None, None) => self == Comparison::Equal,
            _ => false,
        })
    }

    #[inline]
    pub(crate) fn holds_between(self, a: &Value, b: &Value) -> bool {
        match self {
            Comparison::Equal => equal(a, b),
            Comparison::NotEqual => !equal(a, b),
            _ => compare(a, b).is_some_and(|ordering| self.admits(ordering)),
        }
    }

    /// Whether two values in this order satisfy it.
    #[inline]
    pub(crate) fn admits(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// The same relation seen from the other side: `(< 5 ?x)` is `(> ?x 5)`.
    pub(crate) fn flipped(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

/// Equality of `=`: numbers by value, two big decimals by scale too, NaN equal to nothing. An entity equals the
/// long of its id.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => a == b,
        (Value::Ref(a), Value::Ref(b)) => a == b,
        (Value::Ref(e), Value::Long(long)) | (Value::Long(long), Value::Ref(e)) => e.as_long() == *long,
        (Value::BigDec(a), Value::BigDec(b)) => a == b,
        _ if a.is_number() && b.is_number() => a.cmp_numbers(b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// A key that is the same for all values that are equal as `=` has it, though also for a few that are not; None for
/// what equals nothing. Integers that a long holds are that long, whatever their type, and other numbers the nearest
/// double.
pub(crate) fn equal_key(value: &Value) -> Option<Value> {
    let long_or_double = |x: f64| {
        // 2^63 itself is beyond a long.
        let is_long = x.trunc() == x && (-LONG_BOUND..LONG_BOUND).contains(&x);
        if is_long { Value::Long(x as i64) } else { Value::double(x) }
    };
    Some(match value {
        _ if value.is_nan() => return None,
        Value::Ref(e) => Value::Long(e.as_long()),
        Value::Double(x) => long_or_double(*x),
        Value::Float(x) => long_or_double(f64::from(*x)),
        Value::BigInt(x) => integer_key(x),
        Value::BigDec(x) => {
            let double = x.to_double();
            if double.abs() < EXACT {
                return Some(long_or_double(double));
            }
            // So large that a double may have rounded an integer away.
            let power = || BigInt::from(10).pow(x.scale().unsigned_abs());
            match x.scale() {
                _ if double.abs() > LONG_BOUND => Value::double(double),
                0 => integer_key(x.unscaled()),
                1.. => integer_key(&(x.unscaled() / power())),
                _ => integer_key(&(x.unscaled() * power())),
            }
        }
        other => other.clone(),
    })
}

const LONG_BOUND: f64 = 9_223_372_036_854_775_808.0;
/// Below this every integer is a double, and no other number is rounded to one that is as large.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn integer_key(x: &BigInt) -> Value {
    match x.to_i64() {
        Some(long) => Value::Long(long),
        // Rust's own reader rounds to the nearest.
        None => Value::double(x.to_string().parse().unwrap_or(f64::INFINITY)),
    }
}

/// The order of two values; None where one is NaN.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => Some(a.cmp(b)),
        (Value::Ref(e), Value::Long(long)) => Some(e.as_long().cmp(long)),
        (Value::Long(long), Value::Ref(e)) => Some(long.cmp(&e.as_long())),
        _ if a.is_number() && b.is_number() => a.cmp_numbers(b),
        _ => Some(a.cmp(b)),
    }
}
