//! A client of a peer.
//!
//! ```no_run
//! # async fn example() -> db::Result<()> {
//! use diachron_client::{Client, View};
//!
//! let client = Client::connect("http://127.0.0.1:4335").await?;
//! client.create_database("world").await?;
//! client.transact("world", r#"[{:db/ident :country/name, :db/valueType :db.type/string,
//!                              :db/cardinality :db.cardinality/one}]"#).await?;
//! let answer = client
//!     .query("[:find ?name :where [_ :country/name ?name]]")
//!     .database("$", View::of("world").as_of_t(1))
//!     .fetch()
//!     .await?;
//! for row in answer.rows {
//!     println!("{row:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every call has a deadline, told to the server too. Nothing is tried again by itself: what a failed call did is
//! told by the category of its [`Error`], and only the caller knows whether the same call may be made twice.

mod query;
mod transaction;
mod view;

pub use query::{Answer, Answered, Head, QueryCall, Rows, Shape};
pub use transaction::{Committed, Fact, Log, Logged};
pub use view::{View, moment};

use db::{Category, Error, Item, Result, T};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::future::Future;
use std::time::{Duration, Instant as Monotonic};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Where a peer listens unless told otherwise.
pub const DEFAULT_PEER: &str = "http://127.0.0.1:4335";

/// How long a call may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a peer. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    peer: PeerClient<Channel>,
    url: String,
    timeout: Duration,
}

/// A database, as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// 16 random bytes: what the database is, whatever it is called.
    pub id: [u8; 16],
}

/// What a pull found: a map, and what the caller should know about it.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub value: Item,
    pub warnings: Vec<String>,
    pub basis_t: T,
}

impl Client {
    /// Connects to the peer at a URL such as `http://127.0.0.1:4335`.
    pub async fn connect(url: &str) -> Result<Client> {
        let invalid = || {
            let message = format!("`{url}` is no peer's address: give one like {DEFAULT_PEER}");
            Error::incorrect("db.error/invalid-url", message)
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| invalid())?;
        if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
            return Err(invalid());
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| {
            let message = format!("no peer answers at {url}: {}", root_cause(&error));
            Error::new(Category::Unavailable, "db.error/no-peer", message)
        })?;
        let peer = PeerClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        Ok(Client { peer, url: url.to_owned(), timeout: DEFAULT_TIMEOUT })
    }

    /// The same connection, with another deadline for every call.
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a database; false when there is one of that name already, which stays as it is.
    pub async fn create_database(&self, name: &str) -> Result<(Database, bool)> {
        let request = v1::CreateDatabaseRequest { name: name.to_owned() };
        let call = self.call(request, |mut peer, request| async move { peer.create_database(request).await });
        let answer = call.await?;
        Ok((database(answer.database)?, answer.created))
    }

    /// All databases, by name.
    pub async fn databases(&self) -> Result<Vec<Database>> {
        let request = v1::ListDatabasesRequest {};
        let call = self.call(request, |mut peer, request| async move { peer.list_databases(request).await });
        call.await?.databases.into_iter().map(|info| database(Some(info))).collect()
    }

    /// Commits tx-data, one vector as EDN text. It is durable, and this peer knows it, when the answer comes.
    ///
    /// An error of category `unknown` may mean that it was committed, any other that it was not.
    pub async fn transact(&self, database: &str, tx_data: &str) -> Result<Committed> {
        let request = v1::TransactRequest {
            database: database.to_owned(),
            tx_data: tx_data.to_owned(),
            answer_bytes_max: proto::MESSAGE_BYTES_MAX as u64,
        };
        if tx_data.len() > proto::MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES {
            return Err(too_large("tx-data", tx_data.len()));
        }
        let deadline = Deadline::after(self.timeout);
        let mut peer = self.peer.clone();
        // A call that broke off without the server's own word may have been committed; so `transact_error`.
        let call = peer.transact(deadline.on(request));
        let answer = match tokio::time::timeout_at(deadline.at.into(), call).await {
            Ok(answer) => answer.map_err(|status| proto::transact_error(&status))?,
            Err(_) => return Err(proto::transact_error(&Status::deadline_exceeded(deadline.message()))),
        };
        Committed::from_wire(answer.into_inner())
    }

    /// A query as EDN text; what else it needs is added to what is returned.
    pub fn query(&self, query: impl Into<String>) -> QueryCall<'_> {
        QueryCall::new(self, query.into())
    }

    /// Attributes of an entity, and of those it refers to; pattern and entity (an id, an ident or a lookup ref) as
    /// EDN text.
    pub async fn pull(&self, view: impl Into<View>, pattern: &str, entity: &str) -> Result<Pulled> {
        let request = v1::PullRequest {
            database: Some(view.into().into_wire()),
            pattern: pattern.to_owned(),
            entity: entity.to_owned(),
            format: v1::Format::Typed as i32,
            limits: None,
        };
        let answer = self.call(request, |mut peer, request| async move { peer.pull(request).await }).await?;
        let value = answer.value.map_or(Ok(Item::Map(Vec::new())), proto::item)?;
        Ok(Pulled { value, warnings: answer.warnings, basis_t: answer.basis_t })
    }

    /// Waits until this peer knows t or, without one, all that was committed before the call; tells its basis then.
    pub async fn sync(&self, database: &str, t: Option<T>) -> Result<T> {
        let request = v1::SyncRequest { database: database.to_owned(), t };
        let call = self.call(request, |mut peer, request| async move { peer.sync(request).await });
        Ok(call.await?.basis_t)
    }

    /// Transactions with their datoms, oldest first: from one t up to but without another (0: to the newest).
    pub async fn log(&self, database: &str, from_t: T, to_t: T) -> Result<Log> {
        let request = v1::LogRequest { database: database.to_owned(), from_t, to_t };
        let deadline = Deadline::after(self.timeout);
        let mut peer = self.peer.clone();
        let stream = deadline.of(peer.log(deadline.on(request))).await?.into_inner();
        Ok(Log::new(stream, deadline))
    }

    /// What the peer says of itself and its databases.
    pub async fn status(&self) -> Result<v1::PeerStatusResponse> {
        let request = v1::PeerStatusRequest {};
        self.call(request, |mut peer, request| async move { peer.status(request).await }).await
    }

    async fn call<Q, A, F>(&self, request: Q, send: impl FnOnce(PeerClient<Channel>, Request<Q>) -> F) -> Result<A>
    where
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let deadline = Deadline::after(self.timeout);
        let answer = deadline.of(send(self.peer.clone(), deadline.on(request))).await?;
        Ok(answer.into_inner())
    }
}

/// What a request may have beside its large text.
const MESSAGE_OVERHEAD_BYTES: usize = 4096;

fn too_large(what: &str, bytes: usize) -> Error {
    let message = format!(
        "the {what} has {bytes} bytes; one message takes {} at most: split it",
        proto::MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES
    );
    Error::incorrect("db.error/message-too-large", message)
}

/// When a call must have ended, streams included.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Monotonic,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Deadline {
        Deadline { at: Monotonic::now() + timeout, timeout }
    }

    /// The request with its deadline, for the server.
    fn on<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Waits for a call, no longer than it may take: the server ends it by itself, the network may not.
    async fn of<A>(&self, call: impl Future<Output = Result<A, Status>>) -> Result<A> {
        match tokio::time::timeout_at(self.at.into(), call).await {
            Ok(answer) => answer.map_err(|status| proto::error(&status)),
            Err(_) => Err(Error::interrupted("db.error/deadline-exceeded", self.message())),
        }
    }

    fn message(&self) -> String {
        format!("no answer within {} s", self.timeout.as_secs_f64())
    }
}

fn database(info: Option<v1::DatabaseInfo>) -> Result<Database> {
    let info = info.ok_or_else(|| malformed("a database without a name"))?;
    let id = info.id[..].try_into().map_err(|_| malformed("a database's id has 16 bytes"))?;
    Ok(Database { name: info.name, id })
}

fn malformed(what: &str) -> Error {
    Error::fault(format!("the peer's answer is malformed: {what}"))
}

/// The innermost reason, which says most: "connection refused" rather than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
