//! The compute pool: a fixed number of stages on which queries run, behind a bounded queue.
//!
//! Queries never run on the runtime's threads in production, so that heartbeats and streams go on whatever is asked. A full
//! queue refuses at once; a caller who goes away cancels what runs for it.

use crate::tree;
use db::budget::{Interrupt, Stop};
use db::{Category, Error, Result};
use process::{Clock, Crew, Failpoint, Inbox};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// What a refused caller is told to wait, at least.
const RETRY_AFTER_MS: i64 = 100;

type Job = Box<dyn FnOnce() + Send>;

/// Hands work to the pool. Cheap to clone; the stages end when the last clone is dropped.
#[derive(Clone)]
pub struct Pool {
    queue: mpsc::Sender<Job>,
    /// Jobs that run or wait.
    jobs: Arc<AtomicUsize>,
    jobs_max: usize,
}

/// Tells a running query to stop: at its deadline, or when dropped by whoever waited for the answer.
pub struct Interruption {
    clock: Arc<dyn Clock>,
    /// As the clock counts since boot.
    deadline: Duration,
    cancelled: Arc<AtomicBool>,
}

/// Cancels on drop.
pub struct CancelOnDrop(Arc<AtomicBool>);

impl Pool {
    pub fn start(crew: &Crew, threads: usize, queue_max: usize) -> process::Result<Pool> {
        let (queue, receiver) = mpsc::channel::<Job>(queue_max);
        let inbox = Inbox::new(receiver);
        for number in 0..threads {
            let inbox = inbox.clone();
            crew.start(&tree::COMPUTE, &number.to_string(), move |point| work(inbox.clone(), point))?;
        }
        Ok(Pool { queue, jobs: Arc::default(), jobs_max: threads + queue_max })
    }

    /// Runs `work` on a stage of the pool. A panic in it becomes an error to the caller.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let running = Running::new(&self.jobs);
        let job = Box::new(move || {
            // Whoever waited may have gone away; then there is nothing to do, and nobody to tell.
            if !reply.is_closed() {
                let result = caught(work);
                drop(running);
                let _ = reply.send(result);
            }
        });
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                let message = format!("{} queries run or wait already; try again later", self.jobs_max);
                Error::new(Category::Busy, "db.error/busy", message).with(proto::RETRY_AFTER_MS, RETRY_AFTER_MS)
            }
            TrySendError::Closed(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(dropped()))
    }

    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    pub fn jobs_max(&self) -> usize {
        self.jobs_max
    }
}

/// Does one job after the other until nobody can ask for more, which is when the process stops.
async fn work(inbox: Inbox<Job>, point: Failpoint) -> process::Result<()> {
    loop {
        // Open while waiting for one job: the others wait for their turn instead, which is the same wait.
        let job = inbox.open().await.recv().await;
        match job {
            Some(job) => {
                point.pass();
                job();
            }
            None => return Ok(()),
        }
    }
}

/// A panic is a fault of ours; it ends the query that met it and nothing else, since queries only read values.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::fault("the query met a fault of the server's, which its log describes")))
}

fn stopping() -> Error {
    Error::new(Category::Unavailable, "db.error/stopping", "the peer is stopping; ask another one")
}

fn dropped() -> Error {
    let message = "the thread that was to answer failed, or the peer is stopping; ask again";
    Error::new(Category::Unavailable, "db.error/unavailable", message)
}

/// Counts a job from its arrival to its end.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(jobs: &Arc<AtomicUsize>) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Running(jobs.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Interruption {
    pub fn new(clock: Arc<dyn Clock>, timeout: Duration) -> (Self, CancelOnDrop) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let deadline = clock.since_boot() + timeout;
        (Interruption { clock, deadline, cancelled: cancelled.clone() }, CancelOnDrop(cancelled))
    }
}

impl Interrupt for Interruption {
    fn stop(&self) -> Option<Stop> {
        if self.cancelled.load(Ordering::Relaxed) {
            Some(Stop::Cancelled)
        } else if self.clock.since_boot() >= self.deadline {
            Some(Stop::Deadline)
        } else {
            None
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::{ManualClock, Restarts, Shutdown, World};

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
        let (_trigger, shutdown) = Shutdown::new();
        let (crew, _supervisor) = Crew::new(&tree::TREE, Restarts::default(), &World::system().unwrap(), shutdown);
        let pool = Pool::start(&crew, 1, 1).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let busy = pool.clone();
        let first = tokio::spawn(async move {
            busy.run(move || {
                started.send(()).unwrap();
                let _ = held.recv();
                Ok(1)
            })
            .await
        });
        has_started.await.unwrap();
        let mut second = Box::pin(pool.run(|| Ok(2)));
        // Polled once, so that it waits in the queue.
        assert!(futures_poll(&mut second).await.is_none());
        let refused = pool.run(|| Ok(3)).await.unwrap_err();
        assert_eq!(
            (refused.category(), proto::retry_after(&refused)),
            (Category::Busy, Some(Duration::from_millis(100)))
        );
        assert_eq!(pool.jobs(), 2);
        drop(release);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap(), 2);
        assert_eq!(pool.jobs(), 0);
        drop(pool);
        crew.stages_ended().await;
    }

    async fn futures_poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_panic_is_an_error_to_its_caller_and_the_thread_lives_on() {
        let (_trigger, shutdown) = Shutdown::new();
        let (crew, _supervisor) = Crew::new(&tree::TREE, Restarts::default(), &World::system().unwrap(), shutdown);
        let pool = Pool::start(&crew, 1, 1).unwrap();
        let fault = pool.run::<()>(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(fault.category(), Category::Fault);
        assert_eq!(pool.run(|| Ok(2)).await.unwrap(), 2);
    }

    #[test]
    fn a_query_is_stopped_by_its_deadline_and_by_its_caller() {
        let clock = Arc::new(ManualClock::at(db::Instant(0)));
        let (interruption, cancel) = Interruption::new(clock.clone(), Duration::from_secs(2));
        assert_eq!(interruption.stop(), None);
        clock.advance(Duration::from_secs(2));
        assert_eq!(interruption.stop(), Some(Stop::Deadline));
        drop(cancel);
        assert_eq!(interruption.stop(), Some(Stop::Cancelled));
    }
}
