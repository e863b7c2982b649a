//! The record header: 184 bytes, little endian.
//!
//! ```text
//! offset size field
//!      0    8 magic "DIACHRON"
//!      8    2 format version, 1
//!     10    2 kind: 1 create, 2 tx, 3 term, 4 index, 5 erase, 6 fork, 7 upgrade
//!     12    4 flags: bit 0, the body lies out of line
//!     16   16 database id
//!     32   16 lineage id
//!     48    8 term
//!     56    8 seq
//!     64    8 first t
//!     72    8 count of transactions
//!     80    8 instant, signed milliseconds since 1970
//!     88   32 SHA-256 of the body
//!    120   32 Merkle root over records 1 to seq - 1
//!    152   32 SHA-256 of the header before, zeros in the first
//! ```

use super::{Fields, Hash, sha256};
use crate::error::{Category, Error, Result};
use crate::model::{Instant, T};
use std::fmt;

/// The 16 random bytes that are a database. A lineage is named by the id of the database it began with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub [u8; 16]);

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Kind {
    /// The first record: the bootstrap datoms.
    Create = 1,
    /// Transactions.
    Tx = 2,
    /// A transactor begins its reign.
    Term = 3,
    /// The index trees move.
    Index = 4,
    /// Lives were erased: the trees move, and so do the bodies of earlier records that told of them.
    Erase = 5,
    /// The first record of a database that goes on from another one of its lineage.
    Fork = 6,
    Upgrade = 7,
}

/// What a record says of itself; its SHA-256 is the record's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// The record holds the place of its body instead of the body.
    pub out_of_line: bool,
    pub database: DatabaseId,
    pub lineage: DatabaseId,
    pub term: u64,
    /// From 1, without gaps.
    pub seq: u64,
    /// The t of the first transaction in it; the next t when there is none.
    pub first_t: T,
    /// How many transactions it holds: at least 1 in a `tx` record, 0 in all others.
    pub count: u64,
    /// The writer's clock. Nothing is judged by it.
    pub instant: Instant,
    pub body_hash: Hash,
    /// Over records 1 to `seq - 1`.
    pub root: Hash,
    /// Of the record before, zeros in the first.
    pub previous_hash: Hash,
}

const MAGIC: [u8; 8] = *b"DIACHRON";
const FORMAT_VERSION: u16 = 1;
const FLAG_OUT_OF_LINE: u32 = 1;
/// A t has 42 bits.
pub(crate) const T_END: u64 = 1 << 42;

impl Kind {
    const ALL: [Kind; 7] = [Kind::Create, Kind::Tx, Kind::Term, Kind::Index, Kind::Erase, Kind::Fork, Kind::Upgrade];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Tx => "tx",
            Kind::Term => "term",
            Kind::Index => "index",
            Kind::Erase => "erase",
            Kind::Fork => "fork",
            Kind::Upgrade => "upgrade",
        }
    }

    fn from_code(code: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == code)
    }
}

impl Header {
    /// Every header's length.
    pub const BYTES: usize = 184;

    pub fn encode(&self) -> [u8; Header::BYTES] {
        let mut bytes = [0; Header::BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&(self.kind as u16).to_le_bytes());
        put(&(if self.out_of_line { FLAG_OUT_OF_LINE } else { 0 }).to_le_bytes());
        put(&self.database.0);
        put(&self.lineage.0);
        put(&self.term.to_le_bytes());
        put(&self.seq.to_le_bytes());
        put(&self.first_t.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.instant.0.to_le_bytes());
        put(&self.body_hash);
        put(&self.root);
        put(&self.previous_hash);
        bytes
    }

    /// The record's hash.
    pub fn hash(&self) -> Hash {
        sha256(&self.encode())
    }

    /// The t of the newest transaction after this record.
    pub fn last_t(&self) -> T {
        self.first_t + self.count - 1
    }

    /// Reads a header from the first bytes of a record.
    ///
    /// Damage is `corrupt`; a format version, kind or flag that this build does not know is `unsupported`.
    pub fn decode(bytes: &[u8]) -> Result<Header> {
        let short = || damaged(format!("a record needs {} bytes of header, {} are there", Header::BYTES, bytes.len()));
        let mut fields = Fields(bytes.get(..Header::BYTES).ok_or_else(short)?);
        let magic: [u8; 8] = fields.array().ok_or_else(short)?;
        if magic != MAGIC {
            return Err(damaged("the bytes do not begin like a record (DIACHRON)".into()));
        }
        let version = fields.u16().ok_or_else(short)?;
        if version != FORMAT_VERSION {
            let message = format!("record format {version} is not known here; this version reads {FORMAT_VERSION}");
            return Err(unsupported(message).with("format", i64::from(version)));
        }
        let code = fields.u16().ok_or_else(short)?;
        let flags = fields.u32().ok_or_else(short)?;
        let database = DatabaseId(fields.array().ok_or_else(short)?);
        let lineage = DatabaseId(fields.array().ok_or_else(short)?);
        let term = fields.u64().ok_or_else(short)?;
        let seq = fields.u64().ok_or_else(short)?;
        let first_t = fields.u64().ok_or_else(short)?;
        let count = fields.u64().ok_or_else(short)?;
        let instant = Instant(fields.i64().ok_or_else(short)?);
        let placed = |error: Error| error.with("database", database.to_string()).with("seq", seq as i64);

        let kind = match Kind::from_code(code) {
            Some(kind) if kind != Kind::Upgrade => kind,
            Some(kind) => {
                let message = format!("records of kind `{}` are not supported by this version", kind.name());
                return Err(placed(unsupported(message).with("kind", kind.name())));
            }
            None => {
                let message = format!("a record of kind {code} is not known here; a newer version may read it");
                return Err(placed(unsupported(message).with("kind", i64::from(code))));
            }
        };
        if flags & !FLAG_OUT_OF_LINE != 0 {
            let message = format!("record flags {:#x} are not known here", flags & !FLAG_OUT_OF_LINE);
            return Err(placed(unsupported(message).with("flags", i64::from(flags))));
        }
        let header = Header {
            kind,
            out_of_line: flags & FLAG_OUT_OF_LINE != 0,
            database,
            lineage,
            term,
            seq,
            first_t,
            count,
            instant,
            body_hash: fields.array().ok_or_else(short)?,
            root: fields.array().ok_or_else(short)?,
            previous_hash: fields.array().ok_or_else(short)?,
        };
        match header.fault() {
            None => Ok(header),
            Some(fault) => Err(header.damaged(fault)),
        }
    }

    /// What no header can say, whatever its neighbours.
    fn fault(&self) -> Option<&'static str> {
        if self.seq == 0 || self.term == 0 {
            return Some("seq and term begin at 1");
        }
        if (self.kind == Kind::Tx) != (self.count > 0) {
            return Some("a tx record has transactions and no other record has");
        }
        if self.first_t == 0 || self.first_t.checked_add(self.count).is_none_or(|end| end > T_END) {
            return Some("its transactions are not numbered from 1 to 2^42");
        }
        if self.out_of_line && self.count != 1 && self.kind != Kind::Erase {
            return Some("only a single transaction goes out of line, or an erasure");
        }
        None
    }

    /// A `corrupt` error about this record.
    pub(super) fn damaged(&self, fault: impl fmt::Display) -> Error {
        damaged(format!("record {} (t {}) of database {} is damaged: {fault}", self.seq, self.first_t, self.database))
            .with("database", self.database.to_string())
            .with("seq", self.seq as i64)
            .with("t", self.first_t as i64)
    }
}

pub(super) fn damaged(message: String) -> Error {
    Error::corrupt("db.error/record-damaged", message)
}

pub(super) fn unsupported(message: String) -> Error {
    Error::new(Category::Unsupported, "db.error/record-unsupported", message)
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
