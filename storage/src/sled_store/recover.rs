//! Opening a store: what the redo files say, whether sled agrees, and what to do if it does not.
//!
//! 1. The redo files are scanned from the newest back to the one with everything since the newest checkpoint.
//! 2. sled is opened. If it is ahead of the redo files, some of them are lost: refuse. If it cannot be opened,
//!    is empty, is behind its checkpoint, or holds other heads, pods, records or segments than it should, it
//!    is set aside, and a new one is made from all redo files and packs.
//! 3. What sled does not have yet is replayed into it.
//! 4. The newest frame is written over itself and synced, in case the process before ended by a failed sync.

use super::directory::{Directory, Entry};
use super::engine::{Engine, Found, Meta, ReplacedRecords, renewal};
use super::health::Health;
use super::io_error;
use super::packs::scan::{Met as PackMet, PacksAt};
use super::packs::{PackPlace, Packs};
use super::redo::frame::{decode_changes, digest};
use super::redo::scan::{Met, ScanEnd};
use super::redo::trim;
use super::redo::{Checkpoint, FrameKind, RedoFiles, RedoWriter};
use crate::state::State;
use crate::{Error, ErrorKind, Options, Result, StoredRecord, sha256};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const REDO_DIR: &str = "redo";
pub(crate) const PACKS_DIR: &str = "packs";
pub(crate) const SLED_DIR: &str = "sled";
/// Followed by a number: a sled directory that could not be used.
pub(crate) const ASIDE_PREFIX: &str = "sled.aside-";

/// How many bytes of records are checked at a time.
const CHECK_BYTES: usize = 1 << 20;

/// A store that is ready to be served.
pub(crate) struct Recovered {
    pub(crate) health: Arc<Health>,
    pub(crate) state: State,
    /// The number of the newest frame with steps, 0 when there is none.
    pub(crate) commit: u64,
    pub(crate) writer: RedoWriter,
    /// Redo files before this one are not needed any more.
    pub(crate) redo_first: u64,
    pub(crate) engine: Engine,
    pub(crate) packs: Packs,
    pub(crate) directory: Directory,
    /// What the newest checkpoint covers: the commit, and the changes of the directory.
    pub(crate) checkpointed: (u64, u64),
    pub(crate) notes: Vec<String>,
}

/// Why sled was not used as it is.
enum Setback {
    /// The store cannot be opened.
    Refuse(Error),
    /// sled has to be made again, because of this.
    Rebuild(String),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        Setback::Refuse(error)
    }
}

pub(crate) fn recover(dir: &Path, store: [u8; 16], options: &Options) -> Result<Recovered> {
    let redo_dir = dir.join(REDO_DIR);
    let files = RedoFiles::list(options.disk.clone(), &redo_dir, store)?;
    let scanned = scan_back(&files)?;
    let recovery = Recovery { dir, store, options, files: &files, scanned: &scanned };
    let mut notes = Vec::new();
    if scanned.end.restored {
        let place = super::redo::path_of(&redo_dir, files.newest());
        notes
            .push(format!("the newest frame of {} was half written; it was restored from its mirror", place.display()));
    }
    let sled_dir = dir.join(SLED_DIR);
    renewal::settle(&*options.disk, &sled_dir)?;
    let attempt = match options.disk.list(&sled_dir) {
        Ok(_) => recovery.attempt(&sled_dir, How::AsItIs),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Setback::Rebuild(String::new())),
        Err(error) => Err(Setback::Refuse(io_error("list", &sled_dir, error))),
    };
    let ready = match attempt {
        Ok(ready) => ready,
        Err(Setback::Refuse(error)) => return Err(error),
        Err(Setback::Rebuild(reason)) => {
            if !reason.is_empty() {
                let aside = recovery.set_aside(&sled_dir)?;
                notes.push(format!("sled was rebuilt: {reason}; the old one is {}", aside.display()));
            } else if scanned.checkpoint.is_some() {
                notes.push("sled was rebuilt: its directory was missing".to_owned());
            }
            files_are_whole(&files, scanned.end.redo_first..scanned.first)?;
            match recovery.attempt(&sled_dir, How::FromNothing) {
                Ok(ready) => ready,
                Err(Setback::Refuse(error)) => return Err(error),
                Err(Setback::Rebuild(reason)) => {
                    return Err(files.damaged(format!("sled could not be rebuilt from the redo files: {reason}")));
                }
            }
        }
    };
    let writer = settle_tail(&files, &redo_dir, &scanned, options)?;
    let redo_first = scanned.end.redo_first;
    trim::remove(&*options.disk, &redo_dir, files.leftovers(redo_first))
        .map_err(|error| io_error("remove redo files of", &redo_dir, error))?;
    options.disk.sync_dir(dir).map_err(|error| io_error("fsync", dir, error))?;
    let checkpointed = match (&scanned.checkpoint, ready.rebuilt) {
        (Some(checkpoint), false) => (checkpoint.commit, checkpoint.directory_changes),
        // A sled that was just made has no checkpoint; this one is never equal to what is there.
        _ => (u64::MAX, 0),
    };
    let Ready { health, engine, packs, directory, state, commit, .. } = ready;
    Ok(Recovered { health, state, commit, writer, redo_first, engine, packs, directory, checkpointed, notes })
}

/// What the redo files say.
struct Scanned {
    /// The first file that has to be replayed.
    first: u64,
    /// The newest checkpoint.
    checkpoint: Option<Checkpoint>,
    /// Where the newest file ends.
    end: ScanEnd,
    /// The end of the file before the newest, if that lacks its end frame.
    unfinished_before: Option<ScanEnd>,
}

fn scan_back(files: &RedoFiles) -> Result<Scanned> {
    let mut newest_end = None;
    let mut checkpoint: Option<Checkpoint> = None;
    let mut unfinished_before = None;
    let mut number = files.newest();
    loop {
        let mut in_this_file = None;
        let end = files.scan(number, &mut |met| {
            if let Met::Frame(frame) = met {
                match frame.kind {
                    FrameKind::Checkpoint => {
                        let decoded = Checkpoint::decode(frame.payload);
                        in_this_file = Some(decoded.ok_or_else(|| nonsense(files, number, frame.offset))?);
                    }
                    FrameKind::Steps if decode_changes(&frame).is_none() => {
                        return Err(nonsense(files, number, frame.offset));
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
        if number == files.newest() {
            files.check_none_is_missing(end.redo_first)?;
            newest_end = Some(end);
        } else if number + 1 == files.newest() && !end.ended {
            unfinished_before = Some(end);
        }
        checkpoint = checkpoint.or(in_this_file);
        let covers = checkpoint.is_some_and(|checkpoint| files.header(number).first_commit <= checkpoint.commit + 1);
        if covers || number == files.first() {
            break;
        }
        number -= 1;
    }
    let end = newest_end.unwrap_or_else(|| unreachable!("the newest file was scanned first"));
    Ok(Scanned { first: number, checkpoint, end, unfinished_before })
}

fn files_are_whole(files: &RedoFiles, mut numbers: Range<u64>) -> Result<()> {
    numbers.try_for_each(|number| files.scan(number, &mut |_| Ok(())).map(drop))
}

fn nonsense(files: &RedoFiles, number: u64, offset: u64) -> Error {
    files.damaged(format!("redo file {number}: the frame at byte {offset} is whole but makes no sense"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    FromNothing,
}

struct Recovery<'a> {
    dir: &'a Path,
    store: [u8; 16],
    options: &'a Options,
    files: &'a RedoFiles,
    scanned: &'a Scanned,
}

struct Ready {
    health: Arc<Health>,
    engine: Engine,
    packs: Packs,
    directory: Directory,
    state: State,
    commit: u64,
    rebuilt: bool,
}

impl Recovery<'_> {
    /// Opens sled and brings it up to date, or says why that cannot be.
    fn attempt(&self, sled_dir: &Path, how: How) -> Result<Ready, Setback> {
        // Failures of sled poison this health; if sled is made again, the next one gets its own.
        let health = Arc::new(Health::default());
        let cache_bytes = self.options.sled_cache_bytes;
        let engine = match Engine::open(self.options.disk.clone(), sled_dir, cache_bytes, health.clone()) {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Err(Setback::Rebuild(error.to_string())),
            opened => opened?,
        };
        let attempted = self.bring_up_to_date(&engine, &health, how);
        match attempted {
            // Whatever sled itself could not do is a reason to make it again.
            Err(Setback::Refuse(error)) if error.kind() == ErrorKind::Poisoned => {
                Err(Setback::Rebuild(error.to_string()))
            }
            Err(setback) => Err(setback),
            Ok((state, commit, directory, packs)) => {
                let rebuilt = how == How::FromNothing;
                Ok(Ready { health, engine, packs, directory, state, commit, rebuilt })
            }
        }
    }

    fn bring_up_to_date(
        &self,
        engine: &Engine,
        health: &Arc<Health>,
        how: How,
    ) -> Result<(State, u64, Directory, Packs), Setback> {
        let first = match how {
            How::AsItIs => self.scanned.first,
            How::FromNothing => {
                let first = self.scanned.end.redo_first;
                let commit = self.files.header(first).first_commit - 1;
                let beginning = self.beginning_of(first)?;
                let pod_version_last = beginning.pod_version_last();
                engine.begin(Meta { store: self.store, commit, pod_version_last }, &beginning)?;
                first
            }
        };
        let meta = self.check_meta(engine, first, how)?;
        engine.sweep_all()?;
        let (state, commit) = self.replay(engine, meta, first)?;
        let Some(replaced) = engine.replaced()? else {
            return Err(Setback::Rebuild("sled has lost word of records that were replaced".to_owned()));
        };
        check_records(engine, &state, &replaced)?;
        let changes_min = match how {
            How::AsItIs => self.scanned.checkpoint.map_or(0, |checkpoint| checkpoint.directory_changes),
            How::FromNothing => 0,
        };
        let Some(directory) = Directory::open(engine, changes_min)? else {
            return Err(Setback::Rebuild("sled has lost entries of the directory of segments".to_owned()));
        };
        let packs = self.open_packs(engine, &directory, health, how)?;
        Ok((state, commit, directory, packs))
    }

    /// Checks whether sled belongs to this store, and to a moment from which it can be brought up to date.
    fn check_meta(&self, engine: &Engine, first: u64, how: How) -> Result<Meta, Setback> {
        let rebuild = |reason: &str| Err(Setback::Rebuild(reason.to_owned()));
        let Some(meta) = engine.meta()? else { return rebuild("it was empty") };
        if meta.store != self.store {
            return rebuild("it belonged to another store");
        }
        let newest = self.scanned.end.commit_next - 1;
        if meta.commit > newest {
            return Err(Setback::Refuse(self.ahead(engine, meta, newest)?));
        }
        let checkpoint = self.scanned.checkpoint.map_or(0, |checkpoint| checkpoint.commit);
        if how == How::AsItIs && (meta.commit < checkpoint || meta.commit + 1 < self.files.header(first).first_commit) {
            return rebuild("it was behind its checkpoint");
        }
        Ok(meta)
    }

    /// sled holds what the redo files do not: part of them is lost.
    fn ahead(&self, engine: &Engine, meta: Meta, newest: u64) -> Result<Error, Setback> {
        let in_sled = engine.state(meta.pod_version_last)?.unwrap_or_default();
        let redo_state = self.replay_state_only()?;
        let ahead =
            in_sled.heads().iter().filter(|(db, head)| redo_state.head(**db).is_none_or(|redo| redo.seq < head.seq));
        let databases = ahead.map(|(db, head)| format!("database {db} is at t {} (seq {}) in sled", head.t, head.seq));
        let databases = databases.collect::<Vec<_>>().join(", ");
        let redo = self.dir.join(REDO_DIR);
        Ok(self.files.damaged(format!(
            "the redo files in {} end at commit {newest}, but sled has commit {}: {}",
            redo.display(),
            meta.commit,
            if databases.is_empty() { "pods differ" } else { &databases }
        )))
    }

    fn beginning_of(&self, number: u64) -> Result<State> {
        let mut beginning = State::default();
        self.files.scan(number, &mut |met| {
            if let Met::Begin(begin) = met {
                beginning = begin;
            }
            Ok(())
        })?;
        Ok(beginning)
    }

    fn replay_state_only(&self) -> Result<State> {
        let mut state = State::default();
        for number in self.scanned.first..=self.files.newest() {
            self.files.scan(number, &mut |met| {
                match met {
                    Met::Begin(begin) => state = begin,
                    Met::Frame(frame) if frame.kind == FrameKind::Steps => {
                        decode_changes(&frame).unwrap_or_default().iter().for_each(|change| state.apply(change));
                    }
                    Met::Frame(_) => {}
                }
                Ok(())
            })?;
        }
        Ok(state)
    }

    /// Goes through all frames from file `first` on: compares sled with them as of its own commit, and puts
    /// into it what comes after.
    fn replay(&self, engine: &Engine, meta: Meta, first: u64) -> Result<(State, u64), Setback> {
        let mut replay = Replay { engine, meta, state: None, commit: 0, compared: false, differs: None };
        for number in first..=self.files.newest() {
            self.files.scan(number, &mut |met| replay.meet(self.files, number, met))?;
            if let Some(difference) = replay.differs {
                return Err(Setback::Rebuild(difference));
            }
        }
        replay.compare()?;
        match (replay.differs, replay.state) {
            (Some(difference), _) => Err(Setback::Rebuild(difference)),
            (None, Some(state)) => Ok((state, replay.commit.max(meta.commit))),
            (None, None) => unreachable!("every file begins with all heads and pods"),
        }
    }

    fn open_packs(
        &self,
        engine: &Engine,
        directory: &Directory,
        health: &Arc<Health>,
        how: How,
    ) -> Result<Packs, Setback> {
        let dir = self.dir.join(PACKS_DIR);
        let from = match (how, &self.scanned.checkpoint) {
            (How::AsItIs, Some(checkpoint)) => checkpoint.packs,
            _ => PackPlace::START,
        };
        let at = PacksAt {
            disk: self.options.disk.clone(),
            dir: &dir,
            store: self.store,
            pack_bytes_target: self.options.pack_bytes_target,
            entropy: self.options.entropy.clone(),
            health: health.clone(),
        };
        let packs = Packs::open(at, from, self.scanned.end.packs, &mut |met| match met {
            PackMet::Damage(place) => directory.note_damage(engine, place),
            PackMet::Frame(place, header) => {
                directory.insert(engine, &header.key, Entry { place, length: header.length })
            }
        })?;
        Ok(packs)
    }

    /// Puts a sled directory out of the way. It stays, since it may be what somebody wants to look at, until a scrub.
    fn set_aside(&self, sled_dir: &Path) -> Result<PathBuf> {
        let disk = &*self.options.disk;
        let names = disk.list(self.dir).map_err(|error| io_error("list", self.dir, error))?;
        let taken = names.iter().filter_map(|name| name.strip_prefix(ASIDE_PREFIX)?.parse::<u64>().ok()).max();
        let aside = self.dir.join(format!("{ASIDE_PREFIX}{}", taken.unwrap_or(0) + 1));
        disk.rename(sled_dir, &aside).map_err(|error| io_error("set aside", sled_dir, error))?;
        disk.sync_dir(self.dir).map_err(|error| io_error("fsync", self.dir, error))?;
        Ok(aside)
    }
}

struct Replay<'a> {
    engine: &'a Engine,
    /// What sled held when it was opened.
    meta: Meta,
    state: Option<State>,
    /// The newest frame with steps.
    commit: u64,
    compared: bool,
    /// How sled differs from the redo files.
    differs: Option<String>,
}

impl Replay<'_> {
    fn meet(&mut self, files: &RedoFiles, number: u64, met: Met) -> Result<()> {
        if self.differs.is_some() {
            return Ok(());
        }
        let frame = match met {
            Met::Begin(begin) => {
                match &self.state {
                    Some(state) if *state != begin => {
                        let message = format!("redo file {number} does not begin as the file before it ends");
                        return Err(files.damaged(message));
                    }
                    _ => self.state = Some(begin),
                }
                return Ok(());
            }
            Met::Frame(frame) if frame.kind == FrameKind::Steps => frame,
            Met::Frame(_) => return Ok(()),
        };
        if frame.commit > self.meta.commit {
            self.compare()?;
            if self.differs.is_some() {
                return Ok(());
            }
        }
        let changes = decode_changes(&frame).ok_or_else(|| nonsense(files, number, frame.offset))?;
        let state = self.state.get_or_insert_default();
        changes.iter().for_each(|change| state.apply(change));
        self.commit = frame.commit;
        if frame.commit > self.meta.commit {
            let pod_version_last = state.pod_version_last();
            self.engine.apply(Meta { commit: frame.commit, pod_version_last, ..self.meta }, &changes)?;
        }
        Ok(())
    }

    /// Compares sled's heads and pods with those of the redo files, once, at sled's own commit.
    fn compare(&mut self) -> Result<()> {
        if self.compared {
            return Ok(());
        }
        self.compared = true;
        let in_sled = self.engine.state(self.meta.pod_version_last)?;
        let same =
            in_sled.is_some_and(|in_sled| self.state.as_ref().is_some_and(|state| digest(state) == digest(&in_sled)));
        if !same {
            self.differs = Some(format!("its heads and pods differed at commit {}", self.meta.commit));
        }
        Ok(())
    }
}

/// Checks that the records that were not sealed are all there, each as it was written or replaced.
fn check_records(engine: &Engine, state: &State, replaced: &ReplacedRecords) -> Result<(), Setback> {
    for (db, head) in state.heads() {
        let mut next = state.sealed_before(*db);
        while next <= head.seq {
            match engine.records(*db, next, head.seq, CHECK_BYTES)? {
                Found::Records(records) => {
                    next += records.len() as u64;
                    let is_another = |record: &&StoredRecord| match replaced.get(&(*db, record.seq)) {
                        Some(hash) => sha256(&record.bytes) != *hash,
                        None => false,
                    };
                    if let Some(record) = records.iter().find(is_another) {
                        let what = format!("record {} of {db} is not what it was replaced by", record.seq);
                        return Err(Setback::Rebuild(what));
                    }
                }
                Found::Broken(what) => return Err(Setback::Rebuild(what)),
            }
        }
    }
    Ok(())
}

/// Writes the newest frame over itself, and the end frame that a cut kept out of the file before, and syncs.
fn settle_tail(files: &RedoFiles, redo_dir: &Path, scanned: &Scanned, options: &Options) -> Result<RedoWriter> {
    let newest = files.newest();
    if let Some(end) = &scanned.unfinished_before {
        let path = super::redo::path_of(redo_dir, newest - 1);
        let writer = rewrite_newest_frame(files, newest - 1, end, redo_dir, options)?;
        writer.write_missing_end(scanned.end.packs).map_err(|error| io_error("end", &path, error))?;
    }
    let writer = rewrite_newest_frame(files, newest, &scanned.end, redo_dir, options)?;
    options.disk.sync_dir(redo_dir).map_err(|error| io_error("fsync", redo_dir, error))?;
    Ok(writer)
}

/// The writer that goes on where a scan ended, after the newest frame stands in its place and in its mirror.
fn rewrite_newest_frame(
    files: &RedoFiles,
    number: u64,
    end: &ScanEnd,
    redo_dir: &Path,
    options: &Options,
) -> Result<RedoWriter> {
    let (header, file) = (files.header(number).clone(), files.open(number)?);
    let rewrite = || {
        if let Some((offset, bytes)) = &end.newest {
            file.write_all_at(bytes, *offset)?;
            file.write_all_at(bytes, header.mirror_offset(end.commit_next - 1))?;
        }
        file.sync_all()
    };
    rewrite().map_err(|error| io_error("fsync", &super::redo::path_of(redo_dir, number), error))?;
    Ok(RedoWriter::new(options.disk.clone(), redo_dir, header, file, end.offset, end.commit_next))
}
