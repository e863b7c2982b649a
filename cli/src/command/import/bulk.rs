//! `diachron import --bulk`: one stream to the transactor, gone on with when it is cut off.
//!
//! What was sent stays here until the transactor says that it is durable. After a cut the transactor says how far the load
//! is, and the stream goes on behind that: nothing is lost, and nothing is done twice.

use super::{Failure, GO_ON, Parcel, Parcels, Progress, RETRY, Tally};
use db::edn::Edn;
use db::{Category, Error, Result};
use proto::v1;
use proto::v1::transactor_client::TransactorClient;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Tx-data that is sent and not durable yet, in bytes, and how many transactions that may be.
const WINDOW_BYTES: usize = 32 << 20;
const WINDOW_COUNT: usize = 1 << 14;
/// Small transactions share a message up to this many bytes.
const MESSAGE_BYTES: usize = 64 << 10;
/// Messages between the reader of files and the connection.
const QUEUE: usize = 16;
/// A transactor that says nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A load, and how far it is.
pub(super) struct Load {
    database: String,
    name: String,
    urls: Vec<String>,
    /// Read and not known to be durable, by their numbers from `durable + 1` on; `sent` of them on the stream at hand.
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
    sent: usize,
    durable: u64,
    /// Where the last durable one ends, in bytes of all files.
    end_offset: u64,
    at_end: bool,
    tally: Tally,
}

impl Load {
    /// A load without a name gets one that nobody else has.
    pub fn new(database: &str, name: Option<String>, urls: Vec<String>) -> Load {
        let name = name.unwrap_or_else(|| format!("import-{:016x}", RandomState::new().build_hasher().finish()));
        let (waiting, tally) = (VecDeque::new(), Tally::default());
        let database = database.to_owned();
        Load {
            database,
            name,
            urls,
            waiting,
            waiting_bytes: 0,
            sent: 0,
            durable: 0,
            end_offset: 0,
            at_end: false,
            tally,
        }
    }

    pub async fn run(
        mut self,
        mut parcels: Box<dyn Parcels>,
        progress: &Progress,
    ) -> std::result::Result<Tally, Failure> {
        let mut wait = RETRY.wait_min;
        let mut rounds = 0;
        loop {
            let durable_before = self.durable;
            let cut = match self.attempt(&mut *parcels, progress, rounds).await {
                Ok(()) => return Ok(self.tally),
                Err(cut) => cut,
            };
            if self.durable > durable_before {
                (wait, rounds) = (RETRY.wait_min, 0);
            }
            let may_pass = matches!(cut.category(), Category::Unavailable | Category::Busy | Category::Unknown);
            if !may_pass || rounds >= RETRY.rounds_max {
                return Err(self.stopped(cut));
            }
            tokio::time::sleep(wait).await;
            (wait, rounds) = ((wait * 2).min(RETRY.wait_max), rounds + 1);
        }
    }

    /// One stream, until all is durable or it is cut off.
    async fn attempt(&mut self, parcels: &mut dyn Parcels, progress: &Progress, round: u32) -> Result<()> {
        let Some(url) = self.urls.get(round as usize % self.urls.len().max(1)).cloned() else {
            let message = "no transactor is known; name one with --transactor";
            return Err(Error::incorrect("db.error/no-transactor", message));
        };
        let within = |error: Error| error.within(format_args!("the transactor at {url}"));
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|_| {
            Error::incorrect(
                "db.error/no-transactor",
                format!("{url:?} is no URL of a transactor; give http://HOST:PORT"),
            )
        })?;
        let mut transactor = TransactorClient::new(endpoint.connect_lazy());
        let (sender, receiver) = mpsc::channel(QUEUE);
        let begin = v1::LoadBegin { database: self.database.clone(), load: self.name.clone() };
        // The queue is empty.
        let _ = sender.try_send(v1::LoadRequest { begin: Some(begin), tx_data: Vec::new() });
        let answers =
            transactor.load(ReceiverStream::new(receiver)).await.map_err(|status| within(proto::error(&status)))?;
        let mut answers = answers.into_inner();
        let first = tokio::time::timeout(SILENCE_MAX, answers.message()).await.map_err(|_| within(cut_off()))?;
        let first = first.map_err(|status| within(proto::error(&status)))?;
        let Some(first) = first else { return Err(within(cut_off())) };
        // What went before this stream was counted then.
        let (datoms_before, first_t) = (self.tally.datoms, self.tally.first_t);
        self.leave_out(first.transactions, parcels, progress)?;
        self.sent = 0;
        let mut sender = Some(sender);
        let mut ready = None;
        let mut heard = Instant::now();
        loop {
            if ready.is_none() && sender.is_some() {
                ready = self.message(parcels)?;
                if ready.is_none() && self.at_end && self.sent == self.waiting.len() {
                    // That was all: the transactor says when it is done.
                    sender = None;
                }
            }
            let sends = sender.clone().filter(|_| ready.is_some());
            let room = async move {
                match sends {
                    Some(sender) => sender.reserve_owned().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = answers.message() => {
                    let Some(told) = answer.map_err(|status| within(proto::error(&status)))? else {
                        return if self.at_end && self.waiting.is_empty() { Ok(()) } else { Err(within(cut_off())) };
                    };
                    heard = Instant::now();
                    self.durable_up_to(told.transactions);
                    self.tally.datoms = datoms_before + told.datoms;
                    self.tally.first_t = if first_t > 0 { first_t } else { told.first_t };
                    self.tally.last_t = self.tally.last_t.max(told.t);
                    progress.committed(self.end_offset, self.tally.transactions, self.tally.datoms);
                }
                room = room => match (room, ready.take()) {
                    (Some(room), Some(message)) => drop(room.send(message)),
                    // The stream is over, and its answers say why.
                    _ => sender = None,
                },
                () = tokio::time::sleep_until(heard + SILENCE_MAX), if !self.waiting.is_empty() => {
                    return Err(within(cut_off()));
                }
            }
        }
    }

    /// Leaves out what an earlier stream of the load, or an earlier command, has committed.
    fn leave_out(&mut self, durable: u64, parcels: &mut dyn Parcels, progress: &Progress) -> Result<()> {
        if durable < self.durable {
            let message = format!(
                "the transactor has {durable} transactions of load {:?}, and said before that {} are durable",
                self.name, self.durable
            );
            return Err(Error::corrupt("db.error/diverged", message));
        }
        self.tally.left_out += durable.saturating_sub(self.durable + self.waiting.len() as u64);
        while self.durable + (self.waiting.len() as u64) < durable {
            let Some(parcel) = parcels.next_parcel()? else {
                let message = format!(
                    "load {:?} has {durable} transactions already, and the files have fewer: they are other ones than \
                     those that it began with",
                    self.name
                );
                return Err(Error::incorrect("db.error/load", message));
            };
            (self.durable, self.end_offset) = (self.durable + 1, parcel.end_offset);
        }
        self.durable_up_to(durable);
        progress.reached(self.end_offset);
        Ok(())
    }

    fn durable_up_to(&mut self, durable: u64) {
        while self.durable < durable
            && let Some(parcel) = self.waiting.pop_front()
        {
            self.waiting_bytes -= parcel.text.len();
            self.sent = self.sent.saturating_sub(1);
            (self.durable, self.end_offset) = (self.durable + 1, parcel.end_offset);
            self.tally.transactions += 1;
        }
    }

    /// The transactions that go next, of those that wait for an answer or of the files. None where the window is full, or
    /// there are no more.
    fn message(&mut self, parcels: &mut dyn Parcels) -> Result<Option<v1::LoadRequest>> {
        let mut tx_data: Vec<String> = Vec::new();
        let mut bytes = 0;
        while bytes < MESSAGE_BYTES {
            if self.sent == self.waiting.len() {
                let is_full = self.waiting_bytes >= WINDOW_BYTES || self.waiting.len() >= WINDOW_COUNT;
                if self.at_end || is_full {
                    break;
                }
                match parcels.next_parcel()? {
                    None => self.at_end = true,
                    Some(parcel) => {
                        self.waiting_bytes += parcel.text.len();
                        self.waiting.push_back(parcel);
                    }
                }
                continue;
            }
            let text = self.waiting[self.sent].text.clone();
            bytes += text.len();
            tx_data.push(text);
            self.sent += 1;
        }
        Ok((!tx_data.is_empty()).then_some(v1::LoadRequest { begin: None, tx_data }))
    }

    /// Says where the load stopped, and how it goes on.
    fn stopped(self, error: Error) -> Failure {
        let number = error.details().iter().find_map(|detail| match detail {
            (key, Edn::Long(number)) if key == "transaction" => Some(*number as u64),
            _ => None,
        });
        let place = number.unwrap_or(0).checked_sub(self.durable + 1).and_then(|at| self.waiting.get(at as usize));
        let error = match place {
            Some(parcel) => error.within(&parcel.place),
            None => error,
        };
        let committed = (self.durable as i64, self.tally.last_t as i64);
        let error = error.with("transactions-committed", committed.0).with("last-t", committed.1);
        let go_on = format!(
            "mend what it says and give the same command with `--load {}`: it goes on behind transaction {}; all that was \
             committed stays",
            self.name, self.durable
        );
        Failure::Error(error.with(GO_ON, go_on))
    }
}

fn cut_off() -> Error {
    Error::new(Category::Unavailable, "db.error/unavailable", "the load was cut off")
}
