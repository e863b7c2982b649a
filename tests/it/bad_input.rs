//! Whatever a client sends, it gets a clear error, and nobody else notices.

use db::Category;
use diachron_tests::{Client, Flock, database};
use proto::v1;
use proto::v1::query_input::Kind;
use std::io::{Read, Write};
use tonic::Code;

const SCHEMA: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
const GOOD_QUERY: &str = "[:find ?n . :where [_ :item/n ?n]]";

async fn start(flock: &Flock, peer: &diachron_tests::Program) -> Client {
    let mut client = flock.client(peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", r#"[{:item/name "a" :item/n 1}]"#).await.unwrap();
    client
}

/// All goes on as if nothing had been sent.
async fn all_is_well(client: &mut Client) {
    let response = client.transact("items", r#"[{:item/name "a" :item/n 1}]"#).await.unwrap();
    let found = client.q(GOOD_QUERY, vec![database("items")]).await.unwrap();
    assert_eq!((found.to_string().as_str(), response.datom_count), ("1", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_19_bad_transactions_are_refused_with_what_and_why() {
    let mut flock = Flock::start();
    let mut peer = flock.start_peer();
    let mut client = start(&flock, &peer).await;
    let deep = "[".repeat(10 << 20);
    let huge = format!("[{{:item/name {:?}}}]", "x".repeat(20 << 20));
    for (tx_data, says) in [
        ("", ""),
        ("nil", "nil"),
        ("42", "42"),
        ("[", ""),
        ("[}]", "}"),
        ("[{:item/n}]", ""),
        ("[nil]", "nil"),
        ("[{:item/name nil}]", "nil"),
        (r#"[{:item/name "b" :item/n "many"}]"#, ":item/n"),
        ("[{:item/nam 1}]", ":item/name"),
        ("[[:fn/incremnt 1 2 3]]", ":fn/increment"),
        (r#"[[:fn/increment [:item/name "a"] :item/n]]"#, "3 arguments"),
        (r#"[[:db/cas [:item/name "a"] :item/n 7 8]]"#, "7"),
        ("[[:db/add 77777777777 :item/n 1]]", "77777777777"),
        ("#foo/bar [1]", ""),
        (&deep, "deep"),
        (&huge, ":item/name"),
    ] {
        let shown: String = tx_data.chars().take(60).collect();
        let error = client.transact("items", tx_data).await.expect_err(&shown);
        let expected = [Category::Incorrect, Category::Conflict, Category::NotFound, Category::Unsupported];
        assert!(expected.contains(&error.category()), "{shown}: {error:?}");
        assert!(error.message().contains(says), "{shown}: {error}");
    }
    let unknown = client.transact("nothing", "[]").await.unwrap_err();
    assert_eq!((unknown.category(), unknown.code()), (Category::NotFound, "db.error/unknown-database"));
    let name = v1::CreateDatabaseRequest { name: "../etc/passwd".into() };
    assert_eq!(client.peer.create_database(name).await.unwrap_err().code(), Code::InvalidArgument);
    all_is_well(&mut client).await;
    assert!(flock.transactor().is_running() && peer.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_refused_with_what_and_why() {
    let mut flock = Flock::start();
    let mut peer = flock.start_peer();
    let mut client = start(&flock, &peer).await;
    let deep = "[".repeat(10 << 20);
    for (query, says) in [
        ("", ""),
        ("nil", "nil"),
        ("[:find", ""),
        ("[:find ?x :where [?e :item/n ?n]]", "?x"),
        ("[:find ?e :where [?e :item/nam ?n]]", ":item/nam"),
        ("[:find ?e :where [(nope ?e)]]", "nope"),
        ("[:find ?e :where [?e :item/n ?n] [(< ?m 3)]]", "?m"),
        ("[:find (stdev ?n) :where [?e :item/n ?n]]", "stddev"),
        (&deep, "deep"),
    ] {
        let shown: String = query.chars().take(60).collect();
        let error = client.q(query, vec![database("items")]).await.expect_err(&shown);
        let expected = [Category::Incorrect, Category::NotFound, Category::Unsupported];
        assert!(expected.contains(&error.category()), "{shown}: {error:?}");
        assert!(error.message().contains(says), "{shown}: {error}");
    }
    let with_arg = "[:find ?e :in $ ?n :where [?e :item/n ?n]]";
    for (inputs, says) in [
        (vec![], "$"),
        (vec![database("items")], "?n"),
        (vec![database("items"), Kind::Edn("[".into())], "?n"),
        (vec![database("items"), Kind::Edn(deep.clone())], "?n"),
        (vec![database("items"), Kind::Edn("1".into()), Kind::Edn("2".into())], "more inputs"),
        (vec![database("no such")], "no such"),
    ] {
        let error = client.q(with_arg, inputs).await.unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
    for point in ["", "nil", "-1", "\"yesterday\"", "17592186044416"] {
        let kind = Some(v1::time_point::Kind::Edn(point.into()));
        let view = v1::DatabaseView { as_of: Some(v1::TimePoint { kind }), name: "items".into(), ..Default::default() };
        let error = client.q(GOOD_QUERY, vec![Kind::Database(view)]).await.expect_err(point);
        assert_eq!(error.category(), Category::Incorrect, "{point}: {error:?}");
    }
    all_is_well(&mut client).await;
    assert!(flock.transactor().is_running() && peer.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_deadlines_end_a_query_and_nothing_else() {
    let flock = Flock::start();
    let mut peer = flock.start_peer();
    let mut client = start(&flock, &peer).await;
    let forms = (0..2000).map(|n| format!("{{:item/name \"i{n}\" :item/n {n}}}")).collect::<Vec<_>>().join(" ");
    client.transact("items", &format!("[{forms}]")).await.unwrap();
    let cross = "[:find (count ?a) . :with ?b ?c :where [?a :item/n] [?b :item/n] [?c :item/n]]";
    let request = |limits| v1::QueryRequest {
        query: cross.into(),
        inputs: vec![v1::QueryInput { name: String::new(), kind: Some(database("items")) }],
        limits,
        ..Default::default()
    };
    let limits = v1::QueryLimits { rows_max: 10_000, bytes_max: 0 };
    let status = client.peer.query(request(Some(limits))).await.err().unwrap();
    assert_eq!((status.code(), proto::error(&status).code()), (Code::OutOfRange, "db.error/row-limit"));
    let mut short = tonic::Request::new(request(None));
    short.set_timeout(std::time::Duration::from_millis(300));
    let error = proto::error(&client.peer.query(short).await.err().unwrap());
    assert_eq!(error.category(), Category::Interrupted, "{error:?}");
    let found = client.q("[:find (max ?n) . :where [_ :item/n ?n]]", vec![database("items")]).await.unwrap();
    assert_eq!(found.to_string(), "1999");
    assert!(peer.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_and_bytes_that_are_no_grpc_are_refused() {
    let mut flock = Flock::start();
    let mut peer = flock.start_peer();
    let mut client = start(&flock, &peer).await;
    let oversized = v1::TransactRequest {
        database: "items".into(),
        tx_data: format!("[{:?}]", "x".repeat(70 << 20)),
        ..Default::default()
    };
    // Past our own client's limit, as another client might.
    let mut careless = client.peer.clone().max_encoding_message_size(usize::MAX);
    let status = careless.transact(oversized).await.unwrap_err();
    assert!(status.message().contains("too large") || status.code() == Code::OutOfRange, "{status:?}");

    for url in [peer.url().to_owned(), flock.transactor_url()] {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect(),
        ] {
            let mut socket = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
            // It may hang up before it has read all.
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
    all_is_well(&mut client).await;
    assert!(flock.transactor().is_running() && peer.is_running());
}
