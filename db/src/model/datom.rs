//! The datom: one fact, said or taken back by one transaction.

use super::{EntityId, T, Value};
use std::fmt;

/// An attribute's number within one schema: dense, in the order of installation, and so in the order of the
/// attributes' entity ids. It never leaves the process; the schema translates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttrId(pub u32);

impl AttrId {
    /// A schema has fewer attributes than this.
    pub const COUNT_MAX: u32 = 1 << 20;
}

/// `[e a v tx added]` in 32 bytes. `added` false is a retraction.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Datom {
    pub e: EntityId,
    pub v: Value,
    /// `a` in 20 bits, `t` in 42, `added` in the lowest.
    packed: u64,
}

impl Datom {
    pub fn new(e: EntityId, a: AttrId, v: Value, t: T, added: bool) -> Self {
        assert!(a.0 < AttrId::COUNT_MAX && t < 1 << 42, "a has 20 bits and t has 42");
        Datom { e, v, packed: (u64::from(a.0) << 43) | (t << 1) | u64::from(added) }
    }

    pub fn a(&self) -> AttrId {
        AttrId((self.packed >> 43) as u32)
    }

    pub fn t(&self) -> T {
        (self.packed >> 1) & ((1 << 42) - 1)
    }

    /// The transaction's entity.
    pub fn tx(&self) -> EntityId {
        EntityId::of_tx(self.t())
    }

    pub fn added(&self) -> bool {
        self.packed & 1 == 1
    }
}

impl fmt::Debug for Datom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} a{} {} t{} {}]", self.e, self.a().0, self.v, self.t(), self.added())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Partition;

    #[test]
    fn a_datom_is_thirty_two_bytes_and_keeps_its_parts() {
        assert_eq!(std::mem::size_of::<Datom>(), 32);
        let e = EntityId::new(Partition::User, 5);
        let datom = Datom::new(e, AttrId((1 << 20) - 1), Value::Long(1), (1 << 42) - 1, false);
        assert_eq!((datom.a(), datom.t(), datom.added()), (AttrId((1 << 20) - 1), (1 << 42) - 1, false));
    }
}
