//! One program, running.

use crate::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A process of ours. Dropping it kills it; in a failing test its stderr is shown.
pub struct Program {
    name: String,
    child: Child,
    url: String,
    stderr: PathBuf,
}

/// Where a program of this build is.
pub fn binary(name: &str) -> PathBuf {
    let dir = match std::env::var_os("DIACHRON_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let test = std::env::current_exe().expect("a test knows its own path");
            // target/PROFILE/deps/it-HASH
            test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
        }
    };
    let path = dir.join(name);
    assert!(path.exists(), "{} is not built; run `cargo build --workspace --bins` first", path.display());
    path
}

impl Program {
    /// Starts a server and waits until it says where it listens.
    pub fn start(name: &str, args: &[&str], dir: &Path) -> Program {
        Program::start_with(name, args, &[], dir)
    }

    /// Starts a server with environment variables of its own.
    pub fn start_with(name: &str, args: &[&str], environment: &[(&str, &str)], dir: &Path) -> Program {
        Program::try_start_with(name, args, environment, dir)
            .unwrap_or_else(|stderr| panic!("{name} {args:?} did not start:\n{stderr}"))
    }

    /// Starts a server; if it ends before it listens, what it said to stderr.
    pub fn try_start(name: &str, args: &[&str], dir: &Path) -> Result<Program, String> {
        Program::try_start_with(name, args, &[], dir)
    }

    fn try_start_with(name: &str, args: &[&str], environment: &[(&str, &str)], dir: &Path) -> Result<Program, String> {
        let stderr = unused(dir, name);
        let file = std::fs::File::create(&stderr).expect("the temporary directory is writable");
        let mut command = Command::new(binary(name));
        command.args(args).envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (said, says) = mpsc::channel();
        // Ends when the process closes its stdout.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let url = match says.recv_timeout(PATIENCE) {
            Ok(line) => line.strip_prefix("listening on ").map(str::to_owned),
            Err(_) => None,
        };
        let mut program = Program { name: name.to_owned(), child, url: String::new(), stderr };
        match url {
            Some(url) => {
                program.url = url;
                Ok(program)
            }
            None => {
                let _ = program.child.kill();
                let _ = program.child.wait();
                Err(program.stderr())
            }
        }
    }

    /// Where it listens, as `http://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `HOST:PORT`, to start another one there later.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or(&self.url)
    }

    /// The operating system's id of it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said to stderr so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Bytes of memory that it has now.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself, and tells how it ended and what it said to stderr.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("our own child can be waited for");
        (status, self.stderr())
    }

    /// As `kill -9`: it gets no chance to do anything.
    pub fn kill(mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// As `kill`: asks it to end, and tells how it ended and how long that took.
    pub fn terminate(self) -> (ExitStatus, Duration) {
        self.signal(Signal::TERM)
    }

    /// As control-C.
    pub fn interrupt(self) -> (ExitStatus, Duration) {
        self.signal(Signal::INT)
    }

    fn signal(mut self, signal: Signal) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
        let status = self.child.wait().expect("our own child can be waited for");
        (status, asked.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- stderr of {} ---\n{}", self.name, self.stderr());
        }
    }
}

fn unused(dir: &Path, name: &str) -> PathBuf {
    let candidates = (0..).map(|n| dir.join(format!("{name}-{n}.stderr")));
    candidates.into_iter().find(|path| !path.exists()).expect("there is always another number")
}
