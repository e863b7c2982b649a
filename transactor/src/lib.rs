//! The transactor: expands, checks, logs and broadcasts transactions.
//!
//! One process writes many databases. Each has one writer thread behind a bounded mailbox ([`commit`]), followers
//! with a bounded queue each ([`follow`]), and a term that began when it was opened ([`open`]). The catalogue of names
//! is in pods ([`catalogue`]). The store's read side is served to peers ([`service`]).
//!
//! What it leaves out: it answers no queries.

pub mod append;
mod backups;
pub mod clock_guard;
pub mod commit;
pub mod config;
pub mod erasing;
mod errors;
pub mod follow;
pub mod forking;
pub mod garbage;
pub mod host;
pub mod indexing;
mod metrics;
pub mod open;
mod repair;
pub mod restoring;
pub mod service;
mod term_watch;
#[cfg(test)]
mod testing;
pub mod tree;
mod verifying;

pub use config::Config;
pub use stores::catalogue;

use cache::SegmentCache;
use commit::Rules;
use db::tx::{Functions, TxLimits};
use follow::FollowLane;
use host::{Host, World};
use indexing::Indexing;
use metrics::Metrics;
use process::limits::Room;
use process::{Contract, Crew, Failure, Process, Result, Server, Serving, Shutdown, ShutdownTrigger, log};
use proto::MESSAGE_BYTES_MAX;
use proto::v1::admin_server::AdminServer;
use proto::v1::storage_server::StorageServer;
use proto::v1::transactor_server::TransactorServer;
use service::admin::AdminService;
use service::storage::{STREAM_ACTORS, StorageService};
use service::transactor::TransactorService;
use std::sync::Arc;
use storage::{Journal, Segments};

/// Runs a transactor until it is asked to stop. An error is the end of a process that could not go on.
pub async fn run(config: Config, world: process::World, trigger: ShutdownTrigger, shutdown: Shutdown) -> Result<()> {
    let executor = world.executor;
    let url = config.store.clone();
    let opening = executor.blocking(move || Ok(stores::open(&url, storage::Options::default())));
    let opened = opening.await.map_err(Failure::new)?;
    let store = opened.map_err(|error| Failure::new(format!("cannot open the store {}: {error}", config.store)))?;
    for note in store.notes() {
        log::warn!("{note}");
    }
    run_on(config, store.journal(), store.segments(), world, trigger, shutdown).await?;
    let closing = executor.blocking(move || Ok(store.close()));
    let closed = closing.await.map_err(Failure::new)?;
    closed.map_err(|error| Failure::new(format!("closing the store failed: {error}")))
}

/// Runs a transactor on a store that is open, and lets go of it before it returns in peace.
pub async fn run_on(
    config: Config,
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    outside: process::World,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
) -> Result<()> {
    run_knowing(Functions::native(), config, journal, segments, outside, trigger, shutdown).await
}

/// The same for a transactor that knows transaction functions of one's own.
pub async fn run_knowing(
    functions: Functions,
    config: Config,
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    outside: process::World,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
) -> Result<()> {
    let serving = Serving {
        listen: config.listen,
        restarts: config.restarts.limits(),
        limits: config.limits.clone(),
        metrics: config.metrics,
    };
    let mut process = Process::begin(&tree::TREE, serving, CONTRACT, &outside, trigger, shutdown).await?;
    let world = World {
        journal,
        segments,
        clock: outside.clock.clone(),
        entropy: outside.entropy.clone(),
        rules: Rules { functions, limits: TxLimits::default() },
        endpoint: format!("http://{}", process.address()),
        queue_max: config.queue as usize,
        follow_limits: follow::QueueLimits::default(),
        metrics: Metrics::new(&mut process.registry),
        indexing: Indexing::new(indexing::Settings {
            seal_log: config.seal_log,
            ..indexing::Settings::of(config.novelty_bytes as usize)
        }),
        garbage: config.garbage.settings(),
        cache: cache(&config)?,
        collecting: Default::default(),
    };
    world.cache.show(&mut process.registry);
    let opening = (world.clone(), process.crew.clone());
    let opening = async move { Host::open(opening.0, &opening.1).await };
    let opened = outside.executor.on_a_stage("opening", tree::CREATOR_STACK_BYTES, opening).await?;
    let host = opened.map_err(|error| Failure::new(format!("{}: {error}", config.store)))?;

    let kind = config.store.split(':').next().unwrap_or_default().to_owned();
    let room = service::transactor::room(world.queue_max, config.limits.caller_share);
    let (shown, journal) = (config.metrics.metrics_databases, world.journal.clone());
    let indexing = world.indexing.clone();
    metrics::show(&mut process.registry, host.clone(), journal, indexing, room.clone(), shown);
    let (transactor, storage) = services(&host, &world, kind, room, process.crew.clone());
    let admin = AdminServer::new(AdminService::new(&host, &world, &process.crew))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::new(process.edge()).await?.with(transactor).await.with(storage).await.with(admin).await;
    let stopping = process.serve(server).await?;
    host.stop().await;
    drop((host, world));
    stopping.stages_ended().await;
    stopping.end()
}

/// A transactor reads where it expands, and its operating system keeps the packs that it wrote: heap alone will do.
fn cache(config: &Config) -> Result<Arc<SegmentCache>> {
    let config = cache::Config { prefetch: 0, ..cache::Config::new(&config.cache, None) };
    SegmentCache::open(&config).map_err(Failure::new)
}

/// What the server is told of the contract.
const CONTRACT: Contract = Contract {
    descriptors: proto::DESCRIPTORS,
    methods: proto::methods,
    status: proto::status,
    retry_after_ms: proto::RETRY_AFTER_MS,
    correlate: proto::correlate,
};

/// The services over open databases, as they are served; tests call them directly.
pub fn services(
    host: &Host,
    world: &World,
    store: String,
    room: Room,
    crew: Crew,
) -> (FollowLane, StorageServer<StorageService>) {
    let transactor = Arc::new(TransactorService {
        host: host.clone(),
        journal: world.journal.clone(),
        indexing: world.indexing.clone(),
        segments: world.segments.clone(),
        clock: world.clock.clone(),
        started: world.clock.since_boot(),
        store,
        crew: crew.clone(),
        room,
    });
    let others = TransactorServer::from_arc(transactor.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (journal, segments) = (world.journal.clone(), world.segments.clone());
    let storage = StorageService { journal, segments, crew, actors: STREAM_ACTORS };
    (
        FollowLane::new(transactor, others),
        StorageServer::new(storage)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
}
