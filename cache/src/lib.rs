//! Segments of index trees, kept near: decoded on the heap, encoded on local disk, and fetched from storage once.
//!
//! ```text
//! Source::fetch ─▶ heap (decoded) ─▶ disk (encoded, optional) ─▶ Fetch (storage)
//! ```
//!
//! One [`SegmentCache`] serves all databases of a process; [`SegmentCache::source`] makes the [`Source`] of one of
//! them. What holds:
//!
//! - What a source gives is what the segment's name says: bytes are hashed when they come from storage *and* when they
//!   come from disk. A damaged entry on disk is dropped and fetched again; a segment that is damaged in storage is an
//!   error that names it.
//! - A segment is brought by one thread at a time, whoever else wants it meanwhile waits for that one. Errors are told
//!   to those who wait, and are not kept.
//! - The heap holds no more than [`Config::heap_bytes`], the directory no more than [`Disk::bytes`], and a new segment
//!   replaces one that was read once before one that is read often.
//! - Nothing here starts a thread, reads a clock or needs a runtime to be read from. Reading blocks.
//!
//! [`Source`]: db::index::segment::Source
//! [`Disk::bytes`]: config::Disk::bytes

mod cache;
pub mod config;
mod counters;
mod disk;
mod flight;
mod heap;
mod key;
mod landing;
mod prefetch;
mod source;
mod trees;

pub use cache::SegmentCache;
pub use config::Config;
pub use counters::{CacheStats, TierStats};
pub use key::{Reader, SegmentKey};
pub use prefetch::Prefetcher;
pub use source::{CachedSource, CountedSource, Fetch, IoCounts, IoStats, Tier, counted};

#[cfg(test)]
mod tests;
