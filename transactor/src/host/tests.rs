//! Opening a store as it was left: in order, in the middle of a creation, or damaged.

mod deletion;
mod takeover;

use super::{Host, World};
use crate::catalogue::{Catalogue, Standing};
use crate::commit::Rules;
use crate::follow::QueueLimits;
use crate::metrics::Metrics;
use crate::open;
use crate::testing::{NOON, memory, ready, start, start_failing};
use crate::tree;
use db::tx::{Functions, TxLimits};
use db::{Category, Error};
use process::{Crew, ManualClock, Restarts, SeededEntropy, Shutdown};
use proto::v1;
use proto::v1::transactor_server::Transactor as _;
use std::sync::Arc;
use storage::{DatabaseId, Journal, MemoryStore};
use tonic::Request;

const ID: DatabaseId = DatabaseId([7; 16]);

/// A creation that came as far as its log, or only as far as its announcement.
fn cut_off(memory: &MemoryStore, name: &str, with_log: bool) -> Catalogue {
    let store = memory.store();
    let catalogue = Catalogue::new(store.journal());
    catalogue.begin(ID, name).unwrap();
    if with_log {
        let writer = open::Writer { endpoint: "http://test", now: NOON, entropy: &SeededEntropy::new(1) };
        ready(open::create(&*store.journal(), ID, name, &writer)).unwrap();
    }
    catalogue
}

fn refused(journal: Arc<dyn Journal>, memory: &MemoryStore) -> Error {
    let (_trigger, shutdown) = Shutdown::new();
    let outside = process::World::system().unwrap();
    let (crew, _supervisor) = Crew::new(&tree::TREE, Restarts::default(), &outside, shutdown);
    let world = World {
        journal,
        segments: memory.store().segments(),
        clock: Arc::new(ManualClock::at(NOON)),
        entropy: Arc::new(SeededEntropy::new(2)),
        rules: Rules { functions: Functions::native(), limits: TxLimits::default() },
        endpoint: "http://test".into(),
        queue_max: 1,
        follow_limits: QueueLimits::default(),
        metrics: Metrics::new(&mut process::metrics::registry()),
        garbage: crate::testing::by_hand(),
        indexing: crate::indexing::Indexing::new(crate::indexing::Settings::default()),
        cache: cache::SegmentCache::open(&cache::Config::default()).unwrap(),
        collecting: Default::default(),
    };
    match ready(Host::open(world, &crew)) {
        Ok(_) => panic!("a damaged store was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_creation_whose_log_has_begun_is_finished() {
    let memory = memory();
    let catalogue = cut_off(&memory, "world", true);
    let fixture = start(&memory);
    assert_eq!(catalogue.find("world").unwrap(), Some(ID));
    assert_eq!(catalogue.entry(ID).unwrap().unwrap().standing, Standing::Live);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_creation_without_a_log_is_cleared_and_its_name_is_free() {
    let memory = memory();
    let catalogue = cut_off(&memory, "world", false);
    let fixture = start(&memory);
    assert_eq!(catalogue.entry(ID).unwrap(), None);
    let id = fixture.create("world").await;
    assert_ne!(id.0, ID.0);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_creation_that_lost_its_name_meanwhile_is_cleared() {
    let memory = memory();
    let fixture = start(&memory);
    let id = fixture.create("world").await;
    fixture.stop().await;
    let catalogue = cut_off(&memory, "world", true);
    let fixture = start(&memory);
    assert_eq!(catalogue.find("world").unwrap(), Some(DatabaseId(id.0)));
    assert_eq!(catalogue.entry(ID).unwrap(), None);
    assert_eq!(fixture.transactor.journal.head(ID).unwrap(), None);
    fixture.stop().await;
}

#[tokio::test]
async fn a_creator_that_failed_is_started_again_finishes_what_was_cut_off_and_goes_on() {
    let memory = memory();
    let mut fixture = start_failing(&memory, "creator=panic(1)");
    // As the one that is about to fail could have left it.
    cut_off(&memory, "cut-off", true);
    let ask = || Request::new(v1::CreateDatabaseRequest { name: "world".into() });
    let told = fixture.transactor.create_database(ask()).await.unwrap_err();
    assert_eq!(proto::error(&told).category(), Category::Unknown);
    // Who asks before it is started again waits.
    let created = tokio::select! {
        failure = fixture.supervisor.run() => panic!("{failure}"),
        created = fixture.transactor.create_database(ask()) => created.unwrap().into_inner(),
    };
    assert!(created.created);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 1);
    assert_eq!(fixture.transact("cut-off", "[]").await.unwrap().t, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn a_name_that_another_transactor_took_is_refused_and_others_are_created() {
    let memory = memory();
    let (first, second) = (start(&memory), start(&memory));
    second.create("world").await;
    let request = Request::new(v1::CreateDatabaseRequest { name: "world".into() });
    let refused = first.transactor.create_database(request).await.unwrap_err();
    assert_eq!(proto::error(&refused).category(), Category::Fenced);
    first.create("other").await;
    assert_eq!(first.transact("other", "[]").await.unwrap().t, 1);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_writer_that_panics_ends_the_process_and_whoever_waits_hears_that_the_outcome_is_unknown() {
    let memory = memory();
    let mut fixture = start_failing(&memory, "writer=pass(1)panic(1)");
    fixture.with_counter("world").await;
    let unknown = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!(unknown.category(), Category::Unknown);
    let failure = fixture.supervisor.run().await.0;
    assert_eq!(failure, "writer world ended: it panicked: failpoint writer");
    fixture.stop().await;
}

#[tokio::test]
async fn a_live_database_without_a_log_or_a_name_is_damage_and_never_passed_over() {
    let lost_log = memory();
    let catalogue = cut_off(&lost_log, "world", false);
    catalogue.finish(catalogue.entry(ID).unwrap().unwrap()).unwrap().unwrap();
    let error = refused(lost_log.store().journal(), &lost_log);
    assert_eq!(error.category(), Category::Corrupt);
    assert!(error.message().contains("world") && error.message().contains("no log"), "{error}");

    let lost_name = memory();
    let catalogue = cut_off(&lost_name, "world", true);
    catalogue.finish(catalogue.entry(ID).unwrap().unwrap()).unwrap().unwrap();
    let journal = lost_name.store().journal();
    let (version, _) = journal.read_pod("name/world").unwrap().unwrap();
    journal.delete_pod("name/world", version).unwrap();
    let error = refused(journal, &lost_name);
    assert!(error.category() == Category::Corrupt && error.message().contains("world"), "{error}");
}
