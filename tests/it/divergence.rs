//! A log that is not the one a peer knows.

use db::Category;
use diachron_tests::{Flock, database};
use proto::v1;
use std::path::Path;

const ITEMS: &str = "[:find ?n . :where [_ :item/n ?n]]";
const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

/// An operator restores an old copy of the store. What was acknowledged since is gone, and a peer that has seen it
/// must not quietly forget it.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_knows_more_than_the_log_says_so_and_keeps_what_it_knows() {
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    flock.take_transactor().terminate();
    let (store, copy) = (flock.dir().join("store"), flock.dir().join("copy"));
    copy_dir(&store, &copy);

    flock.restart_transactor();
    while client.transact("items", r#"[{:db/id "x" :item/n 7}]"#).await.is_err() {}
    flock.take_transactor().terminate();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    flock.restart_transactor();

    let diverged = loop {
        let status = client.peer_status().await.databases.remove(0);
        if status.state() == v1::FollowState::Diverged {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert!(!diverged.trouble.is_empty());
    assert!(peer.stderr().contains("is not the one this peer knows"), "{}", peer.stderr());
    assert_eq!(client.q(ITEMS, vec![database("items")]).await.unwrap().to_string(), "7");
    // Another peer, which knows nothing else, takes the log as it is.
    let fresh = flock.start_peer();
    let mut fresh = flock.client(&fresh).await;
    assert_eq!(fresh.q(ITEMS, vec![database("items")]).await.unwrap().to_string(), "nil");
}

/// A transactor in memory that is started again knows nothing; the name stands for a new database then.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_to_a_new_database_is_looked_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let start = |address: &str| {
        diachron_tests::Program::start("diachron-transactor", &["--store", "memory:", "--listen", address], dir.path())
    };
    let transactor = start("127.0.0.1:0");
    let (url, address) = (transactor.url().to_owned(), transactor.address().to_owned());
    let args = ["--transactor", &url, "--listen", "127.0.0.1:0"];
    let peer = diachron_tests::Program::start("diachron-peer", &args, dir.path());
    let mut client = diachron_tests::Client::connect(peer.url()).await;
    let old = client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    transactor.kill();
    let _transactor = start(&address);
    // What the peer knows it still answers, until it hears that the database is gone.
    let gone = loop {
        match client.q(ITEMS, vec![database("items")]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) if error.category() == Category::Unavailable => {}
            Err(error) => break error,
        }
    };
    assert_eq!(gone.category(), Category::NotFound, "{gone:?}");
    let new = client.create_database("items").await;
    assert_ne!(new.id, old.id);
    assert_eq!(client.transact("items", SCHEMA).await.unwrap().t, 1);
    assert_eq!(client.q(ITEMS, vec![database("items")]).await.unwrap().to_string(), "nil");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
