//! Answers as text: aligned tables for people; EDN, JSON and CSV for programs.
//!
//! JSON is one compact array a row (an object where the query has `:keys`), so that equal answers have equal lines
//! and sorted lines can be compared by a hash; `docs/operations.md` says how each type is written.

mod csv;
mod edn;
mod json;
mod table;

pub use edn::pretty;
pub use json::{json, json_row};
pub use table::{Table, terminal_width};

use client::{Head, Shape};
use db::Item;
use db::edn::Edn;
use std::io::{Result, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns; on a terminal, long cells are cut to its width
    Table,
    /// One EDN form
    Edn,
    /// A JSON array a line, an object where the query has :keys
    Json,
    /// Comma-separated, with a header
    Csv,
}

/// How many rows of a table in their own order are in memory at a time.
const PAGE_ROWS: usize = 1000;

/// Writes an answer, row by row as it comes; only the table of an answer without an order of its own waits for all
/// rows, to sort them.
pub struct AnswerWriter<W> {
    out: W,
    format: Format,
    head: Head,
    rows_written: u64,
    table: Table,
    width_max: Option<usize>,
    in_order: bool,
}

impl<W: Write> AnswerWriter<W> {
    /// `width_max` is the terminal's width, where there is one.
    pub fn new(mut out: W, format: Format, head: Head, width_max: Option<usize>) -> Result<Self> {
        let names: Vec<String> = match &head.keys[..] {
            [] => head.columns.clone(),
            keys => keys.iter().map(csv::field_text).collect(),
        };
        if format == Format::Csv {
            csv::write_record(&mut out, names.iter().map(String::as_str))?;
        }
        let table = Table::new(names);
        Ok(AnswerWriter { out, format, head, rows_written: 0, table, width_max, in_order: false })
    }

    /// Rows stay in the order in which they come; there may be more of them than memory holds.
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    pub fn row(&mut self, row: Vec<Item>) -> Result<()> {
        match self.format {
            Format::Table => {
                self.table.push(&row);
                if self.in_order && self.table.len() == PAGE_ROWS {
                    self.table.write_page(&mut self.out, self.width_max)?;
                }
            }
            Format::Csv => {
                let fields: Vec<String> = row.iter().map(csv::field_text).collect();
                csv::write_record(&mut self.out, fields.iter().map(String::as_str))?;
            }
            Format::Json => writeln!(self.out, "{}", json(&self.head.shaped(row)))?,
            Format::Edn => self.edn_row(row)?,
        }
        self.rows_written += 1;
        Ok(())
    }

    /// Writes what is left, and tells how many rows there were.
    pub fn finish(mut self) -> Result<u64> {
        match self.format {
            // Without any rows, a header; nothing more after a last page that was full.
            Format::Table if self.in_order => {
                if !self.table.is_empty() || self.rows_written == 0 {
                    self.table.write_page(&mut self.out, self.width_max)?;
                }
            }
            Format::Table => {
                if !self.is_one() {
                    self.table.sort();
                }
                self.table.write(&mut self.out, self.width_max)?;
            }
            Format::Edn => match (self.is_one(), self.rows_written) {
                (false, 0) => writeln!(self.out, "[]")?,
                (false, _) => writeln!(self.out, "]")?,
                (true, 0) => writeln!(self.out, "nil")?,
                (true, _) => {}
            },
            Format::Json | Format::Csv => {}
        }
        self.out.flush()?;
        Ok(self.rows_written)
    }

    fn edn_row(&mut self, mut row: Vec<Item>) -> Result<()> {
        let single = matches!(self.head.shape, Shape::Collection | Shape::Scalar) && row.len() == 1;
        let item = if single { row.swap_remove(0) } else { self.head.shaped(row) };
        let form = Edn::from(&item);
        match (self.is_one(), self.rows_written) {
            (true, _) => writeln!(self.out, "{form}"),
            (false, 0) => write!(self.out, "[{form}"),
            (false, _) => write!(self.out, "\n {form}"),
        }
    }

    fn is_one(&self) -> bool {
        matches!(self.head.shape, Shape::Tuple | Shape::Scalar)
    }
}

#[cfg(test)]
mod tests;
