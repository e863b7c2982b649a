//! `diachron backup`: reads a database from its store's read side, and writes to a place of its own.

mod progress;
mod restore;

pub(super) use restore::run as restore;

use super::arguments::{BackupArguments, BackupCommand, PlaceArguments};
use super::failure::{Failure, GO_ON};
use super::inspect::{hex, long, text, write_rows};
use super::maintain::{DAMAGED, ask, urls};
use super::settings::Settings;
use super::{Outcome, ROWS, counted};
use crate::format::Format;
use backup::{Made, Manifest, Target, series, target};
use client::Client;
use db::{Category, Error, Instant, Item, Value};
use indicatif::HumanBytes;
use progress::Progress;
use proto::v1;
use proto::v1::storage_client::StorageClient;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::DatabaseId;
use tonic::Request;
use tonic::transport::Endpoint;

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: BackupArguments,
    settings: &Settings,
) -> Outcome {
    let format = settings.format(Format::Table, &ROWS)?;
    match arguments.what {
        Some(BackupCommand::List { url, place }) => list(open(url, &place).await?, format).await,
        Some(BackupCommand::Verify { url, database, t, place }) => {
            verify(open(url, &place).await?, database, t, format).await
        }
        None => make(connect, arguments, settings, format).await,
    }
}

/// The place that a URL names.
pub(super) async fn open(url: String, place: &PlaceArguments) -> Result<Arc<dyn Target>, Failure> {
    let s3 = target::S3Options {
        endpoint: place.s3_endpoint.clone(),
        region: place.s3_region.clone(),
        allow_http: place.s3_allow_http,
    };
    let options = target::Options { s3 };
    Ok(blocking(move || target::open(&url, &options)).await?)
}

/// Runs what blocks beside the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> db::Result<T> + Send + 'static,
) -> db::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::fault(format!("it panicked: {error}"))))
}

async fn make(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: BackupArguments,
    settings: &Settings,
    format: Format,
) -> Outcome {
    let BackupArguments { db, url, storage, full, threads, place, transactor, .. } = arguments;
    let name = settings.database(db)?;
    // Both are required where there is no subcommand.
    let place = open(url.unwrap_or_default(), &place).await?;
    // Who is told of the backup in the end.
    let transactors = match (&storage, &transactor.transactor) {
        (Some(_), None) => Vec::new(),
        _ => urls(connect, &transactor).await?,
    };
    let sources = storage.map_or_else(|| transactors.clone(), |url| vec![url]);
    let (source, database) = find(&sources, &name, settings.timeout.value).await?;
    let (progress, told) = Progress::new();
    let (named, target) = (name.clone(), place.clone());
    let making = blocking(move || {
        let store = stores::net::reader(&source).map_err(stores::errors::from_storage)?;
        backup::make(&backup::Backup {
            store: &store,
            database,
            name: &named,
            target: &*target,
            now: now(),
            full,
            threads: usize::from(threads),
            told: &told,
        })
    });
    let made = progress.until(making).await.map_err(|error| {
        let again = format!("what is at {} stays; the same command goes on with it", place.url());
        match error.category() {
            Category::Busy | Category::Unavailable | Category::Interrupted => error.with(GO_ON, again),
            _ => error,
        }
    })?;
    note(&transactors, &place, &made, settings.timeout.value).await;
    tell(&*place, &made, format)
}

/// Tells the transactor of a backup. One that does not hear of it makes the backup no worse.
async fn note(transactors: &[String], place: &Arc<dyn Target>, made: &Made, timeout: Duration) {
    let noted = v1::NoteBackupRequest {
        database_id: made.manifest.database.0.to_vec().into(),
        url: place.url().to_owned(),
        t: made.manifest.head.t,
        seq: made.manifest.head.seq,
    };
    let asked = ask(transactors, |mut admin| {
        let mut request = Request::new(noted.clone());
        request.set_timeout(timeout);
        async move { admin.note_backup(request).await }
    });
    let why = match asked.await {
        Ok(_) => return,
        Err(Failure::Error(error)) => error.message().to_owned(),
        Err(_) => "none is known; name it with --transactor".to_owned(),
    };
    let _ = writeln!(
        std::io::stderr(),
        "warning: the backup is made, but no transactor was told of it ({why}); who erases facts later will not be \
         reminded of it"
    );
}

/// The store that has a database of a name, and its id.
async fn find(sources: &[String], name: &str, timeout: Duration) -> Result<(String, DatabaseId), Failure> {
    let mut refusal = None;
    for url in sources {
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| Failure::Usage(format!("{url:?} is no URL of a server; give http://HOST:PORT")))?;
        let mut client = StorageClient::new(endpoint.connect_timeout(timeout).connect_lazy())
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
        let mut request = Request::new(v1::ListDatabasesRequest {});
        request.set_timeout(timeout);
        let error = match client.list_databases(request).await {
            Err(status) => proto::error(&status),
            Ok(response) => {
                let there = response.into_inner().databases.into_iter().find(|info| info.name == name);
                match there {
                    Some(info) => return Ok((url.clone(), stores::wire::database_id_of(&info.id)?)),
                    None => {
                        let message = format!("there is no database {name:?}");
                        Error::not_found("db.error/unknown-database", message).with("database", name)
                    }
                }
            }
        };
        refusal.get_or_insert(error.within(format_args!("the store at {url}")));
    }
    let none =
        || Failure::Usage("no transactor is known; name one with --transactor, or a store with --storage".into());
    Err(refusal.map_or_else(none, Failure::from))
}

fn tell(place: &dyn Target, made: &Made, format: Format) -> Outcome {
    let Made { manifest, segments_sent, bytes_sent, was_there } = made;
    if format == Format::Table {
        let (name, t, url) = (&manifest.name, manifest.head.t, place.url());
        let what = if *was_there { "was backed up already" } else { "is backed up" };
        let segments = counted(manifest.segments + manifest.bodies, "segment");
        let (bytes, sent) = (HumanBytes(manifest.bytes()), HumanBytes(*bytes_sent));
        writeln!(
            std::io::stdout(),
            "{name} at t {t} {what}, {url}\n{segments}, {bytes}; {} and {sent} were new",
            counted(*segments_sent, "segment")
        )?;
        return Ok(());
    }
    let columns = ["name", "id", "t", "seq", "at", "url", "segments", "bytes", "segments-sent", "bytes-sent"];
    let mut row = row_of(manifest);
    row.extend([
        text(place.url()),
        long(manifest.segments + manifest.bodies),
        long(manifest.bytes()),
        long(*segments_sent),
        long(*bytes_sent),
    ]);
    write_rows(format, &columns, std::iter::once(row))
}

/// Name, id, t, seq and when.
fn row_of(manifest: &Manifest) -> Vec<Item> {
    vec![
        text(&manifest.name),
        text(&hex(&manifest.database.0)),
        long(manifest.head.t),
        long(manifest.head.seq),
        Item::Value(Value::Instant(manifest.at)),
    ]
}

async fn list(place: Arc<dyn Target>, format: Format) -> Outcome {
    let listed = blocking(move || series::list(&*place)).await?;
    let listed: Vec<_> = listed.into_iter().flat_map(|series| series.backups).collect();
    let mut damaged = false;
    let rows: Vec<_> = listed
        .iter()
        .map(|listed| match &listed.manifest {
            Ok(manifest) => {
                let mut row = row_of(manifest);
                row.extend([long(manifest.segments + manifest.bodies), long(manifest.bytes()), Item::Nil]);
                row
            }
            Err(error) => {
                damaged = true;
                let mut row = vec![Item::Nil; 7];
                row.push(text(error.message()));
                row
            }
        })
        .collect();
    write_rows(format, &["name", "id", "t", "seq", "at", "segments", "bytes", "fault"], rows.into_iter())?;
    if damaged { Err(Failure::Told(DAMAGED)) } else { Ok(()) }
}

async fn verify(place: Arc<dyn Target>, database: Option<String>, t: Option<u64>, format: Format) -> Outcome {
    let listed = {
        let (place, database) = (place.clone(), database.clone());
        blocking(move || series::of(&*place, database.as_deref())).await?
    };
    let mut rows = Vec::new();
    for series in &listed {
        let name = series.name().map_or_else(|| series.database.to_string(), str::to_owned);
        // What cannot be read is told of, whichever is verified.
        for listed in &series.backups {
            if let Err(error) = &listed.manifest {
                rows.push(vec![text(&name), Item::Nil, text(&listed.file), Item::Nil, text(error.message())]);
            }
        }
        let manifest = match series.at(t) {
            Ok(manifest) => manifest.clone(),
            Err(error) if error.category() == Category::NotFound => return Err(error.into()),
            Err(_) => continue,
        };
        let (progress, told) = Progress::new();
        let (target, of) = (place.clone(), manifest.clone());
        let (faults, summary) = progress.until(blocking(move || backup::verify(target, &of, &told))).await?;
        if format == Format::Table {
            let v1::VerifySummary { records, transactions, segments, open, closed, .. } = summary;
            let (records, transactions) = (counted(records, "record"), counted(transactions, "transaction"));
            let lives = counted(open, "life").replace("lifes", "lives");
            writeln!(
                std::io::stdout(),
                "{name} at t {}: {records} with {transactions}, {}, {lives} open and {closed} closed in the trees; {}",
                manifest.head.t,
                counted(segments, "segment"),
                if faults.is_empty() { "no fault was found".to_owned() } else { counted(summary.faults, "fault") },
            )?;
        }
        rows.extend(faults.into_iter().map(|fault| {
            let v1::VerifyFault { place, segment, what } = fault;
            vec![text(&name), long(manifest.head.t), text(&place), text(&segment), text(&what)]
        }));
    }
    let are_sound = rows.is_empty();
    if !are_sound || format != Format::Table {
        write_rows(format, &["name", "t", "place", "segment", "fault"], rows.into_iter())?;
    }
    if are_sound { Ok(()) } else { Err(Failure::Told(DAMAGED)) }
}

pub(super) fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant(since.as_millis() as i64)
}
