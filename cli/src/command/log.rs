//! `diachron log`, which is `tx-range` too, and `diachron watch`: transactions of the past, and as they come.

use super::arguments::{LogArguments, WatchArguments};
use super::failure::{Failure, GO_ON};
use super::settings::Settings;
use super::transact::Said;
use super::{Outcome, TRANSACTIONS};
use crate::format::{Format, terminal_width};
use client::{Client, Logged, moment};
use db::{Result as DbResult, T, TimePoint};
use std::future::Future;
use std::io::{BufWriter, Write};
use std::ops::Bound;
use std::pin::pin;

type Range = (Bound<TimePoint>, Bound<TimePoint>);

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: LogArguments,
    settings: &Settings,
) -> Outcome {
    let database = settings.database(arguments.db)?;
    let format = settings.format(Format::Table, &TRANSACTIONS)?;
    let range = range(arguments.from.as_deref(), arguments.to.as_deref())?;
    let client = connect.await?;
    write(&client, &database, range, format, &mut BufWriter::new(std::io::stdout().lock())).await
}

/// From one moment up to but without another, as people write them.
pub(super) fn range(from: Option<&str>, to: Option<&str>) -> DbResult<Range> {
    let bound = |text: Option<&str>, bound: fn(TimePoint) -> Bound<TimePoint>| {
        text.map_or(Ok(Bound::Unbounded), |text| moment(text).map(bound))
    };
    Ok((bound(from, Bound::Included)?, bound(to, Bound::Excluded)?))
}

/// Writes the transactions of a range as they come.
pub(super) async fn write(
    client: &Client,
    database: &str,
    range: Range,
    format: Format,
    out: &mut impl Write,
) -> Outcome {
    let mut log = client.tx_range(database, range).await?;
    let mut separator = Separator::of(format);
    while let Some(transaction) = log.next().await? {
        separator.write(out)?;
        Said::from(&transaction).write(out, format)?;
    }
    out.flush()?;
    Ok(())
}

pub(super) async fn watch(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: WatchArguments,
    settings: &Settings,
) -> Outcome {
    let database = settings.database(arguments.db)?;
    let format = settings.format(Format::Table, &TRANSACTIONS)?;
    let from = arguments.from.as_deref().map(moment).transpose()?;
    let client = connect.await?;
    let mut reports = client.tx_reports(&database, before(&client, &database, from).await?).await?;
    if terminal_width().is_some() {
        let from_t = reports.newest_t() + 1;
        let _ = writeln!(std::io::stderr(), "{database} from t {from_t} on; Ctrl-C ends it");
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut separator = Separator::of(format);
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    for _ in 0..arguments.count.unwrap_or(u64::MAX) {
        let next = tokio::select! {
            next = reports.next() => next,
            _ = &mut interrupted => return Ok(()),
        };
        let transaction: Logged = next.map_err(|error| {
            let from_t = reports.newest_t() + 1;
            error.with(GO_ON, format!("go on with `diachron watch {database} --from {from_t}`"))
        })?;
        separator.write(&mut out)?;
        Said::from(&transaction).write_line(&mut out, format)?;
        // Whoever reads wants to know of it now.
        out.flush()?;
    }
    Ok(())
}

/// The t of the transaction before the first that is wanted: the newest one, unless another moment is named.
async fn before(client: &Client, database: &str, from: Option<TimePoint>) -> DbResult<T> {
    match from {
        Some(TimePoint::T(t)) => Ok(t.saturating_sub(1)),
        Some(instant) => {
            // Asked first, so that nothing can come between it and a range that has nothing.
            let newest_t = client.sync(database, None).await?;
            let first = client.tx_range(database, instant..).await?.next().await?;
            Ok(first.map_or(newest_t, |first| first.t - 1))
        }
        None => client.sync(database, None).await,
    }
}

/// An empty line between the tables of two transactions.
struct Separator {
    is_wanted: bool,
    is_first: bool,
}

impl Separator {
    fn of(format: Format) -> Separator {
        Separator { is_wanted: format == Format::Table, is_first: true }
    }

    fn write(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if self.is_wanted && !std::mem::replace(&mut self.is_first, false) {
            writeln!(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_open_where_nothing_is_said() {
        let june = moment("2013-06-01").unwrap();
        let t = TimePoint::T;
        assert_eq!(range(None, None).unwrap(), (Bound::Unbounded, Bound::Unbounded));
        assert_eq!(range(Some("2"), Some("4")).unwrap(), (Bound::Included(t(2)), Bound::Excluded(t(4))));
        assert_eq!(range(Some("2013-06-01"), None).unwrap(), (Bound::Included(june), Bound::Unbounded));
        assert!(range(None, Some("soon")).is_err());
    }
}
