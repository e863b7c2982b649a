//! Redo files: the durable home of the log, and its commit point.
//!
//! `redo/0000000001.redo`, `…2.redo` and so on: preallocated with zeros, numbered without gaps, never used
//! again, never cut short. The oldest are removed when nothing in them is needed any more (see [`trim`]), after a
//! frame has said so durably: a file that is missing without that is damage. A file appears under its number only when its header and its beginning (all heads
//! and pods) are durable. After that one frame follows another; a frame is written where the last one ended
//! and into one of two mirror slots, and the next is written only when both are durable.
//!
//! What a reader may conclude from damage (see [`scan`]): only the newest frame can be half written, and it
//! is lost only if it is bad in its place *and* in its mirror; then nobody was told that it was done.

pub(crate) mod frame;
pub(crate) mod scan;
pub(crate) mod trim;
pub(crate) mod writer;

pub(crate) use frame::{Checkpoint, FileHeader, FrameKind};
pub(crate) use scan::RedoFiles;
pub(crate) use writer::RedoWriter;

use super::FORMAT;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The format of redo files that may hold replaced records. A store gets its first file of it right before the first
/// replacement, so that a version which knows none refuses the store by this number, and only such a store.
pub(crate) const FORMAT_REPLACED: u32 = 2;

/// The formats that are read.
pub(crate) const FORMATS: RangeInclusive<u32> = FORMAT..=FORMAT_REPLACED;

/// Where the next file is prepared before it gets its number.
pub(crate) const NEXT_FILE: &str = "next";

/// The path of a redo file.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.redo"))
}

/// The number in a redo file's name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".redo")?;
    let number = digits.parse().ok()?;
    (format!("{number:010}") == digits).then_some(number)
}
