//! EDN forms as data.

use super::fingerprint;
use crate::model::{BigDec, BigInt, Instant, Keyword, Symbol, Text, Value};
use crate::text::brief;
use crate::{Error, Result};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An EDN form. Maps and sets keep the order in which they were read; equality, order and hash do not mind it.
#[derive(Clone, Debug)]
pub enum Edn {
    Nil,
    Bool(bool),
    Char(char),
    Long(i64),
    BigInt(Arc<BigInt>),
    Double(f64),
    BigDec(Arc<BigDec>),
    Ratio(Arc<(BigInt, BigInt)>),
    String(Text),
    Keyword(Keyword),
    Symbol(Symbol),
    /// `#inst "…"`
    Inst(Instant),
    /// `#uuid "…"`
    Uuid([u8; 16]),
    List(Vec<Edn>),
    Vector(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
    Set(Vec<Edn>),
    /// Any other tagged element: its tag and what follows it.
    Tagged(Symbol, Box<Edn>),
}

impl Edn {
    pub fn keyword(text: &str) -> Edn {
        Edn::Keyword(Keyword::new(text))
    }

    pub fn symbol(text: &str) -> Edn {
        Edn::Symbol(Symbol::new(text))
    }

    pub fn string(text: impl AsRef<str>) -> Edn {
        Edn::String(Text::from(text.as_ref()))
    }

    /// A map, unless a key stands in it twice.
    pub fn map_of(entries: Vec<(Edn, Edn)>) -> Result<Edn> {
        match fingerprint::first_duplicate(entries.iter().map(|(key, _)| key)) {
            None => Ok(Edn::Map(entries)),
            Some(key) => Err(duplicate("map", "key", key)),
        }
    }

    /// A set, unless an element stands in it twice.
    pub fn set_of(elements: Vec<Edn>) -> Result<Edn> {
        match fingerprint::first_duplicate(elements.iter()) {
            None => Ok(Edn::Set(elements)),
            Some(element) => Err(duplicate("set", "element", element)),
        }
    }

    /// The elements of a list or a vector.
    pub fn as_sequence(&self) -> Option<&[Edn]> {
        match self {
            Edn::List(elements) | Edn::Vector(elements) => Some(elements),
            _ => None,
        }
    }

    /// The value of a keyword key in a map.
    pub fn get(&self, key: &str) -> Option<&Edn> {
        match self {
            Edn::Map(entries) => entries
                .iter()
                .find(|(k, _)| matches!(k, Edn::Keyword(keyword) if keyword.as_str() == key))
                .map(|(_, v)| v),
            _ => None,
        }
    }

    /// The bytes of `#bytes "…"`; None when it is another form or no base 64.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Edn::Tagged(tag, form) if tag.as_str() == "bytes" => match &**form {
                Edn::String(text) => super::base64::decode(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value that the form is by itself; None for nil, collections, and forms that stand for no value.
    pub(crate) fn scalar(&self) -> Option<Value> {
        Some(match self {
            Edn::Bool(x) => Value::Boolean(*x),
            Edn::Char(x) => Value::string(x.to_string()),
            Edn::Long(x) => Value::Long(*x),
            Edn::BigInt(x) => Value::BigInt(x.clone()),
            Edn::Double(x) => Value::double(*x),
            Edn::BigDec(x) => Value::BigDec(x.clone()),
            Edn::String(x) => Value::String(x.clone()),
            Edn::Keyword(x) => Value::Keyword(x.clone()),
            Edn::Symbol(x) => Value::Symbol(x.clone()),
            Edn::Inst(x) => Value::Instant(*x),
            Edn::Uuid(x) => Value::uuid(*x),
            Edn::Tagged(tag, inner) => match (tag.as_str(), &**inner) {
                ("uri", Edn::String(text)) => Value::Uri(text.clone()),
                ("bytes", _) => Value::Bytes(Arc::new(self.to_bytes()?)),
                _ => return None,
            },
            Edn::Nil | Edn::Ratio(_) | Edn::Vector(_) | Edn::List(_) | Edn::Set(_) | Edn::Map(_) => return None,
        })
    }

    fn class(&self) -> u8 {
        match self {
            Edn::Nil => 0,
            Edn::Bool(_) => 1,
            Edn::Char(_) => 2,
            Edn::Long(_) => 3,
            Edn::BigInt(_) => 4,
            Edn::Double(_) => 5,
            Edn::BigDec(_) => 6,
            Edn::Ratio(_) => 7,
            Edn::String(_) => 8,
            Edn::Keyword(_) => 9,
            Edn::Symbol(_) => 10,
            Edn::Inst(_) => 11,
            Edn::Uuid(_) => 12,
            // A list and a vector of the same elements are equal, as in Clojure.
            Edn::List(_) | Edn::Vector(_) => 13,
            Edn::Map(_) => 14,
            Edn::Set(_) => 15,
            Edn::Tagged(..) => 16,
        }
    }
}

fn duplicate(collection: &str, member: &str, form: &Edn) -> Error {
    let message = format!("the {collection} has the {member} {} twice", brief(form));
    Error::incorrect("db.error/edn-syntax", message)
}

/// A total order for sets, map keys and canonical forms; doubles as in the index (one NaN, equal to itself).
impl Ord for Edn {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Edn::Bool(a), Edn::Bool(b)) => a.cmp(b),
            (Edn::Char(a), Edn::Char(b)) => a.cmp(b),
            (Edn::Long(a), Edn::Long(b)) => a.cmp(b),
            (Edn::BigInt(a), Edn::BigInt(b)) => a.cmp(b),
            (Edn::Double(a), Edn::Double(b)) => Value::double(*a).cmp(&Value::double(*b)),
            (Edn::BigDec(a), Edn::BigDec(b)) => a.cmp(b),
            (Edn::Ratio(a), Edn::Ratio(b)) => a.cmp(b),
            (Edn::String(a), Edn::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Edn::Keyword(a), Edn::Keyword(b)) => a.cmp(b),
            (Edn::Symbol(a), Edn::Symbol(b)) => a.cmp(b),
            (Edn::Inst(a), Edn::Inst(b)) => a.cmp(b),
            (Edn::Uuid(a), Edn::Uuid(b)) => a.cmp(b),
            (Edn::List(a) | Edn::Vector(a), Edn::List(b) | Edn::Vector(b)) => a.cmp(b),
            (Edn::Map(_), Edn::Map(_)) | (Edn::Set(_), Edn::Set(_)) => Sorted::of(self).cmp(&Sorted::of(other)),
            (Edn::Tagged(a, x), Edn::Tagged(b, y)) => a.cmp(b).then_with(|| x.cmp(y)),
            _ => self.class().cmp(&other.class()),
        }
    }
}

/// A form with its maps and sets in order, each sorted once: comparing nested ones does not sort them again and
/// again. The variants stand in the order of the classes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Sorted<'a> {
    Scalar(&'a Edn),
    Sequence(Vec<Sorted<'a>>),
    Map(Vec<(Sorted<'a>, Sorted<'a>)>),
    Set(Vec<Sorted<'a>>),
    Tagged(&'a Symbol, Box<Sorted<'a>>),
}

impl Sorted<'_> {
    fn of(form: &Edn) -> Sorted<'_> {
        match form {
            Edn::List(elements) | Edn::Vector(elements) => Sorted::Sequence(elements.iter().map(Sorted::of).collect()),
            Edn::Map(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, value)| (Sorted::of(key), Sorted::of(value))).collect();
                entries.sort();
                Sorted::Map(entries)
            }
            Edn::Set(elements) => {
                let mut elements: Vec<_> = elements.iter().map(Sorted::of).collect();
                elements.sort();
                Sorted::Set(elements)
            }
            Edn::Tagged(tag, form) => Sorted::Tagged(tag, Box::new(Sorted::of(form))),
            scalar => Sorted::Scalar(scalar),
        }
    }
}

impl PartialOrd for Edn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Edn {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Edn::Keyword(a), Edn::Keyword(b)) => a == b,
            (Edn::String(a), Edn::String(b)) => a == b,
            (Edn::BigDec(a), Edn::BigDec(b)) => a == b,
            (Edn::List(a) | Edn::Vector(a), Edn::List(b) | Edn::Vector(b)) => a == b,
            (Edn::Map(a), Edn::Map(b)) => fingerprint::same_members(a, b, |(key, value)| {
                fingerprint::of_sequence([key, value].into_iter().map(fingerprint::of))
            }),
            (Edn::Set(a), Edn::Set(b)) => fingerprint::same_members(a, b, fingerprint::of),
            (Edn::Tagged(a, x), Edn::Tagged(b, y)) => a == b && x == y,
            _ => self.cmp(other) == Ordering::Equal,
        }
    }
}

impl Eq for Edn {}

impl Hash for Edn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(fingerprint::of(self));
    }
}

/// Refs become their numbers, floats doubles, uris `#uri`, bytes `#bytes` in base 64, tuples vectors.
impl From<&Value> for Edn {
    fn from(value: &Value) -> Edn {
        match value {
            Value::Boolean(x) => Edn::Bool(*x),
            Value::Long(x) => Edn::Long(*x),
            Value::BigInt(x) => Edn::BigInt(x.clone()),
            // By way of the shortest text, so that 0.1 stays 0.1.
            Value::Float(x) => Edn::Double(x.to_string().parse().unwrap_or(f64::from(*x))),
            Value::Double(x) => Edn::Double(*x),
            Value::BigDec(x) => Edn::BigDec(x.clone()),
            Value::Instant(x) => Edn::Inst(*x),
            Value::Keyword(x) => Edn::Keyword(x.clone()),
            Value::Symbol(x) => Edn::Symbol(x.clone()),
            Value::String(x) => Edn::String(x.clone()),
            Value::Uuid(x) => Edn::Uuid(**x),
            Value::Uri(x) => Edn::Tagged(Symbol::new("uri"), Box::new(Edn::String(x.clone()))),
            Value::Ref(e) => Edn::Long(e.as_long()),
            Value::Bytes(x) => Edn::Tagged(Symbol::new("bytes"), Box::new(Edn::string(super::base64::encode(x)))),
            Value::Tuple(elements) => {
                Edn::Vector(elements.iter().map(|element| element.as_ref().map_or(Edn::Nil, Edn::from)).collect())
            }
        }
    }
}

impl From<Value> for Edn {
    fn from(value: Value) -> Edn {
        Edn::from(&value)
    }
}

impl From<&str> for Edn {
    fn from(text: &str) -> Edn {
        Edn::string(text)
    }
}

impl From<String> for Edn {
    fn from(text: String) -> Edn {
        Edn::string(text)
    }
}

impl From<i64> for Edn {
    fn from(long: i64) -> Edn {
        Edn::Long(long)
    }
}

impl From<Keyword> for Edn {
    fn from(keyword: Keyword) -> Edn {
        Edn::Keyword(keyword)
    }
}

impl From<Vec<Edn>> for Edn {
    fn from(elements: Vec<Edn>) -> Edn {
        Edn::Vector(elements)
    }
}
