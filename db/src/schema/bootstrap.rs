//! What every database begins with: system attributes and idents under fixed ids, at t 0.
//!
//! The ids are part of the data format: they are never given another meaning, and those that no transaction may
//! use yet are reserved here already. A database's `create` record carries these datoms as they were when it was
//! made.

use super::Cardinality::{self, Many, One};
use super::Unique::{self, Identity};
use crate::model::{EntityId, Partition, Value, ValueType};

/// Counters below this one belong to the system.
pub const FIRST_USER_COUNTER: u64 = 1024;

const fn system(counter: u64) -> EntityId {
    EntityId::new(Partition::Db, counter)
}

/// Entity ids that have a name in the code.
pub mod ids {
    use super::{EntityId, system};

    pub const ADD: EntityId = system(1);
    pub const RETRACT: EntityId = system(2);
    pub const IDENT: EntityId = system(10);
    pub const VALUE_TYPE: EntityId = system(11);
    pub const CARDINALITY: EntityId = system(12);
    pub const UNIQUE: EntityId = system(13);
    pub const INDEX: EntityId = system(14);
    pub const IS_COMPONENT: EntityId = system(15);
    pub const NO_HISTORY: EntityId = system(16);
    pub const DOC: EntityId = system(17);
    pub const TUPLE_ATTRS: EntityId = system(18);
    pub const TUPLE_TYPES: EntityId = system(19);
    pub const TUPLE_TYPE: EntityId = system(20);
    pub const ATTR_PREDS: EntityId = system(21);
    pub const ENTITY_ATTRS: EntityId = system(22);
    pub const ENTITY_PREDS: EntityId = system(23);
    pub const ENSURE: EntityId = system(24);
    pub const TX_INSTANT: EntityId = system(25);
    pub const TX_KEY: EntityId = system(26);
    pub const TX_DIGEST: EntityId = system(27);
    pub const CARDINALITY_ONE: EntityId = system(80);
    pub const CARDINALITY_MANY: EntityId = system(81);
    pub const UNIQUE_IDENTITY: EntityId = system(82);
    pub const UNIQUE_VALUE: EntityId = system(83);
}

/// The entity of `:db.type/…`, in the order of [`ValueType::ALL`].
const FIRST_TYPE: u64 = 60;

struct SystemAttribute(u64, &'static str, ValueType, Cardinality, Option<Unique>, bool, &'static str);

const ATTRIBUTES: &[SystemAttribute] = {
    use SystemAttribute as A;
    use ValueType::{Boolean, Bytes, Instant, Keyword, Long, Ref, String, Symbol, Tuple};
    &[
        A(10, "db/ident", Keyword, One, Some(Identity), false, "the name of an entity"),
        A(11, "db/valueType", Ref, One, None, false, "the type of an attribute's values"),
        A(12, "db/cardinality", Ref, One, None, false, "one value or many"),
        A(13, "db/unique", Ref, One, None, false, "whether a value belongs to one entity only"),
        A(14, "db/index", Boolean, One, None, false, "whether values can be looked up and ranged over"),
        A(15, "db/isComponent", Boolean, One, None, false, "whether the referenced entity is a part"),
        A(16, "db/noHistory", Boolean, One, None, false, "whether past values are forgotten"),
        A(17, "db/doc", String, One, None, false, "documentation"),
        A(18, "db/tupleAttrs", Tuple, One, None, false, "the attributes a composite tuple is made of"),
        A(19, "db/tupleTypes", Tuple, One, None, false, "the types of a tuple's elements"),
        A(20, "db/tupleType", Keyword, One, None, false, "the one type of all of a tuple's elements"),
        A(21, "db.attr/preds", Symbol, Many, None, false, "predicates that every asserted value must satisfy"),
        A(22, "db.entity/attrs", Keyword, Many, None, false, "attributes that an entity of this spec must have"),
        A(23, "db.entity/preds", Symbol, Many, None, false, "predicates that an entity of this spec must satisfy"),
        A(24, "db/ensure", Ref, Many, None, false, "specs to check in this transaction; never stored"),
        A(25, "db/txInstant", Instant, One, None, true, "when the transaction was made"),
        A(26, "db.tx/key", String, One, Some(Unique::Value), false, "the transaction's idempotency key"),
        A(27, "db.tx/digest", Bytes, One, None, false, "the digest of the request that had the key"),
        A(28, "db/fn", Ref, One, None, false, "a stored transaction function"),
        A(29, "db.fn/lang", String, One, None, false, "the language of a stored function"),
        A(30, "db.fn/params", String, One, None, false, "the parameters of a stored function"),
        A(31, "db.fn/code", String, One, None, false, "the code of a stored function"),
        A(32, "db.tx/if-basis", Long, One, None, false, "the basis a transaction was made on; never stored"),
        A(33, "db/excise", Ref, Many, None, false, "what to erase"),
        A(34, "db.excise/attrs", Ref, Many, None, false, "the attributes to erase"),
        A(35, "db.excise/before", Instant, One, None, false, "erase what was said before this instant"),
        A(36, "db.excise/beforeT", Long, One, None, false, "erase what was said before this t"),
    ]
};

const IDENTS: &[(u64, &str)] = &[
    (0, "db.part/db"),
    (1, "db/add"),
    (2, "db/retract"),
    (3, "db.part/tx"),
    (4, "db.part/user"),
    (5, "db/cas"),
    (6, "db/retractEntity"),
    (80, "db.cardinality/one"),
    (81, "db.cardinality/many"),
    (82, "db.unique/identity"),
    (83, "db.unique/value"),
];

fn type_ident(value_type: ValueType) -> String {
    format!("db.type/{}", value_type.name())
}

pub(super) fn value_type_of(entity: EntityId) -> Option<ValueType> {
    let index = entity.as_u64().checked_sub(FIRST_TYPE)?;
    ValueType::ALL.get(usize::try_from(index).ok()?).copied()
}

/// The system's idents that are no attributes: types, cardinalities, functions and so on.
pub(crate) fn system_idents() -> impl Iterator<Item = String> {
    let types = ValueType::ALL.iter().copied().map(type_ident);
    types.chain(IDENTS.iter().map(|(_, ident)| ident.to_string()))
}

/// The datoms of t 0 as `(e, a, v)`, attributes by their entities, in the order of e.
pub fn bootstrap_datoms() -> Vec<(EntityId, EntityId, Value)> {
    let mut datoms = Vec::new();
    let types = ValueType::ALL.iter().zip(FIRST_TYPE..);
    for (value_type, counter) in types.clone() {
        datoms.push((system(counter), ids::IDENT, Value::keyword(type_ident(*value_type))));
    }
    for (counter, ident) in IDENTS {
        datoms.push((system(*counter), ids::IDENT, Value::keyword(ident)));
    }
    for SystemAttribute(counter, ident, value_type, cardinality, unique, index, doc) in ATTRIBUTES {
        let e = system(*counter);
        // ValueType::ALL holds every type.
        let type_counter = types.clone().find(|(t, _)| *t == value_type).map_or(0, |(_, counter)| counter);
        datoms.push((e, ids::IDENT, Value::keyword(ident)));
        datoms.push((e, ids::VALUE_TYPE, Value::Ref(system(type_counter))));
        let cardinality = if *cardinality == One { ids::CARDINALITY_ONE } else { ids::CARDINALITY_MANY };
        datoms.push((e, ids::CARDINALITY, Value::Ref(cardinality)));
        if let Some(unique) = unique {
            let unique = if *unique == Identity { ids::UNIQUE_IDENTITY } else { ids::UNIQUE_VALUE };
            datoms.push((e, ids::UNIQUE, Value::Ref(unique)));
        }
        if *index {
            datoms.push((e, ids::INDEX, Value::Boolean(true)));
        }
        datoms.push((e, ids::DOC, Value::string(doc)));
    }
    datoms.sort();
    datoms
}
