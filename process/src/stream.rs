//! Streams of answers fed from a task of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::Status;

/// Messages ready to be sent on one stream; more wait where they come from.
const OUTGOING_MAX: usize = 4;

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
