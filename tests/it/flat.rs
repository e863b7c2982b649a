//! Whether the memory of processes stays flat.

use diachron_tests::Program;
use std::fmt;
use std::time::{Duration, Instant};

/// What a process may gain in any case: caches fill, allocators keep what they once had.
const GROWTH_BYTES: u64 = 96 << 20;
/// What a kept transaction may take in memory.
const TRANSACTION_BYTES: u64 = 2 << 10;
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub struct Memory<'a> {
    processes: Vec<Process<'a>>,
    looked: Instant,
}

struct Process<'a> {
    program: &'a Program,
    /// The most bytes in the first quarter of the time, and in the rest.
    early: u64,
    late: u64,
}

impl<'a> Memory<'a> {
    pub fn new(programs: &[&'a Program]) -> Self {
        let processes = programs.iter().map(|program| {
            let now = program.resident_bytes();
            Process { program, early: now, late: now }
        });
        Memory { processes: processes.collect(), looked: Instant::now() }
    }

    /// `passed` is how much of the time is over, from 0 to 1.
    pub fn look(&mut self, passed: f64) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for process in &mut self.processes {
            let now = process.program.resident_bytes();
            let most = if passed < 0.25 { &mut process.early } else { &mut process.late };
            *most = now.max(*most);
        }
    }

    /// `kept` transactions are held by each process for good.
    pub fn check(&self, kept: u64) {
        for Process { early, late, .. } in &self.processes {
            let bound = early + GROWTH_BYTES + kept * TRANSACTION_BYTES;
            assert!(*late <= bound, "{late} bytes are more than {bound}: {self}");
        }
    }
}

impl fmt::Display for Memory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let tell = |process: &Process<'_>| format!("{} then {} MiB", mib(process.early), mib(process.late));
        write!(f, "memory {}", self.processes.iter().map(tell).collect::<Vec<_>>().join(", "))
    }
}
