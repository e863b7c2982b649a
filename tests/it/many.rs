//! Many small databases in one transactor, and peers that follow all of them.

use crate::serving::{channel, comes_to_serve};
use diachron_tests::{Flock, Program, database_at_least};
use std::time::Instant;
use tokio::task::JoinSet;

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
/// Calls at once.
const CALLERS: usize = 32;

/// As many as a test can wait for; 1,000 with `DIACHRON_SLOW`.
fn databases() -> usize {
    if std::env::var_os("DIACHRON_SLOW").is_some() { 1000 } else { 200 }
}

/// Calls for every database, so many at once; the time they took in all.
async fn for_all<F>(count: usize, call: impl Fn(usize) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..count {
        if calls.len() == CALLERS {
            calls.join_next().await.unwrap().unwrap();
        }
        calls.spawn(call(n));
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
    begun.elapsed().as_secs_f64()
}

fn name(n: usize) -> String {
    format!("db-{n}")
}

fn say(program: &Program, what: &str) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let field =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned();
    println!("{what}: {} resident, {} threads", field("VmRSS:"), field("Threads:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_databases_are_created_written_followed_and_opened_again() {
    let count = databases();
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let client = flock.client(&peer).await;
    let (of, rate) = (&client, |seconds: f64| count as f64 / seconds);

    let took = for_all(count, |n| {
        let mut client = of.clone();
        async move {
            client.create_database(&name(n)).await;
        }
    });
    println!("{count} databases created at {:.0}/s", rate(took.await));
    let transact = |tx_data: &'static str| {
        for_all(count, move |n| {
            let mut client = of.clone();
            async move {
                client.transact(&name(n), tx_data).await.unwrap();
            }
        })
    };
    println!("one transaction in each at {:.0}/s", rate(transact(SCHEMA).await));
    println!("and another at {:.0}/s", rate(transact("[{:item/n 1}]").await));
    say(flock.transactor(), "the transactor");
    say(&peer, "the peer");

    let begun = Instant::now();
    flock.take_transactor().terminate();
    println!("the transactor stopped after {:.2} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    flock.restart_transactor();
    println!("the transactor opened all after {:.2} s", begun.elapsed().as_secs_f64());
    say(flock.transactor(), "the transactor, just opened");

    let begun = Instant::now();
    let late = flock.start_peer();
    let late_client = flock.client(&late).await;
    comes_to_serve(channel(late.url()).await, "").await;
    println!("a new peer had read all after {:.2} s", begun.elapsed().as_secs_f64());
    say(&late, "the new peer");
    // The first one comes back by itself; both have room for calls beside all they follow.
    println!("a third at {:.0}/s", rate(transact("[{:item/n 2}]").await));
    let of = &late_client;
    let asked = for_all(count, |n| {
        let mut client = of.clone();
        async move {
            let query = "[:find (count ?e) . :where [?e :item/n]]";
            assert_eq!(client.q(query, vec![database_at_least(&name(n), 3)]).await.unwrap().to_string(), "2");
        }
    });
    println!("all asked at {:.0}/s", rate(asked.await));
}
