//! Four times what the transactor can do, for a while: what is too much is refused at once, with a word when to come
//! back; what is accepted is kept; and neither process grows.
//!
//! Transactions are dear to judge, short to send and small to keep: most of what they say is known already. So the load
//! generator, on the same processors, can offer so many. Their rate alone is measured first, then four times as many are offered, whether or not those before are answered, half of them through
//! a peer. `DIACHRON_SLOW` makes it two minutes instead of a few seconds.

use crate::flat;
use db::Category;
use diachron_tests::{Client, PATIENCE, Program};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Transactions that may wait in the transactor.
const QUEUE: usize = 128;
/// Offers on their way at once: beyond them the load generator itself is at its end.
const OFFERS_MAX: usize = 2000;
const TICK: Duration = Duration::from_millis(5);
/// Facts in a transaction that are known already.
const KNOWN: usize = 1000;
const SCHEMA: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/many}]";

#[derive(Default)]
struct Outcome {
    /// By name: the t.
    accepted: Mutex<BTreeMap<String, u64>>,
    refused: AtomicU64,
    /// Neither the one nor the other.
    failed: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn at_four_times_capacity_memory_is_flat_refusals_say_when_and_nothing_accepted_is_lost() {
    let (alone, overloaded) = match std::env::var_os("DIACHRON_SLOW") {
        Some(_) => (Duration::from_secs(10), Duration::from_secs(120)),
        None => (Duration::from_secs(1), Duration::from_secs(6)),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = format!("sled:{}", dir.path().join("store").display());
    let args = ["--store", &store, "--listen", "127.0.0.1:0", "--queue", &QUEUE.to_string()];
    let transactor = Program::start("diachron-transactor", &args, dir.path());
    let peer =
        Program::start("diachron-peer", &["--transactor", transactor.url(), "--listen", "127.0.0.1:0"], dir.path());
    let mut client = Client::connect(peer.url()).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let numbers = (0..KNOWN).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let known = format!("{{:item/name \"known\" :item/n [{numbers}]}}");
    client.transact("items", &format!("[{known}]")).await.unwrap();
    let known = Arc::new(known);

    // As many as can be, one after the other for each of a few callers.
    let outcome = Arc::new(Outcome::default());
    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..32 {
        let (known, outcome) = (known.clone(), outcome.clone());
        let mut client = Client::connect(transactor.url()).await;
        callers.spawn(async move {
            for n in 0.. {
                if begun.elapsed() >= alone {
                    break;
                }
                offer(&mut client, true, format!("caller {caller} item {n}"), &known, &outcome).await;
            }
        });
    }
    callers.join_all().await;
    let capacity = outcome.accepted.lock().unwrap().len() as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(outcome.refused.load(Ordering::Relaxed), 0);

    let room = Arc::new(Semaphore::new(OFFERS_MAX));
    let mut clients = Vec::new();
    for number in 0..16 {
        let direct = number % 2 == 0;
        clients.push((direct, Client::connect(if direct { transactor.url() } else { peer.url() }).await));
    }
    let per_tick = 4.0 * capacity * TICK.as_secs_f64();
    let (begun, accepted_before) = (Instant::now(), outcome.accepted.lock().unwrap().len());
    let mut offers = tokio::task::JoinSet::new();
    let (mut offered, mut withheld) = (0, 0);
    let mut memory = flat::Memory::new(&[&transactor, &peer]);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while begun.elapsed() < overloaded {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() / TICK.as_secs_f64() * per_tick) as usize;
        while offered + withheld < due {
            let Ok(permit) = room.clone().try_acquire_owned() else {
                withheld += due - offered - withheld;
                break;
            };
            let (direct, mut client) = clients[offered % clients.len()].clone();
            let (known, outcome) = (known.clone(), outcome.clone());
            let name = format!("overload {offered}");
            offers.spawn(async move {
                offer(&mut client, direct, name, &known, &outcome).await;
                drop(permit);
            });
            offered += 1;
        }
        while offers.try_join_next().is_some() {}
        memory.look(begun.elapsed().as_secs_f64() / overloaded.as_secs_f64());
    }
    let rate = offered as f64 / begun.elapsed().as_secs_f64();
    tokio::time::timeout(PATIENCE, offers.join_all()).await.expect("every offer is answered");

    let accepted = std::mem::take(&mut *outcome.accepted.lock().unwrap());
    let refused = outcome.refused.load(Ordering::Relaxed);
    println!(
        "{capacity:.0}/s alone; offered {rate:.0}/s: {} accepted, {refused} refused, {withheld} withheld by a load \
         generator at its end; {memory}",
        accepted.len() - accepted_before
    );
    assert_eq!(*outcome.failed.lock().unwrap(), Vec::<String>::new());
    assert!(refused > 0, "it was not too much");
    assert!(accepted.len() > accepted_before, "some were accepted all the same");
    memory.check(accepted.len() as u64);

    // Both are well, and hold exactly what was accepted.
    let after = client.transact("items", "[{:item/name \"after\"}]").await.unwrap();
    assert!(!after.not_yet_visible);
    let mut logged = BTreeMap::new();
    for tx in client.log("items").await.unwrap() {
        for datom in tx.datoms.iter().filter(|datom| datom.attribute == "item/name") {
            let Some(proto::v1::value::Kind::String(name)) = &datom.v.as_ref().unwrap().kind else {
                panic!("{datom:?}")
            };
            assert_eq!(logged.insert(name.clone(), tx.t), None, "{name} is there twice");
        }
    }
    assert_eq!((logged.remove("known"), logged.remove("after")), (Some(2), Some(after.t)));
    assert_eq!(logged.len(), accepted.len(), "nothing is there that was refused");
    assert!(logged == accepted, "everything accepted is there, at its t");
}

async fn offer(client: &mut Client, direct: bool, name: String, known: &str, outcome: &Outcome) {
    let tx_data = format!("[{{:item/name {name:?}}} {known}]");
    let answered = match direct {
        true => client.transact_directly("items", &tx_data).await,
        false => client.transact("items", &tx_data).await,
    };
    match answered {
        Ok(response) => {
            outcome.accepted.lock().unwrap().insert(name, response.t);
        }
        Err(error) => match (error.category(), proto::retry_after(&error)) {
            (Category::Busy, Some(wait)) if wait > Duration::ZERO => {
                outcome.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => outcome.failed.lock().unwrap().push(format!("{error:?}")),
        },
    }
}
