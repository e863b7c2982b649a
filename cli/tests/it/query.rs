//! Asking: `q`, `pull`, `log`, `db`, `status`.

use super::{FakePeer, command, run, run_with_input};
use db::Category;
use diachron_cli::command::exit_code;
use proto::v1::query_input::Kind;
use proto::v1::time_point;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const QUERY: &str = "[:find ?name ?n :where [?c :country/name ?name]]";

#[test]
fn an_answer_is_written_in_every_format() {
    let peer = FakePeer::start();
    let stdout = |format: &str| run(&peer, &["q", "world", QUERY, "--format", format]).stdout;
    assert_eq!(stdout("json"), "[\"Peru\",45.0]\n[\"Åland, \\\"Islands\\\"\",1.5]\n");
    assert_eq!(stdout("csv"), "?name,?n\nPeru,45.0\n\"Åland, \"\"Islands\"\"\",1.5\n");
    assert_eq!(stdout("edn"), "[[\"Peru\" 45.0]\n [\"Åland, \\\"Islands\\\"\" 1.5]]\n");
    assert_eq!(
        stdout("table"),
        "?name               ?n\n----------------  ----\nPeru              45.0\nÅland, \"Islands\"   1.5\n"
    );
}

#[test]
fn warnings_go_to_stderr_and_a_pipe_gets_no_other_message() {
    let ran = run(&FakePeer::start(), &["q", "world", QUERY, "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "warning: a collection was cut off\n"));
}

#[test]
fn a_year_taken_for_a_t_is_answered_with_a_warning() {
    let peer = FakePeer::start();
    let stderr = |as_of: &str| run(&peer, &["q", "world", QUERY, "--as-of", as_of]).stderr;
    assert!(
        stderr("2013").contains("t 2013 of $ is later than the newest transaction, 9; a year is written 2013-01\n")
    );
    assert!(!stderr("9").contains("later"));
    assert!(!stderr("2013-01").contains("later"));
}

#[test]
fn databases_rules_and_arguments_reach_the_peer_as_they_were_given() {
    let peer = FakePeer::start();
    let query = "[:find ?x :in $then ?code % $ :where [?x]]";
    let arguments = ["--arg", "\"FR\"", "--rules", "[[(r ?a) [?a]]]", "--db", "$then=other@1992-06", "--since", "3"];
    let ran = run(
        &peer,
        &[&["q", "world", query][..], &arguments, &["--at-least", "7", "--rows-max", "5", "--full-scan"]].concat(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");

    let request = peer.seen().queries.remove(0);
    assert_eq!(request.query, query);
    assert_eq!((request.limits.unwrap().rows_max, request.allow_full_scan), (5, true));
    let inputs: Vec<(&str, &Kind)> =
        request.inputs.iter().map(|input| (input.name.as_str(), input.kind.as_ref().unwrap())).collect();
    let [("$then", Kind::Database(then)), ("$", Kind::Database(now)), ("%", Kind::Edn(rules)), ("", Kind::Edn(code))] =
        inputs[..]
    else {
        panic!("{inputs:?}")
    };
    let june_1992_ms = 707_356_800_000;
    assert_eq!(then.name, "other");
    assert_eq!(then.as_of.as_ref().unwrap().kind, Some(time_point::Kind::InstantMs(june_1992_ms)));
    assert_eq!((now.name.as_str(), now.least_t), ("world", 7));
    assert_eq!(now.since.as_ref().unwrap().kind, Some(time_point::Kind::T(3)));
    assert_eq!((rules.as_str(), code.as_str()), ("[[(r ?a) [?a]]]", "\"FR\""));
}

#[test]
fn a_query_is_read_from_standard_input_too() {
    let peer = FakePeer::start();
    assert_eq!(run_with_input(&peer, &["q", "world", "-"], QUERY).code, 0);
    assert_eq!(peer.seen().queries[0].query, QUERY);
}

#[test]
fn a_malformed_query_is_refused_before_it_is_sent() {
    let peer = FakePeer::start();
    let ran = run(&peer, &["q", "world", "[:find ?e\n :where [?e"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("line 2"), "{ran:?}");
    assert!(peer.seen().queries.is_empty());
}

#[test]
fn every_category_of_error_has_its_exit_code_and_shows_the_clause() {
    let peer = FakePeer::start();
    for category in Category::ALL {
        let ran = run(&peer, &["q", "world", &format!("[:find ?fail-{} :where [?e]]", category.name())]);
        assert_eq!(ran.code, i32::from(exit_code(category)), "{ran:?}");
        assert!(ran.stderr.starts_with("error: as the test wants it\n"), "{ran:?}");
        assert!(ran.stderr.contains(&format!("  code: :test.error/told ({})\n", category.name())), "{ran:?}");
        assert!(ran.stderr.contains("  clause: [?e :country/nmae ?n]\n"), "{ran:?}");
        assert!(ran.stderr.contains("  next: "), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_peer_that_does_not_answer_is_given_up_at_the_deadline() {
    let ran = run(&FakePeer::start(), &["--timeout", "0.2", "q", "world", "[:find ?hang :where [?e]]"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.stderr.contains("(interrupted)"), "{ran:?}");
}

#[test]
fn an_answer_that_is_cut_off_is_an_error() {
    let ran = run(&FakePeer::start(), &["q", "world", "[:find ?cut :where [?e]]", "--format", "json"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.stderr.contains("cut off before its end"), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_early_is_no_error() {
    let peer = FakePeer::start();
    for format in ["json", "table", "csv", "edn"] {
        let mut child = command(&peer)
            .args(["q", "world", "[:find ?many :where [?e]]", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{format}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{format}: {stderr}");
    }
}

#[test]
fn a_pull_is_a_map_in_edn_or_json() {
    let peer = FakePeer::start();
    let pull = ["pull", "world", "[:country/name]", "[:country/code \"PE\"]", "--as-of", "2"];
    assert_eq!(run(&peer, &pull).stdout, "{:country/name \"Perú\"}\n");
    assert_eq!(run(&peer, &[&pull[..], &["--format", "json"]].concat()).stdout, "{\":country/name\":\"Perú\"}\n");
    let request = peer.seen().pulls.remove(0);
    assert_eq!((request.pattern.as_str(), request.entity.as_str()), (pull[2], pull[3]));
    assert_eq!(run(&peer, &[&pull[..], &["--format", "csv"]].concat()).code, 2);
}

#[test]
fn a_transaction_that_comes_in_pieces_is_shown_whole() {
    let ran = run(&FakePeer::start(), &["log", "world", "--format", "json"]);
    let expected = [
        r#"{"t":1,"tx":13194139533313,"instant":"1970-01-01T00:00:00.000Z","datoms":[[18,":country/n",1,13194139533313,true],[19,":country/n",2,13194139533313,true]],"tempids":{}}"#,
        r#"{"t":2,"tx":13194139533314,"instant":"1970-01-01T00:00:00.000Z","datoms":[[20,":country/n",3,13194139533314,true]],"tempids":{}}"#,
    ];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
    let table = run(&FakePeer::start(), &["log", "world"]).stdout;
    assert!(table.contains("t 2  1970-01-01T00:00:00.000Z  1 datom  tx 13194139533314\n"), "{table}");
}

#[test]
fn the_log_is_asked_by_any_moment_and_by_either_name() {
    let peer = FakePeer::start();
    let by_t = run(&peer, &["log", "world", "--from", "2", "--to", "13194139533315", "--format", "json"]);
    let by_instant = run(&peer, &["tx-range", "world", "--to", "2013-06-01", "--format", "json"]);
    assert_eq!((by_t.stdout.lines().count(), by_instant.stdout.lines().count()), (1, 2));
    use proto::v1::time_point::Kind;
    let kind = |point: Option<proto::v1::TimePoint>| point.and_then(|point| point.kind);
    let asked: Vec<_> = peer.seen().tx_ranges.drain(..).map(|range| (kind(range.start), kind(range.end))).collect();
    let june = Kind::InstantMs(1_370_044_800_000);
    assert_eq!(asked, [(Some(Kind::T(2)), Some(Kind::T(3))), (None, Some(june))]);
}

#[test]
fn a_query_tells_what_it_read_if_that_is_asked() {
    let peer = FakePeer::start();
    let ran = run(&peer, &["q", "world", "[:find ?name ?n :where [?c :c/name ?name] [?c :c/n ?n]]", "--io-stats"]);
    assert!(ran.stderr.contains("segments read: heap 3 (4096 bytes), storage 1 (700 bytes)\n"), "{ran:?}");
    let ran = run(&peer, &["q", "world", "[:find ?name ?n :where [?c :c/name ?name] [?c :c/n ?n]]"]);
    assert!(!ran.stderr.contains("segments"), "{ran:?}");
}

#[test]
fn status_tells_how_far_a_peer_is_behind_and_why() {
    let peer = FakePeer::start();
    let table = run(&peer, &["status"]).stdout;
    let cache = "cache on heap: 3 segments, 1.5 MiB of 256.0 MiB; 40 hits, 5 misses";
    for word in [peer.url(), "http://127.0.0.1:4334", "disconnected", "connection refused", cache] {
        assert!(table.contains(word), "{word}: {table}");
    }
    assert_eq!(
        run(&peer, &["status", "--format", "json"]).stdout,
        "{\"name\":\"world\",\"basis-t\":9,\"head-t\":12,\"percent\":75.0,\"datoms\":3871,\"index-t\":7,\"novelty-bytes\":420,\"state\":\"disconnected\",\
         \"rate\":null,\"left-s\":1.5,\"trouble\":\"connection refused\"}\n"
    );
}

#[test]
fn databases_are_forked_now_and_as_of_a_moment() {
    let peer = FakePeer::start();
    let id = "07".repeat(16);
    let told = |arguments: &[&str]| run(&peer, &[&["fork", "world", "trial"], arguments].concat()).stdout;
    assert_eq!(told(&[]), format!("trial forked from world at t 17, id {id}\n"));
    assert_eq!(told(&["--as-of", "3"]), format!("trial forked from world at t 3, id {id}\n"));
    assert_eq!(told(&["--as-of", "2013-06"]), format!("trial forked from world at t 7, id {id}\n"));
    let row = format!("{{\"name\":\"trial\",\"id\":\"{id}\",\"origin\":\"world\",\"t\":17,\"created\":true}}");
    assert_eq!(told(&["--format", "json"]).trim().trim_matches(['[', ']']).trim(), row);
    let again = run(&peer, &["fork", "world", "congress"]).stdout;
    assert_eq!(again, format!("congress there already, forked from world at t 17, id {id}\n"));
    assert_eq!(run(&peer, &["fork", "world", "trial", "--as-of", "never"]).code, 1);
    assert_eq!(run(&peer, &["fork", "world"]).code, 2);
}

#[test]
fn databases_are_created_and_listed() {
    let peer = FakePeer::start();
    let id = "07".repeat(16);
    assert_eq!(run(&peer, &["db", "create", "world"]).stdout, format!("world created, id {id}\n"));
    assert_eq!(run(&peer, &["db", "create", "world"]).stdout, format!("world there already, id {id}\n"));
    assert_eq!(run(&peer, &["db", "delete", "world", "--yes"]).stdout, format!("world deleted, id {id}\n"));
    assert_eq!(run(&peer, &["db", "delete", "world"]).code, 2);
    assert_eq!(run(&peer, &["db", "delete", "nobody", "--yes"]).code, 4);
    assert_eq!(run(&peer, &["db", "list", "--format", "csv"]).stdout, format!("name,id\ncongress,{id}\nworld,{id}\n"));
}
