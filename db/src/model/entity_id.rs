//! Entity ids: `0 | 20 bits partition | 42 bits counter`, and t, the number of a transaction.

use std::fmt;

/// The number of a transaction in its database: 1, 2, 3 … without gaps; 0 is the bootstrap.
pub type T = u64;

/// An entity. One counter in the database value numbers all new entities; the entity of transaction t is
/// partition `tx`, counter t.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId(u64);

/// The partitions that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Partition {
    /// Attributes.
    Db = 0,
    /// Transactions.
    Tx = 3,
    /// Everything else.
    User = 4,
}

const COUNTER_BITS: u32 = 42;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

impl EntityId {
    /// The largest id there can be.
    pub const MAX: EntityId = EntityId(i64::MAX as u64);

    pub const fn new(partition: Partition, counter: u64) -> Self {
        assert!(counter <= COUNTER_MAX, "the counter of an entity id has 42 bits");
        EntityId(((partition as u64) << COUNTER_BITS) | counter)
    }

    /// An id as users write it; None for a negative number.
    pub fn from_long(long: i64) -> Option<Self> {
        u64::try_from(long).ok().map(EntityId)
    }

    pub const fn of_tx(t: T) -> Self {
        EntityId::new(Partition::Tx, t)
    }

    /// The t, if this is a transaction's entity.
    pub fn as_tx(self) -> Option<T> {
        (self.partition_bits() == Partition::Tx as u64).then_some(self.counter())
    }

    pub const fn counter(self) -> u64 {
        self.0 & COUNTER_MAX
    }

    pub const fn partition_bits(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    pub const fn as_long(self) -> i64 {
        self.0 as i64
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
