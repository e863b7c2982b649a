//! The log: records, their bytes, and the chain that binds them.
//!
//! A database's log is a sequence of records numbered 1, 2, 3 …; each is a [`Header`] of fixed layout and a body.
//! The header names the hash of the body, the hash of the header before it, and the root of a Merkle tree over all
//! records before it; a record's own hash is the SHA-256 of its header. `docs/data-format.md`, "Records", has every
//! byte. Storage, wire, backup and audit carry these same bytes; nothing re-encodes them.
//!
//! Writing: [`Body::encode`], [`Chain::next`], [`record_bytes`], and once they are durable [`Chain::push`].
//! Reading: [`RawRecord::parse`] (or [`Frames`] off the wire), [`Chain::push`], [`RawRecord::body`].
//!
//! Datoms in the log name attributes by entity id, so that a record can be read without a schema. The counter of
//! entity ids is not in a transaction: it follows from the entities of its datoms, as [`crate::view::Db`] finds it, and
//! is said by `index` and `erase` records.
//!
//! An `erase` record names the bodies that took the place of earlier ones ([`Replaced`]): whoever reads such a body asks
//! for that record's word. `docs/decisions/0010-erasure.md` has the whole of it.
//!
//! Kind `upgrade` has its place in the header and is refused by name until it is built, as are flags and versions that
//! this build does not know.

mod body;
mod chain;
mod digest;
mod frame;
mod header;
pub mod merkle;
mod record;
pub mod tree;

pub use body::{
    Body, EncodedBody, EraseBody, EraseScope, ForkBody, IndexBody, LoggedDatom, MetaRoot, Replaced, Replacement, Root,
    Roots, TxEntry, tx_bytes_bound,
};
pub use chain::{Chain, ChainState};
pub use digest::digest;
pub use frame::{Frames, push_frame};
pub use header::{DatabaseId, Header, Kind};
pub use record::{BodyPlace, Content, RawRecord, Record, record_bytes, record_with};
pub use tree::LogRoot;

/// A SHA-256.
pub type Hash = [u8; 32];

/// A group of transactions is cut before its body is this long; a single transaction whose body is longer goes out
/// of line. So no record's body in the log itself is longer.
pub const BODY_BYTES_TARGET: usize = 256 << 10;

/// The longest body out of line: what one segment holds.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest record in the log.
pub const RECORD_BYTES_MAX: usize = Header::BYTES + BODY_BYTES_TARGET;

pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

/// Reads little endian fields one after the other; None past the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
