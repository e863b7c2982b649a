//! What a peer counts and times. Names are documented in docs/operations.md.

use crate::followed::{FollowState, Followed};
use crate::recent;
use crate::service::PeerService;
use crate::service::reports::LISTENERS_MAX;
use db::Instant;
use process::Clock;
use process::metrics::{self, Counter, Histogram, OTHERS, Registry, observe};
use std::sync::Arc;
use std::time::Duration;

/// The handles of all who count in a process.
pub struct Metrics {
    /// Of work for a query or pull: waiting for a thread, and what was done there.
    pub pool_wait: Histogram,
    pub query: Histogram,
    pub pull: Histogram,
    pub query_rows: Histogram,
    /// From forwarding a transaction to the transactor's answer, and until it is visible here.
    pub transact: Histogram,
    pub transact_visible: Histogram,
    /// From a record's instant, which is the transactor's, to its being visible here by our clock.
    pub follow_lag: Histogram,
    pub follow_records: Counter,
    pub follow_bytes: Counter,
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Arc<Metrics> {
        let registry = registry.sub_registry_with_prefix("peer");
        Arc::new(Metrics {
            pool_wait: metrics::seconds(registry, "pool_wait", "Waiting for a thread of the compute pool"),
            query: metrics::seconds(registry, "query", "Running a query, without waiting and sending"),
            pull: metrics::seconds(registry, "pull", "Running a pull, without waiting and sending"),
            query_rows: metrics::counts(registry, "query_rows", "Rows of a query's answer"),
            transact: metrics::seconds(registry, "transact", "A transaction's round trip to the transactor"),
            transact_visible: metrics::seconds(registry, "transact_visible", "From an answer until it is visible here"),
            follow_lag: metrics::seconds(
                registry,
                "follow_lag",
                "From a live record's instant until it is visible here",
            ),
            follow_records: metrics::counter(registry, "follow_records", "Records applied"),
            follow_bytes: metrics::counter(registry, "follow_bytes", "Bytes of records applied, bodies included"),
        })
    }
}

/// What followers count with.
#[derive(Clone)]
pub struct Counting {
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
}

impl Counting {
    /// Records are visible. `live`: they were heard of as they became durable, so that the age of the newest of them
    /// tells how late we are.
    pub fn applied(&self, records: u64, bytes: usize, newest: Option<Instant>, live: bool) {
        self.metrics.follow_records.inc_by(records);
        self.metrics.follow_bytes.inc_by(bytes as u64);
        if let Some(newest) = newest.filter(|_| live) {
            // Clocks of two machines may differ either way.
            let lag_ms = self.clock.now().0.saturating_sub(newest.0).max(0);
            observe(&self.metrics.follow_lag, Duration::from_millis(lag_ms as u64));
        }
    }
}

/// Shows what stands in the databases and queues of a process. At most `databases_max` databases have series of
/// their own.
pub fn show(registry: &mut Registry, service: &PeerService, databases_max: usize) {
    let registry = registry.sub_registry_with_prefix("peer");
    registry.register("query_cache_hits", "Queries whose text was parsed before", service.queries.hits.clone());
    registry.register("query_cache_misses", "Queries that were parsed", service.queries.misses.clone());
    let (databases, pool, room) = (service.databases.clone(), service.pool.clone(), service.room.clone());
    let (remote, listeners) = (service.remote.clone(), service.listeners.clone());
    metrics::readings(registry, move |readings| {
        readings.gauge("pool_jobs", "Queries and pulls that run or wait", pool.jobs() as u64);
        readings.gauge("pool_jobs_max", "Queries and pulls that may run or wait", pool.jobs_max() as u64);
        readings.gauge("waiting_bytes", "Tx-data of all transactions being forwarded", room.bytes());
        readings.gauge("waiting_bytes_max", "Tx-data that may be on its way", room.bytes_max());
        let (catch_ups, most) = remote.catch_ups();
        readings.gauge("catch_ups", "Logs that are read from storage now", catch_ups as u64);
        readings.gauge("catch_ups_max", "Logs that may be read from storage at once", most as u64);
        let listening = LISTENERS_MAX - listeners.available_permits();
        readings.gauge("listeners", "Callers who are told of each transaction", listening as u64);
        readings.gauge("listeners_max", "Callers who may be", LISTENERS_MAX as u64);
        let all = databases.all();
        readings.gauge("databases", "Databases that are followed", all.len() as u64);
        let (shown, others) = all.split_at(all.len().min(databases_max));
        type Of = fn(&Followed) -> u64;
        let of_each: [(&str, &str, Of); 6] = [
            ("follow_behind_records", "Records that the transactor has and this peer does not know", behind),
            ("intake_messages", "Messages of the log that were read and are not applied", |followed| {
                followed.intake().0 as u64
            }),
            ("intake_messages_max", "Messages of the log that may be", |followed| followed.intake().1 as u64),
            ("recent_bytes", "Newest transactions of a database, kept for those who are told of each", |followed| {
                followed.recent().bytes() as u64
            }),
            ("recent_bytes_max", "Newest transactions of a database that are kept at most", |_| {
                recent::BYTES_MAX as u64
            }),
            ("follow_disconnected", "1 when a database is not followed now", |followed| {
                u64::from(followed.state() != FollowState::Following)
            }),
        ];
        for (name, help, of) in of_each {
            readings.gauges(name, help, |one| {
                for followed in shown {
                    one(&[("database", &followed.name)], of(followed) as f64);
                }
                if let Some(most) = others.iter().map(|followed| of(followed)).max() {
                    one(&[("database", OTHERS)], most as f64);
                }
            });
        }
        // Where a database stands has no meaning for many together.
        readings.gauges("database_t", "The newest transaction known of a database", |one| {
            for followed in shown {
                one(&[("database", &followed.name)], followed.known().db.basis_t() as f64);
            }
        });
        readings.gauges("index_t", "The newest transaction of the index that a database is read from", |one| {
            for followed in shown {
                one(&[("database", &followed.name)], followed.known().db.index_t() as f64);
            }
        });
        readings.gauges("novelty_bytes", "Facts of a database that its index does not have, in memory", |one| {
            for followed in shown {
                one(&[("database", &followed.name)], followed.known().db.novelty_bytes() as f64);
            }
            if let Some(most) = others.iter().map(|followed| followed.known().db.novelty_bytes()).max() {
                one(&[("database", OTHERS)], most as f64);
            }
        });
    });
}

/// As of the transactor's last word.
fn behind(followed: &Followed) -> u64 {
    followed.head().map_or(0, |head| head.seq.saturating_sub(followed.known().seq))
}
