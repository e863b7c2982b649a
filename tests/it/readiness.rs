//! A peer that begins with nothing and has much to read: what its health and its status say meanwhile.

use crate::serving::{channel, comes_to_serve};
use db::Category;
use diachron_tests::{Client, Flock, Program, database};
use proto::v1::{FollowState, PeerDatabaseStatus};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const TRANSACTIONS: u64 = 60;
const TEXT_BYTES: usize = 100_000;
/// What a peer gets to read at first: more than one message of the log (1 MiB), and by far not all.
const FIRST_BYTES: usize = 3 << 20;
const SERVICES: [&str; 2] = ["", "diachron.v1.Peer"];

/// A way to the transactor that lets so many bytes of its answers through, and more when told.
struct Narrow {
    url: String,
    bytes: Arc<Semaphore>,
}

impl Narrow {
    async fn to(address: String) -> Narrow {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bytes = Arc::new(Semaphore::new(FIRST_BYTES));
        let allowed = bytes.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&address).await.unwrap();
                let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
                    (near.into_split(), far.into_split());
                let allowed = allowed.clone();
                tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16 << 10];
                    while let Ok(count @ 1..) = far_read.read(&mut buffer).await {
                        allowed.acquire_many(count as u32).await.unwrap().forget();
                        if near_write.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Narrow { url, bytes }
    }

    fn widen(&self) {
        self.bytes.add_permits(1 << 40);
    }
}

async fn health(peer: &Program, service: &str) -> ServingStatus {
    let asked = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel(peer.url()).await).check(asked).await.unwrap().into_inner().status()
}

/// The first status of which something holds.
async fn status_once(client: &mut Client, holds: impl Fn(&PeerDatabaseStatus) -> bool) -> PeerDatabaseStatus {
    loop {
        let status = client.peer_status().await;
        match status.databases.into_iter().next().filter(&holds) {
            Some(found) => return found,
            None => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_says_that_it_is_not_ready_until_it_has_read_nearly_all() {
    let flock = Flock::start();
    let first = flock.start_peer();
    let mut writer = flock.client(&first).await;
    writer.create_database("texts").await;
    let schema = "[{:db/ident :text/body :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    writer.transact("texts", schema).await.unwrap();
    let tx_data = format!("[{{:text/body {:?}}}]", "x".repeat(TEXT_BYTES));
    for _ in 1..TRANSACTIONS {
        writer.transact("texts", &tx_data).await.unwrap();
    }

    let narrow = Narrow::to(flock.transactor_url().strip_prefix("http://").unwrap().to_owned()).await;
    let peer = flock.start_peer_of(&narrow.url);
    let mut client = flock.client(&peer).await;
    let midway = status_once(&mut client, |status| status.basis_t > 0).await;
    assert!(midway.basis_t < TRANSACTIONS && !midway.readable, "{midway:?}");
    assert!((1.0..99.0).contains(&midway.percent.unwrap()), "{midway:?}");
    assert_eq!(midway.transactor_head.as_ref().map(|head| head.t), Some(TRANSACTIONS));
    if midway.state() == FollowState::CatchingUp {
        assert!(midway.catch_up_rate.is_some_and(|rate| rate > 0.0) && midway.catch_up_left_ms.is_some(), "{midway:?}");
    }
    for service in SERVICES {
        assert_eq!(health(&peer, service).await, ServingStatus::NotServing, "{service:?}");
    }
    let why = client.peer_status().await.not_ready;
    assert!(why.contains("\"texts\"") && why.contains('%'), "{why}");

    // A question waits for the whole log, and not longer than its caller. On a busy machine the caller's own clock may
    // be the first to say so; then it asks again.
    let error = loop {
        let mut question = Request::new(proto::v1::SyncRequest { database: "texts".into(), t: Some(1) });
        question.set_timeout(std::time::Duration::from_millis(200));
        let error = proto::error(&client.peer.sync(question).await.unwrap_err());
        if error.category() != Category::Interrupted {
            break error;
        }
    };
    assert_eq!((error.category(), error.code()), (Category::Unavailable, "db.error/basis-not-reached"));
    assert!(error.message().contains("still reading") && error.message().contains("of 60 so far"), "{error}");

    narrow.widen();
    for service in SERVICES {
        comes_to_serve(channel(peer.url()).await, service).await;
    }
    let count = client.q("[:find (count ?e) . :where [?e :text/body]]", vec![database("texts")]).await.unwrap();
    assert_eq!(count.to_string(), (TRANSACTIONS - 1).to_string());
    let after = status_once(&mut client, |status| status.readable).await;
    assert_eq!((after.basis_t, after.percent, after.catch_up_rate), (TRANSACTIONS, Some(100.0), None));
    assert_eq!(client.peer_status().await.not_ready, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_ready_once_it_has_heard_of_the_transactor_and_stays_so_when_that_is_gone() {
    let mut flock = Flock::start();
    let first = flock.start_peer();
    flock.client(&first).await.create_database("world").await;
    flock.take_transactor().kill();

    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    for service in SERVICES {
        assert_eq!(health(&peer, service).await, ServingStatus::NotServing, "{service:?}");
    }
    assert_eq!(client.peer_status().await.not_ready, "the transactor was not heard of yet");
    flock.restart_transactor();
    comes_to_serve(channel(peer.url()).await, "").await;
    status_once(&mut client, |status| status.readable).await;

    flock.take_transactor().kill();
    status_once(&mut client, |status| status.state() == FollowState::Disconnected).await;
    client.q("[:find ?e . :where [?e :db/ident :db/ident]]", vec![database("world")]).await.unwrap();
    for service in SERVICES {
        assert_eq!(health(&peer, service).await, ServingStatus::Serving, "{service:?}");
    }
}
