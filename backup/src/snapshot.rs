//! A backup as the store that it was made of: a journal with one log, sealed up to where the manifest's records begin,
//! and its segments.

use crate::layout;
use crate::manifest::{Manifest, Piece};
use crate::target::Target;
use cache::{Reader, SegmentCache};
use db::log::{Frames, IndexBody};
use std::sync::{Arc, Mutex, PoisonError};
use storage::{
    Appended, DatabaseId, Error, ErrorKind, Head, Journal, PodPut, PodVersion, Records, Replaced, Result, Scrub,
    Scrubbed, SegmentKey, Segments, StoredRecord, Usage, sha256,
};
use stores::trees::{self, Stored};

/// Cheap to clone.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

struct Inner {
    target: Arc<dyn Target>,
    manifest: Manifest,
    /// The piece that was read last. Held while it is read.
    last: Mutex<Option<(Piece, Arc<Vec<StoredRecord>>)>>,
}

/// The longest segment.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The longest piece of records: one begins another after [`crate::make::PIECE_BYTES`], so this is never reached.
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Decoded segments that are kept near while trees are walked.
pub(crate) const CACHE_BYTES: u64 = 64 << 20;

impl Snapshot {
    pub fn new(target: Arc<dyn Target>, manifest: Manifest) -> Snapshot {
        Snapshot(Arc::new(Inner { target, manifest, last: Mutex::default() }))
    }

    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    pub fn url(&self) -> &str {
        self.0.target.url()
    }

    /// The records that the manifest names, from one on, some at a time.
    pub(crate) fn records_from(&self, seq: u64) -> Result<Vec<StoredRecord>> {
        let pieces = &self.0.manifest.records;
        let Some(piece) = pieces.iter().find(|piece| piece.last >= seq) else { return Ok(Vec::new()) };
        let records = self.piece(piece)?;
        Ok(records.iter().filter(|record| record.seq >= seq).cloned().collect())
    }

    fn piece(&self, piece: &Piece) -> Result<Arc<Vec<StoredRecord>>> {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, records)) = &*last
            && of == piece
        {
            return Ok(records.clone());
        }
        let records = Arc::new(self.read_piece(piece)?);
        *last = Some((*piece, records.clone()));
        Ok(records)
    }

    fn read_piece(&self, piece: &Piece) -> Result<Vec<StoredRecord>> {
        let file = layout::records(self.0.manifest.database, piece.first, piece.last, &piece.hash);
        let damaged = |what: &str| Error::new(ErrorKind::Corrupt, format!("{file} at {} {what}", self.url()));
        let bytes = self.0.target.get(&file, PIECE_BYTES_MAX).map_err(to_storage)?;
        let bytes = bytes.ok_or_else(|| damaged("is missing"))?;
        if bytes.len() as u64 != piece.bytes || sha256(&bytes) != piece.hash {
            return Err(damaged("has other bytes than its name says"));
        }
        let mut records = Vec::new();
        for (seq, frame) in (piece.first..).zip(Frames::new(&bytes)) {
            let (bytes, record) = frame.map_err(|error| damaged(&format!("cannot be read: {}", error.message())))?;
            if record.header.seq != seq {
                return Err(damaged(&format!("has record {} where {seq} should stand", record.header.seq)));
            }
            records.push(StoredRecord { seq, bytes: bytes.to_vec() });
        }
        match records.last() {
            Some(last) if last.seq == piece.last => Ok(records),
            _ => Err(damaged("has fewer records than its name says")),
        }
    }
}

/// What an index of a store names, through a cache; `segments` are the store's.
pub(crate) fn trees_of(segments: Arc<dyn Segments>) -> db::Result<Box<trees::Named<'static>>> {
    let config = cache::Config { heap_bytes: CACHE_BYTES, prefetch: 0, ..cache::Config::default() };
    let cache = SegmentCache::open(&config)?;
    let fetch = Arc::new(Stored(segments));
    Ok(Box::new(move |reader: Reader, body: &IndexBody| trees::named(&cache, fetch.clone(), reader, body)))
}

fn refused() -> Error {
    Error::new(ErrorKind::Unsupported, "a backup is for reading alone")
}

/// An error of a target, as a store tells it.
fn to_storage(error: db::Error) -> Error {
    let kind = match error.category() {
        db::Category::Corrupt => ErrorKind::Corrupt,
        db::Category::Incorrect => ErrorKind::Invalid,
        db::Category::Busy | db::Category::Unavailable => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    Error::new(kind, error.message())
}

impl Journal for Snapshot {
    fn append(&self, _: DatabaseId, _: Option<Head>, _: Head, _: &[u8]) -> Result<Appended> {
        Err(refused())
    }

    fn take_over(&self, _: DatabaseId, _: Head, _: Head, _: &[u8]) -> Result<Appended> {
        Err(refused())
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        let manifest = self.manifest();
        if db != manifest.database {
            return Ok(Records::Found(Vec::new()));
        }
        match manifest.records.first() {
            Some(piece) if from_seq < piece.first => return Ok(Records::Sealed { before_seq: piece.first }),
            _ => {}
        }
        let mut records = self.records_from(from_seq)?;
        let mut bytes = 0;
        let fit = records.iter().take_while(|record| {
            let fits = bytes < bytes_max;
            bytes += record.bytes.len();
            fits
        });
        let count = fit.count().max(1);
        records.truncate(count);
        Ok(Records::Found(records))
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        Ok((db == self.manifest().database).then_some(self.manifest().head))
    }

    fn seal(&self, _: DatabaseId, _: u64) -> Result<()> {
        Err(refused())
    }

    fn replace_body(&self, _: DatabaseId, _: u64, _: [u8; 32], _: &[u8]) -> Result<Replaced> {
        Err(refused())
    }

    fn read_pod(&self, _: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        Ok(None)
    }

    fn put_pod(&self, _: &str, _: PodVersion, _: &[u8]) -> Result<PodPut> {
        Err(refused())
    }

    fn delete_pod(&self, _: &str, _: PodVersion) -> Result<PodPut> {
        Err(refused())
    }

    fn list_pods(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn drop_database(&self, _: DatabaseId) -> Result<()> {
        Err(refused())
    }
}

impl Segments for Snapshot {
    fn put(&self, _: &SegmentKey, _: &[u8]) -> Result<()> {
        Err(refused())
    }

    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>> {
        let file = layout::segment(key);
        let Some(bytes) = self.0.target.get(&file, SEGMENT_BYTES_MAX).map_err(to_storage)? else { return Ok(None) };
        if sha256(&bytes) != key.hash {
            let message = format!("{file} at {} has other bytes than its name says", self.url());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(Some(bytes))
    }

    fn list(&self, _: DatabaseId, _: Option<&SegmentKey>, _: usize) -> Result<Vec<SegmentKey>> {
        Err(refused())
    }

    fn delete(&self, _: &SegmentKey) -> Result<()> {
        Err(refused())
    }

    fn scrub(&self, _: Scrub) -> Result<Scrubbed> {
        Err(refused())
    }

    fn usage(&self) -> Result<Usage> {
        Err(refused())
    }
}
