//! A guard against a wall clock that has run away.
//!
//! Instants never go back, so that one transaction written under a clock far in the future would hold all later ones
//! there. A wall clock that has gained more than a minute on the time since boot since the process started is not
//! believed.

use db::{Category, Error, Result};
use process::Clock;

const GAIN_MS_MAX: i64 = 60_000;

/// What both clocks said when the process started.
#[derive(Clone, Copy)]
pub struct ClockGuard {
    wall_minus_boot_ms: i64,
}

impl ClockGuard {
    pub fn new(clock: &dyn Clock) -> Self {
        ClockGuard { wall_minus_boot_ms: wall_minus_boot_ms(clock) }
    }

    pub fn check(&self, clock: &dyn Clock) -> Result<()> {
        let gain_ms = wall_minus_boot_ms(clock) - self.wall_minus_boot_ms;
        if gain_ms <= GAIN_MS_MAX {
            return Ok(());
        }
        Err(Error::new(
            Category::Unavailable,
            "db.error/clock-jumped",
            format!(
                "the transactor's wall clock jumped {} s ahead, and instants can never go back; set it right, or restart \
                 the transactor if it is right now",
                gain_ms / 1000
            ),
        ))
    }
}

fn wall_minus_boot_ms(clock: &dyn Clock) -> i64 {
    clock.now().0 - clock.since_boot().as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::Instant;
    use process::ManualClock;
    use std::time::Duration;

    #[test]
    fn a_clock_a_minute_ahead_is_not_believed_and_one_behind_is() {
        let clock = ManualClock::at(Instant(1_000_000));
        let guard = ClockGuard::new(&clock);
        clock.advance(Duration::from_secs(3600));
        guard.check(&clock).unwrap();
        clock.set(Instant(clock.now().0 + 61_000));
        assert_eq!(guard.check(&clock).unwrap_err().code(), "db.error/clock-jumped");
        clock.set(Instant(0));
        guard.check(&clock).unwrap();
    }
}
