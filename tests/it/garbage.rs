//! A log that is sealed, garbage that goes, and a verification, as their users see them.

use crate::command::diachron;
use diachron_tests::{Client, Flock, Program};

const SCHEMA: &str = "[{:db/ident :item/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
                       {:db/ident :item/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";

/// Indexes all the time, keeps nothing, and collects when it is asked.
const EAGER: [(&str, &str); 3] =
    [("DIACHRON_NOVELTY_BYTES", "65536"), ("DIACHRON_RETENTION", "0"), ("DIACHRON_GC_EVERY", "0")];

/// Transactions until so many indexes were named.
async fn write_until_indexed(client: &mut Client, transactor: &str, indexes: usize) -> u64 {
    let mut transactor = Client::connect(transactor).await;
    let (mut seen, mut t) = (Vec::new(), 0);
    while seen.len() <= indexes {
        let items: String = (0..40)
            .map(|i| format!("{{:item/id {i} :item/n {} :item/text \"{t} {i} {}\"}}", t + i, "x".repeat(40)))
            .collect();
        t = client.transact("items", &format!("[{items}]")).await.unwrap().t;
        let status = transactor.transactor_status().await;
        let index_seq = status.databases[0].head.as_ref().unwrap().index_seq;
        if !seen.contains(&index_seq) {
            seen.push(index_seq);
        }
        assert!(t < 10_000, "no index was named");
    }
    t
}

fn lines(peer: &Program, arguments: &[&str]) -> Vec<String> {
    let (code, stdout, stderr) = diachron(peer, arguments, "");
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_reads_on_what_nobody_needs_goes_and_all_of_it_verifies() {
    let flock = Flock::start_with(&EAGER);
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let t = write_until_indexed(&mut client, &flock.transactor_url(), 6).await;
    client.sync("items", Some(t)).await.unwrap();

    let log = lines(&peer, &["log", "items", "--format", "json"]);
    assert_eq!(log.len() as u64, t);

    let would = lines(&peer, &["gc", "items", "--dry-run"]);
    assert!(would[0].contains("would go") && would[0].contains("kept"), "{would:?}");
    let count = |lines: &[String], fate: &str| -> u64 {
        let rows = lines.iter().filter(|line| line.contains(fate) && line.contains("\"count\":"));
        let count = |line: &String| -> u64 {
            let rest = line.split("\"count\":").nth(1).unwrap();
            rest.split([',', '}']).next().unwrap().parse().unwrap()
        };
        rows.map(count).sum()
    };
    let would = lines(&peer, &["gc", "items", "--dry-run", "--format", "json"]);
    let gone = lines(&peer, &["gc", "items", "--transactor", &flock.transactor_url(), "--format", "json"]);
    assert!(count(&would, "would go") > 0 && count(&gone, "gone") >= count(&would, "would go"), "{would:?} {gone:?}");

    let verified = lines(&peer, &["verify", "items"]);
    assert!(verified.iter().any(|line| line == "no fault was found"), "{verified:?}");

    // A peer that begins now reads the index, and the log from its first record when it is asked for that.
    let other = flock.start_peer();
    let mut client = flock.client(&other).await;
    client.sync("items", Some(t)).await.unwrap();
    assert_eq!(lines(&other, &["log", "items", "--format", "json"]), log);
    let from_tree = lines(&other, &["log", "items", "--from", "2", "--to", "4", "--format", "json"]);
    assert_eq!(from_tree, log[1..3]);

    let (code, _, stderr) = diachron(&peer, &["gc", "nothing", "--dry-run"], "");
    assert!(code == 4 && stderr.contains("there is no database \"nothing\""), "{code}: {stderr}");
    let (code, _, stderr) = diachron(&peer, &["verify", "items", "--transactor", "http://127.0.0.1:1"], "");
    assert!(code == 3 && stderr.contains("http://127.0.0.1:1"), "{code}: {stderr}");
}

/// Killed while it indexes, seals and collects, a transactor goes on at its next start with all that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_transactor_killed_while_it_seals_and_collects_leaves_a_sound_store() {
    let kills = if std::env::var_os("DIACHRON_SLOW").is_some() { 20 } else { 3 };
    let mut flock = Flock::start_with(&EAGER);
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let mut t = 0;
    for _ in 0..kills {
        t = write_until_indexed(&mut client, &flock.transactor_url(), 2).await;
        let url = flock.transactor_url();
        let collecting = std::process::Command::new(diachron_tests::binary("diachron"))
            .args(["gc", "items", "--transactor", &url])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        client.transact("items", "[{:item/id 1 :item/n 7}]").await.unwrap();
        flock.take_transactor().kill();
        collecting.unwrap().wait().unwrap();
        flock.restart_transactor_with(&EAGER);
        while client.transact("items", "[{:item/id 2 :item/n 8}]").await.is_err() {}
    }
    let verified = lines(&peer, &["verify", "items"]);
    assert!(verified.iter().any(|line| line == "no fault was found"), "{verified:?}");
    assert!(lines(&peer, &["log", "items", "--format", "json"]).len() as u64 > t);
}
