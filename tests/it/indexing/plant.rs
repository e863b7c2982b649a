//! Processes of one story, with so little room for novelty that index jobs run all the time.

use diachron_tests::{Client, PATIENCE, Program};
use proto::v1::{PeerDatabaseStatus, TransactorStatusResponse};
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// Some twenty transactions.
const NOVELTY_BYTES: &str = "16000";

/// A store, of the transactor's own or with a process of its own, and a transactor.
pub struct Plant {
    // Ended before the directory goes.
    transactor: Option<Program>,
    storage: Option<Program>,
    address: String,
    dir: TempDir,
}

impl Plant {
    pub fn start(with_storage_process: bool) -> Plant {
        let dir = tempfile::Builder::new().prefix("diachron-test-").tempdir().unwrap();
        let storage = with_storage_process.then(|| {
            let store = format!("sled:{}", dir.path().join("store").display());
            Program::start("diachron-storage", &["--store", &store, "--listen", "127.0.0.1:0"], dir.path())
        });
        let mut plant = Plant { transactor: None, storage, address: "127.0.0.1:0".into(), dir };
        plant.start_transactor();
        plant.address = plant.transactor().address().to_owned();
        plant
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The store's URL, where no process has it.
    pub fn store(&self) -> String {
        format!("sled:{}", self.dir().join("store").display())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn start_transactor(&mut self) {
        self.start_transactor_with(&[]);
    }

    pub fn start_transactor_with(&mut self, environment: &[(&str, &str)]) {
        let store = self.storage.as_ref().map_or(self.store(), |storage| format!("net:{}", storage.url()));
        let args = ["--store", &store, "--listen", &self.address, "--novelty-bytes", NOVELTY_BYTES];
        let started = Program::start_with("diachron-transactor", &args, environment, self.dir());
        assert!(self.transactor.replace(started).is_none(), "a transactor runs already");
    }

    pub fn transactor(&self) -> &Program {
        self.transactor.as_ref().expect("the transactor runs")
    }

    pub fn take_transactor(&mut self) -> Program {
        self.transactor.take().expect("the transactor runs")
    }

    pub fn peer(&self, more: &[&str]) -> Program {
        let url = self.url();
        let mut args = vec!["--transactor", &url, "--listen", "127.0.0.1:0"];
        if let Some(storage) = &self.storage {
            args.extend(["--storage", storage.url()]);
        }
        args.extend(more);
        Program::start("diachron-peer", &args, self.dir())
    }
}

/// What a peer says of its only database, once that holds.
pub async fn peer_once(client: &mut Client, holds: impl Fn(&PeerDatabaseStatus) -> bool) -> PeerDatabaseStatus {
    let begun = Instant::now();
    loop {
        let status = client.peer_status().await;
        if let Some(database) = status.databases.first().filter(|database| holds(database)) {
            return database.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::task::yield_now().await;
    }
}

/// What a transactor says, once that holds.
pub async fn transactor_once(
    client: &mut Client,
    holds: impl Fn(&TransactorStatusResponse) -> bool,
) -> TransactorStatusResponse {
    let begun = Instant::now();
    loop {
        let status = client.transactor_status().await;
        if holds(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::task::yield_now().await;
    }
}
