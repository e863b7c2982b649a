//! The server processes: started, waited for, stopped.

use super::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take to be ready, and to end.
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A server process. Dropped without being stopped or left running, it is killed.
pub(super) struct Server {
    pub(super) url: String,
    name: String,
    /// None once it was stopped or left to itself.
    child: Option<Child>,
}

pub(super) enum Stopped {
    Cleanly,
    Untidily(String),
}

impl Server {
    pub(super) fn transactor(programs: &Path, directory: &Path, apart: bool) -> Outcome<Server> {
        let mut command = Command::new(programs.join("diachron-transactor"));
        command.arg("--store").arg(format!("sled:{}", directory.join("store").display()));
        Server::start("transactor".into(), command, directory, apart)
    }

    pub(super) fn peer(
        programs: &Path,
        directory: &Path,
        number: u32,
        transactor: &str,
        apart: bool,
    ) -> Outcome<Server> {
        let mut command = Command::new(programs.join("diachron-peer"));
        command.args(["--transactor", transactor]);
        Server::start(format!("peer-{number}"), command, directory, apart)
    }

    /// Starts it on a port that the system chooses; it says on its first line which. What it logs goes to a file.
    /// `apart`: in a process group of its own, so that a Ctrl-C in the terminal does not reach it.
    fn start(name: String, mut command: Command, directory: &Path, apart: bool) -> Outcome<Server> {
        let log_path = directory.join(format!("{name}.log"));
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&log_path)?);
        if apart {
            command.process_group(0);
        }
        let program = command.get_program().to_owned();
        let mut child =
            command.spawn().map_err(|error| format!("{} cannot be run: {error}", program.to_string_lossy()))?;
        let line = child.stdout.take().map(first_line);
        let mut server = Server { url: String::new(), name, child: Some(child) };
        match line.and_then(|line| line.recv_timeout(READY_WITHIN).ok()).as_deref().and_then(address) {
            Some(url) => url.clone_into(&mut server.url),
            None => return Err(not_ready(&server.name, log_path).into()),
        }
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(super) fn leave_running(mut self) {
        self.child = None;
    }

    /// Asks it to end and waits for it.
    pub(super) fn stop(mut self) -> Stopped {
        let Some(mut child) = self.child.take() else { return Stopped::Cleanly };
        let asked = Pid::from_raw(child.id() as i32).map(|pid| kill_process(pid, Signal::TERM));
        if !matches!(asked, Some(Ok(()))) {
            return Stopped::Untidily(format!("{} was gone before it was stopped", self.name));
        }
        let (ended, end) = mpsc::channel();
        let pid = child.id();
        std::thread::spawn(move || ended.send(child.wait()));
        match end.recv_timeout(STOPPED_WITHIN) {
            Ok(Ok(status)) if status.success() => Stopped::Cleanly,
            Ok(Ok(status)) => Stopped::Untidily(format!("{} ended with {status}", self.name)),
            Ok(Err(error)) => Stopped::Untidily(format!("{} cannot be waited for: {error}", self.name)),
            Err(_) => {
                if let Some(pid) = Pid::from_raw(pid as i32) {
                    // The thread above waits for it; whether the signal found it alive makes no difference.
                    let _ = kill_process(pid, Signal::KILL);
                }
                Stopped::Untidily(format!("{} did not end within {} s", self.name, STOPPED_WITHIN.as_secs()))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It ends either way: it was alive and is killed, or it was gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads in a thread of its own, so that the wait can have an end.
fn first_line(stdout: std::process::ChildStdout) -> mpsc::Receiver<String> {
    let (found, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let mut reader = BufReader::new(stdout);
        if reader.read_line(&mut text).is_ok() {
            // Nobody waits any more when it took too long.
            let _ = found.send(text);
        }
    });
    line
}

/// The URL of `listening on http://HOST:PORT`.
fn address(line: &str) -> Option<&str> {
    line.trim().strip_prefix("listening on ")
}

fn not_ready(name: &str, log_path: PathBuf) -> String {
    let log = std::fs::read_to_string(log_path).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{name} did not say where it listens; its last words: {}", last.join(" | "))
}
