//! The transactor: expands, checks, logs and broadcasts transactions.
//!
//! One process writes many databases. Each has one writer thread behind a bounded mailbox ([`commit`]), followers
//! with a bounded queue each ([`follow`]), and a term that began when it was opened ([`open`]). The catalogue of names
//! is in pods ([`catalogue`]). The store's read side is served to peers ([`service`]).
//!
//! What it leaves out: it answers no queries.

pub mod append;
pub mod catalogue;
pub mod clock_guard;
pub mod commit;
pub mod config;
mod errors;
pub mod follow;
pub mod functions;
pub mod host;
pub mod open;
pub mod service;
#[cfg(test)]
mod testing;

pub use config::Config;

use commit::Rules;
use db::tx::TxLimits;
use host::{Host, World};
use process::{Clock, Crew, Entropy, Failure, Result, Server, Shutdown, ShutdownTrigger, log};
use proto::MESSAGE_BYTES_MAX;
use proto::v1::storage_server::StorageServer;
use proto::v1::transactor_server::TransactorServer;
use service::storage::StorageService;
use service::transactor::TransactorService;
use std::sync::Arc;
use storage::Store;

/// Runs a transactor until it is asked to stop. An error is the end of a process that could not go on.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
) -> Result<()> {
    let (crew, mut ended) = Crew::new(shutdown.clone());
    let listener = process::bind(config.listen).await?;
    let endpoint = format!("http://{}", listener.local_addr().map_err(Failure::new)?);

    let store = open_store(config.store.clone()).await?;
    let world = World {
        journal: store.journal(),
        segments: store.segments(),
        clock: clock.clone(),
        entropy,
        rules: Rules { functions: functions::native(), limits: TxLimits::default() },
        endpoint,
        queue_max: config.queue as usize,
        follow_limits: follow::QueueLimits::default(),
    };
    let opening = (world.clone(), crew.clone());
    let opened = tokio::task::spawn_blocking(move || Host::open(opening.0, &opening.1)).await;
    let host = opened.map_err(Failure::new)?.map_err(|error| Failure::new(format!("{}: {error}", config.store)))?;

    let kind = config.store.split(':').next().unwrap_or_default().to_owned();
    let (transactor, storage) = services(&host, &world, kind, shutdown.clone());
    let server = Server::new(proto::DESCRIPTORS).await?.with(transactor).await.with(storage).await;
    process::announce(&listener)?;
    tokio::select! {
        served = server.serve(listener, shutdown) => served?,
        failure = ended.first() => {
            // Streams end at once; what waits for an answer is told that its outcome is unknown.
            trigger.ask();
            return Err(failure);
        }
    }
    host.stop().await;
    drop((host, world));
    tokio::task::spawn_blocking(move || {
        crew.join_threads();
        store.close().map_err(|error| Failure::new(format!("closing the store failed: {error}")))
    })
    .await
    .map_err(Failure::new)??;
    log::info!("stopped");
    Ok(())
}

async fn open_store(url: String) -> Result<Store> {
    let opening = url.clone();
    let store = tokio::task::spawn_blocking(move || storage::open(&opening, storage::Options::default()))
        .await
        .map_err(Failure::new)?
        .map_err(|error| Failure::new(format!("cannot open the store {url}: {error}")))?;
    for note in store.notes() {
        log::warn!("{note}");
    }
    Ok(store)
}

/// The services over open databases, as they are served; tests call them directly.
pub fn services(
    host: &Host,
    world: &World,
    store: String,
    shutdown: Shutdown,
) -> (TransactorServer<TransactorService>, StorageServer<StorageService>) {
    let transactor = TransactorService {
        host: host.clone(),
        journal: world.journal.clone(),
        clock: world.clock.clone(),
        started: world.clock.since_boot(),
        store,
        shutdown,
        room: TransactorService::room(),
    };
    let storage = StorageService { journal: world.journal.clone(), segments: world.segments.clone() };
    (
        TransactorServer::new(transactor)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
        StorageServer::new(storage)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
}
