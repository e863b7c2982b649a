//! What the tests of this crate share.

use proptest::test_runner::Config;

/// So many cases of a property, and `DIACHRON_SLOW` times as many where it is a number.
pub(crate) fn cases(count: u32) -> Config {
    let factor = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse::<u32>().ok()).unwrap_or(1);
    Config::with_cases(count.saturating_mul(factor))
}
