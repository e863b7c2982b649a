//! What a process tells its operator: a line on stderr for each thing worth knowing. Stdout is for results.

use crate::clock::{Clock, SystemClock};
use std::fmt::Display;
use std::io::Write;

pub fn info(message: impl Display) {
    line("info", message);
}

pub fn warn(message: impl Display) {
    line("warn", message);
}

pub fn error(message: impl Display) {
    line("error", message);
}

fn line(level: &str, message: impl Display) {
    // The time of a log line is for people, so it is the system's. A closed stderr must not end the process.
    let _ = writeln!(std::io::stderr().lock(), "{} {level} {message}", SystemClock.now());
}
