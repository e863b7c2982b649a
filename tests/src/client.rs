//! A client as small as the stories need: EDN in, EDN out, over the wire.

use crate::PATIENCE;
use db::edn::Edn;
use db::{Error, Result};
use proto::MESSAGE_BYTES_MAX;
use proto::v1;
use proto::v1::peer_client::PeerClient;
use proto::v1::query_input::Kind;
use proto::v1::storage_client::StorageClient;
use proto::v1::transactor_client::TransactorClient;
use std::time::Duration;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Speaks to a peer; or, for what both serve, to a transactor.
#[derive(Clone)]
pub struct Client {
    pub peer: PeerClient<Channel>,
    pub transactor: TransactorClient<Channel>,
}

impl Client {
    pub async fn connect(url: &str) -> Client {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a program says a URL");
        let channel = process::keep_alive(endpoint).connect_lazy();
        Client {
            peer: PeerClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            transactor: TransactorClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Through a peer.
    pub async fn create_database(&mut self, name: &str) -> v1::DatabaseInfo {
        let request = patient(v1::CreateDatabaseRequest { name: name.into() });
        let response = self.peer.create_database(request).await.expect("the database is created");
        response.into_inner().database.expect("a created database is told")
    }

    /// Through a peer.
    pub async fn transact(&mut self, database: &str, tx_data: &str) -> Result<v1::TransactResponse> {
        let answered = self.peer.transact(patient(transact_request(database, tx_data))).await;
        answered.map(tonic::Response::into_inner).map_err(|status| proto::transact_error(&status))
    }

    /// Straight to a transactor.
    pub async fn transact_directly(&mut self, database: &str, tx_data: &str) -> Result<v1::TransactResponse> {
        let answered = self.transactor.transact(patient(transact_request(database, tx_data))).await;
        answered.map(tonic::Response::into_inner).map_err(|status| proto::transact_error(&status))
    }

    /// The whole answer, as the EDN it came as; inputs by position.
    pub async fn q(&mut self, query: &str, inputs: Vec<Kind>) -> Result<Edn> {
        let inputs = inputs.into_iter().map(|kind| v1::QueryInput { name: String::new(), kind: Some(kind) }).collect();
        self.ask(query, inputs, PATIENCE).await
    }

    /// The same with inputs by name, and a deadline.
    pub async fn ask(&mut self, query: &str, inputs: Vec<v1::QueryInput>, timeout: Duration) -> Result<Edn> {
        self.run(query_request(query, inputs), timeout).await
    }

    /// The same for a query that may read everything.
    pub async fn ask_of_all(&mut self, query: &str, inputs: Vec<v1::QueryInput>) -> Result<Edn> {
        self.run(v1::QueryRequest { allow_full_scan: true, ..query_request(query, inputs) }, PATIENCE).await
    }

    async fn run(&mut self, request: v1::QueryRequest, timeout: Duration) -> Result<Edn> {
        let mut request = Request::new(request);
        request.set_timeout(timeout);
        let told = |status: tonic::Status| proto::error(&status);
        let mut stream = self.peer.query(request).await.map_err(told)?.into_inner();
        let (mut text, mut ended) = (String::new(), false);
        while let Some(message) = stream.message().await.map_err(told)? {
            text.push_str(&message.edn);
            ended = message.end.is_some();
        }
        if !ended {
            return Err(Error::fault("the answer was cut off"));
        }
        db::edn::read(&text)
    }

    pub async fn sync(&mut self, database: &str, t: Option<u64>) -> Result<u64> {
        let answered = self.peer.sync(patient(v1::SyncRequest { database: database.into(), t })).await;
        answered.map(|response| response.into_inner().basis_t).map_err(|status| proto::error(&status))
    }

    /// Every transaction of a database, as t, added and retracted facts counted, and the datoms.
    pub async fn log(&mut self, database: &str) -> Result<Vec<v1::LogTransaction>> {
        let told = |status: tonic::Status| proto::error(&status);
        let request = patient(v1::LogRequest { database: database.into(), from_t: 0, to_t: 0 });
        let mut stream = self.peer.log(request).await.map_err(told)?.into_inner();
        let mut whole: Vec<v1::LogTransaction> = Vec::new();
        while let Some(message) = stream.message().await.map_err(told)? {
            message.transactions.into_iter().for_each(|piece| put_together(&mut whole, piece));
        }
        Ok(whole)
    }

    /// What the transactions of a view would do, and the basis they would be made on.
    pub async fn with(&mut self, view: v1::DatabaseView) -> Result<(u64, Vec<v1::LogTransaction>)> {
        let told = |status: tonic::Status| proto::error(&status);
        let request = patient(v1::WithRequest { database: Some(view) });
        let mut stream = self.peer.with(request).await.map_err(told)?.into_inner();
        let (mut basis_t, mut whole) = (None, Vec::new());
        while let Some(message) = stream.message().await.map_err(told)? {
            basis_t = basis_t.or(message.head.map(|head| head.basis_t));
            message.transactions.into_iter().for_each(|piece| put_together(&mut whole, piece));
        }
        Ok((basis_t.expect("an answer begins with its head"), whole))
    }

    /// Names of the pods of the store that a transactor serves.
    pub async fn pods(&self, transactor: &str, prefix: &str) -> Vec<String> {
        let endpoint = Endpoint::from_shared(transactor.to_owned()).expect("a program says a URL");
        let mut storage = StorageClient::new(endpoint.connect_lazy());
        let request = patient(v1::ListPodsRequest { prefix: prefix.into() });
        storage.list_pods(request).await.expect("a store tells its pods").into_inner().names
    }

    pub async fn peer_status(&mut self) -> v1::PeerStatusResponse {
        self.peer.status(patient(v1::PeerStatusRequest {})).await.expect("a peer tells its status").into_inner()
    }

    pub async fn transactor_status(&mut self) -> v1::TransactorStatusResponse {
        let request = patient(v1::TransactorStatusRequest {});
        self.transactor.status(request).await.expect("a transactor tells its status").into_inner()
    }
}

/// A database as it is now.
pub fn database(name: &str) -> Kind {
    Kind::Database(v1::DatabaseView { name: name.into(), ..Default::default() })
}

/// A database once it includes t.
pub fn database_at_least(name: &str, t: u64) -> Kind {
    Kind::Database(v1::DatabaseView { name: name.into(), least_t: t, ..Default::default() })
}

/// A database as it was at t.
pub fn database_as_of(name: &str, t: u64) -> Kind {
    let as_of = Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(t)) });
    Kind::Database(v1::DatabaseView { name: name.into(), as_of, ..Default::default() })
}

fn query_request(query: &str, inputs: Vec<v1::QueryInput>) -> v1::QueryRequest {
    v1::QueryRequest { query: query.into(), inputs, format: v1::Format::Edn as i32, ..Default::default() }
}

fn transact_request(database: &str, tx_data: &str) -> v1::TransactRequest {
    v1::TransactRequest { database: database.into(), tx_data: tx_data.into(), ..Default::default() }
}

fn patient<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// Adds a piece to the transaction that it goes on with.
fn put_together(whole: &mut Vec<v1::LogTransaction>, piece: v1::LogTransaction) {
    match whole.last_mut().filter(|last| last.continues) {
        Some(last) => {
            assert_eq!(last.t, piece.t, "a transaction's pieces follow each other");
            last.datoms.extend(piece.datoms);
            last.tempids.extend(piece.tempids);
            last.continues = piece.continues;
        }
        None => whole.push(piece),
    }
}
