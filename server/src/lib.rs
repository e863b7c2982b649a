//! The storage process: serves one store to transactors and peers.
//!
//! It opens the store, which belongs to it from then on, and answers: the read side to peers and the write side to
//! transactors. It judges no transaction and knows of no term but what the store's own conditions say; which transactor
//! writes is decided by them alone. When the store fails on the way to disk the process ends: another one reads what is
//! durable.

pub mod config;
mod metrics;
pub mod tree;

pub use config::Config;

use process::{Contract, Failure, Process, Result, Server, Serving, Shutdown, ShutdownTrigger, World, log};
use proto::MESSAGE_BYTES_MAX;
use proto::v1::storage_server::StorageServer;
use proto::v1::storage_writer_server::StorageWriterServer;
use storage::{Options, Store};
use stores::reading::{StorageService, StreamActors};
use stores::writing::WriterService;
use tokio::sync::watch;

/// Runs a storage process until it is asked to stop. An error is the end of a process that could not go on.
pub async fn run(config: Config, world: World, trigger: ShutdownTrigger, shutdown: Shutdown) -> Result<()> {
    let executor = world.executor;
    let url = config.store.clone();
    let opened = executor.blocking(move || Ok(storage::open(&url, Options::default()))).await.map_err(Failure::new)?;
    let store = opened.map_err(|error| Failure::new(format!("cannot open the store {}: {error}", config.store)))?;
    for note in store.notes() {
        log::warn!("{note}");
    }
    run_on(config, &store, world, trigger, shutdown).await?;
    let closed = executor.blocking(move || Ok(store.close())).await.map_err(Failure::new)?;
    closed.map_err(|error| Failure::new(format!("closing the store failed: {error}")))
}

/// Serves a store that is open.
pub async fn run_on(
    config: Config,
    store: &Store,
    world: World,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
) -> Result<()> {
    let serving = Serving {
        listen: config.listen,
        restarts: config.restarts.limits(),
        limits: config.limits,
        metrics: config.metrics,
    };
    let mut process = Process::begin(&tree::TREE, serving, CONTRACT, &world, trigger, shutdown).await?;
    let (failure, failed) = watch::channel(None);
    process.crew.start(&tree::STORE_WATCH, "", move |point| watch_store(failed.clone(), point))?;
    let (journal, segments) = (store.journal(), store.segments());
    let actors = StreamActors { log: &tree::LOG_STREAM, segment: &tree::SEGMENT_STREAM };
    let reading =
        StorageService { journal: journal.clone(), segments: segments.clone(), crew: process.crew.clone(), actors };
    let reading = StorageServer::new(reading)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let segment_bytes_max = Options::default().segment_bytes_max;
    let writing = WriterService::new(journal, segments, world.executor, segment_bytes_max, failure);
    metrics::show(&mut process.registry, store.journal(), store.segments(), writing.room());
    let writing = StorageWriterServer::new(writing)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::new(process.edge()).await?.with(reading).await.with(writing).await;
    process.serve(server).await?.end()
}

/// Ends the process when the store has failed: going on could only refuse.
async fn watch_store(mut failed: watch::Receiver<Option<String>>, point: process::Failpoint) -> Result<()> {
    point.pass();
    match failed.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(why)) => Err(Failure::new(why)),
        // Nobody serves any more.
        _ => Ok(()),
    }
}

/// What the server is told of the contract.
const CONTRACT: Contract = Contract {
    descriptors: proto::DESCRIPTORS,
    methods: proto::methods,
    status: proto::status,
    retry_after_ms: proto::RETRY_AFTER_MS,
    correlate: proto::correlate,
};
