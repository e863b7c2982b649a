//! The Rust client library against real peers.

use diachron_client::{Client, Entity, TxData, View};
use diachron_tests::{Flock, PATIENCE, Program};

const SCHEMA: &str = "[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
                        :db/unique :db.unique/identity}
                       {:db/ident :person/age, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
                       {:db/ident :person/likes, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}]";

async fn connect(peers: &[&Program]) -> Client {
    let urls: Vec<&str> = peers.iter().map(|peer| peer.url()).collect();
    Client::connect(urls).await.unwrap().anonymous().with_timeout(PATIENCE)
}

/// Ann (30) and Bo, who likes her.
async fn people(client: &Client) -> diachron_client::Committed {
    client.create_database("people").await.unwrap();
    client.transact("people", SCHEMA).await.unwrap();
    let data = TxData::new()
        .entity(Entity::tempid("ann"), |ann| ann.set("person/name", "Ann").set("person/age", 30))
        .map(|bo| bo.set("person/name", "Bo").set_all("person/likes", [Entity::tempid("ann")]));
    client.transact("people", &data).await.unwrap()
}

const AGES: &str = "[:find ?name ?age :where [?e :person/name ?name] [?e :person/age ?age]]";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_typed_is_read_typed_now_and_as_of_then() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let client = connect(&[&peer]).await;
    let before = people(&client).await.t;
    let ann = || Entity::lookup("person/name", "Ann");
    let older = TxData::new().cas(ann(), "person/age", Some(30), 31).retract(
        Entity::lookup("person/name", "Bo"),
        "person/likes",
        ann(),
    );
    let now = client.transact("people", older).await.unwrap().t;

    let ages = async |view: View| client.query(AGES).database("$", view).rows_as::<(String, i64)>().await.unwrap();
    assert_eq!(ages(View::of("people")).await, [("Ann".to_owned(), 31)]);
    assert_eq!(ages(View::of("people").as_of_t(before)).await, [("Ann".to_owned(), 30)]);
    assert_eq!(ages(View::of("people").since_t(now)).await, []);
    let all = "[:find [?age ...] :where [_ :person/age ?age]]";
    let history = client.query(all).database("$", View::of("people").history()).values::<i64>().await.unwrap();
    assert_eq!(history, [30, 31]);

    // Two moments, rules and typed inputs in one query.
    let grown: Option<bool> = client
        .query(
            "[:find ?grown . :in $ $then % [?name ...] ?least :where (named ?e ?name) [?e :person/age ?now]
                 [$then ?e :person/age ?then] [(- ?now ?then) ?more] [(>= ?more ?least) ?grown]]",
        )
        .database("$", "people")
        .database("$then", View::of("people").as_of_t(before))
        .rules("[[(named ?e ?name) [?e :person/name ?name]]]")
        .arg(["Ann", "Bo"])
        .named("?least", 1)
        .value()
        .await
        .unwrap();
    assert_eq!(grown, Some(true));

    let pulled = client.pull("people", "[:person/name {:person/_likes [:person/name]}]", "[:person/name \"Ann\"]");
    assert_eq!(pulled.await.unwrap().get::<String>("person/name").unwrap().as_deref(), Some("Ann"));
    let error = client.transact("people", TxData::new().cas(ann(), "person/age", Some(30), 40)).await.unwrap_err();
    assert_eq!((error.category(), error.code()), (db::Category::Conflict, "db.error/cas-failed"));
    client.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_two_peers_outlives_one_and_reads_what_it_wrote() {
    let mut flock = Flock::start();
    let (one, other) = (flock.start_peer(), flock.start_peer());
    let client = connect(&[&one, &other]).await;
    people(&client).await;
    assert_eq!(client.url(), one.url());
    let (other_url, age) =
        (other.url().to_owned(), |age: i64| TxData::new().add(Entity::lookup("person/name", "Ann"), "person/age", age));
    client.transact("people", age(31)).await.unwrap();
    one.kill();
    // The other peer is asked for no less than this client saw.
    let ages = async || client.query(AGES).database("$", "people").rows_as::<(String, i64)>().await;
    assert_eq!(ages().await.unwrap(), [("Ann".to_owned(), 31)]);
    assert_eq!(client.url(), other_url);
    client.transact("people", age(32)).await.unwrap();
    assert_eq!(ages().await.unwrap(), [("Ann".to_owned(), 32)]);

    // A transactor that is away for a moment is waited for: nothing was done, so it may be sent again.
    flock.take_transactor().terminate();
    // Once the peer knows: what it would send before that might break off, and nobody could tell what was done.
    while client.status().await.unwrap().databases[0].state() != proto::v1::FollowState::Disconnected {}
    let sending = tokio::spawn({
        let client = client.clone().with_retry(diachron_client::Retry { rounds_max: 1000, ..Default::default() });
        async move {
            client.transact("people", TxData::new().add(Entity::lookup("person/name", "Bo"), "person/age", 50)).await
        }
    });
    flock.restart_transactor();
    let committed = sending.await.unwrap().unwrap();
    let mut log = client.log("people", committed.t, 0).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().t, committed.t);
    assert_eq!(log.next().await.unwrap(), None);
    drop(other);
}
