//! Covering indexes in memory.
//!
//! A fact's time in force is a *life* `(e a v from to)`. *Current* holds the open lives, *history* the closed
//! ones, one row for both datoms, each in four sorts: EAVT and AEVT of everything, AVET of indexed and unique
//! attributes, VAET of references. In history `to` stands before the last component (E A to V, A E to V, A V to
//! E, V A to E), so that "as of t" seeks straight to the life in force.
//!
//! Everything is a persistent value: a clone costs a few reference counts, a change copies the few nodes it
//! touches, and readers of an older value never notice.

mod memory;
mod order;
pub mod segment;
mod stats;
mod tree;

pub use memory::MemoryIndex;
pub use order::{Bounds, Component, Life, Sort, ValueRange};
pub use stats::{AttrStats, Stats};
pub use tree::Tree;
