//! Transactions as they come.

use crate::attempts::Attempts;
use crate::incoming::cut_off;
use crate::log::Pieces;
use crate::{Client, Logged, correlation, malformed};
use db::{Category, Error, Result, T};
use proto::v1;
use std::time::Duration;
use tonic::{Request, Streaming};

/// A peer says something every second; one that is silent for as long as this is taken to be gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Every transaction of a database as peers come to know it: each once, in order, whole. It ends when it is dropped.
///
/// When a peer goes away, or says nothing for ten seconds, the next one is asked, and it is told from the same place
/// on; that may take as long as a call may ([`Client::with_timeout`]), and with [`Retry::NEVER`](crate::Retry::NEVER)
/// it is not done. What it gives up with is an error of [`Self::next`], after which `next` may be called again: nothing
/// is lost or told twice. Reads of the same client know at least what it has told.
pub struct TxReports {
    client: Client,
    database: String,
    /// Empty until a peer has said which one it is.
    database_id: Vec<u8>,
    /// The newest transaction that was told.
    newest_t: T,
    stream: Option<Streaming<v1::TxReportsResponse>>,
    /// The peer that the stream comes from.
    at: usize,
    pieces: Pieces,
}

impl TxReports {
    pub(crate) async fn begin(client: Client, database: &str, after_t: T) -> Result<TxReports> {
        let at = client.flock().current();
        let mut reports = TxReports {
            client: client.clone(),
            database: database.to_owned(),
            database_id: Vec::new(),
            newest_t: after_t,
            stream: None,
            at,
            pieces: Pieces::default(),
        };
        reports.listen(&mut client.attempts(crate::attempts::Kind::Read)).await?;
        Ok(reports)
    }

    /// The 16 bytes of the database whose transactions these are, whatever has its name now.
    pub fn database_id(&self) -> &[u8] {
        &self.database_id
    }

    /// The newest transaction that was told; before the first one, that after which it began.
    pub fn newest_t(&self) -> T {
        self.newest_t
    }

    /// The next transaction, as soon as there is one. A call that is dropped before it is there has done nothing.
    pub async fn next(&mut self) -> Result<Logged> {
        let client = self.client.clone();
        // Of one break; the next one that something was heard before has tries of its own.
        let mut attempts: Option<Attempts<'_>> = None;
        loop {
            if let Some(logged) = self.pieces.next()? {
                return self.told(logged);
            }
            let Some(stream) = &mut self.stream else {
                self.listen(attempts.get_or_insert_with(|| client.patient_attempts())).await?;
                continue;
            };
            match hear(stream).await {
                Ok(message) => {
                    self.pieces.add(message.transactions);
                    attempts = None;
                }
                Err(error) => {
                    self.stream = None;
                    // What has not come whole comes again.
                    self.pieces = Pieces::default();
                    let at = self.at;
                    attempts.get_or_insert_with(|| client.patient_attempts().at(at)).again(error).await?;
                }
            }
        }
    }

    fn told(&mut self, logged: Logged) -> Result<Logged> {
        if logged.t != self.newest_t + 1 {
            (self.stream, self.pieces) = (None, Pieces::default());
            return Err(malformed(&format!("transaction {} follows {}", logged.t, self.newest_t)));
        }
        self.newest_t = logged.t;
        self.client.flock().saw(self.at, &self.database, &self.database_id, logged.t);
        Ok(logged)
    }

    /// Asks a peer to tell, until it says that it does.
    async fn listen(&mut self, attempts: &mut Attempts<'_>) -> Result<()> {
        loop {
            match self.listen_once(attempts).await {
                Ok(()) => {
                    attempts.answered();
                    return Ok(());
                }
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    async fn listen_once(&mut self, attempts: &Attempts<'_>) -> Result<()> {
        let (peer, at) = attempts.peer();
        // Without the deadline, which would end the stream.
        let mut request = Request::new(v1::TxReportsRequest {
            database: self.database.clone(),
            after_t: self.newest_t,
            database_id: self.database_id.clone().into(),
        });
        correlation::attach(&mut request);
        let mut client = peer.client();
        let call = tokio::time::timeout(SILENCE_MAX, attempts.deadline().of(client.tx_reports(request)));
        let answer = call.await.map_err(|_| silent())?.map_err(|status| proto::error(&status))?;
        let mut stream = answer.into_inner();
        let head = hear(&mut stream).await?.head.ok_or_else(|| malformed("reports without a head"))?;
        let info = head.database.unwrap_or_default();
        self.client.flock().saw(at, &self.database, &info.id, head.basis_t);
        self.database_id = info.id.into();
        (self.stream, self.at) = (Some(stream), at);
        Ok(())
    }
}

async fn hear(stream: &mut Streaming<v1::TxReportsResponse>) -> Result<v1::TxReportsResponse> {
    let heard = tokio::time::timeout(SILENCE_MAX, stream.message()).await.map_err(|_| silent())?;
    heard.map_err(|status| proto::error(&status))?.ok_or_else(cut_off)
}

fn silent() -> Error {
    let message = format!("the peer has said nothing for {} s", SILENCE_MAX.as_secs());
    Error::new(Category::Unavailable, "db.error/unavailable", message)
}
