//! What a body begins with.
//!
//! ```text
//! version 1              1 | 16 random bytes | content
//! version 2, of `tx`     2 | 16 random bytes | database 16 | seq 8 | content
//! version 2, of `index`  2 | 16 random bytes | seq 8 | content
//! ```
//! A `tx` body of version 2 took the place of the one that its header names: the `erase` record at that seq of that
//! database's log vouches for it. An `index` body of version 2 says which is the newest `erase` record before it.

use super::super::header::{DatabaseId, Header, Kind, unsupported};
use super::super::{Fields, Hash, sha256};
use crate::error::{Error, Result};

pub(super) enum Prefix {
    Plain,
    Erased { database: DatabaseId, seq: u64 },
    OnFloor { floor: u64 },
}

const PLAIN: u8 = 1;
const ERASED: u8 = 2;

impl Prefix {
    pub(super) const PLAIN_BYTES: usize = 17;

    pub(super) fn encode(&self, random: [u8; 16]) -> Vec<u8> {
        let version = if matches!(self, Prefix::Plain) { PLAIN } else { ERASED };
        let mut bytes = vec![version];
        bytes.extend_from_slice(&random);
        match self {
            Prefix::Plain => {}
            Prefix::Erased { database, seq } => {
                bytes.extend_from_slice(&database.0);
                bytes.extend_from_slice(&seq.to_le_bytes());
            }
            Prefix::OnFloor { floor } => bytes.extend_from_slice(&floor.to_le_bytes()),
        }
        bytes
    }

    /// And what follows it; None where the bytes are too few.
    pub(super) fn read<'a>(header: &Header, bytes: &'a [u8]) -> Result<Option<(Prefix, &'a [u8])>> {
        let Some((&version, rest)) = bytes.split_first() else { return Ok(None) };
        let mut fields = Fields(rest);
        if fields.bytes(16).is_none() {
            return Ok(None);
        }
        let prefix = match (version, header.kind) {
            (PLAIN, _) => Some(Prefix::Plain),
            (ERASED, Kind::Tx) => fields
                .array()
                .zip(fields.u64())
                .map(|(database, seq)| Prefix::Erased { database: DatabaseId(database), seq }),
            (ERASED, Kind::Index) => fields.u64().map(|floor| Prefix::OnFloor { floor }),
            _ => {
                let message = format!("a {} body of version {version} is not known here", header.kind.name());
                return Err(unsupported(message).with("seq", header.seq as i64));
            }
        };
        Ok(prefix.map(|prefix| (prefix, fields.0)))
    }
}

/// A body that stands where another one stood, by its own word: the `erase` record that it names tells whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Whose record it is.
    pub of: DatabaseId,
    pub seq: u64,
    /// Of the body that is there now.
    pub hash: Hash,
    /// The `erase` record: in whose log, and where.
    pub database: DatabaseId,
    pub by: u64,
}

impl Replaced {
    /// None for the body that the header names, and for bytes that no erasure has written.
    pub(super) fn of(header: &Header, bytes: &[u8]) -> Option<Replaced> {
        if header.kind != Kind::Tx || bytes.first() != Some(&ERASED) {
            return None;
        }
        let hash = sha256(bytes);
        let Ok(Some((Prefix::Erased { database, seq: by }, _))) = Prefix::read(header, bytes) else { return None };
        (hash != header.body_hash).then_some(Replaced { of: header.database, seq: header.seq, hash, database, by })
    }

    /// For whoever does not ask the `erase` record.
    pub(super) fn unheard(&self, header: &Header) -> Error {
        let message = format!("its body was replaced by erase record {} of database {}", self.by, self.database);
        header.damaged(message).with("erase-seq", self.by as i64)
    }
}
