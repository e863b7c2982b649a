//! `diachron gc` and `verify`: what a transactor does for its store. They ask it directly: where it is, is said, or the
//! peer tells.

use super::arguments::{GcArguments, TransactorArguments, VerifyArguments};
use super::failure::Failure;
use super::inspect::{text, write_rows};
use super::settings::Settings;
use super::{Outcome, ROWS, counted};
use crate::format::Format;
use client::Client;
use db::{Category, Error, Item, Value};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::verify_response::Kind;
use std::io::{IsTerminal, Write};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Of damage: what an error of this category ends with.
const DAMAGED: u8 = 12;

pub(super) async fn gc(
    connect: impl Future<Output = Result<Client, Failure>>,
    gc: GcArguments,
    settings: &Settings,
) -> Outcome {
    let format = settings.format(Format::Table, &ROWS)?;
    let database = match gc.all {
        true => String::new(),
        false => settings.database(gc.db)?,
    };
    let request = v1::CollectGarbageRequest { database, dry_run: gc.dry_run };
    let urls = urls(connect, &gc.transactor).await?;
    let answer = ask(&urls, |mut admin| {
        let mut request = Request::new(request.clone());
        request.set_timeout(settings.timeout.value);
        async move { admin.collect_garbage(request).await }
    });
    let response = answer.await?.into_inner();
    if format == Format::Table {
        tell_kept(&response, gc.dry_run)?;
    }
    let rows = response.databases.into_iter().flat_map(|database| {
        let name = database.name;
        database.groups.into_iter().map(move |group| {
            let fate = match (group.goes, gc.dry_run) {
                (true, true) => "would go",
                (true, false) => "gone",
                (false, _) => "stays",
            };
            vec![text(&name), text(fate), text(&group.what), long(group.segments), long(group.bytes)]
        })
    });
    write_rows(format, &["database", "fate", "segments", "count", "bytes"], rows)
}

fn tell_kept(response: &v1::CollectGarbageResponse, dry_run: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    for database in &response.databases {
        let going = database.groups.iter().filter(|group| group.goes);
        let (segments, bytes) = going.fold((0, 0), |sum, group| (sum.0 + group.segments, sum.1 + group.bytes));
        let what = if dry_run { "would go" } else { "gone" };
        let kept = match &database.kept[..] {
            [] => String::new(),
            [newest, ..] => {
                let oldest = database.kept[database.kept.len() - 1].index_t;
                let count = counted(database.kept.len() as u64, "index").replace("indexs", "indexes");
                format!("; {count} kept, t {} … {}", oldest, newest.index_t)
            }
        };
        let segments = counted(segments, "segment");
        writeln!(out, "{}: {segments} {what}, {}{kept}", database.name, HumanBytes(bytes))?;
    }
    writeln!(out, "retention {} s\n", response.retention_ms / 1000)?;
    Ok(())
}

pub(super) async fn verify(
    connect: impl Future<Output = Result<Client, Failure>>,
    verify: VerifyArguments,
    settings: &Settings,
) -> Outcome {
    let format = settings.format(Format::Table, &ROWS)?;
    let request = v1::VerifyRequest { database: settings.database(verify.db)?, repair: verify.repair };
    let urls = urls(connect, &verify.transactor).await?;
    // As long as it takes: it is stopped by going away.
    let answer = ask(&urls, |mut admin| {
        let request = request.clone();
        async move { admin.verify(request).await }
    });
    let mut stream = answer.await?.into_inner();
    let bar = bar();
    let (mut faults, mut summary) = (Vec::new(), None);
    while let Some(message) = stream.message().await.map_err(|status| proto::error(&status))? {
        match message.kind {
            Some(Kind::Progress(progress)) => show(&bar, &progress),
            Some(Kind::Fault(fault)) => faults.push(fault),
            Some(Kind::Summary(told)) => summary = Some(told),
            None => {}
        }
    }
    bar.finish_and_clear();
    let Some(summary) = summary else {
        let message = "the transactor ended the verification before it was done";
        return Err(Error::new(Category::Unavailable, "db.error/unavailable", message).into());
    };
    if format == Format::Table {
        let mut out = std::io::stdout().lock();
        let v1::VerifySummary { records, transactions, indexes, segments, open, closed, .. } = summary;
        let name = &request.database;
        let indexes = counted(indexes, "index").replace("indexs", "indexes");
        let (records, transactions) = (counted(records, "record"), counted(transactions, "transaction"));
        writeln!(out, "{name}: {records} with {transactions}, {indexes}, {}", counted(segments, "segment"))?;
        writeln!(
            out,
            "in the newest trees {} open and {closed} closed",
            counted(open, "life").replace("lifes", "lives")
        )?;
        if summary.repaired_index_seq > 0 {
            let before = counted(summary.repaired_faults, "fault");
            let seq = summary.repaired_index_seq;
            writeln!(out, "{before} before; the trees were made anew from the log and named by record {seq}")?;
        } else if verify.repair && !faults.is_empty() {
            writeln!(out, "nothing was repaired: trees are made of the log, and the log itself is damaged")?;
        }
        match faults.len() as u64 {
            0 => writeln!(out, "no fault was found")?,
            count => writeln!(out, "{} found\n", counted(count, "fault"))?,
        }
    }
    if !faults.is_empty() || format != Format::Table {
        let rows = faults.iter().map(|fault| vec![text(&fault.place), text(&fault.segment), text(&fault.what)]);
        write_rows(format, &["place", "segment", "fault"], rows)?;
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told(DAMAGED)),
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{msg:10} {bar:30} {pos} {per_sec}  {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: &v1::VerifyProgress) {
    if bar.message() != progress.stage {
        bar.reset();
        bar.set_message(progress.stage.clone());
    }
    match progress.total {
        0 => bar.unset_length(),
        total => bar.set_length(total),
    }
    bar.set_position(progress.done);
}

/// Where transactors are: as it was said, or as the peer knows.
pub(super) async fn urls(
    connect: impl Future<Output = Result<Client, Failure>>,
    said: &TransactorArguments,
) -> Result<Vec<String>, Failure> {
    let said = match &said.transactor {
        Some(urls) => urls.clone(),
        None => connect.await?.status().await?.transactor_url,
    };
    Ok(split(&said))
}

/// Addresses with commas between them.
pub(super) fn split(urls: &str) -> Vec<String> {
    urls.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect()
}

/// Asks one transactor after the other until one is there that has the database.
pub(super) async fn ask<A, F: Future<Output = Result<A, Status>>>(
    urls: &[String],
    call: impl Fn(AdminClient<Channel>) -> F,
) -> Result<A, Failure> {
    let mut refusal = None;
    for url in urls {
        let within = |error: Error| error.within(format_args!("the transactor at {url}"));
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| Failure::Usage(format!("{url:?} is no URL of a transactor; give http://HOST:PORT")))?;
        let admin = AdminClient::new(endpoint.connect_lazy()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
        match call(admin).await {
            Ok(answer) => return Ok(answer),
            Err(status) => {
                let error = within(proto::error(&status));
                let elsewhere = matches!(error.category(), Category::Unavailable | Category::NotFound);
                if !elsewhere {
                    return Err(error.into());
                }
                refusal.get_or_insert(error);
            }
        }
    }
    let none = || Failure::Usage("no transactor is known; name one with --transactor".into());
    Err(refusal.map_or_else(none, Failure::from))
}

fn long(number: u64) -> Item {
    Item::Value(Value::Long(number as i64))
}
