//! Mistakes seen in systems like ours, by their numbers in the list we keep of them. Those that are about one part
//! are tested with that part, under the same kind of name (`lesson_…`).

use diachron_tests::{Client, Flock, Lossy, PATIENCE, database, database_as_of, database_at_least};
use proto::v1;
use std::time::{Duration, Instant};

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

/// Nobody may miss a transaction silently: whatever a peer does not hear, it reads from the log.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_09_a_peer_that_missed_a_message_notices_and_reads_the_log() {
    let flock = Flock::start();
    let direct = flock.start_peer();
    let lossy_line = Lossy::start(&flock.transactor_url(), 3, 5).await;
    let lossy = flock.start_peer_of(lossy_line.url());
    let (mut good, mut bad) = (flock.client(&direct).await, flock.client(&lossy).await);
    good.create_database("items").await;
    good.transact("items", SCHEMA).await.unwrap();
    bad.sync("items", Some(1)).await.unwrap();
    // As many as it takes until all messages that are to be lost are lost, and some after that.
    let mut t = 1;
    while lossy_line.losses_left() > 0 {
        t = good.transact("items", &format!("[{{:item/n {t}}}]")).await.unwrap().t;
        assert_eq!(bad.sync("items", Some(t)).await.unwrap(), t);
    }
    for _ in 0..10 {
        t = good.transact("items", &format!("[{{:item/n {t}}}]")).await.unwrap().t;
    }
    let all = "[:find ?n ?t :where [?e :item/n ?n ?t]]";
    let (one, two) = (
        good.q(all, vec![database_at_least("items", t)]).await.unwrap(),
        bad.q(all, vec![database_at_least("items", t)]).await.unwrap(),
    );
    assert_eq!(one, two);
    assert_eq!(one.as_sequence().unwrap().len() as u64, t - 1);
    let (one, two) = (good.peer_status().await.databases.remove(0), bad.peer_status().await.databases.remove(0));
    assert_eq!((one.seq, one.hash), (two.seq, two.hash));
    // It did notice: that is what its operator reads.
    assert!(lossy.stderr().contains("interrupted"), "{}", lossy.stderr());
}

/// Queries that would run for minutes take all threads that there are; what keeps a peer alive goes on.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_10_long_queries_stop_neither_heartbeats_nor_transactions() {
    let flock = Flock::start();
    let peer = flock.start_peer_args(&["--threads", "2"]);
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let forms = (0..3000).map(|n| format!("{{:item/n {n}}}")).collect::<Vec<_>>().join(" ");
    let t = client.transact("items", &format!("[{forms}]")).await.unwrap().t;

    let cross = "[:find (count ?a) . :with ?b ?c ?d :where [?a :item/n] [?b :item/n] [?c :item/n] [?d :item/n]
                  [(< ?a ?b)] [(< ?b ?c)] [(< ?c ?d)]]";
    let again_and_again = |mut client: Client| async move {
        loop {
            let input = v1::QueryInput { name: String::new(), kind: Some(database_at_least("items", t)) };
            // It ends by a limit after some seconds; then it is asked again.
            let _ = client.ask(cross, vec![input], PATIENCE).await;
        }
    };
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..4 {
        asked.spawn(again_and_again(client.clone()));
    }
    while client.peer_status().await.queries < 4 {
        tokio::task::yield_now().await;
    }
    // Longer than a follower is silent before it gives up.
    let until = Instant::now() + Duration::from_secs(5);
    let mut answers = 0;
    while Instant::now() < until {
        let response = client.transact("items", "[{:item/n 7}]").await.unwrap();
        assert!(!response.not_yet_visible, "the peer no longer follows");
        assert_eq!(client.peer_status().await.databases[0].state(), v1::FollowState::Following);
        answers += 1;
    }
    assert!(answers > 20, "only {answers} transactions in 5 s");
    // Whoever asked goes away: the threads are free again.
    asked.shutdown().await;
    let found = client.q("[:find (min ?n) . :where [_ :item/n ?n]]", vec![database("items")]).await.unwrap();
    assert_eq!(found.to_string(), "0");
}

/// A peer holds what is new and a cache; the past stays in storage, however much of it there is.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_16_a_peer_does_not_grow_with_the_past() {
    const NOVELTY: u64 = 100_000;
    const CACHE: u64 = 2 << 20;
    let flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", &NOVELTY.to_string())]);
    let peer = flock.start_peer_with(&[("DIACHRON_CACHE_BYTES", &CACHE.to_string())]);
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    let schema = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
                   {:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                    :db/unique :db.unique/identity}]";
    client.transact("items", schema).await.unwrap();
    let (mut t, mut sizes) = (0, Vec::new());
    for round in 0..120 {
        let items: String =
            (0..200).map(|item| format!("{{:item/name \"item {item}\" :item/n {}}}", round * 200 + item)).collect();
        t = client.transact("items", &format!("[{items}]")).await.unwrap().t;
        let of = client.peer_status().await;
        let cached = of.cache.map_or(0, |cache| cache.tiers[0].bytes);
        sizes.push((of.databases[0].novelty_bytes, cached));
    }
    // The limit of what a transactor lets wait, and one transaction more.
    let most = 1 << 20;
    assert!(sizes.iter().all(|(novelty, cached)| *novelty < most + 200_000 && *cached <= CACHE), "{sizes:?}");
    let total: u64 = 120 * 200 * 200;
    assert!(total > 4 * most, "what was said would not have fit");
    for (at, first) in [(t, 119 * 200), (2 + 60, 60 * 200), (2, 0)] {
        let query = "[:find ?n . :where [?e :item/name \"item 0\"] [?e :item/n ?n]]";
        let found = client.q(query, vec![database_as_of("items", at)]).await.unwrap();
        assert_eq!(found.to_string(), first.to_string(), "as of {at}");
    }
}
