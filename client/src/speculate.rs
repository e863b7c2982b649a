//! Transactions that nobody makes.

use crate::attempts::Kind;
use crate::incoming::{Incoming, cut_off};
use crate::log::Pieces;
use crate::{Client, Logged, ToTxData, View, malformed, too_large};
use db::{Result, T};
use prost::Message;
use proto::v1;
use proto::v1::peer_client::PeerClient;
use tonic::transport::Channel;

/// What a transaction would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Speculated {
    /// The newest transaction that the peer knew: what there was before.
    pub basis_t: T,
    /// As committing would give it now, but for the instant.
    pub transaction: Logged,
    /// The database after it, for queries, pulls and reads of indexes, and for what would come next. It is made anew
    /// each time it is asked, from what is true then.
    pub view: View,
}

/// Tells what the last one of a view's transactions would do.
pub(crate) async fn with(client: &Client, view: View, tx_data: impl ToTxData) -> Result<Speculated> {
    let view = view.with(tx_data)?;
    let request =
        |at| v1::WithRequest { database: Some(view.clone().raised(client.flock().floor(at, &view)).into_wire()) };
    let bytes = request(client.flock().current()).encoded_len();
    if bytes > proto::MESSAGE_BYTES_MAX {
        return Err(too_large("tx-data", bytes));
    }
    let mut attempts = client.attempts(Kind::Read);
    loop {
        let send = |mut peer: PeerClient<Channel>, request| async move { peer.with(request).await };
        let (first, incoming) = client.begin(&mut attempts, request, send).await?;
        let head = first.head.ok_or_else(|| malformed("speculation without a head"))?;
        let info = head.database.unwrap_or_default();
        client.flock().saw(attempts.peer().1, &info.name, &info.id, head.basis_t);
        match last(first.transactions, incoming).await {
            Ok(transaction) => {
                return Ok(Speculated { basis_t: head.basis_t, transaction, view: view.at_least(head.basis_t) });
            }
            Err(error) => attempts.again(error).await?,
        }
    }
}

/// The last transaction of an answer. Those before it were told by the calls that gave the view.
async fn last(first: Vec<v1::LogTransaction>, mut incoming: Incoming<v1::WithResponse>) -> Result<Logged> {
    let (mut pieces, mut last) = (Pieces::default(), None);
    pieces.add(first);
    loop {
        while let Some(transaction) = pieces.next()? {
            last = Some(transaction);
        }
        match incoming.next().await? {
            Some(message) => pieces.add(message.transactions),
            None if pieces.is_within() => return Err(cut_off()),
            None => return last.ok_or_else(|| malformed("speculation without a transaction")),
        }
    }
}
