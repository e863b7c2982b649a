//! The names of what lies in a target. `docs/data-format.md`, "Backups", tells them too.
//!
//! ```text
//! diachron-backup                                          the marker: what this is, and of which version
//! segments/LINEAGE/HH/DATABASE.TERM.JOB.HASH               a segment's bytes; HH are the first two digits of HASH
//! records/DATABASE/FIRST-LAST-HASH                         records that no log tree holds, as frames
//! manifests/DATABASE/T-SEQ.edn                             what makes all of it a backup
//! ```
//! Ids and hashes are hexadecimal, FIRST, LAST, T and SEQ have 20 digits. HASH is the SHA-256 of the file.

use db::log::Hash;
use std::fmt::Write;
use storage::{DatabaseId, SegmentKey};

/// What lies under [`MARKER`]; other versions begin in the same way.
pub const MARKER: &str = "diachron-backup";
pub const MARKER_TEXT: &str = "diachron-backup 1\n";
/// Of marker and manifests.
pub const VERSION: &str = "1";
pub const MANIFESTS: &str = "manifests/";

pub fn segment(key: &SegmentKey) -> String {
    let hash = hex(&key.hash);
    format!("segments/{}/{}/{}.{}.{}.{hash}", key.lineage, &hash[..2], key.database, key.term, key.job)
}

/// Where all segments of a lineage are.
pub fn segments_of(lineage: DatabaseId) -> String {
    format!("segments/{lineage}/")
}

pub fn records(database: DatabaseId, first: u64, last: u64, hash: &Hash) -> String {
    format!("{}{first:020}-{last:020}-{}", records_of(database), hex(hash))
}

pub fn records_of(database: DatabaseId) -> String {
    format!("records/{database}/")
}

pub fn manifest(database: DatabaseId, t: u64, seq: u64) -> String {
    format!("{MANIFESTS}{database}/{t:020}-{seq:020}.edn")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// So many bytes in lower-case hexadecimal digits, and nothing else.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}
