//! The processes of the simulation: their own `run`, with everything it takes from the world handed in.

use crate::history::{History, SimulatedClock, elapsed};
use crate::network::{Network, PORT, TRANSACTOR};
use crate::store::SharedStore;
use clap::Parser;
use process::supervisor::Failpoints;
use process::{Executor, SeededEntropy, Shutdown, World};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first reigns at the beginning; the second takes over some time.
pub const TRANSACTORS: [&str; 2] = ["transactor-1", "transactor-2"];
pub const PEERS: [&str; 2] = ["peer-1", "peer-2"];
pub const DATABASE: &str = "world";

/// What all hosts share. Cheap to clone.
#[derive(Clone)]
pub struct Flock {
    pub seed: u64,
    pub network: Network,
    pub store: SharedStore,
    pub history: History,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// How often each process was started.
    runs: BTreeMap<&'static str, u64>,
    /// Processes that have ended by themselves since they were last asked for.
    ended: Vec<&'static str>,
    /// The second transactor does nothing before it is asked to take over.
    second_may_start: bool,
    phase: Phase,
    /// Writers that have heard of their last operation.
    writers_done: usize,
    /// The database, once it is there.
    database: Option<[u8; 16]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    SettingUp,
    Working,
    /// Everything is mended, nobody writes any more.
    Healed,
}

impl Flock {
    pub fn new(seed: u64) -> Self {
        Flock {
            seed,
            network: Network::new(TRANSACTORS[0]),
            store: SharedStore::new(seed),
            history: History::default(),
            state: Arc::default(),
        }
    }

    pub async fn transactor(self, host: &'static str) -> turmoil::Result {
        if host == TRANSACTORS[1] && !self.state().second_may_start {
            return std::future::pending().await;
        }
        let (world, run) = self.begin_run(host);
        let (trigger, shutdown) = Shutdown::new();
        let config = transactor::Config::parse_from(["", "--store", "memory:", "--listen", &listen()]);
        let (journal, segments) = (self.store.journal_from(host), self.store.segments());
        let ended = transactor::run_on(config, journal, segments, world, trigger.clone(), shutdown).await;
        drop(trigger);
        self.end_run(host, run, ended).await
    }

    pub async fn peer(self, host: &'static str) -> turmoil::Result {
        let (world, run) = self.begin_run(host);
        let (trigger, shutdown) = Shutdown::new();
        let url = format!("http://{TRANSACTOR}:{PORT}");
        let config = peer::Config::parse_from(["", "--transactor", &url, "--listen", &listen(), "--threads", "2"]);
        let ended = peer::run(config, world, trigger.clone(), shutdown).await;
        drop(trigger);
        self.end_run(host, run, ended).await
    }

    fn begin_run(&self, host: &'static str) -> (World, u64) {
        let run = {
            let mut state = self.state();
            let run = state.runs.entry(host).or_default();
            *run += 1;
            *run
        };
        self.history.tell(elapsed(), format_args!("{host} starts, run {run}"));
        let place = TRANSACTORS.iter().chain(&PEERS).position(|other| *other == host).unwrap_or_default() as u64;
        let world = World {
            clock: Arc::new(SimulatedClock),
            entropy: Arc::new(SeededEntropy::new(self.seed ^ (run << 32) ^ (place << 48))),
            network: Arc::new(self.network.clone()),
            executor: Executor::OneRuntime,
            failpoints: Failpoints::default(),
        };
        (world, run)
    }

    /// The process has ended by itself: what it still has of tasks and connections goes when its host is crashed.
    async fn end_run(&self, host: &'static str, run: u64, ended: process::Result<()>) -> turmoil::Result {
        let how = ended.err().map_or("in peace".to_owned(), |failure| failure.0);
        self.history.tell(elapsed(), format_args!("{host} ends, run {run}: {how}"));
        self.state().ended.push(host);
        std::future::pending().await
    }

    pub fn runs(&self, host: &'static str) -> u64 {
        self.state().runs.get(host).copied().unwrap_or_default()
    }

    pub fn take_ended(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state().ended)
    }

    pub fn let_second_start(&self) {
        self.state().second_may_start = true;
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    pub fn set_phase(&self, phase: Phase) {
        self.state().phase = phase;
    }

    pub fn writer_is_done(&self) {
        self.state().writers_done += 1;
    }

    pub fn writers_done(&self) -> usize {
        self.state().writers_done
    }

    pub fn database(&self) -> storage::DatabaseId {
        storage::DatabaseId(self.state().database.expect("the database was made before anybody works with it"))
    }

    pub fn set_database(&self, id: [u8; 16]) {
        self.state().database = Some(id);
    }

    /// One thread only: nobody ever waits, and nobody leaves it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen() -> String {
    format!("0.0.0.0:{PORT}")
}
