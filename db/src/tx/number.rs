//! New entities get their ids, in the order of their first appearance; operations become datoms.

use super::expand::{ADD, Expanded, RETRACT};
use super::op::{Entity, Op, Operand, TempId};
use super::upsert::Classes;
use crate::edn::Edn;
use crate::model::{Datom, EntityId, Partition, T, Value};
use crate::schema::ids;
use crate::text::detail;
use crate::view::{Db, Pattern};
use crate::{Error, Result};
use rustc_hash::FxHashMap;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Counters have 42 bits.
const COUNTER_MAX: u64 = (1 << 42) - 1;

/// Tempids named in one error.
const RESOLVED_MAX: usize = 100;

/// What the tempids became.
pub(super) struct Numbered<'a> {
    found: &'a Expanded,
    tx: EntityId,
    /// By tempid.
    entities: Vec<EntityId>,
    /// Counters from here on are new entities'.
    first_new: u64,
    /// New entities to the tempid that messages call them by; made when the first message asks.
    names: OnceCell<FxHashMap<EntityId, TempId>>,
}

impl<'a> Numbered<'a> {
    /// Gives ids to the classes without an entity. Entities that are to be attributes go to partition `db`.
    pub(super) fn new(db: &Db, found: &'a Expanded, classes: &mut Classes, tx: EntityId) -> Result<Self> {
        let count = found.tempids.len();
        let first_new = db.next_counter();
        if first_new + count as u64 > COUNTER_MAX {
            return Err(Error::incorrect("db.error/transaction-too-large", "the database has no entity ids left"));
        }
        let mut entities: Vec<Option<EntityId>> = vec![None; count];
        let value_type = db.schema().attr_of_entity(ids::VALUE_TYPE);
        let mut is_attribute = vec![false; count];
        for op in &found.ops {
            if let Op::Add(Entity::Temp(temp), a, _) = op
                && Some(*a) == value_type
            {
                is_attribute[classes.root(*temp) as usize] = true;
            }
        }
        let mut counter = first_new;
        let mut number = |temp: TempId| {
            if entities[temp.0 as usize].is_some() {
                return;
            }
            let root = classes.root(temp);
            let e = classes.entity(temp).or(entities[root as usize]).unwrap_or_else(|| {
                let partition = if is_attribute[root as usize] { Partition::Db } else { Partition::User };
                counter += 1;
                EntityId::new(partition, counter - 1)
            });
            entities[root as usize] = Some(e);
            entities[temp.0 as usize] = Some(e);
        };
        for op in &found.ops {
            match op {
                Op::Add(e, _, v) | Op::Retract(e, _, v) => {
                    if let Entity::Temp(temp) = e {
                        number(*temp);
                    }
                    if let Operand::Temp(temp) = v {
                        number(*temp);
                    }
                }
                Op::RetractAll(temp, _) => number(*temp),
            }
        }
        // A map of nothing but a `:db/id` says nothing: its tempid names no entity.
        let entities = entities.into_iter().map(Option::unwrap_or_default).collect();
        Ok(Numbered { found, tx, entities, first_new, names: OnceCell::new() })
    }

    pub(super) fn tx(&self) -> EntityId {
        self.tx
    }

    /// Whether the entity is made by this transaction, so that db-before knows nothing of it.
    pub(super) fn is_new(&self, e: EntityId) -> bool {
        e == self.tx || (e.counter() >= self.first_new && e.partition_bits() != Partition::Tx as u64)
    }

    /// The operations as datoms of transaction t, in their order.
    pub(super) fn datoms(&self, db: &Db, t: T) -> Result<Vec<Datom>> {
        let entity = |e: &Entity| match e {
            Entity::Known(e) => *e,
            Entity::Temp(temp) => self.entity_of(*temp),
        };
        let value = |v: &Operand| match v {
            Operand::Value(value) => value.clone(),
            Operand::Temp(temp) => Value::Ref(self.entity_of(*temp)),
        };
        let mut datoms = Vec::with_capacity(self.found.ops.len() + 1);
        for op in &self.found.ops {
            match op {
                Op::Add(e, a, v) => datoms.push(Datom::new(entity(e), *a, value(v), t, true)),
                Op::Retract(e, a, v) => datoms.push(Datom::new(entity(e), *a, value(v), t, false)),
                Op::RetractAll(temp, a) => {
                    let e = self.entity_of(*temp);
                    db.each(&Pattern::all().e(e).a(*a), |datom| {
                        datoms.push(Datom::new(e, *a, datom.v.clone(), t, false));
                        ControlFlow::Continue(())
                    })?;
                }
            }
        }
        Ok(datoms)
    }

    fn entity_of(&self, temp: TempId) -> EntityId {
        self.entities[temp.0 as usize]
    }

    /// The caller's tempids and their entities.
    pub(super) fn tempids(&self) -> BTreeMap<String, EntityId> {
        let mut tempids: BTreeMap<String, EntityId> = self
            .found
            .tempids
            .of_caller()
            .map(|(temp, name)| (name.to_string(), self.entity_of(temp)))
            .filter(|(_, e)| *e != EntityId::default())
            .collect();
        if self.found.names_tx {
            tempids.insert("datomic.tx".into(), self.tx);
        }
        tempids
    }

    /// Adds the tempids that resolved to existing entities to an error.
    pub(super) fn explain(&self, error: Error) -> Error {
        let resolved: Vec<(Edn, Edn)> = self
            .tempids()
            .into_iter()
            .filter(|(_, e)| !self.is_new(*e))
            .take(RESOLVED_MAX)
            .map(|(name, e)| (detail(&Edn::string(name)), Edn::Long(e.as_long())))
            .collect();
        error.with("tempids", Edn::Map(resolved))
    }

    /// The entity as it stands in messages: what does not exist yet by its tempid.
    pub(super) fn describe(&self, e: EntityId) -> Edn {
        if e == self.tx {
            return Edn::string("datomic.tx");
        }
        if !self.is_new(e) {
            return Edn::Long(e.as_long());
        }
        let names = self.names.get_or_init(|| {
            let mut names = FxHashMap::default();
            for (i, e) in self.entities.iter().enumerate() {
                names.entry(*e).or_insert(TempId(i as u32));
            }
            names
        });
        names.get(&e).map_or(Edn::Long(e.as_long()), |temp| self.found.tempids.describe(*temp))
    }

    /// A datom as the form that says it.
    pub(super) fn form(&self, db: &Db, datom: &Datom) -> Edn {
        let op = if datom.added() { ADD } else { RETRACT };
        let v = datom.v.as_ref().map_or_else(|| Edn::from(&datom.v), |e| self.describe(e));
        let a = Edn::Keyword(db.schema().attribute(datom.a()).ident.clone());
        Edn::Vector(vec![Edn::keyword(op), detail(&self.describe(datom.e)), a, detail(&v)])
    }
}
