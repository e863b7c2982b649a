//! Timing: warm up, repeat, take the median, tell the noise.

use std::time::{Duration, Instant};

/// Medians and spread of several runs of one workload.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub median: Duration,
    /// Between the 10th and the 90th percentile.
    pub spread: (Duration, Duration),
}

impl Figure {
    pub fn of(mut runs: Vec<Duration>) -> Figure {
        assert!(!runs.is_empty(), "a figure needs at least one run");
        runs.sort();
        let at = |percent: usize| runs[(runs.len() - 1) * percent / 100];
        Figure { median: at(50), spread: (at(10), at(90)) }
    }

    pub fn median_ms(&self) -> f64 {
        self.median.as_secs_f64() * 1e3
    }

    /// `median (10 % … 90 %)` in milliseconds.
    pub fn in_ms(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        format!("{:.3} ms ({:.3} … {:.3})", ms(self.median), ms(self.spread.0), ms(self.spread.1))
    }
}

/// The time that so many of a hundred runs took at most, in milliseconds. Sorts the runs.
pub fn percentile_ms(runs: &mut [Duration], percent: f64) -> f64 {
    assert!(!runs.is_empty(), "a figure needs at least one run");
    runs.sort_unstable();
    let at = ((runs.len() - 1) as f64 * percent / 100.0).round() as usize;
    runs[at].as_secs_f64() * 1e3
}

/// The middle, the lowest and the highest.
pub fn median(figures: &[f64]) -> (f64, f64, f64) {
    assert!(!figures.is_empty(), "a figure needs at least one run");
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

/// Runs `work` until it has taken about `budget` in all, at least five times after one for warmth.
pub fn repeat<X>(budget: Duration, mut work: impl FnMut() -> X) -> Figure {
    std::hint::black_box(work());
    let begun = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < 5 || begun.elapsed() < budget {
        let start = Instant::now();
        std::hint::black_box(work());
        runs.push(start.elapsed());
    }
    Figure::of(runs)
}
