//! How a query was carried out: its clauses in the order they were worked in, how each was read, what was expected of
//! it and what it gave.
//!
//! Nothing is guessed: [`super::explain`] runs the query with a [`Recorder`] beside it, and what the executor does
//! is noted as it does it. A query that met a limit is told as far as it went.

mod record;
mod text;

pub(super) use record::{Recorder, StepStart};

use crate::index::Sort;

/// A query's run, told.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// In the order in which they were taken.
    pub steps: Vec<Step>,
    /// Rows of the answer.
    pub rows: u64,
    /// Rows made on the way, the answer's included, as the row limit counts them.
    pub rows_made: u64,
    /// Why the run ended before its end: a limit or the deadline. The steps tell how far it came.
    pub stopped: Option<String>,
    /// Steps were left out because there were too many of them.
    pub cut: bool,
}

/// One thing done: a clause worked in, or a part of one.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    pub kind: StepKind,
    /// The clause as written, or what stands for it; cut to a readable length.
    pub clause: String,
    pub reads: Vec<Read>,
    /// Comparisons that the reading took over as ranges.
    pub ranges: Vec<String>,
    /// Rows it was expected to leave; None where nothing was expected, because it can only remove rows or reads by
    /// constants alone.
    pub rows_expected: Option<u64>,
    /// Rows bound so far of the variables it touches, all combinations.
    pub rows_in: u64,
    /// The same afterwards; None where the run ended within it.
    pub rows_out: Option<u64>,
    /// How often it was done: more than once only within a recursive rule. Its rows are summed over all times.
    pub times: u64,
    /// What it consists of: the clauses of a `not`, the branches of an `or` or a rule.
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    Pattern,
    Predicate,
    Function,
    Not,
    Or,
    Rule,
    /// One branch of an `or` or of a rule.
    Branch,
    /// The elements of `:find`: aggregates, pulls, and the order of the rows.
    Find,
}

/// One way in which a step came by its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    pub how: How,
    /// The sort that was read.
    pub index: Option<Sort>,
    /// The parts of a datom that were known, constants and what each row brings: `e`, `a`, `v`, `range` (of v), `tx`.
    pub bound: [Option<&'static str>; 4],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// One stretch of the index.
    Scan,
    /// One stretch of the index, joined by hash with the rows there were.
    ScanAndJoin,
    /// A lookup for each row there was.
    Lookup,
    /// One walk over the index for all rows there were, in the order of their keys.
    Walk,
    /// The rows of a relation given in place of a database.
    Relation,
    /// A constant stands for nothing in this database: nothing was read.
    Nothing,
    /// Two sets of rows joined by hash on equal values.
    HashJoin,
    /// Each row of one set held against each of another.
    AllPairs,
    /// Recursion along the bound arguments, each place once.
    Follow,
    /// Recursion in rounds, each on what the last one found.
    Rounds,
}

impl StepKind {
    pub fn name(self) -> &'static str {
        match self {
            StepKind::Pattern => "pattern",
            StepKind::Predicate => "predicate",
            StepKind::Function => "function",
            StepKind::Not => "not",
            StepKind::Or => "or",
            StepKind::Rule => "rule",
            StepKind::Branch => "branch",
            StepKind::Find => "find",
        }
    }
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            How::Scan => "scan",
            How::ScanAndJoin => "scan-and-join",
            How::Lookup => "lookup",
            How::Walk => "walk",
            How::Relation => "relation",
            How::Nothing => "nothing",
            How::HashJoin => "hash-join",
            How::AllPairs => "all-pairs",
            How::Follow => "follow",
            How::Rounds => "rounds",
        }
    }
}

impl Read {
    pub(super) fn plain(how: How) -> Read {
        Read { how, index: None, bound: [None; 4] }
    }

    /// The name of the sort that was read, such as `avet`.
    pub fn index_name(&self) -> Option<&'static str> {
        self.index.map(|sort| match sort {
            Sort::Eavt => "eavt",
            Sort::Aevt => "aevt",
            Sort::Avet => "avet",
            Sort::Vaet => "vaet",
        })
    }

    /// The parts that were known, by name.
    pub fn bound_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.bound.iter().flatten().copied()
    }
}
