//! Whether this peer is ready to be asked: what its health says.
//!
//! A peer that begins with nothing reads every log first, and whoever spreads questions over peers should leave it
//! alone meanwhile. So it says NOT_SERVING until it has heard of the transactor, and the basis of every database that
//! the transactor had then has come to so many percent of its head. From then on it says SERVING, whatever happens:
//! cut off from the transactor it still answers at its basis, and a database that is created later begins empty and is
//! no reason for all others to be left alone.

use crate::databases::Databases;
use process::{Health, log};
use proto::v1::peer_server::SERVICE_NAME;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The process as a whole, and its service.
const NAMES: [&str; 2] = ["", SERVICE_NAME];

/// Cheap to clone.
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    databases: Databases,
    /// Of the head's t.
    percent: f64,
    ready: AtomicBool,
}

impl Readiness {
    pub fn new(databases: Databases, percent: f64) -> Self {
        Readiness(Arc::new(Inner { databases, percent, ready: AtomicBool::new(false) }))
    }

    /// Tells those who watch the peer's health when the time has come. Never returns.
    pub async fn tell(self, health: Health) -> Infallible {
        for followed in self.0.databases.at_start().await {
            followed.comes_to(self.0.percent).await;
        }
        self.0.ready.store(true, Ordering::Relaxed);
        set(&health, true).await;
        log::info!(percent = self.0.percent, "ready: so much of every database is read at least");
        std::future::pending().await
    }

    /// Why the peer is not ready; None when it is.
    pub fn lacking(&self) -> Option<String> {
        if self.0.ready.load(Ordering::Relaxed) {
            return None;
        }
        let Some(at_start) = self.0.databases.at_start_so_far() else {
            return Some("the transactor was not heard of yet".to_owned());
        };
        let lacking = at_start.iter().filter(|followed| !followed.is_gone()).filter_map(|followed| {
            let name = &followed.name;
            match followed.percent() {
                Some(so_far) if so_far >= self.0.percent => None,
                Some(so_far) => Some(format!("database {name:?} is read to {so_far:.1} % of its log")),
                None => Some(format!("nothing was read of database {name:?} yet")),
            }
        });
        Some(lacking.collect::<Vec<_>>().join("; ")).filter(|lacking| !lacking.is_empty())
    }
}

/// Says NOT_SERVING until told otherwise.
pub async fn not_yet(health: &Health) {
    set(health, false).await;
}

async fn set(health: &Health, serves: bool) {
    for name in NAMES {
        health.set(name, serves).await;
    }
}
