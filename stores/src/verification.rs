//! Verification: all that a database consists of is read and held against itself.
//!
//! 1. The log from its first record, sealed parts too: the chain, bodies in line and out of line, what index records say
//!    of each other.
//! 2. Of every index that a collector has not given up: each segment is there and has the bytes of its name.
//! 3. The newest trees: every node against its parent, sorts against each other ([`db::index::verify`]), and their lives
//!    against what the log says.
//!
//! It changes nothing, and is not done beside an erasure. A collector may take segments of the oldest index while they are read; what is missed then is
//! looked for once more among the indexes that are kept.

use crate::errors::from_storage;
use crate::log::{LogReader, body_key, key_of};
use crate::past::Past;
use crate::trees::{self, Named};
use cache::Reader;
use db::index::segment::SegmentId;
use db::index::verify::{self, Lives};
use db::log::{self, Body, Chain, Content, EraseBody, ForkBody, Hash, Header, IndexBody, RawRecord, Replaced};
use db::{AttrId, Error, Result};
use proto::v1::{VerifyFault, VerifySummary};
use std::collections::{BTreeMap, HashSet};
use storage::{DatabaseId, Head, Journal, Segments};

/// Told how far it is (stage, done, of how many); an error ends the verification.
pub type Told<'a> = dyn Fn(&str, u64, u64) -> Result<()> + Send + Sync + 'a;

/// Faults that are told; one who has found so many reads no further in what he is at.
const FAULTS_MAX: usize = 100;
const READ_BYTES: usize = 4 << 20;
/// Names of segments that are remembered as verified; beyond that, what two indexes share is read twice.
const SEEN_MAX: usize = 4 << 20;
/// Between two words about progress, in segments.
const TELL_EVERY: u64 = 64;

/// What is verified: a database up to a head, and where it lies.
pub struct Subject<'a> {
    pub journal: &'a dyn Journal,
    pub segments: &'a dyn Segments,
    pub trees: &'a Named<'a>,
    pub id: DatabaseId,
    pub head: Head,
    /// The oldest index whose segments are to be there, as it is by now.
    pub kept_from: &'a dyn Fn() -> Result<u64>,
    /// Whether the trees are to be there that forks began with: not where a repair has given them up. Their logs are.
    pub fork_trees: bool,
}

pub struct Verification<'a> {
    subject: Subject<'a>,
    told: &'a Told<'a>,
    faults: Vec<VerifyFault>,
    summary: VerifySummary,
    lives: Lives,
    /// The newest index.
    index: Option<(Header, IndexBody)>,
    /// What this database and those before it began with, where they are forks.
    forks: Vec<(Reader, ForkBody)>,
    /// Of records whose bodies were replaced and whose `erase` record has not come yet: the body's hash, and that record.
    replaced: BTreeMap<u64, (Hash, u64)>,
}

/// What a verification found.
pub struct Verified {
    pub faults: Vec<VerifyFault>,
    pub summary: VerifySummary,
    /// Trees can be made of it.
    pub log_is_whole: bool,
}

impl<'a> Verification<'a> {
    pub fn new(subject: Subject<'a>, told: &'a Told<'a>) -> Self {
        let (faults, summary, lives, forks, replaced) = Default::default();
        Verification { subject, told, faults, summary, lives, index: None, forks, replaced }
    }

    pub fn run(mut self) -> Result<Verified> {
        let index_seq = self.subject.head.index_seq;
        if index_seq > 0 {
            match self.reader().index(self.subject.id, index_seq) {
                Ok(Some(index)) => self.index = Some(index),
                Ok(None) => {
                    self.fault(format!("record {index_seq}"), "", "the head names it as the index, which it is not")
                }
                Err(error) => self.fault(format!("record {index_seq}"), segment_of(&error), error.message()),
            }
        }
        self.log()?;
        let log_is_whole = self.faults.is_empty();
        let indexes = self.indexes()?;
        self.segments(&indexes)?;
        self.trees(log_is_whole)?;
        self.summary.faults = self.faults.len() as u64;
        Ok(Verified { faults: self.faults, summary: self.summary, log_is_whole })
    }

    fn fault(&mut self, place: impl Into<String>, segment: impl Into<String>, what: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(VerifyFault { place: place.into(), segment: segment.into(), what: what.into() });
        }
    }

    fn reader(&self) -> LogReader<'a> {
        LogReader::new(self.subject.journal, self.subject.segments)
    }

    fn log(&mut self) -> Result<()> {
        let (head, id) = (self.subject.head, self.subject.id);
        let mut chain = Chain::new(log::DatabaseId(id.0));
        let (mut newest_index, mut floor) = (0, 0);
        while chain.seq() < head.seq {
            (self.told)("log", chain.seq(), head.seq)?;
            let seq = chain.seq() + 1;
            // Much at once, and where that fails a record at a time, up to the one that cannot be read.
            let read = self.reader().read(id, seq, READ_BYTES);
            let records = match read.or_else(|_| self.reader().read(id, seq, 1)) {
                Ok(records) if records.is_empty() => {
                    self.fault(format!("record {seq}"), "", "it is missing, and all after it");
                    return Ok(());
                }
                Ok(records) => records,
                Err(error) => {
                    let place = self.unreadable_from(seq, chain.t() + 1, head)?;
                    self.fault(place, segment_of(&error), of_a_backup(error.message()));
                    return Ok(());
                }
            };
            for stored in records.iter().take_while(|stored| stored.seq <= head.seq) {
                let place = format!("record {}", stored.seq);
                let record =
                    match RawRecord::parse(&stored.bytes).and_then(|record| chain.push(&record).map(|()| record)) {
                        Ok(record) => record,
                        Err(error) => {
                            self.fault(place, "", error.message());
                            return Ok(());
                        }
                    };
                self.summary.records += 1;
                self.summary.transactions += record.header.count;
                match self.body(&record) {
                    Ok(Body::Index(body)) => {
                        self.follows(place, &body, newest_index, floor);
                        newest_index = stored.seq;
                    }
                    Ok(Body::Erase(erase)) => {
                        self.follows(place, &erase.index, newest_index, floor);
                        self.replacements(stored.seq, &erase);
                        (newest_index, floor) = (stored.seq, stored.seq);
                    }
                    Ok(Body::Fork(fork)) => {
                        newest_index = stored.seq;
                        self.shared(Reader::of(&record.header), *fork)?;
                    }
                    Ok(Body::Create { datoms, .. }) => self.lives.said(&datoms, 0),
                    Ok(Body::Tx(entries)) => {
                        let index_t = self.index.as_ref().map_or(0, |index| index.1.index_t);
                        for entry in entries.iter().filter(|entry| entry.t <= index_t) {
                            self.lives.said(&entry.datoms, entry.t);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let place = format!("{place}{}", ts(record.header.first_t, record.header.last_t()));
                        self.fault(place, segment_of(&error), of_a_backup(error.message()));
                    }
                }
            }
        }
        for (seq, (_, by)) in std::mem::take(&mut self.replaced) {
            let what = format!("its body was not written by erase record {by}, as it says of itself");
            self.fault(format!("record {seq}"), "", what);
        }
        if (chain.seq(), chain.hash()) != (head.seq, head.hash) || newest_index != head.index_seq {
            self.fault(format!("record {}", chain.seq()), "", "the head names another record, or another index");
        }
        Ok(())
    }

    /// What an index says of those before it.
    fn follows(&mut self, place: String, body: &IndexBody, newest_index: u64, floor: u64) {
        if body.previous != newest_index {
            let what = format!("its index names record {} as the one before, which is {newest_index}", body.previous);
            self.fault(place, "", what);
        } else if body.floor != floor {
            let what = format!("its index names record {} as the newest erasure, which is {floor}", body.floor);
            self.fault(place, "", what);
        }
    }

    /// Holds the bodies that were met against what an `erase` record says of them.
    fn replacements(&mut self, by: u64, erase: &EraseBody) {
        for replacement in &erase.replaced {
            let seq = replacement.seq;
            match self.replaced.get(&seq) {
                // And again later.
                Some((_, later)) if *later > by => {}
                Some((hash, named)) if *named == by && *hash == replacement.new => drop(self.replaced.remove(&seq)),
                _ => {
                    let what = format!("its body is not the one that erase record {by} put there");
                    self.fault(format!("record {seq}"), "", what);
                }
            }
        }
    }

    /// Which records cannot be read, and their transactions: those from a seq on up to the next that can be read, where one
    /// piece of the log tree holds them all.
    fn unreadable_from(&self, seq: u64, t: u64, head: storage::Head) -> Result<String> {
        let readable = |seq: u64| self.reader().record(self.subject.id, seq).ok().flatten();
        let (mut known_bad, mut step) = (seq, 1);
        while known_bad + step <= head.seq && readable(known_bad + step).is_none() {
            known_bad += step;
            step *= 2;
            (self.told)("log", seq, head.seq)?;
        }
        let mut good = (known_bad + step).min(head.seq + 1);
        while good - known_bad > 1 {
            let middle = known_bad + (good - known_bad) / 2;
            match readable(middle) {
                Some(_) => good = middle,
                None => known_bad = middle,
            }
        }
        let next = if good <= head.seq { readable(good) } else { None };
        let next_t = next.and_then(|stored| Some(RawRecord::parse(&stored.bytes).ok()?.header.first_t));
        let last_t = next_t.map_or(head.t, |t| t - 1);
        Ok(match known_bad == seq {
            true => format!("record {seq}{}", ts(t, last_t)),
            false => format!("records {seq} to {known_bad}{}", ts(t, last_t)),
        })
    }

    /// What a fork has of its origin: that one's log up to there, and before it the log of the one it is a fork of itself.
    fn shared(&mut self, reader: Reader, fork: ForkBody) -> Result<()> {
        let (journal, segments, lineage) = (self.subject.journal, self.subject.segments, reader.lineage);
        let past = |fork: &ForkBody| Past { journal, segments, lineage, id: None, root: fork.index.log };
        match past(&fork).origins() {
            Ok(origins) => self.forks = std::iter::once((reader, fork)).chain(origins).collect(),
            Err(error) => {
                self.fault(
                    format!("the log of origin {}", fork.origin),
                    segment_of(&error),
                    of_a_backup(error.message()),
                );
                self.forks = vec![(reader, fork)];
                return Ok(());
            }
        }
        for (_, fork) in self.forks.clone().into_iter().rev() {
            let place = format!("the log of origin {}", fork.origin);
            let (past, end) = (past(&fork), &fork.index.chain);
            let mut chain = Chain::new(fork.origin);
            while chain.seq() < end.seq {
                (self.told)("log", chain.seq(), end.seq)?;
                let taken = past.read(chain.seq() + 1).and_then(|records| {
                    let (mut bodies, mut vouching) = (Vec::new(), past.vouching());
                    let within = |bytes: &&Vec<u8>| RawRecord::parse(bytes).map_or(true, |r| r.header.seq <= end.seq);
                    for bytes in records.iter().take_while(within) {
                        chain.push(&RawRecord::parse(bytes)?)?;
                        bodies.push(vouching.checked(bytes)?.into_body());
                    }
                    Ok(bodies)
                });
                let bodies = match taken {
                    Ok(bodies) => bodies,
                    Err(error) => {
                        self.fault(place, segment_of(&error), of_a_backup(error.message()));
                        return Ok(());
                    }
                };
                for body in bodies {
                    match body {
                        Body::Create { datoms, .. } => self.lives.said(&datoms, 0),
                        Body::Tx(entries) => {
                            for entry in entries.iter().filter(|entry| entry.t <= fork.index.index_t) {
                                self.lives.said(&entry.datoms, entry.t);
                            }
                        }
                        Body::Term { .. } | Body::Index(_) | Body::Fork(_) | Body::Erase(_) => {}
                    }
                }
            }
            if chain.state().as_ref() != Some(end) {
                self.fault(place, "", "it ends elsewhere than the fork says");
            }
        }
        Ok(())
    }

    /// A record's body. One that took another one's place is remembered until its `erase` record comes.
    fn body(&mut self, record: &RawRecord<'_>) -> Result<Body> {
        let (body, replaced) = match record.content {
            Content::Body(_) => record.any_body(None)?,
            Content::OutOfLine(place) => {
                let key = body_key(&place);
                let named = |error: Error| error.with("segment", format!("{key:?}"));
                let bytes = self.subject.segments.get(&key).map_err(|error| named(from_storage(error)))?;
                let missing =
                    || named(Error::corrupt("db.error/storage-corrupt", "the segment of its body is missing"));
                record.any_body(Some(&bytes.ok_or_else(missing)?)).map_err(named)?
            }
        };
        if let Some(Replaced { seq, hash, by, .. }) = replaced {
            self.replaced.insert(seq, (hash, by));
        }
        Ok(body)
    }

    /// The indexes whose segments are to be there, the newest first.
    fn indexes(&mut self) -> Result<Vec<u64>> {
        let newest = self.index.as_ref().map(|(header, body)| (header.seq, body.floor));
        let (newest_seq, floor) = newest.unwrap_or_default();
        let (mut indexes, from) = (Vec::new(), (self.subject.kept_from)()?.max(floor));
        let mut next = newest_seq;
        while next > 0 && next >= from {
            indexes.push(next);
            match self.reader().index(self.subject.id, next) {
                Ok(Some((_, body))) => next = body.previous,
                // Told of with the log.
                Ok(None) | Err(_) => break,
            }
        }
        self.summary.indexes = indexes.len() as u64;
        Ok(indexes)
    }

    /// Reads each segment of these indexes, and of what forks began with, once.
    fn segments(&mut self, indexes: &[u64]) -> Result<()> {
        let mut seen = HashSet::new();
        for seq in indexes {
            // One that was given up meanwhile need not be whole.
            if *seq < (self.subject.kept_from)()? {
                break;
            }
            let Ok(Some((header, body))) = self.reader().index(self.subject.id, *seq) else { break };
            let place = format!("index record {seq} (t {})", body.index_t);
            self.segments_of(&place, Reader::of(&header), &body, Some(*seq), &mut seen)?;
        }
        for (reader, fork) in self.forks.clone() {
            let place = format!("the first record of fork {} (t {})", reader.database, fork.index.index_t);
            self.segments_of(&place, reader, &fork.index, None, &mut seen)?;
        }
        Ok(())
    }

    /// `seq`: the index, if it is one that may be given up meanwhile; None of what a fork began with.
    fn segments_of(
        &mut self,
        place: &str,
        reader: Reader,
        body: &IndexBody,
        seq: Option<u64>,
        seen: &mut HashSet<[u8; 16]>,
    ) -> Result<()> {
        if self.faults.len() >= FAULTS_MAX {
            return Ok(());
        }
        let mut faults = Vec::new();
        let Subject { segments, trees, kept_from, fork_trees, .. } = self.subject;
        let (told, mut read) = (self.told, self.summary.segments);
        let mut visit = |id: &SegmentId, bytes: u32, _: bool| {
            let name: [u8; 16] =
                std::array::from_fn(|i| id.hash[i] ^ (id.job ^ id.term.rotate_left(32)).to_le_bytes()[i % 8]);
            if !seen.contains(&name) {
                if seen.len() < SEEN_MAX {
                    seen.insert(name);
                }
                read += 1;
                if read % TELL_EVERY == 0 {
                    told("segments", read, 0)?;
                }
                let what = match segments.get(&key_of(reader.lineage, id)) {
                    Ok(Some(found)) if found.len() == bytes as usize => return Ok(true),
                    Ok(Some(found)) => format!("it has {} bytes, and is named with {bytes}", found.len()),
                    Ok(None) => "it is missing".to_owned(),
                    Err(error) => error.to_string(),
                };
                faults.push((*id, what));
                return Ok(false);
            }
            // What is below was visited with it.
            Ok(false)
        };
        let walked = match seq.is_some() || fork_trees {
            true => trees::each_segment(segments, trees, reader, body, &mut visit),
            false => trees::each_of_log(segments, reader, body, &mut visit),
        };
        self.summary.segments = read;
        let given_up = match seq {
            Some(seq) => seq < kept_from()?,
            None => false,
        };
        for (id, what) in faults.into_iter().filter(|_| !given_up) {
            self.fault(place, id.to_string(), what);
        }
        match walked {
            Err(error) if error.category() == db::Category::Unavailable && error.code() == "db.error/stopping" => {
                return Err(error);
            }
            Err(error) if !given_up => self.fault(place, segment_of(&error), error.message()),
            _ => {}
        }
        Ok(())
    }

    fn trees(&mut self, log_is_whole: bool) -> Result<()> {
        let Some((header, body)) = self.index.clone() else { return Ok(()) };
        let place = format!("index record {}", header.seq);
        let (meta, trees) = match (self.subject.trees)(Reader::of(&header), &body) {
            Ok(named) => named,
            Err(error) => {
                self.fault(place, segment_of(&error), error.message());
                return Ok(());
            }
        };
        let (told, mut read) = (self.told, 0u64);
        let mut go_on = || {
            read += 1;
            match read % TELL_EVERY {
                0 => told("trees", read, 0),
                _ => Ok(()),
            }
        };
        let covers =
            |a: AttrId| meta.attributes.get(a.0 as usize).is_some_and(|attribute| attribute.avet_since.is_some());
        let room = FAULTS_MAX.saturating_sub(self.faults.len());
        let verified = verify::verify(&trees, &covers, room, &mut go_on)?;
        (self.summary.open, self.summary.closed) = (verified.open, verified.closed);
        let are_sound = verified.faults.is_empty();
        for fault in verified.faults {
            let segment = fault.segment.map_or(String::new(), |segment| segment.to_string());
            let row = fault.row.map_or(String::new(), |row| format!(", row {row}"));
            self.fault(format!("{} {}{row}", fault.tree, fault.sort.name()), segment, fault.what);
        }
        if are_sound && log_is_whole {
            let lives = Lives::of_trees(&trees, &meta.schema().entities(), &mut go_on)?;
            for what in self.lives.differences(&lives) {
                self.fault(format!("the trees of {place}"), "", what);
            }
        }
        Ok(())
    }
}

/// What cannot be made of anything else.
fn of_a_backup(what: &str) -> String {
    format!("{what}; nothing else says what this piece of the log said: restore the database from a backup")
}

/// Some transactions, in brackets.
fn ts(first: u64, last: u64) -> String {
    match last.checked_sub(first) {
        None => String::new(),
        Some(0) => format!(" (t {first})"),
        Some(_) => format!(" (t {first} to {last})"),
    }
}

pub fn segment_of(error: &Error) -> String {
    let segment = error.details().iter().find(|(key, _)| key == "segment");
    segment.map_or(String::new(), |(_, value)| match value {
        db::edn::Edn::String(text) => text.to_string(),
        other => other.to_string(),
    })
}
