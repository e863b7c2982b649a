//! The walking skeleton: one transaction through a peer to the transactor, into the log, over Follow to another peer,
//! and out of it by a query.

use diachron_tests::{Flock, database, database_as_of, database_at_least};

const SCHEMA: &str = "[{:db/ident :country/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :country/population :db/valueType :db.type/long
                        :db/cardinality :db.cardinality/one}]";

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_through_one_peer_is_answered_by_another() {
    let flock = Flock::start();
    let (first, second) = (flock.start_peer(), flock.start_peer());
    let (mut writes, mut reads) = (flock.client(&first).await, flock.client(&second).await);
    writes.create_database("world").await;
    writes.transact("world", SCHEMA).await.unwrap();
    let before = writes.transact("world", r#"[{:country/name "France" :country/population 51732000}]"#).await.unwrap();
    let after = r#"[[:db/add [:country/name "France"] :country/population 61083916]]"#;
    let after = writes.transact("world", after).await.unwrap();
    assert_eq!((before.t, after.t, after.not_yet_visible), (2, 3, false));

    let query = "[:find ?name ?n :where [?c :country/name ?name] [?c :country/population ?n]]";
    let now = reads.q(query, vec![database_at_least("world", after.t)]).await.unwrap();
    assert_eq!(now.to_string(), r#"[["France" 61083916]]"#);
    let then = reads.q(query, vec![database_as_of("world", before.t)]).await.unwrap();
    assert_eq!(then.to_string(), r#"[["France" 51732000]]"#);
    // The one who wrote reads its own writes without saying how far.
    assert_eq!(writes.q(query, vec![database("world")]).await.unwrap(), now);
}
