//! The client against peers that answer as the test tells them.

// The fake is that of the command's tests, which ask it for more.
#[allow(dead_code)]
#[path = "../../../cli/tests/it/fake.rs"]
mod fake;

use client::{Client, Retry, TxData};
use db::{Category, Error};
use diachron_client as client;
use fake::FakePeer;
use proto::v1::query_input::Kind;
use std::time::{Duration, Instant};
use tonic::Status;

mod reads;

const QUERY: &str = "[:find ?name ?n :where [?c :country/name ?name]]";

fn busy(retry_after_ms: i64) -> Status {
    let error = Error::new(Category::Busy, "db.error/queue-full", "full");
    proto::status(&error.with(proto::RETRY_AFTER_MS, retry_after_ms))
}

/// The server's own word that nothing was done.
fn unavailable() -> Status {
    proto::status(&Error::new(Category::Unavailable, "db.error/no-transactor", "no transactor"))
}

/// What a library says when a connection breaks.
fn broken() -> Status {
    Status::unavailable("connection reset")
}

fn told(peer: &FakePeer, failures: impl IntoIterator<Item = Status>) {
    peer.seen().failures.extend(failures);
}

/// Tries soon, so that the tests are short.
async fn connect(peers: &[&FakePeer]) -> Client {
    let urls: Vec<&str> = peers.iter().map(|peer| peer.url()).collect();
    let retry = Retry { rounds_max: 5, wait_min: Duration::from_millis(2), wait_max: Duration::from_millis(10) };
    Client::connect(urls).await.unwrap().anonymous().with_retry(retry)
}

fn least_t(peer: &FakePeer) -> Vec<u64> {
    let seen = peer.seen();
    let inputs = seen.queries.iter().flat_map(|query| &query.inputs);
    inputs
        .filter_map(|input| if let Some(Kind::Database(view)) = &input.kind { Some(view.least_t) } else { None })
        .collect()
}

#[tokio::test]
async fn rows_come_as_the_types_that_are_asked_for() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    let call = || client.query(QUERY).database("$", "world");
    let rows: Vec<(String, f64)> = call().rows_as().await.unwrap();
    assert_eq!(rows, [("Peru".to_owned(), 45.0), ("Åland, \"Islands\"".to_owned(), 1.5)]);
    let error = call().rows_as::<(String, String)>().await.unwrap_err();
    assert_eq!(error.message(), "row 1: column 2: a string is wanted, but here is 45.0");
    assert!(call().values::<String>().await.unwrap_err().message().contains("2 columns"));

    let pulled = client.pull("world", "[:country/name]", "17").await.unwrap();
    assert_eq!(pulled.get::<String>(":country/name").unwrap().as_deref(), Some("Perú"));
    assert_eq!(pulled.get::<i64>("country/area").unwrap(), None);
    assert!(pulled.get::<i64>("country/name").unwrap_err().message().contains("a long is wanted"));
}

#[tokio::test]
async fn inputs_travel_as_the_edn_that_they_are() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    let call = client.query(QUERY).database("$", "world").arg(["PE", "a\"b"]).named("?least", 1_000_000);
    call.fetch().await.unwrap();
    let request = peer.seen().queries.remove(0);
    let edn: Vec<(&str, &str)> = request
        .inputs
        .iter()
        .filter_map(|input| match &input.kind {
            Some(Kind::Edn(text)) => Some((input.name.as_str(), text.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(edn, [("", "[\"PE\" \"a\\\"b\"]"), ("?least", "1000000")]);

    let wrong = client.query(QUERY).arg(db::Keyword::new("a b] :where [")).fetch().await.unwrap_err();
    assert_eq!(wrong.category(), Category::Incorrect);
}

#[tokio::test]
async fn a_read_is_made_again_while_the_peer_is_busy_and_not_before_it_wants() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    told(&peer, [busy(60), unavailable(), broken()]);
    let began = Instant::now();
    client.query(QUERY).database("$", "world").fetch().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    assert_eq!(peer.seen().calls, 4);
    told(&peer, [busy(0), broken()]);
    client.pull("world", "[*]", "17").await.unwrap();
    told(&peer, [broken()]);
    assert_eq!(client.sync("world", Some(3)).await.unwrap(), 3);
    told(&peer, [broken()]);
    client.log("world", 0, 0).await.unwrap();
}

#[tokio::test]
async fn what_another_try_does_not_mend_is_told_at_once() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    for category in Category::ALL {
        if matches!(category, Category::Unavailable | Category::Busy) {
            continue;
        }
        let before = peer.seen().calls;
        told(&peer, [proto::status(&Error::new(category, "test.error/told", "as the test wants it"))]);
        let error = client.query(QUERY).database("$", "world").fetch().await.unwrap_err();
        assert_eq!(error.category(), category);
        assert_eq!(peer.seen().calls, before + 1, "{category:?}");
    }
}

#[tokio::test]
async fn tries_end_at_their_number_and_at_the_deadline() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    told(&peer, std::iter::repeat_with(unavailable).take(100));
    let error = client.query(QUERY).database("$", "world").fetch().await.unwrap_err();
    assert_eq!((error.category(), peer.seen().calls), (Category::Unavailable, 5));

    let never = client.clone().with_retry(Retry::NEVER);
    assert_eq!(never.databases().await.unwrap_err().category(), Category::Unavailable);
    assert_eq!(peer.seen().calls, 6);

    // It asks for more time than there is: nothing is gained by waiting.
    peer.seen().failures.clear();
    told(&peer, [busy(60_000)]);
    let began = Instant::now();
    let hasty = client.clone().with_timeout(Duration::from_millis(300));
    assert_eq!(hasty.databases().await.unwrap_err().category(), Category::Busy);
    assert!(began.elapsed() < Duration::from_millis(300));

    let error = hasty.query("[:find ?hang :where [?e]]").database("$", "world").fetch().await.unwrap_err();
    assert_eq!((error.category(), error.message()), (Category::Interrupted, "no answer within 0.3 s"));
}

#[tokio::test]
async fn a_transaction_is_sent_again_only_when_the_server_said_that_nothing_was_done() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    told(&peer, [busy(1), unavailable(), busy(1)]);
    assert_eq!(client.transact("world", "[1]").await.unwrap().t, 1);
    assert_eq!(peer.seen().calls, 4);

    told(&peer, [broken()]);
    let error = client.transact("world", "[2]").await.unwrap_err();
    assert_eq!(error.category(), Category::Unknown);
    assert_eq!(peer.seen().calls, 5);
    assert_eq!(peer.seen().transactions.len(), 1);

    let error = client.clone().with_timeout(Duration::from_millis(100)).transact("world", "[:hang]").await.unwrap_err();
    assert_eq!(error.category(), Category::Unknown);
    assert_eq!(peer.seen().transactions.len(), 2);
}

#[tokio::test]
async fn a_transaction_of_unknown_outcome_goes_to_no_other_peer_either() {
    let (one, other) = (FakePeer::start(), FakePeer::start());
    let client = connect(&[&one, &other]).await;
    told(&one, [broken()]);
    assert_eq!(client.transact("world", "[1]").await.unwrap_err().category(), Category::Unknown);
    assert_eq!((one.seen().calls, other.seen().calls), (1, 0));
    // It goes away; a read finds that out.
    drop(one);
    client.databases().await.unwrap();
    let committed = client.transact("world", TxData::new().add(db::EntityId::of_tx(1), "a/b", 2)).await.unwrap();
    assert_eq!(committed.t, 1);
    assert_eq!(other.seen().transactions[0].tx_data, "[[:db/add 13194139533313 :a/b 2]]");
    assert_eq!(client.url(), other.url());
}

#[tokio::test]
async fn without_a_connection_a_transaction_is_known_not_to_be_sent() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await.with_retry(Retry::NEVER);
    drop(peer);
    client.databases().await.unwrap_err();
    let error = client.transact("world", "[1]").await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{error}");
}

#[tokio::test]
async fn when_a_peer_goes_away_the_next_one_answers_and_knows_no_less() {
    let (one, other) = (FakePeer::start(), FakePeer::start());
    let client = connect(&[&one, &other]).await;
    let ask = || client.query(QUERY).database("$", "world").fetch();
    ask().await.unwrap();
    assert_eq!((client.url(), other.seen().calls), (one.url(), 0));
    assert_eq!(least_t(&one), [0]);
    drop(one);
    ask().await.unwrap();
    ask().await.unwrap();
    // The first peer had told basis 9; what the second tells itself needs no floor.
    assert_eq!((client.url(), least_t(&other)), (other.url(), vec![9, 0]));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_asked_for_again() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    let answer = client.query("[:find ?cut-once :where [?e]]").database("$", "world").fetch().await.unwrap();
    assert_eq!((answer.rows.len(), peer.seen().calls), (2, 2));
    let error = client.query("[:find ?cut :where [?e]]").database("$", "world").fetch().await.unwrap_err();
    assert_eq!(error.code(), "db.error/answer-cut-off");
    // Rows that were handed out cannot be taken back.
    let mut rows = client.query("[:find ?cut :where [?e]]").database("$", "world").rows().await.unwrap();
    let before = peer.seen().calls;
    assert!(rows.next().await.unwrap().is_some());
    assert!(rows.next().await.unwrap().is_some());
    assert!(rows.next().await.is_err());
    assert_eq!(peer.seen().calls, before);
}

#[tokio::test]
async fn the_first_peer_that_answers_and_is_ready_is_taken() {
    let away = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let catching_up = not_serving().await;
    let ready = FakePeer::start();
    let url = async |urls: &[&str]| Client::connect(urls).await.map(|client| client.url().to_owned());
    assert_eq!(url(&[&away, &catching_up, ready.url()]).await.unwrap(), ready.url());
    // Better one that is behind than none.
    assert_eq!(url(&[&away, &catching_up]).await.unwrap(), catching_up);
    let error = url(&[&away, &away]).await.unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Unavailable, "db.error/no-peer"));
    assert_eq!(error.message().matches(&away).count(), 2, "{error}");
    assert_eq!(url(&[&away, "localhost:1"]).await.unwrap_err().category(), Category::Incorrect);
    assert_eq!(Client::connect(Vec::<String>::new()).await.unwrap_err().category(), Category::Incorrect);
}

/// A server that says that the peer in it is not ready.
async fn not_serving() -> String {
    let (reporter, health) = tonic_health::server::health_reporter();
    let status = tonic_health::ServingStatus::NotServing;
    reporter.set_service_status(proto::v1::peer_server::SERVICE_NAME, status).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    url
}
