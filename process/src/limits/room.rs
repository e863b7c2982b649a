//! Room for what waits, of which no caller can take all.

use super::Caller;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for transactions on their way. Cheap to clone.
#[derive(Clone)]
pub struct Room(Arc<Inner>);

struct Inner {
    bytes_max: u64,
    caller_bytes_max: u64,
    caller_count_max: u64,
    taken: AtomicU64,
}

/// Why there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All callers together have taken it.
    All { bytes_max: u64 },
    /// This caller has its share.
    Bytes { bytes_max: u64 },
    /// This caller has as many on their way as it may.
    Count { count_max: u64 },
}

/// Room that was taken; given back when dropped.
pub struct Place {
    room: Room,
    caller: Option<Arc<Caller>>,
    bytes: u64,
}

impl Room {
    /// `share` of both is what one caller may take, in percent.
    pub fn new(bytes_max: u64, count_max: u64, share: u32) -> Self {
        let part = |whole: u64| (whole.saturating_mul(u64::from(share)) / 100).max(1);
        Room(Arc::new(Inner {
            bytes_max,
            caller_bytes_max: part(bytes_max),
            caller_count_max: part(count_max),
            taken: AtomicU64::new(0),
        }))
    }

    /// Takes room for one transaction. One that is larger than a caller's share is taken from a caller who has
    /// nothing else on its way.
    pub fn take(&self, caller: Option<Arc<Caller>>, bytes: u64) -> Result<Place, Full> {
        let inner = &self.0;
        // What was added is taken back by the place, also where it is refused below.
        let place = Place { room: self.clone(), caller, bytes };
        let all_before = inner.taken.fetch_add(bytes, Ordering::Relaxed);
        let (bytes_before, count_before) = match &place.caller {
            Some(caller) => (
                caller.waiting_bytes.fetch_add(bytes, Ordering::Relaxed),
                caller.waiting_count.fetch_add(1, Ordering::Relaxed),
            ),
            None => (0, 0),
        };
        let over = |before: u64, most: u64| before > 0 && before.saturating_add(bytes) > most;
        if over(bytes_before, inner.caller_bytes_max) {
            return Err(Full::Bytes { bytes_max: inner.caller_bytes_max });
        }
        if count_before >= inner.caller_count_max {
            return Err(Full::Count { count_max: inner.caller_count_max });
        }
        if over(all_before, inner.bytes_max) {
            return Err(Full::All { bytes_max: inner.bytes_max });
        }
        Ok(place)
    }

    /// Bytes taken now.
    pub fn bytes(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }
}

impl Full {
    pub fn message(self) -> String {
        match self {
            Full::All { bytes_max } => {
                format!("the transactions on their way already take {}, which is the most", mib(bytes_max))
            }
            Full::Bytes { bytes_max } => {
                format!("your transactions on their way already take {}, which is one caller's share", mib(bytes_max))
            }
            Full::Count { count_max } => {
                format!("{count_max} transactions of yours are on their way, which is one caller's share")
            }
        }
    }
}

fn mib(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes >> 20) }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(caller) = &self.caller {
            caller.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            caller.waiting_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bucket;
    use super::*;
    use std::time::Duration;

    fn caller(n: u8) -> Option<Arc<Caller>> {
        Some(Arc::new(Caller::new([10, 0, 0, n].into(), Bucket::new(0, Duration::ZERO))))
    }

    #[test]
    fn one_caller_takes_its_share_and_another_still_finds_room() {
        let room = Room::new(100, 1000, 50);
        let (one, other) = (caller(1), caller(2));
        let first = room.take(one.clone(), 50).unwrap();
        assert_eq!(room.take(one.clone(), 1).err(), Some(Full::Bytes { bytes_max: 50 }));
        let second = room.take(other.clone(), 40).unwrap();
        assert_eq!(room.bytes(), 90);
        assert_eq!(room.take(caller(3), 20).err(), Some(Full::All { bytes_max: 100 }));
        drop(first);
        let third = room.take(one, 20).unwrap();
        drop((second, third));
        assert_eq!(room.bytes(), 0);
    }

    #[test]
    fn one_caller_cannot_fill_a_queue_with_small_ones() {
        let room = Room::new(1 << 20, 4, 50);
        let one = caller(1);
        let _two = [room.take(one.clone(), 1).unwrap(), room.take(one.clone(), 1).unwrap()];
        assert_eq!(room.take(one, 1).err(), Some(Full::Count { count_max: 2 }));
        room.take(caller(2), 1).unwrap();
    }

    #[test]
    fn one_that_is_larger_than_all_room_alone_is_taken() {
        let room = Room::new(100, 1000, 50);
        let place = room.take(caller(1), 1000).unwrap();
        assert_eq!(room.take(caller(2), 1).err(), Some(Full::All { bytes_max: 100 }));
        drop(place);
        room.take(None, 1).unwrap();
    }
}
