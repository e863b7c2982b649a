//! The body of an `erase` record: what was to be erased, the bodies that took the place of others, and the trees without
//! it.
//!
//! It is an index record as well: head and readers go on from it. It stands right behind the record that its index-t
//! ends, so that nobody who begins with it reads a record of before. A body that contradicts itself is damage.

use super::super::Hash;
use super::super::header::Header;
use super::index::{IndexBody, WireIndex};
use super::{Read, entity};
use crate::model::{EntityId, T};
use serde::{Deserialize, Serialize};

/// What an `erase` record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EraseBody {
    /// What it is known by, at random.
    pub request: [u8; 16],
    pub scope: EraseScope,
    /// Lives that were erased.
    pub lives: u64,
    /// In the order of their records.
    pub replaced: Vec<Replacement>,
    /// The trees without them. Its floor is the `erase` record before this one; whoever reads it is on this one.
    pub index: IndexBody,
}

/// What was asked to be erased; values are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EraseScope {
    /// All, if none is named.
    pub entities: Vec<EntityId>,
    /// By their entities; all, if none is named.
    pub attributes: Vec<EntityId>,
    /// Lives that began before it; all, if none is named.
    pub before: Option<T>,
}

/// The body of a record that another one took the place of. Header and hash of the record stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    pub seq: u64,
    /// Of the body before, which an earlier `erase` record may have put there.
    pub old: Hash,
    pub new: Hash,
}

impl EraseBody {
    /// Whether a body was put where it is by this record.
    pub fn names(&self, seq: u64, hash: &Hash) -> bool {
        let found = self.replaced.binary_search_by_key(&seq, |replacement| replacement.seq);
        found.is_ok_and(|at| self.replaced[at].new == *hash)
    }

    /// What no erase record can say.
    fn fault(&self, header: &Header) -> Option<&'static str> {
        let IndexBody { chain, log, .. } = &self.index;
        if self.index.fault(header).is_some() {
            return self.index.fault(header);
        }
        if chain.seq + 1 != header.seq || log.is_none_or(|log| log.seq != chain.seq) {
            return Some("its trees and its log tree do not end right before it");
        }
        let ascends = self.replaced.is_sorted_by(|x, y| x.seq < y.seq);
        let within = self.replaced.iter().all(|replaced| (1..header.seq).contains(&replaced.seq));
        (!ascends || !within).then_some("the records whose bodies it replaced do not ascend, or stand after it")
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireErase {
    request: [u8; 16],
    entities: Vec<u64>,
    attributes: Vec<u64>,
    before: Option<u64>,
    lives: u64,
    floor: u64,
    index: WireIndex,
    replaced: Vec<Replacement>,
}

impl WireErase {
    pub(super) fn of(body: &EraseBody) -> WireErase {
        let ids = |ids: &[EntityId]| ids.iter().map(|id| id.as_u64()).collect();
        WireErase {
            request: body.request,
            entities: ids(&body.scope.entities),
            attributes: ids(&body.scope.attributes),
            before: body.scope.before,
            lives: body.lives,
            floor: body.index.floor,
            index: WireIndex::of(&body.index),
            replaced: body.replaced.clone(),
        }
    }

    pub(super) fn read(self, header: &Header) -> Read<EraseBody> {
        let ids = |ids: Vec<u64>| ids.into_iter().map(entity).collect::<Read<Vec<_>>>();
        let scope =
            EraseScope { entities: ids(self.entities)?, attributes: ids(self.attributes)?, before: self.before };
        let index = IndexBody { floor: self.floor, ..self.index.body() };
        let body = EraseBody { request: self.request, scope, lives: self.lives, replaced: self.replaced, index };
        match body.fault(header) {
            None => Ok(body),
            Some(fault) => Err(fault.into()),
        }
    }
}
