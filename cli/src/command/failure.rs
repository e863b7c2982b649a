//! How the command ends when something goes wrong.

use db::edn::Edn;
use db::{Category, Error};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) enum Failure {
    /// The peer's word, or ours about what the peer would refuse.
    Error(Error),
    /// The command line cannot be meant so.
    Usage(String),
    /// A file that cannot be read.
    File(String),
    /// The answer could not be written.
    Output(std::io::Error),
    /// It has been told already; this is its exit code.
    Told(u8),
}

/// The detail of an error that says what to do next, instead of what its category says.
pub(super) const GO_ON: &str = "go-on";

const DONE: u8 = 0;
const USAGE: u8 = 2;

/// The exit code of an error's category.
pub fn exit_code(category: Category) -> u8 {
    match category {
        Category::Incorrect => 1,
        Category::Unavailable => 3,
        Category::NotFound => 4,
        Category::Conflict => 5,
        Category::Busy => 6,
        Category::Interrupted => 7,
        Category::Unknown => 8,
        Category::Forbidden => 9,
        Category::Unsupported => 10,
        Category::Fenced => 11,
        Category::Corrupt => 12,
        Category::Fault => 13,
    }
}

/// Says what went wrong, and gives the exit code.
pub(super) fn end(outcome: Result<(), Failure>) -> ExitCode {
    ExitCode::from(outcome.map_or_else(|failure| tell(&failure), |()| DONE))
}

/// Says what went wrong, and gives its exit code.
pub(super) fn tell(failure: &Failure) -> u8 {
    let (text, code) = match failure {
        // Whoever reads has enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => return DONE,
        Failure::Told(code) => return *code,
        Failure::Output(error) => {
            (format!("error: the answer cannot be written: {error}\n"), exit_code(Category::Fault))
        }
        Failure::Usage(message) => (format!("error: {message}\n  next: `diachron --help` shows how\n"), USAGE),
        Failure::File(message) => {
            (format!("error: {message}\n  next: name a file of UTF-8 text, or `-` for standard input\n"), USAGE)
        }
        Failure::Error(error) => (explain(error), exit_code(error.category())),
    };
    // Nothing is left to do when stderr is gone too.
    let _ = std::io::stderr().write_all(text.as_bytes());
    code
}

/// Message, code, what to do next, and the forms or datoms at fault.
pub(super) fn explain(error: &Error) -> String {
    let mut text = format!("error: {}\n", error.message());
    text.push_str(&format!("  code: :{} ({})\n", error.code(), error.category().name()));
    for (key, value) in error.details().iter().filter(|(key, _)| key != GO_ON) {
        let indent = key.len() + 4;
        let value = crate::format::pretty(value, 100).replace('\n', &format!("\n{:indent$}", ""));
        text.push_str(&format!("  {key}: {value}\n"));
    }
    text.push_str(&format!("  next: {}\n", next_step(error)));
    text
}

fn next_step(error: &Error) -> String {
    if let Some((_, Edn::String(told))) = error.details().iter().find(|(key, _)| key == GO_ON) {
        return told.to_string();
    }
    let step = match (error.category(), error.code()) {
        (Category::Unavailable, "db.error/no-peer") => {
            "start a peer, or name the one that runs with --peer URL or DIACHRON_PEER"
        }
        (Category::Incorrect, "db.error/edn-syntax" | "db.error/edn-limit") => "correct the text at that place",
        (Category::Incorrect, _) => "correct the request; the same again will be refused again",
        (Category::Conflict, _) => "nothing was committed; look at the present state, then send what fits it",
        (Category::NotFound, code) if code.contains("database") => "`diachron db list` shows what there is",
        (Category::NotFound, _) => "check the name",
        (Category::Forbidden, _) => "ask whoever runs the database",
        (Category::Unavailable, _) => "nothing was done; try again, or ask another peer with --peer URL",
        (Category::Busy, _) => match error.details().iter().find(|(key, _)| key == proto::RETRY_AFTER_MS) {
            Some((_, Edn::Long(ms))) => return format!("nothing was done; try again after {ms} ms"),
            _ => "nothing was done; try again later",
        },
        (Category::Interrupted, _) => "narrow the request, or give it more with --timeout, --rows-max or --bytes-max",
        (Category::Unknown, _) => "look whether it is there with `diachron log` before sending it again",
        (Category::Fenced, _) => "another transactor writes now; try again",
        (Category::Corrupt, _) => "keep the store as it is and see docs/operations.md",
        (Category::Fault, _) => "report it, with the server's log",
        (Category::Unsupported, _) => "leave it out, or use a version that has it",
    };
    step.to_owned()
}

impl Failure {
    /// A file that cannot be read.
    pub(super) fn file(path: &str, error: &std::io::Error) -> Failure {
        Failure::File(format!("{path} cannot be read: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Output(error)
    }
}
