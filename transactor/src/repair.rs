//! Index trees made anew from the log, where some of their segments are damaged or gone.
//!
//! The log says everything: it is replayed from its first record, a fork's from that of its origin, and what it says goes
//! through the ordinary value and the ordinary index jobs into segments of a job of their own, so that none is taken
//! over from the trees there were. Novelty is merged whenever it passes the threshold, as ever. What comes out is named by
//! one more `index` record, and all indexes before it are given up: whoever collects garbage takes them, damaged or not.
//!
//! Commits go on meanwhile. No garbage is collected and no fork is made of anything while trees are being made. Where the
//! log itself cannot be read there is nothing to make trees of; that is a backup's.

use crate::commit::{Database, Durable, Message};
use crate::errors::stopping;
use crate::garbage;
use crate::host::World;
use crate::indexing::{Indexed, Job, Subject};
use cache::Reader;
use db::log::tree::{self, LogRoot};
use db::log::{self, ForkBody, IndexBody};
use db::replay::{Checked, Replay};
use db::{Category, Error, Result, T};
use std::sync::PoisonError;
use storage::{DatabaseId, Head};
use stores::log::{TreeLog, key_of};
use stores::past::Past;
use stores::verification::Told;

/// An index that another one came before is made again; so often.
const TRIES_MAX: usize = 16;

/// A value that was made of the log alone, on trees that no record names yet.
pub struct Rebuilt {
    pub replay: Replay,
    lineage: log::DatabaseId,
    /// The term and the job of all segments that are written.
    names: (u64, u64),
    pub written_bytes: u64,
}

pub struct Repair<'a> {
    pub world: &'a World,
    pub id: DatabaseId,
    pub told: &'a Told<'a>,
}

impl Repair<'_> {
    /// Makes the value that a database's log says at its head. Nobody else may write segments of these names.
    pub fn rebuild(&self, head: Head, names: (u64, u64)) -> Result<Rebuilt> {
        let _held = self.world.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.own(log::DatabaseId(self.id.0)).record(1).map_err(of_the_log)?;
        let lineage = first.header().lineage;
        let mut origins = Vec::new();
        let mut record = first;
        while let Some(fork) = record.fork().cloned() {
            let past = self.shared(lineage, &fork);
            let before = past.record(1).map_err(of_the_log)?;
            origins.push((record, fork, past));
            record = before;
        }
        let mut rebuilt =
            Rebuilt { replay: Replay::of_erased(record.header().database), lineage, names, written_bytes: 0 };
        for (record, fork, past) in origins.into_iter().rev() {
            self.go_to(&mut rebuilt, &past, fork.index.chain.seq, fork.index.index_t)?;
            self.leave_origin(&mut rebuilt, &record, &fork)?;
        }
        self.go_to(&mut rebuilt, &self.own(lineage), head.seq, T::MAX)?;
        Ok(rebuilt)
    }

    /// Goes on in the log up to a record, and to a t within it.
    fn go_to(&self, rebuilt: &mut Rebuilt, past: &Past<'_>, last_seq: u64, t: T) -> Result<()> {
        let mut vouching = past.vouching();
        while rebuilt.replay.chain().seq() < last_seq {
            let seq = rebuilt.replay.chain().seq();
            (self.told)("repair", seq, last_seq)?;
            let records = past.read(seq + 1).map_err(of_the_log)?;
            let records = records.iter().take((last_seq - seq) as usize).map(|record| vouching.checked(record));
            let records = records.collect::<Result<Vec<_>>>().map_err(of_the_log)?;
            let whole = records.partition_point(|record| record.header().last_t() <= t);
            if let Some(error) = rebuilt.replay.take(&records[..whole]).1 {
                return Err(of_the_log(error));
            }
            if let Some(last) = records.get(whole) {
                rebuilt.replay.take_upto(last, t).map_err(of_the_log)?;
            }
            if rebuilt.replay.db().novelty_bytes() >= self.world.indexing.settings.novelty_bytes {
                self.merge(rebuilt)?;
            }
        }
        Ok(())
    }

    /// Puts what is novelty into the trees.
    fn merge(&self, rebuilt: &mut Rebuilt) -> Result<()> {
        let reader = Reader { lineage: rebuilt.lineage, database: log::DatabaseId(self.id.0) };
        let db = rebuilt.replay.db();
        let (trees, written) = self.with_job(|job| job.trees(db, reader, rebuilt.names))?;
        let prepared = db.onto(trees)?;
        rebuilt.written_bytes += written.bytes;
        rebuilt.replay.adopt(&prepared)
    }

    /// Goes on from an origin's value in the log of a fork of it.
    fn leave_origin(&self, rebuilt: &mut Rebuilt, record: &Checked, fork: &ForkBody) -> Result<()> {
        self.merge(rebuilt)?;
        let db = rebuilt.replay.db();
        let trees = db.trees().cloned().ok_or_else(|| Error::fault("a value that was just merged has no trees"))?;
        // Of what was erased from the fork since nothing is in its log any more.
        let index = IndexBody { floor: u64::MAX, ..fork.own_index() };
        rebuilt.replay = Replay::resume(record.header(), &index, &db.meta(), trees)?;
        Ok(())
    }

    /// What an index record is to say of the newest durable value, whose database names `durable.index` now.
    fn index(&self, rebuilt: &mut Rebuilt, durable: &Durable) -> Result<Box<Indexed>> {
        let _held = self.world.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.own(rebuilt.lineage);
        self.go_to(rebuilt, &own, durable.chain.seq(), T::MAX)?;
        let root = durable.index.as_ref().and_then(|index| index.1.log);
        let log_root = root.filter(|root| self.is_whole(rebuilt.lineage, root));
        let begun = || Error::fault("a repair was asked for before the first record");
        let subject = Subject {
            db: rebuilt.replay.db(),
            state: rebuilt.replay.chain().state().ok_or_else(begun)?,
            log: &own,
            previous: durable.index.as_ref().map_or(0, |index| index.0),
            log_root,
            log_end: durable.chain.seq(),
            floor: durable.index.as_ref().map_or(0, |index| index.1.floor),
            reader: Reader { lineage: rebuilt.lineage, database: log::DatabaseId(self.id.0) },
            names: rebuilt.names,
        };
        let (indexed, written) = self.with_job(|job| job.make(&subject))?;
        rebuilt.written_bytes += written.bytes;
        let prepared = durable.db.onto(indexed.trees.clone())?;
        Ok(Box::new(Indexed { prepared, ..indexed }))
    }

    /// Whether all of a log tree can be read. One that cannot is made anew, of what is in the journal and of what can.
    fn is_whole(&self, lineage: log::DatabaseId, root: &LogRoot) -> bool {
        let segments = &*self.world.segments;
        let source = TreeLog { segments, lineage };
        let mut is_whole = true;
        let walked = tree::each_segment(root, &source, &mut |id, bytes, _| {
            let found = segments.get(&key_of(lineage, id));
            is_whole &= matches!(found, Ok(Some(found)) if found.len() == bytes as usize);
            Ok(is_whole)
        });
        is_whole && walked.is_ok()
    }

    fn own(&self, lineage: log::DatabaseId) -> Past<'_> {
        let (journal, segments) = (&*self.world.journal, &*self.world.segments);
        Past { journal, segments, lineage, id: Some(self.id), root: None }
    }

    fn shared(&self, lineage: log::DatabaseId, fork: &ForkBody) -> Past<'_> {
        let (journal, segments) = (&*self.world.journal, &*self.world.segments);
        Past { journal, segments, lineage, id: None, root: fork.index.log }
    }

    fn with_job<X>(&self, work: impl FnOnce(&Job<'_>) -> Result<X>) -> Result<X> {
        let go_on = || (self.told)("repair", 0, 0).is_ok();
        work(&Job {
            journal: &*self.world.journal,
            segments: self.world.segments.clone(),
            cache: &self.world.cache,
            fetch: self.world.fetch(),
            settings: self.world.indexing.settings,
            go_on: &go_on,
        })
    }
}

/// Makes the trees of an open database anew, or names those that were made before it was opened. Returns the seq of the
/// `index` record.
pub async fn repair(
    world: &World,
    executor: &process::Executor,
    database: &std::sync::Arc<Database>,
    rebuilt: Option<Rebuilt>,
    told: std::sync::Arc<Told<'static>>,
) -> Result<u64> {
    // What was made before an erasure is void, and none comes between from here on.
    let _rewriting = world.indexing.rewriting.lock().await;
    let floor = database.durable().index.as_ref().map_or(0, |index| index.1.floor);
    let mut rebuilt = rebuilt.filter(|rebuilt| rebuilt.replay.chain().seq() >= floor);
    for _ in 0..TRIES_MAX {
        let durable = database.durable();
        let (id, at_work, its_world) = (database.id, told.clone(), world.clone());
        let before = rebuilt.take();
        let made = executor.blocking(move || {
            let repair = Repair { world: &its_world, id, told: &*at_work };
            let mut rebuilt = match before {
                Some(rebuilt) => rebuilt,
                None => repair.rebuild(durable.head, (durable.chain.term(), durable.chain.seq()))?,
            };
            let indexed = repair.index(&mut rebuilt, &durable)?;
            Ok((rebuilt, indexed))
        });
        let (so_far, indexed) = made.await?;
        let written_bytes = so_far.written_bytes;
        rebuilt = Some(so_far);
        let answer = database.mailbox.ask_when_there_is_room(|reply| Message::Index(indexed, reply)).await;
        match answer.ok_or_else(stopping)? {
            Ok(seq) => {
                garbage::give_up_before(world, database.id, seq)?;
                process::log::warn!(
                    database = database.name,
                    seq,
                    written_bytes,
                    "the trees of a database were made anew from its log"
                );
                return Ok(seq);
            }
            // An index job was faster. It may have made its trees of the damaged ones.
            Err(error) if error.category() == Category::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    Err(crate::errors::busy("indexes are named faster than trees can be made anew", 1000))
}

fn of_the_log(error: Error) -> Error {
    error.within(
        "the trees cannot be made anew from the log, which is damaged itself; restore the database from a backup",
    )
}

#[cfg(test)]
mod tests;
