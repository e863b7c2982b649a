//! Bytes and where they live.
//!
//! Two roles, so that each can rest on the engine that is good at it: the [`Journal`] (small, ordered,
//! conditional) and the [`Segments`] (large, immutable, no conditions). This crate knows no datom and no
//! network service: a record is bytes to it, and the head that goes with it is told by the writer.

mod error;
mod journal;
mod segments;

pub use error::{Error, ErrorKind, Result};
pub use journal::{Appended, DatabaseId, Head, Journal, PodPut, PodVersion, Records, StoredRecord};
pub use segments::{SegmentKey, Segments};
