//! `diachron import`: files of transactions, committed one after the other.

use super::failure::Failure;
use super::{ImportArguments, Outcome, counted};
use client::{Client, Committed};
use crate::forms::{Form, Forms};
use db::{Category, Error, T};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::future::Future;
use std::io::{IsTerminal, Read, Write};
use std::time::{Duration, Instant as Monotonic};

/// How often a transaction is offered while the transactor is busy; each time after the wait it asks for.
const OFFERS_MAX: u32 = 10;
const RETRY_AFTER_DEFAULT: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// What has been committed so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    transactions: u64,
    datoms: u64,
    first_t: T,
    last_t: T,
}

pub(super) async fn run(connect: impl Future<Output = Result<Client, Failure>>, arguments: ImportArguments) -> Outcome {
    // All files are opened before anything is committed, so that a misspelt name costs nothing.
    let mut sources = Vec::new();
    let mut bytes_total = Some(0);
    for path in &arguments.files {
        let (source, length) = open(path)?;
        bytes_total = bytes_total.zip(length).map(|(total, length)| total + length);
        sources.push((path, source));
    }
    let client = connect.await?;
    if arguments.create {
        client.create_database(&arguments.db).await?;
    }

    let started = Monotonic::now();
    let bar = progress_bar(bytes_total);
    let mut tally = Tally::default();
    let mut bytes_before = 0;
    for (path, source) in sources {
        let name = if path == "-" { "standard input" } else { path };
        let mut forms = Forms::new(source);
        let mut count_in_file = 0;
        loop {
            let form = forms.next_form().map_err(|error| stopped(error.within(name), &tally))?;
            let Some(form) = form else { break };
            count_in_file += 1;
            let committed = offer(&client, &arguments.db, &form).await.map_err(|error| {
                let place = format!("{name} line {}, transaction {count_in_file} of the file", form.line);
                stopped(error.within(place), &tally)
            })?;
            tally.add(&committed);
            bar.set_position(bytes_before + form.end_offset);
            bar.set_message(format!(
                "{}, {}",
                counted(tally.transactions, "transaction"),
                counted(tally.datoms, "datom")
            ));
        }
        bytes_before = bar.position();
    }
    bar.finish_and_clear();

    let seconds = started.elapsed().as_secs_f64();
    let Tally { transactions, datoms, first_t, last_t } = tally;
    let rate = datoms as f64 / seconds.max(1e-9);
    let mut out = std::io::stdout();
    if transactions == 0 {
        writeln!(out, "no transactions")?;
    } else {
        writeln!(
            out,
            "{}, {}, t {first_t} to {last_t}, {seconds:.2} s, {rate:.0} datoms/s",
            counted(transactions, "transaction"),
            counted(datoms, "datom")
        )?;
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, committed: &Committed) {
        if self.transactions == 0 {
            self.first_t = committed.t;
        }
        self.transactions += 1;
        self.datoms += committed.datom_count;
        self.last_t = committed.t;
    }
}

/// Offers a transaction again where the server says that nothing was done and that it is only busy.
async fn offer(client: &Client, database: &str, form: &Form) -> db::Result<Committed> {
    let mut offers = 1;
    loop {
        match client.transact(database, &form.text).await {
            Err(error) if error.category() == Category::Busy && offers < OFFERS_MAX => {
                let wait = proto::retry_after(&error).unwrap_or(RETRY_AFTER_DEFAULT);
                tokio::time::sleep(wait.min(RETRY_AFTER_MAX)).await;
                offers += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Says how far the import came, so that the rest can be loaded alone.
fn stopped(error: Error, tally: &Tally) -> Failure {
    let error = error.with("transactions-committed", tally.transactions as i64);
    Failure::Error(if tally.transactions == 0 { error } else { error.with("last-t", tally.last_t as i64) })
}

/// A file and its length; standard input has none.
fn open(path: &str) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let opened = std::fs::File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
        }
        Ok((file, metadata.is_file().then_some(metadata.len())))
    });
    let (file, length) = opened.map_err(|error| Failure::file(path, &error))?;
    Ok((Box::new(file), length))
}

/// On a terminal only.
fn progress_bar(bytes_total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match bytes_total {
        Some(_) => "{bar:30} {percent:>3}%  {binary_bytes_per_sec}  {eta} left  {msg}",
        None => "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}",
    };
    let bar = bytes_total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
