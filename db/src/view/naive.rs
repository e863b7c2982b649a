//! A database as a list of all datoms ever said, for tests to compare with.

use super::{Pattern, ValueRange};
use crate::model::{Datom, T};
use std::ops::RangeBounds;

#[derive(Default)]
pub(crate) struct Said {
    /// Oldest first.
    pub datoms: Vec<Datom>,
}

impl Said {
    /// What a view has, in no order: up to `as_of`, after `since`; with `history` the retractions too.
    pub fn seen(&self, as_of: T, since: Option<T>, history: bool) -> Vec<Datom> {
        let seen = |datom: &&Datom| datom.t() <= as_of && since.is_none_or(|since| datom.t() > since);
        if history {
            return self.datoms.iter().filter(seen).cloned().collect();
        }
        let ended = |datom: &Datom| {
            self.datoms.iter().any(|other| {
                let same = (other.e, other.a(), &other.v) == (datom.e, datom.a(), &datom.v);
                same && !other.added() && other.t() > datom.t() && other.t() <= as_of
            })
        };
        self.datoms.iter().filter(seen).filter(|datom| datom.added() && !ended(datom)).cloned().collect()
    }
}

/// Whether a read by the pattern has the datom.
pub(crate) fn fits(pattern: &Pattern<'_>, datom: &Datom) -> bool {
    let within = match pattern.v {
        ValueRange::Any => true,
        ValueRange::Is(v) => datom.v == *v,
        ValueRange::Between(low, high) => (low, high).contains(&datom.v),
    };
    within
        && pattern.e.is_none_or(|e| e == datom.e)
        && pattern.a.is_none_or(|a| a == datom.a())
        && pattern.t.is_none_or(|t| t == datom.t())
}
