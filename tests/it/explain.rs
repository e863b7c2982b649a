//! A peer tells how it carries a query out.

use diachron_tests::{Flock, database};
use proto::v1;

const SCHEMA: &str = "[{:db/ident :item/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_query_is_explained_as_its_text_is() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    client.transact("items", "[{:item/id \"a\" :item/n 1} {:item/id \"b\" :item/n 2}]").await.unwrap();

    let text = "[:find ?id :where [?e :item/n ?n] [(> ?n 1)] [?e :item/id ?id]]";
    let form = v1::Value::from(&db::edn::read(text).unwrap());
    let typed = v1::ExplainRequest { query: String::new(), query_form: Some(form.clone()), ..request(text, "items") };
    let by_text = client.peer.explain(request(text, "items")).await.unwrap().into_inner();
    let by_form = client.peer.explain(typed).await.unwrap().into_inner();
    assert_eq!((by_form.row_count, &by_form.steps), (1, &by_text.steps));

    let twice = v1::ExplainRequest { query_form: Some(form), ..request(text, "items") };
    let error = proto::error(&client.peer.explain(twice).await.unwrap_err());
    assert_eq!(error.code(), "db.error/given-twice");
    // Neither is the text of nothing.
    let error = client.peer.explain(request("", "items")).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
}

fn request(query: &str, database_name: &str) -> v1::ExplainRequest {
    let inputs = vec![v1::QueryInput { name: String::new(), kind: Some(database(database_name)) }];
    v1::ExplainRequest { query: query.into(), inputs, ..v1::ExplainRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_explains_a_query_with_what_was_read_and_real_rows() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let items: Vec<String> = (0..50).map(|n| format!("{{:item/id \"item {n}\" :item/n {}}}", n % 5)).collect();
    client.transact("items", &format!("[{}]", items.join(" "))).await.unwrap();

    let query = "[:find ?n :where [?e :item/n ?n] [?e :item/id \"item 7\"]]";
    let told = client.peer.explain(request(query, "items")).await.unwrap().into_inner();
    let clauses: Vec<&str> = told.steps.iter().map(|step| step.clause.as_str()).collect();
    assert_eq!(clauses, ["[?e :item/id \"item 7\"]", "[?e :item/n ?n]", ":find ?n"]);
    let first = &told.steps[0];
    assert_eq!((first.kind(), first.rows_in, first.rows_out), (v1::ExplainKind::Pattern, 1, Some(1)));
    assert_eq!((first.reads[0].how.as_str(), first.reads[0].index.as_str()), ("scan", "avet"));
    assert_eq!(first.reads[0].bound, ["a", "v"]);
    assert_eq!((told.row_count, told.stopped.as_str(), told.databases[0].basis_t), (1, "", 2));
    assert!(told.text.contains("1 row in the answer"), "{}", told.text);
    let db::edn::Edn::Map(_) = db::edn::read(&told.edn).unwrap() else { panic!("{}", told.edn) };

    // What a limit ends is told as far as it went; what is wrong is an error.
    let pairs = "[:find ?a ?b :where [?a :item/n ?n] [?b :item/n ?m] [(<= ?n ?m)]]";
    let limits = Some(v1::QueryLimits { rows_max: 100, bytes_max: 0 });
    let told =
        client.peer.explain(v1::ExplainRequest { limits, ..request(pairs, "items") }).await.unwrap().into_inner();
    assert!(told.stopped.contains("100 rows"), "{}", told.stopped);
    assert_eq!(told.steps.last().unwrap().rows_out, None);
    let error = client.peer.explain(request("[:find ?x :where [?e :item/n ?n]]", "items")).await.unwrap_err();
    assert!(error.message().contains("?x"), "{error}");
}
