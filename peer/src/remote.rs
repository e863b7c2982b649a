//! The transactor as a peer sees it: its services over connections that mend themselves, each call with a deadline.
//!
//! Calls have a connection of their own. A server takes only so many streams on one connection, and a peer that follows
//! a thousand databases must still be able to forward its clients' transactions; so following is spread over a few
//! others.

use db::log::{self, BodyPlace};
use db::{Category, Error, Result};
use process::{Failure, Network, correlation, keep_alive};
use proto::MESSAGE_BYTES_MAX;
use proto::v1;
use proto::v1::storage_client::StorageClient;
use proto::v1::transactor_client::TransactorClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Small questions.
const ASK_MAX: Duration = Duration::from_secs(10);
/// Between two messages of a stream that should flow.
const NEXT_MAX: Duration = Duration::from_secs(30);
/// A follower hears something every second; silence this long means that the connection is gone.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Connections for following; a server takes 1,024 streams on each, and a database takes one.
const FOLLOWING_CONNECTIONS: usize = 8;
/// Logs read from their beginning at once: each has a few messages of 1 MiB on their way.
const CATCH_UPS_MAX: usize = 16;

#[derive(Clone)]
pub struct Remote {
    url: String,
    channel: Channel,
    following: Arc<[Channel]>,
    catch_ups: Arc<Semaphore>,
}

/// A stream of answers, each of which comes within a time or not at all.
pub struct Incoming<T> {
    url: String,
    stream: Streaming<T>,
    next_max: Duration,
}

impl Remote {
    /// Connects when first asked; a URL that is none is an error now.
    pub fn new(url: &str, network: &dyn Network) -> process::Result<Remote> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
            Failure::new(format!("{url:?} is no URL of a transactor ({error}); give http://HOST:PORT"))
        })?;
        let endpoint = keep_alive(endpoint);
        Ok(Remote {
            url: url.to_owned(),
            channel: network.channel(endpoint.clone()),
            following: (0..FOLLOWING_CONNECTIONS).map(|_| network.channel(endpoint.clone())).collect(),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn transactor(&self) -> TransactorClient<Channel> {
        transactor(self.channel.clone())
    }

    /// The connection over which a database is followed.
    fn following(&self, id: log::DatabaseId) -> Channel {
        self.following[usize::from(id.0[0]) % self.following.len()].clone()
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
        let pod = self.told(storage(self.channel.clone()).read_pod(within(ASK_MAX, request)).await)?;
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
        let request = within(ASK_MAX, v1::ListDatabasesRequest {});
        Ok(self.told(self.transactor().list_databases(request).await)?.databases)
    }

    pub async fn create_database(&self, name: String) -> Result<v1::CreateDatabaseResponse> {
        let request = within(ASK_MAX, v1::CreateDatabaseRequest { name });
        self.told(self.transactor().create_database(request).await)
    }

    pub async fn delete_database(&self, request: v1::DeleteDatabaseRequest) -> Result<v1::DeleteDatabaseResponse> {
        self.told(self.transactor().delete_database(within(ASK_MAX, request)).await)
    }

    /// Where the log ends; None when there is none.
    pub async fn head(&self, id: log::DatabaseId) -> Result<Option<v1::Head>> {
        let request = v1::HeadRequest { database_id: bytes_of(id) };
        Ok(self.told(storage(self.channel.clone()).head(within(ASK_MAX, request)).await)?.head)
    }

    /// Records from a seq on, to the log's end as it is now.
    pub async fn read_log(
        &self,
        id: log::DatabaseId,
        from_seq: u64,
        bytes_max: u64,
    ) -> Result<Incoming<v1::ReadLogResponse>> {
        let request = v1::ReadLogRequest { database_id: bytes_of(id), from_seq, bytes_max };
        let stream = self.begun(storage(self.following(id)).read_log(ask(request)).await)?;
        Ok(Incoming { url: self.url.clone(), stream, next_max: NEXT_MAX })
    }

    pub async fn follow(&self, id: log::DatabaseId, seq: u64, hash: log::Hash) -> Result<Incoming<v1::FollowResponse>> {
        let hash = if seq == 0 { bytes::Bytes::new() } else { bytes::Bytes::copy_from_slice(&hash) };
        let request = v1::FollowRequest { database_id: bytes_of(id), seq, hash };
        let stream = self.begun(transactor(self.following(id)).follow(ask(request)).await)?;
        Ok(Incoming { url: self.url.clone(), stream, next_max: SILENCE_MAX })
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
        let request = ask(v1::GetSegmentRequest { key: Some(key) });
        let stream = self.begun(storage(self.following(place.database)).get_segment(request).await)?;
        let mut incoming = Incoming { url: self.url.clone(), stream, next_max: NEXT_MAX };
        let mut body = Vec::new();
        while let Some(piece) = incoming.next().await? {
            body.extend_from_slice(&piece.chunk);
            if body.len() as u64 > place.length {
                let message = format!("a body is longer than the {} bytes that its record tells", place.length);
                return Err(Error::corrupt("db.error/storage-corrupt", message));
            }
        }
        Ok(body)
    }

    fn told<T>(&self, answer: Result<tonic::Response<T>, Status>) -> Result<T> {
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    fn begun<T>(&self, answer: Result<tonic::Response<Streaming<T>>, Status>) -> Result<Streaming<T>> {
        self.told(answer)
    }

    fn error(&self, status: &Status) -> Error {
        from_there(&self.url, status)
    }
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

fn from_there(url: &str, status: &Status) -> Error {
    proto::error(status).within(format_args!("the transactor at {url}"))
}

impl<T> Incoming<T> {
    /// The next message; None at the end.
    pub async fn next(&mut self) -> Result<Option<T>> {
        match tokio::time::timeout(self.next_max, self.stream.message()).await {
            Ok(message) => message.map_err(|status| from_there(&self.url, &status)),
            Err(_) => {
                let message = format!("the transactor at {} has been silent for {:?}", self.url, self.next_max);
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
