//! A database is deleted while others use it: every peer hears of it, and its name begins anew.

use db::Category;
use diachron_tests::{Client, Flock, database, database_at_least};
use proto::v1;
use std::time::Duration;
use tonic::Request;

const NAMES: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
const QUERY: &str = "[:find (count ?e) . :where [?e :item/name]]";

async fn delete(client: &mut Client, name: &str) -> Result<v1::DatabaseInfo, db::Error> {
    let request = v1::DeleteDatabaseRequest { name: name.into(), confirm_name: name.into() };
    let answered = client.peer.delete_database(request).await.map_err(|status| proto::error(&status))?;
    Ok(answered.into_inner().database.unwrap())
}

async fn names(client: &mut Client) -> Vec<String> {
    let databases = client.peer_status().await.databases;
    databases.into_iter().map(|status| status.database.unwrap().name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_peer_drops_a_deleted_database_and_finds_the_new_one_of_its_name() {
    let mut flock = Flock::start();
    let (near, far) = (flock.start_peer(), flock.start_peer());
    let (mut near, mut far) = (flock.client(&near).await, flock.client(&far).await);
    let old = near.create_database("items").await;
    near.create_database("others").await;
    near.transact("items", NAMES).await.unwrap();
    let last = near.transact("items", r#"[{:item/name "a"} {:item/name "b"}]"#).await.unwrap();
    assert_eq!(far.q(QUERY, vec![database_at_least("items", last.t)]).await.unwrap().to_string(), "2");

    // One waits at the far peer for a transaction that will never be.
    let mut waiting = far.clone();
    let waiter = tokio::spawn(async move { waiting.sync("items", Some(last.t + 1)).await });
    assert_eq!(delete(&mut near, "items").await.unwrap(), old);
    let told = waiter.await.unwrap().unwrap_err();
    assert_eq!((told.category(), told.code()), (Category::NotFound, "db.error/database-deleted"));
    for client in [&mut near, &mut far] {
        let told = client.q(QUERY, vec![database("items")]).await.unwrap_err();
        assert_eq!(told.category(), Category::NotFound, "{told}");
        assert_eq!(client.transact("items", "[]").await.unwrap_err().category(), Category::NotFound);
        // Nothing follows it any more.
        while names(client).await.contains(&"items".to_owned()) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(delete(&mut far, "items").await.unwrap_err().category(), Category::NotFound);

    let new = near.create_database("items").await;
    assert_ne!(new.id, old.id);
    near.transact("items", NAMES).await.unwrap();
    let first = near.transact("items", r#"[{:item/name "c"}]"#).await.unwrap();
    assert_eq!(first.t, 2);
    assert_eq!(far.q(QUERY, vec![database_at_least("items", first.t)]).await.unwrap().to_string(), "1");

    // A t of the old one is waited for no longer than the caller does, whichever side is first to say so.
    let mut ahead = Request::new(v1::SyncRequest { database: "items".into(), t: Some(1000) });
    ahead.set_timeout(Duration::from_millis(200));
    let error = proto::error(&far.peer.sync(ahead).await.unwrap_err());
    assert!(matches!(error.category(), Category::Unavailable | Category::Interrupted), "{error}");

    // A restart brings back neither the old one nor its name's past.
    flock.take_transactor().kill();
    flock.restart_transactor();
    let mut direct = Client::connect(&flock.transactor_url()).await;
    assert_eq!(direct.transact_directly("items", r#"[{:item/name "d"}]"#).await.unwrap().t, 3);
    assert_eq!(direct.transact_directly("others", "[]").await.unwrap().t, 1);
    assert_eq!(near.q(QUERY, vec![database_at_least("items", 3)]).await.unwrap().to_string(), "2");
}

/// A peer that is cut off while the database is deleted, and another one created under its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_away_hears_of_the_deletion_when_it_comes_back() {
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", NAMES).await.unwrap();
    client.transact("items", r#"[{:item/name "a"}]"#).await.unwrap();
    flock.take_transactor().kill();
    // It answers at its basis meanwhile.
    assert_eq!(client.q(QUERY, vec![database("items")]).await.unwrap().to_string(), "1");

    let elsewhere = flock.start_transactor_elsewhere();
    let mut direct = Client::connect(elsewhere.url()).await;
    let request = v1::DeleteDatabaseRequest { name: "items".into(), confirm_name: "items".into() };
    direct.transactor.delete_database(request).await.unwrap();
    let created = direct.transactor.create_database(v1::CreateDatabaseRequest { name: "items".into() }).await.unwrap();
    let new = created.into_inner().database.unwrap();
    direct.transact_directly("items", NAMES).await.unwrap();
    elsewhere.terminate();

    flock.restart_transactor();
    loop {
        let databases = client.peer_status().await.databases;
        if !databases.iter().any(|status| status.database.as_ref().unwrap().id != new.id) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let found = client.q("[:find ?e :where [?e :item/name]]", vec![database_at_least("items", 1)]).await.unwrap();
    assert_eq!(found.to_string(), "[]");
}
