//! Names of segments, as storage knows them and as the tiers do.

use db::index::segment::SegmentId;
use db::log::{DatabaseId, Hash, Header};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// A database that reads segments, and its lineage, whose segments it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub lineage: DatabaseId,
    pub database: DatabaseId,
}

impl Reader {
    /// The database whose record this is.
    pub fn of(header: &Header) -> Reader {
        Reader { lineage: header.lineage, database: header.database }
    }
}

/// A segment's whole name, by which it is fetched from storage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentKey {
    pub lineage: DatabaseId,
    pub id: SegmentId,
}

impl SegmentKey {
    /// The name of the writing job, such as `index-12`.
    pub fn job(&self) -> String {
        format!("index-{}", self.id.job)
    }
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentId { database, term, job, hash } = &self.id;
        write!(f, "{}/{database}/{term}/index-{job}/{}", self.lineage, Hex(hash))
    }
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A segment's name on disk, as bytes. Within a lineage the hash says it all: whichever job wrote it, the bytes are the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub lineage: DatabaseId,
    pub hash: Hash,
}

/// A segment's name in the tiers of decoded ones. The rows of the same bytes differ from database to database: forks
/// number the attributes alike that they share, and not those that either of them has got since they parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Whose schema numbers the attributes.
    pub reader: DatabaseId,
    pub encoded: Encoded,
}

impl Key {
    pub fn new(reader: Reader, hash: Hash) -> Key {
        Key { reader: reader.database, encoded: Encoded { lineage: reader.lineage, hash } }
    }
}

impl std::hash::Hash for Encoded {
    /// Eight bytes of a SHA-256 are as good as a hash of the whole.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.hash;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl std::hash::Hash for Key {
    /// That of the bytes: few databases of a lineage are read by one process.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded.hash(state);
    }
}

/// Takes a hash as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsItIs(u64);

pub(crate) type ByHash = BuildHasherDefault<AsItIs>;

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Bytes as lowercase hexadecimal digits.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes that lowercase hexadecimal digits stand for.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_storage_names_it() {
        let (lineage, database) = (DatabaseId([1; 16]), DatabaseId([2; 16]));
        let key = SegmentKey { lineage, id: SegmentId { database, term: 3, job: 12, hash: [0xab; 32] } };
        let expected = format!("{}/{}/3/index-12/{}", "01".repeat(16), "02".repeat(16), "ab".repeat(32));
        assert_eq!((key.to_string(), key.job().as_str()), (expected, "index-12"));
    }

    #[test]
    fn hexadecimal_digits_are_read_as_they_are_written() {
        assert_eq!(from_hex(&Hex(&[0, 0x1f, 0xa0]).to_string()), Some([0, 0x1f, 0xa0]));
        for wrong in ["", "0", "001fa", "001fa00", "001fA0", "001fg0", "00 fa0"] {
            assert_eq!(from_hex::<3>(wrong), None, "{wrong}");
        }
    }
}
