//! The commit thread: one order for all that a store's callers ask, one fdatasync for all who wait.
//!
//! It takes everything that waits, judges it in order on a state that runs ahead of the disk by this one
//! group, writes one redo frame, waits for its fdatasync, makes the changes visible (see [`super::lag`]), and only
//! then answers: refusals too, since they may rest on changes of the same group. A group that changes nothing rests on what
//! is durable already and is answered at once.

use super::directory::Directory;
use super::engine::{Engine, Found, Meta};
use super::health::Health;
use super::keeper::{Due, Job, Keeper};
use super::lag::{Frame, Lag, Seen};
use super::packs::Packs;
use super::redo::frame::{self, Checkpoint, FrameKind};
use super::redo::trim::{Marks, RedoKnown};
use super::redo::writer::Beginning;
use super::redo::{FORMAT_REPLACED, RedoWriter};
use crate::state::{Answer, Change, State, Step, Stored, Writer};
use crate::{DatabaseId, Error, ErrorKind, Options, Result};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Where callers wait for the commit thread. Bounded by [`Options::queue_steps_max`].
pub(crate) struct Queue {
    steps_max: usize,
    bytes_max: usize,
    health: Arc<Health>,
    /// Held to put steps in or to take them out.
    inner: Mutex<Inner>,
    ready: Condvar,
    /// A checkpoint was written or skipped, or the store ends.
    settled: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    /// What those who wait would write.
    bytes: usize,
    checkpointed: Option<Checkpoint>,
    /// How many have asked for a checkpoint so far, and up to which of them there is one, or will be none.
    asked: u64,
    written: u64,
    skipped: u64,
    ending: Option<Ending>,
}

/// How a store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Answer all who wait, write a last checkpoint.
    Closed,
    /// Answer all who wait.
    Dropped,
}

struct Waiting {
    step: Step,
    reply: Reply,
}

/// Where a caller waits. One that went away does not need its answer, so sending never fails for us.
type Reply = SyncSender<Result<Answer>>;

/// What the commit thread owns.
pub(crate) struct Committer {
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    pub(crate) store: [u8; 16],
    pub(crate) health: Arc<Health>,
    pub(crate) queue: Arc<Queue>,
    /// All heads and pods as of the newest frame.
    pub(crate) state: State,
    /// The number of the newest frame with steps.
    pub(crate) commit: u64,
    pub(crate) writer: RedoWriter,
    /// Which redo files are needed, for whoever makes them needless.
    pub(crate) redo: Arc<RedoKnown>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) lag: Arc<Lag>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) keeper: Keeper,
    /// A checkpoint shall be made as soon as possible.
    pub(crate) checkpoint_due: bool,
    /// What the newest checkpoint covers: the commit, and the changes of the directory.
    pub(crate) checkpointed: (u64, u64),
    pub(crate) bytes_since_checkpoint: u64,
    /// Up to which of those who asked for a checkpoint one is being made, or was.
    pub(crate) asked: u64,
}

impl Queue {
    pub(crate) fn new(options: &Options, health: Arc<Health>) -> Self {
        let (steps_max, bytes_max) = (options.queue_steps_max, options.queue_bytes_max);
        Queue { steps_max, bytes_max, health, inner: Mutex::default(), ready: Condvar::new(), settled: Condvar::new() }
    }

    /// Hands a step to the commit thread and waits for its answer.
    pub(crate) fn submit(&self, step: Step) -> Result<Answer> {
        self.health.check()?;
        let (reply, answer) = sync_channel(1);
        {
            let mut inner = self.locked();
            if inner.ending.is_some() {
                return Err(closed());
            }
            let bytes = step_bytes_max(&step);
            let is_full = inner.waiting.len() >= self.steps_max || inner.bytes + bytes > self.bytes_max;
            if is_full && !inner.waiting.is_empty() {
                let (steps, bytes) = (inner.waiting.len(), inner.bytes);
                let message =
                    format!("{steps} steps of {bytes} bytes wait for the disk already; try again in a moment");
                return Err(Error::new(ErrorKind::Busy, message));
            }
            inner.bytes += bytes;
            inner.waiting.push_back(Waiting { step, reply });
        }
        self.ready.notify_one();
        // The commit thread answers all it takes and all that is left when it ends.
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    pub(crate) fn checkpointed(&self, checkpoint: Checkpoint) {
        self.locked().checkpointed = Some(checkpoint);
        self.ready.notify_one();
    }

    /// Returns when a checkpoint was written that began after this call did.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut inner = self.locked();
        inner.asked += 1;
        let mine = inner.asked;
        self.ready.notify_one();
        loop {
            self.health.check()?;
            if inner.written >= mine {
                return Ok(());
            }
            if inner.skipped >= mine {
                let message = "there is no room for a checkpoint; free some space";
                return Err(Error::new(ErrorKind::Busy, message));
            }
            if inner.ending.is_some() {
                return Err(closed());
            }
            inner = self.settled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settled(&self, asked: u64, is_written: bool) {
        let mut inner = self.locked();
        let up_to = if is_written { &mut inner.written } else { &mut inner.skipped };
        *up_to = asked.max(*up_to);
        drop(inner);
        self.settled.notify_all();
    }

    pub(crate) fn end(&self, ending: Ending) {
        self.locked().ending.get_or_insert(ending);
        self.ready.notify_one();
        self.settled.notify_all();
    }

    /// Wakes the commit thread after the store was poisoned elsewhere.
    pub(crate) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        drop(self.locked());
        self.ready.notify_one();
        self.settled.notify_all();
    }

    /// What waits for the disk.
    pub(crate) fn waiting(&self) -> [crate::Waiting; 2] {
        let inner = self.locked();
        let steps = (inner.waiting.len() as u64, self.steps_max as u64);
        // One step goes in whatever it takes.
        let bytes = (inner.bytes as u64, self.bytes_max.max(inner.bytes) as u64);
        drop(inner);
        let waiting = |name, what, (now, most)| crate::Waiting { name, what, now, most };
        [
            waiting("steps", "Appends and pods that wait for the disk", steps),
            waiting("step_bytes", "Bytes of what waits for the disk", bytes),
        ]
    }

    /// A queue is changed in one line at a time, so a panic elsewhere leaves it whole.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Committer {
    /// Runs until the store ends.
    pub(crate) fn run(mut self) {
        let queue = self.queue.clone();
        let health = self.health.clone();
        if catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            health.poison("lost its commit thread", "it panicked");
        }
        queue.end(Ending::Dropped);
        let waiting = std::mem::take(&mut queue.locked().waiting);
        refuse(&health, waiting.into_iter().map(|waiting| waiting.reply));
    }

    fn serve(&mut self) {
        loop {
            self.request_checkpoint_if_due();
            let (waiting, checkpointed, ending) = self.wait();
            if self.health.check().is_err() {
                self.refuse_all(waiting);
                return;
            }
            if let Some(checkpoint) = checkpointed {
                self.write_checkpoint(checkpoint);
            }
            let idle = waiting.is_empty();
            self.commit_all(waiting);
            if ending.is_some() && idle && !self.keeper.checkpoint_in_flight() {
                if ending == Some(Ending::Closed) {
                    self.checkpoint_now();
                }
                return;
            }
        }
    }

    fn wait(&self) -> (VecDeque<Waiting>, Option<Checkpoint>, Option<Ending>) {
        let mut inner = self.queue.locked();
        let has_work = |inner: &Inner| {
            let may_end = inner.ending.is_some() && !self.keeper.checkpoint_in_flight();
            let asked = inner.asked > self.asked && !self.keeper.checkpoint_in_flight();
            let came = !inner.waiting.is_empty() || inner.checkpointed.is_some() || asked;
            came || may_end || self.health.check().is_err()
        };
        while !has_work(&inner) {
            inner = self.queue.ready.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.bytes = 0;
        (std::mem::take(&mut inner.waiting), inner.checkpointed.take(), inner.ending)
    }

    /// Commits what waited, in as many groups as it takes.
    fn commit_all(&mut self, mut waiting: VecDeque<Waiting>) {
        while !waiting.is_empty() {
            let replaces = waiting.iter().any(|waiting| matches!(waiting.step, Step::Replace { .. }));
            let format = if replaces { FORMAT_REPLACED } else { self.writer.format() };
            let new_file = matches!(waiting.front(), Some(Waiting { step: Step::NewFile, .. })) && self.is_next_ready();
            let file_before = self.writer.number();
            let Ok(space) = self.make_room(format, new_file) else { return self.refuse_all(waiting) };
            let mut group = self.judge_group(&mut waiting, space, self.writer.number() > file_before);
            if self.commit(&mut group).is_err() {
                refuse(&self.health, group.answers.into_iter().map(|(reply, _)| reply));
                return self.refuse_all(waiting);
            }
            for (reply, answer) in group.answers {
                let _ = reply.send(answer);
            }
        }
    }

    /// Whether the next redo file is prepared; if it is not, it will be.
    fn is_next_ready(&mut self) -> bool {
        self.keeper.prepare_next();
        self.keeper.next_is_ready()
    }

    /// Looks for space on the disk and room in the redo file; goes on in the next file where there is none, where this
    /// one's format is a lower one than it has to be, or where a new file is asked for.
    fn make_room(&mut self, format: u32, new_file: bool) -> Result<Space> {
        let free = self.options.disk.bytes_free(&self.dir);
        let free = free.map_err(|error| self.poison("ask for the free space of", error))?;
        let space = if free < self.options.free_bytes_reserve { Space::Low } else { Space::Enough };
        if space == Space::Enough && self.writer.bytes_left() < self.options.redo_file_bytes / 2 {
            self.keeper.prepare_next();
        }
        if self.writer.has_room() && self.writer.format() >= format && !new_file {
            return Ok(space);
        }
        // The reserve is for this too: a start must be able to begin its terms.
        self.keeper.prepare_next();
        match self.keeper.take_next() {
            Ok(next) => {
                let mut salt = [0; 16];
                let rotated = (self.options.entropy)(&mut salt).and_then(|()| {
                    let beginning = Beginning { state: &self.state, redo_first: self.redo.files().start };
                    let format = format.max(self.writer.format());
                    self.writer.rotate(next, format, salt, beginning, self.packs.durable_up_to())
                });
                rotated.map_err(|error| self.poison("begin the next redo file in", error))?;
                self.redo.rotated(self.writer.number());
                Ok(space)
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.writer.has_room() => Ok(Space::Low),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(Space::Full),
            Err(error) => Err(self.poison("prepare the next redo file in", error)),
        }
    }

    /// Takes steps until the frame is full, judging each on the state after those before it.
    fn judge_group(&mut self, waiting: &mut VecDeque<Waiting>, space: Space, new_file: bool) -> Group {
        let mut group = Group { answers: Vec::new(), changes: Vec::new(), payload: Vec::new() };
        while let Some(next) = waiting.front() {
            let bytes_max = step_bytes_max(&next.step);
            if !group.payload.is_empty() && group.payload.len() + bytes_max > self.writer.payload_bytes_max() {
                break;
            }
            // Before it there is the file that it finds; so it is the first of its group.
            if matches!(next.step, Step::NewFile) && !group.answers.is_empty() {
                break;
            }
            let Some(Waiting { mut step, reply }) = waiting.pop_front() else { break };
            if matches!(step, Step::NewFile) && new_file {
                group.answers.push((reply, Ok(Answer::NewFile(true))));
                continue;
            }
            let admitted = self.admit(&step, space).and_then(|()| match &mut step {
                Step::Replace { db, seq, stored, .. } => {
                    *stored = self.stored(&group.changes, *db, *seq)?;
                    Ok(())
                }
                _ => Ok(()),
            });
            if let Err(error) = admitted {
                group.answers.push((reply, Err(error)));
                continue;
            }
            let (answer, change) = self.state.judge(step);
            group.answers.push((reply, Ok(answer)));
            if let Some(change) = change {
                frame::encode_change(&change, &mut group.payload);
                let is_drop = matches!(change, Change::Dropped { .. });
                group.changes.push(change);
                if is_drop {
                    // The records of a dropped database are swept after its frame, nothing may come between.
                    break;
                }
            }
        }
        group
    }

    /// What a record's bytes are after the changes of the group that is made; None when it is not in the journal.
    fn stored(&self, changes: &[Change], db: DatabaseId, seq: u64) -> Result<Option<Stored>> {
        let is_there = self.state.head(db).is_some_and(|head| (self.state.sealed_before(db)..=head.seq).contains(&seq));
        if !is_there {
            return Ok(None);
        }
        let in_group = changes.iter().rev().find_map(|change| match change {
            Change::Record { db: of, head, record } if (*of, head.seq) == (db, seq) => Some(record),
            Change::Replaced { db: of, seq: at, record, .. } if (*of, *at) == (db, seq) => Some(record),
            _ => None,
        });
        if let Some(record) = in_group {
            return Ok(Some(Stored::of(record)));
        }
        // Only records linger there: a replacement is in sled before this thread goes on.
        if let Seen::Tail { first_seq, records, .. } = self.lag.seen(db, seq)
            && first_seq <= seq
        {
            return Ok(records.first().map(|record| Stored::of(record.bytes())));
        }
        match self.engine.records(db, seq, seq, usize::MAX)? {
            Found::Records(records) => Ok(records.first().map(|record| Stored::of(&record.bytes))),
            Found::Broken(what) => {
                let dir = self.dir.display();
                let message = format!("sled in {dir}: {what}; start the store again, it then rebuilds sled");
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    /// Refuses what would not fit.
    fn admit(&self, step: &Step, space: Space) -> Result<()> {
        let (grows, takes_much) = match step {
            Step::Append { db, expected, by, .. } => {
                (expected.is_none() && self.state.head(*db).is_none(), *by == Writer::SameTerm)
            }
            Step::PutPod { .. } => (true, true),
            Step::DeletePod { .. } | Step::Drop { .. } | Step::Seal { .. } => (false, false),
            Step::Keep { .. } | Step::Replace { .. } | Step::NewFile => (false, true),
        };
        let lacks_format = matches!(step, Step::Replace { .. }) && self.writer.format() < FORMAT_REPLACED;
        if space == Space::Full || (space == Space::Low && takes_much) || lacks_format {
            let message = format!(
                "less than {} bytes are free for {}; free some space",
                self.options.free_bytes_reserve,
                self.dir.display()
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let state_bytes_max = self.options.state_bytes_max();
        if grows && self.state.bytes() + step_bytes_max(step) > state_bytes_max {
            let message = format!(
                "the heads and pods of this store would take more than {state_bytes_max} bytes; delete databases or pods"
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
        Ok(())
    }

    /// Makes a group durable, then visible.
    fn commit(&mut self, group: &mut Group) -> Result<()> {
        if group.changes.is_empty() {
            return Ok(());
        }
        let packs = self.packs.durable_up_to();
        let count = group.changes.len() as u32;
        let commit = self
            .writer
            .append(FrameKind::Steps, count, packs, &group.payload)
            .map_err(|error| self.poison("write a redo frame in", error))?;
        self.commit = commit;
        self.bytes_since_checkpoint += group.payload.len() as u64;
        let pod_version_last = self.state.pod_version_last();
        let meta = Meta { store: self.store, commit, pod_version_last };
        // What was said again is in sled.
        let mut changes = std::mem::take(&mut group.changes);
        changes.retain(|change| !matches!(change, Change::Kept { .. }));
        self.lag.put(Frame::new(meta, changes))?;
        self.request_checkpoint_if_due();
        Ok(())
    }

    fn request_checkpoint_if_due(&mut self) {
        let asked = self.queue.locked().asked;
        let due =
            asked > self.asked || self.checkpoint_due || self.bytes_since_checkpoint >= self.options.checkpoint_bytes;
        if due && !self.keeper.checkpoint_in_flight() && self.health.check().is_ok() {
            (self.checkpoint_due, self.bytes_since_checkpoint, self.asked) = (false, 0, asked);
            let (digest, marks) = (frame::digest(&self.state), Marks::of(&self.state, &self.redo));
            let redo_files = self.redo.files();
            self.keeper.start(Job::Checkpoint(Due { commit: self.commit, digest, redo_files, marks }));
        }
    }

    /// sled is durable up to this checkpoint: write that down.
    fn write_checkpoint(&mut self, checkpoint: Checkpoint) {
        let mut is_written = false;
        // Without room it is left out; the one after it will do.
        if matches!(self.make_room(self.writer.format(), false), Ok(Space::Enough | Space::Low)) {
            let packs = self.packs.durable_up_to();
            match self.writer.append(FrameKind::Checkpoint, 1, packs, &checkpoint.encode()) {
                Ok(_) => {
                    is_written = true;
                    self.checkpointed = (checkpoint.commit, checkpoint.directory_changes);
                    let gone = self.redo.files().start..checkpoint.redo_first;
                    if !gone.is_empty() {
                        self.redo.trimmed(gone.end);
                        self.keeper.start(Job::RemoveRedo(gone));
                    }
                }
                Err(error) => drop(self.poison("write a checkpoint in", error)),
            }
        }
        self.keeper.checkpoint_written();
        self.queue.settled(self.asked, is_written);
    }

    /// The last checkpoint before the store closes, made by this thread.
    fn checkpoint_now(&mut self) {
        let (packs, directory_changes) = (self.packs.listed_up_to(), self.directory.changes());
        if self.checkpointed == (self.commit, directory_changes) {
            return;
        }
        if self.lag.wait_for(self.commit).and_then(|()| self.engine.make_durable()).is_ok() {
            let digest = frame::digest(&self.state);
            let (commit, redo_first) = (self.commit, self.redo.files().start);
            self.write_checkpoint(Checkpoint { commit, digest, packs, directory_changes, redo_first });
        }
    }

    fn refuse_all(&self, waiting: VecDeque<Waiting>) {
        refuse(&self.health, waiting.into_iter().map(|waiting| waiting.reply));
    }

    fn poison(&self, what: &str, error: io::Error) -> Error {
        self.health.poison(&format!("could not {what} {}", self.dir.display()), error)
    }
}

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    /// The reserve is touched: only what a start needs (take-overs), and what makes space.
    Low,
    /// Not even a frame.
    Full,
}

/// Steps that share one frame, and their answers, which nobody hears before the frame is durable.
struct Group {
    answers: Vec<(Reply, Result<Answer>)>,
    changes: Vec<Change>,
    payload: Vec<u8>,
}

fn step_bytes_max(step: &Step) -> usize {
    match step {
        Step::Append { record, .. } | Step::Replace { record, .. } => frame::change_bytes_max("", record),
        Step::PutPod { name, bytes, .. } => frame::change_bytes_max(name, bytes),
        Step::DeletePod { name, .. } => frame::change_bytes_max(name, b""),
        Step::Drop { .. } | Step::Seal { .. } | Step::NewFile => frame::change_bytes_max("", b""),
        Step::Keep { records, .. } => frame::kept_bytes_max(records),
    }
}

fn refuse(health: &Health, replies: impl Iterator<Item = Reply>) {
    for reply in replies {
        let _ = reply.send(health.check().and_then(|()| Err(closed())));
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Poisoned, "the store is closed")
}
