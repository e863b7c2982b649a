//! Where segments that were fetched ahead wait for the scan that wants them: apart from the tier, so that they displace
//! nothing until they are read.

use crate::heap::Entry;
use crate::key::{ByHash, Key};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// A segment is given up when this many times as many others as are here were offered after it: its scan has ended.
const TURNOVERS_MAX: u64 = 4;

pub(crate) struct Landing {
    bytes_max: u64,
    /// Held for one step.
    here: Mutex<Here>,
}

#[derive(Default)]
struct Here {
    entries: HashMap<Key, Waiting, ByHash>,
    /// In the order of their coming, with their numbers; those that were taken are passed over.
    order: VecDeque<(u64, Key)>,
    bytes: u64,
    /// Being fetched.
    coming: u64,
    /// Of those that came lately.
    bytes_each: u64,
    /// Segments offered so far, those included for which there was no room.
    offered: u64,
    used: u64,
    unused: u64,
}

struct Waiting {
    number: u64,
    entry: Entry,
}

/// Room for one segment that is being fetched.
pub(crate) struct Room<'a>(&'a Landing);

/// What came of the segments that were fetched ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Landed {
    pub segments: u64,
    pub bytes: u64,
    pub used: u64,
    pub unused: u64,
}

impl Landing {
    pub fn new(bytes_max: u64) -> Landing {
        Landing { bytes_max, here: Mutex::default() }
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Room for one more, by what others took. To be refused counts as an offer too, so that what nobody comes for does
    /// not stay for ever.
    pub fn room(&self) -> Option<Room<'_>> {
        let mut here = self.lock();
        here.offered += 1;
        here.drop_stale();
        let expected = here.bytes + (here.coming + 1) * here.bytes_each;
        if expected > self.bytes_max && here.bytes + here.coming > 0 {
            return None;
        }
        here.coming += 1;
        Some(Room(self))
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// Gives a segment to whom it was fetched for.
    pub fn take(&self, key: &Key) -> Option<Entry> {
        let mut here = self.lock();
        let Waiting { entry, .. } = here.entries.remove(key)?;
        here.bytes -= entry.bytes;
        here.used += 1;
        here.forget_taken();
        Some(entry)
    }

    pub fn retain(&self, keep: impl Fn(&Key) -> bool) {
        let mut here = self.lock();
        here.entries.retain(|key, _| keep(key));
        here.bytes = here.entries.values().map(|waiting| waiting.entry.bytes).sum();
        here.forget_taken();
    }

    pub fn landed(&self) -> Landed {
        let here = self.lock();
        Landed { segments: here.entries.len() as u64, bytes: here.bytes, used: here.used, unused: here.unused }
    }

    fn lock(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Room<'_> {
    /// Keeps the segment, unless it is larger than there is room for.
    pub fn fill(self, key: Key, entry: Entry) {
        let mut here = self.0.lock();
        here.bytes_each = (3 * here.bytes_each + entry.bytes) / if here.bytes_each == 0 { 1 } else { 4 };
        if here.bytes + entry.bytes > self.0.bytes_max || here.entries.contains_key(&key) {
            here.unused += 1;
            return;
        }
        let number = here.offered;
        here.bytes += entry.bytes;
        here.entries.insert(key, Waiting { number, entry });
        here.order.push_back((number, key));
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.lock().coming -= 1;
    }
}

impl Here {
    fn is_here(&self, number: u64, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|waiting| waiting.number == number)
    }

    fn drop_stale(&mut self) {
        while let Some(&(number, key)) = self.order.front()
            && self.offered - number > TURNOVERS_MAX * (self.entries.len() as u64 + 1)
        {
            self.order.pop_front();
            if self.is_here(number, &key) {
                self.bytes -= self.entries.remove(&key).map_or(0, |waiting| waiting.entry.bytes);
                self.unused += 1;
            }
        }
    }

    /// Keeps the order as short as what it orders, but for a factor.
    fn forget_taken(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 16 {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(number, key)| self.is_here(*number, key));
            self.order = order;
        }
    }
}
