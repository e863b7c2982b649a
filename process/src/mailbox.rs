//! Bounded mailboxes: a full one says so at once, and nothing is dropped silently.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

/// The sending half of an actor's mailbox.
pub struct Mailbox<M>(mpsc::Sender<M>);

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many messages wait as may.
    Full,
    /// The actor has ended.
    Gone,
}

/// Where an actor sends its reply.
pub type Reply<T> = oneshot::Sender<T>;

/// A reply that is waited for.
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

impl<M> Mailbox<M> {
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<M>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Mailbox(sender), receiver)
    }

    /// Sends a message that carries the place for its reply, and gives the reply to wait for: None when the actor
    /// ends before it replies.
    pub fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> M) -> Result<Answer<T>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.tell(message(reply))?;
        Ok(Answer(answer))
    }

    pub fn tell(&self, message: M) -> Result<(), Refused> {
        self.0.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Gone,
        })
    }

    /// [`Mailbox::ask`] that waits for room, in its turn: for the few messages that must not be lost to a crowd.
    pub async fn ask_when_there_is_room<T>(&self, message: impl FnOnce(Reply<T>) -> M) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(message(reply)).await.ok()?;
        answer.await.ok()
    }

    /// [`Mailbox::ask`] that waits for room and not for the reply: for those whose messages must keep their order.
    pub async fn ask_in_turn<T>(&self, message: impl FnOnce(Reply<T>) -> M) -> Option<Answer<T>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(message(reply)).await.ok()?;
        Some(Answer(answer))
    }

    /// Waits for room; for the one message that must get through, the last.
    pub async fn tell_when_there_is_room(&self, message: M) {
        // An actor that has ended needs no last message.
        let _ = self.0.send(message).await;
    }

    /// Messages that wait now.
    pub fn len(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity_max(&self) -> usize {
        self.0.max_capacity()
    }
}

/// The receiving half of a mailbox that outlives its actor: what waits in it stays there when the actor fails, for the
/// next one. Several actors may share one and take turns.
pub struct Inbox<M>(Arc<Mutex<mpsc::Receiver<M>>>);

impl<M> Inbox<M> {
    pub fn new(receiver: mpsc::Receiver<M>) -> Self {
        Inbox(Arc::new(Mutex::new(receiver)))
    }

    /// The messages, once whoever has them lets go, by its end or otherwise.
    pub async fn open(&self) -> OwnedMutexGuard<mpsc::Receiver<M>> {
        self.0.clone().lock_owned().await
    }
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Inbox(self.0.clone())
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Mailbox(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_mailbox_refuses_and_an_ended_actor_is_gone() {
        let (mailbox, mut receiver) = Mailbox::<Reply<u32>>::new(1);
        let answer = mailbox.ask(|reply| reply).unwrap();
        assert_eq!(mailbox.len(), 1);
        assert_eq!(mailbox.ask(|reply| reply).err(), Some(Refused::Full));
        receiver.recv().await.unwrap().send(7).unwrap();
        assert_eq!(answer.await, Some(7));
        let _waits = mailbox.ask(|reply| reply).unwrap();
        let (found, ()) = tokio::join!(mailbox.ask_when_there_is_room(|reply| reply), async {
            assert_eq!(mailbox.ask(|reply| reply).err(), Some(Refused::Full));
            for n in [1, 2] {
                let _ = receiver.recv().await.unwrap().send(n);
            }
        });
        assert_eq!(found, Some(2));
        let unanswered = mailbox.ask(|reply| reply).unwrap();
        drop(receiver);
        assert_eq!(unanswered.await, None);
        assert_eq!(mailbox.ask(|reply| reply).err(), Some(Refused::Gone));
    }
}
