//! Bulk loads over real processes: in order, exactly once, whatever is cut off.

use crate::command::diachron;
use diachron_tests::{Client, Flock, PATIENCE, Program, binary, database_at_least};
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Not one of the transactions may be lost, done twice, or done before another.
const SCHEMA: &str = "[{:db/ident :counter/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :counter/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
                       {:db/ident :step/number :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/index true}]";

/// Transactions of which each adds to a counter, and expects what the one before it left.
fn steps(count: u64, wrong: Option<u64>) -> String {
    let mut text = String::from("[{:counter/name \"steps\" :counter/n 0}]\n");
    for step in 1..=count {
        let before = if wrong == Some(step) { step + 1 } else { step - 1 };
        let _ =
            writeln!(text, "[[:db/cas [:counter/name \"steps\"] :counter/n {before} {step}] {{:step/number {step}}}]");
    }
    text
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn begin(flock: &Flock, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary("diachron"));
    command.args(arguments).args(["--transactor", &flock.transactor_url()]).env("XDG_CONFIG_HOME", "/nowhere");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn t_reaches(flock: &Flock, t: u64) {
    let mut client = Client::connect(&flock.transactor_url()).await;
    let begun = Instant::now();
    while client.transactor_status().await.databases[0].head.as_ref().is_none_or(|head| head.t < t) {
        assert!(begun.elapsed() < PATIENCE, "t {t} is not reached");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The counter stands at `count`, and every step was done once.
async fn all_are_there(peer: &Program, t: u64, count: u64) {
    let mut client = Client::connect(peer.url()).await;
    for (query, expected) in [
        ("[:find ?n . :where [_ :counter/n ?n]]", count),
        ("[:find (count ?e) . :where [?e :step/number]]", count),
        ("[:find (count ?n) . :where [_ :step/number ?n]]", count),
    ] {
        let found = client.q(query, vec![database_at_least("world", t)]).await.unwrap();
        assert_eq!(found.to_string(), expected.to_string(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_by_itself_when_the_transactor_is_killed() {
    const COUNT: u64 = 3000;
    let mut flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", "30000")]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    client.create_database("world").await;
    client.transact("world", SCHEMA).await.unwrap();
    let steps = file(flock.dir(), "steps.edn", &steps(COUNT, None));

    let load = begin(&flock, &["import", "world", "--bulk", &steps]);
    for t in [300, 1100, 2200] {
        t_reaches(&flock, t).await;
        flock.take_transactor().kill();
        flock.restart_transactor_with(&[("DIACHRON_NOVELTY_BYTES", "30000")]);
    }
    let (code, told, stderr) = ended(load);
    assert_eq!(code, 0, "{stderr}");
    assert!(told.starts_with("3001 transactions, "), "{told}");
    all_are_there(&peer, COUNT + 2, COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_load_goes_on_behind_what_is_committed() {
    const COUNT: u64 = 2000;
    let flock = Flock::start();
    let peer = flock.start_peer();
    let schema = file(flock.dir(), "schema.edn", SCHEMA);
    assert_eq!(diachron(&peer, &["import", "--create", "world", "--bulk", &schema], "").0, 0);
    let wrong = file(flock.dir(), "wrong.edn", &steps(COUNT, Some(1500)));
    let named = ["import", "world", "--bulk", "--load", "steps.1"];

    // Killed somewhere on the way.
    let mut killed = begin(&flock, &[&named[..], &[&wrong]].concat());
    t_reaches(&flock, 400).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    // The step that is wrong ends it, and what to do is said.
    let (code, _, stderr) = ended(begin(&flock, &[&named[..], &[&wrong]].concat()));
    assert_eq!(code, 5, "{stderr}");
    for said in
        ["cas", "wrong.edn line 1501, transaction 1501 of the file", "--load steps.1", "behind transaction 1500"]
    {
        assert!(stderr.contains(said), "{said} is not in {stderr}");
    }
    let mut transactor = Client::connect(&flock.transactor_url()).await;
    let head = transactor.transactor_status().await.databases.remove(0).head.unwrap();
    assert_eq!(head.t, 1 + 1500, "nothing behind the wrong step is committed");
    // Mended, it goes on; done, it does nothing more.
    let mended = file(flock.dir(), "mended.edn", &steps(COUNT, None));
    let (code, told, stderr) = ended(begin(&flock, &[&named[..], &[&mended]].concat()));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        told.starts_with("1500 transactions of this load were committed before, and left out\n501 transactions, "),
        "{told}"
    );
    let (code, told, stderr) = ended(begin(&flock, &[&named[..], &[&mended]].concat()));
    assert_eq!(code, 0, "{stderr}");
    assert!(told.ends_with("no transactions\n"), "{told}");
    all_are_there(&peer, COUNT + 2, COUNT).await;

    // Other files than those that the load began with are found out when there are fewer.
    let few = file(flock.dir(), "few.edn", &steps(10, None));
    let (code, _, stderr) = ended(begin(&flock, &[&named[..], &[&few]].concat()));
    assert!(code == 1 && stderr.contains("has 2001 transactions already, and the files have fewer"), "{stderr}");
    let (code, _, stderr) = ended(begin(&flock, &["import", "world", "--bulk", "--load", "a/b", &few]));
    assert!(code == 1 && stderr.contains("a load's name has 1 to 64 letters"), "{stderr}");
}
