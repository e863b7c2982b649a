//! `diachron excise`: asks the transactor to erase facts, shows first what that would be, and how far it is.

use super::arguments::ExciseArguments;
use super::failure::Failure;
use super::inspect::{text, write_rows};
use super::maintain::{ask, urls};
use super::settings::Settings;
use super::{Outcome, ROWS, counted};
use crate::format::Format;
use client::{Client, moment};
use db::{Category, Error, Item, TimePoint, Value};
use indicatif::{ProgressBar, ProgressStyle};
use proto::v1;
use proto::v1::excise_response::Kind;
use std::io::{IsTerminal, Write};
use std::time::Duration;

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    excise: ExciseArguments,
    settings: &Settings,
) -> Outcome {
    let format = settings.format(Format::Table, &ROWS)?;
    let request = v1::ExciseRequest {
        database: settings.database(excise.db)?,
        entities: excise.entity,
        attributes: excise.attribute.iter().map(|name| keyword(name)).collect(),
        before: excise.before.as_deref().map(|text| moment(text).map(time_point)).transpose()?,
        dry_run: excise.dry_run,
    };
    if request.entities.is_empty() && request.attributes.is_empty() {
        return Err(Failure::Usage("name what is to be erased: --entity, --attribute, or both".into()));
    }
    let urls = urls(connect, &excise.transactor).await?;
    if !excise.dry_run && !excise.yes {
        let would = erase(&urls, &v1::ExciseRequest { dry_run: true, ..request.clone() }).await?;
        if would.lives > 0 {
            tell(&mut std::io::stderr().lock(), &request, &would, true)?;
            confirm(&request.database)?;
        }
    }
    let report = erase(&urls, &request).await?;
    if format == Format::Table {
        return tell(&mut std::io::stdout().lock(), &request, &report, excise.dry_run);
    }
    let long = |number: u64| Item::Value(Value::Long(number as i64));
    let names = |names: Vec<String>| Item::Vector(names.iter().map(|name| text(name)).collect());
    let row = vec![
        text(&request.database),
        long(report.lives),
        long(report.datoms),
        long(report.entities),
        long(report.transactions),
        long(report.records),
        long(report.references),
        long(report.segments_written),
        long(report.segments_deleted),
        long(report.erase_seq),
        names(report.forks),
        names(report.backups.into_iter().map(|backup| backup.url).collect()),
    ];
    let columns = [
        "database",
        "facts",
        "datoms",
        "entities",
        "transactions",
        "records",
        "references",
        "segments-written",
        "segments-deleted",
        "erase-seq",
        "forks",
        "backups",
    ];
    write_rows(format, &columns, std::iter::once(row))
}

fn time_point(point: TimePoint) -> v1::TimePoint {
    use v1::time_point::Kind;
    let kind = match point {
        TimePoint::T(t) => Kind::T(t),
        TimePoint::Instant(instant) => Kind::InstantMs(instant.0),
    };
    v1::TimePoint { kind: Some(kind) }
}

/// An attribute is a keyword, with or without its colon; an entity id is one too.
fn keyword(name: &str) -> String {
    let is_bare = name.starts_with(|first: char| first.is_alphabetic());
    if is_bare { format!(":{name}") } else { name.to_owned() }
}

async fn erase(urls: &[String], request: &v1::ExciseRequest) -> Result<v1::ExciseReport, Failure> {
    // As long as it takes: it is stopped by going away, until its record is written.
    let answer = ask(urls, |mut admin| {
        let request = request.clone();
        async move { admin.excise(request).await }
    });
    let mut stream = answer.await?.into_inner();
    let spinner = spinner();
    let mut report = None;
    while let Some(message) = stream.message().await.map_err(|status| proto::error(&status))? {
        match message.kind {
            Some(Kind::Progress(v1::ExciseProgress { stage, done, .. })) => {
                spinner.set_message(if done == 0 { stage } else { format!("{stage}, {done} done") });
            }
            Some(Kind::Report(told)) => report = Some(told),
            None => {}
        }
    }
    spinner.finish_and_clear();
    report.ok_or_else(|| {
        let message = "the transactor ended before the erasure was done; ask again, it finishes what it has begun";
        Error::new(Category::Unavailable, "db.error/unavailable", message).into()
    })
}

fn tell(out: &mut impl Write, request: &v1::ExciseRequest, report: &v1::ExciseReport, is_dry: bool) -> Outcome {
    let v1::ExciseReport { lives, open_lives, datoms, entities, transactions, records, .. } = report;
    let name = &request.database;
    if *lives == 0 {
        writeln!(out, "{name}: there is nothing to erase")?;
        return Ok(());
    }
    let what = if is_dry { "would be erased" } else { "erased" };
    let (facts, datoms) = (counted(*lives, "fact"), counted(*datoms, "datom"));
    writeln!(out, "{name}: {facts} {what} ({open_lives} in force, {datoms})")?;
    if *entities > 0 {
        let entities = counted(*entities, "entity").replace("entitys", "entities");
        writeln!(out, "  of {entities}, components among them")?;
    }
    let transactions = counted(*transactions, "transaction");
    writeln!(out, "  said by {transactions} in {}", counted(*records, "record"))?;
    if report.references > 0 {
        let references = counted(report.references, "reference");
        writeln!(out, "  {references} of others to them {}", if is_dry { "would stay" } else { "stay" })?;
    }
    if !is_dry {
        let (written, deleted) = (report.segments_written, counted(report.segments_deleted, "segment"));
        writeln!(out, "  {deleted} deleted, {written} written; the log names it in record {}", report.erase_seq)?;
    }
    if !report.forks.is_empty() {
        writeln!(
            out,
            "still in forks, where it is to be erased by itself or that are to go: {}",
            report.forks.join(", ")
        )?;
    }
    for backup in &report.backups {
        writeln!(out, "still in the backup {} (t {})", backup.url, backup.t)?;
    }
    Ok(())
}

/// Asks for the name once more where somebody can be asked.
fn confirm(name: &str) -> Outcome {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage("nobody can be asked whether it is meant: say so with --yes".into()));
    }
    let _ = write!(std::io::stderr(), "there is no way back; the database's name: ");
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(|error| Failure::file("standard input", &error))?;
    match line.trim() == name {
        true => Ok(()),
        false => Err(Failure::Usage(format!("nothing is erased: `{}` is not `{name}`", line.trim()))),
    }
}

fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    match ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        Ok(style) => spinner.with_style(style),
        Err(_) => spinner,
    }
}
