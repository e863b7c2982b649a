//! A transactor in a test: the services called directly, over any journal.

use crate::commit::Rules;
use crate::follow::QueueLimits;
use crate::garbage;
use crate::host::{Host, World};
use crate::indexing::{Indexing, Settings};
use crate::metrics::Metrics;
use crate::service::admin::AdminService;
use crate::service::storage::{STREAM_ACTORS, StorageService};
use crate::service::transactor::{FollowStream, TransactorService, room};
use crate::tree;
use cache::{Config, SegmentCache};
use db::log::{Chain, DatabaseId};
use db::tx::{Functions, TxLimits};
use db::{Error, Instant};
use process::{Clock, Crew, Failpoints, ManualClock, Restarts, SeededEntropy, Shutdown, ShutdownTrigger, Supervisor};
use proto::v1;
use proto::v1::admin_server::Admin as _;
use proto::v1::storage_server::Storage as _;
use proto::v1::transactor_server::Transactor as _;
use proto::v1::verify_response::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Journal, MemoryStore, Options, Segments};
use tonic::Request;

pub struct Fixture {
    pub transactor: TransactorService,
    pub storage: StorageService,
    pub admin: AdminService,
    pub clock: Arc<ManualClock>,
    pub crew: Crew,
    pub trigger: ShutdownTrigger,
    pub supervisor: Supervisor,
}

pub const NOON: Instant = Instant(1_000_000_000_000);
/// Transactions that may wait.
pub const QUEUE_MAX: usize = 64;

pub const SCHEMA: &str = "[{:db/ident :counter/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :counter/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

pub fn memory() -> MemoryStore {
    MemoryStore::new(Options::default())
}

/// A transactor over a store, as a process that starts.
pub fn start(memory: &MemoryStore) -> Fixture {
    let store = memory.store();
    start_with(store.journal(), store.segments(), QueueLimits::default())
}

/// A transactor whose actors panic where they are told to.
pub fn start_failing(memory: &MemoryStore, failpoints: &str) -> Fixture {
    let (store, failpoints) = (memory.store(), Failpoints::parse(failpoints).unwrap());
    start_all(store.journal(), store.segments(), QueueLimits::default(), failpoints, Settings::default(), by_hand())
}

/// A transactor that indexes as it is told to, and whose actors panic where they are told to.
pub fn start_indexing_failing(memory: &MemoryStore, settings: Settings, failpoints: &str) -> Fixture {
    let (store, failpoints) = (memory.store(), Failpoints::parse(failpoints).unwrap());
    start_all(store.journal(), store.segments(), QueueLimits::default(), failpoints, settings, by_hand())
}

pub fn start_with(journal: Arc<dyn Journal>, segments: Arc<dyn Segments>, follow_limits: QueueLimits) -> Fixture {
    start_all(journal, segments, follow_limits, Failpoints::default(), Settings::default(), by_hand())
}

/// A transactor that indexes as it is told to.
pub fn start_indexing(memory: &MemoryStore, settings: Settings) -> Fixture {
    let store = memory.store();
    start_collecting(store.journal(), store.segments(), settings, by_hand())
}

/// A transactor that indexes and collects garbage as it is told to.
pub fn start_collecting(
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    settings: Settings,
    garbage: garbage::Settings,
) -> Fixture {
    start_all(journal, segments, QueueLimits::default(), Failpoints::default(), settings, garbage)
}

/// Garbage is collected when it is asked for.
pub fn by_hand() -> garbage::Settings {
    garbage::Settings { every: std::time::Duration::ZERO, ..garbage::Settings::default() }
}

fn start_all(
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    follow_limits: QueueLimits,
    failpoints: Failpoints,
    settings: Settings,
    garbage: garbage::Settings,
) -> Fixture {
    /// Every start draws other ids.
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let (trigger, shutdown) = Shutdown::new();
    let clock = Arc::new(ManualClock::at(NOON));
    let outside = process::World { clock: clock.clone(), failpoints, ..process::World::system().unwrap() };
    let (crew, supervisor) = Crew::new(&tree::TREE, Restarts::default(), &outside, shutdown);
    let world = World {
        journal: journal.clone(),
        segments: segments.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(STARTS.fetch_add(1, Ordering::Relaxed))),
        rules: Rules { functions: Functions::native(), limits: TxLimits::default() },
        endpoint: "http://test".into(),
        queue_max: QUEUE_MAX,
        follow_limits,
        metrics: Metrics::new(&mut process::metrics::registry()),
        indexing: Indexing::new(settings),
        garbage,
        cache: SegmentCache::open(&Config { prefetch: 0, ..Config::default() }).unwrap(),
        collecting: Default::default(),
    };
    let indexing = world.indexing.clone();
    let host = ready(Host::open(world.clone(), &crew)).unwrap();
    let admin = AdminService::new(&host, &world, &crew);
    let started = clock.since_boot();
    let transactor = TransactorService {
        host,
        journal: journal.clone(),
        segments: segments.clone(),
        clock: clock.clone(),
        started,
        indexing,
        crew: crew.clone(),
        store: "memory".into(),
        room: room(QUEUE_MAX, 50),
    };
    let storage = StorageService { journal, segments, crew: crew.clone(), actors: STREAM_ACTORS };
    Fixture { transactor, storage, admin, clock, crew, trigger, supervisor }
}

/// What a future comes to that has nothing to wait for: a store in memory answers at once.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it has to wait"),
    }
}

impl Fixture {
    pub async fn create(&self, name: &str) -> DatabaseId {
        let request = Request::new(v1::CreateDatabaseRequest { name: name.into() });
        let info = self.transactor.create_database(request).await.unwrap().into_inner().database.unwrap();
        DatabaseId(info.id[..].try_into().unwrap())
    }

    /// The id of a database that is open.
    pub async fn id(&self, name: &str) -> DatabaseId {
        self.create(name).await
    }

    pub async fn delete(&self, name: &str) -> Result<DatabaseId, Error> {
        let request = v1::DeleteDatabaseRequest { name: name.into(), confirm_name: name.into() };
        let answered = self.transactor.delete_database(Request::new(request)).await;
        let info = answered.map_err(|status| proto::error(&status))?.into_inner().database.unwrap();
        Ok(DatabaseId(info.id[..].try_into().unwrap()))
    }

    pub async fn transact(&self, database: &str, tx_data: &str) -> Result<v1::TransactResponse, Error> {
        let (database, tx_data) = (database.into(), tx_data.into());
        self.send(Request::new(v1::TransactRequest { database, tx_data, ..Default::default() })).await
    }

    pub async fn send(&self, request: Request<v1::TransactRequest>) -> Result<v1::TransactResponse, Error> {
        let answered = self.transactor.transact(request).await;
        answered.map(tonic::Response::into_inner).map_err(|status| proto::error(&status))
    }

    /// A database with the schema of [`SCHEMA`] at t 1.
    pub async fn with_counter(&self, name: &str) -> DatabaseId {
        let id = self.create(name).await;
        self.transact(name, SCHEMA).await.unwrap();
        id
    }

    pub async fn head(&self, id: DatabaseId) -> v1::Head {
        let request = Request::new(v1::HeadRequest { database_id: id.0.to_vec().into() });
        self.storage.head(request).await.unwrap().into_inner().head.unwrap()
    }

    pub async fn follow(&self, id: DatabaseId, chain: &Chain) -> FollowStream {
        let request = Request::new(v1::FollowRequest {
            database_id: id.0.to_vec().into(),
            seq: chain.seq(),
            hash: chain.hash().to_vec().into(),
        });
        self.transactor.follow(request).await.unwrap().into_inner()
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.trigger.ask();
        self.transactor.host.stop().await;
        drop(self.transactor);
        self.crew.stages_ended().await;
    }
}

impl Fixture {
    pub async fn excise(&self, request: v1::ExciseRequest) -> Result<v1::ExciseReport, Error> {
        let asked = self.admin.excise(Request::new(request)).await.map_err(|status| proto::error(&status))?;
        let mut stream = asked.into_inner();
        while let Some(message) = tokio_stream::StreamExt::next(&mut stream).await {
            let message = message.map_err(|status| proto::error(&status))?;
            if let Some(v1::excise_response::Kind::Report(report)) = message.kind {
                return Ok(report);
            }
        }
        panic!("the stream ended without a report")
    }

    /// Has garbage collected, of all databases.
    pub async fn collect(&self, dry_run: bool) -> Vec<garbage::Report> {
        self.collect_of(None, dry_run).await.unwrap()
    }

    /// Faults and summary of a verification.
    pub async fn verify(&self, name: &str) -> (Vec<v1::VerifyFault>, v1::VerifySummary) {
        self.verify_with(name, false).await.unwrap()
    }

    /// The same, repairing what can be repaired.
    pub async fn repair(&self, name: &str) -> Result<(Vec<v1::VerifyFault>, v1::VerifySummary), Error> {
        self.verify_with(name, true).await
    }

    async fn verify_with(&self, name: &str, repair: bool) -> Result<(Vec<v1::VerifyFault>, v1::VerifySummary), Error> {
        let request = Request::new(v1::VerifyRequest { database: name.into(), repair });
        let mut stream = self.admin.verify(request).await.unwrap().into_inner();
        let (mut faults, mut summary) = (Vec::new(), None);
        while let Some(message) = tokio_stream::StreamExt::next(&mut stream).await {
            match message.map_err(|status| proto::error(&status))?.kind.unwrap() {
                Kind::Progress(_) => {}
                Kind::Fault(fault) => faults.push(fault),
                Kind::Summary(told) => summary = Some(told),
            }
        }
        Ok((faults, summary.unwrap()))
    }

    pub async fn collect_of(&self, name: Option<&str>, dry_run: bool) -> Result<Vec<garbage::Report>, Error> {
        let database = name.map(str::to_owned);
        let asked = self.transactor.host.collector.ask(|reply| garbage::Ask { database, dry_run, reply });
        asked.map_err(|_| ()).unwrap().await.unwrap()
    }
}
