//! Tables: columns aligned by the width of what a terminal shows.

use db::edn::Edn;
use db::{Item, Value};
use std::io::{IsTerminal, Result, Write};

/// Rows of cells under a header.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Row>,
    /// Of the page before, once there was one.
    layout: Option<Layout>,
}

#[derive(Clone, Debug)]
struct Layout {
    widths: Vec<usize>,
    /// Columns of numbers.
    right: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Row {
    items: Vec<Item>,
    cells: Vec<String>,
}

/// No column is cut to less than this.
const CELL_WIDTH_MIN: usize = 8;
const GAP: usize = 2;

impl Table {
    pub fn new(header: Vec<String>) -> Table {
        Table { header, rows: Vec::new(), layout: None }
    }

    pub fn push(&mut self, row: &[Item]) {
        self.rows.push(Row { items: row.to_vec(), cells: row.iter().map(cell).collect() });
    }

    /// Puts the rows in the order of their values.
    pub fn sort(&mut self) {
        self.rows.sort_by(|a, b| a.items.cmp(&b.items));
    }

    /// Keeps the first rows; tells how many are gone.
    pub fn truncate(&mut self, rows_max: usize) -> usize {
        let gone = self.rows.len().saturating_sub(rows_max);
        self.rows.truncate(rows_max);
        gone
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes header and rows; where `width_max` is given, cells are cut so that lines fit.
    pub fn write(&self, out: &mut impl Write, width_max: Option<usize>) -> Result<()> {
        let layout = self.layout(width_max);
        self.write_header(out, &layout)?;
        self.write_rows(out, &layout)
    }

    /// Writes the rows and forgets them, so that a table may have more of them than memory holds. The header stands
    /// above the first page; columns never get narrower from one page to the next.
    pub fn write_page(&mut self, out: &mut impl Write, width_max: Option<usize>) -> Result<()> {
        let layout = self.layout(width_max);
        if self.layout.is_none() {
            self.write_header(out, &layout)?;
        }
        self.write_rows(out, &layout)?;
        self.rows.clear();
        self.layout = Some(layout);
        Ok(())
    }

    fn layout(&self, width_max: Option<usize>) -> Layout {
        let columns = self.header.len();
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| width(cell));
            let before = self.layout.as_ref().map_or(0, |layout| layout.widths[column]);
            cells.chain([width(&self.header[column]), before]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width_of).collect();
        if let Some(width_max) = width_max {
            fit(&mut widths, width_max);
        }
        let right = match &self.layout {
            Some(layout) => layout.right.clone(),
            None => (0..columns).map(|column| self.is_numeric(column)).collect(),
        };
        Layout { widths, right }
    }

    fn write_header(&self, out: &mut impl Write, layout: &Layout) -> Result<()> {
        self.line(out, self.header.iter().map(String::as_str), layout)?;
        let rules: Vec<String> = layout.widths.iter().map(|width| "-".repeat(*width)).collect();
        self.line(out, rules.iter().map(String::as_str), layout)
    }

    fn write_rows(&self, out: &mut impl Write, layout: &Layout) -> Result<()> {
        for row in &self.rows {
            self.line(out, row.cells.iter().map(String::as_str), layout)?;
        }
        Ok(())
    }

    fn line<'a>(
        &self,
        out: &mut impl Write,
        cells: impl Iterator<Item = &'a str>,
        Layout { widths, right }: &Layout,
    ) -> Result<()> {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let cut = cut(cell, widths[column]);
            let blank = " ".repeat(widths[column].saturating_sub(width(&cut)));
            if column > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            if right[column] {
                line.push_str(&blank);
                line.push_str(&cut);
            } else {
                line.push_str(&cut);
                line.push_str(&blank);
            }
        }
        writeln!(out, "{}", line.trim_end())
    }

    fn is_numeric(&self, column: usize) -> bool {
        let is_number = |row: &Row| match row.items.get(column) {
            Some(Item::Value(value)) => value.is_number() || matches!(value, Value::Ref(_)),
            _ => false,
        };
        !self.rows.is_empty() && self.rows.iter().all(is_number)
    }
}

/// The width of the terminal that stdout is, if it is one.
pub fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Strings as they are, everything else as EDN; what would break the line is escaped.
fn cell(item: &Item) -> String {
    match item {
        Item::Value(Value::String(text)) if !text.chars().any(char::is_control) => text.to_string(),
        Item::Value(Value::Instant(instant)) => instant.to_string(),
        other => Edn::from(other).to_string(),
    }
}

/// Narrows the widest columns until a line fits, or every column is as narrow as it may be.
fn fit(widths: &mut [usize], width_max: usize) {
    let gaps = widths.len().saturating_sub(1) * GAP;
    while widths.iter().sum::<usize>() + gaps > width_max {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > CELL_WIDTH_MIN) else { return };
        *widest -= 1;
    }
}

fn cut(cell: &str, width_max: usize) -> String {
    if width(cell) <= width_max {
        return cell.to_owned();
    }
    let mut text = String::new();
    let mut used = 1;
    for c in cell.chars() {
        used += char_width(c);
        if used > width_max {
            break;
        }
        text.push(c);
    }
    text.push('…');
    text
}

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The columns a terminal gives to a character, near enough for aligning: none to combining marks, two to the
/// scripts and pictures of East Asia.
fn char_width(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
