//! Transactions with their datoms, read from the log in storage.

use super::PeerService;
use crate::followed::{Followed, Known};
use crate::remote::{Incoming, Remote};
use crate::shared_past::SharedPast;
use crate::tree;
use crate::trees::TreeReader;
use crate::vouching::Vouching;
use db::log::{Body, LoggedDatom, RawRecord, TxEntry};
use db::schema::Schema;
use db::{EntityId, Result, T};
use process::{Feed, Outgoing};
use proto::v1;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Datoms and tempids in one message, roughly.
pub(super) const FACTS_PER_MESSAGE: usize = 2000;

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
        let start_t = self.t_from(&known.db, request.start.as_ref(), 0).await?;
        let end_t = self.t_from(&known.db, request.end.as_ref(), T::MAX).await?;
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
        let seq = if range.is_empty() { None } else { known.places.find(range.start).await? };
        let records = match seq {
            Some(seq) => Some(self.remote.read_log(followed.id, seq, 0).await?),
            None => None,
        };
        let (reader, remote) = (self.databases.reader(), self.remote.clone());
        Ok(self.crew.stream(&tree::LOG_STREAM, move |sender, point| async move {
            point.pass();
            let Some(records) = records else { return };
            let reading = send_range(&reader, &remote, records, &known, range, &sender);
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
    reader: &TreeReader,
    remote: &Remote,
    mut records: Incoming<v1::ReadLogResponse>,
    known: &Arc<Known>,
    range: Range<T>,
    sender: &Sender,
) -> Result<()> {
    let mut batch = Batch { known, sender, transactions: Vec::new(), facts: 0 };
    let mut vouching = Vouching::of(remote, known.replay.chain().database());
    while let Some(message) = records.next().await? {
        for stored in &message.records {
            let record = RawRecord::parse(&stored.bytes)?;
            let is_done = match vouching.body(&record).await? {
                Body::Tx(entries) => batch.add_all(entries, &range).await?,
                Body::Fork(fork) => {
                    let mut past = SharedPast::new(reader, remote, record.header.lineage, *fork, range.start).await?;
                    let mut is_done = false;
                    while !is_done && let Some(entries) = past.next().await? {
                        is_done = batch.add_all(entries, &range).await?;
                    }
                    is_done
                }
                Body::Create { .. } | Body::Term { .. } | Body::Index(_) | Body::Erase(_) => false,
            };
            if is_done {
                return batch.send().await;
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
    /// Adds those within the range; true when there is no more to add, or nobody reads any more.
    async fn add_all(&mut self, entries: Vec<TxEntry>, range: &Range<T>) -> Result<bool> {
        for entry in entries {
            if entry.t >= range.end || self.sender.is_closed() {
                return Ok(true);
            }
            if entry.t >= range.start {
                self.add(entry).await?;
            }
        }
        Ok(false)
    }

    /// Adds a transaction, in pieces if it is large.
    async fn add(&mut self, entry: TxEntry) -> Result<()> {
        let mut pieces = Pieces::of(entry);
        // The schema is of a later basis than the transaction, so that it knows the attributes.
        let schema = self.known.db.schema();
        while let Some(piece) = pieces.next(schema, FACTS_PER_MESSAGE.saturating_sub(self.facts)) {
            self.facts += weight(&piece);
            self.transactions.push(piece);
            if self.facts >= FACTS_PER_MESSAGE {
                self.send().await?;
            }
        }
        Ok(())
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

/// A transaction on its way out, in as many pieces as it takes.
pub(super) struct Pieces {
    entry: Arc<TxEntry>,
    /// Datoms, then tempids, that earlier pieces have.
    given: usize,
    is_done: bool,
}

impl Pieces {
    pub(super) fn of(entry: impl Into<Arc<TxEntry>>) -> Self {
        Pieces { entry: entry.into(), given: 0, is_done: false }
    }

    /// The next piece, of at most `room` facts, or one; None after the last.
    pub(super) fn next(&mut self, schema: &Schema, room: usize) -> Option<v1::LogTransaction> {
        if self.is_done {
            return None;
        }
        let TxEntry { t, instant, datoms, tempids, .. } = &*self.entry;
        let (from, whole) = (self.given, datoms.len() + tempids.len());
        let to = whole.min(from + room.max(1));
        self.given = to;
        self.is_done = to == whole;
        let tx = EntityId::of_tx(*t);
        let within = |at: usize| at.saturating_sub(datoms.len());
        Some(v1::LogTransaction {
            t: *t,
            tx: tx.as_long(),
            instant_ms: instant.0,
            datoms: datoms[from.min(datoms.len())..to.min(datoms.len())]
                .iter()
                .map(|datom| wire_datom(schema, tx, datom))
                .collect(),
            tempids: tempids[within(from)..within(to)]
                .iter()
                .map(|(name, e)| v1::Tempid { tempid: name.clone(), entity: e.as_long() })
                .collect(),
            continues: !self.is_done,
        })
    }
}

/// What a piece counts in a message.
pub(super) fn weight(piece: &v1::LogTransaction) -> usize {
    piece.datoms.len() + piece.tempids.len() + 1
}

fn wire_datom(schema: &Schema, tx: EntityId, datom: &LoggedDatom) -> v1::Datom {
    let ident = schema.attr_of_entity(datom.a).map(|a| schema.attribute(a).ident.as_str().to_owned());
    v1::Datom {
        e: datom.e.as_long(),
        a: datom.a.as_long(),
        attribute: ident.unwrap_or_default(),
        v: Some(v1::Value::from(&datom.v)),
        tx: tx.as_long(),
        added: datom.added,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::{Instant, Value};

    #[test]
    fn a_transaction_is_whole_in_its_pieces_whatever_their_size() {
        let db = db::Db::bootstrap();
        let datom =
            |n: i64| LoggedDatom { e: EntityId::of_tx(3), a: db::schema::ids::DOC, v: Value::Long(n), added: true };
        for (datoms, tempids) in [(0, 0), (5, 0), (0, 5), (7, 4)] {
            let entry = TxEntry {
                t: 3,
                instant: Instant(17),
                datoms: (0..datoms).map(datom).collect(),
                tempids: (0..tempids).map(|n| (format!("{n}"), EntityId::of_tx(n))).collect(),
                digest: [0; 32],
            };
            for room in 0..13 {
                let mut pieces = Pieces::of(entry.clone());
                let (mut all_datoms, mut all_tempids, mut continues) = (Vec::new(), Vec::new(), true);
                while let Some(piece) = pieces.next(db.schema(), room) {
                    assert!(continues && (piece.t, piece.instant_ms) == (3, 17));
                    assert!(weight(&piece) <= room.max(1) + 1);
                    continues = piece.continues;
                    all_datoms.extend(piece.datoms.into_iter().map(|datom| datom.v.unwrap()));
                    all_tempids.extend(piece.tempids.into_iter().map(|tempid| tempid.tempid));
                }
                assert!(!continues, "the last piece says that it is the last");
                assert_eq!(all_datoms, (0..datoms).map(|n| v1::Value::from(&Value::Long(n))).collect::<Vec<_>>());
                assert_eq!(all_tempids, (0..tempids).map(|n| n.to_string()).collect::<Vec<_>>());
            }
        }
    }
}
