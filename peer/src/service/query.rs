//! Queries and pulls: on the compute pool, within a budget, streamed in batches.

use super::view::Viewed;
use super::{PeerService, deadline_exceeded};
use crate::pool::Interruption;
use crate::queries::Queries;
use cache::{IoStats, Tier};
use db::budget::{Budget, Limits};
use db::edn::Edn;
use db::pull::pull;
use db::query::{Answer, Input, KeyKind, Keys, Options, Query, Shape, query_with};
use db::{Error, Item, Result};
use process::log::Span;
use process::metrics::observe;
use proto::v1;
use proto::v1::query_input::Kind;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

/// A batch of rows is sent when it has this many, or takes about this many bytes.
const ROWS_PER_BATCH: usize = 1024;
const BYTES_PER_BATCH: usize = 256 << 10;

/// An input before the query says where it belongs.
pub(super) enum Given {
    Database(Viewed),
    /// EDN, read on the pool.
    Text(String),
    Value(Edn),
}

impl PeerService {
    pub(super) async fn run_query(&self, request: v1::QueryRequest, timeout: Duration) -> Result<Answers> {
        let started = self.clock.since_boot();
        let end = tokio::time::Instant::now() + timeout;
        let mut given = self.given(request.inputs, end).await?;
        let io_stats = if request.io_stats { counting(&mut given) } else { Vec::new() };
        let format = format(request.format)?;
        let seed = self.entropy.seed();
        let (queries, metrics, clock) = (self.queries.clone(), self.metrics.clone(), self.clock.clone());
        let work = move |budget: &Budget<'_>| {
            let begun = clock.since_boot();
            let parsed = parsed(&queries, &request.query, request.query_form)?;
            let (inputs, databases) = placed(&parsed, given)?;
            let options = Options { allow_full_scan: request.allow_full_scan, seed };
            let answer = query_with(&parsed, &inputs, &options, budget);
            observe(&metrics.query, clock.since_boot().saturating_sub(begun));
            let answer = answer?;
            metrics.query_rows.observe(answer.rows.len() as f64);
            Ok((answer, databases))
        };
        let ((answer, databases), warnings) = self.compute(request.limits, end, end, work).await?;
        let elapsed = self.clock.since_boot().saturating_sub(started);
        let end = v1::QueryEnd {
            row_count: answer.rows.len() as u64,
            warnings,
            elapsed_us: elapsed.as_micros() as u64,
            io_stats: if request.io_stats { tier_reads(&io_stats) } else { Vec::new() },
        };
        Ok(Answers::new(answer, databases, format, end))
    }

    /// The inputs of a request, their databases found.
    pub(super) async fn given(
        &self,
        inputs: Vec<v1::QueryInput>,
        end: tokio::time::Instant,
    ) -> Result<Vec<(String, Given)>> {
        let mut given = Vec::new();
        for input in inputs {
            let value = match input.kind {
                Some(Kind::Database(view)) => Given::Database(self.view(&view, end).await?),
                Some(Kind::Edn(text)) => Given::Text(text),
                Some(Kind::Value(value)) => Given::Value(proto::form(value)?),
                None => {
                    let message = "an input has none of its fields set: give a database, EDN or a value";
                    return Err(Error::incorrect("db.error/invalid-input", message));
                }
            };
            given.push((input.name, value));
        }
        Ok(given)
    }

    pub(super) async fn run_pull(&self, request: v1::PullRequest, timeout: Duration) -> Result<v1::PullResponse> {
        let end = tokio::time::Instant::now() + timeout;
        let format = format(request.format)?;
        let viewed = self.view(&request.database.unwrap_or_default(), end).await?;
        let basis_t = viewed.db.basis_t();
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        let work = move |budget: &Budget<'_>| {
            let begun = clock.since_boot();
            let pattern = one_of("pattern", &request.pattern, request.pattern_form)?;
            let entity = one_of("entity", &request.entity, request.entity_form)?;
            let pulled = pull(&viewed.db, &pattern, &entity, budget);
            observe(&metrics.pull, clock.since_boot().saturating_sub(begun));
            pulled
        };
        let (item, warnings) = self.compute(request.limits, end, end, work).await?;
        let (value, edn) = match format {
            v1::Format::Typed => (Some(v1::Value::from(&item)), String::new()),
            v1::Format::Edn => (None, Edn::from(&item).to_string()),
        };
        Ok(v1::PullResponse { value, edn, warnings, basis_t })
    }

    /// Runs work on the pool within the caller's limits and ours; it must stop by `stop`, and is no longer waited for
    /// at `end` or when the caller goes away. Gives what the caller should know about the outcome beside it.
    pub(super) async fn compute<X: Send + 'static>(
        &self,
        limits: Option<v1::QueryLimits>,
        stop: tokio::time::Instant,
        end: tokio::time::Instant,
        work: impl FnOnce(&Budget<'_>) -> Result<X> + Send + 'static,
    ) -> Result<(X, Vec<String>)> {
        let limits = self.limited(limits.unwrap_or_default());
        let left = stop.saturating_duration_since(tokio::time::Instant::now());
        let (interruption, _cancel) = Interruption::new(self.clock.clone(), left);
        let (metrics, clock, asked, span) =
            (self.metrics.clone(), self.clock.clone(), self.clock.since_boot(), Span::current());
        let run = self.pool.run(move || {
            // A fault on the way is told with the call it belongs to.
            let _entered = span.enter();
            observe(&metrics.pool_wait, clock.since_boot().saturating_sub(asked));
            let budget = Budget::new(limits, &interruption);
            budget.look()?;
            let done = work(&budget)?;
            Ok((done, budget.take_warnings()))
        });
        // The budget ends work that runs; this ends waiting for a thread.
        tokio::time::timeout_at(end, run).await.unwrap_or_else(|_| Err(deadline_exceeded()))
    }

    fn limited(&self, asked: v1::QueryLimits) -> Limits {
        let least = |asked: u64, most: u64| if asked == 0 { most } else { asked.min(most) };
        Limits {
            rows_max: least(asked.rows_max, self.limits.rows_max),
            bytes_max: least(asked.bytes_max, self.limits.bytes_max),
        }
    }
}

/// Has the reads of each database counted.
fn counting(given: &mut [(String, Given)]) -> Vec<Arc<IoStats>> {
    let mut all = Vec::new();
    for (_, value) in given {
        if let Given::Database(viewed) = value {
            let (db, stats) = cache::counted(&viewed.db);
            viewed.db = db;
            all.extend(stats);
        }
    }
    all
}

fn tier_reads(all: &[Arc<IoStats>]) -> Vec<v1::TierReads> {
    let of = |tier: Tier| {
        let counts = all.iter().map(|stats| stats.of(tier));
        let (segments, bytes) = counts.fold((0, 0), |(segments, bytes), of| (segments + of.segments, bytes + of.bytes));
        v1::TierReads { tier: tier.name().to_owned(), segments, bytes }
    };
    Tier::ALL.map(of).into()
}

/// The query that a request gives, as text or typed.
pub(super) fn parsed(queries: &Queries, text: &str, typed: Option<v1::Value>) -> Result<Arc<Query>> {
    match typed {
        None => queries.parse(text),
        typed => Ok(Arc::new(Query::parse(&one_of("query", text, typed)?)?)),
    }
}

/// What was given as text or typed.
fn one_of(what: &str, text: &str, typed: Option<v1::Value>) -> Result<Edn> {
    match typed {
        None => db::edn::read(text),
        Some(form) if text.is_empty() => proto::form(form),
        Some(_) => {
            let message = format!("the {what} was given twice: as text in `{what}`, and typed in `{what}_form`");
            Err(Error::incorrect("db.error/given-twice", message))
        }
    }
}

fn format(format: i32) -> Result<v1::Format> {
    v1::Format::try_from(format).map_err(|_| {
        let message = format!("format {format} is not known here; give FORMAT_TYPED or FORMAT_EDN");
        Error::incorrect("db.error/invalid-format", message)
    })
}

/// The inputs in the order of `:in`: those with a name by it, the others in what is left.
pub(super) fn placed(query: &Query, given: Vec<(String, Given)>) -> Result<(Vec<Input>, Vec<v1::AnsweredBy>)> {
    let slots: Vec<String> = query.inputs().map(Edn::to_string).collect();
    let given_count = given.len();
    let in_clause =
        || format!(":in asks for {} inputs, [{}], and {given_count} were given", slots.len(), slots.join(" "));
    let mut filled: Vec<Option<Given>> = slots.iter().map(|_| None).collect();
    let mut unnamed = Vec::new();
    for (name, value) in given {
        if name.is_empty() {
            unnamed.push(value);
            continue;
        }
        match slots.iter().position(|slot| *slot == name) {
            Some(at) if filled[at].is_none() => filled[at] = Some(value),
            Some(_) => return Err(invalid_input(format!("input {name} was given twice"))),
            None => return Err(invalid_input(format!("an input was given as {name}, but {}", in_clause()))),
        }
    }
    let mut unnamed = unnamed.into_iter();
    for slot in filled.iter_mut().filter(|slot| slot.is_none()) {
        *slot = unnamed.next();
    }
    if unnamed.next().is_some() {
        return Err(invalid_input(format!("more inputs were given than the query takes: {}", in_clause())));
    }
    let mut databases = Vec::new();
    let mut inputs = Vec::new();
    for (slot, value) in slots.iter().zip(filled) {
        let value = value.ok_or_else(|| invalid_input(format!("no input was given for {slot}: {}", in_clause())))?;
        inputs.push(match value {
            Given::Database(Viewed { db, info }) => {
                let basis_t = db.basis_t();
                databases.push(v1::AnsweredBy { source: slot.clone(), database: Some(info), basis_t });
                Input::Db(db)
            }
            Given::Text(text) => edn_input(slot, db::edn::read(&text).map_err(|error| error.within(slot))?),
            Given::Value(value) => edn_input(slot, value),
        });
    }
    Ok((inputs, databases))
}

fn edn_input(slot: &str, value: Edn) -> Input {
    if slot == "%" { Input::Rules(value) } else { Input::Value(value) }
}

fn invalid_input(message: String) -> Error {
    Error::incorrect("db.error/invalid-input", message)
}

/// An answer on its way out: rows become messages as the caller reads them.
pub struct Answers {
    head: Option<v1::QueryHead>,
    rows: std::vec::IntoIter<Vec<Item>>,
    shape: Shape,
    keys: Option<Keys>,
    format: v1::Format,
    end: Option<v1::QueryEnd>,
    /// Whether a row has been written as EDN.
    begun: bool,
}

impl Answers {
    fn new(answer: Answer, databases: Vec<v1::AnsweredBy>, format: v1::Format, end: v1::QueryEnd) -> Self {
        let Answer { shape, columns, keys, rows } = answer;
        let head = v1::QueryHead {
            shape: match shape {
                Shape::Relation => v1::Shape::Relation,
                Shape::Collection => v1::Shape::Collection,
                Shape::Tuple => v1::Shape::Tuple,
                Shape::Scalar => v1::Shape::Scalar,
            } as i32,
            columns,
            keys: keys.as_ref().map_or_else(Vec::new, |keys| keys.names.clone()),
            key_kind: match keys.as_ref().map(|keys| keys.kind) {
                None => v1::KeyKind::None,
                Some(KeyKind::Keyword) => v1::KeyKind::Keywords,
                Some(KeyKind::String) => v1::KeyKind::Strings,
                Some(KeyKind::Symbol) => v1::KeyKind::Symbols,
            } as i32,
            databases,
        };
        Answers { head: Some(head), rows: rows.into_iter(), shape, keys, format, end: Some(end), begun: false }
    }

    fn message(&mut self) -> v1::QueryResponse {
        let mut message = v1::QueryResponse { head: self.head.take(), ..Default::default() };
        let mut bytes = 0;
        let (mut edn, mut count) = (String::new(), 0);
        if self.format == v1::Format::Edn && message.head.is_some() && !self.is_one() {
            edn.push('[');
        }
        while count < ROWS_PER_BATCH
            && bytes + edn.len() < BYTES_PER_BATCH
            && let Some(row) = self.rows.next()
        {
            count += 1;
            match self.format {
                v1::Format::Typed => {
                    bytes += row.iter().map(size).sum::<usize>();
                    message.rows.push(v1::Row { values: row.iter().map(v1::Value::from).collect() });
                }
                v1::Format::Edn => self.write_row(&row, &mut edn),
            }
        }
        if self.rows.len() == 0 {
            if self.format == v1::Format::Edn {
                edn.push_str(self.closing());
            }
            message.end = self.end.take();
        }
        message.edn = edn;
        message
    }

    fn is_one(&self) -> bool {
        matches!(self.shape, Shape::Tuple | Shape::Scalar)
    }

    fn closing(&self) -> &'static str {
        match (self.is_one(), self.begun) {
            (false, _) => "]",
            (true, true) => "",
            (true, false) => "nil",
        }
    }

    fn write_row(&mut self, row: &[Item], edn: &mut String) {
        if std::mem::replace(&mut self.begun, true) {
            edn.push(' ');
        }
        let elements = row.iter().map(Edn::from);
        let form = match (self.shape, &self.keys) {
            (Shape::Collection | Shape::Scalar, _) => row.first().map_or(Edn::Nil, Edn::from),
            (_, None) => Edn::Vector(elements.collect()),
            (_, Some(keys)) => Edn::Map(keys.forms().zip(elements).collect()),
        };
        // A String takes all that is written.
        let _ = write!(edn, "{form}");
    }
}

/// About what an element takes in a message.
fn size(item: &Item) -> usize {
    match item {
        Item::Nil => 4,
        Item::Value(value) => 12 + value.heap_bytes(),
        Item::Vector(items) | Item::Set(items) => 8 + items.iter().map(size).sum::<usize>(),
        Item::Map(entries) => 8 + entries.iter().map(|(key, value)| size(key) + size(value)).sum::<usize>(),
    }
}

impl tokio_stream::Stream for Answers {
    type Item = Result<v1::QueryResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(if self.end.is_some() { Some(Ok(self.message())) } else { None })
    }
}
