//! What a bench tells: tables for people, lines of JSON for programs.

use std::fmt::Write as _;
use std::io::Write as _;

/// One bench's figures.
pub struct Report {
    bench: &'static str,
    lines: String,
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Report { bench, lines: String::new() }
    }

    /// A figure for programs. Neither `what` nor `unit` has a quotation mark in it.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str) {
        let bench = self.bench;
        let written =
            writeln!(self.lines, r#"{{"bench":"{bench}","what":"{what}","value":{value:.6},"unit":"{unit}"}}"#);
        written.expect("a string takes all that is written");
    }

    /// A table for people.
    pub fn table(&self, columns: &[&str], rows: &[Vec<String>]) {
        println!("| {} |", columns.join(" | "));
        println!("|{}", " --- |".repeat(columns.len()));
        for row in rows {
            println!("| {} |", row.join(" | "));
        }
        println!();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("DIACHRON_BENCH_OUT") else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(self.lines.as_bytes())) {
            eprintln!("{}: {error}", path.display());
        }
    }
}
