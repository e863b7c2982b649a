//! Expanded tx-data: assertions and retractions, whose entities may still be tempids.

use crate::model::{AttrId, EntityId, Value};

/// A tempid's number within one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TempId(pub(super) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    /// An entity of db-before, or this transaction's own.
    Known(EntityId),
    Temp(TempId),
}

/// The value of an operation; a tempid stands in reference attributes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Value(Value),
    Temp(TempId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add(Entity, AttrId, Operand),
    Retract(Entity, AttrId, Operand),
    /// All values in db-before, once it is known which entity the tempid is. Of known entities they are retracted
    /// one by one.
    RetractAll(TempId, AttrId),
}

impl From<Entity> for Operand {
    fn from(entity: Entity) -> Operand {
        match entity {
            Entity::Known(e) => Operand::Value(Value::Ref(e)),
            Entity::Temp(temp) => Operand::Temp(temp),
        }
    }
}
