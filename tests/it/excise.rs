//! Erasure over real processes: a marker is planted in every kind of place, and then looked for in every file, in every
//! decoded segment and record, and through every way of asking.

use crate::command::diachron;
use crate::indexing::peer_once;
use crate::kills::below;
use db::index::segment::{self, Segment};
use db::{Category, Result};
use diachron_tests::{Client, Flock, PATIENCE, Program, Proxy, database, database_as_of, seed};
use process::SeededEntropy;
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::excise_response::Kind;
use std::path::Path;
use std::time::Instant;
use stores::log::LogReader;

const SCHEMA: &str = r#"[
    {:db/ident :person/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
    {:db/ident :person/notes :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
    {:db/ident :person/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
    {:db/ident :person/address :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/isComponent true}
    {:db/ident :person/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
    {:db/ident :address/street :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}]"#;

/// So little that index jobs run all the time.
const EAGER: [(&str, &str); 1] = [("DIACHRON_NOVELTY_BYTES", "20000")];
const NOTES: &str = "[:find ?name ?note :where [?e :person/name ?name] [?e :person/notes ?note]]";
const STREETS: &str = "[:find ?street :where [_ :address/street ?street]]";

/// Bytes that nothing else has. No letter comes twice in a row, so that no compression makes less of them.
fn marker(random: &SeededEntropy) -> String {
    let mut letter = 0;
    let letters = (0..24).map(|_| {
        letter = (letter + 1 + below(random, 25)) % 26;
        char::from(b'A' + letter as u8)
    });
    letters.collect()
}

/// What a person that is to go has, and what others have beside it.
async fn write(client: &mut Client, victim: &str, marker: &str, from: usize, rounds: usize) -> u64 {
    let mut t = 0;
    for n in from..from + rounds {
        let said = format!(
            r#"[{{:person/name "p{}" :person/notes "note {n} {}" :person/address {{:address/street "street {n}"}}}}
                {{:db/id "{marker}-tempid" :person/name "{victim}" :person/n {n} :person/notes "{marker} {n}"
                  :person/address {{:address/street "{marker} street {n}"}}}}
                {{:person/name "p1" :person/friend "{marker}-tempid"}}]"#,
            n % 5,
            "x".repeat(n % 60)
        );
        t = client.transact("world", &said).await.unwrap().t;
        if n % 4 == 3 {
            let said = format!(r#"[[:db/retract [:person/name "{victim}"] :person/notes "{marker} {n}"]]"#);
            t = client.transact("world", &said).await.unwrap().t;
        }
    }
    t
}

/// A transaction so large that its body lies out of line.
async fn write_large(client: &mut Client, victim: &str, marker: &str) -> u64 {
    let said = format!(
        r#"[{{:person/name "{victim}" :person/notes "{marker} {}"}} {{:person/name "p2" :person/n 1}}]"#,
        "y".repeat(300 << 10)
    );
    client.transact("world", &said).await.unwrap().t
}

/// All that a peer says, as text: now, as of some t's, its history and its log.
async fn all_answers(client: &mut Client, newest: u64) -> Vec<String> {
    let begun = Instant::now();
    loop {
        match try_all_answers(client, newest).await {
            // Just after a kill it may not have found its transactor's storage again.
            Err(error) if error.category() == Category::Unavailable && begun.elapsed() < PATIENCE => {}
            answers => return answers.unwrap(),
        }
    }
}

async fn try_all_answers(client: &mut Client, newest: u64) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for query in [NOTES, STREETS] {
        for t in [2, newest / 3, newest / 2, newest - 1, newest] {
            answers.push(client.q(query, vec![database_as_of("world", t)]).await?.to_string());
        }
        let view = v1::DatabaseView { name: "world".into(), history: true, ..Default::default() };
        let history = v1::query_input::Kind::Database(view);
        let query = query.replace("]]", " ?tx ?op]]").replacen("[:find", "[:find ?tx ?op", 1);
        answers.push(client.q(&query, vec![history]).await?.to_string());
    }
    let log = client.log("world").await?;
    assert_eq!(log.iter().map(|said| said.t).collect::<Vec<_>>(), (1..=newest).collect::<Vec<_>>());
    answers.push(format!("{log:?}"));
    Ok(answers)
}

/// What a peer says of its database once it knows a record.
async fn ready_at(peer: &Program, seq: u64) -> v1::PeerDatabaseStatus {
    peer_once(&mut Client::connect(peer.url()).await, |database| database.readable && database.seq >= seq).await
}

fn contains(bytes: &[u8], marker: &str) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
}

/// The files below a directory that have a marker in their bytes.
fn files_with(dir: &Path, marker: &str) -> Vec<String> {
    let (mut left, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::fs::read(&path).is_ok_and(|bytes| contains(&bytes, marker)) {
            found.push(path.strip_prefix(dir).unwrap().display().to_string());
        }
    }
    found
}

/// The cached segments below a directory that have a marker once they are decoded.
fn cached_with(dir: &Path, db: &db::Db, marker: &str) -> Vec<String> {
    let (mut left, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::fs::read(&path).is_ok_and(|bytes| decoded_has(&bytes, db, marker)) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn decoded_has(bytes: &[u8], db: &db::Db, marker: &str) -> bool {
    let plain = segment::plain(bytes).unwrap_or_default();
    let rows =
        Segment::decode(bytes, &db.schema().entities()).map(|segment| format!("{segment:?}")).unwrap_or_default();
    contains(&plain, marker) || contains(rows.as_bytes(), marker)
}

/// Opens a store that nobody has, and looks for a marker in all its records and segments, decoded. Gives the value of its
/// newest index.
fn check_store(flock: &Flock, marker: &str) -> db::Db {
    let store = storage::open(&flock.store(), storage::Options::default()).unwrap();
    let (journal, segments) = (store.journal(), store.segments());
    let id = journal.list_pods("db/").unwrap()[0].strip_prefix("db/").unwrap().to_owned();
    let id = storage::DatabaseId(std::array::from_fn(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
    let cache = cache::SegmentCache::open(&cache::Config { prefetch: 0, ..cache::Config::default() }).unwrap();
    let fetch: std::sync::Arc<dyn cache::Fetch> = std::sync::Arc::new(stores::trees::Stored(segments.clone()));
    let named = |reader: cache::Reader, body: &db::log::IndexBody| {
        let meta = cache.meta(reader.lineage, body, &*fetch)?;
        let trees = cache.trees_of(reader, body, &meta, fetch.clone())?;
        Ok((meta, trees))
    };
    let db = transactor::open::replay(&*journal, &*segments, &named, id).unwrap().replay.db().clone();
    let mut seq = 1;
    loop {
        let records = LogReader::new(&*journal, &*segments).read(id, seq, 1 << 20).unwrap();
        let Some(last) = records.last() else { break };
        seq = last.seq + 1;
        for record in records {
            assert!(!contains(&record.bytes, marker), "record {} has it", record.seq);
        }
    }
    for key in segments.list(id, None, usize::MAX).unwrap() {
        let bytes = segments.get(&key).unwrap().unwrap();
        assert!(!contains(&bytes, marker) && !decoded_has(&bytes, &db, marker), "{key:?} has it");
    }
    assert_eq!(journal.list_pods("erasing/").unwrap(), Vec::<String>::new());
    drop((journal, segments, fetch));
    store.close().unwrap();
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_20_a_marker_that_was_erased_is_nowhere_any_more() {
    let random = SeededEntropy::new(seed());
    let marker = marker(&random);
    let mut flock = Flock::start_with(&EAGER);
    let dir = flock.dir().to_owned();
    let caches = |name: &str| {
        let dir = dir.join(name);
        vec!["--cache-dir".to_owned(), dir.to_str().unwrap().to_owned(), "--cache-disk-free-bytes".into(), "0".into()]
    };
    let start = |flock: &Flock, name: &str| {
        let args = caches(name);
        flock.start_peer_args(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (follows, goes) = (start(&flock, "cache-follows"), start(&flock, "cache-goes"));
    let line = Proxy::start(&flock.transactor_url().replace("http://", "")).await;
    let lags = flock.start_peer_of(&line.url());
    let mut client = Client::connect(follows.url()).await;
    client.create_database("world").await;
    client.transact("world", SCHEMA).await.unwrap();
    write(&mut client, "victim", &marker, 0, 40).await;
    let t = write_large(&mut client, "victim", &marker).await;
    for peer in [&follows, &goes, &lags] {
        let mut client = Client::connect(peer.url()).await;
        client.sync("world", Some(t)).await.unwrap();
        assert!(all_answers(&mut client, t).await.iter().all(|answer| answer.contains(&marker)));
    }
    // One is told of every transaction, one is not there any more, and one is cut off before the last ones.
    let request = v1::TxReportsRequest { database: "world".into(), ..Default::default() };
    let _reports = client.peer.tx_reports(request).await.unwrap();
    assert!(goes.terminate().0.success());
    line.cut();
    let newest = write(&mut client, "victim", &marker, 40, 20).await;
    assert!(!files_with(&dir, &marker).is_empty());

    let erase = ["excise", "world", "--entity", "[:person/name \"victim\"]"];
    let (code, would, stderr) = diachron(&follows, &[&erase[..], &["--dry-run"]].concat(), "");
    assert!(code == 0 && would.contains("would be erased"), "{would}{stderr}");
    let (code, _, stderr) = diachron(&follows, &erase, "");
    assert!(code == 2 && stderr.contains("--yes"), "{code} {stderr}");
    let (code, told, stderr) = diachron(&follows, &[&erase[..], &["--yes", "--format", "json"]].concat(), "");
    assert_eq!(code, 0, "{stderr}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    // The victim, an address a round; one refers to it.
    assert_eq!((told["entities"].as_u64(), told["references"].as_u64()), (Some(61), Some(1)));
    let erase_seq = told["erase-seq"].as_u64().unwrap();

    // Whoever follows has dropped it, without a restart.
    let kept = ready_at(&follows, erase_seq).await;
    assert_eq!(kept.basis_t, newest);
    let answers = all_answers(&mut client, newest).await;
    assert!(answers.iter().all(|answer| !answer.contains(&marker) && !answer.contains("victim")));
    assert!(answers[4].contains("note 59") && answers[0].contains("note 0"), "all else is there: {}", answers[4]);
    let cold = flock.start_peer();
    let again = start(&flock, "cache-goes");
    line.open();
    for peer in [&cold, &again, &lags] {
        ready_at(peer, erase_seq).await;
        assert_eq!(all_answers(&mut Client::connect(peer.url()).await, newest).await, answers);
    }
    let (code, told, stderr) = diachron(&follows, &["verify", "world"], "");
    assert!(code == 0 && told.contains("no fault was found"), "{told}{stderr}");
    // Life goes on with all of them.
    let t = client.transact("world", r#"[{:person/name "victim" :person/n 1}]"#).await.unwrap().t;
    for peer in [&cold, &again, &lags] {
        let mut client = Client::connect(peer.url()).await;
        client.sync("world", Some(t)).await.unwrap();
        let found =
            client.q("[:find ?n . :where [?e :person/name \"victim\"] [?e :person/n ?n]]", vec![database("world")]);
        assert_eq!(found.await.unwrap().to_string(), "1");
    }
    assert_eq!(files_with(&dir, &marker), Vec::<String>::new());
    assert!(flock.take_transactor().terminate().0.success());
    let db = check_store(&flock, &marker);
    for name in ["cache-follows", "cache-goes"] {
        assert_eq!(cached_with(&dir.join(name), &db, &marker), Vec::<String>::new());
    }
    flock.restart_transactor();
    assert_eq!(files_with(&dir, &marker), Vec::<String>::new());
    let (code, told, stderr) = diachron(&cold, &["verify", "world"], "");
    assert!(code == 0 && told.contains("no fault was found"), "{told}{stderr}");
}

async fn admin(url: &str) -> AdminClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap();
    AdminClient::new(endpoint.connect_lazy())
}

fn victim(name: &str, dry_run: bool) -> v1::ExciseRequest {
    let entities = vec![format!("[:person/name {name:?}]")];
    v1::ExciseRequest { database: "world".into(), entities, dry_run, ..Default::default() }
}

/// Asks for an erasure until the transactor answers with a report.
async fn excise(url: &str, request: v1::ExciseRequest) -> std::result::Result<v1::ExciseReport, tonic::Status> {
    let mut stream = admin(url).await.excise(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if let Some(Kind::Report(report)) = message.kind {
            return Ok(report);
        }
    }
    Err(tonic::Status::unavailable("it ended without a report"))
}

const STAGES: [&str; 7] = ["finding", "rewriting", "naming", "sealing", "deleting", "scrubbing", "none"];

/// `kill -9` after any word of progress: the erasure happened whole or not at all, and whole it is finished by the start.
/// `DIACHRON_SLOW` makes it forty rounds.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_happened_whole_or_not_at_all() {
    let rounds = if std::env::var_os("DIACHRON_SLOW").is_some() { 40 } else { 4 };
    let random = SeededEntropy::new(seed());
    let mut flock = Flock::start_with(&EAGER);
    let peer = flock.start_peer();
    let mut client = Client::connect(peer.url()).await;
    client.create_database("world").await;
    client.transact("world", SCHEMA).await.unwrap();
    let (mut voids, mut wholes) = (0, 0);
    let mut marks = Vec::new();
    for round in 0..rounds {
        let (name, marker) = (format!("victim {round}"), marker(&random));
        write(&mut client, &name, &marker, round * 10, 8).await;
        let newest = write_large(&mut client, &name, &marker).await;
        let url = flock.transactor_url();
        let before = excise(&url, victim(&name, true)).await.unwrap();
        // The first word of some stage, or the report.
        let stage = STAGES[below(&random, STAGES.len() as u64) as usize];
        let mut stream = admin(&url).await.excise(victim(&name, false)).await.unwrap().into_inner();
        while let Some(word) = stream.message().await.unwrap() {
            match word.kind.unwrap() {
                Kind::Progress(progress) if progress.stage == stage => break,
                Kind::Progress(_) => {}
                Kind::Report(_) => break,
            }
        }
        for _ in 0..below(&random, 2000) {
            tokio::task::yield_now().await;
        }
        flock.take_transactor().kill();
        flock.restart_transactor_with(&EAGER);
        let found = loop {
            match excise(&url, victim(&name, true)).await {
                Ok(found) => break found.lives,
                // The name stands for nobody any more.
                Err(status) if status.code() == tonic::Code::NotFound => break 0,
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
            }
        };
        println!("round {round}, {stage}: {found} of {} lives are there", before.lives);
        assert!(found == 0 || found == before.lives, "whole or not at all: {found} of {}", before.lives);
        let (code, told, stderr) = diachron(&peer, &["verify", "world", "--transactor", &url], "");
        assert!(code == 0, "{told}{stderr}");
        if found > 0 {
            voids += 1;
            excise(&url, victim(&name, false)).await.unwrap();
        } else {
            wholes += 1;
        }
        marks.push(marker);
        client.sync("world", Some(newest)).await.unwrap();
        // The peer meets its record, after whichever interruption.
        settled(&mut client, &url).await;
        for marker in &marks {
            let answers = all_answers(&mut client, newest).await;
            assert!(answers.iter().all(|answer| !answer.contains(marker)), "a peer has what was erased");
        }
    }
    println!("{voids} void, {wholes} whole");
    // What a start had to finish is finished before the next erasure begins.
    let last = marker(&random);
    write(&mut client, "last", &last, 1000, 1).await;
    excise(&flock.transactor_url(), victim("last", false)).await.unwrap();
    marks.push(last);
    let dir = flock.dir().to_owned();
    for marker in &marks {
        assert_eq!(files_with(&dir, marker), Vec::<String>::new());
    }
    assert!(flock.take_transactor().terminate().0.success());
    for marker in &marks {
        check_store(&flock, marker);
    }
}

/// Waits until a peer has all that the transactor has written.
async fn settled(client: &mut Client, transactor: &str) {
    let status = Client::connect(transactor).await.transactor_status().await;
    let head = status.databases[0].head.clone().unwrap();
    peer_once(client, |database| database.seq >= head.seq).await;
}
