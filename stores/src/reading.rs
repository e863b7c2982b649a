//! The read side of a store, served, by transactors and by storage processes: peers build their databases from it and
//! from nothing else.

use crate::catalogue::{Catalogue, Standing};
use crate::errors::{deleted, from_storage};
use crate::log::LogReader;
use crate::wire;
use db::{Error, Result};
use process::supervisor::Actor;
use process::{Crew, Outgoing};
use proto::v1::storage_server::Storage;
use proto::{OrStatus, v1};
use std::sync::Arc;
use storage::{DatabaseId, Journal, Records, Segments};
use tonic::{Request, Response, Status};

pub struct StorageService {
    pub journal: Arc<dyn Journal>,
    pub segments: Arc<dyn Segments>,
    pub crew: Crew,
    /// What feeds the streams, in the tree of the process.
    pub actors: StreamActors,
}

/// The actors that feed streams of a store's reads.
#[derive(Clone, Copy)]
pub struct StreamActors {
    pub log: &'static Actor,
    pub segment: &'static Actor,
}

/// The code of the error that says that there is no segment of a name.
pub const NO_SEGMENT: &str = "db.error/segment-not-found";

/// Bytes of records read from the journal at once and sent in one message.
const READ_BYTES: usize = 1 << 20;
/// Bytes of a segment in one message.
const CHUNK_BYTES: usize = 1 << 20;

#[tonic::async_trait]
impl Storage for StorageService {
    async fn head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let id = wire::database_id_of(&request.into_inner().database_id).or_status()?;
        let journal = self.journal.clone();
        let head = self.crew.executor().blocking(move || known(journal, id)).await.or_status()?;
        Ok(Response::new(v1::HeadResponse { head: head.as_ref().map(wire::head) }))
    }

    type ReadLogStream = Outgoing<v1::ReadLogResponse>;

    async fn read_log(&self, request: Request<v1::ReadLogRequest>) -> Result<Response<Self::ReadLogStream>, Status> {
        let request = request.into_inner();
        let id = wire::database_id_of(&request.database_id).or_status()?;
        let journal = self.journal.clone();
        let head = self.crew.executor().blocking(move || known(journal, id)).await.or_status()?;
        let end_seq = head.map_or(0, |head| head.seq);
        let bytes_max = if request.bytes_max == 0 { u64::MAX } else { request.bytes_max };
        let (journal, segments) = (self.journal.clone(), self.segments.clone());
        let executor = self.crew.executor();
        let stream = self.crew.stream(self.actors.log, move |sender, point| async move {
            let (mut seq, mut bytes_sent) = (request.from_seq.max(1), 0);
            while seq <= end_seq && bytes_sent < bytes_max {
                point.pass();
                let (journal, segments) = (journal.clone(), segments.clone());
                let wanted = READ_BYTES.min((bytes_max - bytes_sent).try_into().unwrap_or(usize::MAX));
                let response = executor
                    .blocking(move || read(LogReader::new(&*journal, &*segments), id, seq, wanted))
                    .await
                    .or_status();
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
        let key = wire::key_of(request.into_inner().key.unwrap_or_default()).or_status()?;
        let segments = self.segments.clone();
        let bytes = self
            .crew
            .executor()
            .blocking(move || {
                segments
                    .get(&key)
                    .map_err(from_storage)?
                    .ok_or_else(|| Error::not_found(NO_SEGMENT, format!("there is no segment {key:?}")))
            })
            .await
            .or_status()?;
        let bytes = bytes::Bytes::from(bytes);
        let stream = self.crew.stream(self.actors.segment, move |sender, point| async move {
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

    async fn list_databases(
        &self,
        _: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesResponse>, Status> {
        let catalogue = Catalogue::new(self.journal.clone());
        let entries = self.crew.executor().blocking(move || catalogue.entries()).await.or_status()?;
        let live = entries.into_iter().filter(|entry| entry.standing == Standing::Live);
        let mut databases: Vec<_> =
            live.map(|entry| v1::DatabaseInfo { id: wire::database_id(entry.id), name: entry.name }).collect();
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(v1::ListDatabasesResponse { databases }))
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

fn read(log: LogReader<'_>, id: DatabaseId, seq: u64, bytes_max: usize) -> Result<v1::ReadLogResponse> {
    log.read(id, seq, bytes_max).map(|records| wire::records(Records::Found(records)))
}
