//! `kill -9` at random moments of jobs and adoptions: what was acknowledged is there, the index says what the log says,
//! and its trees hold together.

use super::load::{Load, SCHEMA, WRITERS, items};
use super::plant::{Plant, peer_once};
use crate::kills::below;
use cache::{Fetch, SegmentCache};
use db::index::verify::verify;
use db::log::{Content, DatabaseId, IndexBody, RawRecord};
use db::replay::Replay;
use db::{Datom, Db, Pattern, Value};
use diachron_tests::{Client, PATIENCE, Program, seed};
use process::SeededEntropy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use stores::log::LogReader;

/// `DIACHRON_SLOW` makes it fifty rounds.
#[tokio::test(flavor = "multi_thread")]
async fn kills_of_transactor_and_peers_leave_the_old_index_or_the_new_one_and_lose_nothing() {
    let rounds = if std::env::var_os("DIACHRON_SLOW").is_some() { 50 } else { 3 };
    let seed = seed();
    let random = SeededEntropy::new(seed);
    let mut plant = Plant::start(false);
    let stays = plant.peer(&[]);
    let cache_dir = plant.dir().join("cache");
    let cache = ["--cache-dir", cache_dir.to_str().unwrap(), "--cache-disk-free-bytes", "0"];
    let mut goes = plant.peer(&cache);
    let mut client = Client::connect(stays.url()).await;
    let id = DatabaseId(client.create_database("items").await.id[..].try_into().unwrap());
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", &items(seed)).await.unwrap();

    let load = Arc::new(Load::default());
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let direct = number % 2 == 0;
        let url = if direct { plant.url() } else { stays.url().to_owned() };
        writers.spawn(load.clone().write(Client::connect(&url).await, direct, number, usize::MAX, seed));
    }
    let mut indexed_to = 0;
    for round in 1..=rounds {
        come_to(&load, load.newest() + 10 + below(&random, 60)).await;
        for _ in 0..below(&random, 2000) {
            tokio::task::yield_now().await;
        }
        if round % 3 == 0 {
            goes.kill();
            let acknowledged = load.acknowledged();
            goes = plant.peer(&cache);
            has_all(&goes, &acknowledged, load.newest()).await;
        } else {
            plant.take_transactor().kill();
            let acknowledged = load.acknowledged();
            let index_t = check_store(&plant.store(), id, &acknowledged);
            assert!(index_t >= indexed_to, "an index is not forgotten");
            indexed_to = index_t;
            plant.start_transactor();
        }
        load.starts.send_replace(round);
    }
    let newest = load.newest();
    come_to(&load, newest + 60).await;
    load.done.store(true, Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    println!("{} acknowledged over {rounds} kills, index-t {indexed_to}", load.acknowledged().len());
    assert!(indexed_to > 0);
    for peer in [&stays, &goes] {
        has_all(peer, &load.acknowledged(), load.newest()).await;
        peer_once(&mut Client::connect(peer.url()).await, |database| database.index_t >= indexed_to).await;
    }
    assert!(plant.take_transactor().terminate().0.success());
    check_store(&plant.store(), id, &load.acknowledged());
}

async fn come_to(load: &Load, t: u64) {
    let begun = Instant::now();
    while load.newest() < t {
        assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged any more, at t {}", load.newest());
        tokio::task::yield_now().await;
    }
}

/// A peer's log and its value have all marks, each once.
async fn has_all(peer: &Program, acknowledged: &BTreeMap<String, u64>, least_t: u64) {
    let mut client = Client::connect(peer.url()).await;
    client.sync("items", Some(least_t)).await.unwrap();
    let newest = client.sync("items", None).await.unwrap();
    let log = client.log("items").await.unwrap();
    let datoms = log.iter().flat_map(|tx| tx.datoms.iter().map(|datom| (tx.t, datom)));
    let marks = datoms.filter(|(_, datom)| datom.attribute == "mark/name").map(|(t, datom)| {
        let Some(proto::v1::value::Kind::String(name)) = &datom.v.as_ref().unwrap().kind else { panic!("{datom:?}") };
        (name.clone(), t)
    });
    let marks = check_marks(acknowledged, marks);
    let known = marks.values().filter(|t| **t <= newest).count();
    let count = "[:find (count ?e) . :where [?e :mark/name]]";
    let found = client.q(count, vec![diachron_tests::database_as_of("items", newest)]).await.unwrap();
    assert_eq!(found.to_string(), known.to_string());
}

fn check_marks(
    acknowledged: &BTreeMap<String, u64>,
    logged: impl Iterator<Item = (String, u64)>,
) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (mark, t) in logged {
        assert_eq!(found.insert(mark.clone(), t), None, "{mark} is there twice");
    }
    for (mark, t) in acknowledged {
        assert_eq!(found.get(mark), Some(t), "{mark} was acknowledged at t {t}");
    }
    found
}

/// Opens the store that a process left, and holds what its index says against what its log says. Gives index-t.
fn check_store(url: &str, id: DatabaseId, acknowledged: &BTreeMap<String, u64>) -> u64 {
    let store = storage::open(url, storage::Options::default()).unwrap();
    let (journal, segments) = (store.journal(), store.segments());
    let database = storage::DatabaseId(id.0);

    let mut slow = Replay::new(id);
    let mut marks = Vec::new();
    loop {
        let log = LogReader::new(&*journal, &*segments);
        let records = log.read(database, slow.chain().seq() + 1, 1 << 20).unwrap();
        if records.is_empty() {
            break;
        }
        for stored in records {
            let record = RawRecord::parse(&stored.bytes).unwrap();
            let segment = match &record.content {
                Content::Body(_) => None,
                Content::OutOfLine(place) => segments.get(&transactor::open::body_key(place)).unwrap(),
            };
            for entry in slow.apply(&record, segment.as_deref()).unwrap() {
                marks.extend(entry.datoms.iter().filter_map(|datom| match &datom.v {
                    Value::String(name) if datom.added && name.starts_with("writer") => {
                        Some((name.to_string(), entry.t))
                    }
                    _ => None,
                }));
            }
        }
    }
    check_marks(acknowledged, marks.into_iter());

    let cache = SegmentCache::open(&cache::Config { prefetch: 0, ..cache::Config::default() }).unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(stores::trees::Stored(segments.clone()));
    let named = |reader: cache::Reader, body: &IndexBody| {
        let meta = cache.meta(reader.lineage, body, &*fetch)?;
        let trees = cache.trees_of(reader, body, &meta, fetch.clone())?;
        Ok((meta, trees))
    };
    let fast = transactor::open::replay(&*journal, &*segments, &named, database).unwrap().replay;
    assert_eq!(fast.chain(), slow.chain());
    let (fast, slow) = (fast.db(), slow.db());
    assert_eq!(all(fast), all(slow));
    assert_eq!(all(&fast.history()), all(&slow.history()));
    for t in [fast.index_t().saturating_sub(1), fast.index_t(), fast.basis_t() / 2] {
        assert_eq!(all(&fast.as_of(t)), all(&slow.as_of(t)), "as of {t}");
    }
    if let Some(trees) = fast.trees() {
        let covers = |a| fast.schema().attribute(a).has_avet();
        let verified = verify(trees, &covers, 10, &mut || Ok(())).unwrap();
        assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    }
    let index_t = fast.index_t();
    store.close().unwrap();
    index_t
}

fn all(db: &Db) -> Vec<Datom> {
    db.datoms(&Pattern::all()).unwrap()
}
