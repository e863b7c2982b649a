//! The write side of a store, served to transactors: each call is the method of [`Journal`] or [`Segments`] that it is
//! named after, made on a thread that may block. Many calls wait at once, so that one fdatasync serves them all.

use crate::errors::{STORAGE_FAILED, from_storage};
use crate::wire;
use db::{Error, Result};
use process::Executor;
use proto::v1::storage_writer_server::StorageWriter;
use proto::{OrStatus, v1};
use std::sync::Arc;
use std::time::Duration;
use storage::{Appended, Compaction, Head, Journal, PodPut, Scrub, ScrubTicket, Segments};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tonic::{Request, Response, Status, Streaming};

/// Bytes of records in one answer.
const READ_BYTES_MAX: usize = 8 << 20;
/// Keys in one answer.
const KEYS_MAX: u32 = 10_000;
/// So long a segment may take to come in.
const COLLECT_MAX: Duration = Duration::from_secs(60);
/// What all segments may take that are on their way in; more callers wait.
const SEGMENTS_KIB_MAX: usize = 256 << 10;

pub struct WriterService {
    journal: Arc<dyn Journal>,
    segments: Arc<dyn Segments>,
    executor: Executor,
    segment_bytes_max: usize,
    room: SegmentRoom,
    failure: watch::Sender<Option<String>>,
}

/// What segments take that are on their way in. Cheap to clone.
#[derive(Clone)]
pub struct SegmentRoom(Arc<Semaphore>);

impl SegmentRoom {
    /// Bytes that are taken, and how many may be.
    pub fn bytes(&self) -> (u64, u64) {
        let taken = SEGMENTS_KIB_MAX - self.0.available_permits();
        ((taken as u64) << 10, (SEGMENTS_KIB_MAX as u64) << 10)
    }
}

impl WriterService {
    /// Room for segments, for whoever shows it.
    pub fn room(&self) -> SegmentRoom {
        self.room.clone()
    }

    /// Tells `failure` when the store has failed on the way to disk, and serves no longer.
    pub fn new(
        journal: Arc<dyn Journal>,
        segments: Arc<dyn Segments>,
        executor: Executor,
        segment_bytes_max: usize,
        failure: watch::Sender<Option<String>>,
    ) -> Self {
        let room = SegmentRoom(Arc::new(Semaphore::new(SEGMENTS_KIB_MAX)));
        WriterService { journal, segments, executor, segment_bytes_max, room, failure }
    }

    async fn of_journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Journal) -> storage::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let journal = self.journal.clone();
        self.told(self.executor.blocking(move || work(&*journal).map_err(from_storage)).await)
    }

    async fn of_segments<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Segments) -> storage::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let segments = self.segments.clone();
        self.told(self.executor.blocking(move || work(&*segments).map_err(from_storage)).await)
    }

    fn told<T>(&self, answer: Result<T>) -> Result<T, Status> {
        if let Err(error) = &answer
            && error.code() == STORAGE_FAILED
        {
            self.failure.send_if_modified(|known| {
                let is_first = known.is_none();
                known.get_or_insert_with(|| error.message().to_owned());
                is_first
            });
        }
        answer.or_status()
    }

    /// A segment's bytes as they come in.
    async fn collect(
        &self,
        mut request: Streaming<v1::PutSegmentRequest>,
    ) -> Result<(v1::SegmentKey, Vec<u8>, SemaphorePermit<'_>), Status> {
        let invalid = |message: String| proto::status(&Error::incorrect("db.error/storage-invalid", message));
        let first = request.message().await?.ok_or_else(|| invalid("a segment comes without a message".into()))?;
        let v1::PutSegmentRequest { key: Some(key), length, chunk } = first else {
            return Err(invalid("the first message of a segment has no key".into()));
        };
        let most = self.segment_bytes_max;
        // Compared before it is believed.
        let length = usize::try_from(length).ok().filter(|length| *length <= most);
        let length = length.ok_or_else(|| invalid(format!("a segment is over the limit of {most} bytes")))?;
        let kib = (length >> 10).clamp(1, SEGMENTS_KIB_MAX) as u32;
        let closed = |_| proto::status(&Error::fault("the room for segments is closed, which nobody does"));
        let room = self.room.0.acquire_many(kib).await.map_err(closed)?;
        let mut bytes = Vec::with_capacity(length);
        let mut next = Some(chunk);
        while let Some(chunk) = next {
            if bytes.len() + chunk.len() > length {
                return Err(invalid(format!("a segment is longer than the {length} bytes that were said")));
            }
            bytes.extend_from_slice(&chunk);
            next = request.message().await?.map(|message| message.chunk);
        }
        if bytes.len() < length {
            return Err(invalid(format!("a segment ended after {} of {length} bytes", bytes.len())));
        }
        Ok((key, bytes, room))
    }
}

#[tonic::async_trait]
impl StorageWriter for WriterService {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let v1::AppendRequest { database_id, expected, new_head, record, new_term } = request.into_inner();
        let id = wire::database_id_of(&database_id).or_status()?;
        let expected = expected.map(|head| wire::head_of(&head)).transpose().or_status()?;
        let new_head: Head = wire::head_of(&new_head.unwrap_or_default()).or_status()?;
        let step = move |journal: &dyn Journal| match (new_term, expected) {
            (true, Some(expected)) => journal.take_over(id, expected, new_head, &record),
            _ => journal.append(id, expected, new_head, &record),
        };
        let (done, head) = match self.of_journal(step).await? {
            Appended::Done => (true, None),
            Appended::Moved(head) => (false, head),
        };
        Ok(Response::new(v1::AppendResponse { done, head: head.as_ref().map(wire::head) }))
    }

    async fn log_head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let id = wire::database_id_of(&request.into_inner().database_id).or_status()?;
        let head = self.of_journal(move |journal| journal.head(id)).await?;
        Ok(Response::new(v1::HeadResponse { head: head.as_ref().map(wire::head) }))
    }

    async fn read_records(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<v1::ReadLogResponse>, Status> {
        let v1::ReadLogRequest { database_id, from_seq, bytes_max } = request.into_inner();
        let id = wire::database_id_of(&database_id).or_status()?;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(READ_BYTES_MAX);
        let records = self.of_journal(move |journal| journal.read(id, from_seq, bytes_max)).await?;
        Ok(Response::new(wire::records(records)))
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Result<Response<v1::SealResponse>, Status> {
        let v1::SealRequest { database_id, before_seq } = request.into_inner();
        let id = wire::database_id_of(&database_id).or_status()?;
        self.of_journal(move |journal| journal.seal(id, before_seq)).await?;
        Ok(Response::new(v1::SealResponse {}))
    }

    async fn replace_body(
        &self,
        request: Request<v1::ReplaceBodyRequest>,
    ) -> Result<Response<v1::ReplaceBodyResponse>, Status> {
        let v1::ReplaceBodyRequest { database_id, seq, old_hash, record } = request.into_inner();
        let id = wire::database_id_of(&database_id).or_status()?;
        let old = wire::hash_of(&old_hash).or_status()?;
        let replaced = self.of_journal(move |journal| journal.replace_body(id, seq, old, &record)).await?;
        Ok(Response::new(wire::replaced(replaced)))
    }

    async fn drop_database(
        &self,
        request: Request<v1::DropDatabaseRequest>,
    ) -> Result<Response<v1::DropDatabaseResponse>, Status> {
        let id = wire::database_id_of(&request.into_inner().database_id).or_status()?;
        self.of_journal(move |journal| journal.drop_database(id)).await?;
        Ok(Response::new(v1::DropDatabaseResponse {}))
    }

    async fn put_pod(&self, request: Request<v1::PutPodRequest>) -> Result<Response<v1::PutPodResponse>, Status> {
        let v1::PutPodRequest { name, expected, bytes } = request.into_inner();
        let put = self.of_journal(move |journal| journal.put_pod(&name, expected, &bytes)).await?;
        Ok(Response::new(pod_response(put)))
    }

    async fn delete_pod(&self, request: Request<v1::DeletePodRequest>) -> Result<Response<v1::PutPodResponse>, Status> {
        let v1::DeletePodRequest { name, version } = request.into_inner();
        let put = self.of_journal(move |journal| journal.delete_pod(&name, version)).await?;
        Ok(Response::new(pod_response(put)))
    }

    async fn put_segment(
        &self,
        request: Request<Streaming<v1::PutSegmentRequest>>,
    ) -> Result<Response<v1::PutSegmentResponse>, Status> {
        let collected = tokio::time::timeout(COLLECT_MAX, self.collect(request.into_inner())).await;
        let too_slow =
            |_| proto::status(&Error::interrupted("db.error/deadline-exceeded", "the segment came too slowly"));
        let (key, bytes, _room) = collected.map_err(too_slow)??;
        let key = wire::key_of(key).or_status()?;
        self.of_segments(move |segments| segments.put(&key, &bytes)).await?;
        Ok(Response::new(v1::PutSegmentResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<v1::ListSegmentsRequest>,
    ) -> Result<Response<v1::ListSegmentsResponse>, Status> {
        let v1::ListSegmentsRequest { database_id, after, count_max } = request.into_inner();
        let id = wire::database_id_of(&database_id).or_status()?;
        let after = after.map(wire::key_of).transpose().or_status()?;
        let count_max = if count_max == 0 { KEYS_MAX } else { count_max.min(KEYS_MAX) } as usize;
        let keys = self.of_segments(move |segments| segments.list(id, after.as_ref(), count_max)).await?;
        Ok(Response::new(v1::ListSegmentsResponse { keys: keys.iter().map(wire::key).collect() }))
    }

    async fn delete_segments(
        &self,
        request: Request<v1::DeleteSegmentsRequest>,
    ) -> Result<Response<v1::DeleteSegmentsResponse>, Status> {
        let keys = request.into_inner().keys.into_iter().map(wire::key_of).collect::<Result<Vec<_>>>().or_status()?;
        self.of_segments(move |segments| segments.delete_all(&keys)).await?;
        Ok(Response::new(v1::DeleteSegmentsResponse {}))
    }

    async fn compact(&self, request: Request<v1::CompactRequest>) -> Result<Response<v1::CompactResponse>, Status> {
        let v1::CompactRequest { copy_bytes_max, live_percent_max } = request.into_inner();
        let wanted = Compaction { copy_bytes_max, live_percent_max: live_percent_max.min(100) as u8 };
        let done = self.of_segments(move |segments| segments.compact(wanted)).await?;
        Ok(Response::new(v1::CompactResponse {
            copied_bytes: done.copied_bytes,
            freed_bytes: done.freed_bytes,
            more: done.more,
            damaged: done.damaged.iter().map(wire::key).collect(),
        }))
    }

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<v1::ScrubResponse>, Status> {
        let v1::ScrubRequest { ticket, copy_bytes_max } = request.into_inner();
        let wanted = Scrub { ticket: Some(ScrubTicket(ticket)).filter(|_| ticket != 0), copy_bytes_max };
        let done = self.of_segments(move |segments| segments.scrub(wanted)).await?;
        Ok(Response::new(v1::ScrubResponse {
            ticket: done.ticket.0,
            copied_bytes: done.copied_bytes,
            freed_bytes: done.freed_bytes,
            left_bytes: done.left_bytes,
            more: done.more,
        }))
    }

    async fn usage(&self, _: Request<v1::UsageRequest>) -> Result<Response<v1::UsageResponse>, Status> {
        let usage = self.of_segments(|segments| segments.usage()).await?;
        Ok(Response::new(v1::UsageResponse {
            journal_bytes: usage.journal_bytes,
            live_bytes: usage.live_bytes,
            dead_bytes: usage.dead_bytes,
            engine_bytes: usage.engine_bytes,
            free_bytes: usage.free_bytes,
        }))
    }
}

fn pod_response(put: PodPut) -> v1::PutPodResponse {
    match put {
        PodPut::Done(version) => v1::PutPodResponse { done: true, version },
        PodPut::Conflict(version) => v1::PutPodResponse { done: false, version },
    }
}
