//! Facts of an index, transactions of the past and as they come, and what would be: whatever breaks off goes on.

use super::{Category, Client, FakePeer, Retry, broken, connect, unavailable};
use client::{Fact, View};
use db::{Keyword, Sort, TimePoint, Value};
use diachron_client as client;
use proto::v1::time_point::Kind;
use std::time::Duration;
use tonic::Status;

fn told_to_break(peer: &FakePeer, breaks: impl IntoIterator<Item = Status>) {
    peer.seen().breaks.extend(breaks);
}

fn values(facts: Vec<Fact>) -> Vec<Value> {
    facts.into_iter().map(|fact| fact.v).collect()
}

fn longs<const N: usize>(longs: [i64; N]) -> Vec<Value> {
    longs.map(Value::Long).into()
}

fn t(t: u64) -> Option<proto::v1::TimePoint> {
    Some(proto::v1::TimePoint { kind: Some(Kind::T(t)) })
}

#[tokio::test]
async fn a_read_of_an_index_says_what_it_wants() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    let view = View::of("world").as_of_t(7);
    let call = client.datoms(view, Sort::Avet).component(Keyword::new("country/n")).component_text("1");
    let mut facts = call.seek().reverse().limit(2).read().await.unwrap();
    assert_eq!((facts.head().database.name.as_str(), facts.head().basis_t), ("world", 9));
    let first = facts.next().await.unwrap().unwrap();
    assert_eq!((first.attribute, first.v, first.added), (Keyword::new("country/n"), Value::Long(1), true));
    assert_eq!(values(facts.collect().await.unwrap()), longs([2]));
    let asked = peer.seen().reads.remove(0);
    let components: Vec<_> = asked.components.iter().map(|component| component.kind.clone().unwrap()).collect();
    let edn = |text: &str| proto::v1::component::Kind::Edn(text.into());
    assert_eq!(components, [edn(":country/n"), edn("1")]);
    assert_eq!((asked.index(), asked.seek, asked.reverse, asked.limit), (proto::v1::Index::Avet, true, true, 2));
    assert_eq!(asked.database.unwrap().as_of, t(7));

    let range = client.index_range("world", "country/n").start(1).end_text("4").reverse();
    let mut facts = range.limit(3).read().await.unwrap();
    while facts.next().await.unwrap().is_some() {}
    assert!(!facts.more());
    let asked = peer.seen().index_ranges.remove(0);
    let text = |component: Option<proto::v1::Component>| component.unwrap().kind.unwrap();
    assert_eq!((text(asked.attribute), text(asked.start), text(asked.end)), (edn(":country/n"), edn("1"), edn("4")));
    assert_eq!((asked.reverse, asked.limit), (true, 3));
    let mut less = client.index_range("world", ":country/n").limit(1).read().await.unwrap();
    while less.next().await.unwrap().is_some() {}
    assert!(less.more());
}

#[tokio::test]
async fn facts_that_break_off_go_on_after_the_last_one_on_the_same_database_value() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    told_to_break(&peer, [broken(), unavailable()]);
    let all = client.datoms("world", Sort::Eavt).limit(3).fetch().await.unwrap();
    assert_eq!(values(all), longs([1, 2, 3]));
    let asked = std::mem::take(&mut peer.seen().reads);
    // What broke off after the third is not asked for again: no more were wanted.
    let after: Vec<Option<i64>> = asked.iter().map(|read| read.after.as_ref().map(|datom| datom.e)).collect();
    assert_eq!(after, [None, Some(2)]);
    assert_eq!(asked.iter().map(|read| read.limit).collect::<Vec<_>>(), [3, 1]);
    let views: Vec<_> = asked.into_iter().map(|read| read.database.unwrap().as_of).collect();
    assert_eq!(views, [None, t(9)]);

    // What nobody committed cannot be told from the same place on.
    told_to_break(&peer, [broken()]);
    let speculative = View::of("world").with("[]").unwrap();
    let error = client.datoms(speculative, Sort::Eavt).fetch().await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable);
    told_to_break(&peer, [broken()]);
    let never = client.with_retry(Retry::NEVER);
    assert!(never.index_range("world", "country/n").fetch().await.is_err());
}

async fn ts(client: &Client, range: impl std::ops::RangeBounds<TimePoint>) -> Vec<(u64, usize)> {
    let mut log = client.tx_range("world", range).await.unwrap();
    let mut found = Vec::new();
    while let Some(transaction) = log.next().await.unwrap() {
        found.push((transaction.t, transaction.datoms.len()));
    }
    found
}

#[tokio::test]
async fn a_range_of_transactions_goes_on_after_the_last_whole_one() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    // After the first one.
    told_to_break(&peer, [broken()]);
    assert_eq!(ts(&client, ..).await, [(1, 2), (2, 1)]);
    let june = client::moment("2013-06-01").unwrap();
    assert_eq!(ts(&client, TimePoint::T(2)..=TimePoint::T(4)).await, [(2, 1)]);
    assert_eq!(ts(&client, ..june).await, [(1, 2), (2, 1)]);
    let asked = std::mem::take(&mut peer.seen().tx_ranges);
    let starts: Vec<_> = asked.iter().map(|range| range.start.clone()).collect();
    assert_eq!(starts, [None, t(2), t(2), None]);
    let ends: Vec<_> = asked.into_iter().map(|range| range.end).collect();
    let june = match june {
        TimePoint::Instant(instant) => Some(proto::v1::TimePoint { kind: Some(Kind::InstantMs(instant.0)) }),
        TimePoint::T(_) => None,
    };
    assert_eq!(ends, [None, None, t(5), june]);
}

#[tokio::test]
async fn what_would_be_is_told_and_its_view_is_asked_like_any_other() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await;
    told_to_break(&peer, [broken()]);
    let one = client.with("world", "[[:one]]").await.unwrap();
    assert_eq!((one.basis_t, one.transaction.t, one.transaction.datoms.len()), (9, 10, 1));
    assert_eq!(one.transaction.tempids[0].0, "peru");
    let other = client.with(one.view, "[[:other]]").await.unwrap();
    assert_eq!(other.transaction.t, 11);
    client.pull(other.view, "[*]", "17").await.unwrap();
    let view = peer.seen().pulls.remove(0).database.unwrap();
    let texts: Vec<_> = view.with_tx_data.into_iter().map(|tx_data| tx_data.kind.unwrap()).collect();
    let edn = |text: &str| proto::v1::tx_data::Kind::Edn(text.into());
    assert_eq!((texts, view.least_t), (vec![edn("[[:one]]"), edn("[[:other]]")], 9));
    assert_eq!(peer.seen().speculations.len(), 3);
    let error = client.with("world", "[:fail-conflict]").await.unwrap_err();
    assert_eq!(error.category(), Category::Conflict);
}

#[tokio::test]
async fn reports_go_on_where_they_broke_off_each_t_once() {
    let (one, other) = (FakePeer::start(), FakePeer::start());
    let client = connect(&[&one, &other]).await;
    told_to_break(&one, [broken()]);
    let mut reports = client.tx_reports("world", 9).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..5 {
        let transaction = reports.next().await.unwrap();
        heard.push((transaction.t, transaction.datoms.len()));
    }
    // The first connection ends in the middle of 11, which the other peer tells from its beginning.
    assert_eq!(heard, [(10, 1), (11, 1), (12, 2), (13, 1), (14, 2)]);
    assert_eq!(reports.newest_t(), 14);
    let after = |peer: &FakePeer| peer.seen().listeners.iter().map(|request| request.after_t).collect::<Vec<_>>();
    assert_eq!(after(&one)[0], 9);
    assert_eq!(after(&other)[0], 10);
    // The name may come to stand for another database.
    assert!(other.seen().listeners.iter().all(|request| request.database_id[..] == [7; 16]));
    assert!(one.seen().listeners[0].database_id.is_empty());
}

#[tokio::test]
async fn reports_are_given_up_within_the_time_of_a_call_and_go_on_when_asked_again() {
    let peer = FakePeer::start();
    let client = connect(&[&peer]).await.with_timeout(Duration::from_millis(100));
    let mut reports = client.tx_reports("world", 9).await.unwrap();
    assert_eq!(reports.next().await.unwrap().t, 10);
    assert_eq!(reports.next().await.unwrap().t, 11);
    assert_eq!(reports.next().await.unwrap().t, 12);
    assert_eq!(reports.next().await.unwrap().t, 13);
    peer.seen().failures.extend(std::iter::repeat_with(unavailable).take(10_000));
    assert_eq!(reports.next().await.unwrap_err().category(), Category::Unavailable);
    peer.seen().failures.clear();
    assert_eq!(reports.next().await.unwrap().t, 14);
    peer.seen().failures.push_back(proto::status(&db::Error::not_found("db.error/unknown-database", "gone")));
    assert_eq!(reports.next().await.unwrap().t, 15);
    assert_eq!(reports.next().await.unwrap_err().category(), Category::NotFound);
}
