//! A peer that does as it is told: what a query or tx-data says decides the answer.

use db::{Category, Error, Item, Value};
use proto::v1;
use proto::v1::peer_server::{Peer, PeerServer};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Barrier, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A gRPC server on a thread of its own; it ends with its value.
pub(super) struct FakePeer {
    url: String,
    seen: Arc<Mutex<Seen>>,
    /// Dropped, it ends the server with all its connections.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        drop(self.running.take());
        // Nobody answers at its address from here on.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What the fake was asked.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) queries: Vec<v1::QueryRequest>,
    pub(super) pulls: Vec<v1::PullRequest>,
    pub(super) transactions: Vec<v1::TransactRequest>,
    pub(super) reads: Vec<v1::DatomsRequest>,
    pub(super) index_ranges: Vec<v1::IndexRangeRequest>,
    pub(super) tx_ranges: Vec<v1::TxRangeRequest>,
    pub(super) speculations: Vec<v1::WithRequest>,
    pub(super) listeners: Vec<v1::TxReportsRequest>,
    pub(super) busy_answers: usize,
    pub(super) created: Vec<String>,
    /// Calls that were made, whatever became of them.
    pub(super) calls: usize,
    /// Transactions that are under way, and the most that ever were.
    pub(super) under_way: usize,
    pub(super) under_way_max: usize,
    /// What the next calls are answered with, before any of them does anything.
    pub(super) failures: VecDeque<Status>,
    /// What the next streams of datoms, transactions and reports break off with, in their middle.
    pub(super) breaks: VecDeque<Status>,
}

impl FakePeer {
    pub(super) fn start() -> FakePeer {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let service = Service { seen: seen.clone(), four: Barrier::new(4) };
        let (listening, address) = std::sync::mpsc::channel();
        let (running, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                listening.send(listener.local_addr().unwrap()).unwrap();
                let server = tonic::transport::Server::builder().add_service(PeerServer::new(service));
                tokio::select! {
                    ended = server.serve_with_incoming(TcpListenerStream::new(listener)) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let url = format!("http://{}", address.recv().unwrap());
        FakePeer { url, seen, running: Some(running), thread: Some(thread) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

struct Service {
    seen: Arc<Mutex<Seen>>,
    four: Barrier,
}

impl Service {
    fn begin(&self) -> Result<(), Status> {
        let mut seen = self.seen.lock().unwrap();
        seen.calls += 1;
        seen.failures.pop_front().map_or(Ok(()), Err)
    }

    /// Messages as a stream, which breaks off if the test wants it.
    fn stream<M: Send + 'static>(&self, messages: Vec<M>) -> Response<Stream_<M>> {
        let mut messages: Vec<Result<M, Status>> = messages.into_iter().map(Ok).collect();
        if let Some(status) = self.seen.lock().unwrap().breaks.pop_front() {
            messages.truncate(messages.len().div_ceil(2));
            messages.push(Err(status));
        }
        Response::new(Box::pin(tokio_stream::iter(messages)))
    }
}

type Answer<A> = Result<Response<A>, Status>;
type Stream_<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

/// The category that a text names as `fail-CATEGORY`, as an error with details.
fn told_to_fail(text: &str) -> Result<(), Status> {
    let named = Category::ALL.into_iter().find(|category| text.contains(&format!("fail-{}", category.name())));
    let Some(category) = named else { return Ok(()) };
    let error = Error::new(category, "test.error/told", "as the test wants it")
        .with("clause", db::edn::read("[?e :country/nmae ?n]").unwrap());
    Err(proto::status(&error))
}

/// `hang` never answers, `break` breaks the connection off without a word of the server's own.
async fn told_to_vanish(text: &str) -> Result<(), Status> {
    if text.contains("hang") {
        std::future::pending::<()>().await;
    }
    if text.contains("break") {
        return Err(Status::unavailable("connection reset"));
    }
    Ok(())
}

fn value(value: Value) -> v1::Value {
    (&Item::Value(value)).into()
}

/// What the questions after the schema are answered with: names and a population of countries.
fn schema(query: &str) -> Option<[v1::QueryResponse; 1]> {
    let keyword = |text: &str| value(Value::keyword(text));
    let rows = if query.contains(":db/doc") {
        vec![vec![keyword("country/name"), value(Value::string("in English"))]]
    } else if query.contains(":db/unique") {
        vec![vec![keyword("country/name"), keyword("db.unique/identity")]]
    } else if query.contains(":db/valueType") {
        let attribute = |name, of| vec![keyword(name), keyword(of), keyword("db.cardinality/one")];
        vec![attribute("country/name", "db.type/string"), attribute("country/population", "db.type/long")]
    } else {
        return None;
    };
    let head = v1::QueryHead { shape: v1::Shape::Relation as i32, ..v1::QueryHead::default() };
    let rows = rows.into_iter().map(|values| v1::Row { values }).collect();
    Some([v1::QueryResponse { head: Some(head), rows, end: Some(v1::QueryEnd::default()), edn: String::new() }])
}

fn info(name: &str) -> v1::DatabaseInfo {
    v1::DatabaseInfo { name: name.to_owned(), id: vec![7; 16].into() }
}

fn datom(e: i64, attribute: &str, v: Value, t: i64) -> v1::Datom {
    let tx = (3 << 42) + t;
    v1::Datom { e, a: 9, attribute: attribute.to_owned(), v: Some(value(v)), tx, added: true }
}

fn read_head() -> v1::ReadHead {
    v1::ReadHead { database: Some(info("world")), basis_t: 9 }
}

/// A transaction, or a part of one, that says one thing.
fn piece(t: u64, n: i64, continues: bool) -> v1::LogTransaction {
    let datoms = vec![datom(17 + n, "country/n", Value::Long(n), t as i64)];
    v1::LogTransaction { t, tx: (3 << 42) + t as i64, datoms, continues, ..Default::default() }
}

fn facts(after: Option<v1::Datom>, limit: u64) -> Vec<v1::DatomsResponse> {
    let first = after.map_or(1, |after| after.e + 1);
    let last = if limit == 0 { 3 } else { 3.min(first - 1 + limit as i64) };
    let message =
        |e| v1::DatomsResponse { datoms: vec![datom(e, "country/n", Value::Long(e), 1)], ..Default::default() };
    let mut messages = vec![v1::DatomsResponse { head: Some(read_head()), ..Default::default() }];
    messages.extend((first..=last).map(message));
    let end = v1::DatomsEnd { datom_count: (last - first + 1) as u64, more: last < 3 };
    messages.push(v1::DatomsResponse { end: Some(end), ..Default::default() });
    messages
}

#[tonic::async_trait]
impl Peer for Service {
    type QueryStream = Stream_<v1::QueryResponse>;
    type LogStream = Stream_<v1::LogResponse>;
    type TxRangeStream = Stream_<v1::LogResponse>;
    type DatomsStream = Stream_<v1::DatomsResponse>;
    type WithStream = Stream_<v1::WithResponse>;
    type TxReportsStream = Stream_<v1::TxReportsResponse>;
    type IndexRangeStream = Stream_<v1::DatomsResponse>;

    /// Two rows of a name and a number in a message each; `many` makes 100,000 rows, `cut` leaves the end out, `cut-once` the
    /// first time.
    async fn query(&self, request: Request<v1::QueryRequest>) -> Answer<Self::QueryStream> {
        self.begin()?;
        let request = request.into_inner();
        let (query, tells_reads) = (request.query.clone(), request.io_stats);
        self.seen.lock().unwrap().queries.push(request);
        told_to_fail(&query)?;
        told_to_vanish(&query).await?;
        if let Some(rows) = schema(&query) {
            return Ok(Response::new(Box::pin(tokio_stream::iter(rows.map(Ok)))));
        }
        let head = v1::QueryHead {
            shape: v1::Shape::Relation as i32,
            columns: vec!["?name".into(), "?n".into()],
            databases: vec![v1::AnsweredBy { source: "$".into(), database: Some(info("world")), basis_t: 9 }],
            ..v1::QueryHead::default()
        };
        let row = |name: &str, n: f64| v1::Row { values: vec![value(Value::string(name)), value(Value::double(n))] };
        let rows = if query.contains("many") {
            (0..100_000).map(|n| row("a country with a name", f64::from(n))).collect()
        } else {
            vec![row("Peru", 45.0), row("Åland, \"Islands\"", 1.5)]
        };
        let mut messages = vec![v1::QueryResponse { head: Some(head), ..v1::QueryResponse::default() }];
        messages.extend(rows.chunks(1000).map(|rows| v1::QueryResponse { rows: rows.to_vec(), ..Default::default() }));
        let is_first = self.seen.lock().unwrap().queries.len() == 1;
        if !query.contains("cut") || query.contains("cut-once") && !is_first {
            let warnings = vec!["a collection was cut off".to_owned()];
            let reads = |tier: &str, segments, bytes| v1::TierReads { tier: tier.into(), segments, bytes };
            let io_stats = vec![reads("heap", 3, 4096), reads("disk", 0, 0), reads("storage", 1, 700)];
            let io_stats = if tells_reads { io_stats } else { Vec::new() };
            let end = v1::QueryEnd { row_count: rows.len() as u64, warnings, elapsed_us: 17, io_stats };
            messages.push(v1::QueryResponse { end: Some(end), ..v1::QueryResponse::default() });
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages.into_iter().map(Ok)))))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Answer<v1::ExplainResponse> {
        Err(Status::unimplemented("no test explains a query yet"))
    }

    async fn pull(&self, request: Request<v1::PullRequest>) -> Answer<v1::PullResponse> {
        self.begin()?;
        self.seen.lock().unwrap().pulls.push(request.into_inner());
        let entry = (Item::Value(Value::keyword("country/name")), Item::Value(Value::string("Perú")));
        let map = Item::Map(vec![entry]);
        Ok(Response::new(v1::PullResponse { value: Some((&map).into()), basis_t: 9, ..Default::default() }))
    }

    /// Each transaction is the next one; `busy` is refused once before it is taken; `meet` waits for three others.
    async fn transact(&self, request: Request<v1::TransactRequest>) -> Answer<v1::TransactResponse> {
        self.begin()?;
        let request = request.into_inner();
        let text = request.tx_data.clone();
        told_to_fail(&text)?;
        let t = {
            let mut seen = self.seen.lock().unwrap();
            if text.contains("busy") && seen.busy_answers == 0 {
                seen.busy_answers += 1;
                let busy = Error::new(Category::Busy, "db.error/queue-full", "full").with(proto::RETRY_AFTER_MS, 1);
                return Err(proto::status(&busy));
            }
            seen.transactions.push(request);
            seen.under_way += 1;
            seen.under_way_max = seen.under_way_max.max(seen.under_way);
            seen.transactions.len() as i64
        };
        if text.contains("meet") {
            self.four.wait().await;
        }
        self.seen.lock().unwrap().under_way -= 1;
        told_to_vanish(&text).await?;
        Ok(Response::new(v1::TransactResponse {
            t: t as u64,
            tx: (3 << 42) + t,
            instant_ms: 0,
            datoms: vec![datom(17, "country/name", Value::string("Peru"), t)],
            datom_count: 1,
            tempids: vec![v1::Tempid { tempid: "peru".into(), entity: 17 }],
            tempid_count: 1,
            database_id: vec![7; 16].into(),
            ..v1::TransactResponse::default()
        }))
    }

    async fn sync(&self, request: Request<v1::SyncRequest>) -> Answer<v1::SyncResponse> {
        self.begin()?;
        Ok(Response::new(v1::SyncResponse { basis_t: request.into_inner().t.unwrap_or(9) }))
    }

    async fn log(&self, _: Request<v1::LogRequest>) -> Answer<Self::LogStream> {
        Err(Status::unimplemented("the client asks for TxRange, which has more"))
    }

    /// Transaction 1 in two pieces and messages, then transaction 2, as far as they are not before the start.
    async fn tx_range(&self, request: Request<v1::TxRangeRequest>) -> Answer<Self::TxRangeStream> {
        self.begin()?;
        let request = request.into_inner();
        let start = match request.start.as_ref().and_then(|start| start.kind.as_ref()) {
            Some(v1::time_point::Kind::T(t)) => *t,
            _ => 0,
        };
        self.seen.lock().unwrap().tx_ranges.push(request);
        let messages = [vec![piece(1, 1, true)], vec![piece(1, 2, false)], vec![piece(2, 3, false)]];
        let after_start = |pieces: Vec<v1::LogTransaction>| v1::LogResponse {
            transactions: pieces.into_iter().filter(|piece| piece.t >= start).collect(),
        };
        Ok(self.stream(messages.map(after_start).into()))
    }

    /// Three datoms in a message each, as far as they come after the last one of an earlier answer.
    async fn datoms(&self, request: Request<v1::DatomsRequest>) -> Answer<Self::DatomsStream> {
        self.begin()?;
        let request = request.into_inner();
        let (after, limit) = (request.after.clone(), request.limit);
        self.seen.lock().unwrap().reads.push(request);
        Ok(self.stream(facts(after, limit)))
    }

    async fn index_range(&self, request: Request<v1::IndexRangeRequest>) -> Answer<Self::IndexRangeStream> {
        self.begin()?;
        let request = request.into_inner();
        let (after, limit) = (request.after.clone(), request.limit);
        self.seen.lock().unwrap().index_ranges.push(request);
        Ok(self.stream(facts(after, limit)))
    }

    /// One datom and one tempid for each transaction.
    async fn with(&self, request: Request<v1::WithRequest>) -> Answer<Self::WithStream> {
        self.begin()?;
        let request = request.into_inner();
        let view = request.database.clone().unwrap_or_default();
        self.seen.lock().unwrap().speculations.push(request);
        let last = view.with_tx_data.last().and_then(|tx_data| tx_data.kind.clone());
        if let Some(v1::tx_data::Kind::Edn(text)) = last {
            told_to_fail(&text)?;
        }
        let tempids = vec![v1::Tempid { tempid: "peru".into(), entity: 17 }];
        let transaction = |t| v1::LogTransaction { tempids: tempids.clone(), ..piece(t, t as i64, false) };
        let transactions = (10..10 + view.with_tx_data.len() as u64).map(transaction);
        let mut messages = vec![v1::WithResponse { head: Some(read_head()), transactions: Vec::new() }];
        messages.extend(transactions.map(|one| v1::WithResponse { head: None, transactions: vec![one] }));
        Ok(self.stream(messages))
    }

    /// The next transaction; then one in two pieces and messages; then it ends, which a peer does not.
    async fn tx_reports(&self, request: Request<v1::TxReportsRequest>) -> Answer<Self::TxReportsStream> {
        self.begin()?;
        if request.metadata().contains_key("grpc-timeout") {
            return Err(Status::invalid_argument("a deadline would end what has no end"));
        }
        let request = request.into_inner();
        let t = request.after_t + 1;
        self.seen.lock().unwrap().listeners.push(request);
        let heartbeat = v1::TxReportsHeartbeat { basis_t: t + 1, state: v1::FollowState::Following as i32 };
        let message = |transactions| v1::TxReportsResponse { transactions, ..Default::default() };
        Ok(self.stream(vec![
            v1::TxReportsResponse { head: Some(read_head()), ..Default::default() },
            message(vec![piece(t, 0, false), piece(t + 1, 1, true)]),
            message(vec![piece(t + 1, 2, false)]),
            v1::TxReportsResponse { heartbeat: Some(heartbeat), ..Default::default() },
        ]))
    }

    async fn status(&self, _: Request<v1::PeerStatusRequest>) -> Answer<v1::PeerStatusResponse> {
        let database = v1::PeerDatabaseStatus {
            database: Some(info("world")),
            basis_t: 9,
            transactor_head: Some(v1::Head { t: 12, ..v1::Head::default() }),
            state: v1::FollowState::Disconnected as i32,
            trouble: "connection refused".into(),
            datoms: 3871,
            percent: Some(75.04),
            catch_up_left_ms: Some(1520),
            index_t: 7,
            novelty_bytes: 420,
            ..v1::PeerDatabaseStatus::default()
        };
        let heap = v1::CacheTier {
            name: "heap".into(),
            hits: 40,
            misses: 5,
            segments: 3,
            bytes: 3 << 19,
            bytes_max: 256 << 20,
            damaged: 0,
        };
        let cache = v1::CacheStatus { tiers: vec![heap], fetches: 5, fetched_bytes: 1 << 20, failures: 0 };
        Ok(Response::new(v1::PeerStatusResponse {
            version: "0.1.0".into(),
            transactor_url: "http://127.0.0.1:4334".into(),
            databases: vec![database],
            queries_max: 8,
            cache: Some(cache),
            ..v1::PeerStatusResponse::default()
        }))
    }

    async fn create_database(&self, request: Request<v1::CreateDatabaseRequest>) -> Answer<v1::CreateDatabaseResponse> {
        self.begin()?;
        let name = request.into_inner().name;
        let mut seen = self.seen.lock().unwrap();
        let created = !seen.created.contains(&name);
        seen.created.push(name.clone());
        Ok(Response::new(v1::CreateDatabaseResponse { database: Some(info(&name)), created }))
    }

    async fn fork_database(&self, request: Request<v1::ForkDatabaseRequest>) -> Answer<v1::ForkDatabaseResponse> {
        let v1::ForkDatabaseRequest { new_name, as_of, .. } = request.into_inner();
        let t = match as_of.and_then(|point| point.kind) {
            Some(v1::time_point::Kind::T(t)) => t,
            Some(_) => 7,
            None => 17,
        };
        let database = Some(info(&new_name));
        Ok(Response::new(v1::ForkDatabaseResponse { database, created: new_name != "congress", t }))
    }

    async fn delete_database(&self, request: Request<v1::DeleteDatabaseRequest>) -> Answer<v1::DeleteDatabaseResponse> {
        let v1::DeleteDatabaseRequest { name, confirm_name } = request.into_inner();
        if !["congress", "world"].contains(&&*name) || confirm_name != name {
            let message = format!("there is no database {name:?}; create it first, or list those there are");
            return Err(proto::status(&db::Error::not_found("db.error/unknown-database", message)));
        }
        Ok(Response::new(v1::DeleteDatabaseResponse { database: Some(info(&name)) }))
    }

    async fn list_databases(&self, _: Request<v1::ListDatabasesRequest>) -> Answer<v1::ListDatabasesResponse> {
        self.begin()?;
        Ok(Response::new(v1::ListDatabasesResponse { databases: vec![info("congress"), info("world")] }))
    }
}
