//! Garbage: segments that nobody needs any more are deleted, and what is left of deleted databases.
//!
//! One actor does it, one database at a time, when it is due or when it is asked. What it may delete:
//!
//! - only segments of a database whose term this process has, or of one that was deleted; of a lineage with forks only
//!   where it has all that are not deleted, and nothing that any of them needs ([`lineage`]);
//! - of the trees, what no `index` record within *retention* names: the newest two are, and every one that was the
//!   newest less than that long ago, so that a value that somebody holds can be read that long;
//! - of jobs, only those of earlier terms, and of this term those before the one that the newest index is from. So what a
//!   job writes, or leaves unwritten because it is there already, is safe until it is named or given up;
//! - of bodies out of line, those of earlier terms that no record names; they were put for a record that was never
//!   written.
//!
//! Nothing else rests on it: it may be cut off anywhere and begins again.

mod collect;
mod deleted;
mod lineage;
pub mod marks;

pub use collect::{Class, KEYS_AT_ONCE, Kept, Pod, Report, Row};

use crate::catalogue::{Catalogue, Entry, Standing};
use crate::clock_guard::ClockGuard;
use crate::commit::Database;
use crate::host::{Databases, World};
use collect::Collection;
use db::{Category, Error, Result};
use process::mailbox::Reply;
use process::{Failpoint, Inbox, Shutdown, log};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use storage::{Compaction, DatabaseId};

/// How garbage is collected.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How long old indexes, and deleted databases, are kept: whoever holds a database value may read it that long.
    #[arg(long, env = "DIACHRON_RETENTION", value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(0..=100 * 366 * 86_400))]
    pub retention: u64,

    /// Between two collections of garbage; 0: only when asked.
    #[arg(long, env = "DIACHRON_GC_EVERY", value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(0..=366 * 86_400))]
    pub gc_every: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub retention: Duration,
    /// Zero: only when asked.
    pub every: Duration,
    /// Names of segments that are held at once. Where there are more, the store is gone through several times.
    pub marks_max: usize,
}

impl Options {
    pub fn settings(&self) -> Settings {
        Settings {
            retention: Duration::from_secs(self.retention),
            every: Duration::from_secs(self.gc_every),
            ..Settings::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let (retention, every) = (Duration::from_secs(86_400), Duration::from_secs(3600));
        // About 32 bytes each.
        Settings { retention, every, marks_max: 4 << 20 }
    }
}

/// Since the process started.
#[derive(Default)]
pub struct Counts {
    pub collections: AtomicU64,
    pub failed: AtomicU64,
    pub segments: AtomicU64,
    pub bytes: AtomicU64,
}

/// What the actor is asked.
pub struct Ask {
    /// None: all databases, deleted ones too.
    pub database: Option<String>,
    /// Tells what would go, and deletes nothing.
    pub dry_run: bool,
    pub reply: Reply<Result<Vec<Report>>>,
}

/// The code of the error that says that a database may share its segments with one that is not known here.
const OF_A_FORK: &str = "db.error/garbage-of-a-fork";

/// Requests that may wait.
pub const ASKS_MAX: usize = 16;

/// The actor.
#[derive(Clone)]
pub struct Collector {
    pub settings: Settings,
    pub world: World,
    pub databases: Databases,
    pub counts: Arc<Counts>,
    pub clock_guard: ClockGuard,
    pub shutdown: Shutdown,
    pub inbox: Inbox<Ask>,
}

impl Collector {
    pub async fn run(self, point: Failpoint) -> process::Result<()> {
        // Of each database, the term up to which bodies were looked through.
        let mut bodies = BTreeMap::new();
        let mut asks = self.inbox.open().await;
        // Soon after a start, so that a process that is started anew often collects at all.
        let mut pause = self.settings.every / 10;
        loop {
            let ask = tokio::select! {
                biased;
                () = self.shutdown.asked() => return Ok(()),
                ask = asks.recv() => match ask {
                    Some(ask) => Some(ask),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(pause), if !self.settings.every.is_zero() => None,
            };
            point.pass();
            match ask {
                Some(Ask { database, dry_run, reply }) => {
                    let done = self.collect(database.as_deref(), dry_run, &point, &mut bodies);
                    let _ = reply.send(done);
                }
                None => {
                    pause = self.settings.every;
                    if let Err(error) = self.collect(None, false, &point, &mut bodies) {
                        log::warn!(%error, "not all garbage was collected; the next collection goes on");
                    }
                }
            }
        }
    }

    /// Goes on with the next database when one fails, and then tells the first failure.
    fn collect(
        &self,
        name: Option<&str>,
        dry_run: bool,
        point: &Failpoint,
        bodies: &mut BTreeMap<DatabaseId, u64>,
    ) -> Result<Vec<Report>> {
        // A clock that ran ahead would make everything old.
        self.clock_guard.check(&*self.world.clock)?;
        let (mut reports, mut failure) = (Vec::new(), None);
        let open = match name {
            Some(name) => vec![self.databases.get(name)?],
            None => self.databases.all(),
        };
        let name_asked = name;
        let mut keep = |name: &str, done: Result<Report>| match done {
            Ok(report) => reports.push(report),
            // Where it was not asked for by its name that is as it should be.
            Err(error) if error.code() == OF_A_FORK && name_asked.is_none() => {}
            Err(error) => {
                if !self.shutdown.is_asked() {
                    Counts::add(&self.counts.failed, 1);
                    log::error!(database = name, %error, "garbage was not collected; what was deleted was garbage");
                }
                failure.get_or_insert(error.within(format_args!("database {name:?}")));
            }
        };
        for database in open.into_iter().filter(|database| database.stopped().is_none()) {
            keep(&database.name, self.of_database(&database, dry_run, point, bodies));
        }
        if name.is_none() {
            let entries = Catalogue::new(self.world.journal.clone()).entries()?;
            for entry in entries.into_iter().filter(|entry| entry.standing == Standing::Deleted) {
                let name = entry.name.clone();
                keep(&name, self.of_deleted(entry, dry_run, point));
            }
        }
        if !dry_run && reports.iter().any(|report| report.gone().0 > 0) {
            self.compact()?;
        }
        failure.map_or(Ok(reports), Err)
    }

    fn of_database(
        &self,
        database: &Arc<Database>,
        dry_run: bool,
        point: &Failpoint,
        bodies: &mut BTreeMap<DatabaseId, u64>,
    ) -> Result<Report> {
        let go_on = || match self.shutdown.is_asked() || database.stopped().is_some() {
            true => Err(cancelled()),
            false => Ok(()),
        };
        let _held = self.hold();
        let databases = self.lineage_of(database.id)?;
        let shared = lineage::roots(&self.world, &databases, database.id, &go_on)?;
        let durable = database.durable();
        let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
        let collection = Collection {
            world: &self.world,
            settings: &self.settings,
            durable,
            id: database.id,
            lineage: DatabaseId(lineage.0),
            shared: &shared,
            name: &database.name,
            dry_run,
            go_on: &go_on,
            point,
        };
        let report = collection.run(bodies.entry(database.id).or_default())?;
        self.tell(&report, dry_run);
        Ok(report)
    }

    /// Keeps forks from being made of what is being collected.
    fn hold(&self) -> MutexGuard<'_, ()> {
        self.world.collecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The databases that may name segments of a database, itself among them. Refuses where one of them may name more than
    /// is known here: one that was announced and has no log yet, or that another transactor writes.
    fn lineage_of(&self, id: DatabaseId) -> Result<Vec<Entry>> {
        let catalogue = Catalogue::new(self.world.journal.clone());
        let Some(lineage) = catalogue.lineage_of(id)? else { return Ok(Vec::new()) };
        let databases = catalogue.databases_of_lineage(lineage)?;
        for entry in databases.iter().filter(|entry| entry.id != id) {
            let is_known = match entry.standing {
                Standing::Live => self.databases.by_id(entry.id).is_some_and(|open| open.stopped().is_none()),
                Standing::Deleted => true,
                Standing::Creating => false,
            };
            if !is_known {
                let message = format!(
                    "database {:?} may share segments with it and is not open here: nothing is collected until it is",
                    entry.name
                );
                return Err(Error::unsupported(OF_A_FORK, message));
            }
        }
        Ok(databases)
    }

    fn tell(&self, report: &Report, dry_run: bool) {
        let (segments, bytes) = report.gone();
        if dry_run || segments == 0 {
            return;
        }
        Counts::add(&self.counts.collections, 1);
        Counts::add(&self.counts.segments, segments);
        Counts::add(&self.counts.bytes, bytes);
        log::info!(database = report.name, segments, bytes, "garbage was collected");
    }

    /// Gives the space of what was deleted back, a piece at a time.
    fn compact(&self) -> Result<()> {
        loop {
            let compacted = self.world.segments.compact(Compaction::default()).map_err(crate::errors::from_storage)?;
            for key in &compacted.damaged {
                log::warn!(segment = ?key, "a segment cannot be read; the file where it lies stays as it is");
            }
            if !compacted.more || self.shutdown.is_asked() {
                return Ok(());
            }
        }
    }
}

/// The oldest `index` record whose segments were not given up.
pub fn kept_from(world: &World, id: DatabaseId) -> Result<u64> {
    Ok(collect::Pod::read(world, id)?.kept_from())
}

/// Gives up the indexes before one, whatever their age.
pub fn give_up_before(world: &World, id: DatabaseId, seq: u64) -> Result<()> {
    // No collector is between reading the pod and putting it.
    let _held = world.collecting.lock().unwrap_or_else(PoisonError::into_inner);
    collect::Pod::read(world, id)?.repaired_at(world, seq)
}

/// Whether what a fork began with is to be whole: a repair gives that up too.
pub fn keeps_beginning(world: &World, id: DatabaseId) -> Result<bool> {
    Ok(collect::Pod::read(world, id)?.repaired() == 0)
}

fn cancelled() -> Error {
    Error::new(Category::Interrupted, "db.error/cancelled", "the collection of garbage was called off")
}

impl Counts {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
