//! What transactions say: the answer to one, and how one stands in the log.

use crate::{database, malformed};
use db::{EntityId, Instant, Item, Keyword, Result, T, Value};
use proto::v1;

/// A transaction that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    pub t: T,
    pub tx: EntityId,
    pub instant: Instant,
    /// What was added and retracted, the transaction's own datoms included. Empty when it would have been too much
    /// for one answer; then `datom_count` says how many there are, and the log has them.
    pub datoms: Vec<Fact>,
    pub datom_count: u64,
    /// Which entity each tempid became, by name; left out in the same way.
    pub tempids: Vec<(String, EntityId)>,
    pub tempid_count: u64,
    /// It is committed, but the peer has not heard of it yet. Do not send it again.
    pub not_yet_visible: bool,
    /// The record that holds it, and that record's SHA-256.
    pub record_seq: u64,
    pub record_hash: Vec<u8>,
    pub database_id: [u8; 16],
}

/// A datom with its attribute's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub e: EntityId,
    pub attribute: Keyword,
    pub v: Value,
    pub tx: EntityId,
    pub added: bool,
}

/// A transaction in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub t: T,
    pub tx: EntityId,
    pub instant: Instant,
    pub datoms: Vec<Fact>,
    pub tempids: Vec<(String, EntityId)>,
}

impl Committed {
    pub(super) fn from_wire(answer: v1::TransactResponse) -> Result<Committed> {
        let database_id = v1::DatabaseInfo { name: String::new(), id: answer.database_id };
        Ok(Committed {
            t: answer.t,
            tx: entity(answer.tx)?,
            instant: Instant(answer.instant_ms),
            datoms: answer.datoms.into_iter().map(Fact::from_wire).collect::<Result<_>>()?,
            datom_count: answer.datom_count,
            tempids: tempids(answer.tempids)?,
            tempid_count: answer.tempid_count,
            not_yet_visible: answer.not_yet_visible,
            record_seq: answer.record_seq,
            record_hash: answer.record_hash.to_vec(),
            database_id: database(Some(database_id))?.id,
        })
    }
}

impl Fact {
    pub(crate) fn from_wire(datom: v1::Datom) -> Result<Fact> {
        let Item::Value(v) = proto::item(datom.v.unwrap_or_default())? else {
            return Err(malformed("a datom's value is a collection"));
        };
        let attribute = Keyword::new(&datom.attribute);
        Ok(Fact { e: entity(datom.e)?, attribute, v, tx: entity(datom.tx)?, added: datom.added })
    }

    /// The datom as a row `[e a v tx added]`.
    pub fn row(&self) -> [Item; 5] {
        [
            Value::Ref(self.e),
            Value::Keyword(self.attribute.clone()),
            self.v.clone(),
            Value::Ref(self.tx),
            Value::Boolean(self.added),
        ]
        .map(Item::Value)
    }
}

pub(crate) fn tempids(tempids: Vec<v1::Tempid>) -> Result<Vec<(String, EntityId)>> {
    tempids.into_iter().map(|tempid| Ok((tempid.tempid, entity(tempid.entity)?))).collect()
}

pub(crate) fn entity(id: i64) -> Result<EntityId> {
    EntityId::from_long(id).ok_or_else(|| malformed("an entity id is negative"))
}
