//! A transactor and a peer in this process, with the functions of the suite and a clock that the test sets.

use clap::Parser;
use db::Instant;
use db::tx::Functions;
use diachron_tests::Client;
use process::{Executor, Failpoints, Network, Shutdown, ShutdownTrigger, SystemEntropy, Tcp};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Server {
    pub client: Client,
    /// Of the transactor.
    pub direct: Client,
    trigger: ShutdownTrigger,
    peer: JoinHandle<process::Result<()>>,
    transactor: JoinHandle<process::Result<()>>,
}

/// Stands where it was set. The time since the start goes with it, so that nobody thinks that it jumped.
#[derive(Default)]
pub struct Clock(AtomicI64);

impl Clock {
    pub fn set(&self, now: Instant) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl process::Clock for Clock {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.now().0.max(0) as u64)
    }
}

impl Server {
    /// `more` are further arguments of the transactor.
    pub async fn start(store: &Store, clock: Arc<Clock>, functions: Functions, more: &[&str]) -> Server {
        let (trigger, shutdown) = Shutdown::new();
        let (outside, address) = world(clock.clone());
        let args = [&["diachron-transactor", "--store", "sled:", "--listen", LOOPBACK], more].concat();
        let config = transactor::Config::parse_from(args);
        let (journal, segments) = (store.journal(), store.segments());
        let running =
            transactor::run_knowing(functions, config, journal, segments, outside, trigger.clone(), shutdown.clone());
        let transactor = tokio::spawn(running);
        let transactor_url = format!("http://{}", address.await.unwrap());

        let (outside, address) = world(clock);
        let config = peer::Config::parse_from(["diachron-peer", "--transactor", &transactor_url, "--listen", LOOPBACK]);
        let peer = tokio::spawn(peer::run(config, outside, trigger.clone(), shutdown));
        let url = format!("http://{}", address.await.unwrap());
        let (client, direct) = (Client::connect(&url).await, Client::connect(&transactor_url).await);
        Server { client, direct, trigger, peer, transactor }
    }

    /// As SIGTERM does.
    pub async fn stop(self) {
        drop((self.client, self.direct));
        self.trigger.ask();
        self.peer.await.unwrap().unwrap();
        self.transactor.await.unwrap().unwrap();
    }
}

/// The system chooses the port.
pub const LOOPBACK: &str = "127.0.0.1:0";

/// A process's world, and where it will say that it listens.
pub fn world(clock: Arc<dyn process::Clock>) -> (process::World, oneshot::Receiver<SocketAddr>) {
    let (announced, address) = oneshot::channel();
    let network = Arc::new(Announcing(Mutex::new(Some(announced))));
    let entropy = Arc::new(SystemEntropy);
    let failpoints = Failpoints::default();
    (process::World { clock, entropy, network, executor: Executor::Threads, failpoints }, address)
}

/// The operating system's network, telling where a process listens.
struct Announcing(Mutex<Option<oneshot::Sender<SocketAddr>>>);

#[tonic::async_trait]
impl Network for Announcing {
    async fn listen(&self, address: SocketAddr) -> process::Result<process::Listener> {
        Tcp.listen(address).await
    }

    fn channel(&self, endpoint: tonic::transport::Endpoint) -> tonic::transport::Channel {
        Tcp.channel(endpoint)
    }

    fn announce(&self, address: SocketAddr) {
        if let Some(announced) = self.0.lock().unwrap().take() {
            let _ = announced.send(address);
        }
    }
}
