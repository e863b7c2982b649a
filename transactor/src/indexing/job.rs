//! One index job: from a durable value to all that an `index` record says.

use super::Settings;
use super::sink::{SegmentSink, Written};
use crate::commit::Durable;
use cache::{Fetch, Reader, SegmentCache};
use db::index::Trees;
use db::log::tree::{self, LogRoot};
use db::log::{ChainState, IndexBody, MetaRoot};
use db::{Category, Db, Error, Result};
use std::cell::RefCell;
use std::sync::Arc;
use storage::{DatabaseId, Journal, Segments};
use stores::log::TreeLog;
use stores::past::Past;

/// A job's work, durable, for the writer to name in the log.
pub struct Indexed {
    pub body: IndexBody,
    pub trees: Arc<Trees>,
    /// A recent value on the new trees.
    pub prepared: Db,
}

pub struct Job<'a> {
    pub journal: &'a dyn Journal,
    pub segments: Arc<dyn Segments>,
    pub cache: &'a Arc<SegmentCache>,
    pub fetch: Arc<dyn Fetch>,
    pub settings: Settings,
    /// Asked now and then.
    pub go_on: &'a dyn Fn() -> bool,
}

/// What a job makes trees of, and for whom.
pub struct Subject<'a> {
    pub db: &'a Db,
    /// Of the log that made the value, after the record that holds its last transaction.
    pub state: ChainState,
    /// That log.
    pub log: &'a Past<'a>,
    /// Its newest `index` record up to there, 0 for none, and the log tree that this names.
    pub previous: u64,
    pub log_root: Option<LogRoot>,
    /// Where the log tree is to end, at least where the state does.
    pub log_end: u64,
    /// The newest `erase` record of the database that the trees are for.
    pub floor: u64,
    /// The database that reads the trees, and names their segments with this term and job.
    pub reader: Reader,
    pub names: (u64, u64),
}

impl Job<'_> {
    /// Makes trees of a database's newest durable value.
    pub fn run(&self, id: DatabaseId, durable: &Durable) -> Result<(Indexed, Written)> {
        let Durable { db, chain, index, .. } = durable;
        let begun = || Error::fault("an index job was asked for before the first record");
        let (state, lineage) = (chain.state().ok_or_else(begun)?, chain.lineage().ok_or_else(begun)?);
        let names = (state.term, state.seq);
        let root = index.as_ref().and_then(|index| index.1.log);
        let log = Past { journal: self.journal, segments: &*self.segments, lineage, id: Some(id), root };
        self.make(&Subject {
            db,
            state: state.clone(),
            log: &log,
            previous: index.as_ref().map_or(0, |index| index.0),
            log_root: root,
            log_end: state.seq,
            floor: index.as_ref().map_or(0, |index| index.1.floor),
            reader: Reader { lineage, database: chain.database() },
            names,
        })
    }

    pub fn make(&self, subject: &Subject<'_>) -> Result<(Indexed, Written)> {
        let Subject { db, state, log, previous, log_root, log_end, floor, reader, names } = subject;
        let mut sink =
            SegmentSink::new(self.segments.clone(), db.schema().entities(), self.cache.clone(), *reader, *names);
        let merged = db.merge(self.settings.sizes, &mut sink, &mut || self.check())?;
        let meta = db.meta();
        let bytes = meta.encode()?;
        let meta_bytes = bytes.len() as u32;
        let meta_root = MetaRoot { id: sink.put_bytes(bytes)?, bytes: meta_bytes };
        let log = self.log_tree(log, *log_root, *log_end, &mut sink)?;
        let written = sink.finish()?;
        let body = IndexBody {
            index_t: db.basis_t(),
            previous: *previous,
            floor: *floor,
            current: merged.open.to_record(),
            history: merged.closed.to_record(),
            meta: meta_root,
            log,
            next_counter: db.next_counter(),
            last_instant: db.last_instant(),
            chain: state.clone(),
        };
        let trees = self.cache.trees_of(*reader, &body, &meta, self.fetch.clone())?;
        Ok((Indexed { body, trees, prepared: db.unfiltered() }, written))
    }

    /// Makes trees of a value, durable and named by nobody yet.
    pub fn trees(&self, db: &Db, reader: Reader, names: (u64, u64)) -> Result<(Arc<Trees>, Written)> {
        let attributes = db.schema().entities();
        let mut sink = SegmentSink::new(self.segments.clone(), attributes.clone(), self.cache.clone(), reader, names);
        let merged = db.merge(self.settings.sizes, &mut sink, &mut || self.check())?;
        let written = sink.finish()?;
        let source = self.cache.source(reader, Arc::new(attributes), self.fetch.clone())?;
        Ok((Arc::new(db.trees_of(merged, source)), written))
    }

    /// The log tree with all records up to where the job stands.
    fn log_tree(
        &self,
        log: &Past<'_>,
        root: Option<LogRoot>,
        end_seq: u64,
        sink: &mut SegmentSink,
    ) -> Result<Option<LogRoot>> {
        let mut next = root.map_or(0, |root| root.seq) + 1;
        let mut read = Vec::new().into_iter();
        let records = std::iter::from_fn(|| {
            if next > end_seq {
                return None;
            }
            let record = read.next().map(Ok).or_else(|| {
                let records = self.check().and_then(|()| log.read(next));
                match records {
                    Ok(records) => {
                        read = records.into_iter();
                        read.next().map(Ok)
                    }
                    Err(error) => Some(Err(error)),
                }
            })?;
            next += 1;
            Some(record)
        });
        let source = TreeLog { segments: &*self.segments, lineage: log.lineage };
        let sink = RefCell::new(sink);
        let mut put = |bytes: &[u8]| sink.borrow_mut().put_bytes(bytes.to_vec());
        tree::append(root.as_ref(), records, &source, &mut put, self.settings.log_sizes)
    }

    pub fn check(&self) -> Result<()> {
        if (self.go_on)() {
            Ok(())
        } else {
            Err(Error::new(Category::Interrupted, "db.error/cancelled", "the job was called off"))
        }
    }
}
