//! Which entity each tempid is: tempids with an identity value that exists become its entity, tempids with the same
//! new identity value become one.
//!
//! Tempids fall into classes (union–find); a class may have an entity of db-before. An identity value is looked up
//! once; where it is a reference to a tempid, it is looked at again whenever that tempid's class changes, so chains
//! of upserts resolve whatever their order, in a time that grows with the tx-data (n log n at worst).

use super::expand::Expanded;
use super::op::{Entity, Op, Operand, TempId};
use super::problems::Problems;
use crate::edn::Edn;
use crate::model::{AttrId, EntityId, Value};
use crate::schema::Unique;
use crate::text::{brief, detail};
use crate::view::Db;
use crate::{Error, Result};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

/// Tempids that are one entity.
pub(super) struct Classes {
    parent: Vec<u32>,
    /// The entity of db-before, at the root of a class.
    entity: Vec<Option<EntityId>>,
    /// Identity assertions (numbers of operations) whose value is a tempid of the class, at its root.
    uses: Vec<Vec<usize>>,
}

impl Classes {
    fn new(count: usize) -> Self {
        Classes { parent: (0..count as u32).collect(), entity: vec![None; count], uses: vec![Vec::new(); count] }
    }

    /// The number of the tempid's class.
    pub(super) fn root(&mut self, temp: TempId) -> u32 {
        let mut at = temp.0;
        while self.parent[at as usize] != at {
            let above = self.parent[at as usize];
            self.parent[at as usize] = self.parent[above as usize];
            at = above;
        }
        at
    }

    /// The entity of db-before that the tempid is.
    pub(super) fn entity(&mut self, temp: TempId) -> Option<EntityId> {
        let root = self.root(temp);
        self.entity[root as usize]
    }
}

/// The value of an identity assertion, as far as it is known.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Value(Value),
    /// A new entity: the class of its tempid.
    New(u32),
}

struct Resolution<'a> {
    db: &'a Db,
    found: &'a Expanded,
    classes: Classes,
    /// Who holds an identity value that db-before has not.
    holders: FxHashMap<(AttrId, Identity), TempId>,
    waiting: VecDeque<usize>,
    problems: Problems,
}

pub(super) fn resolve(db: &Db, found: &Expanded) -> Result<Classes> {
    let classes = Classes::new(found.tempids.len());
    let mut resolution = Resolution {
        db,
        found,
        classes,
        holders: FxHashMap::default(),
        waiting: VecDeque::new(),
        problems: Problems::default(),
    };
    if found.tempids.len() == 0 {
        return Ok(resolution.classes);
    }
    for (i, op) in found.ops.iter().enumerate() {
        if let Op::Add(Entity::Temp(temp), a, v) = op
            && db.schema().attribute(*a).unique == Some(Unique::Identity)
        {
            match v {
                Operand::Value(value) => resolution.identify(*temp, *a, Identity::Value(value.clone()))?,
                Operand::Temp(value) => {
                    resolution.classes.uses[value.0 as usize].push(i);
                    resolution.waiting.push_back(i);
                }
            }
        }
    }
    // The uses above were noted by tempid; classes may have grown since.
    for temp in 0..found.tempids.len() as u32 {
        let root = resolution.classes.root(TempId(temp));
        if root != temp {
            let uses = std::mem::take(&mut resolution.classes.uses[temp as usize]);
            resolution.classes.uses[root as usize].extend(uses);
        }
    }
    while let Some(i) = resolution.waiting.pop_front() {
        if let Op::Add(Entity::Temp(temp), a, Operand::Temp(value)) = &found.ops[i] {
            let root = resolution.classes.root(*value);
            let identity = match resolution.classes.entity[root as usize] {
                Some(e) => Identity::Value(Value::Ref(e)),
                None => Identity::New(root),
            };
            resolution.identify(*temp, *a, identity)?;
        }
    }
    resolution.problems.finish()?;
    Ok(resolution.classes)
}

impl Resolution<'_> {
    /// `temp` has this identity value.
    fn identify(&mut self, temp: TempId, a: AttrId, identity: Identity) -> Result<()> {
        if let Identity::Value(value) = &identity
            && let Some(e) = self.db.lookup(a, value)?
        {
            let root = self.classes.root(temp) as usize;
            match self.classes.entity[root] {
                None => {
                    self.classes.entity[root] = Some(e);
                    self.waiting.extend(&self.classes.uses[root]);
                }
                Some(other) if other != e => {
                    let value = Edn::from(value);
                    self.two_entities(temp, other, e, Some((a, value)));
                }
                Some(_) => {}
            }
            return Ok(());
        }
        match self.holders.entry((a, identity)) {
            Entry::Occupied(holder) => {
                let holder = *holder.get();
                self.unite(holder, temp);
            }
            Entry::Vacant(place) => {
                place.insert(temp);
            }
        }
        Ok(())
    }

    fn unite(&mut self, x: TempId, y: TempId) {
        let (x, y) = (self.classes.root(x) as usize, self.classes.root(y) as usize);
        if x == y {
            return;
        }
        // The class with more uses stays: each use moves, and is looked at again, at most log n times.
        let (stays, goes) = if self.classes.uses[x].len() >= self.classes.uses[y].len() { (x, y) } else { (y, x) };
        let moved = std::mem::take(&mut self.classes.uses[goes]);
        self.waiting.extend(&moved);
        match (self.classes.entity[stays], self.classes.entity[goes]) {
            (Some(e), Some(other)) if e != other => self.two_entities(TempId(goes as u32), e, other, None),
            (None, Some(e)) => {
                self.classes.entity[stays] = Some(e);
                self.waiting.extend(&self.classes.uses[stays]);
            }
            _ => {}
        }
        self.classes.uses[stays].extend(moved);
        self.classes.parent[goes] = stays as u32;
    }

    fn two_entities(&mut self, temp: TempId, one: EntityId, other: EntityId, by: Option<(AttrId, Edn)>) {
        let name = self.found.tempids.describe(temp);
        let (low, high) = (one.min(other), one.max(other));
        let by = by.map_or(String::new(), |(a, value)| {
            format!(" ({} {} is of entity {other})", self.db.schema().attribute(a).ident, brief(&value))
        });
        let message =
            format!("the identity values of {} point at different entities, {low} and {high}{by}", brief(&name));
        self.problems.add(
            Error::conflict("db.error/unique-conflict", message)
                .with("tempid", detail(&name))
                .with("entities", vec![Edn::Long(low.as_long()), Edn::Long(high.as_long())]),
        );
    }
}
