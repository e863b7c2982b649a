//! Speculation through a peer, and queries and tx-data that travel typed.

use db::Category;
use db::edn::{self, Edn};
use diachron_tests::{Client, Flock, PATIENCE};
use proto::v1;
use proto::v1::query_input::Kind;
use tonic::Request;

const SCHEMA: &str = "[
  {:db/ident :account/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
   :db/unique :db.unique/identity}
  {:db/ident :account/balance :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}]";
const BALANCES: &str = "[:find ?name ?n :where [?e :account/name ?name] [?e :account/balance ?n]]";

fn patient<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn text(tx_data: &str) -> v1::TxData {
    v1::TxData { kind: Some(v1::tx_data::Kind::Edn(tx_data.into())) }
}

fn typed(tx_data: &str) -> Vec<v1::Value> {
    let forms = edn::read(tx_data).unwrap();
    forms.as_sequence().unwrap().iter().map(v1::Value::from).collect()
}

fn view(with: &[&str]) -> v1::DatabaseView {
    let with_tx_data = with.iter().map(|tx_data| text(tx_data)).collect();
    v1::DatabaseView { name: "bank".into(), with_tx_data, ..Default::default() }
}

async fn bank(flock: &Flock, peer: &diachron_tests::Program) -> Client {
    let mut client = flock.client(peer).await;
    client.create_database("bank").await;
    client.transact("bank", SCHEMA).await.unwrap();
    let accounts = r#"[{:account/name "a" :account/balance 10} {:account/name "b" :account/balance 0}]"#;
    client.transact("bank", accounts).await.unwrap();
    client
}

const TRANSFER: &str =
    r#"[[:fn/transfer [:account/name "a"] [:account/name "b"] :account/balance 7] {:db/id "c" :account/name "c"}]"#;
const INCREMENT: &str = r#"[[:fn/increment [:account/name "c"] :account/balance 5]]"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_with_says_is_what_transacting_does_and_nothing_is_written() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = bank(&flock, &peer).await;
    let (basis_t, reports) = client.with(view(&[TRANSFER, INCREMENT])).await.unwrap();
    assert_eq!((basis_t, reports.iter().map(|report| report.t).collect::<Vec<_>>()), (2, vec![3, 4]));

    // Any read may be asked of the same value: queries, pulls, indexes; through views, which look at what came of it.
    let speculative = view(&[TRANSFER, INCREMENT]);
    let found = client.q(BALANCES, vec![Kind::Database(speculative.clone())]).await.unwrap();
    assert_eq!(found.to_string(), r#"[["a" 3] ["b" 7] ["c" 5]]"#);
    let as_of = |t| Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) });
    for (t, expected) in [(2, r#"[["a" 10] ["b" 0]]"#), (3, r#"[["a" 3] ["b" 7]]"#)] {
        let then = v1::DatabaseView { as_of: as_of(t), ..speculative.clone() };
        assert_eq!(client.q(BALANCES, vec![Kind::Database(then)]).await.unwrap().to_string(), expected);
    }
    let pull = v1::PullRequest {
        database: Some(speculative.clone()),
        pattern: "[:account/balance]".into(),
        entity: r#"[:account/name "c"]"#.into(),
        format: v1::Format::Edn as i32,
        ..Default::default()
    };
    assert_eq!(client.peer.pull(patient(pull)).await.unwrap().into_inner().edn, "{:account/balance 5}");
    let history = v1::DatabaseView { history: true, ..speculative };
    let range = v1::IndexRangeRequest {
        database: Some(history),
        attribute: Some(v1::Component { kind: Some(v1::component::Kind::Edn(":account/balance".into())) }),
        ..Default::default()
    };
    let mut stream = client.peer.index_range(patient(range)).await.unwrap().into_inner();
    let mut changes = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        changes.extend(message.datoms.into_iter().map(|datom| {
            let form = proto::form(datom.v.unwrap()).unwrap();
            format!("{form}{}", if datom.added { '+' } else { '-' })
        }));
    }
    assert_eq!(changes, ["0+", "0-", "3+", "5+", "7+", "10+", "10-"]);

    // Nothing of it was written; then it is, and is the same but for the instant.
    assert_eq!(client.q(BALANCES, vec![Kind::Database(view(&[]))]).await.unwrap().to_string(), r#"[["a" 10] ["b" 0]]"#);
    let but_instant = |datoms: &[v1::Datom]| -> Vec<v1::Datom> {
        datoms.iter().filter(|datom| datom.attribute != "db/txInstant").cloned().collect()
    };
    for (tx_data, report) in [TRANSFER, INCREMENT].into_iter().zip(reports) {
        let committed = client.transact("bank", tx_data).await.unwrap();
        assert_eq!((committed.t, committed.tx), (report.t, report.tx));
        assert_eq!(but_instant(&committed.datoms), but_instant(&report.datoms));
        assert_eq!(committed.tempids, report.tempids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_transacting_would_refuse_with_refuses_in_the_same_words() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = bank(&flock, &peer).await;
    let too_much = r#"[[:fn/transfer [:account/name "a"] [:account/name "b"] :account/balance 70]]"#;
    let refused = client.transact("bank", too_much).await.unwrap_err();
    let speculated = client.with(view(&[too_much])).await.unwrap_err();
    assert_eq!(
        (speculated.category(), speculated.code(), speculated.message()),
        (refused.category(), refused.code(), refused.message())
    );
    let second = client.with(view(&[TRANSFER, too_much])).await.unwrap_err();
    assert!(second.message().starts_with("transaction 2 of 2 in `with_tx_data`: "), "{second}");
    let in_a_query = client.q(BALANCES, vec![Kind::Database(view(&[too_much]))]).await.unwrap_err();
    assert_eq!(in_a_query.message(), refused.message());
    let past = v1::DatabaseView { history: true, ..view(&[TRANSFER]) };
    for view in [view(&[]), past, v1::DatabaseView { with_tx_data: vec![v1::TxData::default()], ..view(&[]) }] {
        let error = client.with(view).await.unwrap_err();
        assert_eq!((error.category(), error.code()), (Category::Incorrect, "db.error/invalid-with"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_report_comes_in_pieces() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = bank(&flock, &peer).await;
    let forms: String = (0..9000).map(|n| format!("{{:db/id \"{n}\" :account/name \"n{n}\"}}")).collect();
    let (_, reports) = client.with(view(&[&format!("[{forms}]"), "[]"])).await.unwrap();
    assert_eq!((reports[0].datoms.len(), reports[0].tempids.len(), reports[0].continues), (9001, 9000, false));
    assert_eq!((reports[1].t, reports[1].datoms.len()), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_queries_and_tx_data_mean_what_their_text_means() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = bank(&flock, &peer).await;
    let tx_data = r#"[{:db/id "d" :account/name "d"} [:db/add "d" :account/balance 4]
                      (:fn/increment [:account/name "b"] :account/balance 1)]"#;
    let request = v1::TransactRequest { database: "bank".into(), tx_data_forms: typed(tx_data), ..Default::default() };
    // Through the peer: what is speculated typed is what is committed typed.
    let forms = v1::tx_data::Kind::Forms(v1::Values { values: typed(tx_data) });
    let speculative = v1::DatabaseView { with_tx_data: vec![v1::TxData { kind: Some(forms) }], ..view(&[]) };
    let (_, reports) = client.with(speculative).await.unwrap();
    let committed = client.peer.transact(patient(request.clone())).await.unwrap().into_inner();
    assert_eq!((committed.t, committed.datom_count), (3, 5));
    assert_eq!(reports[0].tempids, committed.tempids);

    let both = v1::TransactRequest { tx_data: tx_data.into(), ..request };
    let error = proto::error(&client.peer.transact(patient(both)).await.unwrap_err());
    assert_eq!((error.category(), error.code()), (Category::Incorrect, "db.error/given-twice"));

    let query = "[:find ?name . :in $ ?n % :where [?e :account/balance ?n] (named ?e ?name)]";
    let rules = "[[(named ?e ?name) [?e :account/name ?name]]]";
    let value = |text: &str| v1::Value::from(&edn::read(text).unwrap());
    let input = |kind| v1::QueryInput { name: String::new(), kind: Some(kind) };
    let request = v1::QueryRequest {
        query_form: Some(value(query)),
        inputs: vec![
            input(Kind::Database(view(&[]))),
            input(Kind::Value(value("4"))),
            input(Kind::Value(value(rules))),
        ],
        ..Default::default()
    };
    let mut stream = client.peer.query(patient(request.clone())).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(proto::form(first.rows[0].values[0].clone()).unwrap(), Edn::string("d"));
    let typed_pull = v1::PullRequest {
        database: Some(view(&[])),
        pattern_form: Some(value("[:account/balance]")),
        entity_form: Some(value(r#"[:account/name "d"]"#)),
        format: v1::Format::Edn as i32,
        ..Default::default()
    };
    assert_eq!(client.peer.pull(patient(typed_pull)).await.unwrap().into_inner().edn, "{:account/balance 4}");
    let both = v1::QueryRequest { query: query.into(), ..request };
    let error = proto::error(&client.peer.query(patient(both)).await.unwrap_err());
    assert_eq!(error.code(), "db.error/given-twice");
}
