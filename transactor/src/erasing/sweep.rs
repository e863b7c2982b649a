//! Deleting the segments that have what was erased: of the database, all that neither its trees since nor a fork names.
//!
//! No index job is at work, so that what no record names is nobody's. Held against collections of garbage, so that no fork
//! is made of what is being deleted.

use super::finish::Finishing;
use super::holders;
use crate::catalogue::{Entry, Standing};
use crate::errors::from_storage;
use crate::garbage::marks::{By, Marks};
use crate::garbage::{KEYS_AT_ONCE, kept_from};
use cache::Reader;
use db::index::segment::SegmentId;
use db::log::tree::{self, LogRoot};
use db::log::{self, BodyPlace, EraseBody, Hash, IndexBody};
use db::{Error, Result};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use storage::{DatabaseId, SegmentKey};
use stores::log::{LogReader, SEGMENT_MISSING, TreeLog};

/// Gives how many were deleted; None while a fork is being made.
pub fn run(finishing: &Finishing<'_>, erase: &EraseBody) -> Result<Option<u64>> {
    let Finishing { world, database, .. } = finishing;
    let _held = world.collecting.lock().unwrap_or_else(PoisonError::into_inner);
    let durable = database.durable();
    let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
    let others = holders::others(world, database.id, lineage)?;
    if others.iter().any(|other| other.standing == Standing::Creating) {
        return Ok(None);
    }
    let mut shared_seq = 0;
    for other in &others {
        let shared = holders::shared_past(world, other, lineage, database.id)?;
        shared_seq = shared_seq.max(shared.map_or(0, |(_, seq)| seq));
    }
    let replaced = erase.replaced.iter().filter(|replaced| replaced.seq > shared_seq).map(|replaced| replaced.old);
    let sweep = Sweep { finishing, id: database.id, lineage, others, bodies: replaced.collect() };
    sweep.run().map(Some)
}

struct Sweep<'a> {
    finishing: &'a Finishing<'a>,
    id: DatabaseId,
    lineage: log::DatabaseId,
    others: Vec<Entry>,
    /// Those that were replaced and that no fork has.
    bodies: BTreeSet<Hash>,
}

impl Sweep<'_> {
    fn run(&self) -> Result<u64> {
        let mut marks = Marks::new(self.finishing.world.garbage.marks_max);
        let mut deleted = 0;
        loop {
            self.mark_own(&mut marks)?;
            self.others.iter().try_for_each(|other| self.mark_other(other, &mut marks))?;
            if marks.shrink() {
                continue;
            }
            deleted += self.delete(&marks)?;
            if !marks.next_part() {
                return Ok(deleted);
            }
        }
    }

    fn log(&self) -> LogReader<'_> {
        LogReader::new(&*self.finishing.world.journal, &*self.finishing.world.segments)
    }

    /// From the newest index back to the newest erasure.
    fn mark_own(&self, marks: &mut Marks) -> Result<()> {
        let durable = self.finishing.database.durable();
        let Some(index) = &durable.index else { return Ok(()) };
        let mut next = index.0;
        while next >= index.1.floor.max(1) {
            let body = self.mark_index(self.id, next, marks)?;
            next = body.previous;
        }
        // What a fork began with is its origin's, of which nothing is erased here.
        let is_fork = self.lineage.0 != self.id.0;
        if is_fork { self.mark_index(self.id, 1, marks).map(drop) } else { Ok(()) }
    }

    /// All indexes that another database may still read, and what its first record has of its origin's log.
    fn mark_other(&self, other: &Entry, marks: &mut Marks) -> Result<()> {
        let world = self.finishing.world;
        let Some(head) = world.journal.head(other.id).map_err(from_storage)? else { return Ok(()) };
        let mut next = head.index_seq;
        let mut from = kept_from(world, other.id)?.max(1);
        while next >= from {
            match self.mark_index(other.id, next, marks) {
                Ok(body) => (next, from) = (body.previous, from.max(body.floor)),
                // What it names is not whole, so that nobody reads it.
                Err(error) if error.code() == SEGMENT_MISSING => break,
                Err(error) => return Err(error),
            }
        }
        let first = stores::past::Past {
            journal: &*world.journal,
            segments: &*world.segments,
            lineage: self.lineage,
            id: Some(other.id),
            root: None,
        };
        let Some(fork) = first.record(1)?.fork().cloned() else { return Ok(()) };
        // What it began with is kept for forks of it, as far as it is whole.
        match self.mark_index(other.id, 1, marks) {
            Err(error) if error.code() != SEGMENT_MISSING => return Err(error),
            _ => {}
        }
        fork.index.log.map_or(Ok(()), |root| self.mark_log(&root, marks))
    }

    fn mark_index(&self, id: DatabaseId, seq: u64, marks: &mut Marks) -> Result<IndexBody> {
        let (header, body) = self.log().index(id, seq)?.ok_or_else(|| {
            let message = format!("record {seq} of database {id} is named as an index, which it is not");
            Error::corrupt("db.error/storage-corrupt", message).with("seq", seq as i64)
        })?;
        let mut visit = self.visit(marks);
        visit(&body.meta.id, body.meta.bytes, false)?;
        let (_, trees) = self.finishing.world.trees(Reader::of(&header), &body)?;
        trees.each_segment(&mut visit)?;
        drop(visit);
        if let Some(root) = &body.log {
            self.mark_log(root, marks)?;
        }
        Ok(body)
    }

    fn mark_log(&self, root: &LogRoot, marks: &mut Marks) -> Result<()> {
        let source = TreeLog { segments: &*self.finishing.world.segments, lineage: self.lineage };
        tree::each_segment(root, &source, &mut self.visit(marks))
    }

    fn visit<'m>(&self, marks: &'m mut Marks) -> impl FnMut(&SegmentId, u32, bool) -> Result<bool> + use<'_, 'm> {
        |id, _, is_branch| {
            self.finishing.check()?;
            Ok(marks.mark(id.term, id.job, &id.hash, By::Newest, is_branch))
        }
    }

    fn delete(&self, marks: &Marks) -> Result<u64> {
        let segments = &*self.finishing.world.segments;
        let (mut after, mut deleted): (Option<SegmentKey>, u64) = (None, 0);
        loop {
            self.finishing.check()?;
            self.finishing.point.pass();
            let keys = segments.list(self.id, after.as_ref(), KEYS_AT_ONCE).map_err(from_storage)?;
            let Some(last) = keys.last() else { return Ok(deleted) };
            after = Some(last.clone());
            let of_part = keys.into_iter().filter(|key| marks.is_of_part(&key.hash));
            let gone: Vec<SegmentKey> = of_part.filter(|key| self.goes(key, marks)).collect();
            deleted += gone.len() as u64;
            let _ = (self.finishing.told)("deleting", deleted, 0);
            if !gone.is_empty() {
                segments.delete_all(&gone).map_err(from_storage)?;
            }
        }
    }

    fn goes(&self, key: &SegmentKey, marks: &Marks) -> bool {
        if key.lineage.0 != self.lineage.0 {
            return false;
        }
        if key.job == BodyPlace::JOB {
            return self.bodies.contains(&key.hash);
        }
        let job = key.job.strip_prefix("index-").and_then(|job| job.parse::<u64>().ok());
        job.is_some_and(|job| marks.of(key.term, job, &key.hash).is_none())
    }
}
