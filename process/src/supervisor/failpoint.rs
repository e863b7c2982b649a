//! Failpoints: places where a test makes an actor panic. Handed in, so that two processes in one test have their own.
//!
//! They are compiled always, since what is tested should be what runs: without any set, passing one costs a look at an
//! empty option. Only builds with debug assertions take them from the environment.

use crate::{Failure, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The variable that sets them, as `NAME=panic(COUNT)` or `NAME=pass(COUNT)panic(COUNT)`, parted by `;`.
pub const FAILPOINTS_VARIABLE: &str = "DIACHRON_FAILPOINTS";

/// The failpoints of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<Mutex<BTreeMap<String, Plan>>>>);

/// One actor's place in its step; it passes, or panics if a test says so. The default one always passes.
#[derive(Clone, Default)]
pub struct Failpoint {
    name: &'static str,
    all: Failpoints,
}

#[derive(Clone, Copy)]
struct Plan {
    passes: u32,
    panics: u32,
}

impl Failpoints {
    pub fn parse(text: &str) -> Result<Failpoints> {
        let mut plans = BTreeMap::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, plan) = plan(entry).ok_or_else(|| {
                Failure::new(format!(
                    "failpoint {entry:?} is none; give NAME=panic(COUNT) or NAME=pass(COUNT)panic(COUNT)"
                ))
            })?;
            plans.insert(name, plan);
        }
        Ok(Failpoints((!plans.is_empty()).then(|| Arc::new(Mutex::new(plans)))))
    }

    /// Those that the environment sets, in builds for tests; none in others.
    pub fn from_environment() -> Result<Failpoints> {
        match std::env::var(FAILPOINTS_VARIABLE) {
            Ok(text) if cfg!(debug_assertions) => Failpoints::parse(&text),
            _ => Ok(Failpoints::default()),
        }
    }

    pub(super) fn at(&self, name: &'static str) -> Failpoint {
        Failpoint { name, all: self.clone() }
    }
}

impl Failpoint {
    /// Stands at the top of an actor's step.
    pub fn pass(&self) {
        if let Some(plans) = &self.all.0 {
            // Held for one look; a panic below is not under it.
            let panics = plans
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .get_mut(self.name)
                .is_some_and(Plan::next);
            assert!(!panics, "failpoint {}", self.name);
        }
    }
}

impl Plan {
    /// Whether this time is one to panic at.
    fn next(&mut self) -> bool {
        if self.passes > 0 {
            self.passes -= 1;
            return false;
        }
        self.panics = match self.panics.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

fn plan(entry: &str) -> Option<(String, Plan)> {
    let (name, plan) = entry.split_once('=')?;
    let (passes, panics) = match plan.strip_prefix("pass(") {
        Some(rest) => {
            let (passes, rest) = rest.split_once(')')?;
            (passes.parse().ok()?, rest)
        }
        None => (0, plan),
    };
    let panics = panics.strip_prefix("panic(")?.strip_suffix(')')?.parse().ok()?;
    Some((name.to_owned(), Plan { passes, panics }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_passes_and_panics_as_often_as_it_is_told() {
        let points = Failpoints::parse("writer=pass(2)panic(1); creator=panic(2)").unwrap();
        let panics = |name| {
            let point = points.at(name);
            std::panic::catch_unwind(move || point.pass()).is_err()
        };
        assert_eq!([(); 5].map(|()| panics("writer")), [false, false, true, false, false]);
        assert_eq!([(); 3].map(|()| panics("creator")), [true, true, false]);
        assert!(!panics("follower"));
        for wrong in ["writer", "writer=", "writer=panic", "writer=panic(x)", "writer=pass(1)"] {
            assert!(Failpoints::parse(wrong).is_err(), "{wrong}");
        }
    }
}
