//! Telling callers of each transaction, for ever, from any t on.
//!
//! The log is the queue: a caller that has t is sent t + 1, from what this peer heard last ([`crate::recent`]) or from
//! storage, so that nothing is lost or doubled however often it comes back, and a slow caller costs a few messages of
//! memory. One that takes nothing for [`PATIENCE`] is cut off all the same, since it may be gone without a word.

use super::log::{FACTS_PER_MESSAGE, Pieces, weight};
use super::{PeerService, deadline_exceeded};
use crate::followed::{FollowState, Followed, Known};
use crate::remote::Remote;
use crate::shared_past::SharedPast;
use crate::tree;
use crate::trees::TreeReader;
use crate::vouching::Vouching;
use db::log::{Body, RawRecord, TxEntry};
use db::{Category, Error, Result, T};
use process::{Failpoint, Feed, Outgoing};
use proto::v1;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::Status;

/// After this much silence a caller hears how far the peer is.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a caller may leave the messages that are ready for it untouched.
const PATIENCE: Duration = Duration::from_secs(30);
/// Callers at once.
pub const LISTENERS_MAX: usize = 1000;
/// What one more is told to wait.
const RETRY_AFTER_MS: i64 = 1000;
/// Transactions taken from memory at once.
const RECENT_MAX: usize = 256;

type Message = v1::TxReportsResponse;

impl PeerService {
    pub(super) async fn report(&self, request: v1::TxReportsRequest, timeout: Option<Duration>) -> Result<Reports> {
        let now = tokio::time::Instant::now();
        let room = self.listeners.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{LISTENERS_MAX} callers are told of transactions already; ask another peer");
            Error::new(Category::Busy, "db.error/busy", message).with(proto::RETRY_AFTER_MS, RETRY_AFTER_MS)
        })?;
        // The stream has no end, finding its database has one.
        let found_by = now + timeout.unwrap_or(self.timeout_max).min(self.timeout_max);
        let (followed, known) = self.known(&request.database, 0, found_by).await?;
        if !request.database_id.is_empty() && request.database_id[..] != followed.id.0 {
            let message = format!(
                "database {:?} is {} now, another one than the one whose transactions you have: begin with t 0, and \
                 leave the id out",
                request.database, followed.id
            );
            return Err(Error::incorrect("db.error/other-database", message));
        }
        let head = v1::ReadHead { database: Some(super::info(&followed)), basis_t: known.db.basis_t() };
        let (reader, remote) = (self.databases.reader(), self.remote.clone());
        let next_t = request.after_t.saturating_add(1);
        let (shutdown, deadline) = (self.crew.shutdown().clone(), timeout.map(|timeout| now + timeout));
        let why: Why = Arc::default();
        let teller_why = why.clone();
        let messages = self.crew.stream(&tree::REPORTS_STREAM, move |sender, point| async move {
            let teller = Teller { sender, patience: PATIENCE, why: teller_why };
            let listener = Listener { followed, reader, remote, teller: teller.clone(), next_t, point, _room: room };
            let end = tokio::select! {
                biased;
                () = shutdown.asked() => End::Failed(stopping()),
                () = at(deadline) => End::Failed(deadline_exceeded()),
                end = listener.run(head) => end,
            };
            teller.end(end);
        });
        Ok(Reports { messages, why, is_over: false })
    }
}

fn stopping() -> Error {
    Error::new(Category::Unavailable, "db.error/stopping", "the peer is stopping; go on at another one")
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Why a stream goes no further.
enum End {
    /// The caller is not there any more.
    Gone,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

/// What is sent to one caller.
struct Listener {
    followed: Arc<Followed>,
    reader: TreeReader,
    remote: Remote,
    teller: Teller,
    next_t: T,
    point: Failpoint,
    _room: OwnedSemaphorePermit,
}

impl Listener {
    async fn run(mut self, head: v1::ReadHead) -> End {
        match self.tell(head).await {
            Ok(never) => never,
            Err(end) => end,
        }
    }

    async fn tell(&mut self, head: v1::ReadHead) -> Result<End, End> {
        let followed = self.followed.clone();
        let _listening = followed.recent().listen();
        self.teller.send(Message { head: Some(head), ..Default::default() }).await?;
        loop {
            self.point.pass();
            match tokio::time::timeout(HEARTBEAT, followed.known_at(self.next_t)).await {
                Ok(known) => self.tell_of(&*known?).await?,
                Err(_) => {
                    if let Some(error) = over(&followed) {
                        return Err(error.into());
                    }
                    let known = followed.known();
                    // What came just now is told first.
                    if known.db.basis_t() < self.next_t {
                        let heartbeat = v1::TxReportsHeartbeat {
                            basis_t: known.db.basis_t(),
                            state: super::follow_state(followed.state()) as i32,
                        };
                        self.teller.send(Message { heartbeat: Some(heartbeat), ..Default::default() }).await?;
                    }
                }
            }
        }
    }

    /// Sends what is known and was not sent.
    async fn tell_of(&mut self, known: &Known) -> Result<(), End> {
        while self.next_t <= known.db.basis_t() {
            match self.followed.recent().starting_at(self.next_t, RECENT_MAX) {
                Some(entries) => self.send(known, entries).await?,
                None => self.send_from_storage(known).await?,
            }
        }
        Ok(())
    }

    /// Sends what is not in memory any more, up to where memory begins.
    async fn send_from_storage(&mut self, known: &Known) -> Result<(), End> {
        // The log in storage may be another history than the one this peer knows.
        if let Some(error) = over(&self.followed) {
            return Err(error.into());
        }
        let seq = known.places.find(self.next_t).await?.ok_or_else(|| missing(self.next_t))?;
        let mut records = self.remote.read_log(self.followed.id, seq, 0).await?;
        let mut vouching = Vouching::of(&self.remote, self.followed.id);
        while let Some(message) = records.next().await? {
            for stored in &message.records {
                let record = RawRecord::parse(&stored.bytes)?;
                match vouching.body(&record).await? {
                    Body::Tx(entries) => self.send_stored(known, entries).await?,
                    Body::Fork(fork) => {
                        let lineage = record.header.lineage;
                        let past = SharedPast::new(&self.reader, &self.remote, lineage, *fork, self.next_t);
                        let mut past = past.await?;
                        while let Some(entries) = past.next().await? {
                            self.send_stored(known, entries).await?;
                        }
                    }
                    Body::Create { .. } | Body::Term { .. } | Body::Index(_) | Body::Erase(_) => continue,
                }
                if self.next_t > known.db.basis_t() || self.followed.recent().starting_at(self.next_t, 1).is_some() {
                    return Ok(());
                }
            }
        }
        // The log in storage never ends before what this peer has heard of.
        Err(missing(self.next_t).into())
    }

    /// Sends those that were not sent: the record that holds the first one may hold some before it.
    async fn send_stored(&mut self, known: &Known, entries: Vec<TxEntry>) -> Result<(), End> {
        let entries = entries.into_iter().filter(|entry| entry.t >= self.next_t).map(Arc::new).collect();
        self.send(known, entries).await
    }

    /// Sends transactions that follow each other, as far as they are known here.
    async fn send(&mut self, known: &Known, entries: Vec<Arc<TxEntry>>) -> Result<(), End> {
        let (mut transactions, mut facts) = (Vec::new(), 0);
        for entry in entries.into_iter().take_while(|entry| entry.t <= known.db.basis_t()) {
            if entry.t != self.next_t {
                let message = format!("transaction {} was to follow, and {} came", self.next_t, entry.t);
                return Err(Error::corrupt("db.error/gap", message).into());
            }
            self.next_t += 1;
            let mut pieces = Pieces::of(entry);
            while let Some(piece) = pieces.next(known.db.schema(), FACTS_PER_MESSAGE - facts) {
                facts += weight(&piece);
                transactions.push(piece);
                if facts >= FACTS_PER_MESSAGE {
                    facts = 0;
                    let transactions = std::mem::take(&mut transactions);
                    self.teller.send(Message { transactions, ..Default::default() }).await?;
                }
            }
        }
        if !transactions.is_empty() {
            self.teller.send(Message { transactions, ..Default::default() }).await?;
        }
        Ok(())
    }
}

fn missing(t: T) -> Error {
    Error::corrupt("db.error/gap", format!("transaction {t} is missing from the log in storage"))
}

/// Why nothing more will ever come of a database, if that is so.
fn over(followed: &Followed) -> Option<Error> {
    let trouble = followed.trouble()?;
    let is_over = followed.state() == FollowState::Diverged || trouble.category() == Category::NotFound;
    is_over.then(|| Error::new(trouble.category(), trouble.code().to_owned(), trouble.message()))
}

/// Why there are no more messages, told after those that are on their way.
type Why = Arc<OnceLock<Status>>;

/// Messages to one caller, which must take them.
#[derive(Clone)]
struct Teller {
    sender: Feed<Message>,
    patience: Duration,
    why: Why,
}

/// Messages as the caller takes them, then why there are no more.
pub struct Reports<S = Outgoing<Message>> {
    messages: S,
    why: Why,
    is_over: bool,
}

impl Teller {
    async fn send(&self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(self.patience, self.sender.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => {
                let message = format!(
                    "you have taken nothing for {:?}, and were cut off; call again with the newest t you have",
                    self.patience
                );
                Err(End::Failed(Error::new(Category::Busy, "db.error/slow-consumer", message)))
            }
        }
    }

    /// Says why there is no more, after what is on its way.
    fn end(self, end: End) {
        if let End::Failed(error) = end {
            // Set once: there is one end.
            let _ = self.why.set(proto::status(&error));
        }
    }
}

impl<S: Stream<Item = Result<Message, Status>> + Unpin> Stream for Reports<S> {
    type Item = Result<Message, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.messages).poll_next(context) {
            Poll::Ready(None) if !std::mem::replace(&mut self.is_over, true) => {
                Poll::Ready(self.why.get().map(|status| Err(status.clone())))
            }
            polled => polled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::ReceiverStream;

    const MESSAGES_MAX: usize = 4;

    fn told(patience: Duration) -> (Teller, impl Stream<Item = Result<Message, Status>> + Unpin) {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let why: Why = Arc::default();
        let teller = Teller { sender, patience, why: why.clone() };
        (teller, Reports { messages: ReceiverStream::new(messages), why, is_over: false })
    }

    fn message(basis_t: T) -> Message {
        let heartbeat = v1::TxReportsHeartbeat { basis_t, state: 0 };
        Message { heartbeat: Some(heartbeat), ..Default::default() }
    }

    #[tokio::test]
    async fn a_caller_who_takes_nothing_is_cut_off_and_told_so_after_what_was_on_its_way() {
        let (teller, mut stream) = told(Duration::from_millis(20));
        for t in 0..MESSAGES_MAX as u64 {
            assert!(teller.send(message(t)).await.is_ok());
        }
        let Err(end) = teller.send(message(9)).await else { panic!("the fifth has no room") };
        teller.end(end);
        for t in 0..MESSAGES_MAX as u64 {
            assert_eq!(stream.next().await.unwrap().unwrap(), message(t));
        }
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(proto::error(&status).code(), "db.error/slow-consumer");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_caller_who_reads_slowly_loses_nothing() {
        let (teller, mut stream) = told(Duration::from_secs(60));
        let sending = tokio::spawn(async move {
            for t in 0..100 {
                assert!(teller.send(message(t)).await.is_ok());
            }
            teller.end(End::Gone);
        });
        for t in 0..100 {
            tokio::task::yield_now().await;
            assert_eq!(stream.next().await.unwrap().unwrap(), message(t));
        }
        assert!(stream.next().await.is_none());
        sending.await.unwrap();
    }
}
