//! The store `net:http://HOST:PORT`: one that a storage process serves.
//!
//! Its callers block, as they would on a disk; their calls are made on a runtime of its own, many at a time over one
//! connection, so that the appends of many writers share an fdatasync at the other end. Calls of segments have a
//! connection of their own: a large one holds up no append.
//!
//! Whatever may be made twice is made again, for a while, when its answer is lost; so a storage process may be started
//! again without its callers hearing of it. An append and a pod's put or delete are made once: one whose answer is lost
//! is `Unknown`, and one that did not arrive is made again, since nobody has heard of it.

mod reader;

pub use reader::reader;

use crate::errors::Failed;
use crate::wire;
use proto::MESSAGE_BYTES_MAX;
use proto::v1;
use proto::v1::storage_client::StorageClient;
use proto::v1::storage_writer_client::StorageWriterClient;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use storage::{
    Appended, Compacted, Compaction, DatabaseId, Error, ErrorKind, Head, Journal, PodPut, PodVersion, Records,
    Replaced, Result, Scrub, ScrubTicket, Scrubbed, SegmentKey, Segments, Store, Usage, Waiting, sha256,
};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// One call of the journal.
const CALL_MAX: Duration = Duration::from_secs(10);
/// One call that moves many bytes.
const LONG_CALL_MAX: Duration = Duration::from_secs(60);
/// Compacting copies as much as it is told to.
const COMPACT_MAX: Duration = Duration::from_secs(600);
/// So long a call is made again that nobody answers, counted from the first time.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for an open: who serves the store may be starting too.
const PATIENCE_AT_OPEN: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Calls that may be open; one more is refused as busy.
const CALLS_MAX: usize = 4096;
const CHUNK_BYTES: usize = 1 << 20;
/// Keys in one request.
const KEYS_MAX: usize = 10_000;

type Writer = StorageWriterClient<Channel>;
type Reader = StorageClient<Channel>;

struct NetStore {
    url: String,
    /// None when it is being dropped.
    runtime: Option<Runtime>,
    journal: (Writer, Reader),
    segments: (Writer, Reader),
    open: AtomicUsize,
    /// Nobody answered for as long as a call may take, and nobody has since.
    away: AtomicBool,
    closed: AtomicBool,
}

/// Connects to a storage process, and returns when it has answered once.
pub(crate) fn open(url: &str) -> Result<Store> {
    let store = Arc::new(NetStore::new(url)?);
    store.again(PATIENCE_AT_OPEN, CALL_MAX, |store, max| {
        let (mut writer, request) = (store.journal.0.clone(), within(max, v1::UsageRequest {}));
        async move { writer.usage(request).await }
    })?;
    let (journal, segments) = (store.clone(), store.clone());
    Ok(Store::new(journal, segments, Vec::new(), move || {
        store.closed.store(true, Ordering::Relaxed);
        Ok(())
    }))
}

impl NetStore {
    fn new(url: &str) -> Result<NetStore> {
        let invalid = |why: String| {
            let message = format!("store URL \"net:{url}\" names no storage process ({why}); use net:http://HOST:PORT");
            Error::new(ErrorKind::Invalid, message)
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| invalid(error.to_string()))?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(invalid("only http is spoken".to_owned()));
        }
        let endpoint = process::keep_alive(endpoint);
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("storage-net").enable_all().build();
        let runtime = runtime
            .map_err(|error| Error::new(ErrorKind::Io, "could not start a thread for the store").with_source(error))?;
        let connect = || {
            let _on_it = runtime.enter();
            let channel = endpoint.connect_lazy();
            let writer = StorageWriterClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let reader = StorageClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            (writer, reader)
        };
        let (journal, segments) = (connect(), connect());
        let (open, away, closed) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Ok(NetStore { url: url.to_owned(), runtime: Some(runtime), journal, segments, open, away, closed })
    }

    /// Makes a call and waits for what comes of it.
    fn call<T, F>(&self, call: F) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else { unreachable!("only a drop takes it") };
        let (answer_put, answer) = mpsc::sync_channel(1);
        // Whoever asked waits for it below.
        runtime.spawn(async move { drop(answer_put.send(call.await)) });
        match answer.recv() {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(Failed::of(&status)),
            Err(_) => Err(Failed::Lost("the call panicked".to_owned())),
        }
    }

    /// Makes a call that may be made twice, until it is answered.
    fn again<T, F>(&self, patience: Duration, call_max: Duration, call: impl Fn(&NetStore, Duration) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send + 'static,
    {
        self.tried(patience, true, |store| {
            let call = call(store, call_max);
            store.call(async move { call.await.map(tonic::Response::into_inner) })
        })
    }

    /// Makes a call that is made at most once.
    fn once<T, F>(&self, call: impl Fn(&NetStore) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send + 'static,
    {
        self.tried(PATIENCE, false, |store| {
            let call = call(store);
            store.call(async move { call.await.map(tonic::Response::into_inner) })
        })
    }

    fn tried<T>(
        &self,
        patience: Duration,
        may_be_made_twice: bool,
        call: impl Fn(&NetStore) -> Result<T, Failed>,
    ) -> Result<T> {
        let _open = self.admit()?;
        let begun = Instant::now();
        // Each of many callers need not find out by itself that nobody is there.
        let patience = if self.away.load(Ordering::Relaxed) { Duration::ZERO } else { patience };
        let mut pause = PAUSE_MIN;
        loop {
            let why = match call(self) {
                Ok(answer) => {
                    self.away.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failed::Told(error)) => {
                    self.away.store(false, Ordering::Relaxed);
                    let message = format!("the storage process at {}: {}", self.url, error.message());
                    return Err(Error::new(error.kind(), message));
                }
                Err(Failed::Lost(why)) if !may_be_made_twice => {
                    let message = format!("the answer of the storage process at {} was lost: {why}", self.url);
                    return Err(Error::new(ErrorKind::Unknown, message));
                }
                Err(Failed::NotDone(why) | Failed::Lost(why)) => why,
            };
            if begun.elapsed() + pause > patience || self.closed.load(Ordering::Relaxed) {
                self.away.store(true, Ordering::Relaxed);
                let message = format!("the storage process at {} does not answer: {why}", self.url);
                return Err(Error::new(ErrorKind::Busy, message));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn admit(&self) -> Result<Open<'_>> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Poisoned, "the store is closed"));
        }
        let open = Open(&self.open);
        if self.open.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX {
            let message = format!("{CALLS_MAX} calls of the storage process are open already; try again in a moment");
            return Err(Error::new(ErrorKind::Busy, message));
        }
        Ok(open)
    }

    fn step(
        &self,
        db: DatabaseId,
        expected: Option<Head>,
        new_head: Head,
        record: &[u8],
        new_term: bool,
    ) -> Result<Appended> {
        let request = v1::AppendRequest {
            database_id: wire::database_id(db),
            expected: expected.as_ref().map(wire::head),
            new_head: Some(wire::head(&new_head)),
            record: bytes::Bytes::copy_from_slice(record),
            new_term,
        };
        check_length(record)?;
        let response = self.once(|store| {
            let (mut writer, request) = (store.journal.0.clone(), within(CALL_MAX, request.clone()));
            async move { writer.append(request).await }
        })?;
        match (response.done, response.head) {
            (true, _) => Ok(Appended::Done),
            (false, head) => Ok(Appended::Moved(head.map(|head| self.head_of(&head)).transpose()?)),
        }
    }

    fn head_of(&self, head: &v1::Head) -> Result<Head> {
        wire::head_of(head).map_err(|error| self.nonsense(&error))
    }

    fn nonsense(&self, error: &db::Error) -> Error {
        let message = format!("the storage process at {} gave an answer that makes no sense: {error}", self.url);
        Error::new(ErrorKind::Unsupported, message)
    }
}

/// A call that counts as open until this is dropped.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for NetStore {
    fn drop(&mut self) {
        // Not waited for: the last one who holds the store may be a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Journal for NetStore {
    fn append(&self, db: DatabaseId, expected: Option<Head>, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.step(db, expected, new_head, record, false)
    }

    fn take_over(&self, db: DatabaseId, expected: Head, new_head: Head, record: &[u8]) -> Result<Appended> {
        self.step(db, Some(expected), new_head, record, true)
    }

    fn read(&self, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Result<Records> {
        let request = v1::ReadLogRequest { database_id: wire::database_id(db), from_seq, bytes_max: bytes_max as u64 };
        let response = self.again(PATIENCE, LONG_CALL_MAX, |store, max| {
            let (mut writer, request) = (store.journal.0.clone(), within(max, request.clone()));
            async move { writer.read_records(request).await }
        })?;
        Ok(wire::records_of(response))
    }

    fn head(&self, db: DatabaseId) -> Result<Option<Head>> {
        let response = self.again(PATIENCE, CALL_MAX, |store, max| {
            let request = within(max, v1::HeadRequest { database_id: wire::database_id(db) });
            let mut writer = store.journal.0.clone();
            async move { writer.log_head(request).await }
        })?;
        response.head.map(|head| self.head_of(&head)).transpose()
    }

    fn seal(&self, db: DatabaseId, before_seq: u64) -> Result<()> {
        let response = self.again(PATIENCE, CALL_MAX, |store, max| {
            let request = within(max, v1::SealRequest { database_id: wire::database_id(db), before_seq });
            let mut writer = store.journal.0.clone();
            async move { writer.seal(request).await }
        });
        response.map(|_| ())
    }

    fn replace_body(&self, db: DatabaseId, seq: u64, old: [u8; 32], record: &[u8]) -> Result<Replaced> {
        let request = v1::ReplaceBodyRequest {
            database_id: wire::database_id(db),
            seq,
            old_hash: bytes::Bytes::copy_from_slice(&old),
            record: bytes::Bytes::copy_from_slice(record),
        };
        check_length(record)?;
        // Made again it finds the new bytes there, which is the same answer.
        let response = self.again(PATIENCE, CALL_MAX, |store, max| {
            let (mut writer, request) = (store.journal.0.clone(), within(max, request.clone()));
            async move { writer.replace_body(request).await }
        })?;
        wire::replaced_of(response).map_err(|error| self.nonsense(&error))
    }

    fn read_pod(&self, name: &str) -> Result<Option<(PodVersion, Vec<u8>)>> {
        let pod = self.again(PATIENCE, CALL_MAX, |store, max| {
            let request = within(max, v1::ReadPodRequest { name: name.to_owned() });
            let mut reader = store.journal.1.clone();
            async move { reader.read_pod(request).await }
        })?;
        Ok(if pod.version == 0 { None } else { Some((pod.version, pod.bytes.into())) })
    }

    fn put_pod(&self, name: &str, expected: PodVersion, bytes: &[u8]) -> Result<PodPut> {
        let request =
            v1::PutPodRequest { name: name.to_owned(), expected, bytes: bytes::Bytes::copy_from_slice(bytes) };
        let put = self.once(|store| {
            let (mut writer, request) = (store.journal.0.clone(), within(CALL_MAX, request.clone()));
            async move { writer.put_pod(request).await }
        })?;
        Ok(pod_put(&put))
    }

    fn delete_pod(&self, name: &str, version: PodVersion) -> Result<PodPut> {
        let request = v1::DeletePodRequest { name: name.to_owned(), version };
        let put = self.once(|store| {
            let (mut writer, request) = (store.journal.0.clone(), within(CALL_MAX, request.clone()));
            async move { writer.delete_pod(request).await }
        })?;
        Ok(pod_put(&put))
    }

    fn list_pods(&self, prefix: &str) -> Result<Vec<String>> {
        let pods = self.again(PATIENCE, CALL_MAX, |store, max| {
            let request = within(max, v1::ListPodsRequest { prefix: prefix.to_owned() });
            let mut reader = store.journal.1.clone();
            async move { reader.list_pods(request).await }
        })?;
        Ok(pods.names)
    }

    fn drop_database(&self, db: DatabaseId) -> Result<()> {
        let response = self.again(PATIENCE, LONG_CALL_MAX, |store, max| {
            let request = within(max, v1::DropDatabaseRequest { database_id: wire::database_id(db) });
            let mut writer = store.journal.0.clone();
            async move { writer.drop_database(request).await }
        });
        response.map(|_| ())
    }

    fn queues(&self) -> Vec<Waiting> {
        let now = self.open.load(Ordering::Relaxed) as u64;
        vec![Waiting { name: "calls", what: "Calls of the storage process that are open", now, most: CALLS_MAX as u64 }]
    }
}

impl Segments for NetStore {
    fn put(&self, key: &SegmentKey, bytes: &[u8]) -> Result<()> {
        let (wire_key, length) = (wire::key(key), bytes.len() as u64);
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let response = self.again(PATIENCE, LONG_CALL_MAX, |store, max| {
            let (mut writer, key, bytes) = (store.segments.0.clone(), wire_key.clone(), bytes.clone());
            let chunks = (0..bytes.len().div_ceil(CHUNK_BYTES).max(1)).map(move |number| {
                let start = number * CHUNK_BYTES;
                let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
                let (key, length) = if number == 0 { (Some(key.clone()), length) } else { (None, 0) };
                v1::PutSegmentRequest { key, length, chunk }
            });
            let request = within(max, tokio_stream::iter(chunks));
            async move { writer.put_segment(request).await }
        });
        response.map(|_| ())
    }

    fn get(&self, key: &SegmentKey) -> Result<Option<Vec<u8>>> {
        let request = v1::GetSegmentRequest { key: Some(wire::key(key)) };
        self.tried(PATIENCE, true, |store| {
            let (mut reader, request) = (store.segments.1.clone(), within(LONG_CALL_MAX, request.clone()));
            let bytes = store.call(async move {
                let mut stream = match reader.get_segment(request).await {
                    Ok(response) => response.into_inner(),
                    Err(status) if proto::error(&status).code() == crate::reading::NO_SEGMENT => return Ok(None),
                    Err(status) => return Err(status),
                };
                let mut bytes = Vec::new();
                while let Some(piece) = stream.message().await? {
                    bytes.extend_from_slice(&piece.chunk);
                }
                Ok(Some(bytes))
            });
            match bytes {
                Ok(Some(bytes)) if sha256(&bytes) != key.hash => {
                    Err(Failed::Lost(format!("segment {key:?} came with other bytes than it has")))
                }
                found => found,
            }
        })
    }

    fn list(&self, database: DatabaseId, after: Option<&SegmentKey>, count_max: usize) -> Result<Vec<SegmentKey>> {
        let mut found: Vec<SegmentKey> = Vec::new();
        while found.len() < count_max {
            let wanted = (count_max - found.len()).min(KEYS_MAX);
            let request = v1::ListSegmentsRequest {
                database_id: wire::database_id(database),
                after: found.last().or(after).map(wire::key),
                count_max: wanted as u32,
            };
            let response = self.again(PATIENCE, CALL_MAX, |store, max| {
                let (mut writer, request) = (store.segments.0.clone(), within(max, request.clone()));
                async move { writer.list_segments(request).await }
            })?;
            let keys: db::Result<Vec<_>> = response.keys.into_iter().map(wire::key_of).collect();
            let keys = keys.map_err(|error| self.nonsense(&error))?;
            let is_last = keys.len() < wanted;
            found.extend(keys);
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    fn delete(&self, key: &SegmentKey) -> Result<()> {
        self.delete_all(std::slice::from_ref(key))
    }

    fn delete_all(&self, keys: &[SegmentKey]) -> Result<()> {
        for keys in keys.chunks(KEYS_MAX) {
            let request = v1::DeleteSegmentsRequest { keys: keys.iter().map(wire::key).collect() };
            self.again(PATIENCE, LONG_CALL_MAX, |store, max| {
                let (mut writer, request) = (store.segments.0.clone(), within(max, request.clone()));
                async move { writer.delete_segments(request).await }
            })?;
        }
        Ok(())
    }

    fn compact(&self, wanted: Compaction) -> Result<Compacted> {
        let Compaction { copy_bytes_max, live_percent_max } = wanted;
        let done = self.again(PATIENCE, COMPACT_MAX, |store, max| {
            let live_percent_max = u32::from(live_percent_max);
            let request = within(max, v1::CompactRequest { copy_bytes_max, live_percent_max });
            let mut writer = store.segments.0.clone();
            async move { writer.compact(request).await }
        })?;
        let damaged: db::Result<Vec<_>> = done.damaged.into_iter().map(wire::key_of).collect();
        Ok(Compacted {
            copied_bytes: done.copied_bytes,
            freed_bytes: done.freed_bytes,
            more: done.more,
            damaged: damaged.map_err(|error| self.nonsense(&error))?,
        })
    }

    fn scrub(&self, wanted: Scrub) -> Result<Scrubbed> {
        let Scrub { ticket, copy_bytes_max } = wanted;
        let ticket = ticket.map_or(0, |ticket| ticket.0);
        // Begun twice, because an answer was lost, it is one scrub more than was needed.
        let done = self.again(PATIENCE, COMPACT_MAX, |store, max| {
            let request = within(max, v1::ScrubRequest { ticket, copy_bytes_max });
            let mut writer = store.segments.0.clone();
            async move { writer.scrub(request).await }
        })?;
        let v1::ScrubResponse { ticket, copied_bytes, freed_bytes, left_bytes, more } = done;
        Ok(Scrubbed { ticket: ScrubTicket(ticket), copied_bytes, freed_bytes, left_bytes, more })
    }

    fn usage(&self) -> Result<Usage> {
        let usage = self.again(PATIENCE, CALL_MAX, |store, max| {
            let (mut writer, request) = (store.segments.0.clone(), within(max, v1::UsageRequest {}));
            async move { writer.usage(request).await }
        })?;
        Ok(Usage {
            journal_bytes: usage.journal_bytes,
            live_bytes: usage.live_bytes,
            dead_bytes: usage.dead_bytes,
            engine_bytes: usage.engine_bytes,
            free_bytes: usage.free_bytes,
        })
    }
}

/// A request that both sides give up after a time.
fn within<T>(timeout: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn check_length(record: &[u8]) -> Result<()> {
    if record.len() <= MESSAGE_BYTES_MAX / 2 {
        return Ok(());
    }
    let message = format!("a record of {} bytes is longer than a message may be", record.len());
    Err(Error::new(ErrorKind::Invalid, message))
}

fn pod_put(response: &v1::PutPodResponse) -> PodPut {
    match response.done {
        true => PodPut::Done(response.version),
        false => PodPut::Conflict(response.version),
    }
}
