//! A transaction much larger than any default message limit.

use db::edn::Edn;
use diachron_tests::{Flock, database_at_least};

const COUNT: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn lesson_02_a_transaction_of_100_000_datoms_reaches_every_peer() {
    let flock = Flock::start();
    let (writes, follows) = (flock.start_peer(), flock.start_peer());
    let mut client = flock.client(&writes).await;
    client.create_database("bulk").await;
    let schema = "[{:db/ident :bulk/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    client.transact("bulk", schema).await.unwrap();
    let forms = (0..COUNT).map(|n| format!("{{:db/id \"{n}\" :bulk/text \"value number {n} of many\"}}"));
    let tx_data = format!("[{}]", forms.collect::<Vec<_>>().join("\n"));
    let response = client.transact("bulk", &tx_data).await.unwrap();
    // The answer stays below the 4 MiB that every client takes, and says what it left out.
    assert_eq!((response.datom_count, response.datoms_omitted), (COUNT as u64 + 1, true));
    assert_eq!((response.tempid_count, response.tempids.len()), (COUNT as u64, COUNT));

    let late = flock.start_peer();
    for peer in [&writes, &follows, &late] {
        let mut client = flock.client(peer).await;
        let count = client.q("[:find (count ?e) . :where [?e :bulk/text]]", vec![database_at_least("bulk", 2)]).await;
        assert_eq!(count.unwrap(), Edn::Long(COUNT as i64));
        let log = client.log("bulk").await.unwrap();
        assert_eq!((log[1].datoms.len(), log[1].tempids.len()), (COUNT + 1, COUNT));
    }
    // All rows in one answer, too.
    let rows = client.q("[:find ?e ?text :where [?e :bulk/text ?text]]", vec![database_at_least("bulk", 2)]).await;
    assert_eq!(rows.unwrap().as_sequence().unwrap().len(), COUNT);
    let after = client.transact("bulk", r#"[{:bulk/text "one more"}]"#).await.unwrap();
    assert_eq!((after.t, after.not_yet_visible), (3, false));
}
