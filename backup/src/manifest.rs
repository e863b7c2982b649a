//! Manifests: what makes segments and records a backup. One is written last, and at once.
//!
//! ```text
//! diachron-backup 1
//! {:name "world" … }
//! sha256 HASH
//! ```
//! The EDN map may have many lines. HASH is the SHA-256 of all bytes before the line it stands on. Keys that are not
//! known here are passed over.

use crate::layout::{self, MANIFESTS, VERSION, from_hex, hex};
use crate::target::Target;
use db::edn::{self, Edn};
use db::log::Hash;
use db::{Error, Instant, Result};
use std::fmt::Write;
use storage::{DatabaseId, Head, sha256};

/// A database as it was when a backup of it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name it had.
    pub name: String,
    pub database: DatabaseId,
    pub lineage: DatabaseId,
    /// Where its log ended.
    pub head: Head,
    /// When the backup was made, by the clock of whoever made it.
    pub at: Instant,
    /// What the index at `head.index_seq` does not have in its log tree, in order, to the head.
    pub records: Vec<Piece>,
    /// What its index names, and what forks began with, whether this backup or an earlier one brought it.
    pub segments: u64,
    pub segment_bytes: u64,
    /// Bodies out of line, of the whole log.
    pub bodies: u64,
    pub body_bytes: u64,
    /// What wrote it.
    pub software: String,
}

/// A file of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
    pub hash: Hash,
}

/// The longest manifest: a million pieces would fit.
const BYTES_MAX: u64 = 64 << 20;
const DAMAGED: &str = "db.error/backup-damaged";

impl Manifest {
    pub fn file(&self) -> String {
        layout::manifest(self.database, self.head.t, self.head.seq)
    }

    pub fn encode(&self) -> Vec<u8> {
        let Head { term, seq, t, hash, index_seq } = self.head;
        let mut text = format!("{} {VERSION}\n{{", layout::MARKER);
        let fields = [
            ("name", Edn::string(&self.name)),
            ("database", Edn::string(hex(&self.database.0))),
            ("lineage", Edn::string(hex(&self.lineage.0))),
            ("t", long(t)),
            ("seq", long(seq)),
            ("hash", Edn::string(hex(&hash))),
            ("term", long(term)),
            ("index-seq", long(index_seq)),
            ("at", Edn::Inst(self.at)),
            ("segments", long(self.segments)),
            ("segment-bytes", long(self.segment_bytes)),
            ("bodies", long(self.bodies)),
            ("body-bytes", long(self.body_bytes)),
            ("software", Edn::string(&self.software)),
            ("records", Edn::Vector(self.records.iter().copied().map(Piece::to_edn).collect())),
        ];
        for (i, (key, value)) in fields.into_iter().enumerate() {
            // Writing into a string does not fail.
            let _ = write!(text, "{}:{key} {value}", if i == 0 { "" } else { "\n " });
        }
        text.push_str("}\n");
        let hash = sha256(text.as_bytes());
        let _ = writeln!(text, "sha256 {}", hex(&hash));
        text.into_bytes()
    }

    /// Reads what lies under a name; `file` is for errors.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<Manifest> {
        let damaged = |what: &str| Error::corrupt(DAMAGED, format!("manifest {file} {what}")).with("file", file);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is no text"))?;
        check_version(file, text).map_err(|error| error.unwrap_or_else(|| damaged("does not begin as one")))?;
        let cut = || damaged("is not whole: it was cut off, or changed since it was written; make the backup again");
        let (said, last) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or_else(cut)?;
        let said = &text[..=said.len()];
        let hash = last.strip_prefix("sha256 ").and_then(from_hex).ok_or_else(cut)?;
        if sha256(said.as_bytes()) != hash {
            return Err(cut());
        }
        let (_, map) = said.split_once('\n').ok_or_else(cut)?;
        let map = edn::read(map).map_err(|error| damaged(&format!("cannot be read: {}", error.message())))?;
        let manifest = Manifest::of(&map).ok_or_else(|| damaged("lacks what every one has"))?;
        match manifest.fault() {
            None => Ok(manifest),
            Some(fault) => Err(damaged(fault)),
        }
    }

    fn of(map: &Edn) -> Option<Manifest> {
        let text = |key: &str| match map.get(key)? {
            Edn::String(text) => Some(text.to_string()),
            _ => None,
        };
        let id = |key: &str| from_hex(&text(key)?).map(DatabaseId);
        let head = Head {
            term: count(map, "term")?,
            seq: count(map, "seq")?,
            t: count(map, "t")?,
            hash: from_hex(&text("hash")?)?,
            index_seq: count(map, "index-seq")?,
        };
        Some(Manifest {
            name: text("name")?,
            database: id("database")?,
            lineage: id("lineage")?,
            head,
            at: match map.get("at")? {
                Edn::Inst(at) => *at,
                _ => return None,
            },
            records: map.get("records")?.as_sequence()?.iter().map(Piece::of).collect::<Option<_>>()?,
            segments: count(map, "segments")?,
            segment_bytes: count(map, "segment-bytes")?,
            bodies: count(map, "bodies")?,
            body_bytes: count(map, "body-bytes")?,
            software: text("software")?,
        })
    }

    /// What no manifest can say.
    fn fault(&self) -> Option<&'static str> {
        let follow = self.records.windows(2).all(|pair| pair[0].last + 1 == pair[1].first);
        let (first, last) = (self.records.first()?.first, self.records.last()?.last);
        if !follow || self.records.iter().any(|piece| piece.first > piece.last || piece.first == 0) {
            return Some("has records with gaps between them");
        }
        if last != self.head.seq
            || self.head.index_seq > last
            || (self.head.index_seq > 0 && self.head.index_seq < first)
        {
            return Some("has records that do not reach from its index to its end");
        }
        None
    }
}

impl Manifest {
    /// Of everything that the backup consists of.
    pub fn bytes(&self) -> u64 {
        self.segment_bytes + self.body_bytes + self.records.iter().map(|piece| piece.bytes).sum::<u64>()
    }
}

impl Piece {
    fn to_edn(self) -> Edn {
        Edn::Map(vec![
            (Edn::keyword("first"), long(self.first)),
            (Edn::keyword("last"), long(self.last)),
            (Edn::keyword("bytes"), long(self.bytes)),
            (Edn::keyword("sha256"), Edn::string(hex(&self.hash))),
        ])
    }

    fn of(map: &Edn) -> Option<Piece> {
        let hash = match map.get("sha256")? {
            Edn::String(text) => from_hex(text)?,
            _ => return None,
        };
        Some(Piece { first: count(map, "first")?, last: count(map, "last")?, bytes: count(map, "bytes")?, hash })
    }
}

/// Names of all manifests of a target, of every database or of one; of each database the oldest t first.
pub fn files(target: &dyn Target, database: Option<DatabaseId>) -> Result<Vec<String>> {
    let folder = database.map_or_else(|| MANIFESTS.to_owned(), |id| format!("{MANIFESTS}{id}/"));
    let mut files = Vec::new();
    target.list(&folder, &mut |file, _| {
        files.push(file.to_owned());
        Ok(())
    })?;
    files.sort();
    Ok(files)
}

/// A manifest, or what is wrong with it; None where it is gone.
pub fn read(target: &dyn Target, file: &str) -> Result<Option<Result<Manifest>>> {
    Ok(target.get(file, BYTES_MAX)?.map(|bytes| Manifest::decode(file, &bytes)))
}

/// Refuses a target that is none of ours, or of another version.
pub fn check_target(target: &dyn Target) -> Result<()> {
    let Some(marker) = target.get(layout::MARKER, 1 << 10)? else {
        let message = format!("there is no backup at {}", target.url());
        return Err(Error::not_found("db.error/no-backup", message).with("url", target.url()));
    };
    check_marker(target, &marker)
}

/// The same for one that shall have backups: an empty one becomes one of ours.
pub fn prepare_target(target: &dyn Target) -> Result<()> {
    match target.get(layout::MARKER, 1 << 10)? {
        Some(marker) => check_marker(target, &marker),
        None => {
            target.list("", &mut |file, _| {
                let message = format!(
                    "{} holds {file:?} and no backup; give an empty place, or one that has backups already",
                    target.url()
                );
                Err(Error::conflict("db.error/backup-target-taken", message))
            })?;
            target.put(layout::MARKER, layout::MARKER_TEXT.as_bytes())
        }
    }
}

fn check_marker(target: &dyn Target, marker: &[u8]) -> Result<()> {
    let file = format!("{} at {}", layout::MARKER, target.url());
    let other = || Error::corrupt(DAMAGED, format!("file {file} does not say what one of a backup says"));
    let text = std::str::from_utf8(marker).map_err(|_| other())?;
    check_version(&file, text).map_err(|error| error.unwrap_or_else(other))
}

/// None: it is of no version at all.
fn check_version(file: &str, text: &str) -> Result<(), Option<Error>> {
    let first = text.lines().next().unwrap_or_default();
    match first.strip_prefix(layout::MARKER).and_then(|rest| rest.strip_prefix(' ')) {
        Some(VERSION) => Ok(()),
        Some(version) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => {
            let message = format!("{file} is of version {version}; this version reads version {VERSION} of backups");
            Err(Some(Error::unsupported("db.error/backup-version", message).with("file", file)))
        }
        _ => Err(None),
    }
}

fn long(number: u64) -> Edn {
    Edn::Long(number as i64)
}

fn count(map: &Edn, key: &str) -> Option<u64> {
    match map.get(key)? {
        Edn::Long(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let piece = |first, last| Piece { first, last, bytes: 400, hash: [first as u8; 32] };
        Manifest {
            name: "wor\"ld".into(),
            database: DatabaseId([1; 16]),
            lineage: DatabaseId([2; 16]),
            head: Head { term: 3, seq: 40, t: 30, hash: [4; 32], index_seq: 21 },
            at: Instant(1_700_000_000_123),
            records: vec![piece(20, 29), piece(30, 40)],
            segments: 7,
            segment_bytes: 1 << 40,
            bodies: 2,
            body_bytes: 1 << 20,
            software: "test".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = manifest();
        assert_eq!(Manifest::decode("m", &manifest.encode()).unwrap(), manifest);
    }

    /// Also where it is cut off at any place.
    #[test]
    fn any_change_of_a_byte_is_noticed() {
        let bytes = manifest().encode();
        for at in 0..bytes.len() {
            assert!(Manifest::decode("m", &bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let error = Manifest::decode("m", &changed).unwrap_err();
            assert!(error.message().contains("manifest m ") || error.code() == "db.error/backup-version", "{error}");
        }
    }

    #[test]
    fn another_version_is_told_as_such() {
        let text =
            String::from_utf8(manifest().encode()).unwrap().replace("diachron-backup 1\n", "diachron-backup 2\n");
        let error = Manifest::decode("m", text.as_bytes()).unwrap_err();
        assert_eq!((error.category(), error.code()), (db::Category::Unsupported, "db.error/backup-version"));
        assert!(error.message().contains("version 2"), "{error}");
    }

    #[test]
    fn records_with_gaps_are_refused() {
        let cases: [fn(&mut Manifest); 5] = [
            |manifest| manifest.records[1].first = 31,
            |manifest| manifest.records[1].last = 41,
            |manifest| manifest.head.index_seq = 19,
            |manifest| manifest.head.index_seq = 41,
            |manifest| manifest.records[0].first = 30,
        ];
        for change in cases {
            let mut manifest = manifest();
            change(&mut manifest);
            let error = Manifest::decode("m", &manifest.encode()).unwrap_err();
            assert!(error.message().contains("has records"), "{error}");
        }
    }
}
