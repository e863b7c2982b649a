//! Transactions, forwarded.

use super::PeerService;
use crate::remote::within;
use db::{Category, Error, Result};
use process::deadline;
use process::limits::Caller;
use process::metrics::observe;
use proto::v1;
use std::sync::Arc;
use std::time::Duration;

/// What a caller waits for the transactor when it gives no deadline.
const TRANSACT_MAX: Duration = Duration::from_secs(300);
/// How long a durable transaction is waited for here before its caller hears that it is not yet visible.
const VISIBLE_MAX: Duration = Duration::from_secs(5);
/// What a caller is told to wait who has its share of transactions on their way.
const RETRY_AFTER_MS: i64 = 100;

impl PeerService {
    /// Forwards a transaction and answers once this peer's database includes it, so that its caller reads its own
    /// writes here. One that is durable but has not arrived in time is told as such, not as an error.
    pub(super) async fn forward(
        &self,
        caller: Option<Arc<Caller>>,
        request: v1::TransactRequest,
        timeout: Option<Duration>,
    ) -> Result<v1::TransactResponse> {
        let _place = self.room.take(caller, proto::tx_data_bytes(&request) as u64).map_err(|full| {
            Error::new(Category::Busy, "db.error/busy", full.message()).with(proto::RETRY_AFTER_MS, RETRY_AFTER_MS)
        })?;
        let timeout = deadline::with_time_to_tell(timeout.unwrap_or(TRANSACT_MAX).min(TRANSACT_MAX));
        let end = tokio::time::Instant::now() + timeout;
        let name = request.database.clone();
        let begun = self.clock.since_boot();
        let mut transactor = self.remote.transactor(self.databases.known_id(&name));
        let forwarded = transactor.transact(within(timeout, request)).await;
        let mut response = forwarded.map_err(|status| proto::transact_error(&status))?.into_inner();
        let answered = self.clock.since_boot();
        observe(&self.metrics.transact, answered.saturating_sub(begun));

        let visible = async {
            let followed = self.databases.get(&name).await?;
            followed.known_at(response.t).await
        };
        let until = end.min(tokio::time::Instant::now() + VISIBLE_MAX);
        response.not_yet_visible = !matches!(tokio::time::timeout_at(until, visible).await, Ok(Ok(_)));
        observe(&self.metrics.transact_visible, self.clock.since_boot().saturating_sub(answered));
        Ok(response)
    }
}
