//! The command as a process, against a peer that answers as the test tells it.

mod fake;
mod import;
mod inspect;
mod query;
mod settings;
mod transact;

use fake::FakePeer;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a run of the command left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

fn command(peer: &FakePeer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diachron"));
    command.env("DIACHRON_PEER", peer.url());
    without_settings(&mut command);
    command
}

/// What the user who runs the tests has set does not matter.
fn without_settings(command: &mut Command) {
    let nowhere = std::env::temp_dir().join("diachron-tests-have-no-settings");
    command.env("XDG_CONFIG_HOME", &nowhere).env("XDG_STATE_HOME", nowhere);
    for variable in ["DIACHRON_CONFIG", "DIACHRON_TIMEOUT", "DIACHRON_FORMAT", "DIACHRON_DATABASE"] {
        command.env_remove(variable);
    }
}

fn run(peer: &FakePeer, arguments: &[&str]) -> Ran {
    command(peer).args(arguments).stdin(Stdio::null()).output().unwrap().into()
}

fn run_with_input(peer: &FakePeer, arguments: &[&str], input: &str) -> Ran {
    let mut command = command(peer);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses its arguments may be gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn without_a_peer_the_command_says_so_and_ends_with_3() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_diachron"));
    let ran: Ran = command.args(["--peer", &format!("http://{address}"), "status"]).output().unwrap().into();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.starts_with(&format!("error: no peer answers at http://{address}: Connection refused")),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("next: start a peer, or name the one that runs"), "{ran:?}");
    assert_eq!(ran.stdout, "");
}

#[test]
fn what_is_no_address_is_told_apart_from_a_peer_that_is_away() {
    for url in ["localhost:4335", "https://localhost:4335", "http://", "x y"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diachron"));
        let ran: Ran = command.args(["--peer", url, "status"]).output().unwrap().into();
        assert_eq!(ran.code, 1, "{url}: {ran:?}");
        assert!(ran.stderr.contains("is no peer's address"), "{url}: {ran:?}");
    }
}

#[test]
fn usage_errors_end_with_2() {
    let peer = FakePeer::start();
    for arguments in [&["q"][..], &["frobnicate"], &["q", "world", "[:find ?x :in $a]"], &["--timeout", "0", "status"]]
    {
        let ran = run(&peer, arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
    let ran = run(&peer, &["import", "world", "/nowhere/at/all.edn"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/at/all.edn cannot be read"), "{ran:?}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let peer = FakePeer::start();
    for arguments in [
        &["db", "create"][..],
        &["db", "list"],
        &["db", "delete"],
        &["fork"],
        &["shell"],
        &["transact"],
        &["q"],
        &["pull"],
        &["log"],
        &["tx-range"],
        &["datoms"],
        &["index-range"],
        &["watch"],
        &["status"],
        &["import"],
        &["config"],
        &["completions"],
        &[],
    ] {
        let ran = run(&peer, &[arguments, &["--help"]].concat());
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("Example"), "{arguments:?}: {}", ran.stdout);
        assert!(ran.stdout.contains("diachron "), "{arguments:?}");
    }
}
