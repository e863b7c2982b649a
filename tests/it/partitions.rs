//! The line between a peer and its transactor is held, cut and slow.

use db::Category;
use diachron_tests::{Client, Flock, PATIENCE, Program, Proxy, database};
use proto::v1;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SCHEMA: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
/// After this much time on an open line a peer follows again, however long it was cut off.
const FOLLOWS_AGAIN: Duration = Duration::from_secs(10);

struct Apart {
    flock: Flock,
    proxy: Proxy,
    /// Follows over the proxy.
    _peer: Program,
    /// Of the peer.
    client: Client,
    /// Past the proxy, straight to the transactor.
    direct: Client,
}

async fn apart() -> Apart {
    let flock = Flock::start();
    let proxy = Proxy::start(flock.transactor_url().trim_start_matches("http://")).await;
    let args = ["--transactor", &proxy.url(), "--listen", "127.0.0.1:0"];
    let peer = Program::start("diachron-peer", &args, flock.dir());
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let direct = Client::connect(&flock.transactor_url()).await;
    Apart { flock, proxy, _peer: peer, client, direct }
}

fn item(name: &str) -> String {
    format!("[{{:item/name {name:?}}}]")
}

async fn state(client: &mut Client) -> v1::FollowState {
    let status = client.peer.status(v1::PeerStatusRequest {}).await.unwrap().into_inner();
    status.databases[0].state()
}

async fn names(client: &mut Client) -> BTreeSet<String> {
    client.sync("items", None).await.unwrap();
    let log = client.log("items").await.unwrap();
    let mut names = BTreeSet::new();
    for datom in log.iter().flat_map(|tx| &tx.datoms).filter(|datom| datom.attribute == "item/name") {
        let Some(v1::value::Kind::String(name)) = &datom.v.as_ref().unwrap().kind else { panic!("{datom:?}") };
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    names
}

/// Nothing ends and nothing is refused: there is only silence. The peer notices, answers at its basis meanwhile, and
/// has everything soon after the line is open again.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_behind_a_silent_line_notices_and_follows_again_without_loss() {
    let mut apart = apart().await;
    apart.client.transact("items", &item("before")).await.unwrap();
    apart.proxy.hold();
    let mut expected: BTreeSet<_> = ["before".to_owned()].into();
    let mut newest = 0;
    for number in 0..50 {
        let name = format!("meanwhile {number}");
        newest = apart.direct.transact_directly("items", &item(&name)).await.unwrap().t;
        expected.insert(name);
    }
    let begun = Instant::now();
    while state(&mut apart.client).await != v1::FollowState::Disconnected {
        assert!(begun.elapsed() < PATIENCE, "the peer does not notice");
    }
    let query = "[:find ?name . :where [_ :item/name ?name]]";
    let answer = apart.client.q(query, vec![database("items")]).await.unwrap();
    assert_eq!(answer.to_string(), "\"before\"");

    apart.proxy.open();
    let opened = Instant::now();
    apart.client.sync("items", Some(newest)).await.unwrap();
    assert!(opened.elapsed() < FOLLOWS_AGAIN, "{:?}", opened.elapsed());
    println!("followed again after {:?}", opened.elapsed());
    assert_eq!(names(&mut apart.client).await, expected);
}

/// Whoever was answered is in the log once, whoever was not is there once or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_twice_over_a_line_that_is_cut_again_and_again() {
    let mut apart = apart().await;
    let (mut acknowledged, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..10 {
        let begun = Instant::now();
        for number in 0.. {
            let name = format!("{round} {number}");
            if number == 5 + round {
                apart.proxy.cut();
            }
            match apart.client.transact("items", &item(&name)).await {
                Ok(_) if number > 5 + round => {
                    // The line was opened below, and the peer has found it.
                    acknowledged.insert(name);
                    break;
                }
                Ok(_) => drop(acknowledged.insert(name)),
                Err(error) if error.category() == Category::Unavailable => drop(refused.insert(name)),
                Err(error) => assert_eq!(error.category(), Category::Unknown, "{error}"),
            }
            if number >= 5 + round {
                apart.proxy.open();
                assert!(begun.elapsed() < PATIENCE, "the peer does not find the open line");
            }
        }
    }
    let there = names(&mut apart.client).await;
    assert!(acknowledged.is_subset(&there), "{:?}", acknowledged.difference(&there));
    assert!(refused.is_disjoint(&there), "{:?}", refused.intersection(&there));
    drop(apart.flock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_makes_a_peer_late_and_nothing_else() {
    let mut apart = apart().await;
    apart.proxy.slow(Duration::from_millis(100));
    let mut expected = BTreeSet::new();
    for number in 0..5 {
        let name = format!("slow {number}");
        let begun = Instant::now();
        let response = apart.client.transact("items", &item(&name)).await.unwrap();
        assert!(!response.not_yet_visible);
        assert!(begun.elapsed() >= Duration::from_millis(200), "there and back");
        expected.insert(name);
    }
    assert_eq!(names(&mut apart.client).await, expected);
}
