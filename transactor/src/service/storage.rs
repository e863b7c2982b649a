//! The read side of the store, served: peers build their databases from it and from nothing else.

use crate::catalogue::{Catalogue, Standing};
use crate::errors::{deleted, from_storage};
use crate::tree;
use db::{Error, Result};
use process::{Crew, Outgoing};
use proto::v1::storage_server::Storage;
use proto::{OrStatus, v1};
use std::sync::Arc;
use storage::{DatabaseId, Journal, Records, SegmentKey, Segments};
use tonic::{Request, Response, Status};

pub struct StorageService {
    pub journal: Arc<dyn Journal>,
    pub segments: Arc<dyn Segments>,
    pub crew: Crew,
}

/// Bytes of records read from the journal at once and sent in one message.
const READ_BYTES: usize = 1 << 20;
/// Bytes of a segment in one message.
const CHUNK_BYTES: usize = 1 << 20;

#[tonic::async_trait]
impl Storage for StorageService {
    async fn head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let id = database_id(&request.into_inner().database_id)?;
        let journal = self.journal.clone();
        let head = self.crew.executor().blocking(move || known(journal, id)).await.or_status()?;
        Ok(Response::new(v1::HeadResponse { head: head.as_ref().map(wire_head) }))
    }

    type ReadLogStream = Outgoing<v1::ReadLogResponse>;

    async fn read_log(&self, request: Request<v1::ReadLogRequest>) -> Result<Response<Self::ReadLogStream>, Status> {
        let request = request.into_inner();
        let id = database_id(&request.database_id)?;
        let journal = self.journal.clone();
        let head = self.crew.executor().blocking(move || known(journal, id)).await.or_status()?;
        let end_seq = head.map_or(0, |head| head.seq);
        let bytes_max = if request.bytes_max == 0 { u64::MAX } else { request.bytes_max };
        let journal = self.journal.clone();
        let executor = self.crew.executor();
        let stream = self.crew.stream(&tree::LOG_STREAM, move |sender, point| async move {
            let (mut seq, mut bytes_sent) = (request.from_seq.max(1), 0);
            while seq <= end_seq && bytes_sent < bytes_max {
                point.pass();
                let journal = journal.clone();
                let wanted = READ_BYTES.min((bytes_max - bytes_sent).try_into().unwrap_or(usize::MAX));
                let response = executor.blocking(move || read(&*journal, id, seq, wanted)).await.or_status();
                let (next, done) = match &response {
                    Ok(response) => match response.records.last() {
                        Some(last) => (last.seq + 1, false),
                        None => (seq, true),
                    },
                    Err(_) => (seq, true),
                };
                bytes_sent += response.iter().flat_map(|r| &r.records).map(|r| r.bytes.len() as u64).sum::<u64>();
                // An error here means that the caller has gone away.
                if sender.send(response).await.is_err() || done {
                    return;
                }
                seq = next;
            }
        });
        Ok(Response::new(stream))
    }

    type GetSegmentStream = Outgoing<v1::GetSegmentResponse>;

    async fn get_segment(
        &self,
        request: Request<v1::GetSegmentRequest>,
    ) -> Result<Response<Self::GetSegmentStream>, Status> {
        let key = segment_key(request.into_inner().key.unwrap_or_default())?;
        let segments = self.segments.clone();
        let bytes = self
            .crew
            .executor()
            .blocking(move || {
                segments.get(&key).map_err(from_storage)?.ok_or_else(|| {
                    Error::not_found("db.error/segment-not-found", format!("there is no segment {key:?}"))
                })
            })
            .await
            .or_status()?;
        let bytes = bytes::Bytes::from(bytes);
        let stream = self.crew.stream(&tree::SEGMENT_STREAM, move |sender, point| async move {
            for start in (0..bytes.len()).step_by(CHUNK_BYTES) {
                point.pass();
                let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
                if sender.send(Ok(v1::GetSegmentResponse { chunk })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn read_pod(&self, request: Request<v1::ReadPodRequest>) -> Result<Response<v1::ReadPodResponse>, Status> {
        let name = request.into_inner().name;
        let journal = self.journal.clone();
        let pod =
            self.crew.executor().blocking(move || journal.read_pod(&name).map_err(from_storage)).await.or_status()?;
        let (version, bytes) = pod.unwrap_or_default();
        Ok(Response::new(v1::ReadPodResponse { version, bytes: bytes.into() }))
    }

    async fn list_pods(&self, request: Request<v1::ListPodsRequest>) -> Result<Response<v1::ListPodsResponse>, Status> {
        let prefix = request.into_inner().prefix;
        let journal = self.journal.clone();
        let names = self
            .crew
            .executor()
            .blocking(move || journal.list_pods(&prefix).map_err(from_storage))
            .await
            .or_status()?;
        Ok(Response::new(v1::ListPodsResponse { names }))
    }
}

/// The head of a database that was not deleted; a head that the catalogue does not know of is damage.
fn known(journal: Arc<dyn Journal>, id: DatabaseId) -> Result<Option<storage::Head>> {
    let head = journal.head(id).map_err(from_storage)?;
    match Catalogue::new(journal).entry(id)? {
        Some(entry) if entry.standing == Standing::Deleted => Err(deleted(&entry.name, id)),
        None if head.is_some() => {
            let message = format!("database {id} has a log, but the catalogue does not know it");
            Err(Error::corrupt("db.error/storage-corrupt", message))
        }
        _ => Ok(head),
    }
}

fn read(journal: &dyn Journal, id: DatabaseId, seq: u64, bytes_max: usize) -> Result<v1::ReadLogResponse> {
    Ok(match journal.read(id, seq, bytes_max).map_err(from_storage)? {
        Records::Found(records) => v1::ReadLogResponse {
            records: records
                .into_iter()
                .map(|record| v1::StoredRecord { seq: record.seq, bytes: record.bytes.into() })
                .collect(),
            sealed_before_seq: 0,
        },
        Records::Sealed { before_seq } => v1::ReadLogResponse { records: Vec::new(), sealed_before_seq: before_seq },
    })
}

pub fn wire_head(head: &storage::Head) -> v1::Head {
    v1::Head {
        term: head.term,
        seq: head.seq,
        t: head.t,
        hash: bytes::Bytes::copy_from_slice(&head.hash),
        index_seq: head.index_seq,
    }
}

pub fn database_id(bytes: &[u8]) -> Result<DatabaseId, Status> {
    let id = bytes.try_into().map(DatabaseId).map_err(|_| {
        let message = format!("a database id has 16 bytes, this one has {}", bytes.len());
        Error::incorrect("db.error/invalid-database-id", message)
    });
    id.or_status()
}

fn segment_key(key: v1::SegmentKey) -> Result<SegmentKey, Status> {
    let hash = key.hash[..].try_into().map_err(|_| {
        let message = format!("a segment's hash has 32 bytes, this one has {}", key.hash.len());
        Error::incorrect("db.error/invalid-segment-key", message)
    });
    let hash = hash.or_status()?;
    Ok(SegmentKey {
        lineage: database_id(&key.lineage_id)?,
        database: database_id(&key.database_id)?,
        term: key.term,
        job: key.job,
        hash,
    })
}
