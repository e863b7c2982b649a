//! `diachron restore`: hands a backup to a transactor.

use super::progress::Progress;
use super::{blocking, open};
use crate::command::arguments::RestoreArguments;
use crate::command::failure::{Failure, GO_ON};
use crate::command::inspect::{hex, long, text, write_rows};
use crate::command::maintain::urls;
use crate::command::settings::Settings;
use crate::command::{Outcome, ROWS, counted};
use crate::format::Format;
use backup::{Restore, Restored, Snapshot, series};
use client::{Client, moment};
use db::{Category, Error, TimePoint};
use indicatif::HumanBytes;
use proto::v1;
use proto::v1::admin_client::AdminClient;
use std::io::Write;
use tonic::transport::Endpoint;

pub(in crate::command) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: RestoreArguments,
    settings: &Settings,
) -> Outcome {
    let format = settings.format(Format::Table, &ROWS)?;
    let RestoreArguments { url, new, from, t, as_of, threads, place, transactor } = arguments;
    let as_of = as_of.as_deref().map(moment).transpose()?.map(time_point);
    let place = open(url, &place).await?;
    let target = place.clone();
    let manifest = blocking(move || series::one(&*target, from.as_deref(), t)).await?;
    let snapshot = Snapshot::new(place, manifest);
    let (progress, told) = Progress::new();
    let restore = Restore { snapshot: &snapshot, name: &new, as_of, threads: usize::from(threads), told: &told };
    let urls = urls(connect, &transactor).await?;
    let restored = progress.until(at_one(&urls, &restore)).await.map_err(|error| match error.category() {
        Category::Interrupted | Category::Unavailable => {
            error.with(GO_ON, "no database was made; the same command begins again, with what came already in place")
        }
        _ => error,
    })?;
    tell(&snapshot, &new, &restored, format)
}

/// Asks one transactor after the other until one is there.
async fn at_one(urls: &[String], restore: &Restore<'_>) -> db::Result<Restored> {
    let mut refusal = None;
    for url in urls {
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|_| {
            let message = format!("{url:?} is no URL of a transactor; give http://HOST:PORT");
            Error::incorrect("db.error/invalid-url", message)
        })?;
        let error = match endpoint.connect().await {
            Ok(channel) => {
                let mut admin = AdminClient::new(channel)
                    .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
                return backup::restore(&mut admin, restore).await;
            }
            Err(error) => Error::new(Category::Unavailable, "db.error/unavailable", error.to_string()),
        };
        refusal.get_or_insert(error.within(format_args!("the transactor at {url}")));
    }
    let none = || {
        let message = "no transactor is known; name one with --transactor";
        Error::new(Category::Unavailable, "db.error/unavailable", message)
    };
    Err(refusal.unwrap_or_else(none))
}

fn tell(snapshot: &Snapshot, name: &str, restored: &Restored, format: Format) -> Outcome {
    let Restored { id, t, segments_sent, segments_there, bytes_sent } = *restored;
    let origin = &snapshot.manifest().name;
    if format == Format::Table {
        let sent = counted(segments_sent, "segment");
        writeln!(
            std::io::stdout(),
            "{name} restored from {origin} at t {t}, id {}\n{sent} and {} sent, {segments_there} were there",
            hex(&id.0),
            HumanBytes(bytes_sent)
        )?;
        return Ok(());
    }
    let row = vec![
        text(name),
        text(&hex(&id.0)),
        text(origin),
        long(t),
        long(segments_sent),
        long(segments_there),
        long(bytes_sent),
    ];
    let columns = ["name", "id", "origin", "t", "segments-sent", "segments-there", "bytes-sent"];
    write_rows(format, &columns, std::iter::once(row))
}

fn time_point(moment: TimePoint) -> v1::TimePoint {
    use v1::time_point::Kind;
    let kind = match moment {
        TimePoint::T(t) => Kind::T(t),
        TimePoint::Instant(instant) => Kind::InstantMs(instant.0),
    };
    v1::TimePoint { kind: Some(kind) }
}
