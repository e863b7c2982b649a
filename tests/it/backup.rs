//! Backups over real processes: made while transactions go on, verified, and damaged in every way.

use crate::command::diachron;
use diachron_tests::{Client, Flock, Program};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/index true}
                       {:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}]";
/// So little that index jobs run all the time.
const EAGER: &str = "20000";

async fn transact(client: &mut Client, database: &str, n: usize) -> u64 {
    let tx_data = format!("[{{:item/name \"item {}\" :item/n {n}}}]", n % 40);
    client.transact(database, &tx_data).await.unwrap().t
}

/// One whose body lies out of line.
async fn transact_much(client: &mut Client, database: &str, name: &str) -> u64 {
    let doc = (0..300_000 / 20).map(|n| format!("{n:020}")).collect::<String>();
    client.transact(database, &format!("[{{:item/name {name:?} :db/doc {doc:?}}}]")).await.unwrap().t
}

/// What the command says when it does what it is told.
fn told(peer: &Program, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = diachron(peer, arguments, "");
    assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// A number in JSON of one line.
fn number(json: &str, key: &str) -> u64 {
    let words = format!("\"{key}\":");
    let rest = &json[json.find(&words).unwrap_or_else(|| panic!("no {key} in {json}")) + words.len()..];
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// All files below a directory whose path has some words.
fn files(dir: &Path, words: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path, words)),
            false if path.to_str().unwrap().contains(words) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn flip(path: &Path) -> Vec<u8> {
    let whole = std::fs::read(path).unwrap();
    let mut changed = whole.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    std::fs::write(path, changed).unwrap();
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_beside_writers_send_what_is_new_and_tell_of_damage() {
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    client.create_database("world").await;
    let place = flock.dir().join("backups");
    let url = place.to_str().unwrap();
    let (code, _, stderr) = diachron(&peer, &["backup", "list", url], "");
    assert!(code == 4 && stderr.contains("there is no backup at file:"), "{stderr}");

    let small = told(&peer, &["backup", "world", url, "--format", "json"]);
    assert_eq!(number(&small, "t"), 0);
    client.transact("world", SCHEMA).await.unwrap();
    transact_much(&mut client, "world", "large").await;
    for n in 0..200 {
        transact(&mut client, "world", n).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let (peer_url, seen) = (peer.url().to_owned(), done.clone());
    let writing = tokio::spawn(async move {
        let mut client = Client::connect(&peer_url).await;
        let mut n = 1000;
        while !seen.load(Ordering::Relaxed) || n < 1100 {
            transact(&mut client, "world", n).await;
            n += 1;
        }
    });
    let first = told(&peer, &["backup", "world", url, "--format", "json"]);
    assert!(number(&first, "t") >= 202 && number(&first, "segments") > 10, "{first}");
    let second = told(&peer, &["backup", "world", url, "--format", "json"]);
    done.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    // The body out of line alone is more than what came between the two.
    assert!(number(&second, "bytes") > 300_000 && number(&second, "bytes-sent") < 200_000, "{second}");
    let third = told(&peer, &["backup", "world", url, "--format", "json"]);
    let again = told(&peer, &["backup", "world", url, "--format", "json"]);
    assert_eq!((number(&again, "t"), number(&again, "bytes-sent")), (number(&third, "t"), 0));

    let listed = told(&peer, &["backup", "list", url, "--format", "csv"]);
    let ts: Vec<u64> = listed.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse().unwrap()).collect();
    let expected = [&small, &first, &second, &third].map(|json| number(json, "t"));
    assert_eq!(ts, expected, "{listed}");
    for t in expected {
        let verified = told(&peer, &["backup", "verify", url, "--t", &t.to_string()]);
        assert!(verified.contains("no fault was found"), "{verified}");
    }
    // Nobody but the transactor that has the database can be told.
    let pods: Vec<String> = flock.client(&peer).await.pods(&flock.transactor_url(), "backup/").await;
    assert_eq!(pods.len(), 1, "{pods:?}");

    verify_tells_of(&peer, &place);
}

/// Each kind of damage ends verification with the code of damage, and is named by its file.
fn verify_tells_of(peer: &Program, place: &Path) {
    let url = place.to_str().unwrap();
    let damaged = |file: &Path, words: &str| {
        let (code, stdout, stderr) = diachron(peer, &["backup", "verify", url, "--format", "json"], "");
        let name = file.file_name().unwrap().to_str().unwrap();
        // Segments are named in parts, the last of which is the hash.
        let name = name.rsplit('.').find(|part| *part != "edn").unwrap();
        assert!(code == 12 && stdout.contains(name) && stdout.contains(words), "{name}: {code} {stdout}{stderr}");
    };
    let whole = |file: &Path, bytes: &[u8]| std::fs::write(file, bytes).unwrap();
    let newest = |words: &str| files(place, words).pop().unwrap();
    let body = newest(".body.");
    let bytes = flip(&body);
    damaged(&body, "has other bytes than its name says");
    std::fs::remove_file(&body).unwrap();
    damaged(&body, "is missing");
    whole(&body, &bytes);
    // The newest backup needs its own index, whichever of these it is.
    let manifest = newest("manifests/");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let records = newest("records/");
    let bytes = flip(&records);
    damaged(&records, "has other bytes than its name says");
    whole(&records, &bytes);
    whole(&manifest, &text.as_bytes()[..text.len() - 10]);
    damaged(&manifest, "is not whole");
    whole(&manifest, text.replace(":t ", ":t 1").as_bytes());
    damaged(&manifest, "is not whole");
    whole(&manifest, text.replace("diachron-backup 1\n", "diachron-backup 9\n").as_bytes());
    damaged(&manifest, "is of version 9");
    whole(&manifest, text.as_bytes());
    assert_eq!(diachron(peer, &["backup", "verify", url], "").0, 0);
    let marker = place.join("diachron-backup");
    whole(&marker, b"diachron-backup 9\n");
    let (code, _, stderr) = diachron(peer, &["backup", "verify", url], "");
    assert!(code == 10 && stderr.contains("is of version 9"), "{stderr}");
    whole(&marker, b"diachron-backup 1\n");

    // What was lost is sent again where that is asked for.
    let lost = [files(place, ".index-"), files(place, ".body.")].concat();
    lost.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(diachron(peer, &["backup", "verify", url], "").0, 12);
    told(peer, &["backup", "world", url, "--full"]);
    assert_eq!(diachron(peer, &["backup", "verify", url], "").0, 0);
    let elsewhere = place.parent().unwrap();
    let (code, _, stderr) = diachron(peer, &["backup", "world", elsewhere.to_str().unwrap()], "");
    assert!(code == 5 && stderr.contains("give an empty place"), "{stderr}");
}
