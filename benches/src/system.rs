//! Real processes under load: a transactor on a temporary sled store, peers, and callers.

use crate::people::{self, Person};
use proto::v1::peer_client::PeerClient;
use proto::v1::transactor_client::TransactorClient;
use proto::v1::{
    CreateDatabaseRequest, DatabaseView, FollowRequest, QueryInput, QueryRequest, TransactRequest, TransactResponse,
    query_input,
};
use proto::{MESSAGE_BYTES_MAX, v1};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A process, ended when this goes out of scope.
pub struct Process {
    child: Child,
    pub url: String,
}

/// A transactor on a store of its own, in a temporary directory that goes with it.
pub struct System {
    pub transactor: Process,
    dir: tempfile::TempDir,
}

/// Where transactions are sent.
#[derive(Clone)]
pub enum Door {
    Transactor(TransactorClient<Channel>),
    Peer(PeerClient<Channel>),
}

impl Process {
    /// Starts a program from the folder that this one stands in.
    fn start(name: &str, args: &[&str]) -> Result<Process> {
        let binary = std::env::current_exe()?.with_file_name(name);
        let mut child = Command::new(&binary)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it first: cargo build --release", binary.display()))?;
        let out = child.stdout.take().ok_or("no stdout")?;
        let mut process = Process { child, url: String::new() };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").ok_or_else(|| format!("{name} did not start"))?;
        process.url = url.to_owned();
        Ok(process)
    }

    /// Bytes of memory that it has now.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System {
    pub fn start() -> Result<System> {
        System::start_with(&[])
    }

    /// The transactor with more settings.
    pub fn start_with(settings: &[&str]) -> Result<System> {
        let dir = tempfile::tempdir()?;
        let store = format!("sled:{}", dir.path().join("store").display());
        let own = ["--store", &store, "--listen", "127.0.0.1:0"];
        let transactor = Process::start("diachron-transactor", &[&own, settings].concat())?;
        Ok(System { transactor, dir })
    }

    pub fn peer(&self) -> Result<Process> {
        self.peer_with(&[])
    }

    /// A peer with more settings.
    pub fn peer_with(&self, settings: &[&str]) -> Result<Process> {
        let own = ["--transactor", &self.transactor.url, "--listen", "127.0.0.1:0"];
        Process::start("diachron-peer", &[&own, settings].concat())
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }
}

pub async fn connect(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
    Ok(endpoint.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20).connect().await?)
}

pub async fn transactor(url: &str) -> Result<TransactorClient<Channel>> {
    let client = TransactorClient::new(connect(url).await?);
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
}

pub async fn peer(url: &str) -> Result<PeerClient<Channel>> {
    let client = PeerClient::new(connect(url).await?);
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
}

/// A database with the people's attributes; its 16 bytes.
pub async fn create(transactor: &mut TransactorClient<Channel>, name: &str, indexed: bool) -> Result<bytes::Bytes> {
    let created = transactor.create_database(CreateDatabaseRequest { name: name.into() }).await?.into_inner();
    transactor.transact(transact_request(name, &schema(indexed))).await?;
    Ok(created.database.ok_or("a created database is told")?.id)
}

impl Door {
    pub async fn transact(&mut self, database: &str, tx_data: &str) -> Result<TransactResponse, tonic::Status> {
        let request = transact_request(database, tx_data);
        Ok(match self {
            Door::Transactor(client) => client.transact(request).await?.into_inner(),
            Door::Peer(client) => client.transact(request).await?.into_inner(),
        })
    }
}

pub fn transact_request(database: &str, tx_data: &str) -> TransactRequest {
    TransactRequest { database: database.into(), tx_data: tx_data.into(), ..Default::default() }
}

/// Asks a peer, at a basis that it has or waits for; how many messages came.
pub async fn query(peer: &mut PeerClient<Channel>, database: &str, least_t: u64, text: &str) -> Result<usize> {
    let view = DatabaseView { name: database.into(), least_t, ..Default::default() };
    let input = QueryInput { kind: Some(query_input::Kind::Database(view)), ..Default::default() };
    let request = QueryRequest { query: text.into(), inputs: vec![input], ..Default::default() };
    let mut stream = peer.query(request).await?.into_inner();
    let mut messages = 0;
    while stream.message().await?.is_some() {
        messages += 1;
    }
    Ok(messages)
}

/// Begins to follow from a record on.
pub async fn follow(url: &str, id: bytes::Bytes, head: v1::Head) -> Result<tonic::Streaming<v1::FollowResponse>> {
    let request = FollowRequest { database_id: id, seq: head.seq, hash: head.hash };
    Ok(transactor(url).await?.follow(request).await?.into_inner())
}

/// Where a database's log ends.
pub async fn head(transactor: &mut TransactorClient<Channel>, name: &str) -> Result<v1::Head> {
    let status = transactor.status(v1::TransactorStatusRequest::default()).await?.into_inner();
    let database = status.databases.into_iter().find(|d| d.database.as_ref().is_some_and(|info| info.name == name));
    database.and_then(|database| database.head).ok_or_else(|| "the transactor does not tell of the database".into())
}

/// Callers who send one transaction after the other for a time: how many a second, and how long each took.
pub async fn callers(url: &str, to_peer: bool, count: usize, during: Duration) -> Result<(f64, Vec<Duration>)> {
    let mut doors = Vec::new();
    for _ in 0..count {
        doors.push(if to_peer { Door::Peer(peer(url).await?) } else { Door::Transactor(transactor(url).await?) });
    }
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for (caller, mut door) in doors.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for person in people::people(1000 + caller).iter().cycle() {
                if begun.elapsed() >= during {
                    break;
                }
                let start = Instant::now();
                door.transact(DATABASE, &person_form(person)).await?;
                times.push(start.elapsed());
            }
            Ok::<_, tonic::Status>(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await??);
    }
    Ok((times.len() as f64 / begun.elapsed().as_secs_f64(), times))
}

/// Transactions at a fixed rate, whether or not those before are answered: how long each took from when it was due.
pub async fn at_rate(url: &str, connections: usize, per_second: f64, during: Duration) -> Result<Vec<Duration>> {
    let mut doors = Vec::new();
    for _ in 0..connections {
        doors.push(Door::Transactor(transactor(url).await?));
    }
    let people = people::people(1000);
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0.. {
        let due = begun + Duration::from_secs_f64(f64::from(n) / per_second);
        if due >= begun + during {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let mut door = doors[n as usize % doors.len()].clone();
        let form = person_form(&people[n as usize % people.len()]);
        tasks.push(tokio::spawn(async move {
            door.transact(DATABASE, &form).await?;
            Ok::<_, tonic::Status>(due.elapsed())
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await??);
    }
    Ok(times)
}

/// The database that callers write to.
pub const DATABASE: &str = "bench";

pub fn schema(indexed: bool) -> String {
    let index = if indexed { " :db/index true" } else { "" };
    let attribute = |(name, kind): &(&str, &str)| {
        format!("{{:db/ident :{name} :db/valueType :db.type/{kind} :db/cardinality :db.cardinality/one{index}}}")
    };
    format!("[{}]", people::ATTRIBUTES.iter().map(attribute).collect::<Vec<_>>().join(" "))
}

pub fn person_map(person: &Person) -> String {
    let Person { name, last_name, sex, age, salary } = person;
    format!(
        "{{:person/name \"{name}\" :person/last-name \"{last_name}\" :person/sex :{sex} :person/age {age} \
         :person/salary {salary}}}"
    )
}

/// A transaction that adds one person of five facts.
pub fn person_form(person: &Person) -> String {
    format!("[{}]", person_map(person))
}

/// The load generator's runtime: one thread, so that it leaves the cores to what it measures.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
