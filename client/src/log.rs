//! Transactions of the past, and how transactions come in pieces.

use crate::attempts::{Attempts, Kind};
use crate::incoming::{Incoming, cut_off};
use crate::transaction::{Fact, Logged, entity, tempids};
use crate::view::time_point;
use crate::{Client, View, malformed};
use db::{Error, Instant, Result, T, TimePoint};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};
use tonic::transport::Channel;

/// Transactions of the log as they come, oldest first.
///
/// When the peer goes away in the middle, the rest is read from another one or, later, from the same.
pub struct Log<'a> {
    client: &'a Client,
    request: v1::TxRangeRequest,
    attempts: Attempts<'a>,
    incoming: Incoming<v1::LogResponse>,
    pieces: Pieces,
    newest_t: Option<T>,
    is_over: bool,
}

impl<'a> Log<'a> {
    pub(crate) async fn begin(client: &'a Client, database: &str, range: impl RangeBounds<TimePoint>) -> Result<Self> {
        let start = match range.start_bound() {
            Bound::Included(start) => Some(*start),
            Bound::Excluded(before) => Some(after(*before)),
            Bound::Unbounded => None,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => Some(after(*last)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        let request = v1::TxRangeRequest {
            database: database.to_owned(),
            start: start.map(time_point),
            end: end.map(time_point),
            least_t: 0,
        };
        let mut attempts = client.attempts(Kind::Read);
        let incoming = ask(client, &request, &mut attempts).await?;
        let pieces = Pieces::default();
        Ok(Log { client, request, attempts, incoming, pieces, newest_t: None, is_over: false })
    }

    /// The next transaction, whole; None after the last one.
    pub async fn next(&mut self) -> Result<Option<Logged>> {
        loop {
            if let Some(logged) = self.pieces.next()? {
                self.newest_t = Some(logged.t);
                return Ok(Some(logged));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.incoming.next().await {
                Ok(Some(message)) => self.pieces.add(message.transactions),
                Ok(None) if self.pieces.is_within() => self.go_on(cut_off()).await?,
                Ok(None) => self.is_over = true,
                Err(error) => self.go_on(error).await?,
            }
        }
    }

    /// Asks for what is left after a message that did not come.
    async fn go_on(&mut self, error: Error) -> Result<()> {
        self.attempts.again(error).await?;
        self.pieces = Pieces::default();
        if let Some(t) = self.newest_t {
            self.request.start = Some(time_point(TimePoint::T(t + 1)));
        }
        self.incoming = ask(self.client, &self.request, &mut self.attempts).await?;
        Ok(())
    }
}

async fn ask(
    client: &Client,
    request: &v1::TxRangeRequest,
    attempts: &mut Attempts<'_>,
) -> Result<Incoming<v1::LogResponse>> {
    // No more is waited for than the range has.
    let view = match request.end.as_ref().and_then(|end| end.kind.as_ref()) {
        Some(v1::time_point::Kind::T(end)) => View::of(&request.database).as_of_t(end.saturating_sub(1)),
        _ => View::of(&request.database),
    };
    let deadline = attempts.deadline();
    let request = |at| v1::TxRangeRequest { least_t: client.flock().floor(at, &view), ..request.clone() };
    let send = |mut peer: PeerClient<Channel>, request| async move { peer.tx_range(request).await };
    Ok(Incoming::new(client.read_in(attempts, request, send).await?, deadline))
}

/// The first moment after one.
fn after(moment: TimePoint) -> TimePoint {
    match moment {
        TimePoint::T(t) => TimePoint::T(t.saturating_add(1)),
        TimePoint::Instant(Instant(ms)) => TimePoint::Instant(Instant(ms.saturating_add(1))),
    }
}

/// Makes transactions whole: large ones come in pieces, several small ones in a message.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    waiting: VecDeque<v1::LogTransaction>,
    /// Of which more is to come.
    begun: Option<Logged>,
}

impl Pieces {
    pub(crate) fn add(&mut self, pieces: Vec<v1::LogTransaction>) {
        self.waiting.extend(pieces);
    }

    /// The next whole transaction of what has come.
    pub(crate) fn next(&mut self) -> Result<Option<Logged>> {
        while let Some(piece) = self.waiting.pop_front() {
            let mut logged = match self.begun.take() {
                Some(begun) if begun.t == piece.t => begun,
                Some(_) => return Err(malformed("a transaction is cut off by the next one")),
                None => Logged {
                    t: piece.t,
                    tx: entity(piece.tx)?,
                    instant: Instant(piece.instant_ms),
                    datoms: Vec::new(),
                    tempids: Vec::new(),
                },
            };
            for datom in piece.datoms {
                logged.datoms.push(Fact::from_wire(datom)?);
            }
            logged.tempids.append(&mut tempids(piece.tempids)?);
            if !piece.continues {
                return Ok(Some(logged));
            }
            self.begun = Some(logged);
        }
        Ok(None)
    }

    /// Whether a transaction has begun of which more is to come.
    pub(crate) fn is_within(&self) -> bool {
        self.begun.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(t: T, tempid: &str, continues: bool) -> v1::LogTransaction {
        let tempids = vec![v1::Tempid { tempid: tempid.to_owned(), entity: 1 }];
        v1::LogTransaction { t, tempids, continues, ..Default::default() }
    }

    fn told(pieces: &mut Pieces) -> Option<(T, usize)> {
        pieces.next().unwrap().map(|logged| (logged.t, logged.tempids.len()))
    }

    #[test]
    fn a_transaction_is_told_once_its_last_piece_is_there() {
        let mut pieces = Pieces::default();
        pieces.add(vec![piece(1, "a", false), piece(2, "b", true)]);
        assert_eq!(told(&mut pieces), Some((1, 1)));
        assert_eq!(told(&mut pieces), None);
        assert!(pieces.is_within());
        pieces.add(vec![piece(2, "c", true)]);
        assert_eq!(told(&mut pieces), None);
        pieces.add(vec![piece(2, "d", false), piece(3, "e", false)]);
        assert_eq!(told(&mut pieces), Some((2, 3)));
        assert_eq!(told(&mut pieces), Some((3, 1)));
        assert_eq!(told(&mut pieces), None);
        assert!(!pieces.is_within());
        pieces.add(vec![piece(4, "f", true), piece(5, "g", false)]);
        assert_eq!(pieces.next().unwrap_err().category(), db::Category::Fault);
    }

    #[test]
    fn what_comes_after_a_moment_is_the_next_t_or_the_next_millisecond() {
        assert_eq!(after(TimePoint::T(7)), TimePoint::T(8));
        assert_eq!(after(TimePoint::T(T::MAX)), TimePoint::T(T::MAX));
        assert_eq!(after(TimePoint::Instant(Instant(-1))), TimePoint::Instant(Instant(0)));
    }
}
