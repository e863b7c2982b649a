//! What the demo prints.

use client::{Answer, Committed, Head};
use db::Item;
use db::edn::Edn;
use diachron_cli::format::{Table, pretty, terminal_width};
use std::io::Write;
use std::time::Duration;

/// Rows of an answer that are shown; the rest is counted.
const ROWS_SHOWN: usize = 6;
const WIDTH: usize = 100;
const INDENT: &str = "    ";

/// A line on stdout. A reader that went away is no reason to stop in the middle.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub(super) fn heading(text: &str) {
    line(&format!("\n== {text}"));
}

pub(super) fn question(number: usize, text: &str) {
    line(&format!("\n{number:>2}. {text}"));
}

/// A query, a pull pattern or tx-data as it was sent.
pub(super) fn form(text: &str) {
    let text = db::edn::read(text).map_or_else(|_| text.to_owned(), |form| pretty(&form, WIDTH));
    indented(&text);
}

pub(super) fn indented(text: &str) {
    for text in text.lines() {
        line(&format!("{INDENT}{text}"));
    }
}

/// The first rows of an answer.
pub(super) fn answer(answer: &Answer) {
    let mut table = Table::new(names(&answer.head));
    for row in &answer.rows {
        table.push(row);
    }
    table.sort();
    let gone = table.truncate(ROWS_SHOWN);
    self::table(&table);
    if gone > 0 {
        indented(&format!("… and {gone} more"));
    }
}

pub(super) fn item(item: &Item) {
    indented(&pretty(&Edn::from(item), WIDTH));
}

/// The datoms that a transaction came to.
pub(super) fn datoms(committed: &Committed) {
    let header = ["entity", "attribute", "value", "tx", "added"];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    for fact in &committed.datoms {
        table.push(&fact.row());
    }
    self::table(&table);
}

pub(super) fn verdict(is_right: bool, peer: usize, took: Duration, note: &str) {
    let verdict = if is_right { "✓ right" } else { "✗ WRONG" };
    indented(&format!("{verdict}  {note}peer {peer}, {:.1} ms", took.as_secs_f64() * 1e3));
}

fn table(table: &Table) {
    let mut text = Vec::new();
    let width = terminal_width().map(|width| width.saturating_sub(INDENT.len()));
    // Writing to memory cannot fail.
    let _ = table.write(&mut text, width);
    indented(&String::from_utf8_lossy(&text));
}

fn names(head: &Head) -> Vec<String> {
    match &head.keys[..] {
        [] => head.columns.clone(),
        keys => keys.iter().map(|key| Edn::from(key).to_string()).collect(),
    }
}
