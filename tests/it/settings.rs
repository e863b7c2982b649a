//! Where the settings of a process come from.

use diachron_tests::binary;
use std::process::{Command, Stdio};

/// What a program says to stdout and stderr with these arguments and environment, and its exit code.
fn run(name: &str, args: &[&str], environment: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let mut command = Command::new(binary(name));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DIACHRON_")) {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("transactor.toml");
    std::fs::write(&file, "store = \"memory:\"\nqueue = 1\nlisten = \"127.0.0.1:1\"\ncaller-share = 30\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [("DIACHRON_QUEUE", "2"), ("DIACHRON_LISTEN", "127.0.0.1:2"), ("DIACHRON_SERVER_CONFIG", file)];
    let (stdout, stderr, code) =
        run("diachron-transactor", &["--listen", "127.0.0.1:3", "--print-config"], &environment);
    assert_eq!((code, &*stderr), (Some(0), ""));
    for line in [
        &format!("store = \"memory:\"  # {file}"),
        "queue = 2  # DIACHRON_QUEUE in the environment",
        "listen = \"127.0.0.1:3\"  # the command line",
        &format!("caller-share = 30  # {file}"),
        "connections = 4096  # the default",
        "# metrics-listen is not set",
    ] {
        assert!(stdout.lines().any(|shown| shown == line), "{line} is not in\n{stdout}");
    }
}

#[test]
fn a_key_that_is_no_setting_ends_the_process_with_what_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("peer.toml");
    std::fs::write(&file, "transactr = \"http://127.0.0.1:4334\"\nquery_rows = 5\n").unwrap();
    let (stdout, stderr, code) = run("diachron-peer", &["--config", file.to_str().unwrap()], &[]);
    assert_eq!((code, &*stdout), (Some(2), ""));
    for part in ["`transactr`", "near it are `transactor`", "`query_rows`", "near it are `query-rows`"] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
}
