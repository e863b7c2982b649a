//! Each actor of each process is made to panic in turn: what its tree says of it must come true, and nothing that was
//! acknowledged is lost.
//!
//! The actors come from the trees themselves, so that a new one without a story here fails.

use crate::command::diachron;
use crate::observe::metrics_address;
use crate::serving::{channel, comes_to_serve};
use db::Category;
use diachron_tests::{Client, Flock, PATIENCE, Program, database};
use process::supervisor::{Actor, FAILPOINTS_VARIABLE, Panics};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::transactor_client::TransactorClient;
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const JSON_LOG: (&str, &str) = ("DIACHRON_LOG_FORMAT", "json");
const SCHEMA: &str = "[{:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/value}]";
/// With these and a peer there are more than a transactor wakes by itself.
const FOLLOWERS_PACED: usize = 8;
const COUNT: &str = "[:find (count ?e) . :where [?e :item/name]]";

/// What must be there whatever happens: transactions that were acknowledged.
#[derive(Default)]
struct Acknowledged(BTreeSet<String>);

impl Acknowledged {
    async fn add(&mut self, client: &mut Client, name: &str) -> db::Result<()> {
        client.transact("items", &format!("[{{:item/name {name:?}}}]")).await?;
        self.0.insert(name.to_owned());
        Ok(())
    }

    /// Held against a peer's log, which is the transactor's.
    async fn are_there(&self, client: &mut Client) {
        let log = client.log("items").await.unwrap();
        let datoms = log.iter().flat_map(|tx| &tx.datoms).filter(|datom| datom.attribute == "item/name");
        let logged: Vec<String> = datoms
            .map(|datom| match &datom.v.as_ref().unwrap().kind {
                Some(v1::value::Kind::String(name)) => name.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        let found: BTreeSet<String> = logged.iter().cloned().collect();
        assert_eq!(found.len(), logged.len(), "a name is there twice");
        assert!(self.0.is_subset(&found), "{:?} are gone", self.0.difference(&found));
        let count = client.q(COUNT, vec![database("items")]).await.unwrap();
        assert_eq!(count.to_string(), found.len().to_string());
    }
}

/// A transactor and a peer, one of which has failpoints.
struct Story {
    flock: Flock,
    peer: Program,
    client: Client,
    acknowledged: Acknowledged,
}

impl Story {
    async fn begin(transactor_failpoints: &str, peer_failpoints: &str) -> Story {
        let (of_transactor, of_peer) =
            ([(FAILPOINTS_VARIABLE, transactor_failpoints)], [(FAILPOINTS_VARIABLE, peer_failpoints)]);
        Story::begin_with(&of_transactor, &of_peer).await
    }

    /// With environments of their own.
    async fn begin_with(of_transactor: &[(&str, &str)], of_peer: &[(&str, &str)]) -> Story {
        let flock = Flock::start_with(of_transactor);
        let peer = flock.start_peer_with(of_peer);
        let client = flock.client(&peer).await;
        Story { flock, peer, client, acknowledged: Acknowledged::default() }
    }

    /// Creates the database and adds items until `count` are acknowledged; what fails is tried again under another
    /// name.
    async fn work(&mut self, count: usize) {
        self.create().await;
        let mut tries = 0;
        while self.acknowledged.0.len() < count {
            tries += 1;
            let name = format!("item {tries}");
            if let Err(error) = self.acknowledged.add(&mut self.client, &name).await {
                expected(&error);
            }
            assert!(tries < 100, "{count} of 100 items should go through");
        }
    }

    async fn create(&mut self) {
        loop {
            let request = v1::CreateDatabaseRequest { name: "items".into() };
            match self.client.peer.create_database(request).await {
                Ok(_) => break,
                Err(status) => expected(&proto::error(&status)),
            }
        }
        while let Err(error) = self.client.transact("items", SCHEMA).await {
            expected(&error);
        }
    }

    /// Has so many followers that the transactor wakes them at a pace: all of them hear of a transaction.
    async fn with_many_followers(&mut self) {
        let direct = Client::connect(&self.flock.transactor_url()).await;
        let status = direct.clone().transactor_status().await;
        let request = v1::FollowRequest {
            database_id: status.databases[0].database.as_ref().unwrap().id.clone(),
            ..Default::default()
        };
        let mut streams = Vec::new();
        for _ in 0..FOLLOWERS_PACED {
            let mut stream = direct.clone().transactor.follow(request.clone()).await.unwrap().into_inner();
            // It has all there is when it hears nothing new.
            while stream.message().await.unwrap().unwrap().heartbeat.is_none() {}
            streams.push(stream);
        }
        self.acknowledged.add(&mut self.client, "paced").await.unwrap();
        for stream in &mut streams {
            while stream.message().await.unwrap().unwrap().frames.is_empty() {}
        }
    }

    async fn all_is_well(mut self, failed: &str) {
        self.acknowledged.are_there(&mut self.client).await;
        assert!(self.peer.is_running() && self.flock.transactor().is_running());
        // Some act only now and then.
        let begun = Instant::now();
        loop {
            let said = [self.peer.stderr(), self.flock.transactor().stderr()].concat();
            if said.contains(&format!("failpoint {failed}")) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{failed} did not panic:\n{said}");
            tokio::task::yield_now().await;
        }
        assert!(self.peer.is_running() && self.flock.transactor().is_running());
    }
}

/// What callers may hear while something is started again: that it was not done, or may have been.
fn expected(error: &db::Error) {
    let expected = [Category::Unavailable, Category::Unknown, Category::Fault, Category::Interrupted];
    assert!(expected.contains(&error.category()), "{error:?}");
}

/// Of a transactor, a panic that is mended: acknowledged transactions before and after, and all of them there.
async fn transactor_goes_on(actor: &Actor) {
    let mut story = Story::begin(&format!("{}=panic(1)", actor.name), "").await;
    story.work(20).await;
    if actor.name == "segment-stream" {
        // Only bodies too large for a record are read as segments.
        let forms: Vec<String> =
            (0..5000).map(|n| format!("{{:item/name \"large {n} {}\"}}", "x".repeat(100))).collect();
        story.client.transact("items", &format!("[{}]", forms.join(" "))).await.unwrap();
    }
    if actor.name == "follow-pace" {
        story.with_many_followers().await;
    }
    // Another peer reads all of it from storage.
    let second = story.flock.start_peer();
    let mut client = story.flock.client(&second).await;
    client.sync("items", None).await.unwrap();
    story.acknowledged.are_there(&mut client).await;
    story.all_is_well(actor.name).await;
}

/// So little that there is a job for every few transactions.
const EAGER: (&str, &str) = ("DIACHRON_NOVELTY_BYTES", "2048");

/// Of a transactor, a panic at the beginning of an index job, and one when only its naming is left: others come.
async fn indexing_goes_on(actor: &Actor) {
    for passes in 0..2 {
        let failpoints = format!("{}=pass({passes})panic(1)", actor.name);
        let mut story = Story::begin_with(&[(FAILPOINTS_VARIABLE, &failpoints), EAGER], &[]).await;
        story.work(40).await;
        let mut direct = Client::connect(&story.flock.transactor_url()).await;
        let begun = Instant::now();
        while direct.transactor_status().await.databases[0].index_t < 20 {
            assert!(begun.elapsed() < PATIENCE, "{:?}", direct.transactor_status().await);
            tokio::task::yield_now().await;
        }
        // Whoever begins with that index has all of it.
        let second = story.flock.start_peer();
        let mut client = story.flock.client(&second).await;
        client.sync("items", None).await.unwrap();
        assert!(client.peer_status().await.databases[0].index_t > 0);
        story.acknowledged.are_there(&mut client).await;
        story.all_is_well(actor.name).await;
    }
}

/// Of a transactor, a panic in what somebody asked it to do for its store, or in one call: it is told, and done when asked again.
async fn maintenance_goes_on(actor: &Actor) {
    let mut story = Story::begin(&format!("{}=panic(1)", actor.name), "").await;
    story.work(20).await;
    let mut admin = AdminClient::new(channel(&story.flock.transactor_url()).await);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = match actor.name {
            "eraser" | "excise-stream" => {
                let attributes = vec![":db/doc".to_owned()];
                let request = v1::ExciseRequest { database: "items".into(), attributes, ..Default::default() };
                let mut stream = admin.excise(request).await.unwrap().into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break Ok(()),
                        Err(status) => break Err(status),
                    }
                }
            }
            "collector" => admin.collect_garbage(v1::CollectGarbageRequest::default()).await.map(drop),
            "load-stream" => {
                let begin = Some(v1::LoadBegin { database: "items".into(), load: "story".into() });
                let requests = [v1::LoadRequest { begin, tx_data: Vec::new() }];
                let mut transactor = TransactorClient::new(channel(&story.flock.transactor_url()).await);
                let mut stream = transactor.load(tokio_stream::iter(requests)).await.unwrap().into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(_)) => {}
                        end => break end.map(drop),
                    }
                }
            }
            _ => {
                let request = v1::VerifyRequest { database: "items".into(), repair: false };
                let mut stream = admin.verify(request).await.unwrap().into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(_)) => {}
                        end => break end.map(drop),
                    }
                }
            }
        };
        answers.push(answer.map_err(|status| proto::error(&status)));
    }
    expected(answers[0].as_ref().unwrap_err());
    assert!(answers[1].is_ok(), "{answers:?}");
    story.all_is_well(actor.name).await;
}

/// Of a transactor, a panic while somebody hands it a backup: no database is there, and one is when it is asked again.
async fn restores_go_on(actor: &Actor) {
    let mut story = Story::begin(&format!("{}=panic(1)", actor.name), "").await;
    story.work(20).await;
    let place = story.flock.dir().join("backups");
    let url = place.to_str().unwrap();
    let run = |arguments: &[&str]| diachron(&story.peer, arguments, "");
    assert_eq!(run(&["backup", "items", url]).0, 0);
    let (code, _, stderr) = run(&["restore", url, "again"]);
    assert!(code == 3 && stderr.contains("a fault of the server's"), "{code} {stderr}");
    assert!(!run(&["db", "list"]).1.contains("again"));
    let (code, _, stderr) = run(&["restore", url, "again"]);
    assert_eq!(code, 0, "{stderr}");
    story.all_is_well(actor.name).await;
}

/// Of a transactor, a panic that ends it: started again it has all that was acknowledged.
async fn transactor_ends(actor: &Actor) {
    let mut story = Story::begin(&format!("{}=pass(10)panic(1)", actor.name), "").await;
    story.create().await;
    let mut unknown = 0;
    for n in 0..1000 {
        match story.acknowledged.add(&mut story.client, &format!("item {n}")).await {
            Ok(()) => {}
            Err(error) => {
                expected(&error);
                unknown += 1;
                break;
            }
        }
    }
    assert_eq!(unknown, 1);
    let (status, said) = story.flock.take_transactor().wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{} items ended: it panicked: failpoint", actor.name)), "{said}");
    // The peer still answers.
    let count = story.client.q(COUNT, vec![database("items")]).await.unwrap();
    assert_eq!(count.to_string(), story.acknowledged.0.len().to_string());
    story.flock.restart_transactor();
    while let Err(error) = story.acknowledged.add(&mut story.client, "after").await {
        expected(&error);
    }
    story.acknowledged.are_there(&mut story.client).await;
}

/// Of either process, what it can do without: each panic costs one scrape, one too many all others, and nothing else.
async fn metrics_end(process: &str, actor: &Actor) {
    let environment = [(FAILPOINTS_VARIABLE, "metrics=panic(4)"), ("DIACHRON_METRICS_LISTEN", "127.0.0.1:0"), JSON_LOG];
    let (of_transactor, of_peer) =
        if process == "peer" { (&[][..], &environment[..]) } else { (&environment[..], &[][..]) };
    let mut story = Story::begin_with(of_transactor, of_peer).await;
    let address = metrics_address(if process == "peer" { &story.peer } else { story.flock.transactor() }).await;
    let mut lost = 0;
    while let Ok(mut connection) = TcpStream::connect(&address).await {
        let mut answer = String::new();
        // It may be reset when the socket is closed for good.
        let _ = connection.read_to_string(&mut answer).await;
        assert_eq!(answer, "");
        lost += 1;
    }
    assert!(lost >= 4, "{lost} scrapes were lost");
    story.work(5).await;
    story.all_is_well(actor.name).await;
}

/// Reads an index to its end.
async fn index(client: &mut Client) -> db::Result<()> {
    let told = |status: tonic::Status| proto::error(&status);
    let request = v1::DatomsRequest {
        database: Some(v1::DatabaseView { name: "items".into(), ..Default::default() }),
        index: v1::Index::Eavt as i32,
        ..Default::default()
    };
    let mut stream = client.peer.datoms(request).await.map_err(told)?.into_inner();
    let mut ended = false;
    while let Some(message) = stream.message().await.map_err(told)? {
        ended = message.end.is_some();
    }
    assert!(ended, "an answer that was cut off does not end as if it were whole");
    Ok(())
}

/// Hears of the first transaction.
async fn first_report(client: &mut Client) -> db::Result<()> {
    let told = |status: tonic::Status| proto::error(&status);
    let request = v1::TxReportsRequest { database: "items".into(), ..Default::default() };
    let mut stream = client.peer.tx_reports(request).await.map_err(told)?.into_inner();
    while let Some(message) = stream.message().await.map_err(told)? {
        if message.transactions.iter().any(|transaction| transaction.t == 1) {
            return Ok(());
        }
    }
    panic!("reports have no end");
}

/// Of a peer, a panic that is mended.
async fn peer_goes_on(actor: &Actor) {
    let mut story = Story::begin("", &format!("{}=panic(1)", actor.name)).await;
    story.work(20).await;
    while let Err(error) = story.client.q(COUNT, vec![database("items")]).await {
        expected(&error);
    }
    while let Err(error) = story.client.log("items").await {
        expected(&error);
    }
    while let Err(error) = index(&mut story.client).await {
        expected(&error);
    }
    while let Err(error) = first_report(&mut story.client).await {
        expected(&error);
    }
    comes_to_serve(channel(story.peer.url()).await, "").await;
    story.all_is_well(actor.name).await;
}

/// Of a peer, a panic in the middle of a scan over trees that are large enough to be fetched ahead.
async fn prefetching_goes_on(actor: &Actor) {
    let failpoints = format!("{}=panic(1)", actor.name);
    let mut story = Story::begin_with(&[EAGER], &[(FAILPOINTS_VARIABLE, &failpoints)]).await;
    story.work(5).await;
    let forms: Vec<String> = (0..20_000).map(|n| format!("{{:db/doc \"document {n}\"}}")).collect();
    let t = story.client.transact("items", &format!("[{}]", forms.join(" "))).await.unwrap().t;
    let begun = Instant::now();
    while story.client.peer_status().await.databases[0].index_t < t {
        assert!(begun.elapsed() < PATIENCE, "{:?}", story.client.peer_status().await);
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        index(&mut story.client).await.unwrap();
    }
    story.all_is_well(actor.name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_of_a_transactor_may_panic_and_nothing_acknowledged_is_lost() {
    for actor in transactor::tree::TREE.actors() {
        println!("{}: {}", actor.name, actor.effect);
        match (actor.name, actor.panics) {
            ("writer", Panics::EndProcess) => transactor_ends(actor).await,
            ("creator" | "follow-pace" | "term-watch", Panics::Restart) => transactor_goes_on(actor).await,
            ("follow-stream" | "log-stream" | "segment-stream", Panics::FailCall) => transactor_goes_on(actor).await,
            ("collector" | "eraser", Panics::Restart)
            | ("verify-stream" | "excise-stream" | "load-stream", Panics::FailCall) => {
                maintenance_goes_on(actor).await;
            }
            ("restore-stream", Panics::FailCall) => restores_go_on(actor).await,
            ("indexer", Panics::Restart) => indexing_goes_on(actor).await,
            ("metrics", Panics::Restart) => metrics_end("transactor", actor).await,
            (name, panics) => panic!("what becomes of {name} ({panics:?}) is not told here"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_of_a_peer_may_panic_and_it_goes_on() {
    for actor in peer::tree::TREE.actors() {
        println!("{}: {}", actor.name, actor.effect);
        match (actor.name, actor.panics) {
            ("discovery" | "follower" | "readiness" | "compute", Panics::Restart) => peer_goes_on(actor).await,
            ("log-stream" | "datoms-stream" | "reports-stream", Panics::FailCall) => peer_goes_on(actor).await,
            ("prefetch", Panics::Restart) => prefetching_goes_on(actor).await,
            ("metrics", Panics::Restart) => metrics_end("peer", actor).await,
            (name, panics) => panic!("what becomes of {name} ({panics:?}) is not told here"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_panic_within_a_minute_ends_the_process() {
    let mut story = Story::begin("", "compute=panic(4)").await;
    story.create().await;
    for panic in 1..=4 {
        let error = story.client.q(COUNT, vec![database("items")]).await.unwrap_err();
        assert_eq!(error.category(), Category::Unavailable, "panic {panic}: {error:?}");
    }
    let (status, said) = story.peer.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("it was started again 3 times within 60s already"), "{said}");
}

#[test]
fn what_each_failure_leads_to_is_written_down() {
    let operations = include_str!("../../docs/operations.md");
    let trees =
        [("transactor", &transactor::tree::TREE), ("peer", &peer::tree::TREE), ("storage", &server::tree::TREE)];
    for (process, tree) in trees {
        for actor in tree.actors() {
            let row = format!("| {process} | {} |", actor.name);
            let row = operations.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row for {process}'s {}", actor.name));
            assert!(row.contains(actor.effect), "{row}\nshould say: {}", actor.effect);
        }
    }
}
