//! The body of a `fork` record: the origin, and the value of it that the new database begins with.
//!
//! Everything up to there is shared: the trees name segments of the whole lineage, and the origin's log up to the
//! record that holds the fork's t is a log tree, for whoever reads transactions of before. A body that contradicts
//! itself is damage.

use super::super::header::{DatabaseId, Header, T_END};
use super::Read;
use super::index::{IndexBody, WireIndex};
use serde::{Deserialize, Serialize};

/// What a `fork` record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkBody {
    /// The database whose log holds the transaction at which the fork leaves it.
    pub origin: DatabaseId,
    /// The origin's value at that transaction, index-t. `chain` is the origin's after the record that holds it, which
    /// may hold later transactions as well, and `log` the origin's log up to and with that record, or on to the
    /// `erase` record that names bodies in it; `previous` is the origin's index record before it.
    pub index: IndexBody,
}

impl ForkBody {
    /// The same as the fork's own first index: of its own log there is nothing in a tree yet.
    pub fn own_index(&self) -> IndexBody {
        IndexBody { log: None, previous: 0, floor: 0, ..self.index.clone() }
    }

    /// What no fork record can say.
    fn fault(&self, header: &Header) -> Option<&'static str> {
        let IndexBody { index_t, previous, log, next_counter, chain, .. } = &self.index;
        if chain.fault().is_some() {
            return chain.fault();
        }
        if self.origin == header.database {
            return Some("its origin is the database itself");
        }
        if index_t + 1 != header.first_t || *index_t > chain.t || *next_counter >= T_END {
            return Some("it begins at another t than that of its trees, or at one that its origin does not have");
        }
        if *previous > chain.seq || log.is_none_or(|log| log.seq < chain.seq || log.t < chain.t) {
            return Some("the log tree of its origin ends elsewhere than its chain");
        }
        self.index.roots_fault()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireFork {
    origin: [u8; 16],
    index: WireIndex,
}

impl WireFork {
    pub(super) fn of(body: &ForkBody) -> WireFork {
        WireFork { origin: body.origin.0, index: WireIndex::of(&body.index) }
    }

    pub(super) fn read(self, header: &Header) -> Read<ForkBody> {
        let body = ForkBody { origin: DatabaseId(self.origin), index: self.index.body() };
        match body.fault(header) {
            None => Ok(body),
            Some(fault) => Err(fault.into()),
        }
    }
}
