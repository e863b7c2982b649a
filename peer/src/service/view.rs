//! Database values as requests name them.

use super::PeerService;
use crate::followed::{Followed, Known};
use db::{Db, Result, T, TimePoint};
use proto::{time_point, v1};
use std::sync::Arc;

/// A database value, and what it was made from.
pub(super) struct Viewed {
    pub db: Db,
    pub info: v1::DatabaseInfo,
}

impl PeerService {
    /// Finds the database, waits for its least basis, and looks through the view.
    pub(super) async fn view(&self, view: &v1::DatabaseView, end: tokio::time::Instant) -> Result<Viewed> {
        let (followed, known) = self.known(&view.name, view.least_t, end).await?;
        let mut db = known.db.clone();
        if !view.with_tx_data.is_empty() {
            // Speculation comes first: a view looks at what it gave.
            let reports = self.speculate(db.clone(), view.with_tx_data.clone(), end).await?;
            db = reports.into_iter().next_back().map_or(db, |report| report.db_after);
        }
        if let Some(point) = &view.as_of {
            let t = self.t_of(&db, point).await?;
            db = db.as_of(t);
        }
        if let Some(point) = &view.since {
            let t = self.t_of(&db, point).await?;
            db = db.since(t);
        }
        if view.history {
            db = db.history();
        }
        Ok(Viewed { db, info: super::info(&followed) })
    }

    /// The t of a moment. An instant may have to be looked up in the trees, which may wait for storage.
    async fn t_of(&self, db: &Db, point: &v1::TimePoint) -> Result<T> {
        let point = time_point(db, point)?;
        if matches!(point, TimePoint::T(_)) || db.trees().is_none() {
            return db.t_at(point);
        }
        let db = db.clone();
        self.pool.run(move || db.t_at(point)).await
    }

    /// The first t that is not before a moment, as [`PeerService::t_of`] finds it.
    pub(super) async fn t_from(&self, db: &Db, point: Option<&v1::TimePoint>, otherwise: T) -> Result<T> {
        let Some(point) = point else { return Ok(otherwise) };
        let point = time_point(db, point)?;
        if matches!(point, TimePoint::T(_)) || db.trees().is_none() {
            return db.t_from(point);
        }
        let db = db.clone();
        self.pool.run(move || db.t_from(point)).await
    }

    /// Finds a database, and waits until it includes t.
    pub(super) async fn known(
        &self,
        name: &str,
        least_t: T,
        end: tokio::time::Instant,
    ) -> Result<(Arc<Followed>, Arc<Known>)> {
        let followed = match tokio::time::timeout_at(end, self.databases.get(name)).await {
            Ok(followed) => followed?,
            Err(_) => return Err(super::deadline_exceeded()),
        };
        let known = self.wait_for(&followed, least_t, end).await?;
        Ok((followed, known))
    }
}
