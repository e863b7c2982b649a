//! Importing files.

use super::{FakePeer, run, run_with_input};
use std::path::{Path, PathBuf};

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn sent(peer: &FakePeer) -> Vec<String> {
    peer.seen().transactions.iter().map(|request| request.tx_data.clone()).collect()
}

#[test]
fn every_form_of_every_file_is_a_transaction_in_order() {
    let peer = FakePeer::start();
    let directory = tempfile::tempdir().unwrap();
    let schema = file(directory.path(), "schema.edn", ";; the schema\n[\n {:a 1}\n]\n");
    let data = file(directory.path(), "tx.edn", "[{:b 1}] #_[{:no 1}]\n[{:b 2}]\n");
    let ran = run(&peer, &["import", "--create", "world", schema.to_str().unwrap(), data.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("3 transactions, 3 datoms, t 1 to 3, "), "{ran:?}");
    assert_eq!(ran.stderr, "", "no progress bar in a pipe");
    assert_eq!(sent(&peer), ["[\n {:a 1}\n]", "[{:b 1}]", "[{:b 2}]"]);
    assert_eq!(peer.seen().created, ["world"]);
}

#[test]
fn a_busy_transactor_is_asked_again() {
    let peer = FakePeer::start();
    let ran = run_with_input(&peer, &["import", "world", "-"], "[:busy]\n[2]");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(peer.seen().busy_answers, 1);
    assert_eq!(sent(&peer), ["[:busy]", "[2]"]);
}

#[test]
fn an_import_stops_at_the_first_refusal_and_tells_where_and_what_is_committed() {
    let peer = FakePeer::start();
    let ran = run_with_input(&peer, &["import", "world", "-"], "[1]\n[2]\n\n[:fail-conflict]\n[4]");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr.contains("error: standard input line 4, transaction 3 of the file: as the test wants it"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("transactions-committed: 2\n"), "{ran:?}");
    assert!(ran.stderr.contains("last-t: 2\n"), "{ran:?}");
    assert_eq!(sent(&peer), ["[1]", "[2]"]);
}

#[test]
fn a_malformed_form_stops_an_import_at_its_line() {
    let peer = FakePeer::start();
    let ran = run_with_input(&peer, &["import", "world", "-"], "[1]\n[2\n  #]");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("standard input: line 3, column"), "{ran:?}");
    assert_eq!(sent(&peer), ["[1]"]);
}

#[test]
fn a_transaction_of_unknown_outcome_is_never_offered_again() {
    let peer = FakePeer::start();
    let ran = run_with_input(&peer, &["import", "world", "-"], "[:break]\n[2]");
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(sent(&peer), ["[:break]"]);
}
