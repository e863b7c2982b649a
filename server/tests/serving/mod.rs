//! A storage process in this one, on threads of its own.

use clap::Parser;
use process::{
    Executor, Failpoints, Listener, Network, Shutdown, ShutdownTrigger, SystemClock, SystemEntropy, Tcp, World,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use storage::faulty::FaultyDisk;
use storage::{Options, Store};
use tonic::transport::{Channel, Endpoint};

pub struct Serving {
    pub url: String,
    trigger: ShutdownTrigger,
    thread: JoinHandle<process::Result<()>>,
}

/// A store with small files.
pub fn on_disk(root: &Path, disk: &FaultyDisk) -> Store {
    let options = Options {
        record_bytes_max: 60_000,
        redo_file_bytes: 1 << 20,
        frame_bytes_max: 64 * 1024,
        checkpoint_bytes: 100_000,
        pack_bytes_target: 50_000,
        sled_cache_bytes: 1 << 20,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    storage::open(&format!("sled:{}", root.join("store").display()), options).unwrap()
}

impl Serving {
    pub fn start(store: Store) -> Serving {
        Serving::start_at("127.0.0.1:0", store)
    }

    pub fn start_at(address: impl AsRef<str>, store: Store) -> Serving {
        let config = server::Config::parse_from(["", "--store", "memory:", "--listen", address.as_ref()]);
        let (announce, announced) = mpsc::channel();
        let (trigger, shutdown) = Shutdown::new();
        let world = World {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(Announcing(Mutex::new(announce))),
            executor: Executor::Threads,
            failpoints: Failpoints::default(),
        };
        let asked = trigger.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let ended = runtime.block_on(server::run_on(config, &store, world, asked, shutdown));
            drop(runtime);
            ended.and_then(|()| store.close().map_err(process::Failure::new))
        });
        let address: SocketAddr = announced.recv().expect("it comes to serve");
        Serving { url: format!("http://{address}"), trigger, thread }
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub fn connect(&self) -> Store {
        stores::open(&format!("net:{}", self.url), Options::default()).unwrap()
    }

    pub fn stop(self) {
        self.trigger.ask();
        self.ended().unwrap();
    }

    /// Waits until it ends by itself.
    pub fn ended(self) -> process::Result<()> {
        self.thread.join().unwrap()
    }
}

/// The operating system's network, telling where a process listens.
struct Announcing(Mutex<mpsc::Sender<SocketAddr>>);

#[tonic::async_trait]
impl Network for Announcing {
    async fn listen(&self, address: SocketAddr) -> process::Result<Listener> {
        Tcp.listen(address).await
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        Tcp.channel(endpoint)
    }

    fn announce(&self, address: SocketAddr) {
        let _ = self.0.lock().unwrap().send(address);
    }
}
