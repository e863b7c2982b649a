//! Everything that can be asked of a database as it was at some t, as text: the same wherever and whenever it is asked.
//! And the log as a list, which knows what each index has to say.

use db::EntityId;
use db::edn::Edn;
use diachron_tests::{Client, PATIENCE};
use prost::Message;
use proto::v1;
use proto::v1::query_input::Kind;
use std::collections::BTreeMap;
use tonic::Request;

const QUESTIONS: [&str; 6] = [
    "[:find ?id ?n :where [?e :item/id ?id] [?e :item/n ?n]]",
    "[:find ?id (count ?tag) :where [?e :item/id ?id] [?e :item/tag ?tag]]",
    "[:find ?a ?b :where [?x :item/next ?y] [?x :item/id ?a] [?y :item/id ?b]]",
    "[:find ?id ?n :where [?e :item/n ?n] [(< 10 ?n)] [(< ?n 30)] [?e :item/id ?id]]",
    "[:find ?id ?n ?tx ?added :where [?e :item/id ?id] [?e :item/n ?n ?tx ?added]]",
    "[:find ?tag ?tx :where [?e :item/id \"item 1 3\"] [?e :item/tag ?tag ?tx]]",
];

/// Attributes in AVET.
const COVERED: [&str; 3] = ["item/id", "item/n", "mark/name"];

fn at(t: u64) -> Option<v1::TimePoint> {
    Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) })
}

/// Views of the database that include nothing after t: their names, and since when.
fn views(t: u64) -> [(&'static str, Option<u64>, v1::DatabaseView); 4] {
    let as_of = v1::DatabaseView { name: "items".into(), as_of: at(t), least_t: t, ..Default::default() };
    let history = v1::DatabaseView { history: true, ..as_of.clone() };
    let half = t / 2;
    [
        ("as of", None, as_of.clone()),
        ("since", Some(half), v1::DatabaseView { since: at(half), ..as_of }),
        ("history", None, history.clone()),
        ("history since", Some(half), v1::DatabaseView { since: at(half), ..history }),
    ]
}

/// All answers at t.
pub async fn answers(client: &mut Client, t: u64) -> Vec<String> {
    let mut answers = Vec::new();
    for (name, _, view) in views(t) {
        for question in QUESTIONS {
            let found = client.q(question, vec![Kind::Database(view.clone())]).await;
            let mut found = found.unwrap_or_else(|error| panic!("{name} {t} {question}: {error:?}"));
            if let Edn::Vector(rows) = &mut found {
                rows.sort();
            }
            answers.push(format!("{name} {t} {question}: {found}"));
        }
        for (index, attribute) in reads() {
            let datoms = datoms(client, &view, index, attribute, false).await;
            answers.push(format!("{name} {t} {index:?} {attribute:?}: {datoms:?}"));
            let mut backwards = self::datoms(client, &view, index, attribute, true).await;
            backwards.reverse();
            assert_eq!(backwards, datoms, "{name} {t} {index:?} {attribute:?} backwards");
        }
        if !view.history {
            answers.push(pull(client, view).await);
        }
    }
    answers
}

async fn pull(client: &mut Client, view: v1::DatabaseView) -> String {
    let request = v1::PullRequest {
        database: Some(view),
        pattern: "[:item/id :item/n :item/tag {:item/next [:item/id]} {:item/_next [:item/id]}]".into(),
        entity: "[:item/id \"item 0 2\"]".into(),
        format: v1::Format::Edn as i32,
        ..Default::default()
    };
    match client.peer.pull(Request::new(request)).await {
        Ok(response) => response.into_inner().edn,
        Err(status) => proto::error(&status).code().to_owned(),
    }
}

fn reads() -> Vec<(v1::Index, Option<&'static str>)> {
    let whole = [v1::Index::Eavt, v1::Index::Aevt, v1::Index::Vaet].map(|index| (index, None));
    whole.into_iter().chain(COVERED.map(|attribute| (v1::Index::Avet, Some(attribute)))).collect()
}

/// Datoms of an index, without those of the bootstrap, which are in no log.
async fn datoms(
    client: &mut Client,
    view: &v1::DatabaseView,
    index: v1::Index,
    attribute: Option<&str>,
    reverse: bool,
) -> Vec<v1::Datom> {
    let component = |name: &str| v1::Component { kind: Some(v1::component::Kind::Edn(format!(":{name}"))) };
    let mut request = Request::new(v1::DatomsRequest {
        database: Some(view.clone()),
        index: index as i32,
        components: attribute.map(component).into_iter().collect(),
        reverse,
        ..Default::default()
    });
    request.set_timeout(PATIENCE);
    let mut stream = client.peer.datoms(request).await.unwrap().into_inner();
    let (mut datoms, mut ended) = (Vec::new(), false);
    while let Some(message) = stream.message().await.unwrap() {
        datoms.extend(message.datoms);
        ended = message.end.is_some();
    }
    assert!(ended, "an answer that is cut off fails");
    datoms.retain(|datom| datom.tx != EntityId::of_tx(0).as_long());
    datoms
}

/// All that was ever said, oldest first.
pub struct Said(Vec<v1::Datom>);

impl Said {
    pub fn of(log: &[v1::LogTransaction]) -> Said {
        Said(log.iter().flat_map(|tx| tx.datoms.iter().cloned()).collect())
    }

    /// What a view has, in no order.
    fn seen(&self, t: u64, since: Option<u64>, history: bool) -> Vec<&v1::Datom> {
        let tx = |t| EntityId::of_tx(t).as_long();
        let said = self.0.iter().filter(|datom| datom.tx <= tx(t));
        let mut seen: Vec<&v1::Datom> = if history {
            said.collect()
        } else {
            let mut open = BTreeMap::new();
            for datom in said {
                let fact = (datom.e, datom.a, datom.v.as_ref().unwrap().encode_to_vec());
                if datom.added {
                    open.insert(fact, datom);
                } else {
                    assert!(open.remove(&fact).is_some(), "{datom:?} was not there");
                }
            }
            open.into_values().collect()
        };
        seen.retain(|datom| since.is_none_or(|since| datom.tx > tx(since)));
        seen
    }

    /// Holds what a peer reads of every index in every view at t against the list.
    pub async fn check(&self, client: &mut Client, t: u64) {
        let is_ref = |datom: &v1::Datom| matches!(datom.v.as_ref().unwrap().kind, Some(v1::value::Kind::Ref(_)));
        for (name, since, view) in views(t) {
            let seen = self.seen(t, since, view.history);
            for (index, attribute) in reads() {
                let is_there = |datom: &v1::Datom| match (index, attribute) {
                    (v1::Index::Vaet, _) => is_ref(datom),
                    (_, Some(attribute)) => datom.attribute == attribute,
                    (_, None) => true,
                };
                let mut expected: Vec<Vec<u8>> =
                    seen.iter().filter(|datom| is_there(datom)).map(|datom| datom.encode_to_vec()).collect();
                let found = datoms(client, &view, index, attribute, false).await;
                let mut found: Vec<Vec<u8>> = found.iter().map(Message::encode_to_vec).collect();
                expected.sort();
                found.sort();
                assert_eq!(found.len(), expected.len(), "{name} {t} {index:?} {attribute:?}");
                assert!(found == expected, "{name} {t} {index:?} {attribute:?}");
            }
        }
    }
}
