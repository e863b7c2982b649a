//! One index job: from a durable value to all that an `index` record says.

use super::Settings;
use super::sink::{SegmentSink, Written};
use crate::commit::Durable;
use crate::errors::from_storage;
use cache::{Fetch, SegmentCache};
use db::index::Trees;
use db::log::tree::{self, LogRoot};
use db::log::{self, ChainState, IndexBody, MetaRoot};
use db::{Category, Db, Error, Result};
use std::cell::RefCell;
use std::sync::Arc;
use storage::{DatabaseId, Journal, Records, Segments};
use stores::log::TreeLog;

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

/// What is read of the log at once.
const READ_BYTES: usize = 4 << 20;

impl Job<'_> {
    pub fn run(&self, id: DatabaseId, durable: &Durable) -> Result<(Indexed, Written)> {
        let Durable { db, chain, index, .. } = durable;
        let begun = || Error::fault("an index job was asked for before the first record");
        let (state, lineage) = (chain.state().ok_or_else(begun)?, chain.lineage().ok_or_else(begun)?);
        let database = chain.database();
        let mut sink =
            SegmentSink::new(self.segments.clone(), db.schema().entities(), lineage, database, (state.term, state.seq));
        let merged = db.merge(self.settings.sizes, &mut sink, &mut || self.check())?;
        let meta = db.meta();
        let bytes = meta.encode()?;
        let meta_bytes = bytes.len() as u32;
        let meta_root = MetaRoot { id: sink.put_bytes(bytes)?, bytes: meta_bytes };
        let log = self.log(id, lineage, index.as_ref().and_then(|index| index.1.log), &state, &mut sink)?;
        let written = sink.finish()?;
        let body = IndexBody {
            index_t: db.basis_t(),
            previous: index.as_ref().map_or(0, |index| index.0),
            current: merged.open.to_record(),
            history: merged.closed.to_record(),
            meta: meta_root,
            log,
            next_counter: db.next_counter(),
            last_instant: db.last_instant(),
            chain: state,
        };
        let trees = self.cache.trees_of(lineage, &body, &meta, self.fetch.clone())?;
        Ok((Indexed { body, trees, prepared: db.clone() }, written))
    }

    /// The log tree with all records up to where the job stands.
    fn log(
        &self,
        id: DatabaseId,
        lineage: log::DatabaseId,
        root: Option<LogRoot>,
        state: &ChainState,
        sink: &mut SegmentSink,
    ) -> Result<Option<LogRoot>> {
        let mut next = root.map_or(0, |root| root.seq) + 1;
        let mut read = Vec::new().into_iter();
        let records = std::iter::from_fn(|| {
            if next > state.seq {
                return None;
            }
            let record = read.next().map(Ok).or_else(|| {
                let records = self.check().and_then(|()| self.read(id, next));
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
        let source = TreeLog { segments: &*self.segments, lineage };
        let sink = RefCell::new(sink);
        let mut put = |bytes: &[u8]| sink.borrow_mut().put_bytes(bytes.to_vec());
        tree::append(root.as_ref(), records, &source, &mut put, self.settings.log_sizes)
    }

    fn read(&self, id: DatabaseId, from: u64) -> Result<Vec<Vec<u8>>> {
        match self.journal.read(id, from, READ_BYTES).map_err(from_storage)? {
            Records::Found(records) if records.is_empty() => {
                Err(Error::corrupt("db.error/storage-corrupt", format!("record {from} of database {id} is missing")))
            }
            Records::Found(records) => Ok(records.into_iter().map(|record| record.bytes).collect()),
            Records::Sealed { before_seq } => {
                let message =
                    format!("records before {before_seq} of database {id} are sealed, and not in the log tree");
                Err(Error::corrupt("db.error/storage-corrupt", message))
            }
        }
    }

    fn check(&self) -> Result<()> {
        if (self.go_on)() {
            Ok(())
        } else {
            Err(Error::new(Category::Interrupted, "db.error/cancelled", "the job was called off"))
        }
    }
}
