//! Queries: built, sent, and their rows as they come.

use crate::{Client, Deadline, View, malformed, too_large};
use db::edn::Edn;
use db::{Error, Item, Result, Symbol, T, Value};
use prost::Message;
use proto::v1;
use std::time::Duration;
use tonic::Streaming;

pub use v1::Shape;

/// A query that is being put together. Without a database it asks none.
#[derive(Clone, Debug)]
pub struct QueryCall<'a> {
    client: &'a Client,
    request: v1::QueryRequest,
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
    stream: Streaming<v1::QueryResponse>,
    deadline: Deadline,
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
        QueryCall { client, request: v1::QueryRequest { query, ..v1::QueryRequest::default() } }
    }

    /// The database that `:in` calls `source`, such as `$` or `$then`.
    pub fn database(self, source: &str, view: impl Into<View>) -> Self {
        self.input(source, v1::query_input::Kind::Database(view.into().into_wire()))
    }

    /// The next input that is neither a database nor `%`: a scalar, tuple, collection, relation or pull pattern.
    pub fn arg(self, form: &Edn) -> Self {
        self.arg_text(form.to_string())
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

    /// Sends it, and gives the rows as they come.
    pub async fn rows(mut self) -> Result<Rows> {
        let bytes = self.request.encoded_len();
        if bytes > proto::MESSAGE_BYTES_MAX {
            return Err(too_large("query with its inputs", bytes));
        }
        self.request.format = v1::Format::Typed as i32;
        let deadline = Deadline::after(self.client.timeout);
        let mut peer = self.client.peer.clone();
        let mut stream = deadline.of(peer.query(deadline.on(self.request))).await?.into_inner();
        let first = deadline.of(stream.message()).await?.ok_or_else(cut_off)?;
        let head = first.head.ok_or_else(|| malformed("an answer without its head"))?;
        let head = Head::from_wire(head);
        Ok(Rows { head, stream, deadline, waiting: first.rows.into_iter(), end: first.end })
    }

    /// Sends it and waits for the whole answer.
    pub async fn fetch(self) -> Result<Answer> {
        let mut rows = self.rows().await?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().await? {
            all.push(row);
        }
        let (warnings, elapsed) = (rows.warnings().to_vec(), rows.elapsed());
        Ok(Answer { head: rows.head, rows: all, warnings, elapsed })
    }

    fn input(mut self, name: &str, kind: v1::query_input::Kind) -> Self {
        self.request.inputs.push(v1::QueryInput { name: name.to_owned(), kind: Some(kind) });
        self
    }
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
            let message = self.deadline.of(self.stream.message()).await?.ok_or_else(cut_off)?;
            self.waiting = message.rows.into_iter();
            self.end = message.end;
        }
    }

    /// What the caller should know about the answer; complete after the last row.
    pub fn warnings(&self) -> &[String] {
        self.end.as_ref().map_or(&[], |end| &end.warnings)
    }

    /// What the peer needed, from parsing to the last row; known after the last row.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.end.as_ref().map_or(0, |end| end.elapsed_us))
    }
}

fn cut_off() -> Error {
    Error::interrupted("db.error/answer-cut-off", "the answer was cut off before its end")
}
