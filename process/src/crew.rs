//! The actors of a process and their owner.
//!
//! Whoever starts a long-lived task or stage does it through the [`Crew`], which knows its name and hears of its
//! end. An end that nobody asked for, by return, error or panic, is the end of the process: a process that goes on
//! with an actor missing would keep promises it can no longer keep.

use crate::{Executor, Failure, Result, Shutdown};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use tokio::sync::{mpsc, watch};

/// Starts actors. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    executor: Executor,
    shutdown: Shutdown,
    ended: mpsc::UnboundedSender<Failure>,
    /// Stages that have not ended.
    stages: watch::Sender<usize>,
}

/// Hears of actors that ended unasked.
pub struct Ended(mpsc::UnboundedReceiver<Failure>);

impl Crew {
    pub fn new(executor: Executor, shutdown: Shutdown) -> (Crew, Ended) {
        let (ended, receiver) = mpsc::unbounded_channel();
        (Crew { executor, shutdown, ended, stages: watch::Sender::new(0) }, Ended(receiver))
    }

    pub fn executor(&self) -> Executor {
        self.executor
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs a task that ends only when the process is asked to stop.
    pub fn task(&self, name: impl Into<String>, run: impl Future<Output = Result<()>> + Send + 'static) {
        self.executor.task(self.watched(name.into(), run));
    }

    /// Runs a stage that ends only when the process is asked to stop; [`Crew::stages_ended`] waits for it.
    pub fn stage(
        &self,
        name: impl Into<String>,
        stack_bytes: usize,
        run: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let name = name.into();
        let running = Running::new(&self.stages);
        let watched = self.watched(name.clone(), run);
        self.executor.stage(&name, stack_bytes, async move {
            watched.await;
            drop(running);
        })
    }

    /// Returns when all stages have ended, and with them what they held; they end when their mailboxes are closed.
    pub async fn stages_ended(&self) {
        // The sender is ours.
        let _ = self.stages.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Runs, and reports an end that nobody asked for.
    fn watched(
        &self,
        name: String,
        run: impl Future<Output = Result<()>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (shutdown, ended) = (self.shutdown.clone(), self.ended.clone());
        async move {
            let how = match caught(run).await {
                Ok(Err(failure)) => failure.0,
                // One that ends while the process stops is no news.
                _ if shutdown.is_asked() => return,
                Ok(Ok(())) => "it returned".to_owned(),
                Err(panic) => format!("it panicked: {panic}"),
            };
            // Nobody listens any more when the process is ending anyway.
            let _ = ended.send(Failure(format!("{name} ended: {how}")));
        }
    }
}

/// Runs to the end, or to a panic and what it said. What was running is dropped before this returns.
async fn caught<F: Future>(run: F) -> Result<F::Output, String> {
    let mut run = Box::pin(run);
    std::future::poll_fn(move |context| {
        // A future that panicked is not polled again, so that nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(said(&*payload))),
        }
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
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

/// Counts a stage from its start to its end.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(stages: &watch::Sender<usize>) -> Self {
        stages.send_modify(|running| *running += 1);
        Running(stages.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_actor_that_ends_unasked_is_heard_of_whatever_way_it_ended() {
        for executor in [Executor::Threads, Executor::OneRuntime] {
            let (_trigger, shutdown) = Shutdown::new();
            let (crew, mut ended) = Crew::new(executor, shutdown);
            crew.task("writer", async { Ok(()) });
            assert_eq!(ended.first().await.0, "writer ended: it returned");
            crew.task("writer", async { panic!("on purpose") });
            assert_eq!(ended.first().await.0, "writer ended: it panicked: on purpose");
            crew.stage("scribe", 1 << 16, async { Err(Failure::new("the disk is full")) }).unwrap();
            assert_eq!(ended.first().await.0, "scribe ended: the disk is full");
            crew.stages_ended().await;
        }
    }

    #[tokio::test]
    async fn an_actor_that_ends_when_asked_is_no_news() {
        let (trigger, shutdown) = Shutdown::new();
        let (crew, mut ended) = Crew::new(Executor::Threads, shutdown.clone());
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
