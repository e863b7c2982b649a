//! Telling followers what has become durable.
//!
//! The commit thread announces each record once; every follower has a bounded queue of its own. One whose queue is
//! full is cut off and catches up from the log by itself: a commit never waits for a follower.

mod stream;

pub use stream::follow;

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc;

/// Records that may wait for one follower, by count and by bytes.
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

/// A record as followers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub seq: u64,
    /// Its Follow frame, encoded once for all.
    pub frame: Bytes,
}

/// The followers of one database.
pub struct Followers {
    limits: QueueLimits,
    /// Held while one record is put into the queues, which never waits.
    inner: Mutex<Inner>,
}

struct Inner {
    last_seq: u64,
    next_id: u64,
    queues: Vec<Queue>,
}

struct Queue {
    id: u64,
    sender: mpsc::Sender<Announced>,
    bytes: Arc<AtomicUsize>,
}

/// One follower's place: what is announced after it joined, in order, without gaps.
pub struct Subscription {
    followers: Arc<Followers>,
    id: u64,
    receiver: mpsc::Receiver<Announced>,
    bytes: Arc<AtomicUsize>,
}

impl Followers {
    /// `last_seq` is the newest record that is durable already.
    pub fn new(last_seq: u64, limits: QueueLimits) -> Arc<Self> {
        Arc::new(Followers { limits, inner: Mutex::new(Inner { last_seq, next_id: 0, queues: Vec::new() }) })
    }

    /// Tells everyone of a durable record. Never waits.
    pub fn announce(&self, announced: Announced) {
        let mut inner = self.lock();
        assert_eq!(announced.seq, inner.last_seq + 1, "records are announced in order");
        inner.last_seq = announced.seq;
        inner.queues.retain(|queue| {
            let bytes = queue.bytes.fetch_add(announced.frame.len(), Ordering::Relaxed) + announced.frame.len();
            // A record alone is always taken: otherwise a large one could reach nobody.
            let fits = bytes <= self.limits.bytes_max || bytes == announced.frame.len();
            fits && queue.sender.try_send(announced.clone()).is_ok()
        });
    }

    /// Joins: the newest record announced so far, and all that come after it.
    pub fn join(self: &Arc<Self>) -> (u64, Subscription) {
        let (sender, receiver) = mpsc::channel(self.limits.records_max);
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.queues.push(Queue { id, sender, bytes: bytes.clone() });
        (inner.last_seq, Subscription { followers: self.clone(), id, receiver, bytes })
    }

    pub fn count(&self) -> usize {
        self.lock().queues.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Subscription {
    /// The next record; None when this follower was cut off.
    pub async fn next(&mut self) -> Option<Announced> {
        let announced = self.receiver.recv().await?;
        self.bytes.fetch_sub(announced.frame.len(), Ordering::Relaxed);
        Some(announced)
    }

    /// The next record if it is there already.
    pub fn next_now(&mut self) -> Option<Announced> {
        let announced = self.receiver.try_recv().ok()?;
        self.bytes.fetch_sub(announced.frame.len(), Ordering::Relaxed);
        Some(announced)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.followers.lock().queues.retain(|queue| queue.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, bytes: usize) -> Announced {
        Announced { seq, frame: Bytes::from(vec![0; bytes]) }
    }

    #[tokio::test]
    async fn followers_get_what_is_announced_after_they_joined() {
        let followers = Followers::new(5, QueueLimits::default());
        let (seq, mut early) = followers.join();
        assert_eq!(seq, 5);
        followers.announce(record(6, 1));
        let (seq, mut late) = followers.join();
        assert_eq!(seq, 6);
        followers.announce(record(7, 1));
        assert_eq!(early.next().await, Some(record(6, 1)));
        assert_eq!(early.next().await, Some(record(7, 1)));
        assert_eq!(late.next_now(), Some(record(7, 1)));
        assert_eq!(late.next_now(), None);
        drop(early);
        assert_eq!(followers.count(), 1);
    }

    #[tokio::test]
    async fn a_follower_that_does_not_read_is_cut_off_and_the_others_are_not() {
        for (limits, bytes) in [
            (QueueLimits { records_max: 2, bytes_max: 1000 }, 1),
            (QueueLimits { records_max: 100, bytes_max: 20 }, 10),
        ] {
            let followers = Followers::new(0, limits);
            let ((_, mut slow), (_, mut quick)) = (followers.join(), followers.join());
            for seq in 1..=3 {
                followers.announce(record(seq, bytes));
                assert_eq!(quick.next().await.unwrap().seq, seq);
            }
            assert_eq!(followers.count(), 1);
            assert_eq!(slow.next().await.unwrap().seq, 1);
            assert_eq!(slow.next().await.unwrap().seq, 2);
            assert_eq!(slow.next().await, None);
        }
    }

    #[tokio::test]
    async fn one_record_larger_than_the_queue_still_gets_through() {
        let followers = Followers::new(0, QueueLimits { records_max: 2, bytes_max: 20 });
        let (_, mut subscription) = followers.join();
        followers.announce(record(1, 100));
        assert_eq!(subscription.next().await.unwrap().seq, 1);
        assert_eq!(followers.count(), 1);
    }
}
