//! The `diachron` command: arguments, what it runs, and how it ends.
//!
//! Results go to stdout, everything else to stderr. The exit code tells the category of an error; a reader that goes
//! away early is no error.

mod arguments;
mod backup;
mod excise;
mod facts;
mod failure;
mod import;
mod inspect;
mod log;
mod maintain;
mod query;
mod settings;
mod shell;
mod transact;

pub use failure::exit_code;

use crate::format::Format;
use arguments::{Arguments, Command, DbCommand};
use clap::{CommandFactory, Parser};
use client::Client;
use failure::Failure;
use settings::Settings;
use std::process::ExitCode;
use std::time::Duration;

type Outcome = Result<(), Failure>;

/// All that an answer of rows can be written as.
const ROWS: [Format; 4] = [Format::Table, Format::Edn, Format::Json, Format::Csv];
/// All that a transaction can be written as.
const TRANSACTIONS: [Format; 3] = [Format::Table, Format::Edn, Format::Json];

/// Reads the arguments, does what they say, and tells how it ended.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One worker for the connection, while the main thread reads files and writes answers.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::from(error)),
    };
    failure::end(outcome)
}

async fn run(arguments: Arguments) -> Outcome {
    if let Command::Completions { shell } = arguments.command {
        // The writer that clap_complete takes must not fail; so it writes into memory.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "diachron", &mut script);
        return Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?);
    }
    let settings = Settings::resolve(&arguments.global)?;
    let connect = async {
        let client = Client::connect(&settings.peers.value[..]).await?.anonymous();
        Ok::<Client, Failure>(client.with_timeout(settings.timeout.value))
    };
    match arguments.command {
        Command::Db(DbCommand::Create { name }) => inspect::create_database(&connect.await?, &name).await,
        Command::Db(DbCommand::Delete { name, yes }) => {
            inspect::confirm_deletion(&name, yes)?;
            inspect::delete_database(&connect.await?, &name).await
        }
        Command::Db(DbCommand::List) => {
            inspect::databases(&connect.await?, settings.format(Format::Table, &ROWS)?).await
        }
        Command::Fork(fork) => inspect::fork_database(connect, &fork, settings.format(Format::Table, &ROWS)?).await,
        Command::Transact(transact) => transact::run(connect, transact, &settings).await,
        Command::Q(query) => query::run(connect, query, &settings).await,
        Command::Explain(query) => query::explain(connect, query, &settings).await,
        Command::Pull(pull) => query::pull(connect, pull, &settings).await,
        Command::Datoms(datoms) => facts::datoms(connect, datoms, &settings).await,
        Command::IndexRange(range) => facts::index_range(connect, range, &settings).await,
        Command::Log(range) => log::run(connect, range, &settings).await,
        Command::Watch(watch) => log::watch(connect, watch, &settings).await,
        Command::Status => inspect::status(&connect.await?, settings.format(Format::Table, &ROWS)?).await,
        Command::Gc(gc) => maintain::gc(connect, gc, &settings).await,
        Command::Excise(excise) => excise::run(connect, excise, &settings).await,
        Command::Verify(verify) => maintain::verify(connect, verify, &settings).await,
        Command::Backup(backup) => backup::run(connect, backup, &settings).await,
        Command::Restore(restore) => backup::restore(connect, restore, &settings).await,
        Command::Import(import) => import::run(connect, import).await,
        Command::Shell { db } => shell::run(connect, db, &settings).await,
        Command::Config => settings.show(),
        // Answered above, without settings.
        Command::Completions { .. } => Ok(()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    // gRPC counts a deadline's units in eight digits.
    if !(0.001..=1e7).contains(&seconds) {
        return Err("between 0.001 and 10000000 seconds are possible".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The text of an argument that is EDN, `@FILE` or `-`.
fn text_of(argument: &str) -> Result<String, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => file_text(path),
        None if argument == "-" => file_text("-"),
        None => Ok(argument.to_owned()),
    }
}

/// A file's text; `-` is standard input.
fn file_text(path: &str) -> Result<String, Failure> {
    let text = if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|error| Failure::file(path, &error))
}

/// `1 row`, `2 rows`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
