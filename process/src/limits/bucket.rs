//! A token bucket: so many calls a second over time, as many at once after a rest.

use std::time::Duration;

pub struct Bucket {
    /// Tokens a second, and the most there can be. 0: no limit.
    rate: f64,
    tokens: f64,
    /// When the tokens were counted last.
    at: Duration,
}

impl Bucket {
    pub fn new(rate: u32, now: Duration) -> Self {
        Bucket { rate: f64::from(rate), tokens: f64::from(rate), at: now }
    }

    /// Takes a token, or tells when there will be one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }

    pub fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.tokens >= self.rate
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.rate).min(self.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_as_many_tokens_as_the_rate_says_and_no_rest_gives_more() {
        let ms = Duration::from_millis;
        let mut bucket = Bucket::new(10, ms(0));
        for start in [ms(0), ms(5000)] {
            for _ in 0..10 {
                bucket.take(start).unwrap();
            }
            let wait = bucket.take(start).unwrap_err();
            assert!(wait > ms(99) && wait < ms(101), "{wait:?}");
            bucket.take(start + ms(101)).unwrap();
            bucket.take(start + ms(101)).unwrap_err();
        }
        assert!(!bucket.is_full(ms(5500)) && bucket.is_full(ms(7000)));
        // A clock that is asked out of order takes nothing back.
        bucket.take(ms(3000)).unwrap();
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut bucket = Bucket::new(0, Duration::ZERO);
        for _ in 0..1000 {
            bucket.take(Duration::ZERO).unwrap();
        }
        assert!(bucket.is_full(Duration::ZERO));
    }
}
