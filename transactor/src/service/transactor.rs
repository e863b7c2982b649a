//! The service `Transactor`.

use crate::catalogue::{Catalogue, Standing};
use crate::commit::{Committed, Database, Message, Proposal};
use crate::errors::{busy, copy, deleted, stopping};
use crate::follow;
use crate::host::{Fork, Forked, Host};
use crate::indexing::Indexing;
use crate::service::load::Load;
use crate::service::storage::{database_id, wire_head};
use crate::tree;
use db::{Category, Error, Result};
use process::limits::{Caller, Full, Room};
use process::mailbox::Refused;
use process::{Clock, Crew, Outgoing, deadline};
use proto::v1::transactor_server::Transactor;
use proto::{OrStatus, v1};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use storage::{Journal, Segments};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

pub struct TransactorService {
    pub host: Host,
    pub journal: Arc<dyn Journal>,
    pub indexing: Arc<Indexing>,
    pub segments: Arc<dyn Segments>,
    pub clock: Arc<dyn Clock>,
    pub started: Duration,
    /// The store's kind.
    pub store: String,
    pub crew: Crew,
    pub room: Room,
}

/// The longest a caller waits for its transaction, whatever deadline it gives.
const TRANSACT_MAX: Duration = Duration::from_secs(300);
/// What the tx-data of all transactions on their way may take: a few of the largest, many thousands of small ones.
/// What is read of it takes a multiple.
const WAITING_BYTES_MAX: u64 = 256 << 20;
/// Tx-data longer than this is read on a thread of its own.
const READ_INLINE_BYTES: usize = 16 << 10;
/// Datoms beyond this many are put into an answer on a thread of their own.
const ANSWER_INLINE_DATOMS: usize = 1024;
/// What a caller whose transaction found a full mailbox is told to wait.
const RETRY_AFTER_MS: i64 = 100;

#[tonic::async_trait]
impl Transactor for TransactorService {
    async fn transact(&self, request: Request<v1::TransactRequest>) -> Result<Response<v1::TransactResponse>, Status> {
        let timeout = deadline::of(&request).unwrap_or(TRANSACT_MAX).min(TRANSACT_MAX);
        let caller = Caller::of(&request);
        let transacted =
            tokio::time::timeout(deadline::with_time_to_tell(timeout), self.transact(caller, request.into_inner()));
        let response = transacted.await.unwrap_or_else(|_| {
            let message = "the deadline passed before the transaction was known to be durable; it may be committed, the log tells";
            Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
        });
        response.map(Response::new).or_status()
    }

    type LoadStream = Outgoing<v1::LoadResponse>;

    async fn load(&self, request: Request<Streaming<v1::LoadRequest>>) -> Result<Response<Self::LoadStream>, Status> {
        let mut incoming = request.into_inner();
        let begin = incoming.message().await?.and_then(|first| first.begin);
        let begin = begin.ok_or_else(|| Error::incorrect("db.error/load", "the first message of a load is `begin`"));
        let v1::LoadBegin { database, load } = begin.or_status()?;
        let database = self.host.databases.get(&database).or_status()?;
        let load = Load::begin(database, load, self.clock.clone(), self.crew.executor()).await.or_status()?;
        Ok(Response::new(self.crew.stream(&tree::LOAD_STREAM, move |sender, point| async move {
            point.pass();
            load.run(incoming, sender).await;
        })))
    }

    type FollowStream = FollowStream;

    /// For callers in the process; over the wire [`follow::FollowLane`] sends the messages as they are.
    async fn follow(&self, request: Request<v1::FollowRequest>) -> Result<Response<FollowStream>, Status> {
        Ok(Response::new(FollowStream(self.messages(request).await?)))
    }

    async fn status(
        &self,
        _: Request<v1::TransactorStatusRequest>,
    ) -> Result<Response<v1::TransactorStatusResponse>, Status> {
        Ok(Response::new(v1::TransactorStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.clock.since_boot().saturating_sub(self.started).as_millis() as u64,
            store: self.store.clone(),
            databases: self.host.databases.all().iter().map(|database| status(database, &self.indexing)).collect(),
            indexing: Some(self.indexing.status()),
        }))
    }

    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::CreateDatabaseResponse>, Status> {
        let name = request.into_inner().name;
        let (id, created) = self.host.create(name.clone()).await.or_status()?;
        let database = Some(v1::DatabaseInfo { name, id: bytes::Bytes::copy_from_slice(&id.0) });
        Ok(Response::new(v1::CreateDatabaseResponse { database, created }))
    }

    async fn fork_database(
        &self,
        request: Request<v1::ForkDatabaseRequest>,
    ) -> Result<Response<v1::ForkDatabaseResponse>, Status> {
        let v1::ForkDatabaseRequest { name, new_name, as_of } = request.into_inner();
        let Forked { id, created, t } =
            self.host.fork(Fork { name, new_name: new_name.clone(), as_of }).await.or_status()?;
        let database = Some(v1::DatabaseInfo { name: new_name, id: bytes::Bytes::copy_from_slice(&id.0) });
        Ok(Response::new(v1::ForkDatabaseResponse { database, created, t }))
    }

    async fn delete_database(
        &self,
        request: Request<v1::DeleteDatabaseRequest>,
    ) -> Result<Response<v1::DeleteDatabaseResponse>, Status> {
        let v1::DeleteDatabaseRequest { name, confirm_name } = request.into_inner();
        if name != confirm_name {
            let message = format!(
                "the deletion of database {name:?} is not confirmed: give its name in confirm_name too, not \
                 {confirm_name:?}; there is no way back"
            );
            return Err(proto::status(&Error::incorrect("db.error/not-confirmed", message)));
        }
        let id = self.host.delete(name.clone()).await.or_status()?;
        let database = Some(v1::DatabaseInfo { name, id: bytes::Bytes::copy_from_slice(&id.0) });
        Ok(Response::new(v1::DeleteDatabaseResponse { database }))
    }

    async fn list_databases(
        &self,
        _: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesResponse>, Status> {
        let databases = self.host.databases.all().iter().map(|database| info(database)).collect();
        Ok(Response::new(v1::ListDatabasesResponse { databases }))
    }
}

/// Room for the transactions on their way, of which one caller may take a share in percent.
pub fn room(queue_max: usize, caller_share: u32) -> Room {
    Room::new(WAITING_BYTES_MAX, queue_max as u64, caller_share)
}

/// A follower's messages, taken apart.
pub struct FollowStream(Outgoing<follow::Message>);

impl Stream for FollowStream {
    type Item = Result<v1::FollowResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context).map_ok(|message| message.response())
    }
}

impl TransactorService {
    /// What the method `Follow` answers, ready for the wire.
    pub async fn messages(&self, request: Request<v1::FollowRequest>) -> Result<Outgoing<follow::Message>, Status> {
        let request = request.into_inner();
        let id = database_id(&request.database_id)?;
        let known = request.hash[..].try_into().unwrap_or([0; 32]);
        let database = match self.host.databases.by_id(id) {
            Some(database) => database,
            None => {
                let catalogue = Catalogue::new(self.journal.clone());
                let entry = self.crew.executor().blocking(move || catalogue.entry(id)).await.or_status()?;
                return Err(proto::status(&match entry.filter(|entry| entry.standing == Standing::Deleted) {
                    Some(entry) => deleted(&entry.name, id),
                    None => Error::not_found("db.error/unknown-database", format!("there is no database {id} here")),
                }));
            }
        };
        let store = (self.journal.clone(), self.segments.clone());
        follow::follow(database, store, request.seq, known, self.crew.clone()).await.or_status()
    }

    async fn transact(
        &self,
        caller: Option<Arc<Caller>>,
        request: v1::TransactRequest,
    ) -> Result<v1::TransactResponse> {
        let arrived = self.clock.since_boot();
        let database = self.host.databases.get(&request.database)?;
        let bytes = proto::tx_data_bytes(&request);
        let (text, forms) = (request.tx_data, request.tx_data_forms);
        let _place = self.room.take(caller, bytes as u64).map_err(no_room)?;
        let proposal = if bytes > READ_INLINE_BYTES {
            self.crew.executor().blocking(move || read(&text, forms, arrived)).await?
        } else {
            read(&text, forms, arrived)?
        };
        let asked = database.mailbox.ask(|reply| Message::Transact(proposal, reply));
        let answer = asked.map_err(|refused| match refused {
            Refused::Full => {
                let most = database.mailbox.capacity_max();
                busy(format!("{most} transactions of database {:?} wait already", database.name), RETRY_AFTER_MS)
            }
            Refused::Gone => gone(&database),
        })?;
        // A writer that ends without an answer has not said whether it wrote.
        let committed = answer.await.unwrap_or_else(|| {
            let message = "the transactor ended before it answered; the transaction may be committed, the log tells";
            Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
        })?;
        let id = database.id.0;
        if committed.report.datoms.len() > ANSWER_INLINE_DATOMS {
            self.crew.executor().blocking(move || Ok(response(&committed, id, request.answer_bytes_max))).await
        } else {
            Ok(response(&committed, id, request.answer_bytes_max))
        }
    }
}

/// Typed tx-data is what its text would be, digest included.
pub(super) fn read(text: &str, forms: Vec<v1::Value>, arrived: Duration) -> Result<Proposal> {
    let tx_data = match (text.is_empty(), forms.is_empty()) {
        (_, true) => db::edn::read(text)?,
        (true, false) => proto::tx_data(forms)?,
        (false, false) => {
            let message = "the tx-data was given twice: as text in `tx_data`, and typed in `tx_data_forms`";
            return Err(Error::incorrect("db.error/given-twice", message));
        }
    };
    let digest = db::log::digest(&tx_data);
    Ok(Proposal { tx_data, digest, arrived, key: None, sequence: None })
}

fn no_room(full: Full) -> Error {
    busy(full.message(), RETRY_AFTER_MS)
}

pub(super) fn gone(database: &Database) -> Error {
    match database.stopped() {
        Some(why) => copy(&why),
        None => stopping(),
    }
}

/// What an answer may take when its caller does not say: every gRPC client reads 4 MiB as it comes.
const ANSWER_BYTES_DEFAULT: u64 = 3 << 20;
/// Below [`proto::MESSAGE_BYTES_MAX`], with room for what else is in the message.
const ANSWER_BYTES_MAX: u64 = 60 << 20;

fn response(committed: &Committed, database_id: [u8; 16], bytes_max: u64) -> v1::TransactResponse {
    let report = &committed.report;
    let schema = report.db_after.schema();
    let mut room = if bytes_max == 0 { ANSWER_BYTES_DEFAULT } else { bytes_max.min(ANSWER_BYTES_MAX) } as usize;
    let tempids = report.tempids.iter().map(|(name, e)| v1::Tempid { tempid: name.clone(), entity: e.as_long() });
    let tempids = within(tempids, &mut room);
    let datoms = within(report.datoms.iter().map(|datom| proto::datom(schema, datom)), &mut room);
    v1::TransactResponse {
        t: report.t,
        tx: db::EntityId::of_tx(report.t).as_long(),
        instant_ms: report.instant.0,
        basis_t_before: report.db_before.basis_t(),
        basis_t_after: report.db_after.basis_t(),
        datom_count: report.datoms.len() as u64,
        datoms_omitted: datoms.is_none(),
        datoms: datoms.unwrap_or_default(),
        tempid_count: report.tempids.len() as u64,
        tempids_omitted: tempids.is_none(),
        tempids: tempids.unwrap_or_default(),
        not_yet_visible: false,
        record_seq: committed.record_seq,
        record_hash: bytes::Bytes::copy_from_slice(&committed.record_hash),
        database_id: bytes::Bytes::copy_from_slice(&database_id),
    }
}

/// All messages, if together they fit; what they take is taken from the room.
fn within<M: prost::Message>(messages: impl Iterator<Item = M>, room: &mut usize) -> Option<Vec<M>> {
    let mut left = *room;
    let mut taken = Vec::new();
    for message in messages {
        left = left.checked_sub(message.encoded_len() + FIELD_BYTES_MAX)?;
        taken.push(message);
    }
    *room = left;
    Some(taken)
}

/// A field's tag and length.
const FIELD_BYTES_MAX: usize = 6;

fn info(database: &Database) -> v1::DatabaseInfo {
    v1::DatabaseInfo { name: database.name.clone(), id: bytes::Bytes::copy_from_slice(&database.id.0) }
}

fn status(database: &Database, indexing: &Indexing) -> v1::TransactorDatabaseStatus {
    let durable = database.durable();
    let counts = &database.counts;
    v1::TransactorDatabaseStatus {
        database: Some(info(database)),
        head: Some(wire_head(&durable.head)),
        instant_ms: durable.db.last_instant().map(|instant| instant.0),
        queue_length: database.mailbox.len() as u64,
        queue_length_max: database.mailbox.capacity_max() as u64,
        followers: database.followers.count() as u64,
        committed: counts.committed.load(Ordering::Relaxed),
        refused: counts.refused.load(Ordering::Relaxed),
        records: counts.records.load(Ordering::Relaxed),
        stopped: database.stopped().map_or(String::new(), |why| why.message().to_owned()),
        index_t: durable.db.index_t(),
        novelty_bytes: durable.db.novelty_bytes() as u64,
        novelty_bytes_max: indexing.settings.novelty_bytes_max as u64,
    }
}
