//! What every process of Diachron is made of.
//!
//! A process is a handful of actors (tasks and threads with a mailbox each), a server in front of them, and a
//! `run(config, world, shutdown)` that starts and stops them all. What it takes from the [`World`] (the clock,
//! randomness, the network, threads) is handed in, so that tests hand in their own. What an actor leads to that ends without
//! being asked is written down in its process's tree, and the [`Supervisor`] sees to it.

pub mod clock;
pub mod config;
pub mod correlation;
pub mod deadline;
mod edge;
pub mod entropy;
mod executor;
pub mod http;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod metrics;
mod network;
mod process;
mod program;
mod serve;
mod shutdown;
mod stream;
pub mod supervisor;
mod world;

pub use clock::{Clock, ManualClock, SystemClock};
pub use edge::{Contract, Edge};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use executor::Executor;
pub use mailbox::{Inbox, Mailbox};
pub use network::{Connection, Listener, Network, Tcp, channel_over};
pub use process::{Process, Serving};
pub use program::main;
pub use serve::{Health, SERVER_STOP_MAX, Server, keep_alive};
pub use shutdown::{Shutdown, ShutdownTrigger, on_signals};
pub use stream::{Feed, Outgoing};
pub use supervisor::{Crew, Failpoint, Failpoints, Restarts, Supervisor, once};
pub use world::World;

/// Why a process, or an actor in it, could not go on: for the operator who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(message: impl std::fmt::Display) -> Self {
        Failure(message.to_string())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
