//! Committing one transaction.

use super::{FakePeer, run, run_with_input};

#[test]
fn tx_data_comes_from_a_file_from_standard_input_or_from_the_argument() {
    let peer = FakePeer::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tx.edn");
    std::fs::write(&file, "[{:a 1}]").unwrap();
    assert_eq!(run(&peer, &["transact", "world", file.to_str().unwrap()]).code, 0);
    assert_eq!(run_with_input(&peer, &["transact", "world", "-"], "[{:a 2}]").code, 0);
    assert_eq!(run(&peer, &["transact", "world", "[{:a 3}]"]).code, 0);
    let seen = peer.seen();
    let sent: Vec<&str> = seen.transactions.iter().map(|request| request.tx_data.as_str()).collect();
    assert_eq!(sent, ["[{:a 1}]", "[{:a 2}]", "[{:a 3}]"]);
}

#[test]
fn the_answer_shows_datoms_and_tempids() {
    let peer = FakePeer::start();
    assert_eq!(
        run(&peer, &["transact", "world", "[]"]).stdout,
        "t 1  1970-01-01T00:00:00.000Z  1 datom  tx 13194139533313\n   \
         entity  attribute      value\n\
         -  ------  -------------  -----\n\
         +      17  :country/name  Peru\n\
         \n\
         tempid  entity\n\
         ------  ------\n\
         peru        17\n"
    );
    assert_eq!(
        run(&peer, &["transact", "world", "[]", "--format", "json"]).stdout,
        "{\"t\":2,\"tx\":13194139533314,\"instant\":\"1970-01-01T00:00:00.000Z\",\
         \"datoms\":[[17,\":country/name\",\"Peru\",13194139533314,true]],\"tempids\":{\"peru\":17}}\n"
    );
}

#[test]
fn a_transaction_without_an_answer_has_an_unknown_outcome() {
    let peer = FakePeer::start();
    for arguments in [&["transact", "world", "[:break]"][..], &["--timeout", "0.2", "transact", "world", "[:hang]"]] {
        let ran = run(&peer, arguments);
        assert_eq!(ran.code, 8, "{ran:?}");
        assert!(ran.stderr.contains("may have been committed"), "{ran:?}");
        assert!(ran.stderr.contains("`diachron log`"), "{ran:?}");
    }
}

#[test]
fn a_refused_transaction_says_that_nothing_was_committed() {
    let ran = run(&FakePeer::start(), &["transact", "world", "[:fail-conflict]"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("nothing was committed"), "{ran:?}");
}
