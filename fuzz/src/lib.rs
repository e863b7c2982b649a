//! Mutated inputs for all that reads what others send.
//!
//! A [`Target`] takes bytes and must come back: with an answer or an error, without a panic, within
//! [`INPUT_MAX`], and with what it read meaning the same when it is written and read again. Its inputs are made from
//! a corpus (the case suite in `tests/cases`, golden records and segments, and what `corpus/TARGET` keeps of earlier finds) by
//! mutations drawn from a seed, so that a run can be repeated input by input. Nothing here needs a nightly compiler or
//! instrumentation: it is breadth, not coverage, that this gives.

mod corpus;
mod mutate;
mod target;

pub use target::Target;

use mutate::Dice;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// The longest that one input may take, on a busy machine and without optimisation.
pub const INPUT_MAX: Duration = Duration::from_secs(20);

/// How many inputs a run took, and what they came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub inputs: u64,
    /// Those that were taken; the others were refused with an error.
    pub taken: u64,
    pub slowest: Duration,
}

/// An input that the target did not survive.
#[derive(Debug)]
pub struct Crash {
    pub seed: u64,
    /// Which input of the seed's; None for one of the corpus as it is.
    pub number: Option<u64>,
    pub input: Vec<u8>,
    pub why: String,
}

/// Feeds a target its whole corpus and then `count` inputs made from it.
pub fn run(target: Target, seed: u64, count: u64) -> Result<Tally, Box<Crash>> {
    let corpus = corpus::of(target);
    let world = target::World::new();
    let mut tally = Tally::default();
    for input in &corpus {
        one(target, &world, input, seed, None, &mut tally)?;
    }
    for number in 0..count {
        // Each input has dice of its own, so that one can be made again without those before it.
        let mut dice = Dice::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let input = mutate::input(&mut dice, target.is_text(), &corpus, target.dictionary());
        one(target, &world, &input, seed, Some(number), &mut tally)?;
    }
    Ok(tally)
}

fn one(
    target: Target,
    world: &target::World,
    input: &[u8],
    seed: u64,
    number: Option<u64>,
    tally: &mut Tally,
) -> Result<(), Box<Crash>> {
    let started = Instant::now();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| target.feed(world, input)));
    let took = started.elapsed();
    let crash = |why: String| Box::new(Crash { seed, number, input: input.to_vec(), why });
    match outcome {
        Ok(Ok(taken)) => tally.taken += u64::from(taken),
        Ok(Err(why)) => return Err(crash(why)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| said.to_string()));
            return Err(crash(format!("it panicked: {}", said.unwrap_or_default())));
        }
    }
    if took > INPUT_MAX {
        return Err(crash(format!("it took {took:?}")));
    }
    tally.inputs += 1;
    tally.slowest = tally.slowest.max(took);
    Ok(())
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            Some(number) => write!(f, "input {number} of seed {}: ", self.seed)?,
            None => write!(f, "an input of the corpus: ")?,
        }
        let shown = &self.input[..self.input.len().min(4096)];
        write!(f, "{}\n{:?}\n{}", self.why, String::from_utf8_lossy(shown), hex(shown))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
