//! A database that a peer follows, as those who ask see it: the newest value it knows, and how it is getting on.

use arc_swap::{ArcSwap, ArcSwapOption};
use db::replay::Replay;
use db::{Category, Db, Error, Result, T, log};
use proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;

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
}

type Part = Arc<Vec<(T, u64)>>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Reached {
    /// The log was read to its end once, so that the value is one that the transactor had.
    ready: bool,
    t: T,
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
    pub fn new(id: log::DatabaseId, name: String) -> Self {
        let replay = Replay::new(id);
        let known = Known { db: replay.db().clone(), seq: 0, hash: [0; 32], places: Places::default(), replay };
        Followed {
            id,
            name,
            known: ArcSwap::from_pointee(known),
            reached: watch::Sender::new(Reached { ready: false, t: 0 }),
            state: AtomicU8::new(FollowState::CatchingUp as u8),
            head: ArcSwapOption::empty(),
            trouble: ArcSwapOption::empty(),
        }
    }

    pub fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// The newest state once it includes t and the log was read to its end. The caller has a deadline.
    pub async fn known_at(&self, least_t: T) -> Result<Arc<Known>> {
        let mut reached = self.reached.subscribe();
        match reached.wait_for(|reached| reached.ready && reached.t >= least_t).await {
            Ok(_) => {}
            Err(_) => unreachable!("the sender lives as long as self"),
        }
        Ok(self.known())
    }

    /// What to tell a caller whose time ran out while it waited for t.
    pub fn not_reached(&self, least_t: T) -> Error {
        let known = self.known();
        let reached = *self.reached.borrow();
        let so_far = if reached.ready {
            format!(
                "this peer knows database {:?} up to t {}, and t {least_t} was asked for",
                self.name,
                known.db.basis_t()
            )
        } else {
            format!("this peer is still reading database {:?}, at t {} so far", self.name, known.db.basis_t())
        };
        let why = self.trouble().map_or(String::new(), |trouble| format!("; it does not follow now: {trouble}"));
        Error::new(Category::Unavailable, "db.error/basis-not-reached", format!("{so_far}{why}"))
            .with("basis-t", known.db.basis_t() as i64)
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

    pub(crate) fn publish(&self, replay: &Replay, places: Places) {
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

    pub(crate) fn is_ready(&self) -> bool {
        self.reached.borrow().ready
    }

    pub(crate) fn set_ready(&self) {
        self.reached.send_if_modified(|reached| !std::mem::replace(&mut reached.ready, true));
    }

    pub(crate) fn set_head(&self, head: v1::Head) {
        self.head.store(Some(Arc::new(head)));
    }

    pub(crate) fn set_state(&self, state: FollowState, trouble: Option<Error>) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.trouble.store(trouble.map(Arc::new));
    }
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

    /// The seq of the record that holds t, or of the newest one before it.
    pub fn seq_of(&self, t: T) -> Option<u64> {
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

    #[tokio::test]
    async fn whoever_waits_for_a_basis_gets_a_value_that_includes_it() {
        let followed = Arc::new(Followed::new(log::DatabaseId([1; 16]), "world".into()));
        let waiting = followed.clone();
        let waiter = tokio::spawn(async move { waiting.known_at(0).await.unwrap().seq });
        assert_eq!(followed.not_reached(3).code(), "db.error/basis-not-reached");
        followed.set_ready();
        assert_eq!(waiter.await.unwrap(), 0);
    }
}
