//! The demo: the whole of Diachron on one machine in seconds.
//!
//! Starts a transactor on a temporary sled store and two peers, loads the world data with `diachron import`, asks
//! questions of both peers, checks every answer, and stops. What the answers must be was computed by other programs.

mod ask;
mod ours;
mod servers;
mod show;
mod world;

use ask::Asked;
use client::Client;
use servers::{Server, Stopped};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant as Monotonic};
use tokio::signal::unix::{SignalKind, signal};

type Outcome<A> = Result<A, Box<dyn std::error::Error>>;

const DATABASE: &str = "world";
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Start, load, ask, check, stop.
#[derive(clap::Parser)]
#[command(name = "diachron-demo")]
struct Arguments {
    /// Leave the servers running at the end
    #[arg(long)]
    keep: bool,
    /// Where schema.edn, tx.edn and questions.json are
    #[arg(long, value_name = "DIR", default_value = "data/world")]
    data: PathBuf,
}

fn main() -> ExitCode {
    let arguments = <Arguments as clap::Parser>::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    // A signal ends the demo as an error does: the servers are stopped on the way out.
    let outcome = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = run(&arguments) => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    show::line(&format!("\nthe demo failed: {error}"));
    ExitCode::FAILURE
}

/// True when every answer was right.
async fn run(arguments: &Arguments) -> Outcome<bool> {
    let started = Monotonic::now();
    let programs = std::env::current_exe()?.parent().ok_or("the demo's own directory is unknown")?.to_owned();
    let store = tempfile::Builder::new().prefix("diachron-demo-").tempdir()?;
    let questions = world::read(&arguments.data.join("questions.json"))?;

    show::heading("Three processes");
    let transactor = Server::transactor(&programs, store.path(), arguments.keep)?;
    show::line(&format!("transactor  {}  store sled:{}", transactor.url, store.path().join("store").display()));
    let mut peers = Vec::new();
    for number in 1..=2 {
        let peer = Server::peer(&programs, store.path(), number, &transactor.url, arguments.keep)?;
        show::line(&format!("peer {number}      {}", peer.url));
        peers.push(peer);
    }

    show::heading("Real data");
    import(&programs, &peers[0].url, &arguments.data)?;

    let mut clients = Vec::new();
    for peer in &peers {
        clients.push(Client::connect(&peer.url).await?.anonymous().with_timeout(CALL_TIMEOUT));
    }
    // Both peers answer at the same basis from here on.
    for client in &clients {
        client.sync(DATABASE, None).await?;
    }

    let mut asked = Asked::new(clients);
    show::heading("Twelve questions whose answers another engine computed");
    for question in questions {
        asked.query(&question.text, question.call, &question.expected).await?;
    }
    show::heading("Questions of our own");
    ours::ask(&mut asked).await?;

    show::heading("Summary");
    let (right, all) = asked.score();
    show::line(&format!(
        "{right} of {all} answers right, in {:.1} s with starting and loading; {:.1} ms a question, there and back",
        started.elapsed().as_secs_f64(),
        asked.mean_ms()
    ));
    drop(asked);

    if arguments.keep {
        keep(&programs, transactor, peers, store);
    } else {
        stop(transactor, peers)?;
    }
    Ok(right == all)
}

/// Loads schema and transactions, with the command that anyone would use.
fn import(programs: &Path, peer: &str, data: &Path) -> Outcome<()> {
    let files = [data.join("schema.edn"), data.join("tx.edn")];
    show::line(&format!("$ diachron import --create {DATABASE} {} {}", files[0].display(), files[1].display()));
    let status = Command::new(programs.join("diachron"))
        .args(["--peer", peer, "import", "--create", DATABASE])
        .args(&files)
        .status()
        .map_err(|error| format!("{} cannot be run: {error}", programs.join("diachron").display()))?;
    if status.success() { Ok(()) } else { Err(format!("the import ended with {status}").into()) }
}

/// Stops peers first, so that none of them sees its transactor go away.
fn stop(transactor: Server, peers: Vec<Server>) -> Outcome<()> {
    let started = Monotonic::now();
    let mut untidy = Vec::new();
    for server in peers.into_iter().chain([transactor]) {
        if let Stopped::Untidily(how) = server.stop() {
            untidy.push(how);
        }
    }
    if !untidy.is_empty() {
        return Err(untidy.join("; ").into());
    }
    show::line(&format!("stopped cleanly in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn keep(programs: &Path, transactor: Server, peers: Vec<Server>, store: tempfile::TempDir) {
    let peer = peers[0].url.clone();
    let pids: Vec<String> = [&transactor].into_iter().chain(&peers).map(|server| server.pid().to_string()).collect();
    let directory = store.keep();
    for server in peers.into_iter().chain([transactor]) {
        server.leave_running();
    }
    show::heading("The servers go on running. Try");
    show::line(&format!("export DIACHRON_PEER={peer} PATH={}:$PATH", programs.display()));
    show::line(&format!("diachron pull {DATABASE} '[:country/name :country/capital]' '[:country/code \"LS\"]'"));
    show::line(&format!(
        "diachron q {DATABASE} '[:find ?life . :where [?c :country/name \"Rwanda\"] \
         [?c :country/life-expectancy ?life]]' --as-of 1993-06-30"
    ));
    show::line(&format!("diachron log {DATABASE} --from 11"));
    show::line(&format!("\nAnd at last: kill {} && rm -r {}", pids.join(" "), directory.display()));
}
