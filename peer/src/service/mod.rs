//! The service `Peer`.

mod datoms;
mod explain;
mod log;
mod query;
mod range;
pub mod reports;
mod transact;
mod view;
mod with;

use crate::databases::Databases;
use crate::followed::{FollowState, Followed, Known};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::queries::Queries;
use crate::readiness::Readiness;
use crate::remote::Remote;
use cache::{CacheStats, SegmentCache, TierStats};
use db::budget::Limits;
use db::tx::Functions;
use db::{Category, Error, Result, T};
use process::limits::{Caller, Room};
use process::{Clock, Crew, Entropy, Outgoing, deadline};
use proto::v1::peer_server::Peer;
use proto::{OrStatus, v1};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

pub struct PeerService {
    pub remote: Remote,
    pub databases: Databases,
    pub readiness: Readiness,
    pub pool: Pool,
    pub cache: Arc<SegmentCache>,
    /// For transactions being forwarded.
    pub room: Room,
    pub metrics: Arc<Metrics>,
    pub queries: Arc<Queries>,
    /// Those that transactors know, for speculation.
    pub functions: Functions,
    /// Room for those who are told of each transaction.
    pub listeners: Arc<Semaphore>,
    pub clock: Arc<dyn Clock>,
    /// What queries that draw by chance are seeded from.
    pub entropy: Arc<dyn Entropy>,
    pub crew: Crew,
    pub started: Duration,
    /// What no query may exceed.
    pub limits: Limits,
    /// What no call but `Transact` may exceed.
    pub timeout_max: Duration,
}

/// The longest a caller waits for a fork, whatever deadline it gives.
const FORK_MAX: Duration = Duration::from_secs(300);
/// What transactions being forwarded may take, and how many there may be; one caller has a share of both, in percent.
const FORWARDED_BYTES_MAX: u64 = 256 << 20;
const FORWARDED_MAX: u64 = 8192;

pub fn room(caller_share: u32) -> Room {
    Room::new(FORWARDED_BYTES_MAX, FORWARDED_MAX, caller_share)
}

#[tonic::async_trait]
impl Peer for PeerService {
    type QueryStream = query::Answers;

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let timeout = self.timeout(&request);
        self.run_query(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let timeout = self.timeout(&request);
        self.run_explain(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    async fn pull(&self, request: Request<v1::PullRequest>) -> Result<Response<v1::PullResponse>, Status> {
        let timeout = self.timeout(&request);
        self.run_pull(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    async fn transact(&self, request: Request<v1::TransactRequest>) -> Result<Response<v1::TransactResponse>, Status> {
        let timeout = deadline::of(&request);
        let caller = Caller::of(&request);
        self.forward(caller, request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    async fn sync(&self, request: Request<v1::SyncRequest>) -> Result<Response<v1::SyncResponse>, Status> {
        let timeout = self.timeout(&request);
        let v1::SyncRequest { database, t } = request.into_inner();
        self.sync_to(&database, t, timeout).await.map(Response::new).or_status()
    }

    type DatomsStream = Outgoing<v1::DatomsResponse>;

    async fn datoms(&self, request: Request<v1::DatomsRequest>) -> Result<Response<Self::DatomsStream>, Status> {
        let timeout = self.timeout(&request);
        self.read_datoms(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    type IndexRangeStream = Outgoing<v1::DatomsResponse>;

    async fn index_range(
        &self,
        request: Request<v1::IndexRangeRequest>,
    ) -> Result<Response<Self::IndexRangeStream>, Status> {
        let timeout = self.timeout(&request);
        self.read_index_range(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    type TxRangeStream = Outgoing<v1::LogResponse>;

    async fn tx_range(&self, request: Request<v1::TxRangeRequest>) -> Result<Response<Self::TxRangeStream>, Status> {
        let timeout = self.timeout(&request);
        self.read_tx_range(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    type WithStream = with::Reports;

    async fn with(&self, request: Request<v1::WithRequest>) -> Result<Response<Self::WithStream>, Status> {
        let timeout = self.timeout(&request);
        self.run_with(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    type TxReportsStream = reports::Reports;

    async fn tx_reports(
        &self,
        request: Request<v1::TxReportsRequest>,
    ) -> Result<Response<Self::TxReportsStream>, Status> {
        let timeout = deadline::of(&request);
        self.report(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    type LogStream = Outgoing<v1::LogResponse>;

    async fn log(&self, request: Request<v1::LogRequest>) -> Result<Response<Self::LogStream>, Status> {
        let timeout = self.timeout(&request);
        self.read_log(request.into_inner(), timeout).await.map(Response::new).or_status()
    }

    async fn status(&self, _: Request<v1::PeerStatusRequest>) -> Result<Response<v1::PeerStatusResponse>, Status> {
        let now = self.clock.since_boot();
        Ok(Response::new(v1::PeerStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: now.saturating_sub(self.started).as_millis() as u64,
            transactor_url: self.remote.urls().to_owned(),
            databases: self.databases.all().iter().map(|followed| status(followed, now)).collect(),
            queries: self.pool.jobs() as u64,
            queries_max: self.pool.jobs_max() as u64,
            not_ready: self.readiness.lacking().unwrap_or_default(),
            cache: Some(cache_status(&self.cache.stats())),
        }))
    }

    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::CreateDatabaseResponse>, Status> {
        let response = self.remote.create_database(request.into_inner().name).await.or_status()?;
        if let Some(info) = &response.database
            && let Ok(id) = info.id[..].try_into()
        {
            self.databases.follow(db::log::DatabaseId(id), &info.name).or_status()?;
        }
        Ok(Response::new(response))
    }

    async fn fork_database(
        &self,
        request: Request<v1::ForkDatabaseRequest>,
    ) -> Result<Response<v1::ForkDatabaseResponse>, Status> {
        let timeout = process::deadline::of(&request).unwrap_or(FORK_MAX).min(FORK_MAX);
        let request = request.into_inner();
        let id = self.databases.known_id(&request.name);
        let response = self.remote.fork_database(id, request, timeout).await.or_status()?;
        if let Some(info) = &response.database
            && let Ok(id) = info.id[..].try_into()
        {
            self.databases.follow(db::log::DatabaseId(id), &info.name).or_status()?;
        }
        Ok(Response::new(response))
    }

    async fn delete_database(
        &self,
        request: Request<v1::DeleteDatabaseRequest>,
    ) -> Result<Response<v1::DeleteDatabaseResponse>, Status> {
        let request = request.into_inner();
        let id = self.databases.known_id(&request.name);
        let response = self.remote.delete_database(id, request).await.or_status()?;
        if let Some(info) = &response.database
            && let Ok(id) = info.id[..].try_into()
        {
            self.databases.forget_deleted(db::log::DatabaseId(id));
        }
        Ok(Response::new(response))
    }

    async fn list_databases(
        &self,
        _: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesResponse>, Status> {
        let databases = match self.remote.databases().await {
            Ok(databases) => databases,
            Err(error) if error.category() == Category::Unavailable => {
                self.databases.all().iter().map(|followed| info(followed)).collect()
            }
            Err(error) => return Err(proto::status(&error)),
        };
        Ok(Response::new(v1::ListDatabasesResponse { databases }))
    }
}

impl PeerService {
    fn timeout<M>(&self, request: &Request<M>) -> Duration {
        let given = deadline::of(request).unwrap_or(self.timeout_max).min(self.timeout_max);
        deadline::with_time_to_tell(given)
    }

    /// Waits until a transaction is known here.
    async fn sync_to(&self, name: &str, t: Option<T>, timeout: Duration) -> Result<v1::SyncResponse> {
        let end = tokio::time::Instant::now() + timeout;
        let followed = self.databases.get(name).await?;
        let least_t = match t {
            Some(t) => t,
            None => self.remote.head(followed.id).await?.map_or(0, |head| head.t),
        };
        let known = self.wait_for(&followed, least_t, end).await?;
        Ok(v1::SyncResponse { basis_t: known.db.basis_t() })
    }

    /// The newest state of a database, once it includes t and the log was read to its end.
    async fn wait_for(&self, followed: &Followed, least_t: T, end: tokio::time::Instant) -> Result<Arc<Known>> {
        match tokio::time::timeout_at(end, followed.known_at(least_t)).await {
            Ok(known) => known,
            Err(_) => Err(followed.not_reached(least_t, self.clock.since_boot())),
        }
    }
}

fn deadline_exceeded() -> Error {
    Error::interrupted("db.error/deadline-exceeded", "the deadline passed before the work was done; allow more time")
}

fn info(followed: &Followed) -> v1::DatabaseInfo {
    v1::DatabaseInfo { name: followed.name.clone(), id: bytes::Bytes::copy_from_slice(&followed.id.0) }
}

fn follow_state(state: FollowState) -> v1::FollowState {
    match state {
        FollowState::CatchingUp => v1::FollowState::CatchingUp,
        FollowState::Following => v1::FollowState::Following,
        FollowState::Disconnected => v1::FollowState::Disconnected,
        FollowState::Diverged => v1::FollowState::Diverged,
    }
}

fn status(followed: &Followed, now: Duration) -> v1::PeerDatabaseStatus {
    let (known, progress) = (followed.known(), followed.progress(now));
    v1::PeerDatabaseStatus {
        database: Some(info(followed)),
        basis_t: known.db.basis_t(),
        seq: known.seq,
        hash: bytes::Bytes::copy_from_slice(&known.hash),
        transactor_head: followed.head().map(|head| (*head).clone()),
        state: follow_state(followed.state()) as i32,
        trouble: followed.trouble().map_or(String::new(), |trouble| trouble.to_string()),
        datoms: known.db.len(),
        readable: followed.is_ready(),
        percent: progress.percent,
        catch_up_rate: progress.rate,
        catch_up_left_ms: progress.left.map(|left| left.as_millis() as u64),
        index_t: known.db.index_t(),
        novelty_bytes: known.db.novelty_bytes() as u64,
    }
}

fn cache_status(stats: &CacheStats) -> v1::CacheStatus {
    let tier = |name: &str, tier: &TierStats, damaged| v1::CacheTier {
        name: name.to_owned(),
        hits: tier.hits,
        misses: tier.misses,
        segments: tier.segments,
        bytes: tier.bytes,
        bytes_max: tier.bytes_max,
        damaged,
    };
    let disk = stats.disk.as_ref().map(|disk| tier("disk", disk, stats.disk_damaged));
    v1::CacheStatus {
        tiers: std::iter::once(tier("heap", &stats.heap, 0)).chain(disk).collect(),
        fetches: stats.fetches,
        fetched_bytes: stats.fetched_bytes,
        failures: stats.missing + stats.damaged + stats.failed,
    }
}
