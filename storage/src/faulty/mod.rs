//! Faults to test with: a journal that loses answers, and a disk that holds syncs back, fails them, and can
//! be cut off at any moment. Not for production.

mod disk;
mod journal;
mod power_cut;

pub use disk::{FaultyDisk, Held};
pub use journal::{Fault, FaultyJournal};
pub use power_cut::{Cut, Trace};
