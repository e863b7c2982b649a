//! What an erasure takes out of a database: whole lives, of entities and attributes that are named.
//!
//! A life goes with both its datoms, so that what is left is what would be there had it never been said, but for t's and
//! entity ids, which are not given again. Never erased are lives of schema entities (partition `db`) and the instants of
//! transactions. References to an erased entity stay.

use super::{Db, Pattern};
use crate::index::segment::{Meta, Sizes};
use crate::index::{Erased, Life, Merged, Sink, erase_from_trees};
use crate::log::{EraseScope, TxEntry};
use crate::model::{AttrId, Datom, EntityId, Partition, T, Value};
use crate::schema::{FIRST_USER_COUNTER, ids};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The lives that a scope names in a value.
#[derive(Clone, Debug, Default)]
pub struct Erasure {
    lives: Erased,
    /// The entities that were named, and their components.
    pub entities: BTreeSet<EntityId>,
    /// Facts in force about others that refer to one of them: they stay.
    pub references: u64,
    /// What each transaction said of these lives, attributes by entity.
    said: BTreeMap<T, BTreeSet<(EntityId, EntityId, Value)>>,
}

impl Erasure {
    pub fn lives(&self) -> u64 {
        (self.lives.open.len() + self.lives.closed.len()) as u64
    }

    /// Of the lives, those that were in force.
    pub fn open_lives(&self) -> u64 {
        self.lives.open.len() as u64
    }

    pub fn datoms(&self) -> u64 {
        (self.lives.open.len() + 2 * self.lives.closed.len()) as u64
    }

    /// The transactions that began or ended one of the lives, in order.
    pub fn transactions(&self) -> Vec<T> {
        self.said.keys().copied().collect()
    }

    /// The t that began the newest life, 0 where there is none.
    pub fn newest_from(&self) -> T {
        let open = self.lives.open.iter().map(|datom| datom.t());
        open.chain(self.lives.closed.iter().map(|life| life.datom.t())).max().unwrap_or(0)
    }

    /// The t that began the oldest life.
    pub fn oldest_from(&self) -> Option<T> {
        let open = self.lives.open.iter().map(|datom| datom.t());
        open.chain(self.lives.closed.iter().map(|life| life.datom.t())).min()
    }

    /// Takes out of a transaction what it said of these lives; where it said something, its tempids and the digest of the
    /// request go as well, since names and a hash may tell of values too. Whether it did.
    pub fn strip(&self, entry: &mut TxEntry) -> bool {
        let Some(said) = self.said.get(&entry.t) else { return false };
        entry.datoms.retain(|datom| !said.contains(&(datom.e, datom.a, datom.v.clone())));
        entry.tempids = Vec::new();
        entry.digest = [0; 32];
        true
    }

    fn add(&mut self, db: &Db, life: Datom, to: Option<T>) {
        let a = db.schema().attribute(life.a()).id;
        for t in std::iter::once(life.t()).chain(to) {
            self.said.entry(t).or_default().insert((life.e, a, life.v.clone()));
        }
        match to {
            Some(to) => self.lives.closed.push(Life { datom: life, to }),
            None => self.lives.open.push(life),
        }
    }
}

impl Db {
    /// Finds what a scope names in this value, its view left aside; more than `lives_max` lives are refused. `go_on` is
    /// asked now and then, and ends the search with its error.
    pub fn erasure(
        &self,
        scope: &EraseScope,
        lives_max: u64,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Erasure> {
        self.check_scope(scope)?;
        let mut search = Search {
            db: self.unfiltered(),
            history: self.unfiltered().history(),
            before: scope.before.unwrap_or(T::MAX),
            attributes: BTreeSet::new(),
            lives_max,
            go_on,
            found: Erasure::default(),
        };
        for e in &scope.attributes {
            search.attributes.extend(self.schema().attr_of_entity(*e));
        }
        if scope.entities.is_empty() {
            for a in search.attributes.clone() {
                search.lives_of(Pattern::all().a(a), &mut Vec::new())?;
            }
        } else {
            search.entities(&scope.entities)?;
            if scope.attributes.is_empty() {
                search.count_references()?;
            }
        }
        Ok(search.found)
    }

    fn check_scope(&self, scope: &EraseScope) -> Result<()> {
        let refused = |message: String| Err(Error::incorrect("db.error/cannot-be-erased", message));
        if scope.entities.is_empty() && scope.attributes.is_empty() {
            return refused("an erasure needs an entity or an attribute to be named".into());
        }
        if let Some(e) = scope.entities.iter().find(|e| e.partition_bits() == Partition::Db as u64) {
            let name = self.ident_of_entity(*e)?.map_or_else(|| e.to_string(), |ident| ident.to_string());
            return refused(format!("{name} belongs to the schema, of which nothing is erased"));
        }
        for e in &scope.attributes {
            let Some(a) = self.schema().attr_of_entity(*e) else {
                return refused(format!("entity {e} is no attribute"));
            };
            let ident = &self.schema().attribute(a).ident;
            if *e == ids::TX_INSTANT {
                return refused(format!("{ident} is never erased: every transaction keeps its instant"));
            }
            if *e < EntityId::new(Partition::Db, FIRST_USER_COUNTER) && *e != ids::DOC {
                return refused(format!("{ident} is the system's own, and only :db/doc of these can be erased"));
            }
        }
        Ok(())
    }

    /// Makes trees without these lives, of a value all of which is in trees, and says what is then to be said of
    /// attributes.
    pub fn erase(
        &self,
        erasure: &Erasure,
        sizes: Sizes,
        sink: &mut dyn Sink,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(Merged, Meta)> {
        let Some(trees) = self.trees().filter(|trees| trees.index_t == self.basis_t()).cloned() else {
            return Err(Error::fault("lives are erased from a value that is not in trees"));
        };
        let covers = |a: AttrId| self.schema().attribute(a).has_avet();
        let merged = erase_from_trees(trees, &erasure.lives, &covers, sizes, sink, go_on)?;
        let mut meta = self.meta();
        for life in &erasure.lives.open {
            meta.stats.forget(life.a());
        }
        Ok((merged, meta))
    }
}

struct Search<'a> {
    db: Db,
    history: Db,
    before: T,
    /// All, if there are none.
    attributes: BTreeSet<AttrId>,
    lives_max: u64,
    go_on: &'a mut dyn FnMut() -> Result<()>,
    found: Erasure,
}

impl Search<'_> {
    /// Of entities, and of their components where no attribute is named.
    fn entities(&mut self, named: &[EntityId]) -> Result<()> {
        let mut next: Vec<EntityId> = named.to_vec();
        while let Some(e) = next.pop() {
            if e.partition_bits() == Partition::Db as u64 || !self.found.entities.insert(e) {
                continue;
            }
            if self.attributes.is_empty() {
                self.lives_of(Pattern::all().e(e), &mut next)?;
            } else {
                for a in self.attributes.clone() {
                    self.lives_of(Pattern::all().e(e).a(a), &mut Vec::new())?;
                }
            }
        }
        Ok(())
    }

    /// Adds the lives that a pattern matches; those of components lead on.
    fn lives_of(&mut self, pattern: Pattern<'_>, components: &mut Vec<EntityId>) -> Result<()> {
        (self.go_on)()?;
        let (db, before, lives_max) = (&self.db, self.before, self.lives_max);
        let room = lives_max.saturating_sub(self.found.lives());
        let too_many = || {
            let message = format!(
                "it would erase more than {lives_max} facts, which is the most at once; name fewer entities or an earlier time"
            );
            Error::incorrect("db.error/erasure-too-large", message)
        };
        let (mut begun, mut failure): (Option<Datom>, Option<Error>) = (None, None);
        let (mut found, mut asked) = (Vec::new(), 0u64);
        let go_on = &mut *self.go_on;
        // Datoms of one e, a and v follow each other by t: each assertion, then its retraction if there is one.
        self.history.each(&pattern, |datom| {
            let ended = begun.take();
            let to = (!datom.added()).then_some(datom.t());
            found.extend(ended.map(|life| (life, to)));
            // Its end needs to be heard of only where it is one of those.
            begun = (datom.added() && datom.t() < before).then(|| datom.clone());
            asked += 1;
            if found.len() as u64 > room {
                failure = Some(too_many());
            } else if asked.is_multiple_of(4096) {
                failure = go_on().err();
            }
            if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        found.extend(begun.map(|life| (life, None)));
        if found.len() as u64 > room {
            return Err(too_many());
        }
        for (life, to) in found {
            let attribute = db.schema().attribute(life.a());
            if attribute.id == ids::TX_INSTANT || life.e.partition_bits() == Partition::Db as u64 {
                continue;
            }
            if attribute.component
                && let Some(component) = life.v.as_ref()
            {
                components.push(component);
            }
            self.found.add(db, life, to);
        }
        Ok(())
    }

    fn count_references(&mut self) -> Result<()> {
        let (db, entities) = (&self.db, &self.found.entities);
        let references: Vec<AttrId> =
            db.schema().attributes().filter(|(_, known)| known.is_ref()).map(|(a, _)| a).collect();
        let sorted: Vec<EntityId> = entities.iter().copied().collect();
        let mut count = 0;
        for a in references {
            (self.go_on)()?;
            db.each_of_references(a, &sorted, |_, datom| {
                count += u64::from(!entities.contains(&datom.e));
                ControlFlow::Continue(())
            })?;
        }
        self.found.references = count;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
