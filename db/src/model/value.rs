//! The values a fact can have, and the one order they stand in.

use super::{BigDec, EntityId, Instant, Keyword, Symbol};
use arcstr::ArcStr;
use num_bigint::BigInt;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Immutable shared text, one pointer wide.
pub type Text = ArcStr;

/// A value of a fact: 16 bytes, cheap to clone.
///
/// `Eq`, `Ord` and `Hash` are those of the index: values of different types are never equal (`1` is not `1.0`),
/// there is one NaN, which equals itself, and `-0.0` is stored as `0.0` ([`Value::double`] sees to both).
/// Across types the order is: numbers < instants < booleans < keywords < symbols < strings < uuids < uris < refs
/// < bytes < tuples. Numbers compare by exact value; ties break by type, big decimals by scale.
#[derive(Clone)]
pub enum Value {
    Boolean(bool),
    Long(i64),
    BigInt(Arc<BigInt>),
    Float(f32),
    Double(f64),
    BigDec(Arc<BigDec>),
    Instant(Instant),
    Keyword(Keyword),
    Symbol(Symbol),
    String(Text),
    Uuid(Arc<[u8; 16]>),
    Uri(Text),
    Ref(EntityId),
    Bytes(Arc<Vec<u8>>),
    /// 2 to 8 elements; None is a missing member of a composite tuple and sorts lowest.
    Tuple(Arc<Vec<Option<Value>>>),
}

/// The type an attribute's values have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    Boolean,
    Long,
    BigInt,
    Float,
    Double,
    BigDec,
    Instant,
    Keyword,
    Symbol,
    String,
    Uuid,
    Uri,
    Ref,
    Bytes,
    Tuple,
}

impl ValueType {
    pub const ALL: [ValueType; 15] = [
        ValueType::Boolean,
        ValueType::Long,
        ValueType::BigInt,
        ValueType::Float,
        ValueType::Double,
        ValueType::BigDec,
        ValueType::Instant,
        ValueType::Keyword,
        ValueType::Symbol,
        ValueType::String,
        ValueType::Uuid,
        ValueType::Uri,
        ValueType::Ref,
        ValueType::Bytes,
        ValueType::Tuple,
    ];

    /// The name in `:db.type/NAME`.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Boolean => "boolean",
            ValueType::Long => "long",
            ValueType::BigInt => "bigint",
            ValueType::Float => "float",
            ValueType::Double => "double",
            ValueType::BigDec => "bigdec",
            ValueType::Instant => "instant",
            ValueType::Keyword => "keyword",
            ValueType::Symbol => "symbol",
            ValueType::String => "string",
            ValueType::Uuid => "uuid",
            ValueType::Uri => "uri",
            ValueType::Ref => "ref",
            ValueType::Bytes => "bytes",
            ValueType::Tuple => "tuple",
        }
    }

    pub fn from_name(name: &str) -> Option<ValueType> {
        ValueType::ALL.into_iter().find(|value_type| value_type.name() == name)
    }
}

impl Value {
    /// A double as it is stored: one NaN, no negative zero.
    pub fn double(double: f64) -> Value {
        Value::Double(if double.is_nan() { f64::NAN } else { double + 0.0 })
    }

    /// A float as it is stored: one NaN, no negative zero.
    pub fn float(float: f32) -> Value {
        Value::Float(if float.is_nan() { f32::NAN } else { float + 0.0 })
    }

    pub fn string(text: impl AsRef<str>) -> Value {
        Value::String(Text::from(text.as_ref()))
    }

    pub fn keyword(text: impl AsRef<str>) -> Value {
        Value::Keyword(Keyword::new(text))
    }

    pub fn uuid(bytes: [u8; 16]) -> Value {
        Value::Uuid(Arc::new(bytes))
    }

    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Boolean(_) => ValueType::Boolean,
            Value::Long(_) => ValueType::Long,
            Value::BigInt(_) => ValueType::BigInt,
            Value::Float(_) => ValueType::Float,
            Value::Double(_) => ValueType::Double,
            Value::BigDec(_) => ValueType::BigDec,
            Value::Instant(_) => ValueType::Instant,
            Value::Keyword(_) => ValueType::Keyword,
            Value::Symbol(_) => ValueType::Symbol,
            Value::String(_) => ValueType::String,
            Value::Uuid(_) => ValueType::Uuid,
            Value::Uri(_) => ValueType::Uri,
            Value::Ref(_) => ValueType::Ref,
            Value::Bytes(_) => ValueType::Bytes,
            Value::Tuple(_) => ValueType::Tuple,
        }
    }

    pub fn as_ref(&self) -> Option<EntityId> {
        match self {
            Value::Ref(e) => Some(*e),
            _ => None,
        }
    }

    pub fn is_nan(&self) -> bool {
        matches!(self, Value::Double(x) if x.is_nan()) || matches!(self, Value::Float(x) if x.is_nan())
    }

    pub fn is_number(&self) -> bool {
        self.order_class() == 0
    }

    /// Compares two numbers by exact value, whatever their types; None if one is no number or NaN.
    pub fn cmp_numbers(&self, other: &Value) -> Option<Ordering> {
        if !self.is_number() || !other.is_number() || self.is_nan() || other.is_nan() {
            return None;
        }
        Some(cmp_numbers(self, other))
    }

    /// Bytes this value takes beside its own 16.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::String(text) | Value::Uri(text) => text.len() + 16,
            Value::Keyword(keyword) => keyword.as_str().len() + 16,
            Value::Symbol(symbol) => symbol.as_str().len() + 16,
            Value::Uuid(_) => 32,
            Value::BigInt(int) => int.bits() as usize / 8 + 48,
            Value::BigDec(dec) => dec.unscaled().bits() as usize / 8 + 56,
            Value::Bytes(bytes) => bytes.len() + 40,
            Value::Tuple(elements) => {
                elements.iter().flatten().map(Value::heap_bytes).sum::<usize>() + elements.len() * 16 + 40
            }
            _ => 0,
        }
    }

    fn order_class(&self) -> u8 {
        match self {
            Value::Long(_) | Value::BigInt(_) | Value::Float(_) | Value::Double(_) | Value::BigDec(_) => 0,
            Value::Instant(_) => 1,
            Value::Boolean(_) => 2,
            Value::Keyword(_) => 3,
            Value::Symbol(_) => 4,
            Value::String(_) => 5,
            Value::Uuid(_) => 6,
            Value::Uri(_) => 7,
            Value::Ref(_) => 8,
            Value::Bytes(_) => 9,
            Value::Tuple(_) => 10,
        }
    }

    fn number_type_order(&self) -> u8 {
        match self {
            Value::Long(_) => 0,
            Value::BigInt(_) => 1,
            Value::Float(_) => 2,
            Value::Double(_) => 3,
            _ => 4,
        }
    }
}

/// Doubles by value, NaN last.
fn cmp_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Exact order of two numbers, NaN last; equal across types where the values are.
fn cmp_numbers(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Long(a), Value::Long(b)) => return a.cmp(b),
        (Value::BigInt(a), Value::BigInt(b)) => return a.cmp(b),
        (Value::BigDec(a), Value::BigDec(b)) => return a.cmp_value(b),
        _ => {}
    }
    if let (Some(a), Some(b)) = (as_double(a), as_double(b)) {
        return cmp_doubles(a, b);
    }
    // At least one side is exact. Infinities and NaN stand beyond every exact number.
    if let Some(x) = as_double(a).filter(|x| !x.is_finite()) {
        return if x == f64::NEG_INFINITY { Ordering::Less } else { Ordering::Greater };
    }
    if let Some(x) = as_double(b).filter(|x| !x.is_finite()) {
        return if x == f64::NEG_INFINITY { Ordering::Greater } else { Ordering::Less };
    }
    match (a, b) {
        (Value::Long(a), Value::BigInt(b)) => BigInt::from(*a).cmp(b),
        (Value::BigInt(a), Value::Long(b)) => (**a).cmp(&BigInt::from(*b)),
        _ => exact(a).cmp_value(&exact(b)),
    }
}

fn as_double(value: &Value) -> Option<f64> {
    match value {
        Value::Double(x) => Some(*x),
        Value::Float(x) => Some(f64::from(*x)),
        _ => None,
    }
}

fn exact(value: &Value) -> BigDec {
    let exact = match value {
        Value::Long(x) => BigDec::new(BigInt::from(*x), 0),
        Value::BigInt(x) => BigDec::new((**x).clone(), 0),
        Value::BigDec(x) => Some((**x).clone()),
        other => as_double(other).and_then(BigDec::from_double),
    };
    exact.expect("finite numbers have an exact decimal within the bounds of a scale")
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Long(a), Value::Long(b)) => a.cmp(b),
            (Value::Ref(a), Value::Ref(b)) => a.cmp(b),
            (Value::String(a), Value::String(b)) => {
                if ArcStr::ptr_eq(a, b) {
                    Ordering::Equal
                } else {
                    a.as_bytes().cmp(b.as_bytes())
                }
            }
            (Value::Keyword(a), Value::Keyword(b)) => a.cmp(b),
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
            (Value::Double(a), Value::Double(b)) => cmp_doubles(*a, *b),
            (Value::Float(a), Value::Float(b)) => cmp_doubles(f64::from(*a), f64::from(*b)),
            (Value::BigDec(a), Value::BigDec(b)) => a.cmp(b),
            (Value::Symbol(a), Value::Symbol(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Uri(a), Value::Uri(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Tuple(a), Value::Tuple(b)) => a.cmp(b),
            (a, b) => match a.order_class().cmp(&b.order_class()) {
                Ordering::Equal => cmp_numbers(a, b).then(a.number_type_order().cmp(&b.number_type_order())),
                unequal => unequal,
            },
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Keyword(a), Value::Keyword(b)) => a == b,
            _ => self.cmp(other) == Ordering::Equal,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Boolean(x) => x.hash(state),
            Value::Long(x) => x.hash(state),
            Value::BigInt(x) => x.hash(state),
            // One NaN and no negative zero: bits are the value.
            Value::Float(x) => (if x.is_nan() { f32::NAN } else { *x + 0.0 }).to_bits().hash(state),
            Value::Double(x) => (if x.is_nan() { f64::NAN } else { *x + 0.0 }).to_bits().hash(state),
            Value::BigDec(x) => x.hash(state),
            Value::Instant(x) => x.hash(state),
            Value::Keyword(x) => x.hash(state),
            Value::Symbol(x) => x.hash(state),
            Value::String(x) | Value::Uri(x) => x.hash(state),
            Value::Uuid(x) => x.hash(state),
            Value::Ref(x) => x.hash(state),
            Value::Bytes(x) => x.hash(state),
            Value::Tuple(x) => x.hash(state),
        }
    }
}

/// As EDN, refs as their numbers.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&crate::edn::Edn::from(self), f)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
