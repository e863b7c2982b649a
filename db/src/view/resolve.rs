//! What forms stand for in a database: entities by id, ident or lookup ref, attributes by name, values by type.

use super::Db;
use crate::edn::{self, Edn};
use crate::model::{AttrId, EntityId, Value, ValueType};
use crate::schema::Attribute;
use crate::text::{brief, detail, did_you_mean};
use crate::{Error, Result};
use std::sync::Arc;

/// A lookup ref whose value is a lookup ref, and so on, is read this deep.
const LOOKUP_DEPTH_MAX: usize = 16;

impl Db {
    /// The entity a form names: an id, an ident, or a lookup ref `[attribute value]`. None where an ident or a lookup
    /// ref names none; whether an id was ever given out is not asked. Idents are today's, lookup refs are looked up
    /// through the view.
    pub fn entity(&self, form: &Edn) -> Result<Option<EntityId>> {
        self.entity_within(form, LOOKUP_DEPTH_MAX)
    }

    /// As [`Db::entity`], an error where it names none.
    pub fn require_entity(&self, form: &Edn) -> Result<EntityId> {
        self.entity(form)?.ok_or_else(|| self.no_entity(form))
    }

    /// The attribute a keyword or an entity id names.
    pub fn require_attribute(&self, form: &Edn) -> Result<AttrId> {
        let found = match form {
            Edn::Keyword(ident) => self.schema().attr_of_ident(ident),
            Edn::Long(long) => EntityId::from_long(*long).and_then(|e| self.schema().attr_of_entity(e)),
            _ => {
                let message = format!("{} is no attribute: an attribute is named by its keyword", brief(form));
                return Err(Error::incorrect("db.error/not-an-attribute", message));
            }
        };
        found.ok_or_else(|| {
            let near = match form {
                Edn::Keyword(ident) => {
                    did_you_mean(ident.as_str(), self.schema().attributes().map(|(_, known)| known.ident.as_str()))
                }
                _ => String::new(),
            };
            let message = format!("unknown attribute {}{near}", brief(form));
            Error::not_found("db.error/not-an-entity", message).with("attribute", detail(form))
        })
    }

    /// The value a form stands for as a value of this attribute: for a reference the entity it names.
    pub fn require_value(&self, a: AttrId, form: &Edn) -> Result<Value> {
        let attribute = self.schema().attribute(a);
        if attribute.is_ref() { self.require_entity(form).map(Value::Ref) } else { value_of(attribute, form) }
    }

    fn entity_within(&self, form: &Edn, depth: usize) -> Result<Option<EntityId>> {
        match form {
            Edn::Long(long) => match EntityId::from_long(*long) {
                Some(e) => Ok(Some(e)),
                None => Err(Error::incorrect(
                    "db.error/not-an-entity",
                    format!("{long} is no entity: ids are not negative; a new entity is named by a string (a tempid)"),
                )),
            },
            Edn::Keyword(ident) => self.entity_of_ident(ident),
            Edn::Vector(parts) | Edn::List(parts) => self.look_up(form, parts, depth),
            Edn::Nil => Err(Error::incorrect("db.error/nil-value", "nil is no entity")),
            _ => Err(Error::incorrect(
                "db.error/not-an-entity",
                format!("{} is no entity: give an id, an ident, or a lookup ref [attribute value]", brief(form)),
            )),
        }
    }

    fn look_up(&self, form: &Edn, parts: &[Edn], depth: usize) -> Result<Option<EntityId>> {
        let invalid =
            |why: &str| Error::incorrect("db.error/invalid-lookup-ref", format!("lookup ref {}: {why}", brief(form)));
        let [name, wanted] = parts else {
            return Err(invalid("a lookup ref has two elements, [attribute value]"));
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(invalid("lookup refs are nested too deep"));
        };
        let a =
            self.require_attribute(name).map_err(|error| error.within(format_args!("lookup ref {}", brief(form))))?;
        let attribute = self.schema().attribute(a);
        if attribute.unique.is_none() {
            return Err(invalid(&format!("{} is not unique", attribute.ident)));
        }
        if matches!(wanted, Edn::Nil) {
            return Err(invalid("its value is nil"));
        }
        let value = if attribute.is_ref() {
            match self.entity_within(wanted, depth)? {
                Some(e) => Value::Ref(e),
                None => return Ok(None),
            }
        } else {
            value_of(attribute, wanted)?
        };
        self.lookup(a, &value)
    }

    /// What to say of an ident or a lookup ref that names no entity.
    pub(crate) fn no_entity(&self, form: &Edn) -> Error {
        let near = match form {
            Edn::Keyword(ident) => {
                did_you_mean(ident.as_str(), self.schema().attributes().map(|(_, known)| known.ident.as_str()))
            }
            _ => String::new(),
        };
        let message = format!("{} names no entity of this database{near}", brief(form));
        Error::not_found("db.error/not-an-entity", message).with("entity", detail(form))
    }
}

/// The value a form stands for as a value of an attribute that is no reference.
pub(crate) fn value_of(attribute: &Attribute, form: &Edn) -> Result<Value> {
    value_of_type(attribute.value_type, form).ok_or_else(|| wrong_type(attribute, form))
}

/// Forms become values of one type without conversions that lose or invent anything; only a long widens to a
/// bigint. None where the form is no such value.
fn value_of_type(value_type: ValueType, form: &Edn) -> Option<Value> {
    let value = match (value_type, form) {
        (ValueType::Boolean, Edn::Bool(x)) => Value::Boolean(*x),
        (ValueType::Long, Edn::Long(x)) => Value::Long(*x),
        (ValueType::BigInt, Edn::BigInt(x)) => Value::BigInt(x.clone()),
        (ValueType::BigInt, Edn::Long(x)) => Value::BigInt(Arc::new((*x).into())),
        (ValueType::Double, Edn::Double(x)) => Value::double(*x),
        (ValueType::Float, Edn::Double(x)) => {
            let float = *x as f32;
            if x.is_finite() && !float.is_finite() {
                return None;
            }
            Value::float(float)
        }
        (ValueType::BigDec, Edn::BigDec(x)) => Value::BigDec(x.clone()),
        (ValueType::Instant, Edn::Inst(x)) => Value::Instant(*x),
        (ValueType::Keyword, Edn::Keyword(x)) => Value::Keyword(x.clone()),
        (ValueType::Symbol, Edn::Symbol(x)) => Value::Symbol(x.clone()),
        (ValueType::String, Edn::String(x)) => Value::String(x.clone()),
        (ValueType::Uuid, Edn::Uuid(x)) => Value::uuid(*x),
        (ValueType::Uri, Edn::Tagged(tag, uri)) if tag.as_str() == "uri" => match &**uri {
            Edn::String(x) => Value::Uri(x.clone()),
            _ => return None,
        },
        (ValueType::Bytes, Edn::Tagged(tag, text)) if tag.as_str() == "bytes" => match &**text {
            Edn::String(x) => Value::Bytes(Arc::new(edn::base64::decode(x)?)),
            _ => return None,
        },
        _ => return None,
    };
    Some(value)
}

fn wrong_type(attribute: &Attribute, form: &Edn) -> Error {
    let Attribute { ident, value_type, .. } = attribute;
    if matches!(form, Edn::Nil) {
        let message = format!("nil is no value for {ident}: leave the attribute out, or retract what it has");
        return Error::incorrect("db.error/nil-value", message).with("attribute", ident.clone());
    }
    let remedy = match (value_type, form) {
        (ValueType::Double | ValueType::Float, Edn::Long(x)) => format!("; write {x}.0"),
        (ValueType::BigDec, _) => "; write digits and M, such as 1.50M".into(),
        (ValueType::BigInt, _) => "; write digits, such as 5 or 5N".into(),
        (ValueType::Instant, _) => "; write #inst \"2024-01-31T12:00:00Z\"".into(),
        (ValueType::Uuid, _) => "; write #uuid \"…\"".into(),
        (ValueType::Uri, _) => "; write #uri \"…\"".into(),
        (ValueType::Bytes, _) => "; write #bytes \"…\" in base 64".into(),
        _ => String::new(),
    };
    let message = format!("{} is not a valid {} for {ident}{remedy}", brief(form), value_type.name());
    Error::incorrect("db.error/wrong-type-for-attribute", message)
        .with("attribute", ident.clone())
        .with("value", brief(form))
}
