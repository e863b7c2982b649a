//! `kill -9` at random moments under load: nothing acknowledged is lost, nothing is there twice.
//!
//! Writers add items with names that no one uses again, straight to the transactor and through a peer. They note
//! what was acknowledged with its t. A writer whose transaction failed goes on with a new name once the transactor
//! is back. At the end the log, read as a peer reads it and once more off the closed store, must hold every noted
//! item at its t, no item twice, and an unbroken chain.

use db::log::{Content, DatabaseId, RawRecord};
use db::replay::Replay;
use db::{Category, Value};
use diachron_tests::{Client, Flock, seed};
use process::{Entropy, SeededEntropy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::{Records, SegmentKey};
use tokio::sync::watch;

const KILLS: usize = 20;
const WRITERS: usize = 8;
pub const SCHEMA: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/value}]";

/// Writers at work while somebody is killed.
pub struct Load {
    pub acknowledged: AtomicU64,
    pub done: AtomicBool,
    /// How often the one that is killed has been started.
    pub starts: watch::Receiver<usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_transaction_survives_twenty_kills_exactly_once() {
    let random = SeededEntropy::new(seed());
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    let id = client.create_database("items").await.id;
    client.transact("items", SCHEMA).await.unwrap();

    let (started, starts) = watch::channel(0);
    let load = Arc::new(Load { acknowledged: AtomicU64::new(0), done: AtomicBool::new(false), starts });
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        // Half of them by way of the peer.
        let direct = number % 2 == 0;
        let url = if direct { flock.transactor_url() } else { peer.url().to_owned() };
        writers.spawn(write(Client::connect(&url).await, direct, number, load.clone()));
    }
    for kill in 1..=KILLS {
        let goal = load.acknowledged.load(Ordering::SeqCst) + 1 + below(&random, 300);
        while load.acknowledged.load(Ordering::SeqCst) < goal {
            tokio::task::yield_now().await;
        }
        for _ in 0..below(&random, 2000) {
            tokio::task::yield_now().await;
        }
        flock.take_transactor().kill();
        flock.restart_transactor();
        started.send_replace(kill);
    }
    load.done.store(true, Ordering::SeqCst);
    let mut noted = BTreeMap::new();
    while let Some(ended) = writers.join_next().await {
        noted.extend(ended.unwrap());
    }
    println!("{} acknowledged over {KILLS} kills", noted.len());

    let newest = client.sync("items", None).await.unwrap();
    let through_peer = client.log("items").await.unwrap();
    assert_eq!(through_peer.len() as u64, newest);
    check(&noted, names(&through_peer));

    let (status, _) = flock.take_transactor().terminate();
    assert!(status.success());
    let id = DatabaseId(id[..].try_into().unwrap());
    check(&noted, from_store(&flock.store(), id));
}

/// The items of a log, with their t.
pub fn names(log: &[proto::v1::LogTransaction]) -> impl Iterator<Item = (String, u64)> {
    let datoms = log.iter().flat_map(|tx| tx.datoms.iter().map(|datom| (tx.t, datom)));
    datoms.filter(|(_, datom)| datom.attribute == "item/name").map(|(t, datom)| {
        let Some(proto::v1::value::Kind::String(name)) = &datom.v.as_ref().unwrap().kind else { panic!("{datom:?}") };
        (name.clone(), t)
    })
}

/// Writes until all is done, and tells what was acknowledged, with its t.
pub async fn write(mut client: Client, direct: bool, number: usize, load: Arc<Load>) -> Vec<(String, u64)> {
    let mut noted = Vec::new();
    let mut starts = load.starts.clone();
    for n in 0.. {
        if load.done.load(Ordering::SeqCst) {
            break;
        }
        let starts_before = *starts.borrow_and_update();
        let name = format!("writer {number} item {n}");
        let tx_data = format!("[{{:item/name {name:?}}}]");
        let answered = if direct {
            client.transact_directly("items", &tx_data).await
        } else {
            client.transact("items", &tx_data).await
        };
        match answered {
            Ok(response) => {
                noted.push((name, response.t));
                load.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            // It may be there or not; nobody was promised anything.
            Err(error) => {
                let nothing_done = [Category::Unavailable, Category::Busy, Category::Fenced];
                let expected = [&nothing_done[..], &[Category::Unknown, Category::Interrupted]].concat();
                assert!(expected.contains(&error.category()), "{error:?}");
                if *starts.borrow() == starts_before && !load.done.load(Ordering::SeqCst) {
                    // The connection broke just now: the transactor comes back, or has come back already.
                    let back = starts.wait_for(|starts| *starts != starts_before);
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), back).await;
                }
            }
        }
    }
    noted
}

pub fn check(noted: &BTreeMap<String, u64>, logged: impl Iterator<Item = (String, u64)>) {
    let mut found = BTreeMap::new();
    for (name, t) in logged {
        assert_eq!(found.insert(name.clone(), t), None, "{name} is there twice");
    }
    for (name, t) in noted {
        assert_eq!(found.get(name), Some(t), "{name} was acknowledged at t {t}");
    }
}

/// What the closed store holds, its chain verified record by record.
fn from_store(url: &str, id: DatabaseId) -> impl Iterator<Item = (String, u64)> {
    let store = storage::open(url, storage::Options::default()).unwrap();
    let journal = store.journal();
    let database = storage::DatabaseId(id.0);
    let mut replay = Replay::new(id);
    let mut names = Vec::new();
    loop {
        let Records::Found(records) = journal.read(database, replay.chain().seq() + 1, 1 << 20).unwrap() else {
            panic!("nothing is sealed here")
        };
        if records.is_empty() {
            break;
        }
        for stored in records {
            let record = RawRecord::parse(&stored.bytes).unwrap();
            let segment = match &record.content {
                Content::Body(_) => None,
                Content::OutOfLine(place) => {
                    let key = SegmentKey {
                        lineage: storage::DatabaseId(place.lineage.0),
                        database: storage::DatabaseId(place.database.0),
                        term: place.term,
                        job: "body".into(),
                        hash: place.hash,
                    };
                    Some(store.segments().get(&key).unwrap().unwrap())
                }
            };
            for entry in replay.apply(&record, segment.as_deref()).unwrap() {
                names.extend(entry.datoms.iter().filter_map(|datom| match &datom.v {
                    Value::String(name) if datom.added && name.starts_with("writer") => {
                        Some((name.to_string(), entry.t))
                    }
                    _ => None,
                }));
            }
        }
    }
    let head = journal.head(database).unwrap().unwrap();
    assert_eq!((replay.chain().seq(), replay.chain().hash()), (head.seq, head.hash));
    assert_eq!(head.term, KILLS as u64 + 1, "every start begins a term");
    store.close().unwrap();
    names.into_iter()
}

pub fn below(random: &SeededEntropy, end: u64) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_le_bytes(bytes) % end
}
