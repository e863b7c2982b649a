//! The actors of a process and their owner.
//!
//! Whoever starts a long-lived task or thread does it through the [`Crew`], which knows its name and hears of its
//! end. An end that nobody asked for, by return, error or panic, is the end of the process: a process that goes on
//! with an actor missing would keep promises it can no longer keep.

use crate::{Failure, Result, Shutdown};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Starts actors. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    shutdown: Shutdown,
    ended: mpsc::UnboundedSender<Failure>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Hears of actors that ended unasked.
pub struct Ended(mpsc::UnboundedReceiver<Failure>);

impl Crew {
    pub fn new(shutdown: Shutdown) -> (Crew, Ended) {
        let (ended, receiver) = mpsc::unbounded_channel();
        (Crew { shutdown, ended, threads: Arc::default() }, Ended(receiver))
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs a task that ends only when the process is asked to stop.
    pub fn task(&self, name: impl Into<String>, run: impl Future<Output = Result<()>> + Send + 'static) {
        let watcher = self.watch(name.into());
        tokio::spawn(async move { watcher.ended_with(run.await) });
    }

    /// Runs a thread that ends only when the process is asked to stop; [`Crew::join_threads`] waits for it.
    ///
    /// `stack_bytes` is chosen by the depth of what runs on it, which for queries and transactions is nested data.
    pub fn thread(
        &self,
        name: impl Into<String>,
        stack_bytes: usize,
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let name = name.into();
        let watcher = self.watch(name.clone());
        let handle = std::thread::Builder::new()
            .name(name.clone())
            .stack_size(stack_bytes)
            .spawn(move || watcher.ended_with(run()))
            .map_err(|error| Failure::new(format!("cannot start thread {name}: {error}")))?;
        self.lock_threads().push(handle);
        Ok(())
    }

    /// Waits for all threads; they end when their mailboxes are closed. Blocks.
    pub fn join_threads(&self) {
        loop {
            let Some(handle) = self.lock_threads().pop() else { return };
            // A panic was reported when it happened.
            let _ = handle.join();
        }
    }

    // Held to push or pop one handle.
    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn watch(&self, name: String) -> Watcher {
        Watcher { name, shutdown: self.shutdown.clone(), ended: self.ended.clone(), outcome: None }
    }
}

impl Ended {
    /// Returns when an actor has ended unasked, with its name and why.
    pub async fn first(&mut self) -> Failure {
        match self.0.recv().await {
            Some(failure) => failure,
            // No crew is left, so nobody can end unasked.
            None => std::future::pending().await,
        }
    }
}

/// Reports when dropped, so that a panic is heard of too.
struct Watcher {
    name: String,
    shutdown: Shutdown,
    ended: mpsc::UnboundedSender<Failure>,
    outcome: Option<Result<()>>,
}

impl Watcher {
    fn ended_with(mut self, outcome: Result<()>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let how = match self.outcome.take() {
            Some(Err(failure)) => failure.0,
            // A task dropped unfinished while the process stops is no news; nor is one that returned then.
            _ if self.shutdown.is_asked() => return,
            Some(Ok(())) => "returned".to_owned(),
            None => "panicked".to_owned(),
        };
        // Nobody listens any more when the process is ending anyway.
        let _ = self.ended.send(Failure(format!("{} ended: {how}", self.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_actor_that_ends_unasked_is_heard_of_whatever_way_it_ended() {
        let (_trigger, shutdown) = Shutdown::new();
        let (crew, mut ended) = Crew::new(shutdown);
        crew.task("writer", async { Ok(()) });
        assert_eq!(ended.first().await.0, "writer ended: returned");
        crew.task("writer", async { panic!("on purpose") });
        assert_eq!(ended.first().await.0, "writer ended: panicked");
        crew.thread("scribe", 1 << 16, || Err(Failure::new("the disk is full"))).unwrap();
        assert_eq!(ended.first().await.0, "scribe ended: the disk is full");
        crew.join_threads();
    }

    #[tokio::test]
    async fn an_actor_that_ends_when_asked_is_no_news() {
        let (trigger, shutdown) = Shutdown::new();
        let (crew, mut ended) = Crew::new(shutdown.clone());
        let waiting = shutdown.clone();
        crew.task("patient", async move {
            waiting.asked().await;
            Ok(())
        });
        trigger.ask();
        shutdown.asked().await;
        crew.task("late", async { Ok(()) });
        crew.task("broken", async { Err(Failure::new("lost data")) });
        assert_eq!(ended.first().await.0, "broken ended: lost data");
    }
}
