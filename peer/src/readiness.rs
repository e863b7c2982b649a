//! Whether this peer is ready to be asked: what its health says.
//!
//! A peer that begins with nothing reads every log first, and whoever spreads questions over peers should leave it
//! alone meanwhile. So it says NOT_SERVING until it has heard of the transactor, and the basis of every database that
//! the transactor had then has come to so many percent of its head. From then on it says SERVING, whatever happens:
//! cut off from the transactor it still answers at its basis, and a database that is created later begins empty and is
//! no reason for all others to be left alone.

use crate::databases::Databases;
use crate::tree;
use process::{Crew, Failpoint, Health, Result, Shutdown, log};
use proto::v1::peer_server::SERVICE_NAME;
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

    /// Says NOT_SERVING, and starts the actor that says otherwise when the time has come.
    pub async fn start(self, crew: &Crew, health: Health) -> Result<()> {
        set(&health, false).await;
        let shutdown = crew.shutdown().clone();
        let run = move |point| self.clone().tell(health.clone(), shutdown.clone(), point);
        crew.start(&tree::READINESS, "", run).map(drop)
    }

    async fn tell(self, health: Health, shutdown: Shutdown, point: Failpoint) -> Result<()> {
        tokio::select! {
            biased;
            () = shutdown.asked() => return Ok(()),
            () = self.comes(&point) => {}
        }
        self.0.ready.store(true, Ordering::Relaxed);
        set(&health, true).await;
        log::info!(percent = self.0.percent, "ready: so much of every database is read at least");
        Ok(())
    }

    /// Returns once every database that was there at the start has come as far as it must.
    async fn comes(&self, point: &Failpoint) {
        for followed in self.0.databases.at_start().await {
            followed.comes_to(self.0.percent).await;
        }
        point.pass();
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

async fn set(health: &Health, serves: bool) {
    for name in NAMES {
        health.set(name, serves).await;
    }
}
