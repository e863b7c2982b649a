//! The clock, handed in.
//!
//! Wall time decides transaction instants, and nothing else: no promise of safety rests on a clock. Waiting
//! (timeouts, heartbeats) goes through the runtime's timer, which tests pause and move by themselves.

use db::Instant;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub trait Clock: Send + Sync {
    /// The wall clock; may jump either way.
    fn now(&self) -> Instant;

    /// Time since the machine started, sleep included; never goes back.
    fn since_boot(&self) -> Duration;
}

/// The operating system's.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Instant(since_epoch.map_or(0, |since| since.as_millis() as i64))
    }

    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
    }
}

/// A clock that stands still until a test moves it.
pub struct ManualClock {
    wall_ms: AtomicI64,
    since_boot_ms: AtomicI64,
}

impl ManualClock {
    pub fn at(instant: Instant) -> Self {
        ManualClock { wall_ms: AtomicI64::new(instant.0), since_boot_ms: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let ms = by.as_millis() as i64;
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.since_boot_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set(&self, instant: Instant) {
        self.wall_ms.store(instant.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.wall_ms.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.since_boot_ms.load(Ordering::SeqCst).max(0) as u64)
    }
}
