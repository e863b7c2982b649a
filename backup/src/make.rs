//! Making a backup.
//!
//! What a database consists of at its head is found as garbage collection finds it: from the newest index down. Segments
//! that the target does not have are copied by some threads while that goes on; then come the records after the log tree,
//! and when all of it is durable, the manifest. Whatever ends it before leaves files that the next one need not send.

use crate::layout;
use crate::manifest::{self, Manifest, Piece};
use crate::snapshot::{SEGMENT_BYTES_MAX, trees_of};
use crate::target::Target;
use crate::{Progress, Told};
use cache::Reader;
use db::log::{self, BodyPlace, Chain, Content, IndexBody, Kind, RawRecord, push_frame};
use db::{Category, Error, Instant, Result};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use storage::{DatabaseId, Head, Journal, SegmentKey, Segments, Store, sha256};
use stores::errors::from_storage;
use stores::log::{LogReader, SEGMENT_MISSING, body_key, key_of};
use stores::past::Past;
use stores::trees;

/// What a backup is made of, and where it goes.
pub struct Backup<'a> {
    /// Where the database lives; it is only read.
    pub store: &'a Store,
    pub database: DatabaseId,
    /// Its name, for whoever lists backups.
    pub name: &'a str,
    pub target: &'a dyn Target,
    pub now: Instant,
    /// Trust no earlier backup: what was lost of one is sent again.
    pub full: bool,
    /// Segments that are copied at once.
    pub threads: usize,
    pub told: &'a Told<'a>,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub manifest: Manifest,
    /// What was sent; the rest was there.
    pub segments_sent: u64,
    /// Of segments and of records.
    pub bytes_sent: u64,
    /// There is such a backup already, and nothing was to be done.
    pub was_there: bool,
}

/// A piece of records ends with the one that reaches this.
pub const PIECE_BYTES: usize = 4 << 20;
/// Segments that wait for a thread.
const WAITING_MAX: usize = 256;
/// Names that are remembered. Of more segments some are sent twice.
const NAMES_MAX: usize = 8 << 20;
/// While a backup is made the index may move so often that what it began with is gone.
const TRIES_MAX: usize = 4;
/// Between two words about progress, in segments.
const TELL_EVERY: u64 = 64;
const LISTED_TELL_EVERY: usize = 4096;

/// Makes a backup of a database as it is when this begins, or a little later.
pub fn make(backup: &Backup<'_>) -> Result<Made> {
    manifest::prepare_target(backup.target)?;
    let (journal, segments) = (backup.store.journal(), backup.store.segments());
    let mut head = head_of(&*journal, backup)?;
    for tries in 1.. {
        match (Making { backup, journal: &*journal, segments: segments.clone(), head }).run() {
            Err(error) if error.code() == SEGMENT_MISSING && tries < TRIES_MAX => {
                let newer = head_of(&*journal, backup)?;
                // Of the same index nothing is collected: it is damage.
                if newer.index_seq == head.index_seq {
                    return Err(error);
                }
                head = newer;
            }
            made => return made,
        }
    }
    unreachable!("the last try is returned")
}

fn head_of(journal: &dyn Journal, backup: &Backup<'_>) -> Result<Head> {
    journal.head(backup.database).map_err(from_storage)?.ok_or_else(|| {
        let message = format!("database {:?} ({}) has no log", backup.name, backup.database);
        Error::not_found("db.error/unknown-database", message)
    })
}

struct Making<'a> {
    backup: &'a Backup<'a>,
    journal: &'a dyn Journal,
    segments: Arc<dyn Segments>,
    head: Head,
}

/// A segment's name in few bytes.
type Short = [u8; 16];

/// A segment that is to be copied, and how long it is.
type Wanted = (SegmentKey, u64);

/// What the copying threads and the one that finds segments know of each other.
struct Shared<'a> {
    wanted: Mutex<Receiver<Wanted>>,
    /// Of whoever failed first. Held for a line.
    failure: Mutex<Option<Error>>,
    named: AtomicU64,
    done: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    told: &'a Told<'a>,
}

impl Making<'_> {
    fn run(&self) -> Result<Made> {
        let (id, head) = (self.backup.database, self.head);
        let reader = LogReader::new(self.journal, &*self.segments);
        let newest = reader.record(id, head.seq)?.ok_or_else(|| self.lost(head.seq))?;
        let lineage = RawRecord::parse(&newest.bytes)?.header.lineage;
        let index = match head.index_seq {
            0 => None,
            seq => Some(reader.index(id, seq)?.ok_or_else(|| self.lost(seq))?),
        };
        let root = index.as_ref().and_then(|(_, body)| body.log);
        let log = Past { journal: self.journal, segments: &*self.segments, lineage, id: Some(id), root };
        let earlier = self.earlier(&log)?;
        let lineage_id = DatabaseId(lineage.0);
        let was_there = earlier.as_ref().is_some_and(|manifest| manifest.head == head);

        let present = self.present(lineage_id)?;
        let (wanted_put, wanted) = sync_channel(WAITING_MAX);
        let shared = Shared {
            wanted: Mutex::new(wanted),
            failure: Mutex::default(),
            named: AtomicU64::new(0),
            done: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            told: self.backup.told,
        };
        let [of_index, bodies] = std::thread::scope(|scope| {
            for _ in 0..self.backup.threads.max(1) {
                scope.spawn(|| shared.copy(&*self.segments, self.backup.target));
            }
            // Dropped when all is found, which ends the threads.
            let mut finding =
                Finding { shared: &shared, wanted: wanted_put, present, seen: HashSet::new(), found: Sum::default() };
            match self.find(&log, index.as_ref(), earlier.as_ref(), &mut finding) {
                Ok(sums) => sums,
                Err(error) => {
                    shared.fail(Some(error));
                    Default::default()
                }
            }
        });
        if let Some(error) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let (records, record_bytes) = self.records(&log, index.as_ref())?;
        self.backup.target.settle()?;
        let manifest = Manifest {
            name: self.backup.name.to_owned(),
            database: id,
            lineage: lineage_id,
            head,
            at: self.backup.now,
            records,
            segments: of_index.segments,
            segment_bytes: of_index.bytes,
            bodies: bodies.segments,
            body_bytes: bodies.bytes,
            software: format!("diachron-backup {}", env!("CARGO_PKG_VERSION")),
        };
        // What comes before a stop leaves no backup, what comes after leaves one.
        (self.backup.told)(&Progress { stage: "manifest".to_owned(), ..Progress::default() })?;
        self.backup.target.put(&manifest.file(), &manifest.encode())?;
        self.backup.target.settle()?;
        let (segments_sent, sent_bytes) = (shared.sent.into_inner(), shared.sent_bytes.into_inner());
        Ok(Made { manifest, segments_sent, bytes_sent: sent_bytes + record_bytes, was_there })
    }

    /// The newest backup of an earlier time of this log.
    fn earlier(&self, log: &Past<'_>) -> Result<Option<Manifest>> {
        for file in manifest::files(self.backup.target, Some(self.backup.database))?.iter().rev() {
            // One that cannot be read is no help; whoever lists backups is told of it.
            let Some(Ok(manifest)) = manifest::read(self.backup.target, file)? else { continue };
            let Head { seq, hash, .. } = manifest.head;
            if seq <= self.head.seq && log.record(seq)?.hash() == hash {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    /// The segments of a lineage that are there, and how long each is.
    fn present(&self, lineage: DatabaseId) -> Result<HashMap<Short, u64>> {
        let mut present = HashMap::new();
        self.backup.target.list(&layout::segments_of(lineage), &mut |file, bytes| {
            if present.len() < NAMES_MAX {
                present.insert(short(file), bytes);
            }
            if present.len().is_multiple_of(LISTED_TELL_EVERY) {
                (self.backup.told)(&Progress {
                    stage: "looking".into(),
                    done: present.len() as u64,
                    ..Progress::default()
                })?;
            }
            Ok(())
        })?;
        Ok(present)
    }

    /// Tells of every segment that belongs to the backup; gives how much that is of indexes, and of bodies out of line.
    fn find(
        &self,
        log: &Past<'_>,
        index: Option<&(log::Header, IndexBody)>,
        earlier: Option<&Manifest>,
        finding: &mut Finding<'_, '_>,
    ) -> Result<[Sum; 2]> {
        let named = trees_of(self.segments.clone())?;
        let forks = log.origins()?;
        let of_index = index.iter().map(|(header, body)| (Reader::of(header), body));
        let of_forks = forks.iter().map(|(reader, fork)| (*reader, &fork.index));
        for (reader, body) in of_index.chain(of_forks) {
            let mut visit = |id: &db::index::segment::SegmentId, bytes: u32, _: bool| {
                finding.add(key_of(reader.lineage, id), u64::from(bytes))
            };
            trees::each_segment(&*self.segments, &*named, reader, body, &mut visit)?;
        }
        let of_index = std::mem::take(&mut finding.found);
        // An earlier backup has the bodies of its time, unless they were replaced since.
        if let Some(manifest) = earlier.filter(|_| !self.backup.full) {
            finding.found = Sum { segments: manifest.bodies, bytes: manifest.body_bytes };
            if bodies(log, manifest.head.seq + 1, self.head.seq, finding)? {
                return Ok([of_index, finding.found]);
            }
            finding.found = Sum::default();
            finding.seen.clear();
        }
        bodies(log, 1, self.head.seq, finding)?;
        for (_, fork) in &forks {
            let end = fork.index.log.map_or(0, |root| root.seq);
            bodies(&Past { id: None, root: fork.index.log, ..*log }, 1, end, finding)?;
        }
        Ok([of_index, finding.found])
    }

    /// Sends the records that the index has in no log tree; gives their files, and how many bytes were sent.
    fn records(&self, log: &Past<'_>, index: Option<&(log::Header, IndexBody)>) -> Result<(Vec<Piece>, u64)> {
        let id = self.backup.database;
        let mut present = HashSet::new();
        self.backup.target.list(&layout::records_of(id), &mut |file, _| {
            present.insert(short(file));
            Ok(())
        })?;
        let mut chain = match index {
            // A fork's first record tells where it begins, and stands in its log.
            Some((header, body)) if header.kind != Kind::Fork => {
                Chain::resume(header.database, header.lineage, &body.chain)?
            }
            _ => Chain::new(log::DatabaseId(id.0)),
        };
        let first = log.root.map_or(1, |root| root.seq + 1);
        if chain.seq() + 1 != first {
            let message = format!("the log tree of the index ends before record {first}, its chain at {}", chain.seq());
            return Err(Error::corrupt("db.error/storage-corrupt", message));
        }
        let (mut pieces, mut sent) = (Vec::new(), 0);
        let (mut frames, mut first) = (Vec::new(), first);
        let mut put = |frames: &mut Vec<u8>, first: &mut u64, last: u64| {
            let piece = Piece { first: *first, last, bytes: frames.len() as u64, hash: sha256(frames) };
            let file = layout::records(id, piece.first, piece.last, &piece.hash);
            if !present.contains(&short(&file)) {
                self.backup.target.put(&file, frames)?;
                sent += piece.bytes;
            }
            pieces.push(piece);
            frames.clear();
            *first = last + 1;
            Ok::<_, Error>(())
        };
        while chain.seq() < self.head.seq {
            for bytes in log.read(chain.seq() + 1)? {
                if chain.seq() == self.head.seq {
                    break;
                }
                let record = RawRecord::parse(&bytes)?;
                chain.push(&record)?;
                push_frame(&mut frames, &bytes, &record.hash);
                if frames.len() >= PIECE_BYTES {
                    put(&mut frames, &mut first, chain.seq())?;
                }
            }
            let (done, total) = (chain.seq(), self.head.seq);
            (self.backup.told)(&Progress { stage: "records".into(), done, total, bytes: 0 })?;
        }
        if !frames.is_empty() {
            put(&mut frames, &mut first, chain.seq())?;
        }
        if (chain.seq(), chain.hash()) != (self.head.seq, self.head.hash) {
            return Err(self.lost(self.head.seq));
        }
        Ok((pieces, sent))
    }

    fn lost(&self, seq: u64) -> Error {
        let message = format!("record {seq} of database {} is not the one that its head names", self.backup.database);
        Error::corrupt("db.error/storage-corrupt", message).with("seq", seq as i64)
    }
}

/// Tells of the bodies out of line of some records; false, and no more, where a record replaces bodies.
fn bodies(log: &Past<'_>, from: u64, to: u64, finding: &mut Finding<'_, '_>) -> Result<bool> {
    let mut seq = from;
    while seq <= to {
        for bytes in log.read(seq)? {
            let record = RawRecord::parse(&bytes)?;
            if record.header.seq > to {
                break;
            }
            if record.header.kind == Kind::Erase && from > 1 {
                return Ok(false);
            }
            if let Content::OutOfLine(place) = &record.content {
                let BodyPlace { length, .. } = *place;
                finding.add(body_key(place), length)?;
            }
            seq = record.header.seq + 1;
        }
        finding.shared.tell("bodies")?;
    }
    Ok(true)
}

/// Whoever finds what a backup consists of.
struct Finding<'s, 'a> {
    shared: &'s Shared<'a>,
    wanted: SyncSender<Wanted>,
    present: HashMap<Short, u64>,
    seen: HashSet<Short>,
    found: Sum,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    segments: u64,
    bytes: u64,
}

impl Finding<'_, '_> {
    /// Whether it was not told of before.
    fn add(&mut self, key: SegmentKey, bytes: u64) -> Result<bool> {
        let name = short(&layout::segment(&key));
        if self.seen.contains(&name) {
            return Ok(false);
        }
        if self.seen.len() < NAMES_MAX {
            self.seen.insert(name);
        }
        self.found.segments += 1;
        self.found.bytes += bytes;
        self.shared.named.fetch_add(1, Ordering::Relaxed);
        if self.present.get(&name) == Some(&bytes) {
            self.shared.done.fetch_add(1, Ordering::Relaxed);
        } else if self.wanted.send((key, bytes)).is_err() {
            return Err(Error::fault("the threads that copy segments are gone"));
        }
        if self.found.segments.is_multiple_of(TELL_EVERY) {
            self.shared.tell("segments")?;
        }
        // Another one has failed.
        match self.shared.has_failed() {
            true => Err(Error::new(Category::Interrupted, "db.error/cancelled", "the backup was ended by an error")),
            false => Ok(true),
        }
    }
}

impl Shared<'_> {
    /// Copies segments until there are no more.
    fn copy(&self, from: &dyn Segments, to: &dyn Target) {
        loop {
            // Held while one waits for the next; the others wait for that.
            let next = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((key, bytes)) = next else { return };
            // The rest is taken and left, so that whoever finds it need not wait.
            if !self.has_failed() {
                self.fail(self.copy_one(from, to, &key, bytes).err());
            }
        }
    }

    fn copy_one(&self, from: &dyn Segments, to: &dyn Target, key: &SegmentKey, length: u64) -> Result<()> {
        let found = from.get(key).map_err(from_storage)?.ok_or_else(|| {
            let message = format!("segment {key:?} is missing");
            Error::new(Category::Unavailable, SEGMENT_MISSING, message).with("segment", format!("{key:?}"))
        })?;
        if found.len() as u64 != length || length > SEGMENT_BYTES_MAX {
            let message = format!("segment {key:?} has {} bytes, and is named with {length}", found.len());
            return Err(Error::corrupt("db.error/storage-corrupt", message));
        }
        to.put(&layout::segment(key), &found)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(length, Ordering::Relaxed);
        self.tell("segments")
    }

    fn tell(&self, stage: &str) -> Result<()> {
        let [done, total, bytes] = [&self.done, &self.named, &self.sent_bytes].map(|n| n.load(Ordering::Relaxed));
        (self.told)(&Progress { stage: stage.to_owned(), done, total, bytes })
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn fail(&self, error: Option<Error>) {
        if let Some(error) = error {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

fn short(file: &str) -> Short {
    let hash = sha256(file.as_bytes());
    std::array::from_fn(|i| hash[i])
}
