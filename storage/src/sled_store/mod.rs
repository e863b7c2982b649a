//! The store `sled:DIR`: redo files are the log's durable home, pack files the segments', and sled holds a
//! copy of the one and a directory of the other, to read from.
//!
//! ```text
//! DIR/store                 what this directory is: format and id
//! DIR/lock                  held by the process that serves the store
//! DIR/redo/0000000001.redo  see [`redo`]
//! DIR/packs/0000000001.pack see [`packs`]
//! DIR/sled                  see [`engine`]; may be taken away, it is made again
//! DIR/sled.next, sled.old   sled while it is made anew, and what it was before
//! DIR/sled.aside-1          a sled directory that could not be used; kept, until a scrub, for whoever wants to know why
//! ```
//! A step is durable when its redo frame is, visible after that, and a moment later in sled (see [`lag`]). An error on
//! the way to disk, or a panic in sled, poisons the store: it refuses everything until the process starts again.

mod bytes;
mod commit;
mod create;
mod directory;
mod engine;
mod health;
mod keeper;
mod lag;
mod packs;
mod recover;
mod redo;
mod scrub;

use crate::disk::Disk;
use crate::state::{Answer, Step, Writer};
use crate::{
    Appended, Compacted, Compaction, DatabaseId, Error, ErrorKind, Head, Journal, Options, PodPut, PodVersion, Records,
    Replaced, Result, Scrub, Scrubbed, SegmentKey, Segments, Store, StoredRecord, Usage, Waiting, segments,
};
use commit::{Committer, Ending, Queue, closed};
use directory::{Directory, Entry};
use engine::{Engine, Found};
use health::Health;
use keeper::{Keeper, Work};
use lag::{Lag, Seen};
use packs::Packs;
use packs::compact::{Compacting, may_have_moved};
use redo::trim::RedoKnown;
use scrub::Scrubbing;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

/// The format of all files of a store, as it is made. A store of another format is refused; redo files may have a
/// higher one, see [`redo::FORMAT_REPLACED`].
pub(crate) const FORMAT: u32 = 1;

/// So many segments are forgotten in one step of sled.
const DELETED_AT_ONCE: usize = 500;

/// Opens the store in this directory, or makes one where there is nothing.
pub(crate) fn open(dir: &Path, options: Options) -> Result<Store> {
    check_options(&options)?;
    let opened = create::open_or_create(dir, &options)?;
    let recovered = recover::recover(dir, opened.store, &options)?;
    let notes = recovered.notes.clone();
    let store = Arc::new(SledStore::start(dir, options, opened, recovered)?);
    let (journal, segments) = (store.clone(), store.clone());
    Ok(Store::new(journal, segments, notes, move || store.close()))
}

struct SledStore {
    dir: PathBuf,
    options: Options,
    health: Arc<Health>,
    queue: Arc<Queue>,
    packs: Arc<Packs>,
    directory: Arc<Directory>,
    /// None when the store is closed. Held to take the engine out or to copy the pointer.
    engine: RwLock<Option<Arc<Engine>>>,
    /// What is visible and not in sled yet.
    lag: Arc<Lag>,
    redo: Arc<RedoKnown>,
    /// Held while segments and records are copied to give space back.
    compacting: Mutex<Scrubbing>,
    /// Held by each who replaces a record; alone from reading records to having said them again, which would bring back
    /// bytes that were replaced meanwhile.
    replacing: RwLock<()>,
    /// The threads, and the lock that is given back after them.
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Commit thread and keeper.
    threads: [JoinHandle<()>; 2],
    /// Carries into sled what the commit thread made durable.
    carrier: JoinHandle<()>,
    lock: File,
}

impl SledStore {
    fn start(dir: &Path, options: Options, opened: create::Opened, recovered: recover::Recovered) -> Result<SledStore> {
        let recover::Recovered {
            health,
            state,
            commit,
            writer,
            redo_first,
            engine,
            packs,
            directory,
            checkpointed,
            ..
        } = recovered;
        let scrubbing = Scrubbing::new(&options.entropy)?;
        let seals = state.seals().clone();
        let redo = Arc::new(RedoKnown::new(redo_first..writer.number()));
        let (engine, packs, directory) = (Arc::new(engine), Arc::new(packs), Arc::new(directory));
        let queue = Arc::new(Queue::new(&options, health.clone()));
        let lag = Arc::new(Lag::new(health.clone(), commit));
        let work = Work {
            disk: options.disk.clone(),
            redo_dir: dir.join(recover::REDO_DIR),
            redo_file_bytes: options.redo_file_bytes,
            engine: engine.clone(),
            lag: lag.clone(),
            packs: packs.clone(),
            directory: directory.clone(),
            queue: queue.clone(),
        };
        let no_thread = |error| Error::new(ErrorKind::Io, "could not start a thread for the store").with_source(error);
        let (keeper, keeper_thread) = Keeper::spawn(work).map_err(no_thread)?;
        let committer = Committer {
            options: options.clone(),
            dir: dir.to_owned(),
            store: opened.store,
            health: health.clone(),
            queue: queue.clone(),
            checkpoint_due: checkpointed != (commit, directory.changes()),
            state,
            commit,
            writer,
            redo: redo.clone(),
            engine: engine.clone(),
            lag: lag.clone(),
            packs: packs.clone(),
            directory: directory.clone(),
            keeper,
            checkpointed,
            bytes_since_checkpoint: 0,
            asked: 0,
        };
        let carrier = {
            let (lag, engine, queue) = (lag.clone(), engine.clone(), queue.clone());
            let run = move || lag.run(&engine, seals, || queue.wake());
            std::thread::Builder::new().name("storage-sled".into()).spawn(run).map_err(no_thread)?
        };
        let commit_thread = std::thread::Builder::new().name("storage-commit".into()).spawn(move || committer.run());
        let commit_thread = commit_thread.map_err(|error| {
            lag.end();
            no_thread(error)
        });
        let threads = [commit_thread?, keeper_thread];
        Ok(SledStore {
            dir: dir.to_owned(),
            options,
            health,
            queue,
            packs,
            directory,
            engine: RwLock::new(Some(engine)),
            lag,
            redo,
            compacting: Mutex::new(scrubbing),
            replacing: RwLock::default(),
            running: Mutex::new(Some(Running { threads, carrier, lock: opened.lock })),
        })
    }

    fn close(&self) -> Result<()> {
        self.end(Ending::Closed);
        self.health.check()
    }

    fn end(&self, ending: Ending) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { threads, carrier, lock }) = running else { return };
        self.queue.end(ending);
        for thread in threads {
            // A panic in the commit thread poisoned the store already.
            let _ = thread.join();
        }
        self.lag.end();
        let _ = carrier.join();
        drop(self.engine.write().unwrap_or_else(PoisonError::into_inner).take());
        drop(lock);
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        self.health.check()?;
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner).clone();
        engine.ok_or_else(closed)
    }

    fn step(&self, step: Step) -> Result<Answer> {
        step.check(&self.options)?;
        self.queue.submit(step)
    }

    fn in_packs<T>(&self, engine: &Engine, work: impl FnOnce(&Compacting) -> Result<T>) -> Result<T> {
        work(&Compacting {
            packs: &self.packs,
            directory: &self.directory,
            engine,
            check_space: &|| self.check_space_for_segments(),
            checkpoint: &|| self.queue.checkpoint(),
        })
    }

    fn check_space_for_segments(&self) -> Result<()> {
        let free = self.options.disk.bytes_free(&self.dir).map_err(|error| io_error("measure", &self.dir, error))?;
        if free >= self.options.free_bytes_reserve {
            return Ok(());
        }
        let (reserve, dir) = (self.options.free_bytes_reserve, self.dir.display());
        Err(Error::new(ErrorKind::Busy, format!("less than {reserve} bytes are free for {dir}; free some space")))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.end(Ending::Dropped);
    }
}

impl Journal for SledStore {
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.step(Step::Append { db, expected, new_head, record: record.to_vec(), by: Writer::SameTerm })
            .map(Answer::appended)
    }

    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        let expected = Some(expected);
        self.step(Step::Append { db, expected, new_head, record: record.to_vec(), by: Writer::NewTerm })
            .map(Answer::appended)
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        let engine = self.engine()?;
        let from_seq = from_seq.max(1);
        // What waits for sled is looked at first: whatever is not there any more is in sled.
        let (first_pending, head_seq, pending) = match self.lag.seen(db, from_seq) {
            Seen::Tail { first_seq, head, records } => (first_seq, head.seq, records),
            Seen::Dropped => return Ok(Records::Found(Vec::new())),
            Seen::Nothing => match engine.head(db)? {
                Some(head) => (head.seq + 1, head.seq, Vec::new()),
                None => return Ok(Records::Found(Vec::new())),
            },
        };
        let sealed = || match engine.sealed_before(db)? {
            before_seq if from_seq < before_seq => Ok(Some(Records::Sealed { before_seq })),
            _ => Ok::<_, Error>(None),
        };
        if let Some(sealed) = sealed()? {
            return Ok(sealed);
        }
        let mut records = Vec::new();
        if from_seq < first_pending {
            match engine.records(db, from_seq, first_pending - 1, bytes_max)? {
                Found::Records(found) => records = found,
                // A drop may have come between head and records; then there are none.
                Found::Broken(_) if self.head(db)?.is_none_or(|now| now.seq < head_seq) => {
                    return Ok(Records::Found(Vec::new()));
                }
                Found::Broken(what) => {
                    // They may have been sealed since we looked.
                    if let Some(sealed) = sealed()? {
                        return Ok(sealed);
                    }
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        format!("sled in {}: {what}; start the store again, it then rebuilds sled", self.dir.display()),
                    ));
                }
            }
        }
        // A read from sled that stopped at its limit goes on another time.
        let is_whole = records.last().map_or(from_seq, |last| last.seq + 1) >= first_pending;
        let mut bytes_sum: usize = records.iter().map(|record| record.bytes.len()).sum();
        for record in pending.iter().take_while(|_| is_whole) {
            let bytes = record.bytes();
            bytes_sum += bytes.len();
            if !records.is_empty() && bytes_sum > bytes_max {
                break;
            }
            records.push(StoredRecord { seq: record.seq, bytes: bytes.to_vec() });
        }
        Ok(Records::Found(records))
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        let engine = self.engine()?;
        match self.lag.seen(db, u64::MAX) {
            Seen::Tail { head, .. } => Ok(Some(head)),
            Seen::Dropped => Ok(None),
            Seen::Nothing => engine.head(db),
        }
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        self.step(Step::Seal { db, before_seq })?.sealed()
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        let _with_others = self.replacing.read().unwrap_or_else(PoisonError::into_inner);
        self.step(Step::Replace { db, seq, old, record: record.to_vec(), stored: None })?.replaced()
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.engine()?.pod(name)
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        self.step(Step::PutPod { name: name.to_owned(), expected, bytes: bytes.to_vec() }).map(Answer::pod)
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        self.step(Step::DeletePod { name: name.to_owned(), version }).map(Answer::pod)
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.engine()?.pod_names(prefix)
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        self.step(Step::Drop { db }).map(drop)
    }

    fn queues(&self) -> Vec<Waiting> {
        self.queue.waiting().into_iter().chain(self.lag.waiting()).collect()
    }
}

impl Segments for SledStore {
    fn put(&self, key: &SegmentKey, bytes: &[u8]) -> Result<()> {
        segments::check(key, bytes, self.options.segment_bytes_max)?;
        let engine = self.engine()?;
        if self.directory.find(&engine, key)?.is_some() {
            return Ok(());
        }
        self.check_space_for_segments()?;
        let placed = self.packs.append(key, bytes)?;
        // The length was checked against `segment_bytes_max`, which has 32 bits.
        self.directory.insert(&engine, key, Entry { place: placed.place, length: bytes.len() as u32 })
    }

    fn put_all(&self, segments: &[(SegmentKey, Vec<u8>)]) -> Result<()> {
        for (key, bytes) in segments {
            segments::check(key, bytes, self.options.segment_bytes_max)?;
        }
        let engine = self.engine()?;
        self.check_space_for_segments()?;
        let mut new = Vec::with_capacity(segments.len());
        for (key, bytes) in segments {
            if self.directory.find(&engine, key)?.is_none() {
                new.push((key, &bytes[..]));
            }
        }
        let placed = self.packs.append_all(&new)?;
        for ((key, bytes), placed) in new.into_iter().zip(placed) {
            self.directory.insert(&engine, key, Entry { place: placed.place, length: bytes.len() as u32 })?;
        }
        Ok(())
    }

    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>> {
        segments::check_key(key)?;
        let engine = self.engine()?;
        while let Some(entry) = self.directory.find(&engine, key)? {
            match self.packs.read(entry.place, entry.length, key) {
                // It may have been copied to another place, or deleted, since we looked.
                Err(error) if may_have_moved(&error) && self.directory.find(&engine, key)? != Some(entry) => {}
                read => return read.map(Some),
            }
        }
        match self.directory.damage().first() {
            None => Ok(None),
            Some(place) => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "segment {key:?} is not there; it may have been in pack file {} at byte {}, which is damaged",
                    packs::path_of(&self.dir.join(recover::PACKS_DIR), place.pack).display(),
                    place.offset
                ),
            )),
        }
    }

    fn length(&self, key: &SegmentKey) -> Result<Option<u64>> {
        segments::check_key(key)?;
        let engine = self.engine()?;
        Ok(self.directory.find(&engine, key)?.map(|entry| u64::from(entry.length)))
    }

    fn list(&self, database: DatabaseId, after: Option<&SegmentKey>, count_max: usize) -> Result<Vec<SegmentKey>> {
        self.directory.list(&*self.engine()?, database, after, count_max)
    }

    fn delete(&self, key: &SegmentKey) -> Result<()> {
        self.delete_all(std::slice::from_ref(key))
    }

    fn delete_all(&self, keys: &[SegmentKey]) -> Result<()> {
        keys.iter().try_for_each(segments::check_key)?;
        let engine = self.engine()?;
        keys.chunks(DELETED_AT_ONCE).try_for_each(|keys| self.directory.remove(&engine, keys))
    }

    fn compact(&self, wanted: Compaction) -> Result<Compacted> {
        let _one_at_a_time = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = self.engine()?;
        let mut done = self.in_packs(&engine, |packs| packs.run(wanted))?;
        self.keep_records(&engine, wanted, &mut done)?;
        Ok(done)
    }

    fn scrub(&self, wanted: Scrub) -> Result<Scrubbed> {
        let mut scrubbing = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        self.scrub_some(&mut scrubbing, wanted)
    }

    fn usage(&self) -> Result<Usage> {
        let disk = &*self.options.disk;
        let files_in = |dir: &str| bytes_in(disk, &self.dir.join(dir));
        let packs: Vec<(u64, u64)> = self.packs.ends();
        let all = packs.iter().map(|(_, end)| end).sum::<u64>();
        let live_bytes = packs.iter().map(|(number, _)| self.directory.live_bytes(*number)).sum::<u64>();
        Ok(Usage {
            journal_bytes: files_in(recover::REDO_DIR)?,
            live_bytes,
            dead_bytes: all.saturating_sub(live_bytes),
            engine_bytes: files_in(recover::SLED_DIR)?,
            free_bytes: disk.bytes_free(&self.dir).map_err(|error| io_error("measure", &self.dir, error))?,
        })
    }
}

/// What the files of a directory take. One that goes meanwhile takes nothing.
fn bytes_in(disk: &dyn Disk, dir: &Path) -> Result<u64> {
    let names = disk.list(dir).map_err(|error| io_error("list", dir, error))?;
    let length = |name: &String| std::fs::metadata(dir.join(name)).map_or(0, |found| found.len());
    Ok(names.iter().map(length).sum())
}

fn check_options(options: &Options) -> Result<()> {
    let invalid = |message: &str| Err(Error::new(ErrorKind::Invalid, message));
    let frame_bytes_min = redo::frame::change_bytes_max("", b"") + redo::frame::FRAME_HEADER_BYTES + 8;
    let longest_step = options.record_bytes_max.max(crate::POD_BYTES_MAX + crate::POD_NAME_BYTES_MAX);
    if (options.frame_bytes_max as usize) < longest_step + frame_bytes_min {
        return invalid("frame_bytes_max is too small for the longest record or pod");
    }
    if options.redo_file_bytes < redo::writer::file_bytes_min(options.frame_bytes_max) {
        return invalid("redo_file_bytes is too small for frames of frame_bytes_max");
    }
    if options.redo_file_bytes > redo::scan::FILE_BYTES_MAX {
        return invalid("redo_file_bytes is over 1 GiB");
    }
    // Parts of a record are numbered by 16 bits in sled.
    if options.record_bytes_max > 64 << 20 {
        return invalid("record_bytes_max is over 64 MiB");
    }
    match u32::try_from(options.segment_bytes_max) {
        Ok(_) => Ok(()),
        Err(_) => invalid("segment_bytes_max is over 4 GiB"),
    }
}

/// An error of the operating system: what was done to which path.
pub(crate) fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("could not {what} {}", path.display())).with_source(error)
}
