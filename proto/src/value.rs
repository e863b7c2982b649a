//! Values and answers, there and back.

use crate::form::big_integer;
use crate::v1;
use crate::v1::value::Kind;
use bytes::Bytes;
use db::model::BigDec;
use db::schema::Schema;
use db::{Datom, EntityId, Error, Instant, Item, Keyword, Result, Symbol, Value};
use std::sync::Arc;

impl From<&Value> for v1::Value {
    fn from(value: &Value) -> Self {
        let kind = match value {
            Value::Boolean(x) => Kind::Boolean(*x),
            Value::Long(x) => Kind::Long(*x),
            Value::BigInt(x) => Kind::BigInt(x.to_signed_bytes_be().into()),
            Value::Float(x) => Kind::Float(*x),
            Value::Double(x) => Kind::Double(*x),
            Value::BigDec(x) => Kind::BigDecimal(v1::BigDecimal {
                unscaled: x.unscaled().to_signed_bytes_be().into(),
                scale: x.scale(),
            }),
            Value::Instant(x) => Kind::InstantMs(x.0),
            Value::Keyword(x) => Kind::Keyword(x.as_str().to_owned()),
            Value::Symbol(x) => Kind::Symbol(x.as_str().to_owned()),
            Value::String(x) => Kind::String(x.to_string()),
            Value::Uuid(x) => Kind::Uuid(Bytes::copy_from_slice(&x[..])),
            Value::Uri(x) => Kind::Uri(x.to_string()),
            Value::Ref(e) => Kind::Ref(e.as_long()),
            Value::Bytes(x) => Kind::Bytes(Bytes::copy_from_slice(x)),
            Value::Tuple(elements) => Kind::Tuple(v1::Values {
                values: elements.iter().map(|element| element.as_ref().map_or_else(nil, v1::Value::from)).collect(),
            }),
        };
        v1::Value { kind: Some(kind) }
    }
}

impl From<&Item> for v1::Value {
    fn from(item: &Item) -> Self {
        let values = |items: &[Item]| v1::Values { values: items.iter().map(v1::Value::from).collect() };
        let kind = match item {
            Item::Nil => return nil(),
            Item::Value(value) => return value.into(),
            Item::Vector(items) => Kind::Vector(values(items)),
            Item::Set(items) => Kind::Set(values(items)),
            Item::Map(entries) => Kind::Map(v1::Map {
                entries: entries
                    .iter()
                    .map(|(key, value)| v1::map::Entry { key: Some(key.into()), value: Some(value.into()) })
                    .collect(),
            }),
        };
        v1::Value { kind: Some(kind) }
    }
}

/// A datom with its attribute's ident, by the schema that numbered its attribute.
pub fn datom(schema: &Schema, datom: &Datom) -> v1::Datom {
    let attribute = schema.attribute(datom.a());
    v1::Datom {
        e: datom.e.as_long(),
        a: attribute.id.as_long(),
        attribute: attribute.ident.as_str().to_owned(),
        v: Some(v1::Value::from(&datom.v)),
        tx: datom.tx().as_long(),
        added: datom.added(),
    }
}

fn nil() -> v1::Value {
    v1::Value { kind: Some(Kind::Nil(v1::Nil::Nil as i32)) }
}

/// An element of an answer as it came over the wire.
pub fn item(value: v1::Value) -> Result<Item> {
    let Some(kind) = value.kind else {
        return Err(malformed("a value has none of its fields set"));
    };
    let items = |values: v1::Values| values.values.into_iter().map(item).collect::<Result<Vec<Item>>>();
    match kind {
        Kind::Nil(_) => Ok(Item::Nil),
        Kind::Vector(values) => items(values).map(Item::Vector),
        Kind::Set(values) => items(values).map(Item::Set),
        Kind::Map(map) => {
            let element = |value: Option<v1::Value>| item(value.unwrap_or_default());
            let entries = map.entries.into_iter().map(|entry| Ok((element(entry.key)?, element(entry.value)?)));
            entries.collect::<Result<_>>().map(Item::Map)
        }
        kind => scalar(kind).map(Item::Value),
    }
}

/// A value that is no collection.
pub(crate) fn scalar(kind: Kind) -> Result<Value> {
    Ok(match kind {
        Kind::Boolean(x) => Value::Boolean(x),
        Kind::Long(x) => Value::Long(x),
        Kind::BigInt(x) => Value::BigInt(Arc::new(big_integer(&x)?)),
        Kind::Float(x) => Value::float(x),
        Kind::Double(x) => Value::double(x),
        Kind::BigDecimal(x) => BigDec::new(big_integer(&x.unscaled)?, x.scale)
            .map(|dec| Value::BigDec(Arc::new(dec)))
            .ok_or_else(|| malformed(format!("a big decimal's scale is at most {} from 0", BigDec::SCALE_MAX)))?,
        Kind::InstantMs(x) => Value::Instant(Instant(x)),
        Kind::Keyword(x) => Value::Keyword(Keyword::new(x)),
        Kind::Symbol(x) => Value::Symbol(Symbol::new(x)),
        Kind::String(x) => Value::string(x),
        Kind::Uuid(x) => {
            let uuid: [u8; 16] = x[..].try_into().map_err(|_| malformed("a uuid has 16 bytes"))?;
            Value::Uuid(Arc::new(uuid))
        }
        Kind::Uri(x) => Value::Uri(x.into()),
        Kind::Ref(x) => EntityId::from_long(x).map(Value::Ref).ok_or_else(|| malformed("an entity id is negative"))?,
        Kind::Bytes(x) => Value::Bytes(Arc::new(x.to_vec())),
        Kind::Tuple(values) => {
            let member = |value| match item(value)? {
                Item::Nil => Ok(None),
                Item::Value(value) => Ok(Some(value)),
                _ => Err(malformed("a tuple has a collection in it")),
            };
            Value::Tuple(Arc::new(values.values.into_iter().map(member).collect::<Result<_>>()?))
        }
        Kind::Nil(_) | Kind::Vector(_) | Kind::Set(_) | Kind::Map(_) => {
            return Err(malformed("a collection stands where a value is needed"));
        }
        Kind::List(_) | Kind::Character(_) | Kind::Ratio(_) | Kind::Tagged(_) => {
            return Err(malformed("a list, character, ratio or tagged element is no value of a fact"));
        }
    })
}

pub(crate) fn malformed(message: impl Into<String>) -> Error {
    Error::incorrect("db.error/malformed-value", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::model::BigInt;
    use prost::Message;

    fn every_kind() -> Vec<Item> {
        let values = [
            Value::Boolean(false),
            Value::Long(i64::MIN),
            Value::BigInt(Arc::new(BigInt::from(-129))),
            Value::float(1.5),
            Value::double(f64::NAN),
            Value::BigDec(Arc::new(BigDec::parse("-1.00").unwrap())),
            Value::Instant(Instant(-1)),
            Value::keyword("country/name"),
            Value::Symbol(Symbol::new("a/b")),
            Value::string("Côte d'Ivoire"),
            Value::Uuid(Arc::new([7; 16])),
            Value::Uri("https://example.org/".into()),
            Value::Ref(EntityId::MAX),
            Value::Bytes(Arc::new(vec![0, 255])),
            Value::Tuple(Arc::new(vec![Some(Value::Long(1)), None])),
        ];
        let mut items: Vec<Item> = values.into_iter().map(Item::Value).collect();
        items.push(Item::Nil);
        items.push(Item::Map(vec![(Item::Value(Value::keyword("db/id")), Item::Vector(items.clone()))]));
        items.push(Item::Set(items.clone()));
        items
    }

    #[test]
    fn every_value_comes_back_as_it_went() {
        for sent in every_kind() {
            let bytes = v1::Value::from(&sent).encode_to_vec();
            let received = item(v1::Value::decode(&bytes[..]).unwrap()).unwrap();
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn malformed_values_are_refused_with_what_is_wrong() {
        let refused = |kind: Option<Kind>| item(v1::Value { kind }).unwrap_err().message().to_owned();
        assert_eq!(refused(None), "a value has none of its fields set");
        assert_eq!(refused(Some(Kind::Uuid(Bytes::from_static(b"short")))), "a uuid has 16 bytes");
        assert_eq!(refused(Some(Kind::Ref(-1))), "an entity id is negative");
        let scale = v1::BigDecimal { unscaled: Bytes::from_static(&[1]), scale: i32::MAX };
        assert_eq!(refused(Some(Kind::BigDecimal(scale))), "a big decimal's scale is at most 10000 from 0");
    }
}
