//! The keeper: a thread for what would hold up the commit thread, flushing sled and preparing redo files.

use super::commit::Queue;
use super::directory::Directory;
use super::engine::Engine;
use super::lag::Lag;
use super::packs::Packs;
use super::redo::Checkpoint;
use super::redo::trim::{self, Marks};
use super::redo::writer::prepare_next;
use crate::disk::{Disk, DiskFile};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// What the commit thread asks of the keeper.
pub(crate) enum Job {
    /// Make sled durable, once it holds at least everything up to `commit`.
    Checkpoint(Due),
    /// Make the file that will be the next redo file.
    PrepareNext,
    /// Remove redo files of which a durable frame says that they may be gone.
    RemoveRedo(Range<u64>),
}

/// A checkpoint that shall be made.
pub(crate) struct Due {
    pub(crate) commit: u64,
    pub(crate) digest: [u8; 32],
    /// The redo files that are needed, as far as is known, without the one that is written.
    pub(crate) redo_files: Range<u64>,
    pub(crate) marks: Marks,
}

/// The commit thread's side. At most one job of each sort runs at a time.
pub(crate) struct Keeper {
    jobs: Sender<Job>,
    prepared: Receiver<io::Result<Arc<dyn DiskFile>>>,
    preparing: bool,
    /// What was prepared, if it is known.
    next: Option<io::Result<Arc<dyn DiskFile>>>,
    checkpointing: bool,
}

/// The keeper's side.
pub(crate) struct Work {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) redo_dir: PathBuf,
    pub(crate) redo_file_bytes: u64,
    pub(crate) engine: Arc<Engine>,
    pub(crate) lag: Arc<Lag>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) queue: Arc<Queue>,
}

impl Keeper {
    /// Starts the thread; it ends when the keeper is dropped.
    pub(crate) fn spawn(work: Work) -> io::Result<(Keeper, JoinHandle<()>)> {
        let (jobs, jobs_taken) = channel();
        let (prepared_put, prepared) = channel();
        let run = move || {
            for job in jobs_taken {
                match job {
                    Job::Checkpoint(due) => work.checkpoint(due),
                    // What cannot be removed now is removed at the next start.
                    Job::RemoveRedo(files) => drop(trim::remove(&*work.disk, &work.redo_dir, files)),
                    Job::PrepareNext => {
                        let file = prepare_next(&*work.disk, &work.redo_dir, work.redo_file_bytes);
                        if prepared_put.send(file).is_err() {
                            return;
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("storage-keeper".into()).spawn(run)?;
        Ok((Keeper { jobs, prepared, preparing: false, next: None, checkpointing: false }, thread))
    }

    pub(crate) fn start(&mut self, job: Job) {
        self.checkpointing |= matches!(job, Job::Checkpoint(_));
        // The keeper ends after the commit thread; were it gone, its result would be missed where it is used.
        let _ = self.jobs.send(job);
    }

    pub(crate) fn checkpoint_in_flight(&self) -> bool {
        self.checkpointing
    }

    pub(crate) fn checkpoint_written(&mut self) {
        self.checkpointing = false;
    }

    /// Begins to prepare the next file, unless that was done.
    pub(crate) fn prepare_next(&mut self) {
        if !self.preparing {
            self.preparing = true;
            self.start(Job::PrepareNext);
        }
    }

    /// Whether the prepared file can be had without waiting, or why it could not be prepared.
    pub(crate) fn next_is_ready(&mut self) -> bool {
        self.next = self.next.take().or_else(|| self.prepared.try_recv().ok());
        self.next.is_some()
    }

    /// Waits for the prepared file.
    pub(crate) fn take_next(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        self.preparing = false;
        if let Some(next) = self.next.take() {
            return next;
        }
        self.prepared.recv().unwrap_or_else(|_| Err(io::Error::other("the keeper thread is gone")))
    }
}

impl Work {
    fn checkpoint(&self, due: Due) {
        let Due { commit, digest, redo_files, marks } = due;
        // Asked before the flush: what is listed now is in sled now.
        let (packs, directory_changes) = (self.packs.listed_up_to(), self.directory.changes());
        match self.lag.wait_for(commit).and_then(|()| self.engine.make_durable()) {
            Ok(()) => {
                let first = redo_files.start;
                // A file that cannot be read now is one that stays; a start will say what is wrong with it.
                let needed = trim::first_needed(&*self.disk, &self.redo_dir, redo_files, commit, &marks);
                let redo_first = needed.unwrap_or(first);
                self.queue.checkpointed(Checkpoint { commit, digest, packs, directory_changes, redo_first });
            }
            // The store is poisoned; the commit thread refuses all who wait.
            Err(_) => self.queue.wake(),
        }
    }
}
