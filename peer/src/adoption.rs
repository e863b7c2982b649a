//! Moving a database onto the trees of a new `index` record, beside its follower.
//!
//! A value on the new trees is prepared apart; the follower takes it between two batches and adds what came meanwhile.
//! Whatever goes wrong, the old trees stay, and the next index is tried.

use crate::followed::Followed;
use crate::trees::TreeReader;
use cache::Reader;
use db::log::IndexBody;
use db::{Db, Result};
use process::{Executor, log};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One at a time; of those named meanwhile the newest is next.
#[derive(Clone)]
pub struct Adoption {
    reader: TreeReader,
    executor: Executor,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_preparing: bool,
    next: Option<Named>,
    prepared: Option<Db>,
    /// Roots below it are void.
    floor: u64,
}

struct Named {
    of: Reader,
    body: IndexBody,
    followed: Arc<Followed>,
}

impl Adoption {
    pub fn new(reader: TreeReader, executor: Executor) -> Self {
        Adoption { reader, executor, state: Arc::default() }
    }

    pub fn reader(&self) -> &TreeReader {
        &self.reader
    }

    /// An `index` record has come; the database's newest value is from behind it.
    pub fn named(&self, followed: &Arc<Followed>, of: Reader, body: &IndexBody) {
        let mut state = self.state();
        state.next = Some(Named { of, body: body.clone(), followed: followed.clone() });
        if !std::mem::replace(&mut state.is_preparing, true) {
            let this = self.clone();
            // It ends by itself, when nothing more was named.
            self.executor.task(async move { this.prepare_all().await });
        }
    }

    /// Something was erased by the record at a seq: what is being prepared from before is never moved to.
    pub fn erased(&self, floor: u64) {
        let mut state = self.state();
        state.floor = state.floor.max(floor);
        (state.next, state.prepared) = (None, None);
    }

    /// A value that is ready to be moved to.
    pub fn take(&self) -> Option<Db> {
        self.state().prepared.take()
    }

    async fn prepare_all(&self) {
        loop {
            let next = {
                let mut state = self.state();
                match state.next.take() {
                    Some(next) => next,
                    None => {
                        state.is_preparing = false;
                        return;
                    }
                }
            };
            let (database, index_t, floor) = (next.followed.name.clone(), next.body.index_t, next.body.floor);
            match self.prepare(next).await {
                Ok(prepared) => {
                    let mut state = self.state();
                    if floor >= state.floor {
                        state.prepared = Some(prepared);
                    }
                }
                Err(error) => {
                    log::warn!(database, index_t, %error, "an index was not adopted; the one before it stays");
                }
            }
        }
    }

    async fn prepare(&self, named: Named) -> Result<Db> {
        let (_, trees) = self.reader.named(named.of, &named.body).await?;
        let db = named.followed.known().db.clone();
        self.executor.blocking(move || db.onto(trees)).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
