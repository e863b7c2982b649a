//! Indexing: novelty becomes trees, beside the writers.
//!
//! One actor runs one job at a time: for the database with the most novelty over the threshold it makes new trees of
//! the newest durable value, puts their segments, and hands the writer an `index` record, which stands in the log
//! between transactions like any other record. Whatever happens on the way, the old roots hold until that record is
//! durable; what a job left behind is garbage.

mod job;
pub mod sink;

pub use job::{Indexed, Job, Subject};
pub use sink::SegmentSink;

use crate::commit::{Database, Durable, Message};
use crate::host::Databases;
use crate::metrics::Metrics;
use cache::{Fetch, SegmentCache};
use db::index::segment::Sizes;
use db::log::IndexBody;
use db::log::tree::LogSizes;
use db::{Category, Result};
use process::metrics::observe;
use process::{Clock, Failpoint, Shutdown, log};
use proto::v1;
use sink::Written;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storage::{DatabaseId, Journal, Segments};
use tokio::sync::Notify;

/// When jobs begin and how large nodes become.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A job begins when novelty takes this many bytes.
    pub novelty_bytes: usize,
    /// Transactions are refused while novelty takes this many bytes.
    pub novelty_bytes_max: usize,
    pub sizes: Sizes,
    pub log_sizes: LogSizes,
    /// What the log tree holds leaves the journal, but for the records since the index before the newest one.
    pub seal_log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings::of(32 << 20)
    }
}

impl Settings {
    /// Novelty may grow to four times the threshold: a job takes a while, and what comes meanwhile waits for the next.
    pub fn of(novelty_bytes: usize) -> Self {
        let novelty_bytes_max = novelty_bytes.saturating_mul(4).max(1 << 20);
        Settings {
            novelty_bytes,
            novelty_bytes_max,
            sizes: Sizes::default(),
            log_sizes: LogSizes::default(),
            seal_log: true,
        }
    }

    /// How long a writer waits after a record by which novelty has grown to `novelty_bytes`: nothing up to twice the
    /// threshold. From there on it may go as fast as indexing does where half of the room is left, faster before and
    /// slower behind that, so that the two meet without a step. `rate`: bytes of novelty that indexing merges in a second.
    pub fn pause(&self, novelty_bytes: usize, grown_bytes: usize, rate: f64) -> Duration {
        let easy = self.novelty_bytes.saturating_mul(2).min(self.novelty_bytes_max);
        let over = novelty_bytes.saturating_sub(easy) as f64;
        let full = (over / (self.novelty_bytes_max - easy).max(1) as f64).min(FULL_MOST);
        let seconds = grown_bytes as f64 / rate.max(1.0) * full / (1.0 - full);
        Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64()))
    }
}

/// So near the hard limit the pause grows no further.
const FULL_MOST: f64 = 0.98;

/// The longest pause after a record: what is slower than that meets the hard limit.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What indexing is thought to merge in a second before any job has shown it.
const RATE_AT_FIRST: f64 = (32 << 20) as f64;

/// Between two tries of a job that failed.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What writers and indexer know of each other.
pub struct Indexing {
    pub settings: Settings,
    /// A database has grown over the threshold.
    grown: Notify,
    /// Bytes of novelty that jobs merge in a second, as the bits of an f64: the newest job counts for a half.
    rate: AtomicU64,
    /// The job at work: bytes of novelty that it merges, 0 for none, and when it began, in microseconds since boot.
    job_bytes: AtomicU64,
    job_begun_us: AtomicU64,
    /// Had by the job that is at work, and by an erasure while no job may be.
    pub at_work: tokio::sync::Mutex<()>,
    /// Had by an erasure and by a repair, which never work side by side.
    pub rewriting: tokio::sync::Mutex<()>,
    pub counts: Counts,
}

/// Since the process started.
#[derive(Default)]
pub struct Counts {
    pub jobs: AtomicU64,
    pub failed: AtomicU64,
    /// Novelty that was merged, as memory counts it, and the bytes of segments that were written for it.
    pub merged_bytes: AtomicU64,
    pub written_bytes: AtomicU64,
    pub written_segments: AtomicU64,
}

impl Indexing {
    pub fn new(settings: Settings) -> Arc<Indexing> {
        let rate = AtomicU64::new(RATE_AT_FIRST.to_bits());
        let (job_bytes, job_begun_us) = (AtomicU64::new(0), AtomicU64::new(0));
        let (grown, at_work, rewriting, counts) = Default::default();
        Arc::new(Indexing { settings, grown, rate, job_bytes, job_begun_us, at_work, rewriting, counts })
    }

    /// How long a writer waits before its next record, so that indexing keeps up.
    pub fn pause(&self, novelty_bytes: usize, grown_bytes: usize, now: Duration) -> Duration {
        let rate = f64::from_bits(self.rate.load(Ordering::Relaxed));
        // A job that takes longer than was thought shows it before it is done.
        let begun = Duration::from_micros(self.job_begun_us.load(Ordering::Relaxed));
        let job_bytes = self.job_bytes.load(Ordering::Relaxed);
        let so_far = match job_bytes {
            0 => f64::MAX,
            bytes => bytes as f64 / now.saturating_sub(begun).as_secs_f64().max(1e-3),
        };
        self.settings.pause(novelty_bytes, grown_bytes, rate.min(so_far))
    }

    /// A job over so many bytes begins, or with 0 is over.
    fn works_on(&self, bytes: usize, now: Duration) {
        self.job_begun_us.store(now.as_micros() as u64, Ordering::Relaxed);
        self.job_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// A job has merged so much of novelty.
    fn merged(&self, bytes: usize, took: Duration) {
        let rate = bytes as f64 / took.as_secs_f64().max(1e-3);
        // The indexer alone says this.
        let before = f64::from_bits(self.rate.load(Ordering::Relaxed));
        self.rate.store(((before + rate) / 2.0).to_bits(), Ordering::Relaxed);
    }

    pub fn status(&self) -> v1::IndexingStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { jobs, failed, merged_bytes, written_bytes, written_segments } = &self.counts;
        v1::IndexingStatus {
            jobs: count(jobs),
            failures: count(failed),
            merged_bytes: count(merged_bytes),
            written_bytes: count(written_bytes),
            written_segments: count(written_segments),
            threshold_bytes: self.settings.novelty_bytes as u64,
        }
    }

    /// A writer has made a value durable.
    pub fn noted(&self, db: &db::Db) {
        if db.novelty_bytes() >= self.settings.novelty_bytes {
            self.grown.notify_one();
        }
    }
}

/// The actor.
#[derive(Clone)]
pub struct Indexer {
    pub indexing: Arc<Indexing>,
    pub databases: Databases,
    pub journal: Arc<dyn Journal>,
    pub segments: Arc<dyn Segments>,
    pub cache: Arc<SegmentCache>,
    pub fetch: Arc<dyn Fetch>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub shutdown: Shutdown,
}

impl Indexer {
    pub async fn run(self, point: Failpoint) -> process::Result<()> {
        // Databases whose job has failed, until when others go first.
        let mut resting: BTreeMap<DatabaseId, tokio::time::Instant> = BTreeMap::new();
        loop {
            resting.retain(|_, until| *until > tokio::time::Instant::now());
            let Some(database) = self.fullest(|id| !resting.contains_key(&id)) else {
                let rested = resting.values().min().copied();
                tokio::select! {
                    biased;
                    () = self.shutdown.asked() => return Ok(()),
                    () = self.indexing.grown.notified() => {}
                    () = until(rested) => {}
                }
                continue;
            };
            point.pass();
            if let Err(error) = self.index(&database, &point).await {
                // What ends a database is told by who ended it.
                if self.shutdown.is_asked() {
                    return Ok(());
                }
                if database.stopped().is_none() {
                    Counts::add(&self.indexing.counts.failed, 1);
                    log::error!(database = database.name, %error, "an index job failed; the old index stays, and it is tried again");
                    resting.insert(database.id, tokio::time::Instant::now() + TRY_AGAIN);
                }
            }
        }
    }

    /// Of some databases the one with the most novelty, if that is over the threshold.
    fn fullest(&self, is_one: impl Fn(DatabaseId) -> bool) -> Option<Arc<Database>> {
        let novelty = |database: &Arc<Database>| database.durable().db.novelty_bytes();
        let is_open = |database: &Arc<Database>| database.stopped().is_none() && is_one(database.id);
        let open = self.databases.all().into_iter().filter(is_open);
        let fullest = open.max_by_key(novelty)?;
        (novelty(&fullest) >= self.indexing.settings.novelty_bytes).then_some(fullest)
    }

    async fn index(&self, database: &Arc<Database>, point: &Failpoint) -> Result<()> {
        let _at_work = self.indexing.at_work.lock().await;
        let begun = self.clock.since_boot();
        let durable = database.durable();
        let novelty_bytes = durable.db.novelty_bytes();
        self.indexing.works_on(novelty_bytes, begun);
        let made = self.job(database, &durable);
        self.indexing.works_on(0, begun);
        let (indexed, written) = made?;
        point.pass();
        // The trees as a value, made here, so that the writer has but the newest transactions to add.
        let prepared = database.durable().db.onto(indexed.trees.clone())?;
        let index_t = indexed.body.index_t;
        let indexed = Box::new(Indexed { prepared, ..indexed });
        // Where callers crowd, indexing is what lets them go on.
        database.index_is_ready.send_replace(true);
        let answer = database.mailbox.ask_when_there_is_room(|reply| Message::Index(indexed, reply)).await;
        database.index_is_ready.send_replace(false);
        let stopped = || db::Error::new(Category::Unavailable, "db.error/stopped", "the writer has ended");
        let seq = answer.ok_or_else(stopped)??;
        let counts = &self.indexing.counts;
        let took = self.clock.since_boot().saturating_sub(begun);
        observe(&self.metrics.index_job, took);
        self.indexing.merged(novelty_bytes, took);
        Counts::add(&counts.jobs, 1);
        Counts::add(&counts.merged_bytes, novelty_bytes as u64);
        Counts::add(&counts.written_bytes, written.bytes);
        Counts::add(&counts.written_segments, written.segments);
        log::info!(
            database = database.name,
            index_t,
            seq,
            novelty_bytes,
            segments = written.segments,
            written_bytes = written.bytes,
            took_ms = took.as_millis() as u64,
            "a database was indexed"
        );
        point.pass();
        self.seal(database, &durable);
        Ok(())
    }

    /// Lets the journal go of what the log tree holds. The records since the index before the newest one stay, so that
    /// whoever is a little behind, or has just read that index, finds plain records. Nothing rests on it, and the next
    /// index seals more.
    fn seal(&self, database: &Database, before: &Durable) {
        let Some(index) = before.index.as_ref().filter(|_| self.indexing.settings.seal_log) else { return };
        let before_seq = sealable_before(&index.1);
        if let Err(error) = self.journal.seal(database.id, before_seq) {
            log::warn!(database = database.name, before_seq, %error, "the log was not sealed; the next index does that");
        }
    }
}

impl Indexer {
    fn job(&self, database: &Database, durable: &Durable) -> Result<(Indexed, Written)> {
        let job = Job {
            journal: &*self.journal,
            segments: self.segments.clone(),
            cache: &self.cache,
            fetch: self.fetch.clone(),
            settings: self.indexing.settings,
            go_on: &|| !self.shutdown.is_asked() && database.stopped().is_none(),
        };
        job.run(database.id, durable)
    }
}

/// Records before this one are in the log tree of an index. Of the one that a fork begins with none are: its chain is that
/// of the origin.
pub(crate) fn sealable_before(index: &IndexBody) -> u64 {
    index.log.map_or(1, |root| root.seq + 1)
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Counts {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
