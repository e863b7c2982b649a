//! A database that a peer follows, as those who ask see it: the newest value it knows, and how it is getting on.

use crate::intake::Waiting;
use crate::recent::Recent;
use crate::trees::LogTree;
use arc_swap::{ArcSwap, ArcSwapOption};
use db::replay::{Checked, Replay};
use db::{Category, Db, Error, Result, T, log};
use process::ShutdownTrigger;
use proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The code of what a transactor says of a database that was deleted.
pub const DELETED: &str = "db.error/database-deleted";

pub struct Followed {
    pub id: log::DatabaseId,
    pub name: String,
    known: ArcSwap<Known>,
    /// How far those who wait may read; follows `known`.
    reached: watch::Sender<Reached>,
    state: AtomicU8,
    /// Where the transactor's log ends, as last heard.
    head: ArcSwapOption<v1::Head>,
    trouble: ArcSwapOption<Error>,
    /// What is being read now.
    intake: ArcSwapOption<Waiting>,
    recent: Recent,
    /// While catching up: where that began.
    catch_up: ArcSwapOption<CatchUp>,
    /// Ends the follower.
    ends: ShutdownTrigger,
}

/// Where catching up began: the t, and when by the clock since boot.
#[derive(Clone, Copy)]
struct CatchUp {
    t: T,
    at: Duration,
}

/// How far a database is, and how fast it comes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The basis in percent of the head's t; None before the head was heard of.
    pub percent: Option<f64>,
    /// While catching up: transactions a second since that began.
    pub rate: Option<f64>,
    /// How long the rest takes at this rate.
    pub left: Option<Duration>,
}

/// An immutable state of a followed database.
#[derive(Clone)]
pub struct Known {
    pub db: Db,
    pub seq: u64,
    pub hash: log::Hash,
    /// The records that hold transactions.
    pub places: Places,
    /// What a follower goes on from.
    pub(crate) replay: Replay,
}

/// Which record each transaction is in: the first t of each such record, and its seq, in order.
///
/// Shared between states: a clone costs nothing, and only the follower adds.
#[derive(Clone, Default)]
pub struct Places {
    full: Arc<Vec<Part>>,
    last: Part,
    /// The records before those, where this peer began with an index.
    before: Option<Arc<LogTree>>,
}

type Part = Arc<Vec<(T, u64)>>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Reached {
    /// The log was read to its end once, so that the value is one that the transactor had.
    ready: bool,
    t: T,
    /// Where the transactor's log ended, as last heard.
    head_t: Option<T>,
    /// The database is no more; nothing is read of it from here on.
    gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FollowState {
    CatchingUp,
    Following,
    Disconnected,
    Diverged,
}

impl Followed {
    /// `ends` ends its follower.
    pub fn new(id: log::DatabaseId, name: String, ends: ShutdownTrigger) -> Self {
        let replay = Replay::new(id);
        let known = Known { db: replay.db().clone(), seq: 0, hash: [0; 32], places: Places::default(), replay };
        Followed {
            id,
            name,
            known: ArcSwap::from_pointee(known),
            reached: watch::Sender::new(Reached { ready: false, t: 0, head_t: None, gone: false }),
            state: AtomicU8::new(FollowState::CatchingUp as u8),
            head: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
            intake: ArcSwapOption::empty(),
            catch_up: ArcSwapOption::empty(),
            ends,
            recent: Recent::default(),
        }
    }

    pub fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// The newest state once it includes t and the log was read to its end; an error when the database goes before.
    /// The caller has a deadline.
    pub async fn known_at(&self, least_t: T) -> Result<Arc<Known>> {
        let mut reached = self.reached.subscribe();
        match reached.wait_for(|reached| reached.gone || (reached.ready && reached.t >= least_t)).await {
            Ok(reached) if reached.gone => Err(self.deleted()),
            Ok(_) => Ok(self.known()),
            Err(_) => unreachable!("the sender lives as long as self"),
        }
    }

    /// Returns once the basis is at least so many percent of the head's t, or the database is gone.
    pub async fn comes_to(&self, percent: f64) {
        let mut reached = self.reached.subscribe();
        let there = reached.wait_for(|reached| {
            reached.gone || percent_of(reached.t, reached.head_t).is_some_and(|reached| reached >= percent)
        });
        if there.await.is_err() {
            unreachable!("the sender lives as long as self");
        }
    }

    /// What to tell a caller whose time ran out while it waited for t.
    pub fn not_reached(&self, least_t: T, now: Duration) -> Error {
        let reached = *self.reached.borrow();
        let basis_t = self.known().db.basis_t();
        let so_far = if reached.ready {
            format!("this peer knows database {:?} up to t {basis_t}, and t {least_t} was asked for", self.name)
        } else {
            let of = reached.head_t.map_or(String::new(), |head_t| format!(" of {head_t}"));
            let left = self.progress(now).left.map_or(String::new(), |left| format!("; about {left:.0?} more"));
            format!("this peer is still reading database {:?}, at t {basis_t}{of} so far{left}", self.name)
        };
        let why = self.trouble().map_or(String::new(), |trouble| format!("; it does not follow now: {trouble}"));
        Error::new(Category::Unavailable, "db.error/basis-not-reached", format!("{so_far}{why}"))
            .with("basis-t", basis_t as i64)
    }

    /// What to tell whoever asks for a database that is no more.
    fn deleted(&self) -> Error {
        let message = format!("database {:?} ({}) was deleted", self.name, self.id);
        Error::not_found(DELETED, message).with("database", self.name.clone())
    }

    pub fn is_gone(&self) -> bool {
        self.reached.borrow().gone
    }

    /// Whether the log was read to its end once.
    pub fn is_ready(&self) -> bool {
        self.reached.borrow().ready
    }

    /// The basis in percent of the head's t; None before the head was heard of.
    pub fn percent(&self) -> Option<f64> {
        let reached = *self.reached.borrow();
        percent_of(reached.t, reached.head_t)
    }

    pub fn progress(&self, now: Duration) -> Progress {
        let reached = *self.reached.borrow();
        Progress::of(reached.t, reached.head_t, self.catch_up.load().as_deref().copied(), now)
    }

    pub fn state(&self) -> FollowState {
        match self.state.load(Ordering::Relaxed) {
            0 => FollowState::CatchingUp,
            1 => FollowState::Following,
            2 => FollowState::Disconnected,
            _ => FollowState::Diverged,
        }
    }

    pub fn head(&self) -> Option<Arc<v1::Head>> {
        self.head.load_full()
    }

    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.trouble.load_full()
    }

    /// Messages read and not applied yet, and how many may be; none while nothing is read.
    pub fn intake(&self) -> (usize, usize) {
        self.intake.load().as_ref().and_then(|waiting| waiting.length()).unwrap_or_default()
    }

    /// The newest transactions, for those who are told of each.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Makes a state visible; `records` are what led to it.
    pub(crate) fn publish(&self, replay: &Replay, places: Places, records: &[Checked]) {
        // First: whoever is woken by the new state finds them.
        self.recent.add(records.iter().flat_map(Checked::transactions));
        let chain = replay.chain();
        let t = chain.t();
        self.known.store(Arc::new(Known {
            db: replay.db().clone(),
            seq: chain.seq(),
            hash: chain.hash(),
            places,
            replay: replay.clone(),
        }));
        self.reached.send_modify(|reached| reached.t = t);
    }

    pub(crate) fn set_ready(&self) {
        self.reached.send_if_modified(|reached| !std::mem::replace(&mut reached.ready, true));
    }

    pub(crate) fn set_head(&self, head: v1::Head) {
        let head_t = Some(head.t);
        self.head.store(Some(Arc::new(head)));
        self.reached.send_if_modified(|reached| std::mem::replace(&mut reached.head_t, head_t) != head_t);
    }

    pub(crate) fn set_intake(&self, waiting: Waiting) {
        self.intake.store(Some(Arc::new(waiting)));
    }

    /// Catching up begins, or goes on after an interruption.
    pub(crate) fn begin_catch_up(&self, now: Duration) {
        self.catch_up.store(Some(Arc::new(CatchUp { t: self.reached.borrow().t, at: now })));
        self.set_state(FollowState::CatchingUp, None);
    }

    /// The database is no more: everyone who waits hears of it, and its follower ends.
    pub(crate) fn set_gone(&self) {
        self.reached.send_if_modified(|reached| !std::mem::replace(&mut reached.gone, true));
        self.ends.ask();
    }

    pub(crate) fn set_state(&self, state: FollowState, trouble: Option<Error>) {
        if state != FollowState::CatchingUp {
            self.catch_up.store(None);
        }
        self.state.store(state as u8, Ordering::Relaxed);
        self.trouble.store(trouble.map(Arc::new));
    }
}

impl Progress {
    fn of(t: T, head_t: Option<T>, catch_up: Option<CatchUp>, now: Duration) -> Progress {
        let seconds = catch_up.map(|begun| (begun.t, now.saturating_sub(begun.at).as_secs_f64()));
        // So short a time says nothing yet.
        let rate =
            seconds.filter(|(_, seconds)| *seconds >= 0.001).map(|(from_t, seconds)| (t - from_t) as f64 / seconds);
        let left = head_t.zip(rate.filter(|rate| *rate > 0.0)).map(|(head_t, rate)| {
            // At more than a transaction in 2⁴² s there is no overflow.
            Duration::from_secs_f64(head_t.saturating_sub(t) as f64 / rate.max(1e-6))
        });
        Progress { percent: percent_of(t, head_t), rate, left }
    }
}

fn percent_of(t: T, head_t: Option<T>) -> Option<f64> {
    head_t.map(|head_t| if t >= head_t { 100.0 } else { t as f64 * 100.0 / head_t as f64 })
}

impl Places {
    /// Entries of a part that later states share.
    const PART: usize = 1024;

    pub(crate) fn add(&mut self, first_t: T, seq: u64) {
        Arc::make_mut(&mut self.last).push((first_t, seq));
        if self.last.len() == Self::PART {
            let full = std::mem::take(&mut self.last);
            Arc::make_mut(&mut self.full).push(full);
        }
    }

    /// The records of before are read from this tree from here on.
    pub(crate) fn move_to(&mut self, tree: LogTree) {
        self.before = Some(Arc::new(tree));
    }

    /// Of a log whose beginning is in a tree.
    pub(crate) fn after(tree: Option<LogTree>) -> Self {
        Places { before: tree.map(Arc::new), ..Places::default() }
    }

    /// The seq of the record that holds t, which must be known; in the log tree it may take a while.
    pub async fn find(&self, t: T) -> Result<Option<u64>> {
        match (self.seq_of(t), &self.before) {
            (None, Some(tree)) => tree.seq_of(t).await,
            (found, _) => Ok(found),
        }
    }

    /// The seq of the record that holds t, or of the newest one before it; None before the first that was read.
    fn seq_of(&self, t: T) -> Option<u64> {
        let first_of = |part: &Part| part.first().map_or(T::MAX, |first| first.0);
        let part = if first_of(&self.last) <= t {
            &self.last
        } else {
            let after = self.full.partition_point(|part| first_of(part) <= t);
            &self.full[after.checked_sub(1)?]
        };
        let after = part.partition_point(|(first_t, _)| *first_t <= t);
        Some(part[after.checked_sub(1)?].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::Shutdown;

    #[test]
    fn every_transaction_is_found_in_its_record() {
        let mut places = Places::default();
        assert_eq!(places.seq_of(1), None);
        // Records of three transactions each; seq 1 and 2 hold none.
        for record in 0..3000 {
            places.add(1 + 3 * record, 3 + record);
        }
        for t in 1..=9000 {
            assert_eq!(places.seq_of(t), Some(3 + (t - 1) / 3), "t {t}");
        }
        assert_eq!(places.seq_of(0), None);
    }

    fn world() -> Arc<Followed> {
        let (ends, _) = Shutdown::new();
        Arc::new(Followed::new(log::DatabaseId([1; 16]), "world".into(), ends))
    }

    fn is_ready_now(future: impl Future<Output = ()>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_ready()
    }

    fn head(t: T) -> v1::Head {
        v1::Head { t, ..Default::default() }
    }

    #[tokio::test]
    async fn whoever_waits_for_a_basis_gets_a_value_that_includes_it() {
        let followed = world();
        let waiting = followed.clone();
        let waiter = tokio::spawn(async move { waiting.known_at(0).await.unwrap().seq });
        assert_eq!(followed.not_reached(3, Duration::ZERO).code(), "db.error/basis-not-reached");
        followed.set_ready();
        assert_eq!(waiter.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_database_that_goes_is_told_at_once() {
        let followed = world();
        let waiting = followed.clone();
        let waiter = tokio::spawn(async move { waiting.known_at(7).await.map(|_| ()) });
        followed.set_ready();
        followed.set_gone();
        let error = waiter.await.unwrap().unwrap_err();
        assert_eq!((error.category(), error.code()), (Category::NotFound, DELETED));
        // Readiness does not wait for what is no more.
        followed.comes_to(100.0).await;
    }

    #[tokio::test]
    async fn a_basis_counts_in_percent_of_a_head_that_was_heard_of() {
        let followed = world();
        let come = |percent| is_ready_now(followed.comes_to(percent));
        assert_eq!(followed.progress(Duration::ZERO).percent, None);
        assert!(!come(0.0), "nothing was heard of the head yet");
        followed.set_head(head(1000));
        assert!(come(0.0) && !come(0.1));
        followed.reached.send_modify(|reached| reached.t = 995);
        assert!(come(99.5) && !come(99.6));
        // The head moves on, and a head of no transactions is reached by nothing.
        followed.set_head(head(2000));
        assert!(!come(99.5));
        followed.set_head(head(0));
        assert!(come(100.0));
    }

    #[test]
    fn progress_tells_rate_and_what_is_left_of_catching_up_alone() {
        let at = Duration::from_secs;
        let begun = Some(CatchUp { t: 100, at: at(10) });
        let left = Some(Duration::from_millis(5500));
        let half = Progress { percent: Some(50.0), rate: Some(200.0), left };
        assert_eq!(Progress::of(1100, Some(2200), begun, at(15)), half);
        assert_eq!(Progress::of(100, Some(2200), begun, at(15)).left, None, "nothing was read yet");
        assert_eq!(Progress::of(100, Some(200), begun, at(10)).rate, None, "no time has passed");
        let still = Progress { percent: Some(100.0), rate: None, left: None };
        assert_eq!(Progress::of(2200, Some(2200), None, at(15)), still);
    }
}
