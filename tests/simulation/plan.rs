//! What goes wrong in a run, and when: drawn from its seed before it begins.

use crate::WORK;
use crate::flock::{PEERS, TRANSACTORS};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::conformance::Dice;

#[derive(Clone, Debug)]
pub enum Event {
    Partition(&'static str, &'static str),
    PartitionOneWay(&'static str, &'static str),
    Repair(&'static str, &'static str),
    CutOffFromStore,
    StoreIsBack,
    Crash(&'static str),
    CrashTransactor,
    Restart(&'static str),
    /// The one that reigns then.
    RestartTransactor,
    /// The second transactor begins a term, and the service's address leads to it from now on.
    TakeOver,
    /// Nothing goes wrong any more, and nobody writes.
    End,
}

pub struct Plan {
    /// In order, and what is due at once in the order in which it was planned.
    events: BTreeMap<(Duration, usize), Event>,
    planned: usize,
}

impl Plan {
    pub fn nothing() -> Self {
        Plan { events: BTreeMap::new(), planned: 0 }
    }

    /// A partition, a crash and a take-over, from `start` on.
    pub fn new(seed: u64, start: Duration) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0x1000_0001));
        let mut plan = Plan::nothing();
        let mut between = |from_ms: u64, to_ms: u64| Duration::from_millis(from_ms + dice.below(to_ms - from_ms));

        let (begins, lasts) = (start + between(500, 6000), between(500, 10_000));
        let (crashes, down) = (start + between(1000, 15_000), between(100, 3000));
        let (takes_over, deposed) = (start + between(1000, 13_000), between(200, 6000));
        let (cut_off, for_long) = (start + between(1000, 15_000), between(200, 4000));
        let (from, to) = (TRANSACTORS[dice.below(2) as usize], PEERS[dice.below(2) as usize]);
        match dice.below(4) {
            0 => plan.add(begins, Event::PartitionOneWay(from, to)),
            1 => plan.add(begins, Event::PartitionOneWay(to, from)),
            2 => PEERS.into_iter().for_each(|peer| plan.add(begins, Event::Partition(from, peer))),
            _ => plan.add(begins, Event::Partition(from, to)),
        }
        PEERS.into_iter().for_each(|peer| plan.add(begins + lasts, Event::Repair(from, peer)));
        match dice.below(2) {
            0 => {
                plan.add(crashes, Event::CrashTransactor);
                plan.add(crashes + down, Event::RestartTransactor);
            }
            _ => {
                let peer = PEERS[dice.below(2) as usize];
                plan.add(crashes, Event::Crash(peer));
                plan.add(crashes + down, Event::Restart(peer));
            }
        }
        plan.add(takes_over, Event::TakeOver);
        // Its peers stay with it as long as their connections do, so that somebody has to put it out of its reign.
        plan.add(takes_over + deposed, Event::Crash(TRANSACTORS[0]));
        if dice.below(2) == 0 {
            plan.add(cut_off, Event::CutOffFromStore);
            plan.add(cut_off + for_long, Event::StoreIsBack);
        }
        plan.add(start + WORK, Event::End);
        plan
    }

    pub fn add(&mut self, at: Duration, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The next event whose time has come.
    pub fn due(&mut self, now: Duration) -> Option<Event> {
        let next = self.events.first_entry().filter(|next| next.key().0 <= now)?;
        Some(next.remove())
    }
}
