//! Steps that are durable and visible, and on their way into sled.
//!
//! The redo frame is what makes a step durable; sled is the copy that is read from. So nobody has to wait for sled:
//! the commit thread leaves the changes of each frame here, readers look here before they look into sled, and a thread
//! of its own carries them over, those of several frames in one batch. That saves a waiting caller sled's part of a
//! commit, and sled most of its writes.
//!
//! What recovery relies on stays as it was: sled never holds what is not in a durable frame, it holds whole frames in
//! their order, and a checkpoint is made of a sled that holds all it speaks of. How far sled is behind matters to no
//! rule, since without a checkpoint nothing in it survives a power cut anyway.
//!
//! The same thread removes records that were sealed, some after each batch and more while there is nothing else to do,
//! so that nobody waits for a seal of a million records.
//!
//! Only records linger here. A frame that changes pods or drops a database is waited for, so pods are read from sled
//! alone.

use super::engine::{Engine, Meta};
use super::health::Health;
use crate::state::Change;
use crate::{DatabaseId, Head, Result};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may be here. Beyond it the commit thread waits for sled.
const BYTES_MAX: usize = 4 << 20;
const FRAMES_MAX: usize = 1024;
/// What goes into sled in one batch, about.
const BATCH_BYTES: usize = 512 << 10;
/// So long a frame waits for others that share its batch, unless somebody waits for it.
const LINGER: Duration = Duration::from_millis(5);

pub(crate) struct Lag {
    health: Arc<Health>,
    /// Held to put in a frame, to look, and to take out what is in sled; never while sled is called.
    inner: Mutex<Inner>,
    /// Something came, or somebody is in a hurry.
    came: Condvar,
    /// Something went into sled, or nothing will any more.
    went: Condvar,
}

struct Inner {
    /// In the order of their commits, the oldest first.
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The newest commit that is in sled.
    applied: u64,
    /// Somebody waits for all up to this commit.
    wanted: u64,
    ended: bool,
    /// sled took no more; the store is poisoned.
    failed: bool,
}

/// What one redo frame changed.
pub(crate) struct Frame {
    pub(crate) meta: Meta,
    pub(crate) changes: Vec<Change>,
    bytes: usize,
}

/// What is known here of a database's log.
pub(crate) enum Seen {
    /// Nothing: sled has it all.
    Nothing,
    Dropped,
    /// Its newest records, in order and without gaps, the first of them after the newest that sled has for certain.
    Tail {
        first_seq: u64,
        head: Head,
        records: Vec<Pending>,
    },
}

/// A record, held where it lies.
pub(crate) struct Pending {
    pub(crate) seq: u64,
    frame: Arc<Frame>,
    at: usize,
}

impl Frame {
    pub(crate) fn new(meta: Meta, changes: Vec<Change>) -> Self {
        let bytes = changes.iter().map(change_bytes).sum();
        Frame { meta, changes, bytes }
    }

    fn drops(&self) -> bool {
        matches!(self.changes.last(), Some(Change::Dropped { .. }))
    }

    /// Whether it may be answered before it is in sled.
    fn may_linger(&self) -> bool {
        self.changes.iter().all(|change| matches!(change, Change::Record { .. }))
    }
}

impl Pending {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.frame.changes[self.at] {
            Change::Record { record, .. } => record,
            other => unreachable!("a record was seen where there is {other:?}"),
        }
    }
}

impl Lag {
    /// `applied` is the newest commit that is in sled.
    pub(crate) fn new(health: Arc<Health>, applied: u64) -> Self {
        let inner = Inner { frames: VecDeque::new(), bytes: 0, applied, wanted: 0, ended: false, failed: false };
        Lag { health, inner: Mutex::new(inner), came: Condvar::new(), went: Condvar::new() }
    }

    /// Makes a durable frame visible. Waits for sled where too much is here, or where others than records changed.
    pub(crate) fn put(&self, frame: Frame) -> Result<()> {
        let (commit, may_linger) = (frame.meta.commit, frame.may_linger());
        let mut inner = self.locked();
        while (inner.bytes >= BYTES_MAX || inner.frames.len() >= FRAMES_MAX) && !inner.failed {
            inner.wanted = inner.wanted.max(inner.applied + 1);
            self.came.notify_one();
            inner = self.went.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.failed {
            return self.health.check();
        }
        inner.bytes += frame.bytes;
        inner.frames.push_back(Arc::new(frame));
        // One that lingers is found when the linger of the first is over.
        let wake = inner.frames.len() == 1 || inner.bytes >= BATCH_BYTES;
        drop(inner);
        if wake {
            self.came.notify_one();
        }
        if may_linger { Ok(()) } else { self.wait_for(commit) }
    }

    /// Waits until sled holds everything up to a commit.
    pub(crate) fn wait_for(&self, commit: u64) -> Result<()> {
        let mut inner = self.locked();
        while inner.applied < commit && !inner.failed {
            inner.wanted = inner.wanted.max(commit);
            self.came.notify_one();
            inner = self.went.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.failed { self.health.check() } else { Ok(()) }
    }

    /// Waits until sled holds everything that is here now.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        let newest = self.locked().frames.back().map(|frame| frame.meta.commit);
        newest.map_or(Ok(()), |commit| self.wait_for(commit))
    }

    /// What is here of a database.
    pub(crate) fn seen(&self, db: DatabaseId, from_seq: u64) -> Seen {
        let inner = self.locked();
        let mut seen = Seen::Nothing;
        for frame in &inner.frames {
            for (at, change) in frame.changes.iter().enumerate() {
                match change {
                    Change::Record { db: of, head, .. } if *of == db => {
                        let pending = || Pending { seq: head.seq, frame: frame.clone(), at };
                        match &mut seen {
                            Seen::Tail { head: newest, records, .. } => {
                                *newest = *head;
                                if head.seq >= from_seq {
                                    records.push(pending());
                                }
                            }
                            Seen::Nothing | Seen::Dropped => {
                                let records = if head.seq >= from_seq { vec![pending()] } else { Vec::new() };
                                seen = Seen::Tail { first_seq: head.seq, head: *head, records };
                            }
                        }
                    }
                    Change::Dropped { db: of } if *of == db => seen = Seen::Dropped,
                    _ => {}
                }
            }
        }
        seen
    }

    /// Carries what is left into sled, then ends the thread.
    pub(crate) fn end(&self) {
        self.locked().ended = true;
        self.came.notify_one();
    }

    /// Carries frames into sled until the end. `seals` are those of the beginning, whose records may not all be gone.
    /// `failed` is called when that cannot go on.
    pub(crate) fn run(&self, engine: &Engine, seals: BTreeMap<DatabaseId, u64>, failed: impl FnOnce()) {
        let carried = catch_unwind(AssertUnwindSafe(|| {
            let mut sweeps = seals;
            while let Some(frames) = self.next_batch(!sweeps.is_empty()) {
                if carry(engine, &frames).is_err() {
                    return false;
                }
                self.carried(&frames);
                note_seals(&mut sweeps, &frames);
                if sweep_some(engine, &mut sweeps).is_err() {
                    return false;
                }
            }
            true
        }));
        if carried.is_err() {
            self.health.poison("lost the thread that writes sled", "it panicked");
        }
        if !matches!(carried, Ok(true)) {
            self.locked().failed = true;
            self.went.notify_all();
            failed();
        }
    }

    /// Frames that go into sled together; none when there is something else to do; None at the end.
    fn next_batch(&self, has_else_to_do: bool) -> Option<Vec<Arc<Frame>>> {
        let mut inner = self.locked();
        while inner.frames.is_empty() {
            if inner.ended {
                return None;
            }
            if has_else_to_do {
                return Some(Vec::new());
            }
            inner = self.came.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + LINGER;
        loop {
            let in_a_hurry = inner.ended || inner.wanted > inner.applied || inner.bytes >= BATCH_BYTES;
            let left = until.saturating_duration_since(Instant::now());
            if in_a_hurry || left.is_zero() {
                break;
            }
            inner = self.came.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for frame in &inner.frames {
            if !frames.is_empty() && bytes + frame.bytes > BATCH_BYTES {
                break;
            }
            bytes += frame.bytes;
            frames.push(frame.clone());
            // The records of a dropped database are swept after its frame; nothing may come between.
            if frame.drops() {
                break;
            }
        }
        Some(frames)
    }

    fn carried(&self, frames: &[Arc<Frame>]) {
        let mut inner = self.locked();
        for frame in frames {
            inner.frames.pop_front();
            inner.bytes -= frame.bytes;
            inner.applied = frame.meta.commit;
        }
        drop(inner);
        self.went.notify_all();
    }

    /// What is durable and not in sled yet.
    pub(crate) fn waiting(&self) -> [crate::Waiting; 2] {
        let inner = self.locked();
        let (frames, bytes) = (inner.frames.len() as u64, inner.bytes as u64);
        drop(inner);
        let waiting = |name, what, now, most| crate::Waiting { name, what, now, most };
        [
            waiting(
                "lag_frames",
                "Frames that are durable and wait to be carried into sled",
                frames,
                FRAMES_MAX as u64,
            ),
            // A frame goes in while there is any room.
            waiting(
                "lag_bytes",
                "Bytes that are durable and wait to be carried into sled",
                bytes,
                bytes.max(BYTES_MAX as u64),
            ),
        ]
    }

    /// It is changed in a few lines at a time that do not panic, so a panic elsewhere leaves it whole.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn carry(engine: &Engine, frames: &[Arc<Frame>]) -> Result<()> {
    match frames.last() {
        Some(last) => engine.apply(last.meta, frames.iter().flat_map(|frame| &frame.changes)),
        None => Ok(()),
    }
}

fn note_seals(sweeps: &mut BTreeMap<DatabaseId, u64>, frames: &[Arc<Frame>]) {
    for change in frames.iter().flat_map(|frame| &frame.changes) {
        match change {
            Change::Sealed { db, before_seq } => drop(sweeps.insert(*db, *before_seq)),
            // Its records are gone, and those of one made again are not sealed.
            Change::Dropped { db } => drop(sweeps.remove(db)),
            _ => {}
        }
    }
}

/// Removes some of the records that were sealed.
fn sweep_some(engine: &Engine, sweeps: &mut BTreeMap<DatabaseId, u64>) -> Result<()> {
    if let Some((db, before_seq)) = sweeps.first_key_value().map(|(db, seq)| (*db, *seq))
        && !engine.sweep_sealed(db, before_seq)?
    {
        sweeps.remove(&db);
    }
    Ok(())
}

/// What a change takes here, about.
fn change_bytes(change: &Change) -> usize {
    128 + match change {
        Change::Record { record, .. } | Change::Replaced { record, .. } => record.len(),
        Change::PodPut { name, bytes, .. } => name.len() + bytes.len(),
        Change::PodDeleted { name } => name.len(),
        Change::Dropped { .. } | Change::Sealed { .. } => 0,
        Change::Kept { records, .. } => records.iter().map(|record| record.bytes.len() + 64).sum(),
    }
}

#[cfg(test)]
mod tests;
