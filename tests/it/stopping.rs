//! Processes end when they are asked to, open streams or not.

use diachron_tests::{Client, Flock, PATIENCE, Program, database};
use proto::v1;
use std::time::Duration;

/// "Within seconds".
const SOON: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn lesson_15_both_processes_end_within_seconds_while_streams_are_open() {
    let with_metrics = [("DIACHRON_METRICS_LISTEN", "127.0.0.1:0")];
    let mut flock = Flock::start_with(&with_metrics);
    let peer = flock.start_peer_with(&with_metrics);
    let mut client = flock.client(&peer).await;
    let id = client.create_database("items").await.id;
    let schema = "[{:db/ident :item/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    client.transact("items", schema).await.unwrap();
    let forms = (0..20_000).map(|n| format!("{{:item/text \"item {n} {}\"}}", "x".repeat(500))).collect::<Vec<_>>();
    client.transact("items", &format!("[{}]", forms.join(" "))).await.unwrap();

    // One stream that goes on for ever, and one whose caller has stopped reading in the middle.
    let mut direct = Client::connect(&flock.transactor_url()).await;
    let request = v1::FollowRequest { database_id: id, seq: 0, hash: Vec::new().into() };
    let mut following = direct.transactor.follow(request).await.unwrap().into_inner();
    following.message().await.unwrap().unwrap();
    let mut unread = unread_answer(&mut client).await;

    let (status, took) = peer.terminate();
    assert!(status.success(), "{status}");
    assert!(took < SOON, "the peer took {took:?}");
    while let Ok(Some(_)) = unread.message().await {}

    let (status, took) = flock.take_transactor().terminate();
    assert!(status.success(), "{status}");
    assert!(took < SOON, "the transactor took {took:?}");
    // The stream was ended, not left hanging.
    let ended = tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = following.message().await {} }).await;
    ended.unwrap();
}

async fn unread_answer(client: &mut Client) -> tonic::Streaming<v1::QueryResponse> {
    let input = v1::QueryInput { name: String::new(), kind: Some(database("items")) };
    let request = v1::QueryRequest {
        query: "[:find ?e ?text :where [?e :item/text ?text]]".into(),
        inputs: vec![input],
        ..Default::default()
    };
    let mut stream = client.peer.query(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_ends_a_process_too_and_what_it_wrote_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("sled:{}", dir.path().join("store").display());
    let start = || Program::start("diachron-transactor", &["--store", &store, "--listen", "127.0.0.1:0"], dir.path());
    let transactor = start();
    let mut client = Client::connect(transactor.url()).await;
    client.transactor.create_database(v1::CreateDatabaseRequest { name: "items".into() }).await.unwrap();
    client.transact_directly("items", "[]").await.unwrap();
    let (status, took) = transactor.interrupt();
    assert!(status.success() && took < SOON, "{status} after {took:?}");

    let transactor = start();
    let mut client = Client::connect(transactor.url()).await;
    assert_eq!(client.transact_directly("items", "[]").await.unwrap().t, 2);
}
