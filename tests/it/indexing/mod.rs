//! Index jobs all the time, in real processes: every answer is what it would be without an index.

mod answers;
mod kills;
mod load;
mod plant;

use crate::kills::below;
use crate::serving::{channel, comes_to_serve};
use answers::{Said, answers};
use diachron_tests::{Client, PATIENCE, Program, seed};
use load::{Load, SCHEMA, WRITERS, items};
pub(crate) use plant::peer_once;
use plant::{Plant, transactor_once};
use process::SeededEntropy;
use proto::v1::{CacheTier, FollowState};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const TRANSACTIONS: usize = 50;
/// Questions are asked at every so manyeth t, again and again.
const STEP: u64 = 12;

/// What was answered at each t, whoever was asked first.
type Answered = Arc<Mutex<BTreeMap<u64, Vec<String>>>>;

/// Asks at a t; the answers must be those that were given before, if any were.
async fn ask(client: &mut Client, t: u64, answered: &Answered) {
    let found = answers(client, t).await;
    let before = answered.lock().unwrap().entry(t).or_insert_with(|| found.clone()).clone();
    for (before, found) in before.iter().zip(&found) {
        assert_eq!(before, found);
    }
}

/// Asks at times that were reached, until all is written.
async fn keep_asking(mut client: Client, load: Arc<Load>, answered: Answered, seed: u64) {
    let random = SeededEntropy::new(seed);
    while !load.done.load(Ordering::SeqCst) {
        let steps = load.newest() / STEP;
        if steps == 0 {
            tokio::task::yield_now().await;
            continue;
        }
        // As often the newest as any other.
        let step = if below(&random, 2) == 0 { steps } else { 1 + below(&random, steps) };
        ask(&mut client, step * STEP, &answered).await;
        load.pace.as_ref().unwrap().fetch_add(STEP / 2, Ordering::SeqCst);
    }
}

/// A peer that is ready.
async fn ready(plant: &Plant, more: &[&str]) -> (Program, Client) {
    let peer = plant.peer(more);
    comes_to_serve(channel(peer.url()).await, "diachron.v1.Peer").await;
    let client = Client::connect(peer.url()).await;
    (peer, client)
}

/// Writers and readers beside jobs and adoptions; then whoever begins with the index. Gives all that was answered.
async fn story(plant: &mut Plant) -> Answered {
    let seed = seed();
    let (first, second) = (plant.peer(&[]), plant.peer(&[]));
    let mut client = Client::connect(first.url()).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", &items(seed)).await.unwrap();
    let load = Arc::new(Load::paced(3 * STEP));
    let answered = Answered::default();
    let mut readers = tokio::task::JoinSet::new();
    for (number, peer) in [&first, &second].into_iter().enumerate() {
        let client = Client::connect(peer.url()).await;
        readers.spawn(keep_asking(client, load.clone(), answered.clone(), seed.wrapping_add(100 + number as u64)));
    }
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let url = if number % 2 == 0 { first.url() } else { second.url() };
        let client = Client::connect(url).await;
        writers.spawn(load.clone().write(client, false, number, TRANSACTIONS, seed));
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    load.done.store(true, Ordering::SeqCst);
    while let Some(ended) = readers.join_next().await {
        ended.unwrap();
    }

    // What novelty is left is less than a job is made for.
    let threshold = |indexing: Option<proto::v1::IndexingStatus>| indexing.unwrap().threshold_bytes;
    let mut transactor = Client::connect(&plant.url()).await;
    let status = transactor_once(&mut transactor, |status| {
        status.databases.iter().all(|database| database.novelty_bytes < threshold(status.indexing))
    });
    let status = status.await;
    let (indexing, index_t) = (status.indexing.unwrap(), status.databases[0].index_t);
    println!("{indexing:?}, index-t {index_t} of {}", load.newest());
    assert!(indexing.jobs >= 4 && indexing.failures == 0, "{indexing:?}");
    let asked = answered.lock().unwrap().keys().copied().collect::<Vec<_>>();
    println!("asked at {asked:?}");
    assert!(asked.len() >= 6 && asked[0] <= index_t, "{asked:?}");

    // Both peers come to read the newest index, and give the answers of before; so does one that begins with it.
    let newest = load.newest();
    let (third, mut cold) = ready(plant, &[]).await;
    a_query_counts_what_it_reads(&mut cold).await;
    let mut log = None;
    for peer in [&first, &second, &third] {
        let mut client = Client::connect(peer.url()).await;
        client.sync("items", Some(newest)).await.unwrap();
        peer_once(&mut client, |database| database.index_t == index_t).await;
        for t in &asked {
            ask(&mut client, *t, &answered).await;
        }
        let whole = client.log("items").await.unwrap();
        assert_eq!(whole.iter().map(|tx| tx.t).collect::<Vec<_>>(), (1..=newest).collect::<Vec<_>>());
        assert!(log.replace(whole.clone()).is_none_or(|log| log == whole), "all peers have the same log");
    }
    let log = log.unwrap();
    let said = Said::of(&log);
    for t in [0, 1, asked[0], index_t.saturating_sub(1), index_t, index_t + 1, newest].map(|t| t.min(newest)) {
        said.check(&mut cold, t).await;
    }

    // Ranges of old transactions are found by the log tree.
    let random = SeededEntropy::new(seed);
    for _ in 0..20 {
        let from = 1 + below(&random, newest);
        let to = from + below(&random, newest);
        let request = proto::v1::LogRequest { database: "items".into(), from_t: from, to_t: to };
        let mut stream = cold.peer.log(request).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            found.extend(message.transactions);
        }
        assert_eq!(found, log.iter().filter(|tx| (from..to).contains(&tx.t)).cloned().collect::<Vec<_>>());
    }

    // A new attribute: what its entity had before is looked up in trees that this peer has never read, or not there.
    let (fourth, mut fresh) = ready(plant, &[]).await;
    let late = "[{:db/ident :item/late :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    let t = fresh.transact("items", late).await.unwrap().t;
    let used = fresh.transact("items", "[{:item/id \"item 0 2\" :item/late \"yes\"}]").await.unwrap().t;
    for client in [&mut fresh, &mut client, &mut cold] {
        client.sync("items", Some(used)).await.unwrap();
        let found = client.q(
            "[:find ?id . :where [?e :item/late \"yes\"] [?e :item/id ?id]]",
            vec![diachron_tests::database("items")],
        );
        assert_eq!(found.await.unwrap().to_string(), "\"item 0 2\"");
        ask(client, t, &answered).await;
        ask(client, used, &answered).await;
    }
    drop((third, fourth));

    // The transactor begins with the index, and goes on from it.
    assert!(plant.take_transactor().terminate().0.success());
    plant.start_transactor();
    let status = transactor_once(&mut transactor_client(plant).await, |status| !status.databases.is_empty()).await;
    let database = &status.databases[0];
    assert!(database.index_t >= index_t && database.novelty_bytes < threshold(status.indexing), "{database:?}");
    peer_once(&mut client, |database| database.state() == FollowState::Following).await;
    let more = loop {
        match client.transact("items", "[{:item/id \"item 0 2\" :item/n 1000}]").await {
            Ok(response) => break response.t,
            Err(error) => assert_eq!(error.category(), db::Category::Unavailable, "{error:?}"),
        }
    };
    assert_eq!(more, used + 1);
    for client in [&mut client, &mut Client::connect(second.url()).await] {
        ask(client, more, &answered).await;
        ask(client, asked[0], &answered).await;
    }
    answered
}

/// Of a peer that has read nothing yet: once it brings segments, then it finds them.
async fn a_query_counts_what_it_reads(client: &mut Client) {
    for brings in [true, false] {
        let view = proto::v1::query_input::Kind::Database(database_view());
        let request = proto::v1::QueryRequest {
            query: "[:find (count ?text) . :where [?e :item/text ?text]]".into(),
            inputs: vec![proto::v1::QueryInput { name: String::new(), kind: Some(view) }],
            io_stats: true,
            ..Default::default()
        };
        let mut stream = client.peer.query(request).await.unwrap().into_inner();
        let mut end = None;
        while let Some(message) = stream.message().await.unwrap() {
            end = message.end;
        }
        let read: BTreeMap<String, (u64, u64)> =
            end.unwrap().io_stats.into_iter().map(|reads| (reads.tier, (reads.segments, reads.bytes))).collect();
        println!("{read:?}");
        let brought = read["storage"].0 + read["waited"].0 + read["ahead"].0;
        assert!((brought > 0) == brings && (brings || read["heap"].0 > 0), "{read:?}");
        assert!(read.values().all(|(segments, bytes)| (*segments > 0) == (*bytes > 0)), "{read:?}");
    }
}

fn database_view() -> proto::v1::DatabaseView {
    proto::v1::DatabaseView { name: "items".into(), ..Default::default() }
}

async fn transactor_client(plant: &Plant) -> Client {
    Client::connect(&plant.url()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_before_during_and_after_every_adoption_and_from_the_index_alone() {
    let mut plant = Plant::start(false);
    let answered = story(&mut plant).await;
    let answered = answered.lock().unwrap().clone();
    caches_are_found_again(&plant, &answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_peer_answers_the_same_from_the_storage_process_while_no_transactor_is_there() {
    let mut plant = Plant::start(true);
    let answered = story(&mut plant).await;
    plant.take_transactor().kill();
    let (_peer, mut client) = ready(&plant, &[]).await;
    assert!(peer_once(&mut client, |_| true).await.index_t > 0);
    let asked = answered.lock().unwrap().keys().copied().collect::<Vec<_>>();
    for t in asked {
        ask(&mut client, t, &answered).await;
    }
}

/// A peer that is started again with its cache directory finds in it what it had; what is damaged there is fetched anew.
async fn caches_are_found_again(plant: &Plant, answered: &BTreeMap<u64, Vec<String>>) {
    let dir = plant.dir().join("cache");
    let args = ["--cache-dir", dir.to_str().unwrap(), "--cache-disk-free-bytes", "0"];
    let mut fetched = Vec::new();
    for life in 0..3 {
        if life == 2 {
            assert!(damage_all(&dir) > 0);
        }
        let (peer, mut client) = ready(plant, &args).await;
        for (t, expected) in answered {
            let found = answers(&mut client, *t).await;
            assert!(found == *expected, "t {t} in life {life}");
        }
        let cache = client.peer_status().await.cache.unwrap();
        println!("life {life}: {cache:?}");
        let [heap, disk]: [CacheTier; 2] = cache.tiers.try_into().unwrap();
        assert_eq!((&*heap.name, &*disk.name, cache.failures), ("heap", "disk", 0));
        assert!(heap.hits > 0 && disk.segments > 0);
        assert_eq!((disk.hits > 0, disk.damaged > 0), [(false, false), (true, false), (false, true)][life]);
        fetched.push(cache.fetches);
        let (status, took) = peer.terminate();
        assert!(status.success() && took < PATIENCE, "{status}");
    }
    assert!(fetched[0] > 0 && fetched[1] == 0 && fetched[2] > 0, "{fetched:?}");
}

/// Changes a byte of every segment in a cache directory.
fn damage_all(dir: &Path) -> usize {
    let mut left = vec![dir.to_owned()];
    let mut damaged = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if is_segment(&path) {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.len() >= 60 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
