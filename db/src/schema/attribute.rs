//! One attribute's definition.

use super::bootstrap::{self, ids};
use crate::model::{EntityId, Keyword, Value, ValueType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    One,
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// A tempid with an existing value becomes its entity (upsert).
    Identity,
    /// A second entity with the value is refused.
    Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub id: EntityId,
    pub ident: Keyword,
    pub value_type: ValueType,
    pub cardinality: Cardinality,
    pub unique: Option<Unique>,
    pub index: bool,
    pub component: bool,
    pub no_history: bool,
}

impl Attribute {
    /// AVET covers it: it can be looked up and ranged over by value.
    pub fn has_avet(&self) -> bool {
        self.index || self.unique.is_some()
    }

    pub fn is_many(&self) -> bool {
        self.cardinality == Cardinality::Many
    }

    /// Whether an entity may ever have had several values at once. Today's cardinality tells, since it cannot be
    /// altered in this version.
    pub fn was_ever_many(&self) -> bool {
        self.is_many()
    }

    pub fn is_ref(&self) -> bool {
        self.value_type == ValueType::Ref
    }

    pub(super) fn from_facts(id: EntityId, fact: impl Fn(EntityId) -> Option<Value>) -> Option<Attribute> {
        let flag = |a| fact(a) == Some(Value::Boolean(true));
        let entity = |a| fact(a).and_then(|value| value.as_ref());
        let Some(Value::Keyword(ident)) = fact(ids::IDENT) else { return None };
        Some(Attribute {
            id,
            ident,
            value_type: bootstrap::value_type_of(entity(ids::VALUE_TYPE)?)?,
            cardinality: match entity(ids::CARDINALITY)? {
                ids::CARDINALITY_ONE => Cardinality::One,
                ids::CARDINALITY_MANY => Cardinality::Many,
                _ => return None,
            },
            unique: match entity(ids::UNIQUE) {
                Some(ids::UNIQUE_IDENTITY) => Some(Unique::Identity),
                Some(ids::UNIQUE_VALUE) => Some(Unique::Value),
                _ => None,
            },
            index: flag(ids::INDEX),
            component: flag(ids::IS_COMPONENT),
            no_history: flag(ids::NO_HISTORY),
        })
    }
}
