//! Backups over real processes: made while transactions go on, verified, and damaged in every way.

use crate::command::{diachron, diachron_with};
use backup::{Backup, Progress, Restore, Snapshot, Target, Told, target};
use db::Error;
use diachron_tests::{Client, Flock, PATIENCE, Program, S3, database_as_of};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::query_input::Kind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tonic::transport::Endpoint;

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

const ITEMS: &str = "[:find ?name ?n :where [?e :item/name ?name] [?e :item/n ?n]]";
const EVER: &str = "[:find ?name ?n ?tx ?added :where [?e :item/n ?n ?tx ?added] [?e :item/name ?name]]";

/// What a peer says of a database up to a t.
#[derive(Debug, PartialEq)]
struct Answers {
    then: Vec<String>,
    ever: String,
    log: Vec<(u64, usize)>,
}

impl Answers {
    async fn of(peer: &Program, name: &str, t: u64) -> Answers {
        let mut client = Client::connect(peer.url()).await;
        let basis = tokio::time::timeout(PATIENCE, client.sync(name, None)).await.unwrap().unwrap();
        assert!(basis >= t, "{name} is at {basis}");
        let mut then = Vec::new();
        for t in [0, 1, 2, 3, t / 3, t / 2, t - 1, t] {
            then.push(client.q(ITEMS, vec![database_as_of(name, t)]).await.unwrap().to_string());
        }
        let Kind::Database(view) = database_as_of(name, t) else { unreachable!("a database") };
        let history = Kind::Database(v1::DatabaseView { history: true, ..view });
        let ever = client.q(EVER, vec![history]).await.unwrap().to_string();
        let log = client.log(name).await.unwrap().into_iter().map(|said| (said.t, said.datoms.len()));
        Answers { then, ever, log: log.take_while(|(at, _)| *at <= t).collect() }
    }
}

async fn filled(client: &mut Client, name: &str, transactions: usize) {
    client.create_database(name).await;
    client.transact(name, SCHEMA).await.unwrap();
    transact_much(client, name, "large").await;
    for n in 0..transactions {
        transact(client, name, n).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_database_of_another_store_and_goes_on() {
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    filled(&mut client, "world", 150).await;
    told(&peer, &["fork", "world", "trial", "--as-of", "90"]);
    for n in 0..60 {
        transact(&mut client, "trial", 5000 + n).await;
    }
    let place = flock.dir().join("backups");
    let url = place.to_str().unwrap();
    let made = told(&peer, &["backup", "world", url, "--format", "json"]);
    let t = number(&made, "t");
    assert_eq!(t, 152);
    let trial = told(&peer, &["backup", "trial", url, "--format", "json"]);
    assert_eq!(number(&trial, "t"), 150);
    assert!(number(&trial, "segments-sent") < number(&trial, "segments"), "they share some: {trial}");
    assert_eq!(diachron(&peer, &["backup", "verify", url], "").0, 0);
    // What comes after a backup is not in it.
    transact(&mut client, "world", 9999).await;
    let world = Answers::of(&peer, "world", t).await;

    // The store is empty, and is asked for nothing but what it is told.
    let mut other = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let there = other.start_peer();
    let (code, _, stderr) = diachron(&there, &["restore", url, "copy"], "");
    assert!(code == 1 && stderr.contains("several databases"), "{stderr}");
    let (code, _, stderr) = diachron(&there, &["restore", url, "copy", "--from", "word"], "");
    assert!(code == 4 && stderr.contains("no backup of \"word\""), "{stderr}");
    let copied = told(&there, &["restore", url, "copy", "--from", "world", "--format", "json"]);
    assert_eq!(number(&copied, "t"), t);
    assert_eq!(Answers::of(&there, "copy", t).await, world);
    let early = told(&there, &["restore", url, "early", "--from", "world", "--as-of", "60", "--format", "json"]);
    assert_eq!(number(&early, "t"), 60);
    assert_eq!(Answers::of(&there, "early", 60).await, Answers::of(&peer, "world", 60).await);
    // A fork, of its own time and of its origin's.
    let fork = told(&there, &["restore", url, "trial", "--from", "trial", "--format", "json"]);
    assert_eq!(number(&fork, "t"), 150);
    assert_eq!(Answers::of(&there, "trial", 150).await, Answers::of(&peer, "trial", 150).await);
    told(&there, &["restore", url, "before", "--from", "trial", "--as-of", "33"]);
    assert_eq!(Answers::of(&there, "before", 33).await, Answers::of(&peer, "world", 33).await);
    told(&there, &["restore", url, "between", "--from", "trial", "--as-of", "120"]);
    assert_eq!(Answers::of(&there, "between", 120).await, Answers::of(&peer, "trial", 120).await);

    let (code, _, stderr) = diachron(&there, &["restore", url, "copy", "--from", "world"], "");
    assert!(code == 5 && stderr.contains("there is a database \"copy\"; restore under another name"), "{stderr}");
    let (code, _, stderr) = diachron(&there, &["restore", url, "late", "--from", "world", "--as-of", "5000"], "");
    assert!(code == 1 && stderr.contains("goes to t 152"), "{stderr}");

    // All of them go on, and hold together.
    let mut client = Client::connect(there.url()).await;
    for (name, at) in [("copy", t), ("early", 60), ("trial", 150), ("before", 33), ("between", 120)] {
        for n in 0..40 {
            assert_eq!(transact(&mut client, name, 7000 + n).await, at + 1 + n as u64);
        }
        let verified = told(&there, &["verify", name]);
        assert!(verified.contains("no fault was found"), "{name}: {verified}");
    }
    told(&there, &["gc", "--all"]);
    told(&there, &["fork", "copy", "again", "--as-of", "100"]);
    assert_eq!(Answers::of(&there, "again", 100).await, Answers::of(&peer, "world", 100).await);
    other.take_transactor().terminate();
    other.restart_transactor();
    let cold = other.start_peer();
    assert_eq!(Answers::of(&cold, "copy", t).await, world);

    // And back again, where the origin is: the body out of line is sent neither there nor here.
    let copied = told(&cold, &["backup", "copy", url, "--format", "json"]);
    assert!(number(&copied, "bytes-sent") + 300_000 < number(&copied, "bytes"), "{copied}");
    assert_eq!(diachron(&cold, &["backup", "verify", url], "").0, 0);
    let back = told(&peer, &["restore", url, "back", "--from", "copy", "--format", "json"]);
    assert!(number(&back, "segments-there") > 0, "{back}");
    assert!(number(&back, "bytes-sent") + 300_000 < number(&copied, "bytes"), "{back}");
    assert_eq!(Answers::of(&peer, "back", t + 40).await, Answers::of(&cold, "copy", t + 40).await);
    told(&peer, &["verify", "back"]);
    let (code, _, stderr) = diachron(&cold, &["restore", url, "oldest", "--from", "copy", "--as-of", "20"], "");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(Answers::of(&cold, "oldest", 20).await, Answers::of(&peer, "world", 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_small_is_restored_from_records_alone_and_what_is_damaged_not_at_all() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    client.create_database("empty").await;
    filled(&mut client, "small", 10).await;
    let place = flock.dir().join("backups");
    let url = place.to_str().unwrap();
    let empty = told(&peer, &["backup", "empty", url, "--format", "json"]);
    assert_eq!((number(&empty, "t"), number(&empty, "segments")), (0, 0));
    let small = told(&peer, &["backup", "small", url, "--format", "json"]);
    assert_eq!((number(&small, "t"), number(&small, "segments")), (12, 1));
    told(&peer, &["restore", url, "void", "--from", "empty"]);
    assert_eq!(client.sync("void", None).await.unwrap(), 0);
    let other = Flock::start();
    let there = other.start_peer();

    let names = || told(&there, &["db", "list", "--format", "csv"]);
    let id = small.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
    let records = format!("records/{id}");
    for (words, what) in [(".body.", "has other bytes than its name says"), (&records, "has other bytes")] {
        let file = files(&place, words).pop().unwrap();
        let bytes = flip(&file);
        let (code, _, stderr) = diachron(&there, &["restore", url, "small", "--from", "small"], "");
        let name = file.strip_prefix(&place).unwrap().to_str().unwrap();
        assert!(code == 12 && stderr.contains(name) && stderr.contains(what), "{name}: {code} {stderr}");
        std::fs::remove_file(&file).unwrap();
        let (code, _, stderr) = diachron(&there, &["restore", url, "small", "--from", "small"], "");
        assert!(code == 12 && stderr.contains(name) && stderr.contains("is missing"), "{name}: {code} {stderr}");
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(names().lines().count(), 1, "nothing is left: {}", names());
    }
    told(&there, &["restore", url, "small", "--from", "small"]);
    assert_eq!(Answers::of(&there, "small", 12).await, Answers::of(&peer, "small", 12).await);
    told(&there, &["restore", url, "begun", "--from", "small", "--as-of", "2"]);
    let cold = other.start_peer();
    let mut client = Client::connect(cold.url()).await;
    assert_eq!(client.sync("begun", None).await.unwrap(), 2);
    for name in ["small", "begun"] {
        let n = transact(&mut client, name, 77).await;
        assert_eq!(n, if name == "small" { 13 } else { 3 });
        told(&cold, &["verify", name]);
    }
}

/// A place that fails at some put, as a disk that is full.
struct Failing {
    target: Arc<dyn Target>,
    left: AtomicI64,
}

impl Target for Failing {
    fn url(&self) -> &str {
        self.target.url()
    }

    fn put(&self, file: &str, bytes: &[u8]) -> db::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => Err(Error::new(db::Category::Busy, "db.error/backup-no-space", format!("no room for {file}"))),
            _ => self.target.put(file, bytes),
        }
    }

    fn settle(&self) -> db::Result<()> {
        self.target.settle()
    }

    fn get(&self, file: &str, bytes_max: u64) -> db::Result<Option<Vec<u8>>> {
        self.target.get(file, bytes_max)
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str, u64) -> db::Result<()>) -> db::Result<()> {
        self.target.list(folder, each)
    }
}

/// Ends what is told of the `n`th time that it is.
fn ends_at(n: i64) -> impl Fn(&Progress) -> db::Result<()> + Sync {
    let left = AtomicI64::new(n);
    move |_| match left.fetch_sub(1, Ordering::Relaxed) {
        ..=0 => Err(Error::interrupted("db.error/cancelled", "stopped")),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_anywhere_leaves_nothing_and_is_begun_again() {
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    filled(&mut client, "world", 150).await;
    let info = client.create_database("world").await;
    let id = stores::wire::database_id_of(&info.id).unwrap();
    let place = flock.dir().join("backups");
    let url = place.to_str().unwrap().to_owned();
    let store = stores::net::reader(&flock.transactor_url()).unwrap();

    // A backup that breaks off after each few files is none; the next one sends what is missing.
    let (mut sent, mut broke) = (0, 0);
    let made = loop {
        let target = Failing { target: target::open(&url, &Default::default()).unwrap(), left: AtomicI64::new(4) };
        let making = |told: &Told<'_>| {
            let now = db::Instant(0);
            let (name, target) = ("world", &target);
            backup::make(&Backup { store: &store, database: id, name, target, now, full: false, threads: 3, told })
        };
        // Each is stopped once as well, as by Ctrl-C.
        let stopped = tokio::task::block_in_place(|| making(&ends_at(broke % 5)));
        if let Ok(made) = stopped {
            break made;
        }
        match tokio::task::block_in_place(|| making(&|_| Ok(()))) {
            Ok(made) => break made,
            Err(error) => assert_eq!(error.code(), "db.error/backup-no-space", "{error}"),
        }
        let (code, _, stderr) = diachron(&peer, &["backup", "verify", &url], "");
        assert!(code == 4 && stderr.contains("there is no finished backup"), "{stderr}");
        let there = files(&place, "segments/").len();
        assert!(there > sent || broke < 3, "each goes on with what is there: {there}");
        (sent, broke) = (there, broke + 1);
    };
    assert!(broke > 3 && made.segments_sent < made.manifest.segments, "{broke}: {made:?}");
    assert_eq!(diachron(&peer, &["backup", "verify", &url], "").0, 0);

    // So is a restore, whoever goes away.
    let mut other = Flock::start();
    let there = other.start_peer();
    let url_there = other.transactor_url();
    let snapshot = Snapshot::new(target::open(&url, &Default::default()).unwrap(), made.manifest);
    let restore = async |told: &Told<'_>| {
        let mut admin = AdminClient::new(Endpoint::from_shared(url_there.clone()).unwrap().connect_lazy());
        let (snapshot, name) = (&snapshot, "copy");
        loop {
            let restore = Restore { snapshot, name, as_of: None, threads: 2, told };
            match backup::restore(&mut admin, &restore).await {
                // That the one before has gone away is not seen yet.
                Err(error) if error.category() == db::Category::Busy => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    };
    for n in [0, 1, 2] {
        let stopped = restore(&ends_at(n)).await;
        assert_eq!(stopped.unwrap_err().code(), "db.error/cancelled", "after {n}");
        assert_eq!(told(&there, &["db", "list", "--format", "csv"]).lines().count(), 1);
    }
    let transactor = std::sync::Mutex::new(Some(other.take_transactor()));
    let seen = AtomicI64::new(0);
    let kill = |_: &Progress| {
        if seen.fetch_add(1, Ordering::Relaxed) == 1 {
            transactor.lock().unwrap().take().unwrap().kill();
        }
        Ok(())
    };
    assert_eq!(restore(&kill).await.unwrap_err().category(), db::Category::Unavailable);
    other.restart_transactor();
    assert_eq!(told(&there, &["db", "list", "--format", "csv"]).lines().count(), 1);
    let restored = restore(&|_| Ok(())).await.unwrap();
    assert!(restored.segments_there > 0, "what came before the end stays: {restored:?}");
    assert_eq!(Answers::of(&there, "copy", 152).await, Answers::of(&peer, "world", 152).await);
}

/// The story of a directory once more, in short, where the place is a server of objects that answers in small pages.
#[tokio::test(flavor = "multi_thread")]
async fn backups_go_to_s3_and_come_back() {
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    filled(&mut client, "world", 60).await;
    let s3 = S3::start("bucket").await;
    let run = |arguments: &[&str], key: &str| {
        let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "here")];
        let endpoint = ["--s3-endpoint", s3.endpoint()];
        diachron_with(&peer, &[arguments, &endpoint].concat(), &environment)
    };
    let url = "s3://bucket/some/where";
    let (code, _, stderr) = run(&["backup", "list", url], "key");
    assert!(code == 4 && stderr.contains("there is no backup at s3://bucket/some/where"), "{code} {stderr}");
    let (code, made, stderr) = run(&["backup", "world", url, "--format", "json"], "key");
    assert_eq!(code, 0, "{stderr}");
    let t = number(&made, "t");
    transact(&mut client, "world", 5).await;
    let (code, more, stderr) = run(&["backup", "world", url, "--format", "json"], "key");
    assert!(code == 0 && number(&more, "t") == t + 1 && number(&more, "bytes-sent") < 200_000, "{more}{stderr}");
    assert_eq!(s3.keys().iter().filter(|key| key.contains("some/where/manifests/")).count(), 2);
    let (code, verified, stderr) = run(&["backup", "verify", url], "key");
    assert!(code == 0 && verified.contains("no fault was found"), "{verified}{stderr}");
    let (code, restored, stderr) = run(&["restore", url, "back", "--as-of", &t.to_string()], "key");
    assert!(
        code == 0 && restored.starts_with(&format!("back restored from world at t {t}, id ")),
        "{restored}{stderr}"
    );
    assert_eq!(Answers::of(&peer, "back", t).await, Answers::of(&peer, "world", t).await);

    let body = s3.keys().into_iter().find(|key| key.contains(".body.")).unwrap();
    s3.change(&body, |bytes| bytes[7] ^= 1);
    let (code, verified, _) = run(&["backup", "verify", url], "key");
    assert!(code == 12 && verified.contains("has other bytes than its name says"), "{verified}");
    // Who may not, hears so; what is named with a secret is refused; and no secret is ever shown.
    let (code, _, stderr) = run(&["backup", "world", url], "nobody");
    assert!(code == 9 && stderr.contains("AWS_ACCESS_KEY_ID"), "{code} {stderr}");
    let (code, _, stderr) = run(&["backup", "world", "s3://key:secret@bucket/x"], "key");
    assert!(code == 1 && stderr.contains("credentials come from"), "{code} {stderr}");
    let pods = client.pods(&flock.transactor_url(), "backup/").await;
    assert_eq!(pods.len(), 1, "{pods:?}");
}

/// A backup that is made after an erasure has nothing of what was erased, and is whole; one of before is named by the
/// erasure, and still has it.
#[tokio::test(flavor = "multi_thread")]
async fn backups_after_an_erasure_have_nothing_of_it_and_those_of_before_are_named() {
    const MARKER: &str = "QWERTZUIOPASDFGHJKLYXCVB";
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    filled(&mut client, "world", 60).await;
    for n in 0..10 {
        let said = format!("[{{:item/name \"{MARKER} {n}\" :item/n {n}}} {{:item/name \"item {n}\" :item/n 1}}]");
        client.transact("world", &said).await.unwrap();
        transact(&mut client, "world", 500 + n).await;
    }
    let (before, after) = (flock.dir().join("before"), flock.dir().join("after"));
    let (before, after) = (before.to_str().unwrap(), after.to_str().unwrap());
    let old = number(&told(&peer, &["backup", "world", before, "--format", "json"]), "t");
    let entities: Vec<String> = (0..10).map(|n| format!("[:item/name \"{MARKER} {n}\"]")).collect();
    let mut excise = vec!["excise", "world", "--yes"];
    excise.extend(entities.iter().flat_map(|entity| ["--entity", entity]));
    let report = told(&peer, &excise);
    assert!(report.contains(before), "the backup of before is named: {report}");

    for n in 0..30 {
        transact(&mut client, "world", 800 + n).await;
    }
    // To the place of the old one, of which it may take nothing that was erased, and to a new one.
    let new = number(&told(&peer, &["backup", "world", before, "--format", "json"]), "t");
    assert_eq!(number(&told(&peer, &["backup", "world", after, "--format", "json"]), "t"), new);
    for url in [before, after] {
        let (code, stdout, stderr) = diachron(&peer, &["backup", "verify", url], "");
        assert_eq!(code, 0, "{url}: {stdout}{stderr}");
    }
    let other = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let there = other.start_peer();
    let (early, world) = (old.to_string(), Answers::of(&peer, "world", new).await);
    told(&there, &["restore", after, "copy"]);
    told(&there, &["restore", before, "again"]);
    told(&there, &["restore", after, "early", "--as-of", &early]);
    assert_eq!(Answers::of(&there, "copy", new).await, world);
    assert_eq!(Answers::of(&there, "again", new).await, world);
    assert_eq!(Answers::of(&there, "early", old).await, Answers::of(&peer, "world", old).await);
    let with_marker = files(other.dir(), "").into_iter().filter(|path| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()))
    });
    assert_eq!(with_marker.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    for name in ["copy", "again", "early"] {
        let names = "[:find (count ?name) . :where [_ :item/name ?name] [(.startsWith ?name \"QWERTZ\")]]";
        let names = names.replace(".startsWith", "clojure.string/starts-with?");
        let mut client = Client::connect(there.url()).await;
        let found = client.q(&names, vec![database_as_of(name, old)]).await.unwrap();
        assert_eq!(found.to_string(), "nil", "{name}");
        assert!(told(&there, &["verify", name]).contains("no fault was found"), "{name}");
    }
    // What was kept of before has it still.
    told(&there, &["restore", before, "old", "--t", &early]);
    let mut client = Client::connect(there.url()).await;
    let query = format!("[:find ?n . :where [?e :item/name \"{MARKER} 3\"] [?e :item/n ?n]]");
    assert_eq!(client.q(&query, vec![database_as_of("old", old)]).await.unwrap().to_string(), "3");
}
