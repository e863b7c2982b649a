//! A transactor and its peers, in one temporary directory.

use crate::{Client, Program};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Processes of one test. They end with it.
pub struct Flock {
    // Ended before the directory goes.
    transactor: Option<Program>,
    address: String,
    store: PathBuf,
    dir: TempDir,
}

impl Flock {
    /// Starts a transactor on a new sled directory.
    pub fn start() -> Flock {
        Flock::start_with(&[])
    }

    /// Starts a transactor with environment variables of its own; it is started again without them.
    pub fn start_with(environment: &[(&str, &str)]) -> Flock {
        let dir = tempfile::Builder::new().prefix("diachron-test-").tempdir().expect("a temporary directory");
        let store = dir.path().join("store");
        let transactor = start_transactor(dir.path(), &store, "127.0.0.1:0", environment);
        Flock { address: transactor.address().to_owned(), transactor: Some(transactor), store, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The store's URL.
    pub fn store(&self) -> String {
        format!("sled:{}", self.store.display())
    }

    pub fn transactor_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn transactor(&mut self) -> &mut Program {
        self.transactor.as_mut().expect("the transactor runs")
    }

    pub fn take_transactor(&mut self) -> Program {
        self.transactor.take().expect("the transactor runs")
    }

    /// Starts the transactor again, on the same store and address.
    pub fn restart_transactor(&mut self) {
        self.restart_transactor_with(&[]);
    }

    /// The same, with environment variables of its own.
    pub fn restart_transactor_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.transactor.is_none(), "the transactor still runs");
        self.transactor = Some(start_transactor(self.dir.path(), &self.store, &self.address, environment));
    }

    pub fn start_peer(&self) -> Program {
        self.start_peer_with(&[])
    }

    /// Starts a peer with environment variables of its own.
    pub fn start_peer_with(&self, environment: &[(&str, &str)]) -> Program {
        let args = ["--transactor", &self.transactor_url(), "--listen", "127.0.0.1:0"];
        Program::start_with("diachron-peer", &args, environment, self.dir.path())
    }

    /// Starts a peer that reaches the transactor in another way.
    pub fn start_peer_of(&self, transactor: &str) -> Program {
        let args = ["--transactor", transactor, "--listen", "127.0.0.1:0"];
        Program::start("diachron-peer", &args, self.dir.path())
    }

    /// Starts a peer with arguments of its own.
    pub fn start_peer_args(&self, more: &[&str]) -> Program {
        let url = self.transactor_url();
        let args = [&["--transactor", &url, "--listen", "127.0.0.1:0"], more].concat();
        Program::start("diachron-peer", &args, self.dir.path())
    }

    /// Starts a transactor on the same store where no peer of this flock looks for it.
    pub fn start_transactor_elsewhere(&self) -> Program {
        assert!(self.transactor.is_none(), "the transactor still runs");
        start_transactor(self.dir.path(), &self.store, "127.0.0.1:0", &[])
    }

    /// A client of a program.
    pub async fn client(&self, program: &Program) -> Client {
        Client::connect(program.url()).await
    }
}

fn start_transactor(dir: &Path, store: &Path, address: &str, environment: &[(&str, &str)]) -> Program {
    let store = format!("sled:{}", store.display());
    Program::start_with("diachron-transactor", &["--store", &store, "--listen", address], environment, dir)
}
