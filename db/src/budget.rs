//! What a query or a pull may spend. Long loops ask; the answer is an error that says which limit was met.

use crate::{Error, Result};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

/// Tells whether the work should stop now. The caller owns the clock and the cancellation.
pub trait Interrupt {
    fn stop(&self) -> Option<Stop>;
}

/// Why work stops before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Deadline,
    Cancelled,
}

impl Stop {
    pub fn error(self) -> Error {
        match self {
            Stop::Deadline => Error::interrupted(
                "db.error/deadline-exceeded",
                "the deadline passed before the work was done; ask for less, or allow more time",
            ),
            Stop::Cancelled => Error::interrupted("db.error/cancelled", "cancelled by the caller"),
        }
    }
}

/// Never stops.
pub struct Uninterrupted;

impl Interrupt for Uninterrupted {
    fn stop(&self) -> Option<Stop> {
        None
    }
}

/// The most one query or pull may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows made, intermediate ones included.
    pub rows_max: u64,
    /// Bytes held at once by intermediate and final rows, as estimated.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rows_max: 50_000_000, bytes_max: 1 << 30 }
    }
}

/// A running account against [`Limits`] and an [`Interrupt`].
pub struct Budget<'a> {
    limits: Limits,
    interrupt: &'a dyn Interrupt,
    steps: Cell<u64>,
    rows: Cell<u64>,
    bytes: Cell<u64>,
    warnings: RefCell<Vec<String>>,
}

/// Steps between two looks at the interrupt: some microseconds of work.
const STEPS_PER_LOOK: u64 = 1024;

/// Warnings kept for one answer.
const WARNINGS_MAX: usize = 20;

impl<'a> Budget<'a> {
    pub fn new(limits: Limits, interrupt: &'a dyn Interrupt) -> Self {
        Budget {
            limits,
            interrupt,
            steps: Cell::new(0),
            rows: Cell::new(0),
            bytes: Cell::new(0),
            warnings: RefCell::default(),
        }
    }

    /// A budget that never ends, for callers who have bounded the work otherwise.
    pub fn unlimited() -> Budget<'static> {
        Budget::new(Limits { rows_max: u64::MAX, bytes_max: u64::MAX }, &Uninterrupted)
    }

    /// One step of a loop; looks at the interrupt now and then.
    #[inline]
    pub fn step(&self) -> Result<()> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps.is_multiple_of(STEPS_PER_LOOK) { self.look() } else { Ok(()) }
    }

    /// Looks at the interrupt now.
    pub fn look(&self) -> Result<()> {
        self.interrupt.stop().map_or(Ok(()), |stop| Err(stop.error()))
    }

    /// Accounts for rows made; also a look at the interrupt for large batches.
    pub fn rows(&self, count: usize) -> Result<()> {
        let rows = self.rows.get().saturating_add(count as u64);
        self.rows.set(rows);
        if rows > self.limits.rows_max {
            return Err(Error::interrupted(
                "db.error/row-limit",
                format!(
                    "more than {} rows were made, intermediate ones included; narrow the clauses or raise the row limit",
                    self.limits.rows_max
                ),
            ));
        }
        if count as u64 >= STEPS_PER_LOOK { self.look() } else { Ok(()) }
    }

    /// Rows made so far.
    pub fn rows_made(&self) -> u64 {
        self.rows.get()
    }

    /// Accounts for bytes held from now on.
    pub fn hold(&self, bytes: usize) -> Result<()> {
        let held = self.bytes.get().saturating_add(bytes as u64);
        self.bytes.set(held);
        if held > self.limits.bytes_max {
            return Err(Error::interrupted(
                "db.error/byte-limit",
                format!(
                    "the rows held at once exceed {} bytes; narrow the clauses or raise the byte limit",
                    self.limits.bytes_max
                ),
            ));
        }
        Ok(())
    }

    /// Notes something the caller should know about the answer, such as a collection cut off by a default limit.
    pub fn warn(&self, warning: impl FnOnce() -> String) {
        let mut warnings = self.warnings.borrow_mut();
        match warnings.len().cmp(&WARNINGS_MAX) {
            Ordering::Less => warnings.push(warning()),
            Ordering::Equal => warnings.push("and more warnings like these".into()),
            Ordering::Greater => {}
        }
    }

    /// What was noted, to be sent along with the answer.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Gives back bytes held before.
    pub fn release(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes as u64));
    }
}
