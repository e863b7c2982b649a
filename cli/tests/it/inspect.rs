//! Facts straight from an index, transactions as they come, and what would be.

use super::{FakePeer, run};
use proto::v1::component::Kind;

#[test]
fn datoms_come_in_every_format_of_rows() {
    let peer = FakePeer::start();
    let shown = |format: &str| run(&peer, &["datoms", "world", "eavt", "--limit", "2", "--format", format]).stdout;
    assert_eq!(
        shown("table"),
        "e  a           v              tx  added\n\
         -  ----------  -  --------------  -----\n\
         1  :country/n  1  13194139533313  true\n\
         2  :country/n  2  13194139533313  true\n"
    );
    assert_eq!(shown("edn"), "[[1 :country/n 1 13194139533313 true]\n [2 :country/n 2 13194139533313 true]]\n");
    assert_eq!(shown("json"), "[1,\":country/n\",1,13194139533313,true]\n[2,\":country/n\",2,13194139533313,true]\n");
    assert_eq!(
        shown("csv"),
        "e,a,v,tx,added\n1,:country/n,1,13194139533313,true\n2,:country/n,2,13194139533313,true\n"
    );
}

#[test]
fn flags_and_words_become_the_read_they_name() {
    let peer = FakePeer::start();
    let words = ["datoms", "world", "avet", ":country/n", "-5", "--seek", "--reverse", "--history", "--since", "3"];
    let ran = run(&peer, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let read = peer.seen().reads.remove(0);
    let components: Vec<_> = read.components.iter().map(|component| component.kind.clone().unwrap()).collect();
    assert_eq!(components, [Kind::Edn(":country/n".into()), Kind::Edn("-5".into())]);
    assert!(read.seek && read.reverse && read.limit == 0);
    let view = read.database.unwrap();
    assert!(view.history && view.since.is_some() && view.name == "world");

    let words = ["index-range", "world", ":country/n", "--from", "-5", "--to", "7", "--reverse", "--limit", "2"];
    let ran = run(&peer, &[&words[..], &["--format", "csv"]].concat());
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 3), "{ran:?}");
    let range = peer.seen().index_ranges.remove(0);
    let edn = |text: &str| Some(proto::v1::Component { kind: Some(Kind::Edn(text.into())) });
    assert_eq!((range.attribute, range.start, range.end), (edn(":country/n"), edn("-5"), edn("7")));
    assert!(range.reverse && range.limit == 2);

    for words in [&["datoms", "world"][..], &["datoms", "world", "avte"], &["datoms", "world", "eavt", "--limit", "0"]]
    {
        let ran = run(&peer, words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}: {ran:?}");
    }
}

#[test]
fn a_watch_shows_each_transaction_once_over_connections_that_end() {
    let peer = FakePeer::start();
    let watch = |format: &str| run(&peer, &["watch", "world", "--from", "10", "--count", "3", "--format", format]);
    let ran = watch("json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        r#"{"t":10,"tx":13194139533322,"instant":"1970-01-01T00:00:00.000Z","datoms":[[17,":country/n",0,13194139533322,true]],"tempids":{}}"#,
        r#"{"t":11,"tx":13194139533323,"instant":"1970-01-01T00:00:00.000Z","datoms":[[18,":country/n",1,13194139533323,true],[19,":country/n",2,13194139533323,true]],"tempids":{}}"#,
        r#"{"t":12,"tx":13194139533324,"instant":"1970-01-01T00:00:00.000Z","datoms":[[17,":country/n",0,13194139533324,true]],"tempids":{}}"#,
    ];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
    let edn = watch("edn").stdout;
    let ts: Vec<_> = edn.lines().map(|line| db::edn::read(line).unwrap().get("t").cloned().unwrap()).collect();
    assert_eq!(ts, [10, 11, 12].map(db::edn::Edn::Long));
    assert_eq!(watch("table").stdout.matches("\n\nt ").count(), 2);
    assert_eq!(watch("csv").code, 2);

    // From now on, which is after 9 here.
    let ran = run(&peer, &["watch", "world", "--count", "1", "--format", "json"]);
    assert!(ran.stdout.starts_with("{\"t\":10,"), "{ran:?}");
}

#[test]
fn a_watch_that_finds_no_peer_any_more_tells_how_to_go_on() {
    let peer = FakePeer::start();
    peer.seen().breaks.push_back(proto::status(&db::Error::not_found("db.error/database-deleted", "it is deleted")));
    let ran = run(&peer, &["watch", "world", "--from", "10"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.starts_with("t 10  "), "{ran:?}");
    assert!(ran.stderr.contains("next: go on with `diachron watch world --from 11`"), "{ran:?}");
}

#[test]
fn a_dry_run_says_so_and_commits_nothing() {
    let peer = FakePeer::start();
    let dry_run = |format: &str| run(&peer, &["transact", "world", "[[:a]]", "--dry-run", "--format", format]);
    assert_eq!(
        dry_run("table").stdout,
        "dry run: nothing was committed; committing it now would give\n\
         t 10  1970-01-01T00:00:00.000Z  1 datom  tx 13194139533322\n   \
         entity  attribute   value\n\
         -  ------  ----------  -----\n\
         +      27  :country/n     10\n\
         \n\
         tempid  entity\n\
         ------  ------\n\
         peru        17\n"
    );
    assert!(dry_run("json").stdout.starts_with("{\"dry-run\":true,\"t\":10,"));
    assert!(
        dry_run("edn").stdout.starts_with("{:dry-run true, :t 10,")
            || dry_run("edn").stdout.starts_with("{:dry-run true\n")
    );
    assert!(peer.seen().transactions.is_empty());
    let ran = run(&peer, &["transact", "world", "[:fail-conflict]", "--dry-run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
}
