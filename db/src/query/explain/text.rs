//! Explanations as EDN, and as text to read.

use super::{Explanation, Read, Step};
use crate::edn::Edn;
use std::fmt;

impl Explanation {
    /// `{:rows n :rows-made n :steps [{:kind :pattern :clause "…" :rows-in n :rows-out n …} …]}`
    pub fn to_edn(&self) -> Edn {
        let mut entries = vec![
            (Edn::keyword("rows"), long(self.rows)),
            (Edn::keyword("rows-made"), long(self.rows_made)),
            (Edn::keyword("steps"), Edn::Vector(self.steps.iter().map(step_edn).collect())),
        ];
        if let Some(stopped) = &self.stopped {
            entries.push((Edn::keyword("stopped"), Edn::string(stopped.as_str())));
        }
        if self.cut {
            entries.push((Edn::keyword("cut"), Edn::Bool(true)));
        }
        Edn::Map(entries)
    }
}

fn long(count: u64) -> Edn {
    Edn::Long(i64::try_from(count).unwrap_or(i64::MAX))
}

fn step_edn(step: &Step) -> Edn {
    let mut entries = vec![
        (Edn::keyword("kind"), Edn::keyword(step.kind.name())),
        (Edn::keyword("clause"), Edn::string(step.clause.as_str())),
    ];
    let mut add = |key: &str, value: Edn| entries.push((Edn::keyword(key), value));
    if !step.reads.is_empty() {
        add("reads", Edn::Vector(step.reads.iter().map(read_edn).collect()));
    }
    if !step.ranges.is_empty() {
        add("ranges", Edn::Vector(step.ranges.iter().map(|range| Edn::string(range.as_str())).collect()));
    }
    if let Some(rows) = step.rows_expected {
        add("rows-expected", long(rows));
    }
    add("rows-in", long(step.rows_in));
    if let Some(rows) = step.rows_out {
        add("rows-out", long(rows));
    }
    if step.times > 1 {
        add("times", long(step.times));
    }
    if !step.steps.is_empty() {
        add("steps", Edn::Vector(step.steps.iter().map(step_edn).collect()));
    }
    Edn::Map(entries)
}

fn read_edn(read: &Read) -> Edn {
    let mut entries = vec![(Edn::keyword("how"), Edn::keyword(read.how.name()))];
    if let Some(index) = read.index_name() {
        entries.push((Edn::keyword("index"), Edn::keyword(index)));
        entries.push((Edn::keyword("bound"), Edn::Vector(read.bound_names().map(Edn::keyword).collect())));
    }
    Edn::Map(entries)
}

/// A line for each step, parts indented below it: the clause; how it was read; rows in → rows out, and what was
/// expected.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn widest(steps: &[Step], depth: usize) -> usize {
            let own = |step: &Step| (2 * depth + step.clause.chars().count()).max(widest(&step.steps, depth + 1));
            steps.iter().map(own).max().unwrap_or(0)
        }
        // Long clauses stand out of the column instead of pushing it aside.
        let width = widest(&self.steps, 0).min(COLUMN_MAX);
        self.steps.iter().try_for_each(|step| write_step(f, step, 0, width))?;
        write!(f, "{} in the answer, {} made on the way", rows(self.rows), rows(self.rows_made))?;
        if self.cut {
            write!(f, "; steps beyond the first ones were left out")?;
        }
        match &self.stopped {
            Some(stopped) => write!(f, "\nended early: {stopped}"),
            None => Ok(()),
        }
    }
}

/// The column in which what is said of a clause begins, at most.
const COLUMN_MAX: usize = 64;

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step, depth: usize, width: usize) -> fmt::Result {
    let indent = 2 * depth;
    write!(f, "{:indent$}{:<rest$}  ", "", step.clause, rest = width.saturating_sub(indent))?;
    match step.rows_out {
        Some(out) => write!(f, "{} → {}", step.rows_in, rows(out))?,
        None => write!(f, "{} → not ended", step.rows_in)?,
    }
    if let Some(expected) = step.rows_expected {
        write!(f, " (expected {expected})")?;
    }
    if step.times > 1 {
        write!(f, ", {} times", step.times)?;
    }
    for read in &step.reads {
        write!(f, "; {}", read.how.name())?;
        if let Some(index) = read.index_name() {
            write!(f, " {index}")?;
            let bound: Vec<&str> = read.bound_names().collect();
            if !bound.is_empty() {
                write!(f, " by {}", bound.join(" "))?;
            }
        }
    }
    for range in &step.ranges {
        write!(f, "; range {range}")?;
    }
    writeln!(f)?;
    step.steps.iter().try_for_each(|step| write_step(f, step, depth + 1, width))
}

fn rows(count: u64) -> String {
    format!("{count} row{}", if count == 1 { "" } else { "s" })
}
