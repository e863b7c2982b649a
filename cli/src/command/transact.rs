//! `diachron transact`, and how a transaction is shown.

use super::arguments::TransactArguments;
use super::failure::Failure;
use super::settings::Settings;
use super::{Outcome, TRANSACTIONS, counted, file_text};
use crate::format::{Format, Table, json, pretty, terminal_width};
use client::{Client, Committed, Fact, Logged};
use db::edn::Edn;
use db::{EntityId, Instant, Item, T, Value};
use std::future::Future;
use std::io::{BufWriter, Write};

const PRETTY_WIDTH: usize = 100;

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: TransactArguments,
    settings: &Settings,
) -> Outcome {
    let database = settings.database(arguments.db)?;
    let format = settings.format(Format::Table, &TRANSACTIONS)?;
    let is_data = arguments.file.trim_start().starts_with('[');
    let tx_data = if is_data { arguments.file } else { file_text(&arguments.file)? };
    let client = connect.await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.dry_run {
        let speculated = client.with(&*database, tx_data).await?;
        Said { is_dry_run: true, ..Said::from(&speculated.transaction) }.write(&mut out, format)?;
        return Ok(out.flush()?);
    }
    write_committed(&client.transact(&database, tx_data).await?, &database, format, &mut out)
}

/// Writes what a transaction came to, and warns of what is not in the answer.
pub(super) fn write_committed(committed: &Committed, database: &str, format: Format, out: &mut impl Write) -> Outcome {
    Said::from(committed).write(out, format)?;
    out.flush()?;

    let missing = committed.datom_count.saturating_sub(committed.datoms.len() as u64);
    if missing > 0 {
        let message = format!(
            "{} not shown, they would have made the answer too large: `diachron log {} --from {}`",
            counted(missing, "datom"),
            database,
            committed.t
        );
        let _ = writeln!(std::io::stderr(), "warning: {message}");
    }
    if committed.not_yet_visible {
        let message = "it is committed, but this peer does not know it yet: do not send it again";
        let _ = writeln!(std::io::stderr(), "warning: {message}");
    }
    Ok(())
}

/// A transaction as it is shown.
pub(super) struct Said<'a> {
    t: T,
    tx: EntityId,
    instant: Instant,
    datoms: &'a [Fact],
    tempids: &'a [(String, EntityId)],
    /// It was not committed.
    is_dry_run: bool,
}

impl<'a> From<&'a Committed> for Said<'a> {
    fn from(said: &'a Committed) -> Said<'a> {
        let Committed { t, tx, instant, datoms, tempids, .. } = said;
        Said { t: *t, tx: *tx, instant: *instant, datoms, tempids, is_dry_run: false }
    }
}

impl<'a> From<&'a Logged> for Said<'a> {
    fn from(said: &'a Logged) -> Said<'a> {
        let Logged { t, tx, instant, datoms, tempids } = said;
        Said { t: *t, tx: *tx, instant: *instant, datoms, tempids, is_dry_run: false }
    }
}

impl Said<'_> {
    pub(super) fn write(&self, out: &mut impl Write, format: Format) -> Outcome {
        match format {
            Format::Json => writeln!(out, "{}", json(&self.item(Value::string)))?,
            Format::Edn => writeln!(out, "{}", pretty(&self.edn(), terminal_width().unwrap_or(PRETTY_WIDTH)))?,
            Format::Table => self.write_table(out)?,
            Format::Csv => {
                return Err(Failure::Usage("a transaction is no table of its own: --format table, edn or json".into()));
            }
        }
        Ok(())
    }

    /// As [`Self::write`], but a line of EDN, as it is a line of JSON: for who reads transaction by transaction.
    pub(super) fn write_line(&self, out: &mut impl Write, format: Format) -> Outcome {
        match format {
            Format::Edn => Ok(writeln!(out, "{}", self.edn())?),
            _ => self.write(out, format),
        }
    }

    fn edn(&self) -> Edn {
        Edn::from(&self.item(Value::keyword))
    }

    fn write_table(&self, out: &mut impl Write) -> Outcome {
        if self.is_dry_run {
            writeln!(out, "dry run: nothing was committed; committing it now would give")?;
        }
        let datoms = counted(self.datoms.len() as u64, "datom");
        writeln!(out, "t {}  {}  {datoms}  tx {}", self.t, self.instant, self.tx)?;
        let header = ["", "entity", "attribute", "value"].map(str::to_owned).to_vec();
        let mut table = Table::new(header);
        for fact in self.datoms {
            let sign = Value::string(if fact.added { "+" } else { "-" });
            let [e, attribute, v] = [Value::Ref(fact.e), Value::Keyword(fact.attribute.clone()), fact.v.clone()];
            table.push(&[sign, e, attribute, v].map(Item::Value));
        }
        if !self.datoms.is_empty() {
            table.write(out, terminal_width())?;
        }
        if !self.tempids.is_empty() {
            let mut table = Table::new(["tempid", "entity"].map(str::to_owned).to_vec());
            for (name, entity) in self.tempids {
                table.push(&[Value::string(name), Value::Ref(*entity)].map(Item::Value));
            }
            writeln!(out)?;
            table.write(out, terminal_width())?;
        }
        Ok(())
    }

    /// A map with keys of the kind that the format likes: keywords in EDN, plain strings in JSON.
    fn item(&self, key: fn(&'static str) -> Value) -> Item {
        let tempid = |(name, entity): &(String, EntityId)| (Value::string(name).into(), Value::Ref(*entity).into());
        let entries = [
            ("t", Value::Long(self.t as i64).into()),
            ("tx", Value::Ref(self.tx).into()),
            ("instant", Value::Instant(self.instant).into()),
            ("datoms", Item::Vector(self.datoms.iter().map(|fact| Item::Vector(fact.row().into())).collect())),
            ("tempids", Item::Map(self.tempids.iter().map(tempid).collect())),
        ];
        let dry_run = self.is_dry_run.then_some(("dry-run", Value::Boolean(true).into()));
        Item::Map(dry_run.into_iter().chain(entries).map(|(name, item)| (key(name).into(), item)).collect())
    }
}
