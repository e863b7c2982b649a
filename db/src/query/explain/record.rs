//! What notes the steps of a run while they are taken.

use super::{Explanation, Read, Step, StepKind};
use crate::query::ast::{Clause, Kind};
use crate::text::brief;
use std::cell::{Cell, RefCell};

/// Steps deeper than this are left out, so that whatever reads an explanation may go down by calls.
const DEPTH_MAX: usize = 40;
/// An explanation has no more steps.
const STEPS_MAX: usize = 10_000;

/// The steps that are being taken, each within the one before it. The first is the run itself.
pub(crate) struct Recorder {
    open: RefCell<Vec<Open>>,
    kept: Cell<usize>,
    cut: Cell<bool>,
}

struct Open {
    step: Step,
    /// Steps within it that are the same are told as one: it is done in rounds.
    merges: bool,
}

/// What is known of a step when it begins.
pub(crate) struct StepStart {
    pub kind: StepKind,
    pub clause: String,
    pub rows_expected: Option<u64>,
    pub rows_in: u64,
}

impl StepStart {
    pub(crate) fn of(clause: &Clause, rows_expected: Option<f64>, rows_in: u64) -> StepStart {
        let kind = match &clause.kind {
            Kind::Pattern { .. } => StepKind::Pattern,
            Kind::Call(call) if call.binding.is_none() => StepKind::Predicate,
            Kind::Call(_) => StepKind::Function,
            Kind::Not { .. } => StepKind::Not,
            Kind::Or { .. } => StepKind::Or,
            Kind::Rule { .. } => StepKind::Rule,
        };
        let rows_expected = rows_expected.filter(|rows| *rows >= 0.0).map(|rows| rows.ceil() as u64);
        StepStart { kind, clause: brief(&clause.form), rows_expected, rows_in }
    }
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        let run = StepStart { kind: StepKind::Branch, clause: String::new(), rows_expected: None, rows_in: 1 };
        let recorder = Recorder { open: RefCell::default(), kept: Cell::new(0), cut: Cell::new(false) };
        recorder.begin(run);
        recorder
    }

    pub(crate) fn begin(&self, start: StepStart) {
        let StepStart { kind, clause, rows_expected, rows_in } = start;
        let mut open = self.open.borrow_mut();
        let merges = open.last().is_some_and(|above| above.merges);
        let step = Step {
            kind,
            clause,
            reads: Vec::new(),
            ranges: Vec::new(),
            rows_expected,
            rows_in,
            rows_out: None,
            times: 1,
            steps: Vec::new(),
        };
        open.push(Open { step, merges });
    }

    pub(crate) fn end(&self, rows_out: u64) {
        if let Some(step) = self.open.borrow_mut().last_mut() {
            step.step.rows_out = Some(rows_out);
        }
        self.close();
    }

    /// Puts the innermost step into the one around it.
    fn close(&self) {
        let mut open = self.open.borrow_mut();
        let depth = open.len();
        let Some(Open { step, .. }) = open.pop() else { return };
        let Some(above) = open.last_mut() else { return };
        if above.merges
            && let Some(same) = above.step.steps.iter_mut().find(|other| other.is_like(&step))
        {
            return same.merge(step);
        }
        if depth > DEPTH_MAX || self.kept.get() >= STEPS_MAX {
            return self.cut.set(true);
        }
        self.kept.set(self.kept.get() + 1);
        above.step.steps.push(step);
    }

    /// Notes how the innermost step came by its rows.
    pub(crate) fn read(&self, read: Read) {
        if let Some(open) = self.open.borrow_mut().last_mut() {
            open.step.add_read(read);
        }
    }

    /// Notes a comparison that the innermost step took over as a range.
    pub(crate) fn range(&self, clause: &Clause) {
        if let Some(open) = self.open.borrow_mut().last_mut() {
            open.step.ranges.push(brief(&clause.form));
        }
    }

    /// The innermost step is done in rounds: what is the same in each is told as one step.
    pub(crate) fn in_rounds(&self, read: Read) {
        if let Some(open) = self.open.borrow_mut().last_mut() {
            open.merges = true;
            open.step.add_read(read);
        }
    }

    /// Everything noted; steps that were not ended are told without what they left.
    pub(crate) fn finish(self, rows: u64, rows_made: u64, stopped: Option<String>) -> Explanation {
        while self.open.borrow().len() > 1 {
            self.close();
        }
        let run = self.open.into_inner().pop();
        let steps = run.map_or_else(Vec::new, |run| run.step.steps);
        Explanation { steps, rows, rows_made, stopped, cut: self.cut.get() }
    }
}

impl Step {
    fn is_like(&self, other: &Step) -> bool {
        self.kind == other.kind && self.clause == other.clause
    }

    fn add_read(&mut self, read: Read) {
        if !self.reads.contains(&read) {
            self.reads.push(read);
        }
    }

    /// Takes in the same step of another round.
    fn merge(&mut self, other: Step) {
        self.times = self.times.saturating_add(other.times);
        self.rows_in = self.rows_in.saturating_add(other.rows_in);
        // A round that was cut off told none; then there is no sum.
        self.rows_out = self.rows_out.zip(other.rows_out).map(|(a, b)| a.saturating_add(b));
        self.rows_expected = match (self.rows_expected, other.rows_expected) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        other.reads.into_iter().for_each(|read| self.add_read(read));
        for range in other.ranges {
            if !self.ranges.contains(&range) {
                self.ranges.push(range);
            }
        }
        for step in other.steps {
            match self.steps.iter_mut().find(|own| own.is_like(&step)) {
                Some(own) => own.merge(step),
                None => self.steps.push(step),
            }
        }
    }
}
