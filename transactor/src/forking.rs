//! Forks: a database that begins with the value another one had at some t, and goes on by itself.
//!
//! A fork shares what there is of its origin up to there: its trees are those of the origin but for the paths that
//! novelty touches, its history before is the origin's log tree. What is written for it is what an index job of that
//! value writes, under the fork's own id, and its first record.

use crate::commit::Durable;
use crate::indexing::{Job, Subject};
use crate::open::{Named, Writer};
use cache::Reader;
use db::log::{self, Body, Chain, ChainState, ForkBody, IndexBody, LogRoot};
use db::replay::Replay;
use db::{Db, Error, Result, T};
use std::sync::Arc;
use storage::{DatabaseId, Head};
use stores::past::Past;

/// A value that a fork begins with, and what the log that made it says of it.
pub struct Left<'a> {
    pub db: Db,
    pub log: Past<'a>,
    pub origin: log::DatabaseId,
    pub state: ChainState,
    /// The newest `index` record up to there, 0 for none, and its log tree.
    pub previous: u64,
    pub log_root: Option<LogRoot>,
    /// The fork's log tree goes on to here: the `erase` records that name replaced bodies before are in it.
    pub log_end: u64,
}

/// Where a fork's origin has its trees.
pub struct Source<'a> {
    pub trees: &'a Named<'a>,
    /// The oldest index of a database of which no segment was collected as garbage.
    pub kept_from: &'a dyn Fn(log::DatabaseId) -> Result<u64>,
}

/// A fork whose trees are durable, and the record that begins its log.
pub struct Prepared {
    pub replay: Replay,
    pub head: Head,
    pub header: log::Header,
    pub fork: ForkBody,
    pub record: Vec<u8>,
    pub index: Arc<(u64, IndexBody)>,
    pub written_bytes: u64,
}

/// Writes what a fork of a database as it was at a t does not share with it.
pub fn prepare(
    job: &Job<'_>,
    source: &Source<'_>,
    durable: &Durable,
    (id, t): (DatabaseId, T),
    writer: &Writer<'_>,
) -> Result<Prepared> {
    begin(job, source, value_at(job, source, durable, t)?, id, writer)
}

/// The same of a value that was found.
pub fn begin(
    job: &Job<'_>,
    source: &Source<'_>,
    left: Left<'_>,
    id: DatabaseId,
    writer: &Writer<'_>,
) -> Result<Prepared> {
    let reader = Reader { lineage: left.log.lineage, database: log::DatabaseId(id.0) };
    let (indexed, written) = job.make(&Subject {
        db: &left.db,
        state: left.state,
        log: &left.log,
        previous: left.previous,
        log_root: left.log_root,
        log_end: left.log_end,
        floor: 0,
        reader,
        // Before its first record.
        names: (1, 0),
    })?;
    let fork = ForkBody { origin: left.origin, index: indexed.body };
    let index = fork.own_index();
    let body = Body::Fork(Box::new(fork.clone())).encode(writer.entropy.sixteen())?;
    let header = Chain::forked(reader.database, reader.lineage, left.db.basis_t()).next(&body, 1, writer.now);
    let (meta, trees) = (source.trees)(reader, &index)?;
    let replay = Replay::resume(&header, &index, &meta, trees)?;
    let head = Head { term: 1, seq: 1, t: left.db.basis_t(), hash: header.hash(), index_seq: 1 };
    let record = log::record_bytes(&header, &body);
    Ok(Prepared { replay, head, header, fork, record, index: Arc::new((1, index)), written_bytes: written.bytes })
}

/// The record that a fork began with; None where the database is no fork.
pub fn origin_of(log: &Past<'_>) -> Result<Option<ForkBody>> {
    Ok(log.record(1)?.fork().cloned())
}

/// Finds the value that a database had at a t it has reached, or that the one had which it is a fork of.
fn value_at<'a>(job: &'a Job<'_>, source: &Source<'_>, durable: &Durable, t: T) -> Result<Left<'a>> {
    let Durable { db, chain, index, head } = durable;
    let no_log = || Error::fault("a database without a log cannot be forked");
    let (state, lineage) = (chain.state().ok_or_else(no_log)?, chain.lineage().ok_or_else(no_log)?);
    let root = index.as_ref().and_then(|index| index.1.log);
    let id = Some(DatabaseId(chain.database().0));
    let log = Past { journal: job.journal, segments: &*job.segments, lineage, id, root };
    if t == db.basis_t() {
        let previous = head.index_seq;
        let (origin, log_end) = (chain.database(), state.seq);
        return Ok(Left { db: db.unfiltered(), log, origin, state, previous, log_root: root, log_end });
    }
    let floor = index.as_ref().map_or(0, |index| index.1.floor);
    earlier(job, source, log, (chain.database(), head.index_seq, floor), t)
}

/// Finds the value that a log had at a t before its last, going back from its newest `index` record; `floor` is its newest
/// erasure.
pub fn earlier<'a>(
    job: &Job<'_>,
    source: &Source<'_>,
    mut log: Past<'a>,
    (database, mut seq, floor): (log::DatabaseId, u64, u64),
    t: T,
) -> Result<Left<'a>> {
    let mut kept_from = (source.kept_from)(database)?.max(floor);
    let (origin, start) = loop {
        job.check()?;
        if seq < kept_from.max(1) {
            // No trees of that time are whole, but for those that a fork began with.
            let first = log.record(1)?;
            if first.fork().is_none() {
                seq = 0;
                break (first.header().database, None);
            }
            (seq, kept_from) = (1, 1);
        }
        let record = log.record(seq)?;
        if let Some(fork) = record.fork().filter(|fork| fork.index.index_t > t) {
            // It had left its origin later.
            (log.id, log.root, seq) = (None, fork.index.log, fork.index.previous);
            kept_from = (source.kept_from)(fork.origin)?;
            continue;
        }
        let not_one = || {
            let message = format!("record {seq} of database {} should move its trees", record.header().database);
            Error::corrupt("db.error/storage-corrupt", message)
        };
        let index = record.index().ok_or_else(not_one)?;
        if index.index_t <= t {
            break (record.header().database, Some((record, index)));
        }
        seq = index.previous;
    };
    let (mut replay, log_root, before) = match &start {
        None => (Replay::of_erased(origin), None, 0),
        Some((record, index)) => {
            let (meta, trees) = (source.trees)(Reader::of(record.header()), index)?;
            (Replay::resume(record.header(), index, &meta, trees)?, index.log, index.previous)
        }
    };
    let mut vouching = log.vouching();
    while replay.chain().seq() == 0 || replay.chain().t() < t {
        job.check()?;
        let records = log.read(replay.chain().seq() + 1)?;
        let records = records.iter().map(|record| vouching.checked(record)).collect::<Result<Vec<_>>>()?;
        let whole = records.partition_point(|record| record.header().last_t() < t);
        if let Some(error) = replay.take(&records[..whole]).1 {
            return Err(error);
        }
        if let Some(last) = records.get(whole) {
            replay.take_upto(last, t)?;
        }
    }
    // An index record stands after the record that its index-t ends, maybe after where the fork leaves.
    let no_state = || Error::fault("a log that was read has no end");
    let state = replay.chain().state().ok_or_else(no_state)?;
    let previous = if seq <= state.seq { seq } else { before };
    let log_end = state.seq.max(if log.id.is_some() { floor } else { log.root.map_or(0, |root| root.seq) });
    Ok(Left { db: replay.db().clone(), log, origin, state, previous, log_root, log_end })
}

#[cfg(test)]
mod tests;
