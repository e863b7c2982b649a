//! Where the work of a process runs, handed in: on threads of its own, or all of it on one runtime.
//!
//! Nothing of ours calls `tokio::spawn`, `spawn_blocking` or `std::thread` by itself. In production stages (writers,
//! the compute pool) have threads of their own and tasks are the runtime's. In simulation everything is a task of the
//! one runtime, so that the same seed gives the same order. A stage is a loop that awaits its mailbox and steps; a
//! step may compute or read the disk as long as it likes, and never blocks on a channel.

use crate::{Failure, Result};
use db::Error;
use std::panic::AssertUnwindSafe;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// A thread for every stage and for whatever blocks, the runtime for the rest.
    Threads,
    /// Everything on the runtime that calls, one step after the other.
    OneRuntime,
}

impl Executor {
    /// Runs a task of the runtime: it waits much and computes little.
    pub fn task(self, run: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(run)
    }

    /// Runs a stage. `stack_bytes` is chosen by the depth of what runs on it, which for queries and transactions is
    /// nested data.
    pub fn stage(self, name: &str, stack_bytes: usize, run: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        match self {
            Executor::Threads => {
                let runtime = Handle::current();
                std::thread::Builder::new()
                    .name(name.to_owned())
                    .stack_size(stack_bytes)
                    .spawn(move || runtime.block_on(run))
                    .map_err(|error| Failure::new(format!("cannot start thread {name}: {error}")))?;
            }
            Executor::OneRuntime => drop(tokio::spawn(run)),
        }
        Ok(())
    }

    /// Runs something as a stage, once, and gives what it came to.
    pub async fn on_a_stage<T: Send + 'static>(
        self,
        name: &str,
        stack_bytes: usize,
        run: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.stage(name, stack_bytes, async move {
            // Whoever waited may have gone away.
            let _ = done.send(run.await);
        })?;
        result.await.map_err(|_| Failure::new(format!("{name} panicked")))
    }

    /// Runs what blocks (the disk, a large parse) where it does not hold up the runtime. A panic in it is an error.
    pub async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> db::Result<T> + Send + 'static,
    ) -> db::Result<T> {
        match self {
            Executor::Threads => tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(Error::fault(format!("a call failed: {error}")))),
            Executor::OneRuntime => {
                // Others have their turn meanwhile, as they would on threads.
                tokio::task::yield_now().await;
                std::panic::catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| Err(Error::fault("a call failed: it panicked")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK_BYTES: usize = 1 << 20;

    #[tokio::test]
    async fn work_is_done_wherever_it_runs() {
        for executor in [Executor::Threads, Executor::OneRuntime] {
            assert_eq!(executor.on_a_stage("stage", STACK_BYTES, async { 7 }).await, Ok(7), "{executor:?}");
            let failed = executor.on_a_stage("stage", STACK_BYTES, async { panic!("on purpose") });
            assert_eq!(failed.await, Err::<(), _>(Failure::new("stage panicked")), "{executor:?}");
            assert_eq!(executor.blocking(|| Ok(7)).await.unwrap(), 7, "{executor:?}");
            let fault = executor.blocking::<()>(|| panic!("on purpose")).await.unwrap_err();
            assert_eq!(fault.category(), db::Category::Fault, "{executor:?}");
        }
    }

    #[tokio::test]
    async fn stages_have_a_thread_of_their_own_or_the_callers() {
        let here = std::thread::current().id();
        for (executor, expected) in [(Executor::Threads, false), (Executor::OneRuntime, true)] {
            let there = executor.on_a_stage("stage", STACK_BYTES, async { std::thread::current().id() }).await;
            assert_eq!(there.unwrap() == here, expected, "{executor:?}");
        }
    }
}
