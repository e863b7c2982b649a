//! The work up to the `erase` record: trees, log tree and bodies without what is erased, all of it durable.

use crate::commit::{Database, Durable};
use crate::host::World;
use crate::indexing::sink::SegmentSink;
use crate::indexing::{Indexed, Job};
use crate::open::body_key;
use cache::Reader;
use db::log::tree::{self, LogRoot};
use db::log::{
    Body, Content, EraseBody, EraseScope, IndexBody, MetaRoot, RawRecord, Replacement, TxEntry, record_with,
};
use db::{Db, Erasure, Error, Result, T};
use process::Failpoint;
use std::cell::RefCell;
use storage::{DatabaseId, SegmentKey};
use stores::log::{LogReader, TreeLog};
use stores::past::Past;

/// An erasure's work, durable, for the writer to name in the log.
pub struct Erased {
    pub body: EraseBody,
    /// The newest value on the new trees.
    pub prepared: Db,
}

/// Of one database, whose writer waits.
pub struct Cleaning<'a> {
    pub world: &'a World,
    pub database: &'a Database,
    pub durable: &'a Durable,
    pub told: &'a super::Told,
    /// Asked now and then.
    pub go_on: &'a dyn Fn() -> Result<()>,
    pub point: &'a Failpoint,
}

/// What is told of between two records that are written anew.
const TELL_EVERY: u64 = 64;

impl Cleaning<'_> {
    /// Gives the work, and how many segments were written for good.
    pub fn run(&self, scope: EraseScope, erasure: &Erasure) -> Result<(Erased, u64)> {
        let (world, durable) = (self.world, self.durable);
        let settings = world.indexing.settings;
        // Novelty into trees, and the log into the log tree, as they are. What of these is not named below is deleted
        // with the rest.
        let job = Job {
            journal: &*world.journal,
            segments: world.segments.clone(),
            cache: &world.cache,
            fetch: world.fetch(),
            settings,
            go_on: &|| (self.go_on)().is_ok(),
        };
        // Why it was called off is asked once more.
        let indexed = job.run(self.database.id, durable);
        let (Indexed { body: index, trees, .. }, _) = indexed.or_else(|error| (self.go_on)().and(Err(error)))?;
        self.point.pass();
        let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
        let reader = Reader { lineage, database: durable.chain.database() };
        let names = (index.chain.term, index.chain.seq);
        let attributes = durable.db.schema().entities();
        let mut sink = SegmentSink::new(world.segments.clone(), attributes, world.cache.clone(), reader, names);
        let db = durable.db.unfiltered().onto(trees)?;
        let (merged, meta) = db.erase(erasure, settings.sizes, &mut sink, &mut || (self.go_on)())?;
        let bytes = meta.encode()?;
        let meta_root = MetaRoot { bytes: bytes.len() as u32, id: sink.put_bytes(bytes)? };
        self.point.pass();
        let root = index.log.ok_or_else(|| Error::fault("an erasure is made of a log without records"))?;
        let (log, replaced, bodies) = self.log_tree(&root, reader, erasure, &mut sink)?;
        let written = sink.finish()?.segments + bodies;
        self.point.pass();
        let index = IndexBody {
            current: merged.open.to_record(),
            history: merged.closed.to_record(),
            meta: meta_root,
            log: Some(log),
            ..index
        };
        let on_floor = IndexBody { floor: index.chain.seq + 1, ..index.clone() };
        let trees = world.cache.trees_of(reader, &on_floor, &meta, world.fetch())?;
        let prepared = durable.db.unfiltered().onto(trees)?;
        let request = world.entropy.sixteen();
        let body = EraseBody { request, scope, lives: erasure.lives(), replaced, index };
        Ok((Erased { body, prepared }, written))
    }

    /// The log tree with other bodies for the records that told of erased lives, these records, and how many bodies out
    /// of line were written.
    fn log_tree(
        &self,
        root: &LogRoot,
        reader: Reader,
        erasure: &Erasure,
        sink: &mut SegmentSink,
    ) -> Result<(LogRoot, Vec<Replacement>, u64)> {
        let (world, chain) = (self.world, &self.durable.chain);
        let (id, lineage) = (Some(self.database.id), reader.lineage);
        let past = Past { journal: &*world.journal, segments: &*world.segments, lineage, id, root: Some(*root) };
        let mut vouching = past.vouching();
        let by = (reader.database, chain.seq() + 1);
        let ts = erasure.transactions();
        let (mut replaced, mut bodies, mut placed) = (Vec::new(), 0, Vec::new());
        let mut rewrite = |bytes: &[u8]| {
            if (replaced.len() as u64).is_multiple_of(TELL_EVERY) {
                (self.go_on)()?;
                (self.told)("rewriting", replaced.len() as u64, 0)?;
            }
            let record = RawRecord::parse(bytes)?;
            let Body::Tx(mut entries) = vouching.checked(bytes)?.into_body() else { return Ok(None) };
            let touched =
                entries.iter_mut().filter_map(|entry: &mut TxEntry| erasure.strip(entry).then_some(())).count();
            if touched == 0 {
                return Ok(None);
            }
            let body = Body::encode_erased(entries, by, world.entropy.sixteen())?;
            let old = match record.content {
                Content::Body(bytes) => db::index::segment::hash(bytes),
                Content::OutOfLine(place) => place.hash,
            };
            replaced.push(Replacement { seq: record.header.seq, old, new: body.hash });
            let (record, place) = record_with(&record, &body, chain.term());
            if let Some(place) = place {
                bodies += 1;
                placed.push((body_key(&place), body.bytes));
                if placed.len() >= PLACED_MAX {
                    put(world, &mut placed)?;
                }
            }
            Ok(Some(record))
        };
        let source = TreeLog { segments: &*world.segments, lineage };
        let sink = RefCell::new(sink);
        let mut write = |bytes: &[u8]| sink.borrow_mut().put_bytes(bytes.to_vec());
        let log = tree::replace(root, &ts, &source, &mut rewrite, &mut write)?;
        put(world, &mut placed)?;
        Ok((log, replaced, bodies))
    }
}

/// Bodies out of line that are put together.
const PLACED_MAX: usize = 4;

fn put(world: &World, placed: &mut Vec<(SegmentKey, Vec<u8>)>) -> Result<()> {
    world.segments.put_all(placed).map_err(crate::errors::from_storage)?;
    placed.clear();
    Ok(())
}

/// How many records hold some transactions, which stand in order.
pub fn records_of(world: &World, id: DatabaseId, durable: &Durable, ts: &[T]) -> Result<u64> {
    let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
    let (mut count, mut next_seq) = (0, 1);
    let mut ts = ts;
    if let Some(root) = durable.index.as_ref().and_then(|index| index.1.log) {
        let in_tree = ts.partition_point(|t| *t <= root.t);
        let source = TreeLog { segments: &*world.segments, lineage };
        let mut counted = |_: &[u8]| {
            count += 1;
            Ok(None)
        };
        let mut none = |_: &[u8]| Err(Error::fault("a log tree was to be counted, and was changed"));
        tree::replace(&root, &ts[..in_tree], &source, &mut counted, &mut none)?;
        (ts, next_seq) = (&ts[in_tree..], root.seq + 1);
    }
    while !ts.is_empty() && next_seq <= durable.head.seq {
        let records = LogReader::new(&*world.journal, &*world.segments).read(id, next_seq, 4 << 20)?;
        let Some(last) = records.last() else { break };
        next_seq = last.seq + 1;
        for stored in &records {
            let last_t = RawRecord::parse(&stored.bytes)?.header.last_t();
            let held = ts.partition_point(|t| *t <= last_t);
            count += u64::from(held > 0);
            ts = &ts[held..];
        }
    }
    Ok(count)
}
