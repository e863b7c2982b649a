//! The `diachron` command over real processes: facts of an index, the log, transactions as they come, dry runs.

use crate::command::diachron;
use db::edn::Edn;
use diachron_tests::{Client, Flock, PATIENCE, Program, binary};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

const SCHEMA: &str = "[{:db/ident :city/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
                        :db/unique :db.unique/identity}
                       {:db/ident :city/people, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one,
                        :db/index true}
                       {:db/ident :city/twins, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}]";
const CITIES: &str = "[{:db/id \"lima\", :city/name \"Lima\", :city/people 8000000}
                       {:city/name \"Austin\", :city/people 900000, :city/twins \"lima\"}]";
const GROWN: &str = "[[:db/add [:city/name \"Lima\"] :city/people 10000000]]";

/// A peer of a world of two cities, one of which has grown since, at t 3.
fn world() -> (Flock, Program) {
    let flock = Flock::start();
    let peer = flock.start_peer();
    shown(&peer, &["db", "create", "world"]);
    for tx_data in [SCHEMA, CITIES, GROWN] {
        shown(&peer, &["transact", "world", tx_data]);
    }
    (flock, peer)
}

/// What a command that goes well writes.
fn shown(peer: &Program, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = diachron(peer, arguments, "");
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

fn json_lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Attribute, value, and whether it was added, in the order in which they are shown.
fn facts(peer: &Program, arguments: &[&str]) -> Vec<(Json, Json, bool)> {
    let rows = json_lines(&shown(peer, &[arguments, &["--format", "json"]].concat()));
    rows.into_iter().map(|row| (row[1].clone(), row[2].clone(), row[4] == json!(true))).collect()
}

#[test]
fn indexes_are_shown_in_their_order_from_any_place_on_and_through_any_view() {
    let (_flock, peer) = world();
    let name = |name: &str| (json!(":city/name"), json!(name), true);
    let people = |n: i64, added| (json!(":city/people"), json!(n), added);
    let lima = "[:city/name \"Lima\"]";
    assert_eq!(facts(&peer, &["datoms", "world", "avet", ":city/name"]), [name("Austin"), name("Lima")]);
    assert_eq!(facts(&peer, &["datoms", "world", "avet", ":city/name", "--reverse", "--limit", "1"]), [name("Lima")]);
    let seek = facts(&peer, &["datoms", "world", "avet", ":city/name", "\"B\"", "--seek"]);
    assert_eq!(seek[..2], [name("Lima"), people(900_000, true)]);
    assert_eq!(
        facts(&peer, &["datoms", "world", "eavt", lima, ":city/people", "--history"]),
        [people(8_000_000, true), people(8_000_000, false), people(10_000_000, true)]
    );
    assert_eq!(
        facts(&peer, &["datoms", "world", "eavt", lima, ":city/people", "--as-of", "2"]),
        [people(8_000_000, true)]
    );
    let twins = facts(&peer, &["datoms", "world", "vaet", lima, ":city/twins"]);
    assert_eq!((twins.len(), &twins[0].0), (1, &json!(":city/twins")));
    let range = ["index-range", "world", ":city/people", "--from", "900000", "--to", "10000000"];
    assert_eq!(facts(&peer, &range), [people(900_000, true)]);
    assert_eq!(
        facts(&peer, &["index-range", "world", "city/people", "--reverse"]),
        [people(10_000_000, true), people(900_000, true)]
    );

    // The same facts in every format.
    let datoms = ["datoms", "world", "eavt", lima, ":city/name"];
    let rows = json_lines(&shown(&peer, &[&datoms[..], &["--format", "json"]].concat()));
    let (e, tx) = (rows[0][0].as_i64().unwrap(), rows[0][3].as_i64().unwrap());
    let edn = db::edn::read(&shown(&peer, &[&datoms[..], &["--format", "edn"]].concat())).unwrap();
    assert_eq!(edn, db::edn::read(&format!("[[{e} :city/name \"Lima\" {tx} true]]")).unwrap());
    let csv = shown(&peer, &[&datoms[..], &["--format", "csv"]].concat());
    assert_eq!(csv, format!("e,a,v,tx,added\n{e},:city/name,Lima,{tx},true\n"));
    let table = shown(&peer, &datoms);
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["e", "a", "v", "tx", "added"]);
    assert_eq!(cells[2], [&e.to_string(), ":city/name", "Lima", &tx.to_string(), "true"]);

    // What the peer refuses ends with its category; the message says what is there.
    let (code, stdout, stderr) = diachron(&peer, &["datoms", "world", "avet", ":city/twins"], "");
    assert!(code == 1 && stdout.is_empty() && stderr.contains(":db.error/not-indexed"), "{code} {stderr}");
    assert_eq!(diachron(&peer, &["datoms", "nowhere", "eavt"], "").0, 4);
}

#[test]
fn more_facts_than_a_reader_wants_end_quietly_when_it_goes_away() {
    let (_flock, peer) = world();
    let many: String = (0..6000).map(|n| format!("{{:city/people {n}}}")).collect();
    assert_eq!(diachron(&peer, &["transact", "world", "-", "--format", "json"], &format!("[{many}]")).0, 0);
    let all = facts(&peer, &["index-range", "world", ":city/people", "--to", "6000"]);
    assert!((0..6000).eq(all.iter().map(|(_, n, _)| n.as_i64().unwrap())), "each once, in order");
    for format in ["table", "edn", "json", "csv"] {
        let mut child = spawn(&peer, &["datoms", "world", "eavt", "--format", format]);
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{format}");
    }
}

#[test]
fn the_log_is_shown_between_any_two_moments() {
    let (_flock, peer) = world();
    let all = json_lines(&shown(&peer, &["tx-range", "world", "--format", "json"]));
    let ts = |range: &[&str]| -> Vec<u64> {
        let lines = json_lines(&shown(&peer, &[&["tx-range", "world", "--format", "json"], range].concat()));
        lines.iter().map(|line| line["t"].as_u64().unwrap()).collect()
    };
    assert_eq!(ts(&[]), [1, 2, 3]);
    assert_eq!(ts(&["--from", "2", "--to", "3"]), [2]);
    assert_eq!(ts(&["--from", &all[2]["tx"].to_string()]), [3]);
    assert_eq!(ts(&["--from", "2000-01-01"]), [1, 2, 3]);
    assert_eq!(ts(&["--to", "2000-01-01"]), Vec::<u64>::new());
    assert_eq!(ts(&["--from", all[1]["instant"].as_str().unwrap()]).last(), Some(&3));
    let log = shown(&peer, &["log", "world", "--from", "2", "--format", "edn"]);
    let forms = db::edn::read_all(&log).unwrap();
    assert_eq!(forms.iter().map(|form| form.get("t").unwrap()).collect::<Vec<_>>(), [&Edn::Long(2), &Edn::Long(3)]);
    assert!(shown(&peer, &["log", "world"]).contains("\n\nt 3  "));
}

#[test]
fn a_dry_run_shows_what_committing_then_does_and_leaves_the_basis_as_it_was() {
    let (_flock, peer) = world();
    let basis = || json_lines(&shown(&peer, &["status", "--format", "json"]))[0]["basis-t"].clone();
    let data = "[{:db/id \"oslo\", :city/name \"Oslo\", :city/twins [:city/name \"Lima\"]}]";
    let transact = |more: &[&str]| shown(&peer, &[&["transact", "world", data], more].concat());
    let table = transact(&["--dry-run"]);
    assert!(table.starts_with("dry run: nothing was committed"), "{table}");
    assert!(table.contains("oslo") && table.contains(":city/twins"), "{table}");
    let would = json_lines(&transact(&["--dry-run", "--format", "json"])).remove(0);
    let edn = db::edn::read(&transact(&["--dry-run", "--format", "edn"])).unwrap();
    assert_eq!(edn.get("dry-run"), Some(&Edn::Bool(true)));
    assert_eq!(basis(), json!(3));
    let (code, _, stderr) = diachron(&peer, &["transact", "world", "[[:db/add \"x\" :city/nmae 1]]", "--dry-run"], "");
    assert!(code != 0 && stderr.contains(":city/nmae"), "{code} {stderr}");

    let committed = json_lines(&transact(&["--format", "json"])).remove(0);
    assert_eq!((&would["dry-run"], committed.get("dry-run")), (&json!(true), None));
    assert_eq!((&would["t"], &would["tempids"]), (&committed["t"], &committed["tempids"]));
    let said = |map: &Json| -> Vec<Json> {
        let datoms = map["datoms"].as_array().unwrap().iter();
        datoms.filter(|datom| datom[1] != json!(":db/txInstant")).cloned().collect()
    };
    assert_eq!(said(&would), said(&committed));
    assert_eq!(basis(), json!(4));
}

fn spawn(peer: &Program, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary("diachron"));
    command.args(arguments).env("DIACHRON_PEER", peer.url()).env("XDG_CONFIG_HOME", "/nowhere");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// `diachron watch`, and the lines it writes as it writes them. It is ended with its value.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(peer: &Program, arguments: &[&str]) -> Watch {
        let mut child = spawn(peer, &[&["watch", "world"], arguments].concat());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = mpsc::channel();
        // Ends with the process.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Watch { child, lines }
    }

    fn next_t(&self) -> u64 {
        let line = self.lines.recv_timeout(PATIENCE).expect("the next transaction is shown");
        serde_json::from_str::<Json>(&line).unwrap()["t"].as_u64().unwrap()
    }

    /// As Ctrl-C does; what it wrote beyond what was read.
    fn interrupt(mut self) -> (ExitStatus, Vec<String>) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = self.child.wait().unwrap();
        (status, self.lines.iter().collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_a_peer_that_comes_again_loses_nothing_and_repeats_nothing() {
    let (flock, peer) = world();
    let mut writer = Client::connect(&flock.transactor_url()).await;
    let mut write = async |n: u64| writer.transact_directly("world", &format!("[{{:city/people {n}}}]")).await.unwrap();
    let watch = Watch::start(&peer, &["--from", "2", "--format", "json"]);
    assert_eq!([watch.next_t(), watch.next_t()], [2, 3]);
    write(4).await;
    assert_eq!(watch.next_t(), 4);
    let address = peer.address().to_owned();
    peer.kill();
    write(5).await;
    write(6).await;
    let peer =
        Program::start("diachron-peer", &["--transactor", &flock.transactor_url(), "--listen", &address], flock.dir());
    write(7).await;
    assert_eq!([watch.next_t(), watch.next_t(), watch.next_t()], [5, 6, 7]);

    // One that begins now, and ends by itself; in EDN.
    let other = Watch::start(&peer, &["--from", "8", "--count", "1", "--format", "edn"]);
    write(8).await;
    assert_eq!(watch.next_t(), 8);
    let form = db::edn::read(&other.lines.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(form.get("t"), Some(&Edn::Long(8)));
    assert_eq!(other.lines.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    let (status, rest) = watch.interrupt();
    assert_eq!((status.code(), rest), (Some(0), Vec::new()));
}
