//! How long a call may take, and when it is made again.
//!
//! A call is made again only where that cannot do anything twice: a read on any failure that another try or another
//! peer may mend, a change only when the server itself said that nothing was done, or when no request left.

use crate::correlation;
use crate::peers::{Flock, Member};
use db::{Category, Error, Result};
use std::future::Future;
use std::time::{Duration, Instant as Monotonic};
use tonic::{Code, Request, Status};

/// How often a call is made again, and how long it is waited between.
///
/// One round asks every peer that is not known to be away once. Between rounds it is waited: what the server asked
/// for (`retry_after`) or a time that doubles from `wait_min` to `wait_max`, whichever is longer, and up to half as
/// much again, so that many clients do not come back at once. No round begins that the deadline would cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub rounds_max: u32,
    pub wait_min: Duration,
    pub wait_max: Duration,
}

impl Retry {
    /// Every call is made once, and on one peer.
    pub const NEVER: Retry = Retry { rounds_max: 0, wait_min: Duration::ZERO, wait_max: Duration::ZERO };

    /// The same, ended by the deadline alone.
    pub(crate) fn without_last_round(self) -> Retry {
        if self == Retry::NEVER { self } else { Retry { rounds_max: u32::MAX, ..self } }
    }
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { rounds_max: 5, wait_min: Duration::from_millis(50), wait_max: Duration::from_secs(2) }
    }
}

/// What may be done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    /// Its errors come from [`proto::transact_error`], so that a lost answer is `unknown`.
    Change,
}

/// One call, made as often as it may be.
pub(crate) struct Attempts<'a> {
    flock: &'a Flock,
    kind: Kind,
    retry: Retry,
    deadline: Deadline,
    round: u32,
    tried: Vec<bool>,
    at: usize,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(flock: &'a Flock, kind: Kind, retry: Retry, timeout: Duration) -> Self {
        let tried = vec![false; flock.len()];
        let at = flock.untried(&tried, true).unwrap_or(0);
        Attempts { flock, kind, retry, deadline: Deadline::after(timeout), round: 1, tried, at }
    }

    /// Begins with a peer that has just failed.
    pub(crate) fn at(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// The peer to ask now, and its number.
    pub(crate) fn peer(&self) -> (&'a Member, usize) {
        (self.flock.member(self.at), self.at)
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    pub(crate) fn answered(&self) {
        self.flock.answered(self.at);
    }

    /// Waits until the call may be made again, or gives the error back.
    pub(crate) async fn again(&mut self, error: Error) -> Result<()> {
        if is_no_connection(&error) {
            self.flock.member(self.at).is_away();
        }
        if self.retry == Retry::NEVER || !self.may_help(&error) {
            return Err(error);
        }
        self.tried[self.at] = true;
        // A transaction that is refused because its queue is full stands before the same queue on every peer.
        let elsewhere = self.kind == Kind::Read || error.category() == Category::Unavailable;
        let other = if elsewhere { self.flock.untried(&self.tried, self.round == 1) } else { None };
        if let Some(other) = other {
            self.at = other;
            return if self.deadline.left().is_zero() { Err(error) } else { Ok(()) };
        }
        if self.round >= self.retry.rounds_max {
            return Err(error);
        }
        let wait = self.wait(&error);
        if self.deadline.left() <= wait {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        self.round += 1;
        self.tried.fill(false);
        // The one that asked for the wait is the one to come back to.
        if error.category() != Category::Busy {
            self.at = self.flock.untried(&self.tried, true).unwrap_or(self.at);
        }
        Ok(())
    }

    fn may_help(&self, error: &Error) -> bool {
        match error.category() {
            Category::Unavailable | Category::Busy => true,
            // A peer that ends breaks its answers off.
            Category::Interrupted => self.kind == Kind::Read && matches!(error.code(), CUT_OFF | "db.error/cancelled"),
            _ => false,
        }
    }

    fn wait(&self, error: &Error) -> Duration {
        let doubled = self.retry.wait_min.saturating_mul(2u32.saturating_pow(self.round - 1)).min(self.retry.wait_max);
        let asked = proto::retry_after(error).unwrap_or_default();
        let wait = doubled.max(asked);
        wait + wait.mul_f64(0.5 * random_part())
    }
}

/// The code of an answer without its end.
pub(crate) const CUT_OFF: &str = "db.error/answer-cut-off";

/// Told by the library that sends, not by the server.
fn is_no_connection(error: &Error) -> bool {
    matches!(error.code(), "db.error/unavailable" | "db.error/grpc") && error.category() == Category::Unavailable
        || error.code() == "db.error/outcome-unknown"
}

/// From 0 to 1; where there is no randomness, the middle.
fn random_part() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// When a call must have ended, streams and all tries included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Monotonic,
    timeout: Duration,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline { at: Monotonic::now() + timeout, timeout }
    }

    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Monotonic::now())
    }

    /// The request with its deadline, for the server.
    pub(crate) fn on<Q>(self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        // gRPC has no deadline of nothing.
        request.set_timeout(self.left().max(Duration::from_millis(1)));
        correlation::attach(&mut request);
        request
    }

    /// Waits for a call, no longer than it may take: the server ends it by itself, the network may not.
    pub(crate) async fn of<A>(self, call: impl Future<Output = Result<A, Status>>) -> Result<A, Status> {
        match tokio::time::timeout_at(self.at.into(), call).await {
            // The library counts too, and may be the first to say so.
            Ok(Err(status)) if is_library_timeout(&status) => Err(self.passed()),
            Ok(answer) => answer,
            Err(_) => Err(self.passed()),
        }
    }

    fn passed(self) -> Status {
        Status::deadline_exceeded(format!("no answer within {} s", self.timeout.as_secs_f64()))
    }
}

fn is_library_timeout(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
        && status.metadata().get_bin(proto::ERROR_DETAIL_KEY).is_none()
        && status.message() == "Timeout expired"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_is_what_the_server_asks_for_or_more_but_bounded() {
        let retry = Retry::default();
        let busy = |ms: i64| Error::new(Category::Busy, "db.error/queue-full", "full").with(proto::RETRY_AFTER_MS, ms);
        let flock = crate::peers::flock_of_none(1);
        let mut attempts = Attempts::new(&flock, Kind::Read, retry, Duration::from_secs(60));
        for round in 1..=20 {
            attempts.round = round;
            let doubled = (50 * 2u64.pow(round.min(10) - 1)).min(2000);
            for asked in [0, 700, 9000] {
                let wait = attempts.wait(&busy(asked)).as_millis() as u64;
                let least = doubled.max(asked as u64);
                assert!((least..=least * 3 / 2).contains(&wait), "round {round}, asked for {asked}: {wait}");
            }
        }
    }
}
