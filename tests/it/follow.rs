//! A follower that does not read, and commits that do not wait for it.

use diachron_tests::Flock;
use proto::v1;

/// More than what connections and queues hold on their way to one follower.
const TRANSACTIONS: usize = 500;
const TEXT_BYTES: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_does_not_read_slows_no_commit_and_is_cut_off() {
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    let id = client.create_database("texts").await.id;
    let schema = "[{:db/ident :text/body :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    client.transact("texts", schema).await.unwrap();

    let mut direct = diachron_tests::Client::connect(&flock.transactor_url()).await;
    let request = v1::FollowRequest { database_id: id, seq: 0, hash: Vec::new().into() };
    let mut unread = direct.transactor.follow(request).await.unwrap().into_inner();
    let first = unread.message().await.unwrap().unwrap();
    assert!(!first.frames.is_empty());

    let tx_data = format!("[{{:text/body {:?}}}]", "x".repeat(TEXT_BYTES));
    for _ in 0..TRANSACTIONS {
        client.transact("texts", &tx_data).await.unwrap();
    }
    // The peer, which reads, is still there; the other is not.
    let status = diachron_tests::Client::connect(&flock.transactor_url()).await.transactor_status().await;
    assert_eq!(status.databases[0].followers, 1);
    let mut bytes = 0;
    let ended = loop {
        match unread.message().await {
            Ok(Some(message)) => bytes += message.frames.len(),
            Ok(None) => break None,
            Err(status) => break Some(proto::error(&status).code().to_owned()),
        }
    };
    assert!(bytes < TRANSACTIONS * TEXT_BYTES, "{bytes} bytes were kept for a follower that did not read");
    assert!(matches!(ended.as_deref(), None | Some("db.error/slow-consumer")), "{ended:?}");
    assert!(flock.transactor().is_running());
}
