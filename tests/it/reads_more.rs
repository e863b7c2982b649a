//! Reading beside queries: indexes by pieces, ranges of values, ranges of transactions.

use db::{Category, Error, Result};
use diachron_tests::{Client, Flock, PATIENCE};
use proto::v1;
use proto::v1::component::Kind;
use tonic::{Request, Status};

const SCHEMA: &str = "[
  {:db/ident :item/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
  {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
  {:db/ident :item/note :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
  {:db/ident :item/of :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}]";

const ITEMS: i64 = 5000;

/// 5,000 items, then another number for every third one: a past and a present in the same index.
async fn items(flock: &Flock, peer: &diachron_tests::Program) -> Client {
    let mut client = flock.client(peer).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let item = |n: i64| format!("{{:item/id \"{n}\" :item/n {n} :item/note \"of {n}\"}}");
    let all: String = (0..ITEMS).map(item).collect();
    client.transact("items", &format!("[{{:db/ident :the/owner}} {all}]")).await.unwrap();
    let changed: String =
        (0..ITEMS).step_by(3).map(|n| format!("{{:item/id \"{n}\" :item/n {} :item/of :the/owner}}", n + 1)).collect();
    client.transact("items", &format!("[{changed}]")).await.unwrap();
    client
}

fn edn(text: &str) -> v1::Component {
    v1::Component { kind: Some(Kind::Edn(text.into())) }
}

fn view(change: impl FnOnce(&mut v1::DatabaseView)) -> Option<v1::DatabaseView> {
    let mut view = v1::DatabaseView { name: "items".into(), ..Default::default() };
    change(&mut view);
    Some(view)
}

fn point(t: u64) -> Option<v1::TimePoint> {
    Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) })
}

struct Answer {
    head: v1::ReadHead,
    datoms: Vec<v1::Datom>,
    more: bool,
    messages: usize,
}

async fn whole(stream: Result<tonic::Response<tonic::Streaming<v1::DatomsResponse>>, Status>) -> Result<Answer> {
    let told = |status: Status| proto::error(&status);
    let mut stream = stream.map_err(told)?.into_inner();
    let (mut head, mut datoms, mut end, mut messages) = (None, Vec::new(), None, 0);
    while let Some(message) = stream.message().await.map_err(told)? {
        assert_eq!(head.is_none(), message.head.is_some(), "the head comes first, and once");
        head = head.or(message.head);
        datoms.extend(message.datoms);
        end = message.end;
        messages += 1;
    }
    let end = end.ok_or_else(|| Error::fault("the answer was cut off"))?;
    assert_eq!(end.datom_count, datoms.len() as u64);
    Ok(Answer { head: head.unwrap(), datoms, more: end.more, messages })
}

fn patient<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

async fn datoms(client: &mut Client, request: v1::DatomsRequest) -> Result<Answer> {
    whole(client.peer.datoms(patient(request)).await).await
}

async fn index_range(client: &mut Client, request: v1::IndexRangeRequest) -> Result<Answer> {
    whole(client.peer.index_range(patient(request)).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_comes_in_pieces_and_going_on_from_any_datom_gives_the_rest() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = items(&flock, &peer).await;
    let views = [view(|_| {}), view(|view| view.as_of = point(2)), view(|view| view.history = true)];
    for (number, view) in views.into_iter().enumerate() {
        for index in [v1::Index::Eavt, v1::Index::Aevt, v1::Index::Avet, v1::Index::Vaet] {
            let request = v1::DatomsRequest { database: view.clone(), index: index as i32, ..Default::default() };
            let all = datoms(&mut client, request.clone()).await.unwrap();
            assert_eq!((all.head.basis_t, all.more), (3, false));
            if matches!(index, v1::Index::Eavt | v1::Index::Aevt) {
                assert!(all.messages > 10 && all.datoms.len() > 3 * ITEMS as usize, "{} messages", all.messages);
            }
            let mut backwards =
                datoms(&mut client, v1::DatomsRequest { reverse: true, ..request.clone() }).await.unwrap();
            backwards.datoms.reverse();
            assert_eq!(backwards.datoms, all.datoms, "view {number}, {index:?}");

            // Page by page, each from the last datom of the one before.
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = v1::DatomsRequest { limit: 1777, after, ..request.clone() };
                let page = datoms(&mut client, page).await.unwrap();
                assert_eq!(page.more, page.datoms.len() + paged.len() < all.datoms.len());
                after = page.datoms.last().cloned();
                paged.extend(page.datoms);
                if !page.more {
                    break;
                }
            }
            assert_eq!(paged, all.datoms, "view {number}, {index:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datoms_are_found_by_idents_and_lookup_refs_and_sought_from_there_on() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = items(&flock, &peer).await;
    let request = |index: v1::Index, components: &[&str]| v1::DatomsRequest {
        database: view(|_| {}),
        index: index as i32,
        components: components.iter().map(|text| edn(text)).collect(),
        ..Default::default()
    };
    let attributes = |answer: &Answer| answer.datoms.iter().map(|datom| datom.attribute.clone()).collect::<Vec<_>>();
    let numbers = |answer: &Answer| {
        let number = |datom: &v1::Datom| match datom.v.as_ref().unwrap().kind {
            Some(v1::value::Kind::Long(n)) => n,
            ref other => panic!("{other:?}"),
        };
        answer.datoms.iter().map(number).collect::<Vec<_>>()
    };

    let of_one = datoms(&mut client, request(v1::Index::Eavt, &["[:item/id \"3\"]"])).await.unwrap();
    assert_eq!(attributes(&of_one), ["item/id", "item/n", "item/note", "item/of"]);
    let of_owner = datoms(&mut client, request(v1::Index::Vaet, &[":the/owner", ":item/of"])).await.unwrap();
    assert_eq!(of_owner.datoms.len(), 1667);
    let typed = v1::Component { kind: Some(Kind::Value(v1::Value { kind: Some(v1::value::Kind::Long(4)) })) };
    let fours = v1::DatomsRequest { components: vec![edn(":item/n"), typed], ..request(v1::Index::Avet, &[]) };
    assert_eq!(numbers(&datoms(&mut client, fours.clone()).await.unwrap()), [4, 4]);
    // From the fours on, over the end of nothing but the index; and back.
    let onwards = v1::DatomsRequest { seek: true, limit: 5, ..fours.clone() };
    assert_eq!(numbers(&datoms(&mut client, onwards).await.unwrap()), [4, 4, 5, 7, 7]);
    let backwards = v1::DatomsRequest { seek: true, reverse: true, limit: 5, ..fours.clone() };
    assert_eq!(numbers(&datoms(&mut client, backwards).await.unwrap()), [4, 4, 2, 1, 1]);
    let past = v1::DatomsRequest { database: view(|view| view.as_of = point(2)), ..fours.clone() };
    assert_eq!(numbers(&datoms(&mut client, past).await.unwrap()), [4]);
    let ever = v1::DatomsRequest { database: view(|view| view.history = true), ..fours.clone() };
    let ever = datoms(&mut client, ever).await.unwrap();
    assert_eq!(ever.datoms.iter().map(|datom| datom.added).collect::<Vec<_>>(), [true, true]);
    let since = v1::DatomsRequest { database: view(|view| view.since = point(2)), ..fours };
    assert_eq!(datoms(&mut client, since).await.unwrap().datoms.len(), 1);
    // The fourth component: only what one transaction said.
    let at = request(v1::Index::Eavt, &["[:item/id \"3\"]", ":item/n", "4", "3"]);
    assert_eq!(datoms(&mut client, at).await.unwrap().datoms.len(), 1);

    for (request, code) in [
        (request(v1::Index::Avet, &[":item/note", "\"of 3\""]), "db.error/not-indexed"),
        (request(v1::Index::Vaet, &[":the/owner", ":item/n"]), "db.error/not-a-reference"),
        (request(v1::Index::Unspecified, &[]), "db.error/invalid-index"),
        (request(v1::Index::Eavt, &["[:item/id \"none\"]"]), "db.error/not-an-entity"),
        (request(v1::Index::Aevt, &[":item/nn"]), "db.error/not-an-entity"),
        (
            v1::DatomsRequest { components: vec![v1::Component::default()], ..request(v1::Index::Aevt, &[]) },
            "db.error/invalid-components",
        ),
        (
            v1::DatomsRequest { after: Some(v1::Datom::default()), ..request(v1::Index::Aevt, &[]) },
            "db.error/invalid-components",
        ),
    ] {
        let error = datoms(&mut client, request).await.err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(matches!(error.category(), Category::Incorrect | Category::NotFound), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_values_has_its_start_and_lacks_its_end() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = items(&flock, &peer).await;
    let range = |start: Option<i64>, end: Option<i64>| v1::IndexRangeRequest {
        database: view(|view| view.as_of = point(2)),
        attribute: Some(edn(":item/n")),
        start: start.map(|n| edn(&n.to_string())),
        end: end.map(|n| edn(&n.to_string())),
        ..Default::default()
    };
    let numbers = |answer: Answer| -> Vec<i64> {
        let number = |datom: &v1::Datom| match datom.v.as_ref().unwrap().kind {
            Some(v1::value::Kind::Long(n)) => n,
            ref other => panic!("{other:?}"),
        };
        answer.datoms.iter().map(number).collect()
    };
    for (start, end, expected) in [
        (Some(10), Some(13), 10..13),
        (None, Some(3), 0..3),
        (Some(ITEMS - 2), None, ITEMS - 2..ITEMS),
        (None, None, 0..ITEMS),
        (Some(13), Some(10), 0..0),
        (Some(-5), Some(1), 0..1),
    ] {
        let found = index_range(&mut client, range(start, end)).await.unwrap();
        assert_eq!(numbers(found), expected.clone().collect::<Vec<_>>());
        let reverse = v1::IndexRangeRequest { reverse: true, limit: 2, ..range(start, end) };
        let found = index_range(&mut client, reverse).await.unwrap();
        assert_eq!(found.more, expected.clone().count() > 2);
        assert_eq!(numbers(found), expected.rev().take(2).collect::<Vec<_>>());
    }
    let now = v1::IndexRangeRequest { database: view(|_| {}), ..range(Some(3), Some(8)) };
    assert_eq!(numbers(index_range(&mut client, now).await.unwrap()), [4, 4, 5, 7, 7]);
    let refused = v1::IndexRangeRequest { attribute: Some(edn(":item/note")), ..range(None, None) };
    let refused = index_range(&mut client, refused).await.err().unwrap();
    assert_eq!(refused.code(), "db.error/not-indexed");
    assert!(refused.message().contains(":item/note is not in AVET"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_transactions_takes_any_moment() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("years").await;
    for year in [2001, 2002, 2003, 2003, 2004] {
        let tx_data = format!(r#"[[:db/add "datomic.tx" :db/txInstant #inst "{year}"]]"#);
        client.transact("years", &tx_data).await.unwrap();
    }
    let moment = |text: &str| Some(v1::TimePoint { kind: Some(v1::time_point::Kind::Edn(text.into())) });
    for (start, end, expected) in [
        (None, None, vec![1, 2, 3, 4, 5]),
        (moment("2"), moment("4"), vec![2, 3]),
        (moment(&db::EntityId::of_tx(4).to_string()), None, vec![4, 5]),
        (moment(r#"#inst "2003""#), None, vec![3, 4, 5]),
        (moment(r#"#inst "2002-06""#), moment(r#"#inst "2004""#), vec![3, 4]),
        (None, moment(r#"#inst "2002""#), vec![1]),
        (moment("9"), None, vec![]),
        (moment("4"), moment("2"), vec![]),
        (moment("0"), moment("100"), vec![1, 2, 3, 4, 5]),
    ] {
        let request = v1::TxRangeRequest { database: "years".into(), start, end, least_t: 5 };
        let mut stream = client.peer.tx_range(patient(request)).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            found.extend(message.transactions.into_iter().map(|transaction| transaction.t));
        }
        assert_eq!(found, expected);
    }
    let nonsense = v1::TxRangeRequest { database: "years".into(), start: moment("\"then\""), ..Default::default() };
    let refused = proto::error(&client.peer.tx_range(patient(nonsense)).await.unwrap_err());
    assert_eq!(refused.code(), "db.error/invalid-time-point");
}
