//! `diachron db` and `status`: what there is.

use super::Outcome;
use super::arguments::ForkArguments;
use super::failure::Failure;
use crate::format::{AnswerWriter, Format, terminal_width};
use client::{Client, Head, Shape, moment};
use db::{Item, Value};
use proto::v1::{self, FollowState};
use std::io::{BufWriter, IsTerminal, Write};

pub(super) async fn create_database(client: &Client, name: &str) -> Outcome {
    let (database, created) = client.create_database(name).await?;
    let what = if created { "created" } else { "there already" };
    writeln!(std::io::stdout(), "{} {what}, id {}", database.name, hex(&database.id))?;
    Ok(())
}

pub(super) async fn fork_database(
    connect: impl Future<Output = Result<Client, Failure>>,
    fork: &ForkArguments,
    format: Format,
) -> Outcome {
    let as_of = fork.as_of.as_deref().map(moment).transpose()?;
    let (database, t, created) = connect.await?.fork_database(&fork.db, &fork.new, as_of).await?;
    if format == Format::Table {
        let what = if created { "forked from" } else { "there already, forked from" };
        writeln!(std::io::stdout(), "{} {what} {} at t {t}, id {}", database.name, fork.db, hex(&database.id))?;
        return Ok(());
    }
    let created = Item::Value(Value::Boolean(created));
    let row = vec![text(&database.name), text(&hex(&database.id)), text(&fork.db), long(t), created];
    write_rows(format, &["name", "id", "origin", "t", "created"], std::iter::once(row))
}

/// Asks for the name once more where somebody can be asked.
pub(super) fn confirm_deletion(name: &str, yes: bool) -> Outcome {
    let stdin = std::io::stdin();
    if yes {
        return Ok(());
    }
    if !stdin.is_terminal() {
        return Err(Failure::Usage("nobody can be asked whether it is meant: say so with --yes".into()));
    }
    let _ = write!(std::io::stderr(), "there is no way back; the name once more: ");
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(|error| Failure::file("standard input", &error))?;
    match line.trim() == name {
        true => Ok(()),
        false => Err(Failure::Usage(format!("nothing is deleted: `{}` is not `{name}`", line.trim()))),
    }
}

pub(super) async fn delete_database(client: &Client, name: &str) -> Outcome {
    let database = client.delete_database(name).await?;
    writeln!(std::io::stdout(), "{name} deleted, id {}", hex(&database.id))?;
    Ok(())
}

pub(super) async fn databases(client: &Client, format: Format) -> Outcome {
    let databases = client.databases().await?;
    let rows = databases.into_iter().map(|database| vec![text(&database.name), text(&hex(&database.id))]);
    write_rows(format, &["name", "id"], rows)
}

pub(super) async fn status(client: &Client, format: Format) -> Outcome {
    let status = client.status().await?;
    if format == Format::Table {
        let mut out = std::io::stdout().lock();
        let uptime_s = status.uptime_ms / 1000;
        let version = &status.version;
        writeln!(out, "peer {}, version {version}, up {uptime_s} s", client.url())?;
        writeln!(out, "transactor {}", status.transactor_url)?;
        if !status.not_ready.is_empty() {
            writeln!(out, "not ready: {}", status.not_ready)?;
        }
        writeln!(out, "queries {} of at most {}", status.queries, status.queries_max)?;
        if let Some(cache) = &status.cache {
            writeln!(out, "segments fetched from storage {} ({})", cache.fetches, mib(cache.fetched_bytes))?;
            for tier in &cache.tiers {
                let v1::CacheTier { name, hits, misses, segments, bytes, bytes_max, .. } = tier;
                let (bytes, most) = (mib(*bytes), mib(*bytes_max));
                writeln!(out, "cache on {name}: {segments} segments, {bytes} of {most}; {hits} hits, {misses} misses")?;
            }
        }
        writeln!(out)?;
    }
    let rows = status.databases.into_iter().map(|database| {
        let state = match database.state() {
            FollowState::CatchingUp => "catching-up",
            FollowState::Following => "following",
            FollowState::Disconnected => "disconnected",
            FollowState::Diverged => "diverged",
            FollowState::Unspecified => "unknown",
        };
        // What was last heard of the head may be older than what has come from it since.
        let head_t = database.transactor_head.as_ref().map_or(Item::Nil, |head| long(head.t.max(database.basis_t)));
        let trouble = text(&database.trouble);
        let name = database.database.unwrap_or_default().name;
        let number = |number: Option<f64>| number.map_or(Item::Nil, |number| Item::Value(Value::double(number)));
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let left_s = database.catch_up_left_ms.map(|left_ms| tenths(left_ms as f64 / 1e3));
        vec![
            text(&name),
            long(database.basis_t),
            head_t,
            number(database.percent.map(|percent| (percent * 10.0).floor() / 10.0)),
            long(database.datoms),
            long(database.index_t),
            long(database.novelty_bytes),
            text(state),
            number(database.catch_up_rate.map(f64::round)),
            number(left_s),
            trouble,
        ]
    });
    let columns = [
        "name",
        "basis-t",
        "head-t",
        "percent",
        "datoms",
        "index-t",
        "novelty-bytes",
        "state",
        "rate",
        "left-s",
        "trouble",
    ];
    write_rows(format, &columns, rows)
}

/// Rows with names for their columns: a table; a vector of maps in EDN; an object a line in JSON.
pub(super) fn write_rows(format: Format, columns: &[&str], rows: impl Iterator<Item = Vec<Item>>) -> Outcome {
    let key = |name: &&str| if format == Format::Edn { Value::keyword(name) } else { Value::string(name) };
    let head = Head {
        shape: Shape::Relation,
        columns: Vec::new(),
        keys: columns.iter().map(|name| Item::Value(key(name))).collect(),
        databases: Vec::new(),
    };
    let mut writer = AnswerWriter::new(BufWriter::new(std::io::stdout().lock()), format, head, terminal_width())?;
    for row in rows {
        writer.row(row)?;
    }
    writer.finish()?;
    Ok(())
}

pub(super) fn text(text: &str) -> Item {
    Item::Value(Value::string(text))
}

pub(super) fn long(number: u64) -> Item {
    Item::Value(Value::Long(number as i64))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
