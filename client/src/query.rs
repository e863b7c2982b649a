//! Queries: built, sent, and their rows as they come.

use crate::attempts::{Attempts, Kind};
use crate::incoming::{Incoming, cut_off};
use crate::tx_data::check_names;
use crate::values::convert;
use crate::{Client, FromItem, FromRow, ToEdn, View, malformed, too_large};
use db::{Error, Item, Result, Symbol, T, Value};
use prost::Message;
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::time::Duration;
use tonic::transport::Channel;

pub use v1::Shape;

/// A query that is being put together. Without a database it asks none.
///
/// ```no_run
/// # async fn example(client: diachron_client::Client) -> db::Result<()> {
/// let grown: Vec<(String, i64)> = client
///     .query("[:find ?name ?now :in $ $then [?code ...] ?least
///              :where [?c :country/code ?code] [?c :country/name ?name]
///                     [?c :country/population ?now] [$then ?c :country/population ?then]
///                     [(- ?now ?then) ?more] [(> ?more ?least)]]")
///     .database("$", "world")
///     .database("$then", diachron_client::View::of("world").as_of_t(3))
///     .arg(["PE", "CL"])
///     .arg(1_000_000)
///     .rows_as()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct QueryCall<'a> {
    client: &'a Client,
    request: v1::QueryRequest,
    /// The databases among the inputs, by their place there.
    views: Vec<(usize, View)>,
    wrong: Option<String>,
}

/// How a query was carried out.
#[derive(Clone, Debug)]
pub struct Explained {
    /// For people: a line for each step.
    pub text: String,
    /// For programs: the same as one EDN map.
    pub edn: String,
    pub warnings: Vec<String>,
}

/// What comes before the rows.
#[derive(Clone, Debug)]
pub struct Head {
    pub shape: Shape,
    /// What `:find` called each column, such as `?name` or `(count ?e)`.
    pub columns: Vec<String>,
    /// What `:keys`, `:strs` or `:syms` call them: one for each column, or none.
    pub keys: Vec<Item>,
    pub databases: Vec<Answered>,
}

/// A database as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its name in `:in`, such as `$`.
    pub source: String,
    pub database: String,
    /// The newest transaction that the peer knew, whatever the view.
    pub basis_t: T,
}

/// The rows of an answer, as they come.
pub struct Rows {
    head: Head,
    incoming: Incoming<v1::QueryResponse>,
    waiting: std::vec::IntoIter<v1::Row>,
    end: Option<v1::QueryEnd>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    /// One item for each column; for a collection or a scalar one item. A tuple or a scalar has one row at most.
    pub rows: Vec<Vec<Item>>,
    pub warnings: Vec<String>,
    /// What the peer needed for it.
    pub elapsed: Duration,
}

impl<'a> QueryCall<'a> {
    pub(super) fn new(client: &'a Client, query: String) -> Self {
        let request = v1::QueryRequest { query, ..v1::QueryRequest::default() };
        QueryCall { client, request, views: Vec::new(), wrong: None }
    }

    /// The database that `:in` calls `source`, such as `$` or `$then`.
    pub fn database(mut self, source: &str, view: impl Into<View>) -> Self {
        let view = view.into();
        self.views.push((self.request.inputs.len(), view.clone()));
        self.input(source, v1::query_input::Kind::Database(view.into_wire()))
    }

    /// The next input that is neither a database nor `%`: a scalar; a tuple; a collection as a `Vec`, slice or array;
    /// a relation as a collection of tuples; an [`Edn`](db::edn::Edn) form for everything else, such as a pull
    /// pattern.
    pub fn arg(self, value: impl ToEdn) -> Self {
        self.named("", value)
    }

    /// The input that `:in` calls `name`, such as `?code` or `pattern`.
    pub fn named(mut self, name: &str, value: impl ToEdn) -> Self {
        let form = value.to_edn();
        if let Err(error) = check_names(&form) {
            self.wrong.get_or_insert(error.message().to_owned());
        }
        self.input(name, v1::query_input::Kind::Edn(form.to_string()))
    }

    /// As [`Self::arg`], as EDN text.
    pub fn arg_text(self, form: impl Into<String>) -> Self {
        self.input("", v1::query_input::Kind::Edn(form.into()))
    }

    /// The rules of `%`, as EDN text.
    pub fn rules(self, rules: impl Into<String>) -> Self {
        self.input("%", v1::query_input::Kind::Edn(rules.into()))
    }

    /// No more rows than this, intermediate ones included, and no more bytes at once; 0 leaves it to the server.
    pub fn limits(mut self, rows_max: u64, bytes_max: u64) -> Self {
        self.request.limits = Some(v1::QueryLimits { rows_max, bytes_max });
        self
    }

    /// A pattern with nothing bound, such as `[?e ?a ?v]`, reads the whole database instead of being refused.
    pub fn allow_full_scan(mut self, allow: bool) -> Self {
        self.request.allow_full_scan = allow;
        self
    }

    /// The peer tells in the end which segments of index trees it read: [`Rows::io_stats`].
    pub fn io_stats(mut self, tell: bool) -> Self {
        self.request.io_stats = tell;
        self
    }

    /// Sends it, and gives the rows as they come. Once the first one came, nothing is tried again.
    pub async fn rows(self) -> Result<Rows> {
        self.check()?;
        self.begin(&mut self.client.attempts(Kind::Read)).await
    }

    /// Sends it and waits for the whole answer; an answer that is cut off is asked for again.
    pub async fn fetch(self) -> Result<Answer> {
        self.check()?;
        let mut attempts = self.client.attempts(Kind::Read);
        loop {
            let rows = self.begin(&mut attempts).await?;
            match rows.collect().await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    /// Sends it, and makes each row what the caller wants: a tuple of Rust's own types.
    pub async fn rows_as<R: FromRow>(self) -> Result<Vec<R>> {
        let answer = self.fetch().await?;
        answer.rows.into_iter().enumerate().map(|(at, row)| within_row(at, R::from_row(row))).collect()
    }

    /// The values of a query of one column, such as `[:find [?name ...] …]`.
    pub async fn values<A: FromItem>(self) -> Result<Vec<A>> {
        Ok(self.rows_as::<(A,)>().await?.into_iter().map(|(value,)| value).collect())
    }

    /// The value of a query for one, such as `[:find (count ?e) . …]`; None where there is none.
    pub async fn value<A: FromItem>(self) -> Result<Option<A>> {
        let answer = self.fetch().await?;
        let Some(mut row) = answer.rows.into_iter().next() else { return Ok(None) };
        if row.len() != 1 {
            let message = format!("one value is wanted, but a row has {} columns", row.len());
            return Err(Error::incorrect("db.error/wrong-type", message));
        }
        convert::<Option<A>>(row.swap_remove(0))
    }

    /// Has it carried out to tell how that was done: step by step, with the rows expected and found.
    pub async fn explain(self) -> Result<Explained> {
        self.check()?;
        let request = |at| {
            let v1::QueryRequest { query, query_form, inputs, limits, allow_full_scan, format: _, io_stats: _ } =
                self.request_at(at);
            v1::ExplainRequest { query, query_form, inputs, limits, allow_full_scan }
        };
        let told = self.client.read(request, |mut peer, request| async move { peer.explain(request).await }).await?;
        Ok(Explained { text: told.text, edn: told.edn, warnings: told.warnings })
    }

    /// The request as it goes to one of the peers.
    fn request_at(&self, at: usize) -> v1::QueryRequest {
        let mut request = self.request.clone();
        for (input, view) in &self.views {
            let view = view.clone().raised(self.client.flock().floor(at, view));
            request.inputs[*input].kind = Some(v1::query_input::Kind::Database(view.into_wire()));
        }
        request
    }

    fn check(&self) -> Result<()> {
        if let Some(message) = &self.wrong {
            return Err(Error::incorrect("db.error/edn-syntax", message.clone()));
        }
        let bytes = self.request.encoded_len();
        if bytes > proto::MESSAGE_BYTES_MAX {
            return Err(too_large("query with its inputs", bytes));
        }
        Ok(())
    }

    /// Sends it until a first message comes.
    async fn begin(&self, attempts: &mut Attempts<'_>) -> Result<Rows> {
        let request = |at| v1::QueryRequest { format: v1::Format::Typed as i32, ..self.request_at(at) };
        let send = |mut peer: PeerClient<Channel>, request| async move { peer.query(request).await };
        let (first, incoming) = self.client.begin(attempts, request, send).await?;
        let head = first.head.ok_or_else(|| malformed("an answer without its head"))?;
        for asked in &head.databases {
            let database = asked.database.clone().unwrap_or_default();
            self.client.flock().saw(attempts.peer().1, &database.name, &database.id, asked.basis_t);
        }
        Ok(Rows { head: Head::from_wire(head), incoming, waiting: first.rows.into_iter(), end: first.end })
    }

    fn input(mut self, name: &str, kind: v1::query_input::Kind) -> Self {
        self.request.inputs.push(v1::QueryInput { name: name.to_owned(), kind: Some(kind) });
        self
    }
}

fn within_row<R>(at: usize, row: Result<R>) -> Result<R> {
    row.map_err(|error| error.within(format!("row {}", at + 1)))
}

impl Head {
    fn from_wire(head: v1::QueryHead) -> Head {
        let key: fn(String) -> Value = match head.key_kind() {
            v1::KeyKind::Strings => Value::string,
            v1::KeyKind::Symbols => |key| Value::Symbol(Symbol::new(key)),
            v1::KeyKind::Keywords | v1::KeyKind::None => Value::keyword,
        };
        Head {
            shape: head.shape(),
            columns: head.columns,
            keys: head.keys.into_iter().map(|name| Item::Value(key(name))).collect(),
            databases: head.databases.into_iter().map(Answered::from_wire).collect(),
        }
    }

    /// A row as the query shapes it: a map where it has `:keys`, a vector otherwise.
    pub fn shaped(&self, row: Vec<Item>) -> Item {
        if self.keys.is_empty() {
            return Item::Vector(row);
        }
        Item::Map(self.keys.iter().cloned().zip(row).collect())
    }
}

impl Answered {
    fn from_wire(answered: v1::AnsweredBy) -> Answered {
        Answered {
            source: answered.source,
            database: answered.database.unwrap_or_default().name,
            basis_t: answered.basis_t,
        }
    }
}

impl Rows {
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next row; None after the last one. An answer that was cut off ends in an error.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>> {
        loop {
            if let Some(row) = self.waiting.next() {
                return row.values.into_iter().map(proto::item).collect::<Result<_>>().map(Some);
            }
            if self.end.is_some() {
                return Ok(None);
            }
            let message = self.incoming.next().await?.ok_or_else(cut_off)?;
            self.waiting = message.rows.into_iter();
            self.end = message.end;
        }
    }

    async fn collect(mut self) -> Result<Answer> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        let (warnings, elapsed) = (self.warnings().to_vec(), self.elapsed());
        Ok(Answer { head: self.head, rows, warnings, elapsed })
    }

    /// What the caller should know about the answer; complete after the last row.
    pub fn warnings(&self) -> &[String] {
        self.end.as_ref().map_or(&[], |end| &end.warnings)
    }

    /// What was read of index trees, tier by tier, if that was asked; known after the last row.
    pub fn io_stats(&self) -> &[v1::TierReads] {
        self.end.as_ref().map_or(&[], |end| &end.io_stats)
    }

    /// What the peer needed, from parsing to the last row; known after the last row.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.end.as_ref().map_or(0, |end| end.elapsed_us))
    }
}
