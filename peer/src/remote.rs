//! The transactor as a peer sees it, and the storage process if it was given one: their services over connections that
//! mend themselves, each call with a deadline.
//!
//! What is read of a store is read from the storage process then, so that a peer reads, and begins, while no transactor
//! is there; who follows, follows the transactor.
//!
//! Calls have a connection of their own. A server takes only so many streams on one connection, and a peer that follows
//! a thousand databases must still be able to forward its clients' transactions; so following is spread over a few
//! others ([`crate::ways`], which also knows at which address a database's transactor is).

use crate::ways::{Way, Ways};
use db::log::{self, BodyPlace};
use db::{Category, Error, Result};
use process::{Network, correlation};
use proto::MESSAGE_BYTES_MAX;
use proto::v1;
use proto::v1::storage_client::StorageClient;
use proto::v1::transactor_client::TransactorClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Small questions.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Between two messages of a stream that should flow.
const NEXT_MAX: Duration = Duration::from_secs(30);
/// A follower hears something every second; silence this long means that the connection is gone.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Logs read from their beginning at once: each has a few messages of 1 MiB on their way.
const CATCH_UPS_MAX: usize = 16;

#[derive(Clone)]
pub struct Remote {
    /// As they were given.
    urls: String,
    ways: Arc<Ways>,
    /// To storage processes, if any were given; otherwise the transactor shows its store.
    storage: Option<Arc<Ways>>,
    catch_ups: Arc<Semaphore>,
}

/// A stream of answers, each of which comes within a time or not at all.
pub struct Incoming<T> {
    way: Arc<Way>,
    stream: Streaming<T>,
    next_max: Duration,
}

impl Remote {
    /// Connects when first asked; a URL that is none is an error now.
    pub fn new(urls: &str, storage: Option<&str>, network: Arc<dyn Network>) -> process::Result<Remote> {
        let to_storage = |urls: &str| Ways::new(urls, "storage process", network.clone()).map(Arc::new);
        Ok(Remote {
            urls: urls.to_owned(),
            ways: Arc::new(Ways::new(urls, "transactor", network.clone())?),
            storage: storage.map(to_storage).transpose()?,
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
        })
    }

    /// The addresses of transactors, as they were given.
    pub fn urls(&self) -> &str {
        &self.urls
    }

    /// The transactor of a database, or one who knows which databases there are.
    pub fn transactor(&self, id: Option<log::DatabaseId>) -> TransactorClient<Channel> {
        transactor(id.map_or_else(|| self.ways.usual(), |id| self.ways.to(id)).calls())
    }

    pub fn way(&self, id: log::DatabaseId) -> Arc<Way> {
        self.ways.to(id)
    }

    /// The error is what came of following a database over a way: if its owner was not there, it is looked for
    /// elsewhere from now on.
    pub fn was_refused(&self, id: log::DatabaseId, way: &Arc<Way>, error: &Error) {
        match error.category() {
            Category::Unavailable => self.ways.leave(id, way),
            Category::Fenced | Category::NotFound => self.ways.leave_for_good(id, way),
            _ => {}
        }
    }

    /// Whether the store is read elsewhere than from the transactor.
    pub fn has_storage(&self) -> bool {
        self.storage.is_some()
    }

    /// Where stores are read.
    fn reading(&self) -> &Ways {
        self.storage.as_deref().unwrap_or(&self.ways)
    }

    /// Waits for leave to read a whole log, which is given up when dropped.
    pub async fn catch_up_turn(&self) -> Result<OwnedSemaphorePermit> {
        let turn = self.catch_ups.clone().acquire_owned().await;
        turn.map_err(|_| Error::fault("the turns of catching up are closed, which nobody does"))
    }

    /// Logs that are read from their beginning now, and how many may be.
    pub fn catch_ups(&self) -> (usize, usize) {
        (CATCH_UPS_MAX - self.catch_ups.available_permits(), CATCH_UPS_MAX)
    }

    /// The database that a name stands for, as the catalogue tells.
    pub async fn find(&self, name: &str) -> Result<Option<log::DatabaseId>> {
        let request = v1::ReadPodRequest { name: format!("name/{name}") };
        let way = self.reading().usual();
        let pod = answered(self.reading(), &way, storage(way.calls()).read_pod(within(ASK_MAX, request)).await)?;
        if pod.version == 0 {
            return Ok(None);
        }
        let id = pod.bytes[..].try_into().map_err(|_| {
            Error::corrupt(
                "db.error/storage-corrupt",
                format!("the catalogue's pod of {name:?} does not hold 16 bytes"),
            )
        })?;
        Ok(Some(log::DatabaseId(id)))
    }

    pub async fn databases(&self) -> Result<Vec<v1::DatabaseInfo>> {
        let (way, request) = (self.reading().usual(), within(ASK_MAX, v1::ListDatabasesRequest {}));
        let answer = match self.has_storage() {
            true => storage(way.calls()).list_databases(request).await,
            false => transactor(way.calls()).list_databases(request).await,
        };
        Ok(answered(self.reading(), &way, answer)?.databases)
    }

    pub async fn create_database(&self, name: String) -> Result<v1::CreateDatabaseResponse> {
        let (way, request) = (self.ways.usual(), within(ASK_MAX, v1::CreateDatabaseRequest { name }));
        answered(&self.ways, &way, transactor(way.calls()).create_database(request).await)
    }

    /// `id` is that of the database that is forked, if it is known. What novelty there is is written out, which takes its
    /// time.
    pub async fn fork_database(
        &self,
        id: Option<log::DatabaseId>,
        request: v1::ForkDatabaseRequest,
        timeout: Duration,
    ) -> Result<v1::ForkDatabaseResponse> {
        let way = id.map_or_else(|| self.ways.usual(), |id| self.ways.to(id));
        told(&way, transactor(way.calls()).fork_database(within(timeout, request)).await)
    }

    /// `id` is the database's, if it is known.
    pub async fn delete_database(
        &self,
        id: Option<log::DatabaseId>,
        request: v1::DeleteDatabaseRequest,
    ) -> Result<v1::DeleteDatabaseResponse> {
        let way = id.map_or_else(|| self.ways.usual(), |id| self.ways.to(id));
        told(&way, transactor(way.calls()).delete_database(within(ASK_MAX, request)).await)
    }

    /// Where the log ends; None when there is none.
    pub async fn head(&self, id: log::DatabaseId) -> Result<Option<v1::Head>> {
        let request = v1::HeadRequest { database_id: bytes_of(id) };
        let way = self.reading().to(id);
        Ok(self.read(id, &way, storage(way.calls()).head(within(ASK_MAX, request)).await)?.head)
    }

    /// Records from a seq on, to the log's end as it is now.
    pub async fn read_log(
        &self,
        id: log::DatabaseId,
        from_seq: u64,
        bytes_max: u64,
    ) -> Result<Incoming<v1::ReadLogResponse>> {
        let request = v1::ReadLogRequest { database_id: bytes_of(id), from_seq, bytes_max };
        let way = self.reading().to(id);
        let stream = self.read(id, &way, storage(way.following(id)).read_log(ask(request)).await)?;
        Ok(Incoming { way, stream, next_max: NEXT_MAX })
    }

    pub async fn follow(&self, id: log::DatabaseId, seq: u64, hash: log::Hash) -> Result<Incoming<v1::FollowResponse>> {
        let hash = if seq == 0 { bytes::Bytes::new() } else { bytes::Bytes::copy_from_slice(&hash) };
        let request = v1::FollowRequest { database_id: bytes_of(id), seq, hash };
        let way = self.ways.to(id);
        let stream = told(&way, transactor(way.following(id)).follow(ask(request)).await)?;
        Ok(Incoming { way, stream, next_max: SILENCE_MAX })
    }

    /// A body that lies out of line.
    pub async fn body(&self, place: &BodyPlace) -> Result<Vec<u8>> {
        let key = v1::SegmentKey {
            lineage_id: bytes_of(place.lineage),
            database_id: bytes_of(place.database),
            term: place.term,
            job: BodyPlace::JOB.to_owned(),
            hash: bytes::Bytes::copy_from_slice(&place.hash),
        };
        self.segment(place.database, key, place.length).await
    }

    /// A segment of a database, of at most so many bytes.
    pub async fn segment(&self, database: log::DatabaseId, key: v1::SegmentKey, bytes_max: u64) -> Result<Vec<u8>> {
        let request = ask(v1::GetSegmentRequest { key: Some(key) });
        let way = self.reading().to(database);
        let stream = self.read(database, &way, storage(way.following(database)).get_segment(request).await)?;
        let mut incoming = Incoming { way, stream, next_max: NEXT_MAX };
        let mut bytes = Vec::new();
        while let Some(piece) = incoming.next().await? {
            bytes.extend_from_slice(&piece.chunk);
            if bytes.len() as u64 > bytes_max {
                let message = format!("a segment is longer than the {bytes_max} bytes that it may have");
                return Err(Error::corrupt("db.error/storage-corrupt", message));
            }
        }
        Ok(bytes)
    }

    /// What a store told of a database: if nobody is there, the next storage process is asked next time. (The follower
    /// says when another transactor is to be looked for.)
    fn read<T>(&self, id: log::DatabaseId, way: &Way, answer: Result<tonic::Response<T>, Status>) -> Result<T> {
        let told = told(way, answer);
        if let Some(storage) = &self.storage
            && told.as_ref().is_err_and(|error| error.category() == Category::Unavailable)
        {
            storage.leave(id, way);
        }
        told
    }
}

/// An answer to what may be asked anywhere: if nobody is there, the next address is asked next time.
fn answered<T>(ways: &Ways, way: &Way, answer: Result<tonic::Response<T>, Status>) -> Result<T> {
    let told = told(way, answer);
    if told.as_ref().is_err_and(|error| error.category() == Category::Unavailable) {
        ways.leave_usual(way);
    }
    told
}

fn told<T>(way: &Way, answer: Result<tonic::Response<T>, Status>) -> Result<T> {
    answer.map(tonic::Response::into_inner).map_err(|status| from_there(way, &status))
}

fn transactor(channel: Channel) -> TransactorClient<Channel> {
    TransactorClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn storage(channel: Channel) -> StorageClient<Channel> {
    StorageClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn from_there(way: &Way, status: &Status) -> Error {
    proto::error(status).within(format_args!("the {} at {}", way.whom, way.url))
}

impl<T> Incoming<T> {
    /// The next message; None at the end.
    pub async fn next(&mut self) -> Result<Option<T>> {
        match tokio::time::timeout(self.next_max, self.stream.message()).await {
            Ok(message) => message.map_err(|status| from_there(&self.way, &status)),
            Err(_) => {
                let Way { whom, url, .. } = &*self.way;
                let message = format!("the {whom} at {url} has been silent for {:?}", self.next_max);
                Err(Error::new(Category::Unavailable, "db.error/silence", message))
            }
        }
    }
}

/// A request that its server and ourselves give up after a time.
pub fn within<T>(timeout: Duration, message: T) -> Request<T> {
    let mut request = ask(message);
    request.set_timeout(timeout);
    request
}

/// A request of the call that is being served, or of the peer's own.
fn ask<T>(message: T) -> Request<T> {
    correlation::attach(Request::new(message))
}

fn bytes_of(id: log::DatabaseId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&id.0)
}
