//! Another transactor takes the databases over, on a store that both reach, while the first one still runs.

use crate::cases::server::{LOOPBACK, world};
use clap::Parser;
use db::Category;
use diachron_tests::{Client, PATIENCE, database};
use process::{Shutdown, ShutdownTrigger, SystemClock};
use proto::v1::{FollowState, PeerDatabaseStatus};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use storage::{MemoryStore, Options};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
const NUMBERS: &str = "[:find (sum ?n) . :where [_ :item/n ?n]]";

/// A transactor or peer in this process.
struct Running {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    run: JoinHandle<process::Result<()>>,
}

impl Running {
    async fn transactor(memory: &MemoryStore, listen: &str) -> Running {
        let (trigger, shutdown) = Shutdown::new();
        let (outside, address) = world(Arc::new(SystemClock));
        let config = transactor::Config::parse_from(["", "--store", "memory:", "--listen", listen]);
        let store = memory.store();
        let run = transactor::run_on(config, store.journal(), store.segments(), outside, trigger.clone(), shutdown);
        let run = tokio::spawn(run);
        Running { address: address.await.unwrap(), trigger, run }
    }

    async fn peer(transactors: &str) -> Running {
        let (trigger, shutdown) = Shutdown::new();
        let (outside, address) = world(Arc::new(SystemClock));
        let config = peer::Config::parse_from(["", "--transactor", transactors, "--listen", LOOPBACK]);
        let run = tokio::spawn(peer::run(config, outside, trigger.clone(), shutdown));
        Running { address: address.await.unwrap(), trigger, run }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn stop(self) {
        self.trigger.ask();
        self.run.await.unwrap().unwrap();
    }
}

/// What a peer says of its only database, once something holds of it.
async fn status_once(client: &mut Client, holds: impl Fn(&PeerDatabaseStatus) -> bool) -> PeerDatabaseStatus {
    let begun = Instant::now();
    loop {
        let status = client.peer_status().await.databases.remove(0);
        if holds(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::task::yield_now().await;
    }
}

/// The peer knows two addresses, and at the second one is nobody at first.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_leaves_a_deposed_transactor_says_so_and_goes_on_with_the_owner() {
    let memory = MemoryStore::new(Options::default());
    let first = Running::transactor(&memory, LOOPBACK).await;
    // An address that the one who takes over will have.
    let kept = TcpListener::bind(LOOPBACK).await.unwrap();
    let second_address = kept.local_addr().unwrap();
    drop(kept);
    let peer = Running::peer(&format!("{},http://{second_address}", first.url())).await;
    let mut client = Client::connect(&peer.url()).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", "[{:item/n 1}]").await.unwrap();

    // Elsewhere, where the peer does not look: the first is deposed and nobody writes to it.
    let elsewhere = Running::transactor(&memory, LOOPBACK).await;
    let cut_off = status_once(&mut client, |status| status.state() == FollowState::Disconnected).await;
    assert!(!cut_off.trouble.is_empty(), "{cut_off:?}");
    let mut direct = Client::connect(&elsewhere.url()).await;
    direct.transact_directly("items", "[{:item/n 10}]").await.unwrap();
    // It answers at its basis, and whoever writes hears that nothing was done.
    client.q(NUMBERS, vec![database("items")]).await.unwrap();
    let refused = client.transact("items", "[{:item/n 100}]").await.unwrap_err();
    assert!([Category::Fenced, Category::Unavailable].contains(&refused.category()), "{refused}");
    elsewhere.stop().await;

    // Where it looks too.
    let second = Running::transactor(&memory, &second_address.to_string()).await;
    status_once(&mut client, |status| status.state() == FollowState::Following).await;
    client.transact("items", "[{:item/n 1000}]").await.unwrap();
    assert_eq!(client.q(NUMBERS, vec![database("items")]).await.unwrap().to_string(), "1011");
    drop((client, direct));
    for process in [peer, second, first] {
        process.stop().await;
    }
}
