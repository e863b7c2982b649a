//! Streams of answers fed from a task of their own.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::Status;

/// Messages ready to be sent on one stream; more wait where they come from.
pub(crate) const OUTGOING_MAX: usize = 4;

/// Where a stream is fed; a failed send means that the caller has gone away.
pub type Feed<T> = mpsc::Sender<Result<T, Status>>;

/// A stream of answers. When whoever fed it panicked it ends with an error, so that no caller takes a part for the
/// whole.
pub struct Outgoing<T> {
    answers: mpsc::Receiver<Result<T, Status>>,
    broke: Broke,
}

/// Tells a stream that it was not fed to its end.
#[derive(Clone, Default)]
pub(crate) struct Broke(Arc<AtomicBool>);

impl<T> Outgoing<T> {
    /// Feed, stream, and the word that the feed broke, which is to be said before the last feed is dropped.
    pub(crate) fn new() -> (Feed<T>, Outgoing<T>, Broke) {
        let (feed, answers) = mpsc::channel(OUTGOING_MAX);
        let broke = Broke::default();
        (feed, Outgoing { answers, broke: broke.clone() }, broke)
    }
}

impl Broke {
    pub(crate) fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Acquire)
    }
}

/// The streams that are fed now, for whoever shows how full they are. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next_id: u64,
    /// The actor that feeds it, and how many messages are ready.
    by_id: BTreeMap<u64, (&'static str, Length)>,
}

type Length = Box<dyn Fn() -> usize + Send>;

/// Takes a stream off the list when dropped.
pub(crate) struct Listed {
    streams: Streams,
    id: u64,
}

impl Streams {
    pub(crate) fn add<T: Send + 'static>(&self, actor: &'static str, feed: &Feed<T>) -> Listed {
        // Weak: being listed must not keep a stream from ending.
        let feed = feed.downgrade();
        let length = move || feed.upgrade().map_or(0, |feed| feed.max_capacity() - feed.capacity());
        let mut open = self.open();
        open.next_id += 1;
        let id = open.next_id;
        open.by_id.insert(id, (actor, Box::new(length)));
        Listed { streams: self.clone(), id }
    }

    /// Messages that are ready on the fullest stream of an actor.
    pub(crate) fn fullest(&self, actor: &str) -> usize {
        self.open().by_id.values().filter(|(of, _)| *of == actor).map(|(_, length)| length()).max().unwrap_or(0)
    }

    // Held for a look at each; nothing of a stream's runs meanwhile.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let gone = self.streams.open().by_id.remove(&self.id);
        // After the lock: what it held may be the last of a feed.
        drop(gone);
    }
}

impl<T> tokio_stream::Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.answers.poll_recv(context) {
            Poll::Ready(None) if self.broke.take() => Poll::Ready(Some(Err(Status::internal(
                "the call met a fault of the server's, which its log describes",
            )))),
            polled => polled,
        }
    }
}
