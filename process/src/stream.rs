//! Streams of answers fed from a task.

use db::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::Status;

/// Messages ready to be sent on one stream; more wait where they come from.
const OUTGOING_MAX: usize = 4;

/// A stream of answers fed from a task; a failed send means that the caller has gone away.
pub struct Outgoing<T>(mpsc::Receiver<Result<T, Status>>);

pub fn outgoing<T>() -> (mpsc::Sender<Result<T, Status>>, Outgoing<T>) {
    let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
    (sender, Outgoing(receiver))
}

impl<T> tokio_stream::Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
