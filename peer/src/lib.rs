//! The peer: follows the log and answers queries.
//!
//! Each database has a follower ([`follower`]), an actor that keeps an immutable value up to date ([`followed`]);
//! questions take the newest value and run on a fixed pool of threads ([`pool`]), within a budget. A peer writes
//! nothing: transactions go through it to the transactor. While no transactor is up it answers at the basis reached.

mod adoption;
pub mod config;
pub mod databases;
pub mod followed;
pub mod follower;
mod intake;
mod metrics;
pub mod pool;
mod queries;
mod readiness;
pub mod recent;
pub mod remote;
pub mod service;
mod shared_past;
pub mod tree;
mod trees;
mod vouching;
mod ways;

pub use config::Config;

use ::cache::{Prefetcher, SegmentCache};
use databases::Databases;
use db::budget::Limits;
use db::tx::Functions;
use metrics::{Counting, Metrics};
use pool::Pool;
use process::metrics::Registry;
use process::{Contract, Crew, Failpoint, Failure, Process, Result, Server, Serving, Shutdown, ShutdownTrigger, World};
use proto::MESSAGE_BYTES_MAX;
use proto::v1::peer_server::PeerServer;
use queries::Queries;
use readiness::Readiness;
use remote::Remote;
use service::{PeerService, reports};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use trees::TreeReader;

/// Runs a peer until it is asked to stop. An error is the end of a process that could not go on.
pub async fn run(config: Config, world: World, trigger: ShutdownTrigger, shutdown: Shutdown) -> Result<()> {
    let serving = Serving {
        listen: config.listen,
        restarts: config.restarts.limits(),
        limits: config.limits.clone(),
        metrics: config.metrics,
    };
    let mut process = Process::begin(&tree::TREE, serving, CONTRACT, &world, trigger, shutdown).await?;
    let (service, readiness) = service(&config, &world, &process.crew, &mut process.registry)?;
    let server = Server::new(process.edge()).await?.with(service).await;
    readiness.start(&process.crew, server.health()).await?;
    // A question that still runs has nobody who waits for it.
    process.serve(server).await?.end()
}

async fn prefetch(prefetcher: Prefetcher, point: Failpoint) -> Result<()> {
    prefetcher.run(move || point.pass()).await;
    Ok(())
}

/// What the server is told of the contract.
const CONTRACT: Contract = Contract {
    descriptors: proto::DESCRIPTORS,
    methods: proto::methods,
    status: proto::status,
    retry_after_ms: proto::RETRY_AFTER_MS,
    correlate: proto::correlate,
};

/// The service of a peer, its followers started, and who tells when it is ready; tests call it directly.
pub fn service(
    config: &Config,
    world: &World,
    crew: &Crew,
    registry: &mut Registry,
) -> Result<(PeerServer<PeerService>, Readiness)> {
    let metrics = Metrics::new(registry);
    let counting = Counting { metrics: metrics.clone(), clock: world.clock.clone() };
    let remote = Remote::new(&config.transactor, config.storage.as_deref(), world.network.clone())?;
    let cache = ::cache::Config::new(&config.cache, Option::from(&config.cache_disk));
    let cache = SegmentCache::open(&cache).map_err(Failure::new)?;
    cache.show(registry);
    if let Some(prefetcher) = cache.prefetcher() {
        for number in 0..config.cache.cache_prefetch {
            let prefetcher = prefetcher.clone();
            let run = move |point: Failpoint| prefetch(prefetcher.clone(), point);
            crew.start(&tree::PREFETCH, &number.to_string(), run)?;
        }
    }
    let reader = TreeReader::new(cache.clone(), remote.clone(), world.executor);
    let databases = Databases::new(remote.clone(), reader, world.clone(), crew.clone(), counting);
    let readiness = Readiness::new(databases.clone(), config.ready_percent);
    let discovering = databases.clone();
    crew.start(&tree::DISCOVERY, "", move |point| discovering.clone().discover(point))?;
    let threads = if config.threads == 0 {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    } else {
        config.threads
    };
    let service = PeerService {
        remote,
        databases,
        readiness: readiness.clone(),
        pool: Pool::start(crew, threads, config.queue as usize)?,
        cache,
        room: service::room(config.limits.caller_share),
        metrics,
        queries: Arc::new(Queries::default()),
        functions: Functions::native(),
        listeners: Arc::new(Semaphore::new(reports::LISTENERS_MAX)),
        started: world.clock.since_boot(),
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        crew: crew.clone(),
        limits: Limits { rows_max: config.query_rows, bytes_max: config.query_bytes },
        timeout_max: Duration::from_secs(config.query_seconds),
    };
    metrics::show(registry, &service, config.metrics.metrics_databases);
    let server = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok((server, readiness))
}
