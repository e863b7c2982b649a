//! The client: a session with one of several peers.

use crate::attempts::{Attempts, Deadline, Kind, Retry};
use crate::peers::{Flock, Peers};
use crate::session::{Open, Session, Unauthenticated};
use crate::{
    Committed, DEFAULT_TIMEOUT, DatomsCall, FromItem, IndexRangeCall, Log, MESSAGE_OVERHEAD_BYTES, QueryCall,
    Speculated, ToTxData, TxReports, View, database, too_large,
};
use db::{Item, Keyword, Result, Sort, T, TimePoint, Value};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A session with a peer. Clones share its connections.
///
/// Its type says what it may do: a `Client<Unauthenticated>`, which [`Client::connect`] gives, asks nothing; a
/// `Client`, which is a `Client<Open>`, asks everything.
#[derive(Debug)]
pub struct Client<S: Session = Open> {
    flock: Arc<Flock>,
    timeout: Duration,
    retry: Retry,
    session: PhantomData<S>,
}

/// A database, as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    /// 16 random bytes: what the database is, whatever it is called.
    pub id: [u8; 16],
}

/// What a pull found: a map, and what the caller should know about it.
#[derive(Clone, Debug)]
pub struct Pulled {
    pub value: Item,
    pub warnings: Vec<String>,
    pub basis_t: T,
}

impl Client<Unauthenticated> {
    /// Connects to the first of the peers that is ready, such as the one at `http://127.0.0.1:4335`; where none says
    /// that it is ready, to the first that answers.
    pub async fn connect(peers: impl Into<Peers>) -> Result<Client<Unauthenticated>> {
        let flock = Arc::new(Flock::connect(peers.into()).await?);
        Ok(Client { flock, timeout: DEFAULT_TIMEOUT, retry: Retry::default(), session: PhantomData })
    }

    /// Asks as nobody in particular.
    pub fn anonymous(self) -> Client<Open> {
        Client { flock: self.flock, timeout: self.timeout, retry: self.retry, session: PhantomData }
    }
}

impl<S: Session> Client<S> {
    /// The same session, with another deadline for every call.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same session, with other rules for trying again.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The peer that is asked now.
    pub fn url(&self) -> &str {
        self.flock.member(self.flock.current()).url()
    }

    /// Ends the session. Connections are closed with the last clone; calls that run go on.
    pub fn close(self) {}
}

impl<S: Session> Clone for Client<S> {
    fn clone(&self) -> Self {
        Client { flock: self.flock.clone(), timeout: self.timeout, retry: self.retry, session: PhantomData }
    }
}

impl Client<Open> {
    /// Creates a database; false when there is one of that name already, which stays as it is.
    pub async fn create_database(&self, name: &str) -> Result<(Database, bool)> {
        let request = v1::CreateDatabaseRequest { name: name.to_owned() };
        let call = self.change(request, |mut peer, request| async move { peer.create_database(request).await });
        let answer = call.await?;
        if answer.created {
            self.flock.forget(name);
        }
        Ok((database(answer.database)?, answer.created))
    }

    /// Makes a database that has all that another one had, now or at a moment, and goes on by itself: gives it, the
    /// newest t that both have, and whether it was made. False when it was there already.
    pub async fn fork_database(
        &self,
        name: &str,
        new_name: &str,
        as_of: Option<TimePoint>,
    ) -> Result<(Database, T, bool)> {
        let as_of = as_of.map(crate::view::time_point);
        let request = v1::ForkDatabaseRequest { name: name.to_owned(), new_name: new_name.to_owned(), as_of };
        let call = self.change(request, |mut peer, request| async move { peer.fork_database(request).await });
        let answer = call.await?;
        if answer.created {
            self.flock.forget(new_name);
        }
        Ok((database(answer.database)?, answer.t, answer.created))
    }

    /// Deletes a database; its name is free at once. There is no way back.
    pub async fn delete_database(&self, name: &str) -> Result<Database> {
        let request = v1::DeleteDatabaseRequest { name: name.to_owned(), confirm_name: name.to_owned() };
        let call = self.change(request, |mut peer, request| async move { peer.delete_database(request).await });
        let answer = call.await?;
        self.flock.forget(name);
        database(answer.database)
    }

    /// All databases, by name.
    pub async fn databases(&self) -> Result<Vec<Database>> {
        let request = v1::ListDatabasesRequest {};
        let call = self.read(|_| request, |mut peer, request| async move { peer.list_databases(request).await });
        call.await?.databases.into_iter().map(|info| database(Some(info))).collect()
    }

    /// Commits [`TxData`](crate::TxData), or one vector of tx-data as EDN text. It is durable, and this peer knows
    /// it, when the answer comes.
    ///
    /// An error of category `unknown` may mean that it was committed, any other that it was not.
    pub async fn transact(&self, database: &str, tx_data: impl ToTxData) -> Result<Committed> {
        let tx_data = tx_data.to_tx_data()?;
        if tx_data.len() > proto::MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES {
            return Err(too_large("tx-data", tx_data.len()));
        }
        let request = v1::TransactRequest {
            database: database.to_owned(),
            tx_data,
            answer_bytes_max: proto::MESSAGE_BYTES_MAX as u64,
            ..Default::default()
        };
        let call = self.change(request, |mut peer, request| async move { peer.transact(request).await });
        let answer = call.await?;
        if !answer.not_yet_visible {
            self.flock.saw(self.flock.current(), database, &answer.database_id, answer.basis_t_after);
        }
        Committed::from_wire(answer)
    }

    /// A query as EDN text; what else it needs is added to what is returned.
    pub fn query(&self, query: impl Into<String>) -> QueryCall<'_> {
        QueryCall::new(self, query.into())
    }

    /// Attributes of an entity, and of those it refers to; pattern and entity (an id, an ident or a lookup ref) as
    /// EDN text.
    pub async fn pull(&self, view: impl Into<View>, pattern: &str, entity: &str) -> Result<Pulled> {
        let view = view.into();
        let request = |at| v1::PullRequest {
            database: Some(view.clone().raised(self.flock.floor(at, &view)).into_wire()),
            pattern: pattern.to_owned(),
            entity: entity.to_owned(),
            format: v1::Format::Typed as i32,
            ..Default::default()
        };
        let answer = self.read(request, |mut peer, request| async move { peer.pull(request).await }).await?;
        let value = answer.value.map_or(Ok(Item::Map(Vec::new())), proto::item)?;
        Ok(Pulled { value, warnings: answer.warnings, basis_t: answer.basis_t })
    }

    /// Waits until this peer knows t or, without one, all that was committed before the call; tells its basis then.
    pub async fn sync(&self, database: &str, t: Option<T>) -> Result<T> {
        let request = |_| v1::SyncRequest { database: database.to_owned(), t };
        let call = self.read(request, |mut peer, request| async move { peer.sync(request).await });
        Ok(call.await?.basis_t)
    }

    /// Facts straight from an index, in its order; what else is wanted is added to what is returned.
    pub fn datoms(&self, view: impl Into<View>, sort: Sort) -> DatomsCall<'_> {
        DatomsCall::new(self, view.into(), sort)
    }

    /// Facts of an attribute that is indexed or unique, in the order of their values; what else is wanted is added to
    /// what is returned.
    pub fn index_range(&self, view: impl Into<View>, attribute: &str) -> IndexRangeCall<'_> {
        IndexRangeCall::new(self, view.into(), attribute)
    }

    /// Transactions with their datoms, oldest first. A range that begins with an instant begins with the first
    /// transaction that is not before it; one that ends with an instant has those before it. It ends with the newest
    /// transaction that the peer knows.
    ///
    /// ```no_run
    /// # async fn example(client: diachron_client::Client) -> db::Result<()> {
    /// use db::TimePoint;
    /// use diachron_client::moment;
    ///
    /// let mut log = client.tx_range("world", moment("2013-06-01")?..=TimePoint::T(17)).await?;
    /// while let Some(transaction) = log.next().await? {
    ///     println!("{} {} {}", transaction.t, transaction.instant, transaction.datoms.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tx_range(&self, database: &str, range: impl RangeBounds<TimePoint>) -> Result<Log<'_>> {
        Log::begin(self, database, range).await
    }

    /// [`Self::tx_range`] from one t up to but without another (0: to the newest).
    pub async fn log(&self, database: &str, from_t: T, to_t: T) -> Result<Log<'_>> {
        let end = if to_t == 0 { Bound::Unbounded } else { Bound::Excluded(TimePoint::T(to_t)) };
        self.tx_range(database, (Bound::Included(TimePoint::T(from_t)), end)).await
    }

    /// What a transaction would do, were it committed now: its t, its datoms, its tempids, or the error that would
    /// refuse it. Nothing is committed.
    ///
    /// ```no_run
    /// # async fn example(client: diachron_client::Client) -> db::Result<()> {
    /// let one = client.with("world", r#"[{:db/id "a", :country/code "XX"}]"#).await?;
    /// // What would come after it, and what could be asked then.
    /// let other = client.with(one.view, r#"[[:db/add [:country/code "XX"] :country/name "Atlantis"]]"#).await?;
    /// let pulled = client.pull(other.view, "[*]", r#"[:country/code "XX"]"#).await?;
    /// assert_eq!(pulled.get::<String>("country/name")?.as_deref(), Some("Atlantis"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with(&self, view: impl Into<View>, tx_data: impl ToTxData) -> Result<Speculated> {
        crate::speculate::with(self, view.into(), tx_data).await
    }

    /// Every transaction from right after `after_t` on, as the peers come to know it: each once, in order.
    ///
    /// ```no_run
    /// # async fn example(client: diachron_client::Client) -> db::Result<()> {
    /// let newest = client.sync("world", None).await?;
    /// let mut reports = client.tx_reports("world", newest).await?;
    /// loop {
    ///     let transaction = reports.next().await?;
    ///     println!("t {}: {} datoms", transaction.t, transaction.datoms.len());
    /// }
    /// # }
    /// ```
    pub async fn tx_reports(&self, database: &str, after_t: T) -> Result<TxReports> {
        TxReports::begin(self.clone(), database, after_t).await
    }

    /// What the peer says of itself and its databases.
    pub async fn status(&self) -> Result<v1::PeerStatusResponse> {
        let request = v1::PeerStatusRequest {};
        self.read(|_| request, |mut peer, request| async move { peer.status(request).await }).await
    }

    pub(crate) fn flock(&self) -> &Flock {
        &self.flock
    }

    pub(crate) fn attempts(&self, kind: Kind) -> Attempts<'_> {
        Attempts::new(&self.flock, kind, self.retry, self.timeout)
    }

    /// To go on with what a peer broke off: as often as it takes, as long as a call may take.
    pub(crate) fn patient_attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.flock, Kind::Read, self.retry.without_last_round(), self.timeout)
    }

    /// Calls what changes nothing. The request may depend on the peer, which is given by its number.
    pub(crate) async fn read<Q, A, F>(
        &self,
        request: impl Fn(usize) -> Q,
        send: impl Fn(PeerClient<Channel>, Request<Q>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.read_in(&mut self.attempts(Kind::Read), request, send).await
    }

    pub(crate) async fn read_in<Q, A, F>(
        &self,
        attempts: &mut Attempts<'_>,
        request: impl Fn(usize) -> Q,
        send: impl Fn(PeerClient<Channel>, Request<Q>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        loop {
            let (peer, at) = attempts.peer();
            let deadline: Deadline = attempts.deadline();
            match deadline.of(send(peer.client(), deadline.on(request(at)))).await {
                Ok(answer) => {
                    attempts.answered();
                    return Ok(answer.into_inner());
                }
                Err(status) => attempts.again(proto::error(&status)).await?,
            }
        }
    }

    /// Calls what must not be done twice. A call that broke off without the server's own word may have been done.
    async fn change<Q: Clone, A, F>(&self, request: Q, send: impl Fn(PeerClient<Channel>, Request<Q>) -> F) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempts = self.attempts(Kind::Change);
        loop {
            let deadline = attempts.deadline();
            let call = send(attempts.peer().0.client(), deadline.on(request.clone()));
            match deadline.of(call).await {
                Ok(answer) => {
                    attempts.answered();
                    return Ok(answer.into_inner());
                }
                Err(status) => attempts.again(proto::transact_error(&status)).await?,
            }
        }
    }
}

impl Pulled {
    /// The value of an attribute of the pulled entity, None where it has none.
    pub fn get<A: FromItem>(&self, attribute: &str) -> Result<Option<A>> {
        let name = Keyword::new(attribute.strip_prefix(':').unwrap_or(attribute));
        let Item::Map(entries) = &self.value else { return Ok(None) };
        let entry = entries.iter().find(|(key, _)| matches!(key, Item::Value(Value::Keyword(key)) if *key == name));
        entry.map(|(_, item)| crate::values::convert(item.clone()).map_err(|error| error.within(&name))).transpose()
    }
}
