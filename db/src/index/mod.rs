//! Covering indexes: persisted trees, and the novelty in memory that stands over them.
//!
//! A fact's time in force is a *life* `(e a v from to)`. *Current* holds the open lives, *history* the closed
//! ones, one row for both datoms, each in four sorts: EAVT and AEVT of everything, AVET of indexed and unique
//! attributes, VAET of references. In history `to` stands before the last component (E A to V, A E to V, A V to
//! E, V A to E), so that "as of t" seeks straight to the life in force.
//!
//! Everything is a persistent value: a clone costs a few reference counts, a change copies the few nodes it
//! touches, and readers of an older value never notice. `docs/decisions/0006-index-trees.md` says how trees and
//! novelty fit together.

mod batch;
mod job;
mod merge;
mod novelty;
mod order;
mod run;
pub mod segment;
mod stats;
mod tree;
mod trees;
pub mod verify;

pub(crate) use job::{Erased, erase as erase_from_trees, merge as merge_trees};
pub use job::{Merged, Sink};
pub(crate) use merge::{Closed, Ends, Open, Parts};
pub(crate) use novelty::{Novelty, Said, at_entity, at_reference, at_value};
pub use order::{Bounds, Component, Life, Sort, ValueRange};
#[cfg(test)]
use run::Cursor;
pub(crate) use run::{Persisted, Run, Seen, rank};
pub use stats::{AttrStats, Stats};
pub use tree::Tree;
pub use trees::{Root, Roots, Trees};

use crate::model::Datom;
use std::sync::Arc;

/// Trees, the novelty over them, and the statistics of both.
#[derive(Clone, Default)]
pub(crate) struct Index {
    /// None before the first index job.
    pub trees: Option<Arc<Trees>>,
    pub novelty: Novelty,
    pub stats: Stats,
}

impl Index {
    /// Begins a life. `in_avet`: AVET covers the datom's attribute.
    pub fn assert(&mut self, datom: &Datom, in_avet: bool) {
        if self.novelty.assert(datom, in_avet) {
            self.stats.add(datom.a(), &datom.v);
        }
    }

    /// Ends the life of a retraction's e, a and v. False if there is none to end, as far as that can be known without
    /// reading the trees.
    pub fn retract(&mut self, retraction: &Datom, in_avet: bool) -> bool {
        let ended = self.novelty.retract(retraction) || (self.trees.is_some() && self.novelty.end(retraction, in_avet));
        if ended {
            self.stats.remove(retraction.a());
        }
        ended
    }
}
