//! The store in a process of its own: peers read from it, and transactors come and go.

use crate::kills::{Load, SCHEMA, below, check, names, write};
use crate::observe::{documented, documented_queues, metrics_address, scrape};
use crate::serving::{channel, comes_to_serve};
use db::Category;
use diachron_tests::{Client, PATIENCE, Program, database, seed};
use process::SeededEntropy;
use process::supervisor::FAILPOINTS_VARIABLE;
use proto::v1::{CreateDatabaseRequest, FollowState};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

const COUNT: &str = "[:find (count ?e) . :where [?e :item/name]]";
const WRITERS: usize = 8;
const STORAGE_KILLS: usize = 5;
const TAKEOVERS: usize = 3;

/// A storage process and what is asked of it, in one temporary directory.
struct Stand {
    // Ended before the directory goes.
    storage: Option<Program>,
    address: String,
    dir: TempDir,
}

impl Stand {
    fn start() -> Stand {
        Stand::start_with(&[])
    }

    /// Starts the storage process with environment variables of its own; it is started again without them.
    fn start_with(environment: &[(&str, &str)]) -> Stand {
        let dir = tempfile::Builder::new().prefix("diachron-test-").tempdir().unwrap();
        let storage = start_storage(dir.path(), "127.0.0.1:0", environment);
        Stand { address: storage.address().to_owned(), storage: Some(storage), dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn transactor(&self, listen: &str) -> Program {
        let store = format!("net:{}", self.url());
        Program::start("diachron-transactor", &["--store", &store, "--listen", listen], self.dir.path())
    }

    /// A peer that reads from the storage process and follows at these addresses.
    fn peer(&self, transactors: &str) -> Program {
        let args = ["--transactor", transactors, "--storage", &self.url(), "--listen", "127.0.0.1:0"];
        Program::start("diachron-peer", &args, self.dir.path())
    }

    fn kill_storage(&mut self) {
        self.storage.take().expect("the storage process runs").kill();
    }

    fn restart_storage(&mut self) {
        self.storage = Some(start_storage(self.dir.path(), &self.address, &[]));
    }
}

fn start_storage(dir: &Path, listen: &str, environment: &[(&str, &str)]) -> Program {
    let store = format!("sled:{}", dir.join("store").display());
    Program::start_with("diachron-storage", &["--store", &store, "--listen", listen], environment, dir)
}

/// What a peer says of its only database, once it is in this state.
async fn is_in(client: &mut Client, state: FollowState) {
    let begun = Instant::now();
    loop {
        let status = client.peer_status().await;
        if status.databases.first().is_some_and(|database| database.state() == state) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::task::yield_now().await;
    }
}

async fn count(client: &mut Client) -> String {
    client.q(COUNT, vec![database("items")]).await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_answer_and_cold_ones_begin_while_no_transactor_is_there() {
    let stand = Stand::start();
    let transactor = stand.transactor("127.0.0.1:0");
    let (url, address) = (transactor.url().to_owned(), transactor.address().to_owned());
    let warm = stand.peer(&url);
    let mut client = Client::connect(warm.url()).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    // One of them is too large for a record: its body is a segment.
    let many = (0..20_000).map(|n| format!("{{:item/name \"item {n} {}\"}}", "x".repeat(60))).collect::<Vec<_>>();
    client.transact("items", &format!("[{}]", many.join(" "))).await.unwrap();
    client.transact("items", "[{:item/name \"one more\"}]").await.unwrap();
    transactor.kill();

    is_in(&mut client, FollowState::Disconnected).await;
    assert_eq!(count(&mut client).await, "20001");
    let cold = stand.peer(&url);
    comes_to_serve(channel(cold.url()).await, "diachron.v1.Peer").await;
    let mut second = Client::connect(cold.url()).await;
    assert_eq!(count(&mut second).await, "20001");
    let refused = second.transact("items", "[{:item/name \"not now\"}]").await.unwrap_err();
    assert_eq!(refused.category(), Category::Unavailable, "{refused}");

    // The transactor comes back where it was, and both go on.
    let _transactor = stand.transactor(&address);
    for client in [&mut client, &mut second] {
        is_in(client, FollowState::Following).await;
    }
    let t = second.transact("items", "[{:item/name \"again\"}]").await.unwrap().t;
    client.sync("items", Some(t)).await.unwrap();
    assert_eq!(count(&mut client).await, "20002");
}

/// Writers at work, by way of a peer, until a story has ended; then all that they noted must be there.
struct Writers {
    load: Arc<Load>,
    started: watch::Sender<usize>,
    tasks: tokio::task::JoinSet<Vec<(String, u64)>>,
}

impl Writers {
    async fn start(peer: &Program) -> Writers {
        let mut client = Client::connect(peer.url()).await;
        client.create_database("items").await;
        client.transact("items", SCHEMA).await.unwrap();
        let (started, starts) = watch::channel(0);
        let load = Arc::new(Load { acknowledged: AtomicU64::new(0), done: AtomicBool::new(false), starts });
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..WRITERS {
            tasks.spawn(write(Client::connect(peer.url()).await, false, number, load.clone()));
        }
        Writers { load, started, tasks }
    }

    /// Returns when so many more were acknowledged.
    async fn come_to(&self, more: u64) {
        let (goal, begun) = (self.load.acknowledged.load(Ordering::SeqCst) + more, Instant::now());
        while self.load.acknowledged.load(Ordering::SeqCst) < goal {
            assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged any more");
            tokio::task::yield_now().await;
        }
    }

    async fn end(mut self, client: &mut Client) {
        self.load.done.store(true, Ordering::SeqCst);
        let mut noted = BTreeMap::new();
        while let Some(ended) = self.tasks.join_next().await {
            noted.extend(ended.unwrap());
        }
        println!("{} acknowledged", noted.len());
        let newest = client.sync("items", None).await.unwrap();
        let log = client.log("items").await.unwrap();
        assert_eq!(log.len() as u64, newest);
        check(&noted, names(&log));
    }
}

/// The transactor that is killed, or deposed while it runs, loses nothing to the one that comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn another_transactor_takes_over_on_the_same_storage_process_and_nothing_is_lost() {
    let random = SeededEntropy::new(seed());
    let stand = Stand::start();
    let first = stand.transactor("127.0.0.1:0");
    let second = stand.transactor("127.0.0.1:0");
    let addresses = [first.address().to_owned(), second.address().to_owned()];
    drop(second);
    let peer = stand.peer(&format!("http://{},http://{}", addresses[0], addresses[1]));
    let writers = Writers::start(&peer).await;
    let mut reigning = first;
    for takeover in 1..=TAKEOVERS {
        writers.come_to(1 + below(&random, 100)).await;
        let address = &addresses[takeover % 2];
        if takeover.is_multiple_of(2) {
            reigning.kill();
            reigning = stand.transactor(address);
        } else {
            // It still runs while the other one begins its term.
            let deposed = std::mem::replace(&mut reigning, stand.transactor(address));
            writers.come_to(20).await;
            let (status, _) = deposed.terminate();
            assert!(status.success(), "{status}");
        }
        writers.started.send_replace(takeover);
    }
    writers.come_to(50).await;
    writers.end(&mut Client::connect(peer.url()).await).await;
}

/// The appends that are on their way when the storage process dies come to a known outcome: the slot tells.
#[tokio::test(flavor = "multi_thread")]
async fn the_storage_process_is_killed_under_load_and_nothing_is_lost_or_there_twice() {
    let random = SeededEntropy::new(seed());
    let mut stand = Stand::start();
    let mut transactor = stand.transactor("127.0.0.1:0");
    let peer = stand.peer(transactor.url());
    let writers = Writers::start(&peer).await;
    for kill in 1..=STORAGE_KILLS {
        writers.come_to(1 + below(&random, 200)).await;
        stand.kill_storage();
        stand.restart_storage();
        writers.started.send_replace(kill);
    }
    writers.come_to(50).await;
    assert!(transactor.is_running(), "its appends were resolved: {}", transactor.stderr());
    writers.end(&mut Client::connect(peer.url()).await).await;
    // A peer that begins now finds the same.
    let cold = stand.peer(transactor.url());
    comes_to_serve(channel(cold.url()).await, "diachron.v1.Peer").await;
    let counts =
        [count(&mut Client::connect(peer.url()).await).await, count(&mut Client::connect(cold.url()).await).await];
    assert_eq!(counts[0], counts[1]);
    let (status, _) = transactor.terminate();
    assert!(status.success(), "{status}");
    let (status, _) = stand.storage.take().unwrap().terminate();
    assert!(status.success(), "{status}");
}

/// Each actor of a storage process panics once, and what its tree says of that comes true.
#[tokio::test(flavor = "multi_thread")]
async fn every_actor_of_a_storage_process_may_panic_and_it_goes_on() {
    for actor in server::tree::TREE.actors() {
        println!("{}: {}", actor.name, actor.effect);
        let failpoints = format!("{}=panic(1)", actor.name);
        let environment = [
            (FAILPOINTS_VARIABLE, &*failpoints),
            ("DIACHRON_METRICS_LISTEN", "127.0.0.1:0"),
            ("DIACHRON_LOG_FORMAT", "json"),
        ];
        let mut stand = Stand::start_with(&environment);
        let transactor = stand.transactor("127.0.0.1:0");
        let peer = stand.peer(transactor.url());
        let mut client = Client::connect(peer.url()).await;
        client.create_database("items").await;
        client.transact("items", SCHEMA).await.unwrap();
        let many = (0..5000).map(|n| format!("{{:item/name \"item {n} {}\"}}", "x".repeat(100))).collect::<Vec<_>>();
        client.transact("items", &format!("[{}]", many.join(" "))).await.unwrap();
        let cold = stand.peer(transactor.url());
        comes_to_serve(channel(cold.url()).await, "diachron.v1.Peer").await;
        let mut second = Client::connect(cold.url()).await;
        second.sync("items", None).await.unwrap();
        assert_eq!(count(&mut second).await, "5000");
        let storage = stand.storage.as_mut().unwrap();
        if actor.name == "metrics" {
            let address = metrics_address(storage).await;
            let mut lost = String::new();
            // It may be reset.
            let _ = TcpStream::connect(&address).await.unwrap().read_to_string(&mut lost).await;
        }
        let begun = Instant::now();
        while !storage.stderr().contains(&format!("failpoint {}", actor.name)) {
            assert!(begun.elapsed() < PATIENCE, "{} did not panic: {}", actor.name, storage.stderr());
            tokio::task::yield_now().await;
        }
        assert!(storage.is_running());
        client.transact("items", "[{:item/name \"after\"}]").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_process_shows_what_its_store_takes() {
    let stand = Stand::start_with(&[("DIACHRON_METRICS_LISTEN", "127.0.0.1:0"), ("DIACHRON_LOG_FORMAT", "json")]);
    let storage = stand.storage.as_ref().unwrap();
    let transactor = stand.transactor("127.0.0.1:0");
    let mut client = Client::connect(transactor.url()).await;
    client.transactor.create_database(CreateDatabaseRequest { name: "items".into() }).await.unwrap();
    client.transact_directly("items", SCHEMA).await.unwrap();
    let shown = scrape(storage).await;
    assert_eq!(shown.types, documented("diachron_storage_"));
    shown.has_queues(&documented_queues("storage"));
    assert!(shown.value("diachron_storage_journal_bytes") >= (64 << 20) as f64);
    assert!(shown.value("diachron_requests_total{method=\"StorageWriter/Append\",status=\"OK\"}") >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_process_that_is_not_there_and_one_too_many_are_told_by_name() {
    let stand = Stand::start();
    let store = format!("sled:{}", stand.dir.path().join("store").display());
    let args = ["--store", &*store, "--listen", "127.0.0.1:0"];
    for name in ["diachron-storage", "diachron-transactor"] {
        let stderr = Program::try_start(name, &args, stand.dir.path()).err().expect("the store is in use");
        assert!(stderr.contains("in use"), "{name}: {stderr}");
    }
    let args = ["--store", "net:https://127.0.0.1:1", "--listen", "127.0.0.1:0"];
    let stderr = Program::try_start("diachron-transactor", &args, stand.dir.path()).err().expect("no such store");
    assert!(stderr.contains("net:http://HOST:PORT"), "{stderr}");
}
