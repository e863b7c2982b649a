//! Transactions with their datoms, read from the log in storage.

use super::PeerService;
use super::view::time_point;
use crate::followed::{Followed, Known};
use crate::remote::{Incoming, Remote};
use crate::tree;
use db::log::{Body, Content, LoggedDatom, RawRecord, TxEntry};
use db::{EntityId, Result, T};
use process::{Feed, Outgoing};
use proto::v1;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Datoms and tempids in one message, roughly.
const FACTS_PER_MESSAGE: usize = 2000;

type Sender = Feed<v1::LogResponse>;

impl PeerService {
    pub(super) async fn read_log(
        &self,
        request: v1::LogRequest,
        timeout: Duration,
    ) -> Result<Outgoing<v1::LogResponse>> {
        let end = tokio::time::Instant::now() + timeout;
        let (followed, known) = self.known(&request.database, 0, end).await?;
        let end_t = if request.to_t == 0 { T::MAX } else { request.to_t };
        self.stream_log(&followed, known, request.from_t..end_t, end).await
    }

    pub(super) async fn read_tx_range(
        &self,
        request: v1::TxRangeRequest,
        timeout: Duration,
    ) -> Result<Outgoing<v1::LogResponse>> {
        let end = tokio::time::Instant::now() + timeout;
        let (followed, known) = self.known(&request.database, request.least_t, end).await?;
        let t_of = |point: &v1::TimePoint| Ok(known.db.t_from(time_point(&known.db, point)?));
        let start_t = request.start.as_ref().map_or(Ok(0), t_of)?;
        let end_t = request.end.as_ref().map_or(Ok(T::MAX), t_of)?;
        self.stream_log(&followed, known, start_t..end_t, end).await
    }

    /// Transactions of a range, as far as this peer knows them.
    async fn stream_log(
        &self,
        followed: &Followed,
        known: Arc<Known>,
        range: Range<T>,
        end: tokio::time::Instant,
    ) -> Result<Outgoing<v1::LogResponse>> {
        let range = range.start.max(1)..range.end.min(known.db.basis_t() + 1);
        let records = match known.places.seq_of(range.start).filter(|_| !range.is_empty()) {
            Some(seq) => Some(self.remote.read_log(followed.id, seq, 0).await?),
            None => None,
        };
        let remote = self.remote.clone();
        Ok(self.crew.stream(&tree::LOG_STREAM, move |sender, point| async move {
            point.pass();
            let Some(records) = records else { return };
            let reading = send_range(&remote, records, &known, range, &sender);
            let sent = match tokio::time::timeout_at(end, reading).await {
                Ok(sent) => sent,
                Err(_) => Err(super::deadline_exceeded()),
            };
            if let Err(error) = sent {
                // The caller may have gone away.
                let _ = sender.send(Err(proto::status(&error))).await;
            }
        }))
    }
}

async fn send_range(
    remote: &Remote,
    mut records: Incoming<v1::ReadLogResponse>,
    known: &Arc<Known>,
    range: Range<T>,
    sender: &Sender,
) -> Result<()> {
    let mut batch = Batch { known, sender, transactions: Vec::new(), facts: 0 };
    while let Some(message) = records.next().await? {
        for stored in &message.records {
            let record = RawRecord::parse(&stored.bytes)?;
            let body = match &record.content {
                Content::OutOfLine(place) => record.body_from(&remote.body(place).await?)?,
                Content::Body(_) => record.body()?,
            };
            let Body::Tx(entries) = body else { continue };
            for entry in entries {
                if entry.t >= range.end {
                    return batch.send().await;
                }
                // Nobody reads any more.
                if entry.t >= range.start && (sender.is_closed() || batch.add(entry).await.is_err()) {
                    return Ok(());
                }
            }
        }
    }
    batch.send().await
}

/// The next message.
struct Batch<'a> {
    known: &'a Known,
    sender: &'a Sender,
    transactions: Vec<v1::LogTransaction>,
    facts: usize,
}

impl Batch<'_> {
    /// Adds a transaction, in pieces if it is large.
    async fn add(&mut self, entry: TxEntry) -> Result<()> {
        let tx = EntityId::of_tx(entry.t);
        let mut datoms = entry.datoms.iter();
        let mut tempids = entry.tempids.iter();
        loop {
            let room = FACTS_PER_MESSAGE.saturating_sub(self.facts);
            let piece_datoms: Vec<_> = datoms.by_ref().take(room).map(|datom| self.datom(tx, datom)).collect();
            let room = room - piece_datoms.len();
            let piece_tempids: Vec<_> = tempids
                .by_ref()
                .take(room)
                .map(|(name, e)| v1::Tempid { tempid: name.clone(), entity: e.as_long() })
                .collect();
            let continues = datoms.len() > 0 || tempids.len() > 0;
            self.facts += piece_datoms.len() + piece_tempids.len() + 1;
            self.transactions.push(v1::LogTransaction {
                t: entry.t,
                tx: tx.as_long(),
                instant_ms: entry.instant.0,
                datoms: piece_datoms,
                tempids: piece_tempids,
                continues,
            });
            if self.facts >= FACTS_PER_MESSAGE {
                self.send().await?;
            }
            if !continues {
                return Ok(());
            }
        }
    }

    fn datom(&self, tx: EntityId, datom: &LoggedDatom) -> v1::Datom {
        let schema = self.known.db.schema();
        let ident = schema.attr_of_entity(datom.a).map(|a| schema.attribute(a).ident.as_str().to_owned());
        v1::Datom {
            e: datom.e.as_long(),
            a: datom.a.as_long(),
            // The schema is of a later basis than the transaction, so that it knows the attribute.
            attribute: ident.unwrap_or_default(),
            v: Some(v1::Value::from(&datom.v)),
            tx: tx.as_long(),
            added: datom.added,
        }
    }

    async fn send(&mut self) -> Result<()> {
        if !self.transactions.is_empty() {
            self.facts = 0;
            let response = v1::LogResponse { transactions: std::mem::take(&mut self.transactions) };
            // A caller who has gone away is noticed before the next transaction.
            let _ = self.sender.send(Ok(response)).await;
        }
        Ok(())
    }
}
