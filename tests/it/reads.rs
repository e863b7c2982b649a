//! What a reader may rely on: its own writes, the same answers everywhere, and answers while no transactor is up.

use db::Category;
use diachron_tests::{Flock, database, database_as_of, database_at_least};
use proto::v1;

const SCHEMA: &str = "[{:db/ident :item/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
const ITEMS: &str = "[:find ?id ?n :where [?e :item/id ?id] [?e :item/n ?n]]";

#[tokio::test(flavor = "multi_thread")]
async fn every_caller_of_a_peer_reads_its_own_writes_there() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let mut client = client.clone();
        callers.spawn(async move {
            for n in 0..25 {
                let tx_data = format!(r#"[{{:item/id "caller {caller}" :item/n {n}}}]"#);
                let response = client.transact("items", &tx_data).await.unwrap();
                assert!(!response.not_yet_visible);
                let query = format!(r#"[:find ?n . :where [?e :item/id "caller {caller}"] [?e :item/n ?n]]"#);
                let found = client.q(&query, vec![database("items")]).await.unwrap();
                assert_eq!(found.to_string(), n.to_string());
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(client.sync("items", None).await.unwrap(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_01_a_peer_fed_by_the_log_and_one_built_from_storage_are_equal_at_every_t() {
    let flock = Flock::start();
    let (first, second) = (flock.start_peer(), flock.start_peer());
    let (mut one, mut two) = (flock.client(&first).await, flock.client(&second).await);
    one.create_database("items").await;
    one.transact("items", SCHEMA).await.unwrap();
    for n in 0..20 {
        // Alternately new items and new numbers for old ones, through either peer.
        let tx_data = format!(r#"[{{:item/id "item {}" :item/n {n}}}]"#, n % 7);
        let writer = if n % 2 == 0 { &mut one } else { &mut two };
        writer.transact("items", &tx_data).await.unwrap();
    }
    let newest = one.sync("items", None).await.unwrap();
    assert_eq!(two.sync("items", Some(newest)).await.unwrap(), newest);
    // The first two heard of all this as it happened; this one reads it from storage.
    let third = flock.start_peer();
    let mut three = flock.client(&third).await;
    assert_eq!(three.sync("items", Some(newest)).await.unwrap(), newest);
    for t in 0..=newest {
        let from_one = one.q(ITEMS, vec![database_as_of("items", t)]).await.unwrap().to_string();
        for other in [&mut two, &mut three] {
            let found = other.q(ITEMS, vec![database_as_of("items", t)]).await.unwrap();
            assert_eq!(from_one, found.to_string(), "t {t}");
        }
    }
    assert_eq!(one.log("items").await.unwrap(), three.log("items").await.unwrap());
    assert_eq!(one.log("items").await.unwrap(), two.log("items").await.unwrap());
    let (one, two) = (one.peer_status().await, two.peer_status().await);
    assert_eq!(one.databases[0].hash, two.databases[0].hash);
    assert_eq!(one.databases[0].state, v1::FollowState::Following as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_peer_catches_up_without_a_gap() {
    let flock = Flock::start();
    let (stays, goes) = (flock.start_peer(), flock.start_peer());
    let mut client = flock.client(&stays).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", r#"[{:item/id "a" :item/n 1}]"#).await.unwrap();
    goes.kill();
    for n in 2..30 {
        client.transact("items", &format!(r#"[{{:item/id "a" :item/n {n}}}]"#)).await.unwrap();
    }
    let comes = flock.start_peer();
    let mut back = flock.client(&comes).await;
    assert_eq!(back.sync("items", None).await.unwrap(), 30);
    let log = back.log("items").await.unwrap();
    assert_eq!(log.iter().map(|tx| tx.t).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!(log, client.log("items").await.unwrap());
    // And it follows from there.
    client.transact("items", r#"[{:item/id "b" :item/n 31}]"#).await.unwrap();
    let found = back.q(ITEMS, vec![database_at_least("items", 31)]).await.unwrap();
    assert_eq!(found.to_string(), r#"[["a" 29] ["b" 31]]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_answers_at_its_basis_while_no_transactor_is_up_and_follows_when_it_is_back() {
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", r#"[{:item/id "a" :item/n 1}]"#).await.unwrap();
    flock.take_transactor().kill();

    let found = client.q(ITEMS, vec![database("items")]).await.unwrap();
    assert_eq!(found.to_string(), r#"[["a" 1]]"#);
    // What breaks off with the connection has an unknown outcome; what finds none was not sent.
    let refused = loop {
        let error = client.transact("items", r#"[{:item/id "b" :item/n 2}]"#).await.unwrap_err();
        if error.category() != Category::Unknown {
            break error;
        }
    };
    assert_eq!((refused.category(), refused.code()), (Category::Unavailable, "db.error/unavailable"), "{refused:?}");
    let unknown = client.q(ITEMS, vec![database("elsewhere")]).await.unwrap_err();
    assert_eq!(unknown.category(), Category::Unavailable, "{unknown:?}");
    let databases = client.peer.list_databases(v1::ListDatabasesRequest {}).await.unwrap().into_inner();
    assert_eq!(databases.databases.len(), 1);

    flock.restart_transactor();
    // The connection mends itself; what is refused until then was not sent.
    let response = loop {
        match client.transact("items", r#"[{:item/id "c" :item/n 3}]"#).await {
            Ok(response) => break response,
            Err(error) => assert_eq!(error.category(), Category::Unavailable, "{error:?}"),
        }
    };
    assert_eq!(response.t, 3);
    let found = client.q(ITEMS, vec![database_at_least("items", response.t)]).await.unwrap();
    assert!(found.to_string().contains(r#"["c" 3]"#), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_created_through_one_peer_is_found_by_another() {
    let flock = Flock::start();
    let (first, second) = (flock.start_peer(), flock.start_peer());
    let (mut one, mut two) = (flock.client(&first).await, flock.client(&second).await);
    let unknown = two.q(ITEMS, vec![database("items")]).await.unwrap_err();
    assert_eq!((unknown.category(), unknown.code()), (Category::NotFound, "db.error/unknown-database"));
    let created = one.create_database("items").await;
    assert_eq!(two.create_database("items").await, created);
    one.transact("items", SCHEMA).await.unwrap();
    assert_eq!(two.q(ITEMS, vec![database_at_least("items", 1)]).await.unwrap().to_string(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_basis_that_does_not_come_ends_with_the_deadline() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    let mut request = tonic::Request::new(v1::SyncRequest { database: "items".into(), t: Some(1000) });
    request.set_timeout(std::time::Duration::from_millis(300));
    let status = client.peer.sync(request).await.unwrap_err();
    let error = proto::error(&status);
    assert_eq!(error.code(), "db.error/basis-not-reached", "{error:?}");
    assert!(error.message().contains("up to t 0"), "{error}");
}
