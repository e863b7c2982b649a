//! `diachron import`: transactions from files of tx-data or from a CSV file.
//!
//! In order, one transaction is under way at a time: calls that are under way together may be committed in any order,
//! and a later transaction may speak of what an earlier one made. While one is under way the next one is read.
//! With `--unordered` several are. Either way a transaction is sent again only when nothing was done, so that none is
//! lost or doubled; what stops the import says how to go on. With `--bulk` all go in one stream ([`bulk`]).

mod bulk;
mod cells;
mod mapping;
mod progress;
mod rows;

use super::arguments::ImportArguments;
use super::failure::{Failure, GO_ON};
use super::maintain::split;
use super::{Outcome, counted};
use crate::attributes::Attributes;
use crate::forms::Forms;
use client::{Client, Committed, Retry};
use db::edn::Edn;
use db::{Category, Error, Result, T};
use mapping::Mapping;
use progress::Progress;
use rows::Rows;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Read, Write};
use std::time::{Duration, Instant as Monotonic};
use tokio::task::JoinSet;

/// A transactor that is full, or away for a moment, is waited for within the deadline of a call.
const RETRY: Retry = Retry { rounds_max: 20, wait_min: Duration::from_millis(50), wait_max: Duration::from_secs(5) };

/// One transaction of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parcel {
    text: String,
    /// For errors: `tx.edn line 4, transaction 3 of the file`.
    place: String,
    /// Where it ends, in bytes of all files.
    end_offset: u64,
}

/// What gives the transactions, in their order; after an error there are none.
trait Parcels {
    fn next_parcel(&mut self) -> Result<Option<Parcel>>;
}

/// What became of the transactions so far.
#[derive(Debug, Default)]
struct Tally {
    /// Those that an earlier command of the same load committed.
    left_out: u64,
    transactions: u64,
    datoms: u64,
    first_t: T,
    last_t: T,
    /// The numbers of those that were not committed, or perhaps, and why.
    failed: BTreeMap<u64, Error>,
    /// Committed ones whose predecessors are not all committed yet.
    ahead: Vec<u64>,
    /// All before this one are committed, or were left out as told.
    next: u64,
}

pub(super) async fn run(connect: impl Future<Output = Result<Client, Failure>>, arguments: ImportArguments) -> Outcome {
    // All files are opened before anything is committed, so that a misspelt name costs nothing.
    let mut sources = Vec::new();
    let mut bytes_total = Some(0);
    for path in arguments.csv.iter().chain(&arguments.files) {
        let (source, length) = open(path)?;
        bytes_total = bytes_total.zip(length).map(|(total, length)| total + length);
        let name = if path == "-" { "standard input".to_owned() } else { path.clone() };
        sources.push((name, source));
    }
    let mapping = arguments.map.as_deref().map(Mapping::read).transpose()?;
    // A bulk load needs a peer only for what the transactor does not tell.
    let by_itself = arguments.bulk && arguments.csv.is_none() && !arguments.create;
    let client = match &arguments.transactor.transactor {
        Some(_) if by_itself => None,
        _ => Some(connect.await?.with_retry(RETRY)),
    };
    if let (true, Some(client)) = (arguments.create, &client) {
        client.create_database(&arguments.db).await?;
    }
    let parcels: Box<dyn Parcels> = match (&client, &arguments.csv, sources.pop()) {
        (Some(client), Some(_), Some((name, source))) => {
            let attributes = Attributes::of(client, &arguments.db).await?;
            let batch = arguments.batch.map_or(rows::BATCH, |batch| batch as usize);
            let rows = Rows::new(source, name, mapping, &attributes, batch)?;
            for column in rows.left_out() {
                let _ = writeln!(std::io::stderr(), "warning: the column `{column}` is not in the mapping: left out");
            }
            Box::new(rows)
        }
        (.., last) => Box::new(Files::new(sources.into_iter().chain(last).collect())),
    };

    let started = Monotonic::now();
    let progress = Progress::new(bytes_total);
    let tally = match client {
        Some(client) if !arguments.bulk => send(&client, &arguments, parcels, &progress).await,
        client => {
            let urls = match (&arguments.transactor.transactor, &client) {
                (Some(urls), _) => urls.clone(),
                (None, Some(client)) => client.status().await?.transactor_url,
                (None, None) => String::new(),
            };
            let load = bulk::Load::new(&arguments.db, arguments.load.clone(), split(&urls));
            let loaded = load.run(parcels, &progress).await;
            progress.finish();
            loaded?
        }
    };
    progress.finish();
    let Tally { transactions, datoms, first_t, last_t, .. } = tally;
    if !tally.failed.is_empty() {
        return Err(stopped(tally, &arguments));
    }

    let seconds = started.elapsed().as_secs_f64();
    let rate = datoms as f64 / seconds.max(1e-9);
    let mut out = std::io::stdout();
    if tally.left_out > 0 {
        writeln!(out, "{} of this load were committed before, and left out", counted(tally.left_out, "transaction"))?;
    }
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

/// Sends the transactions until the last one or the first that fails, and waits for those that are under way.
async fn send(
    client: &Client,
    arguments: &ImportArguments,
    mut parcels: Box<dyn Parcels>,
    progress: &Progress,
) -> Tally {
    let in_flight_max = if arguments.unordered { arguments.in_flight as usize } else { 1 };
    let is_left_out = |number: u64| number < arguments.from_form || arguments.skip_forms.contains(&number);
    let mut tally = Tally { next: 1, ..Tally::default() };
    let mut in_flight = JoinSet::new();
    let (mut number, mut ready, mut at_end) = (0, None, false);
    loop {
        at_end = at_end || !tally.failed.is_empty();
        if at_end {
            ready = None;
        } else if ready.is_none() {
            match parcels.next_parcel() {
                Ok(None) => at_end = true,
                Ok(Some(parcel)) => {
                    number += 1;
                    if is_left_out(number) {
                        tally.done(number);
                        progress.reached(parcel.end_offset);
                        continue;
                    }
                    ready = Some(parcel);
                }
                Err(error) => {
                    tally.failed.insert(number + 1, error);
                    continue;
                }
            }
        }
        if in_flight.len() < in_flight_max
            && let Some(parcel) = ready.take()
        {
            let (client, database) = (client.clone(), arguments.db.clone());
            in_flight.spawn(async move {
                let outcome = client.transact(&database, parcel.text).await;
                (number, parcel.end_offset, outcome.map_err(|error| error.within(parcel.place)))
            });
            continue;
        }
        match in_flight.join_next().await {
            None => return tally,
            Some(Ok((number, end_offset, Ok(committed)))) => {
                tally.committed(number, &committed);
                progress.committed(end_offset, tally.transactions, tally.datoms);
            }
            Some(Ok((number, _, Err(error)))) => {
                tally.failed.insert(number, error);
            }
            // A task of ours that panicked: what it sent may have been committed.
            Some(Err(panic)) => {
                let error = Error::new(Category::Unknown, "db.error/outcome-unknown", panic.to_string());
                tally.failed.insert(tally.next, error);
            }
        }
    }
}

impl Tally {
    fn committed(&mut self, number: u64, committed: &Committed) {
        self.first_t = if self.transactions == 0 { committed.t } else { self.first_t.min(committed.t) };
        self.last_t = self.last_t.max(committed.t);
        self.transactions += 1;
        self.datoms += committed.datom_count;
        self.done(number);
    }

    fn done(&mut self, number: u64) {
        self.ahead.push(number);
        self.ahead.sort_unstable();
        let in_row = self.ahead.iter().zip(self.next..).take_while(|(number, next)| **number == *next).count();
        self.ahead.drain(..in_row);
        self.next += in_row as u64;
    }
}

/// Says how far the import came, so that the rest can be loaded alone.
fn stopped(mut tally: Tally, arguments: &ImportArguments) -> Failure {
    let numbers = |numbers: &[u64]| Edn::Vector(numbers.iter().map(|number| Edn::Long(*number as i64)).collect());
    let is_unknown = |error: &Error| error.category() == Category::Unknown;
    let unknown: Vec<u64> = tally.failed.iter().filter(|(_, error)| is_unknown(error)).map(|(n, _)| *n).collect();
    let failed: Vec<u64> = tally.failed.keys().copied().collect();
    // What may have been committed is said before what was not.
    let Some(told) = unknown.first().or(failed.first()) else { return Failure::Usage("nothing failed".into()) };
    let Some(error) = tally.failed.remove(told) else { return Failure::Usage("nothing failed".into()) };

    let committed = tally.transactions as i64;
    let mut error = error.with("transactions-committed", committed).with("form", *told as i64);
    if committed > 0 {
        error = error.with("last-t", tally.last_t as i64);
    }
    if failed.len() > 1 {
        error = error.with("failed-forms", numbers(&failed));
    }
    let joined: Vec<String> = tally.ahead.iter().map(u64::to_string).collect();
    let skip = if joined.is_empty() { String::new() } else { format!(" --skip-forms {}", joined.join(",")) };
    let go_on = format!("--from-form {}{skip}", tally.next);
    let next = if unknown.is_empty() {
        format!("mend it and go on with `{go_on}`; all that was committed stays")
    } else {
        let log = match tally.last_t {
            0 => format!("diachron log {}", arguments.db),
            t => format!("diachron log {} --from {t}", arguments.db),
        };
        let forms: Vec<String> = unknown.iter().map(u64::to_string).collect();
        let forms = match &forms[..] {
            [one] => format!("form {one} is"),
            several => format!("forms {} are", several.join(", ")),
        };
        format!(
            "look with `{log}` whether {forms} there, then go on with `{go_on}`, leaving out what is there \
             with --skip-forms"
        )
    };
    Failure::Error(error.with(GO_ON, next))
}

/// Files of transactions, one after the other.
struct Files {
    waiting: std::vec::IntoIter<(String, Box<dyn Read>)>,
    current: Option<(String, Forms<Box<dyn Read>>)>,
    count_in_file: u64,
    bytes_before: u64,
    end_offset: u64,
}

impl Files {
    fn new(sources: Vec<(String, Box<dyn Read>)>) -> Files {
        Files { waiting: sources.into_iter(), current: None, count_in_file: 0, bytes_before: 0, end_offset: 0 }
    }
}

impl Parcels for Files {
    fn next_parcel(&mut self) -> Result<Option<Parcel>> {
        loop {
            let Some((name, forms)) = &mut self.current else {
                let Some((name, source)) = self.waiting.next() else { return Ok(None) };
                self.current = Some((name, Forms::new(source)));
                (self.count_in_file, self.bytes_before) = (0, self.end_offset);
                continue;
            };
            let form = forms.next_form().map_err(|error| error.within(&name))?;
            let Some(form) = form else {
                self.current = None;
                continue;
            };
            self.count_in_file += 1;
            self.end_offset = self.bytes_before + form.end_offset;
            let place = format!("{name} line {}, transaction {} of the file", form.line, self.count_in_file);
            return Ok(Some(Parcel { text: form.text, place, end_offset: self.end_offset }));
        }
    }
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

#[cfg(test)]
mod tests;
