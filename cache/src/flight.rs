//! One bringing of a segment at a time: who comes while another is at it waits for that one.

use crate::heap::Entry;
use crate::key::{ByHash, Key};
use db::budget::{Interrupt, Stop};
use db::{Category, Error};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a waiter looks whether it should stop.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Flights {
    /// Held for a lookup; nobody waits with it.
    under_way: Mutex<HashMap<Key, Arc<Flight>, ByHash>>,
}

/// A segment that is being brought.
pub(crate) struct Flight {
    state: Mutex<State>,
    landed: Condvar,
    /// Ahead of a scan, not for somebody who waits.
    pub ahead: bool,
}

enum State {
    UnderWay,
    Landed(Entry),
    Failed(Arc<Error>),
    /// Whoever was at it stopped, or panicked; somebody else may try.
    Abandoned,
}

pub(crate) enum Boarding<'a> {
    /// The caller brings it.
    Lead(Lead<'a>),
    /// Somebody else does.
    Wait(Arc<Flight>),
}

/// How waiting for another one ended.
pub(crate) enum Waited {
    Landed(Entry),
    Failed(Error),
    Abandoned,
    Stopped(Stop),
}

impl Flights {
    pub fn board(&self, key: &Key, ahead: bool) -> Boarding<'_> {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(key) {
            return Boarding::Wait(flight.clone());
        }
        let flight = Arc::new(Flight { state: Mutex::new(State::UnderWay), landed: Condvar::new(), ahead });
        under_way.insert(*key, flight.clone());
        Boarding::Lead(Lead { flights: self, key: *key, flight })
    }

    pub fn contains(&self, key: &Key) -> bool {
        lock(&self.under_way).contains_key(key)
    }

    pub fn len(&self) -> usize {
        lock(&self.under_way).len()
    }
}

impl Flight {
    pub fn wait(&self, interrupt: Option<&dyn Interrupt>) -> Waited {
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::UnderWay => {}
                State::Landed(entry) => return Waited::Landed(entry.clone()),
                State::Failed(error) => return Waited::Failed(again(error)),
                State::Abandoned => return Waited::Abandoned,
            }
            state = match interrupt {
                None => self.landed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(interrupt) => {
                    if let Some(stop) = interrupt.stop() {
                        return Waited::Stopped(stop);
                    }
                    let waited = self.landed.wait_timeout(state, LOOK);
                    waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
                }
            };
        }
    }

    fn come_to(&self, outcome: State) {
        let mut state = lock(&self.state);
        if matches!(*state, State::UnderWay) {
            *state = outcome;
            self.landed.notify_all();
        }
    }
}

/// The right to bring a segment, and the duty to say what came of it. Until it is dropped nobody else brings the
/// same one.
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    key: Key,
    flight: Arc<Flight>,
}

impl Lead<'_> {
    pub fn landed(&self, entry: Entry) {
        self.flight.come_to(State::Landed(entry));
    }

    /// Tells those who wait, unless the error is that the caller itself was to stop.
    pub fn failed(&self, error: &Error) {
        let of_the_caller = error.category() == Category::Interrupted;
        self.flight.come_to(if of_the_caller { State::Abandoned } else { State::Failed(Arc::new(again(error))) });
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        lock(&self.flights.under_way).remove(&self.key);
        self.flight.come_to(State::Abandoned);
    }
}

/// The same error for somebody else.
fn again(error: &Error) -> Error {
    let same = Error::new(error.category(), error.code().to_owned(), error.message());
    error.details().iter().fold(same, |same, (key, value)| same.with(key.clone(), value.clone()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
