//! The trees that `index` records name, read from storage through the cache of the process.

use crate::remote::Remote;
use bytes::Bytes;
use cache::{Fetch, Reader, SegmentCache};
use db::index::Trees;
use db::index::segment::{Meta, SegmentId};
use db::log::tree::{LogRoot, LogSource};
use db::log::{DatabaseId, IndexBody};
use db::{Category, Error, Result, T};
use process::Executor;
use proto::v1;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Where a peer's trees come from. Cheap to clone.
#[derive(Clone)]
pub struct TreeReader {
    pub cache: Arc<SegmentCache>,
    fetch: Arc<dyn Fetch>,
    executor: Executor,
}

/// Asks storage from threads that may wait, by way of the runtime that has the connections.
struct FromStorage {
    remote: Remote,
    runtime: Handle,
}

impl TreeReader {
    /// Made on the runtime that has the connections.
    pub fn new(cache: Arc<SegmentCache>, remote: Remote, executor: Executor) -> Self {
        let fetch = Arc::new(FromStorage { remote, runtime: Handle::current() });
        TreeReader { cache, fetch, executor }
    }

    /// What an `index` record names, for the database that reads it.
    pub async fn named(&self, of: Reader, body: &IndexBody) -> Result<(Meta, Arc<Trees>)> {
        let (this, body) = (self.clone(), body.clone());
        self.executor
            .blocking(move || {
                this.cache.erased_before(of, body.floor);
                let meta = this.cache.meta(of.lineage, &body, &*this.fetch)?;
                let trees = this.cache.trees_of(of, &body, &meta, this.fetch.clone())?;
                Ok((meta, trees))
            })
            .await
    }
}

/// A log tree in storage, and the lineage it belongs to.
pub struct LogTree {
    pub reader: TreeReader,
    pub lineage: DatabaseId,
    pub root: LogRoot,
}

impl LogTree {
    /// The seq of the record that holds a transaction; None beyond the tree.
    pub async fn seq_of(self: &Arc<Self>, t: T) -> Result<Option<u64>> {
        let this = self.clone();
        self.reader.executor.blocking(move || db::log::tree::seq_of(&this.root, &*this, t)).await
    }
}

impl LogTree {
    /// Records from a seq on that it has, at least one, up to about so many bytes.
    pub async fn read(self: &Arc<Self>, from: u64, bytes_max: usize) -> Result<Vec<Vec<u8>>> {
        let this = self.clone();
        self.reader
            .executor
            .blocking(move || {
                let (mut records, mut bytes) = (Vec::new(), 0);
                for record in db::log::tree::records(&this.root, &*this, from) {
                    let record = record?;
                    bytes += record.len();
                    records.push(record);
                    if bytes >= bytes_max {
                        break;
                    }
                }
                if records.is_empty() {
                    let message = format!("record {from} is not in the log tree up to {}", this.root.seq);
                    return Err(Error::corrupt("db.error/storage-corrupt", message));
                }
                Ok(records)
            })
            .await
    }
}

impl LogSource for LogTree {
    fn fetch(&self, id: &SegmentId) -> Result<Vec<u8>> {
        let key = cache::SegmentKey { lineage: self.lineage, id: *id };
        let bytes = self.reader.fetch.fetch(&key)?;
        bytes.map(Vec::from).ok_or_else(|| {
            let message = format!("segment {key} of the log tree is missing");
            Error::new(Category::Unavailable, "db.error/segment-missing", message).with("segment", key.to_string())
        })
    }
}

impl Fetch for FromStorage {
    fn fetch(&self, key: &cache::SegmentKey) -> Result<Option<Bytes>> {
        let id = &key.id;
        let wanted = v1::SegmentKey {
            lineage_id: Bytes::copy_from_slice(&key.lineage.0),
            database_id: Bytes::copy_from_slice(&id.database.0),
            term: id.term,
            job: key.job(),
            hash: Bytes::copy_from_slice(&id.hash),
        };
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let (remote, database) = (self.remote.clone(), id.database);
        self.runtime.spawn(async move {
            // Whoever waits does so until this answers, which it does by its own deadlines.
            let _ = answer.send(remote.segment(database, wanted, SEGMENT_BYTES_MAX).await);
        });
        let gone = |_| Error::new(Category::Unavailable, "db.error/stopping", "the peer is stopping; ask another one");
        match answered.recv().map_err(gone)? {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.category() == Category::NotFound => Ok(None),
            Err(error) => Err(error.within(format_args!("segment {key}"))),
        }
    }
}

/// No segment of a tree is nearly as long.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
