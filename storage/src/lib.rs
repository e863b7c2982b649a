//! Bytes and where they live.
//!
//! Two roles, so that each can rest on the engine that is good at it: the [`Journal`] (small, ordered,
//! conditional) and the [`Segments`] (large, immutable, no conditions). This crate knows no datom and no
//! network service: a record is bytes to it, and the head that goes with it is told by the writer.

pub mod conformance;
pub mod disk;
mod error;
pub mod faulty;
mod hash;
mod journal;
mod memory;
mod segments;
mod sled_store;
mod state;
mod store;

pub use error::{Error, ErrorKind, Result};
pub use hash::sha256;
pub use journal::{Appended, DatabaseId, Head, Journal, PodPut, PodVersion, Records, Replaced, StoredRecord, Waiting};
pub use memory::MemoryStore;
pub use segments::{Compacted, Compaction, Scrub, ScrubTicket, Scrubbed, SegmentKey, Segments, Usage};
pub use state::{POD_BYTES_MAX, POD_NAME_BYTES_MAX};
pub use store::{Entropy, Options, Store, open};
