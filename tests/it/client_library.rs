//! The Rust client library against real peers.

use db::{Keyword, Sort, TimePoint, Value};
use diachron_client::{Client, Entity, Fact, TxData, View};
use diachron_tests::{Flock, PATIENCE, Program};

const SCHEMA: &str = "[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
                        :db/unique :db.unique/identity}
                       {:db/ident :person/age, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one,
                        :db/index true}
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

fn age(name: &str, age: i64) -> TxData {
    TxData::new().add(Entity::lookup("person/name", name), "person/age", age)
}

fn values(facts: &[Fact]) -> Vec<(Value, bool)> {
    facts.iter().map(|fact| (fact.v.clone(), fact.added)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_read_in_their_order_through_any_view_however_long_they_are() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let client = connect(&[&peer]).await;
    let before = people(&client).await.t;
    let now = client.transact("people", age("Ann", 31)).await.unwrap().t;
    let long = |n, added| (Value::Long(n), added);
    let ann = async |view: View| {
        let entity = (Keyword::new("person/name"), "Ann");
        let call = client.datoms(view, Sort::Aevt).component(Keyword::new("person/age")).component(entity);
        values(&call.fetch().await.unwrap())
    };
    // A string names no attribute.
    let wrong = client.datoms("people", Sort::Aevt).component("person/age").fetch().await.unwrap_err();
    assert_eq!(wrong.category(), db::Category::Incorrect);
    assert_eq!(ann(View::of("people")).await, [long(31, true)]);
    assert_eq!(ann(View::of("people").as_of_t(before)).await, [long(30, true)]);
    assert_eq!(ann(View::of("people").history()).await, [long(30, true), long(30, false), long(31, true)]);
    let speculative = View::of("people").with(age("Ann", 32)).unwrap();
    assert_eq!(ann(speculative.clone()).await, [long(32, true)]);
    // Since then nothing names Ann, but her age is new.
    let new = client.datoms(speculative.since_t(now), Sort::Avet).component(Keyword::new("person/age"));
    assert_eq!(values(&new.fetch().await.unwrap()), [long(32, true)]);

    // More than a few messages, read as they come.
    let many = (0..3000).fold(TxData::new(), |data, n| data.map(|one| one.set("person/age", 1000 + n)));
    let t = client.transact("people", many).await.unwrap().t;
    let mut facts = client.index_range("people", "person/age").start(1000).read().await.unwrap();
    assert_eq!(facts.head().basis_t, t);
    for n in 0..3000 {
        assert_eq!(facts.next().await.unwrap().unwrap().v, Value::Long(1000 + n));
    }
    assert_eq!(facts.next().await.unwrap(), None);
    let mut last = client.index_range("people", "person/age").end(3997).reverse().limit(2).read().await.unwrap();
    assert_eq!(last.next().await.unwrap().unwrap().v, Value::Long(3996));
    assert_eq!(values(&[last.next().await.unwrap().unwrap()]), [long(3995, true)]);
    assert!(last.next().await.unwrap().is_none() && last.more());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_read_between_any_two_moments() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let client = connect(&[&peer]).await;
    let committed = people(&client).await;
    let last = client.transact("people", age("Ann", 31)).await.unwrap();
    let ts = async |range: (std::ops::Bound<TimePoint>, std::ops::Bound<TimePoint>)| {
        let mut log = client.tx_range("people", range).await.unwrap();
        let mut ts = Vec::new();
        while let Some(transaction) = log.next().await.unwrap() {
            ts.push(transaction.t);
        }
        ts
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let t = TimePoint::T;
    assert_eq!(ts((Unbounded, Unbounded)).await, [1, 2, 3]);
    assert_eq!(ts((Included(t(2)), Unbounded)).await, [2, 3]);
    assert_eq!(ts((Excluded(t(1)), Excluded(t(3)))).await, [2]);
    assert_eq!(ts((Unbounded, Included(t(2)))).await, [1, 2]);
    assert_eq!(ts((Included(TimePoint::Instant(last.instant)), Unbounded)).await.last(), Some(&3));
    assert!(!ts((Unbounded, Excluded(TimePoint::Instant(committed.instant)))).await.contains(&2));
    let mut log = client.tx_range("people", t(2)..t(3)).await.unwrap();
    let logged = log.next().await.unwrap().unwrap();
    assert_eq!((logged.datoms, logged.tempids), (committed.datoms, committed.tempids));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_to_be_is_what_comes_to_be() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let client = connect(&[&peer]).await;
    let before = people(&client).await.t;
    let cy = TxData::new().entity(Entity::tempid("cy"), |cy| cy.set("person/name", "Cy").set("person/age", 7));
    let first = client.with("people", &cy).await.unwrap();
    let second = client.with(first.view.clone(), age("Cy", 8)).await.unwrap();
    assert_eq!((first.basis_t, first.transaction.t, second.transaction.t), (before, before + 1, before + 2));
    let asked = client.query(AGES).database("$", second.view);
    let grown: Vec<(String, i64)> = asked.rows_as().await.unwrap();
    assert_eq!(grown, [("Ann".to_owned(), 30), ("Cy".to_owned(), 8)]);
    assert_eq!(client.sync("people", None).await.unwrap(), before);

    let refused = client.with("people", age("Nobody", 1)).await.unwrap_err();
    assert_eq!(refused.code(), client.transact("people", age("Nobody", 1)).await.unwrap_err().code());
    let committed = client.transact("people", &cy).await.unwrap();
    assert_eq!((first.transaction.t, first.transaction.tempids), (committed.t, committed.tempids));
    // All but the instant, which is that of committing.
    let said = |facts: &[Fact]| -> Vec<Fact> {
        facts.iter().filter(|fact| fact.attribute.as_str() != "db/txInstant").cloned().collect()
    };
    assert_eq!(said(&first.transaction.datoms), said(&committed.datoms));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_outlive_their_peers_without_gap_or_double() {
    let flock = Flock::start();
    let (one, other) = (flock.start_peer(), flock.start_peer());
    let client = connect(&[&one, &other]).await;
    people(&client).await;
    let mut reports = client.tx_reports("people", 0).await.unwrap();
    let mut writer = diachron_tests::Client::connect(&flock.transactor_url()).await;
    let (mut heard, mut peers) = (Vec::new(), vec![other, one]);
    for n in 0..40 {
        writer.transact_directly("people", &format!("[{{:person/age {}}}]", 100 + n)).await.unwrap();
        if n == 10 || n == 25 {
            // The one that tells, first killed, then asked to go; another takes its place at its address.
            let peer = peers.pop().unwrap();
            let address = peer.address().to_owned();
            if n == 10 {
                peer.kill()
            } else {
                assert!(peer.terminate().0.success())
            }
            let args = ["--transactor", &flock.transactor_url(), "--listen", &address];
            peers.push(Program::start("diachron-peer", &args, flock.dir()));
            peers.reverse();
        }
        if n % 3 == 0 {
            heard.push(reports.next().await.unwrap());
        }
    }
    while heard.len() < 42 {
        heard.push(reports.next().await.unwrap());
    }
    // A session's own reads know what it was told.
    let count = "[:find (count ?a) . :where [_ :person/age ?a]]";
    assert_eq!(client.query(count).database("$", "people").value::<i64>().await.unwrap(), Some(41));
    let mut log = client.tx_range("people", ..).await.unwrap();
    for transaction in &heard {
        assert_eq!(log.next().await.unwrap().as_ref(), Some(transaction));
    }
    assert_eq!(log.next().await.unwrap(), None);
}
