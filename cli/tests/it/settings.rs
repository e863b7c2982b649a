//! Where settings come from, and the scripts for shells.

use super::{FakePeer, command, run};
use std::process::Stdio;

const QUERY: &str = "[:find ?name ?n :where [?c :country/name ?name]]";

#[test]
fn settings_come_from_flags_the_environment_and_a_file_in_this_order() {
    let peer = FakePeer::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "timeout = 7\nformat = 'json'\ndatabase = 'world'\n").unwrap();
    let with_file = |arguments: &[&str]| {
        let mut command = command(&peer);
        command.env("DIACHRON_CONFIG", &file).args(arguments).stdin(Stdio::null());
        super::Ran::from(command.output().unwrap())
    };

    let ran = with_file(&["config"]);
    assert!(ran.stdout.contains("{\"setting\":\"timeout\",\"value\":\"7\",\"from\":\"file "), "{ran:?}");
    assert!(ran.stdout.contains("\"from\":\"environment DIACHRON_PEER\"}"), "{ran:?}");
    assert!(ran.stdout.contains("{\"setting\":\"database\",\"value\":\"world\""), "{ran:?}");

    // The database may be left out now, and rows come as the file says, unless a flag says otherwise.
    let ran = with_file(&["q", QUERY]);
    assert_eq!(ran.stdout, "[\"Peru\",45.0]\n[\"Åland, \\\"Islands\\\"\",1.5]\n", "{ran:?}");
    assert!(with_file(&["q", QUERY, "--format", "csv"]).stdout.starts_with("?name,?n\n"));
    assert_eq!(with_file(&["transact", "[]"]).code, 0);
    assert_eq!(with_file(&["pull", "[*]", "17"]).stdout, "{\":country/name\":\"Perú\"}\n");
    assert_eq!(with_file(&["log"]).code, 0);
    let queries: Vec<String> = peer.seen().transactions.iter().map(|request| request.database.clone()).collect();
    assert_eq!(queries, ["world"]);
}

#[test]
fn without_a_database_the_command_says_how_to_name_one() {
    let ran = run(&FakePeer::start(), &["q", QUERY]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("name a database: as the first argument, in DIACHRON_DATABASE"), "{ran:?}");
}

#[test]
fn a_setting_that_is_none_is_an_error_that_names_the_near_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "tiemout = 7\n").unwrap();
    let ran = run(&FakePeer::start(), &["--config", file.to_str().unwrap(), "status"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("there is no setting `tiemout`; do you mean timeout?"), "{ran:?}");
    let ran = run(&FakePeer::start(), &["--config", "/nowhere/config.toml", "status"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn the_next_peer_is_asked_when_the_first_is_away() {
    let peer = FakePeer::start();
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = run(&peer, &["--peer", &format!("http://{away},{}", peer.url()), "status"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("peer {}, ", peer.url())), "{ran:?}");
}

#[test]
fn shells_get_a_script_that_completes_the_commands() {
    let peer = FakePeer::start();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&peer, &["completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for word in ["transact", "import", "unordered", "as-of"] {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
}
