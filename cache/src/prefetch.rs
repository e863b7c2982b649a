//! Fetching ahead: scans say what they will come to, a few actors bring it.

use crate::cache::SegmentCache;
use crate::key::{ByHash, Key};
use crate::source::Binding;
use db::index::segment::SegmentId;
use process::{Inbox, Mailbox};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// What a scan will come to.
pub(crate) struct Hint {
    pub binding: Arc<Binding>,
    pub id: SegmentId,
}

pub(crate) struct Hints {
    mailbox: Mailbox<Hint>,
    inbox: Inbox<Hint>,
    /// What is in the mailbox, so that nothing is in it twice. Held for a lookup.
    queued: Mutex<HashSet<Key, ByHash>>,
}

/// Fetches ahead what scans say. The process starts [`crate::Config::prefetch`] actors, each with one of these.
#[derive(Clone)]
pub struct Prefetcher {
    inbox: Inbox<Hint>,
    cache: Weak<SegmentCache>,
}

impl Hints {
    pub fn new(queue_max: usize) -> Hints {
        let (mailbox, receiver) = Mailbox::new(queue_max.max(1));
        Hints { mailbox, inbox: Inbox::new(receiver), queued: Mutex::default() }
    }

    /// False when there is no room.
    pub fn tell(&self, key: Key, hint: Hint) -> bool {
        if !self.queued().insert(key) {
            return true;
        }
        let told = self.mailbox.tell(hint).is_ok();
        if !told {
            self.queued().remove(&key);
        }
        told
    }

    pub fn taken(&self, key: &Key) {
        self.queued().remove(key);
    }

    pub fn len(&self) -> usize {
        self.mailbox.len()
    }

    pub fn len_max(&self) -> usize {
        self.mailbox.capacity_max()
    }

    pub fn prefetcher(&self, cache: Weak<SegmentCache>) -> Prefetcher {
        Prefetcher { inbox: self.inbox.clone(), cache }
    }

    fn queued(&self) -> MutexGuard<'_, HashSet<Key, ByHash>> {
        self.queued.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Prefetcher {
    /// Fetches one segment after the other until the cache is dropped; `step` is called before each. Blocks while it
    /// fetches, as a stage may.
    pub async fn run(self, step: impl Fn()) {
        loop {
            // Open while waiting for one: the others wait for their turn instead, which is the same wait.
            let hint = self.inbox.open().await.recv().await;
            let (Some(hint), Some(cache)) = (hint, self.cache.upgrade()) else { return };
            step();
            cache.fetch_ahead(&hint);
        }
    }
}
