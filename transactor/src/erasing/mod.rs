//! Erasing: facts go as if they had never been said, from the trees, the log, the store and the caches.
//!
//! One actor does it, one erasure at a time. Up to the `erase` record nothing has happened; from there on everybody reads
//! without what was erased, and the rest is finished whatever happens, by the next start if need be: a pod `erasing/ID`
//! says that there is something to finish. `docs/decisions/0010-erasure.md` has the order and its reasons.
//!
//! While it works no index job does, and the transactions of the database wait in its writer's mailbox.

mod finish;
mod holders;
mod job;
mod sweep;

pub use finish::Pod;
pub use job::Erased;

use crate::commit::{Database, Durable, Hold, Message};
use crate::errors::stopping;
use crate::host::{Databases, World};
use db::log::{EraseScope, Kind};
use db::{Category, Db, Erasure, Error, Result, T, edn};
use job::Cleaning;
use process::mailbox::Reply;
use process::{Failpoint, Inbox, Shutdown, log};
use proto::v1;
use std::sync::Arc;
use std::time::Duration;
use stores::log::LogReader;
use tokio::sync::oneshot;

/// Told how far it is (stage, done, of how many); an error calls off what was not written yet.
pub type Told = Arc<dyn Fn(&str, u64, u64) -> Result<()> + Send + Sync>;

/// What the actor is asked.
pub struct Ask {
    pub request: v1::ExciseRequest,
    pub told: Told,
    pub reply: Reply<Result<v1::ExciseReport>>,
}

/// Requests that may wait.
pub const ASKS_MAX: usize = 8;

/// Lives that one erasure takes at most: what it holds in memory is about a hundred bytes of each, and their values.
const LIVES_MAX: u64 = 4 << 20;

/// So long do transactions of a database wait for an erasure at most; one that takes longer is called off.
const HELD_MAX: Duration = Duration::from_secs(300);

/// Between two tries to finish an erasure that was cut off.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The actor.
#[derive(Clone)]
pub struct Eraser {
    pub world: World,
    pub databases: Databases,
    pub shutdown: Shutdown,
    pub inbox: Inbox<Ask>,
}

impl Eraser {
    /// Whether no erasure was cut off.
    pub fn is_settled(world: &World) -> Result<bool> {
        Ok(world.journal.list_pods(finish::PODS).map_err(crate::errors::from_storage)?.is_empty())
    }

    pub async fn run(self, mut is_settled: bool, point: Failpoint) -> process::Result<()> {
        let mut asks = self.inbox.open().await;
        loop {
            if !is_settled {
                is_settled = self.finish_all(&point).await;
            }
            let ask = tokio::select! {
                biased;
                () = self.shutdown.asked() => return Ok(()),
                ask = asks.recv() => ask,
                () = tokio::time::sleep(TRY_AGAIN), if !is_settled => continue,
            };
            let Some(Ask { request, told, reply }) = ask else { return Ok(()) };
            point.pass();
            let done = self.excise(&request, &told, &point).await;
            if let Err(error) = &done
                && !self.shutdown.is_asked()
            {
                log::warn!(database = request.database, %error, "an erasure was not done");
                is_settled = false;
            }
            let _ = reply.send(done);
        }
    }

    /// Finishes what was cut off; false where that has to be tried again.
    async fn finish_all(&self, point: &Failpoint) -> bool {
        let mut is_settled = true;
        for database in self.databases.all().into_iter().filter(|database| database.stopped().is_none()) {
            if let Err(error) = self.finish_left(&database, point).await {
                is_settled = self.shutdown.is_asked();
                log::warn!(database = database.name, %error, "an erasure that was cut off is not finished; it is tried again");
            }
        }
        is_settled
    }

    /// Finishes an erasure that was cut off after its record was written.
    async fn finish_left(&self, database: &Arc<Database>, point: &Failpoint) -> Result<()> {
        let pod = Pod::read(&self.world, database.id)?;
        let Some(noted) = pod.seq() else { return Ok(()) };
        let floor = floor_of(&database.durable());
        if floor < noted {
            log::info!(
                database = database.name,
                seq = noted,
                "an erasure was cut off before it was written, and is void"
            );
            return pod.delete(&self.world);
        }
        let _rewriting = self.world.indexing.rewriting.lock().await;
        let at_work = self.world.indexing.at_work.lock().await;
        let told: Told = Arc::new(|_, _, _| Ok(()));
        self.finishing(database, &told, point).run(at_work).await?;
        log::info!(database = database.name, seq = floor, "an erasure that was cut off is finished");
        Ok(())
    }

    fn finishing<'a>(
        &'a self,
        database: &'a Arc<Database>,
        told: &'a Told,
        point: &'a Failpoint,
    ) -> finish::Finishing<'a> {
        finish::Finishing { world: &self.world, database, told, point, shutdown: &self.shutdown }
    }

    async fn excise(&self, request: &v1::ExciseRequest, told: &Told, point: &Failpoint) -> Result<v1::ExciseReport> {
        let database = self.databases.get(&request.database)?;
        if let Some(why) = database.stopped() {
            return Err(crate::errors::copy(&why));
        }
        let go_on = || match self.shutdown.is_asked() || database.stopped().is_some() {
            true => Err(stopping()),
            false => told("finding", 0, 0),
        };
        if !request.dry_run {
            self.finish_left(&database, point).await?;
        }
        let durable = database.durable();
        let scope = scope(&durable.db, request)?;
        let erasure = durable.db.erasure(&scope, LIVES_MAX, &mut || go_on())?;
        if request.dry_run || erasure.lives() == 0 {
            return self.report(&database, &durable, &erasure);
        }
        told("waiting", 0, 0)?;
        let _rewriting = self.world.indexing.rewriting.lock().await;
        let at_work = self.world.indexing.at_work.lock().await;
        point.pass();
        let held = Held::of(&database).await?;
        let began = self.world.clock.since_boot();
        let go_on = || {
            if self.world.clock.since_boot().saturating_sub(began) > HELD_MAX {
                let message = format!(
                    "transactions waited for {} s and the erasure is not done: nothing was erased; name fewer entities, or an \
                     earlier time",
                    HELD_MAX.as_secs()
                );
                return Err(Error::new(Category::Interrupted, "db.error/erasure-too-large", message));
            }
            go_on()
        };
        // What was said meanwhile counts.
        let durable = database.durable();
        let erasure = durable.db.erasure(&scope, LIVES_MAX, &mut || go_on())?;
        let mut report = self.report(&database, &durable, &erasure)?;
        if erasure.lives() == 0 {
            return Ok(report);
        }
        let seq = durable.head.seq + 1;
        let pod = Pod::read(&self.world, database.id)?;
        pod.note(&self.world, seq)?;
        point.pass();
        let cleaned = {
            let (world, database, durable) = (&self.world, &database, &durable);
            Cleaning { world, database, durable, told, go_on: &go_on, point }.run(scope, &erasure)
        };
        let (erased, written) = match cleaned {
            Ok(done) => done,
            Err(error) => {
                Pod::read(&self.world, database.id)?.delete(&self.world)?;
                return Err(error);
            }
        };
        report.records = erased.body.replaced.len() as u64;
        report.segments_written = written;
        told("naming", 0, 0)?;
        point.pass();
        let named = held.name(erased).await;
        if named.is_err() && floor_of(&database.durable()) < seq {
            Pod::read(&self.world, database.id)?.delete(&self.world)?;
        }
        report.erase_seq = named?;
        log::info!(
            database = database.name,
            seq,
            lives = report.lives,
            records = report.records,
            "facts were erased from the trees and the log; the store is cleaned of them now"
        );
        point.pass();
        let finishing = self.finishing(&database, told, point);
        report.segments_deleted = finishing.run(at_work).await?;
        // One that was made meanwhile has none of it.
        let holders = holders::of(&self.world, &database, erasure.oldest_from())?;
        (report.forks, report.backups) = (holders.forks, holders.backups);
        log::info!(database = database.name, seq, segments = report.segments_deleted, "an erasure is done");
        Ok(report)
    }

    /// What an erasure of a durable value takes.
    fn report(&self, database: &Database, durable: &Durable, erasure: &Erasure) -> Result<v1::ExciseReport> {
        if let (Some(oldest), Some(shared_t)) =
            (erasure.oldest_from(), holders::shared_with_origin(&self.world, durable)?)
            && oldest <= shared_t
        {
            let message = format!(
                "database {:?} left its origin at t {shared_t}, and what was said up to there (t {oldest}) is the origin's: \
                 erase it there and fork or restore anew, or erase what was said later",
                database.name
            );
            return Err(Error::unsupported("db.error/cannot-be-erased", message).with("t", oldest as i64));
        }
        let holders::Holders { forks, backups } = holders::of(&self.world, database, erasure.oldest_from())?;
        let ts = erasure.transactions();
        Ok(v1::ExciseReport {
            lives: erasure.lives(),
            open_lives: erasure.open_lives(),
            datoms: erasure.datoms(),
            entities: erasure.entities.len() as u64,
            transactions: ts.len() as u64,
            records: job::records_of(&self.world, database.id, durable, &ts)?,
            references: erasure.references,
            basis_t: durable.db.basis_t(),
            forks,
            backups,
            ..Default::default()
        })
    }
}

/// A database whose writer waits for us. Dropped, it goes on.
struct Held<'a> {
    database: &'a Database,
    hand_over: oneshot::Sender<Box<Erased>>,
    named: oneshot::Receiver<Result<u64>>,
}

impl<'a> Held<'a> {
    async fn of(database: &'a Database) -> Result<Self> {
        let (granted, grant) = oneshot::channel();
        let (hand_over, erased) = oneshot::channel();
        let (reply, named) = oneshot::channel();
        database.mailbox.tell_when_there_is_room(Message::Hold(Hold { granted, erased, reply })).await;
        match grant.await {
            Ok(()) => Ok(Held { database, hand_over, named }),
            Err(_) => Err(ended(database)),
        }
    }

    /// Has the `erase` record written; its seq.
    async fn name(self, erased: Erased) -> Result<u64> {
        let Held { database, hand_over, named } = self;
        if hand_over.send(Box::new(erased)).is_err() {
            return Err(ended(database));
        }
        named.await.unwrap_or_else(|_| Err(ended(database)))
    }
}

fn ended(database: &Database) -> Error {
    database.stopped().map_or_else(
        || Error::new(Category::Unavailable, "db.error/stopped", "the writer has ended"),
        |why| crate::errors::copy(&why),
    )
}

/// The newest `erase` record of a log, 0 for none.
fn floor_of(durable: &Durable) -> u64 {
    durable.index.as_ref().map_or(0, |index| index.1.floor)
}

/// Reads what a request names.
fn scope(db: &Db, request: &v1::ExciseRequest) -> Result<EraseScope> {
    let entity = |text: &String| db.require_entity(&edn::read(text)?);
    let attribute = |text: &String| Ok(db.schema().attribute(db.require_attribute(&edn::read(text)?)?).id);
    let mut entities = request.entities.iter().map(entity).collect::<Result<Vec<_>>>()?;
    let mut attributes = request.attributes.iter().map(attribute).collect::<Result<Vec<_>>>()?;
    entities.sort();
    entities.dedup();
    attributes.sort();
    attributes.dedup();
    let before: Option<T> = match &request.before {
        Some(point) => Some(db.t_from(proto::time_point(db, point)?)?),
        None => None,
    };
    Ok(EraseScope { entities, attributes, before })
}

/// The `erase` record that a database's newest trees are behind of.
fn newest_erase(world: &World, database: &Database) -> Result<db::log::EraseBody> {
    let seq = floor_of(&database.durable());
    let none =
        || Error::corrupt("db.error/storage-corrupt", format!("record {seq} is named as an erasure, which it is not"));
    let stored = LogReader::new(&*world.journal, &*world.segments).record(database.id, seq)?.ok_or_else(none)?;
    let record = db::log::RawRecord::parse(&stored.bytes)?;
    if record.header.kind != Kind::Erase {
        return Err(none());
    }
    let segment = crate::open::segment(&*world.segments, &record)?;
    db::replay::Checked::read(&record, segment.as_deref())?.erase().cloned().ok_or_else(none)
}

#[cfg(test)]
mod tests;
