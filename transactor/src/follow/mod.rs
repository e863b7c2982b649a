//! Telling followers what has become durable.
//!
//! The commit thread announces each record once. Records gather in one *chunk* of a database, which the first follower
//! who comes for it closes; it is then a message on the wire that all followers share, so that each of them costs a
//! reference, not an encoding. Whoever reads slowly finds more records in a chunk, whoever is quick finds one.
//!
//! Followers read the same ring of chunks, each from a place of its own. One that falls behind the ring's beginning is
//! cut off and catches up from the log by itself: a commit never waits for a follower.

mod body;
mod message;
mod stream;

pub use body::FollowLane;
pub use message::{Draft, Message};
pub use stream::follow;

use db::log::Hash;
use process::Failpoint;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What may wait for the slowest follower, by count and by bytes.
#[derive(Clone, Copy)]
pub struct QueueLimits {
    pub records_max: usize,
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        QueueLimits { records_max: 4096, bytes_max: 16 << 20 }
    }
}

/// A chunk is closed when it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Up to this many followers are woken by the commit thread itself, at once. More are woken by an actor of their own
/// ([`Followers::ring_at_a_pace`]), at a pace that leaves the processors to those who commit.
const WOKEN_AT_ONCE_MAX: usize = 8;
/// How much later each follower makes the next round of waking.
const PACE_PER_FOLLOWER: Duration = Duration::from_micros(40);
const PACE_MAX: Duration = Duration::from_millis(50);

/// Records that go to followers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first_seq: u64,
    pub last_seq: u64,
    pub message: Message,
}

/// The followers of one database.
pub struct Followers {
    limits: QueueLimits,
    /// Held while one record is put in, or one chunk taken out; nobody waits in it.
    inner: Mutex<Inner>,
    /// Rung when there is something new: its number means nothing.
    bell: watch::Sender<()>,
    /// For the actor that rings in place of the commit thread.
    announced: Notify,
}

struct Inner {
    last_seq: u64,
    next_id: u64,
    /// By follower: the seq that it needs next. Those cut off are not in it.
    places: BTreeMap<u64, u64>,
    /// In order and without gaps, up to the open chunk.
    chunks: VecDeque<Chunk>,
    open: Option<Open>,
    /// Of frames in `chunks` and `open`.
    bytes: usize,
    /// Chunks that all have read are looked for when there are this many.
    look_at: usize,
    /// The actor rings the bell, and closes chunks before it does.
    paced: bool,
}

/// The chunk that still grows.
struct Open {
    first_seq: u64,
    draft: Draft,
}

/// One follower's place: what is announced after it joined, in order, without gaps.
pub struct Subscription {
    followers: Arc<Followers>,
    id: u64,
    bell: watch::Receiver<()>,
}

/// What is there for a follower.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Chunk(Chunk),
    /// Not yet.
    Nothing,
    /// It was too slow.
    CutOff,
}

impl Followers {
    /// `last_seq` is the newest record that is durable already.
    pub fn new(last_seq: u64, limits: QueueLimits) -> Arc<Self> {
        let inner = Inner {
            last_seq,
            next_id: 0,
            places: BTreeMap::new(),
            chunks: VecDeque::new(),
            open: None,
            bytes: 0,
            look_at: LOOK_AT_LEAST,
            paced: false,
        };
        Arc::new(Followers { limits, inner: Mutex::new(inner), bell: watch::Sender::new(()), announced: Notify::new() })
    }

    /// Tells everyone of a durable record. Never waits.
    pub fn announce(&self, seq: u64, record: &[u8], hash: &Hash) {
        let mut inner = self.lock();
        assert_eq!(seq, inner.last_seq + 1, "records are announced in order");
        inner.last_seq = seq;
        if inner.places.is_empty() {
            inner.forget();
            return;
        }
        let opened = inner.put(seq, record, hash, &self.limits);
        inner.cut_to(&self.limits);
        let paced = inner.paced;
        drop(inner);
        // Whoever waits was rung for when the chunk was opened, and finds this record in it too.
        match (opened, paced) {
            (false, _) => {}
            (true, true) => self.announced.notify_one(),
            (true, false) => self.ring(),
        }
    }

    /// Something was erased: what waits for followers may tell of it, and goes. Whoever had not taken it is cut off, and
    /// catches up from the log.
    pub fn forget(&self) {
        let mut inner = self.lock();
        let last_seq = inner.last_seq;
        inner.forget();
        inner.places.retain(|_, next_seq| *next_seq > last_seq);
        drop(inner);
        self.ring();
    }

    /// Joins: the newest record announced so far, and all that come after it.
    pub fn join(self: &Arc<Self>) -> (u64, Subscription) {
        let bell = self.bell.subscribe();
        let mut inner = self.lock();
        // So that its place is between two chunks.
        inner.close();
        let id = inner.next_id;
        inner.next_id += 1;
        let next_seq = inner.last_seq + 1;
        inner.places.insert(id, next_seq);
        inner.paced = inner.places.len() > WOKEN_AT_ONCE_MAX;
        drop(inner);
        (next_seq - 1, Subscription { followers: self.clone(), id, bell })
    }

    /// Rings for many followers, in place of the commit thread; while there are few it sleeps.
    pub async fn ring_at_a_pace(&self, point: Failpoint) -> Infallible {
        loop {
            // At once, since one that is started again does not know what was announced before.
            let count = {
                let mut inner = self.lock();
                inner.close();
                inner.paced = inner.places.len() > WOKEN_AT_ONCE_MAX;
                inner.places.len() as u32
            };
            self.ring();
            tokio::time::sleep((PACE_PER_FOLLOWER * count).min(PACE_MAX)).await;
            // Whoever leaves few behind announces it too, so that they are not forgotten.
            self.announced.notified().await;
            point.pass();
        }
    }

    /// Lets what has gathered go out as one message.
    pub fn close(&self) {
        self.lock().close();
    }

    /// Followers that are not cut off.
    pub fn count(&self) -> usize {
        self.lock().places.len()
    }

    /// Bytes of frames that wait for followers.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// Records that wait for the slowest follower.
    pub fn records(&self) -> u64 {
        let inner = self.lock();
        inner.places.values().min().map_or(0, |next_seq| (inner.last_seq + 1).saturating_sub(*next_seq))
    }

    /// Bytes of frames that the slowest follower has not taken yet.
    pub fn behind_bytes(&self) -> usize {
        let inner = self.lock();
        let slowest = inner.places.values().min().copied().unwrap_or(u64::MAX);
        if slowest > inner.last_seq {
            return 0;
        }
        let untaken = inner.chunks.iter().rev().take_while(|chunk| chunk.last_seq >= slowest);
        let open = inner.open.as_ref().map_or(0, |open| open.draft.frame_bytes());
        untaken.map(|chunk| chunk.message.frames().len()).sum::<usize>() + open
    }

    fn ring(&self) {
        self.bell.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

const LOOK_AT_LEAST: usize = 16;

impl Inner {
    /// True when the record is the first of a chunk.
    fn put(&mut self, seq: u64, record: &[u8], hash: &Hash, limits: &QueueLimits) -> bool {
        let usual_bytes = self.chunks.back().map_or(0, |newest| newest.message.frames().len());
        let opened = self.open.is_none();
        let open = self.open.get_or_insert_with(|| Open { first_seq: seq, draft: Draft::with_room(usual_bytes) });
        let before = open.draft.frame_bytes();
        open.draft.push(record, hash);
        let after = open.draft.frame_bytes();
        self.bytes += after - before;
        let records = (seq + 1 - open.first_seq) as usize;
        if after >= CHUNK_BYTES.min(limits.bytes_max) || records >= limits.records_max {
            self.close();
        }
        opened
    }

    /// Makes a message of the open chunk.
    fn close(&mut self) {
        let Some(Open { first_seq, draft }) = self.open.take() else { return };
        // The newest record is in it: a chunk is closed before the next one is put in.
        self.chunks.push_back(Chunk { first_seq, last_seq: self.last_seq, message: draft.finish() });
        if self.chunks.len() >= self.look_at {
            let read_up_to = self.places.values().min().copied().unwrap_or(u64::MAX);
            while self.chunks.front().is_some_and(|chunk| chunk.last_seq < read_up_to) {
                self.drop_oldest();
            }
            self.look_at = LOOK_AT_LEAST.max(2 * self.chunks.len());
        }
    }

    /// Cuts off those for whom too much waits. The newest chunk always stays: otherwise a large record could reach
    /// nobody.
    fn cut_to(&mut self, limits: &QueueLimits) {
        let mut cut = false;
        while let Some(oldest) = self.chunks.front() {
            let is_newest = self.chunks.len() == 1 && self.open.is_none();
            let records = (self.last_seq + 1 - oldest.first_seq) as usize;
            if is_newest || (records <= limits.records_max && self.bytes <= limits.bytes_max) {
                break;
            }
            self.drop_oldest();
            cut = true;
        }
        if cut {
            let first_seq = self.first_seq();
            self.places.retain(|_, next_seq| *next_seq >= first_seq);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.message.frames().len();
        }
    }

    fn forget(&mut self) {
        self.chunks.clear();
        (self.open, self.bytes) = (None, 0);
    }

    /// The oldest record that is still there, or the one that comes next.
    fn first_seq(&self) -> u64 {
        let open = self.open.as_ref().map(|open| open.first_seq);
        self.chunks.front().map(|chunk| chunk.first_seq).or(open).unwrap_or(self.last_seq + 1)
    }

    fn take(&mut self, id: u64) -> Next {
        let Some(&next_seq) = self.places.get(&id) else { return Next::CutOff };
        if next_seq > self.last_seq {
            return Next::Nothing;
        }
        let is_in_chunks = self.chunks.back().is_some_and(|newest| next_seq <= newest.last_seq);
        if !is_in_chunks {
            if self.paced {
                return Next::Nothing;
            }
            self.close();
        }
        let at = self.chunks.partition_point(|chunk| chunk.last_seq < next_seq);
        let chunk = self.chunks[at].clone();
        self.places.insert(id, chunk.last_seq + 1);
        Next::Chunk(chunk)
    }
}

impl Subscription {
    /// The next records; None when this follower was cut off.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            // Before looking, so that what is announced meanwhile is heard.
            self.bell.mark_unchanged();
            match self.next_now() {
                Next::Chunk(chunk) => return Some(chunk),
                Next::CutOff => return None,
                Next::Nothing => self.bell.changed().await.ok()?,
            }
        }
    }

    /// The next records if they are there already.
    pub fn next_now(&mut self) -> Next {
        self.followers.lock().take(self.id)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.followers.lock();
        inner.places.remove(&self.id);
        let few = inner.paced && inner.places.len() <= WOKEN_AT_ONCE_MAX;
        drop(inner);
        if few {
            self.followers.announced.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
