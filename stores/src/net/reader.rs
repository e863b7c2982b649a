//! The read side of a store at the other end of a connection, which transactors and storage processes serve alike: for
//! whoever reads and writes nothing. What it is asked to write it refuses.

use super::{CALL_MAX, LONG_CALL_MAX, NetStore, PATIENCE, within};
use crate::wire;
use proto::v1;
use std::sync::Arc;
use storage::{
    Appended, DatabaseId, Error, ErrorKind, Head, Journal, PodPut, PodVersion, Records, Replaced, Result, Scrub,
    Scrubbed, SegmentKey, Segments, Store, Usage,
};

struct Reader(Arc<NetStore>);

/// Reads the store that a transactor or a storage process serves at `http://HOST:PORT`. Connects at the first call.
pub fn reader(url: &str) -> Result<Store> {
    let reader = Arc::new(Reader(Arc::new(NetStore::new(url)?)));
    Ok(Store::new(reader.clone(), reader, Vec::new(), || Ok(())))
}

fn refused() -> Error {
    Error::new(ErrorKind::Unsupported, "this side of a store is for reading alone")
}

impl Journal for Reader {
    fn append(&self, _: DatabaseId, _: Option<Head>, _: Head, _: &[u8]) -> Result<Appended> {
        Err(refused())
    }

    fn take_over(&self, _: DatabaseId, _: Head, _: Head, _: &[u8]) -> Result<Appended> {
        Err(refused())
    }

    /// Never sealed: whoever serves it reads the log tree.
    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        let request = v1::ReadLogRequest {
            database_id: wire::database_id(db),
            from_seq,
            // 0 would be all.
            bytes_max: bytes_max.max(1) as u64,
        };
        let response = self.0.tried(PATIENCE, true, |store| {
            let (mut reader, request) = (store.journal.1.clone(), within(LONG_CALL_MAX, request.clone()));
            store.call(async move {
                let mut stream = reader.read_log(request).await?.into_inner();
                let mut whole = v1::ReadLogResponse::default();
                while let Some(piece) = stream.message().await? {
                    whole.records.extend(piece.records);
                }
                Ok(whole)
            })
        })?;
        Ok(wire::records_of(response))
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        let response = self.0.again(PATIENCE, CALL_MAX, |store, max| {
            let request = within(max, v1::HeadRequest { database_id: wire::database_id(db) });
            let mut reader = store.journal.1.clone();
            async move { reader.head(request).await }
        })?;
        response.head.map(|head| self.0.head_of(&head)).transpose()
    }

    fn seal(&self, _: DatabaseId, _: u64) -> Result<()> {
        Err(refused())
    }

    fn replace_body(&self, _: DatabaseId, _: u64, _: [u8; 32], _: &[u8]) -> Result<Replaced> {
        Err(refused())
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        self.0.read_pod(name)
    }

    fn put_pod(&self, _: &str, _: PodVersion, _: &[u8]) -> Result<PodPut> {
        Err(refused())
    }

    fn delete_pod(&self, _: &str, _: PodVersion) -> Result<PodPut> {
        Err(refused())
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        self.0.list_pods(prefix)
    }

    fn drop_database(&self, _: DatabaseId) -> Result<()> {
        Err(refused())
    }
}

impl Segments for Reader {
    fn put(&self, _: &SegmentKey, _: &[u8]) -> Result<()> {
        Err(refused())
    }

    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
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
