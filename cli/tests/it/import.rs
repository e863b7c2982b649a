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
    assert!(ran.stderr.contains("next: look with `diachron log world` whether form 1 is there"), "{ran:?}");
    assert!(ran.stderr.contains("go on with `--from-form 1`"), "{ran:?}");
}

#[test]
fn an_import_goes_on_where_it_stopped() {
    let peer = FakePeer::start();
    let directory = tempfile::tempdir().unwrap();
    let one = file(directory.path(), "1.edn", "[1]\n[2]\n");
    let two = file(directory.path(), "2.edn", "[3]\n[4]\n[5]\n");
    let files = [one.to_str().unwrap(), two.to_str().unwrap()];
    let ran = run(&peer, &[&["import", "world"], &files[..], &["--from-form", "2", "--skip-forms", "4"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sent(&peer), ["[2]", "[3]", "[5]"]);
}

#[test]
fn in_order_one_transaction_is_under_way_and_without_order_as_many_as_are_allowed() {
    let peer = FakePeer::start();
    let ran = run_with_input(&peer, &["import", "world", "-"], &"[1]\n".repeat(20));
    assert_eq!((ran.code, peer.seen().under_way_max), (0, 1), "{ran:?}");

    let peer = FakePeer::start();
    let ran =
        run_with_input(&peer, &["import", "world", "-", "--unordered", "--in-flight", "4"], &"[:meet]\n".repeat(8));
    assert_eq!((ran.code, peer.seen().under_way_max), (0, 4), "{ran:?}");
    assert!(ran.stdout.starts_with("8 transactions, 8 datoms, t 1 to 8, "), "{ran:?}");

    let ran = run_with_input(&peer, &["import", "world", "-", "--in-flight", "4"], "[1]");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--unordered"), "{ran:?}");
}

#[test]
fn an_unordered_import_waits_for_what_is_under_way_and_names_what_is_not_there() {
    let peer = FakePeer::start();
    // All five are under way before the first answer is looked at; four of them wait for each other.
    let input = "[:meet 1]\n[:meet 2]\n[:meet :fail-conflict 3]\n[:meet 4]\n[:meet 5]\n";
    let ran = run_with_input(&peer, &["import", "world", "-", "--unordered", "--in-flight", "5"], input);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("standard input line 3, transaction 3 of the file"), "{ran:?}");
    assert!(ran.stderr.contains("--from-form 3 --skip-forms 4,5`"), "{ran:?}");
    assert!(!sent(&peer).contains(&"[:meet :fail-conflict 3]".to_owned()));
}

#[test]
fn a_csv_file_is_imported_in_batches_of_the_types_that_the_schema_says() {
    let peer = FakePeer::start();
    let directory = tempfile::tempdir().unwrap();
    let csv = file(directory.path(), "c.csv", "name,people,x\nPeru,28,a\nChile,,b\nBolivia,9,c\n");
    let map = r#"{:columns {"name" :country/name "people" :country/population} :identity "name"}"#;
    let map = file(directory.path(), "map.edn", map);
    let arguments = ["import", "world", "--csv", csv.to_str().unwrap(), "--map", map.to_str().unwrap(), "--batch", "2"];
    let ran = run(&peer, &arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr, "warning: the column `x` is not in the mapping: left out\n");
    assert_eq!(
        sent(&peer),
        [
            "[{:country/name \"Peru\" :country/population 28}\n{:country/name \"Chile\"}]",
            "[{:country/name \"Bolivia\" :country/population 9}]"
        ]
    );

    let ran = run_with_input(&peer, &["import", "world", "--csv", "-"], "country/name,country/population\nPeru,many\n");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("error: standard input line 2, column `country/population`: `many` is no long"),
        "{ran:?}"
    );
    let ran = run(&peer, &["import", "world", "tx.edn", "--csv", "-"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
