//! What a transactor counts and times. Names are documented in docs/operations.md.

use crate::commit::Database;
use crate::host::Host;
use crate::indexing::Indexing;
use process::limits::Room;
use process::metrics::{self, Counter, Histogram, OTHERS, Readings, Registry};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Journal, Waiting};

/// The handles of all writers of a process: a commit looks nothing up.
pub struct Metrics {
    /// Of each transaction, from its arrival to its judging.
    pub queue_wait: Histogram,
    /// Of each record: judging its transactions, making the record, making it durable, telling followers and callers.
    pub judge: Histogram,
    pub seal: Histogram,
    pub append: Histogram,
    pub answer: Histogram,
    /// Transactions of a record, and its bytes.
    pub group: Histogram,
    pub record_bytes: Histogram,
    pub committed: Counter,
    pub refused: Counter,
    /// Of each index job, from its begin to its record's being durable.
    pub index_job: Histogram,
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Arc<Metrics> {
        let registry = registry.sub_registry_with_prefix("transactor");
        Arc::new(Metrics {
            queue_wait: metrics::seconds(registry, "commit_queue_wait", "From a transaction's arrival to its judging"),
            judge: metrics::seconds(registry, "commit_judge", "Judging the transactions of a record"),
            seal: metrics::seconds(registry, "commit_seal", "Making a record"),
            append: metrics::seconds(registry, "commit_append", "Making a record durable"),
            answer: metrics::seconds(registry, "commit_answer", "Telling followers and callers of a record"),
            group: metrics::counts(registry, "commit_group_transactions", "Transactions of a record"),
            record_bytes: metrics::bytes(registry, "commit_record", "Size of a record, its body included"),
            committed: metrics::counter(registry, "transactions_committed", "Transactions committed"),
            refused: metrics::counter(registry, "transactions_refused", "Transactions judged and refused"),
            index_job: metrics::seconds(registry, "index_job", "An index job, until its record is durable"),
        })
    }
}

/// Shows what stands in the databases and queues of a process. At most `databases_max` databases have series of
/// their own.
pub fn show(
    registry: &mut Registry,
    host: Host,
    journal: Arc<dyn Journal>,
    indexing: Arc<Indexing>,
    room: Room,
    databases_max: usize,
) {
    let registry = registry.sub_registry_with_prefix("transactor");
    metrics::readings(registry, move |readings| {
        let databases = host.databases.all();
        readings.gauge("databases", "Databases that are open", databases.len() as u64);
        read_databases(readings, &databases, &indexing, databases_max);
        read_garbage(readings, &host);
        read_indexing(readings, &indexing);
        let (waiting, most) = host.creations();
        readings.gauge("creation_queue_length", "Creations of databases that wait", waiting as u64);
        readings.gauge("creation_queue_length_max", "Creations of databases that may wait", most as u64);
        readings.gauge("waiting_bytes", "Tx-data of all transactions on their way", room.bytes());
        readings.gauge("waiting_bytes_max", "Tx-data that may be on its way", room.bytes_max());
        for Waiting { name, what, now, most } in journal.queues() {
            readings.gauge(&format!("store_{name}"), what, now);
            readings.gauge(&format!("store_{name}_max"), &format!("{what}, at most"), most);
        }
    });
}

fn read_garbage(readings: &mut Readings<'_>, host: &Host) {
    let collected = &host.collected;
    let counters = [
        ("garbage_collections", "Collections of a database that deleted something", &collected.collections),
        ("garbage_failures", "Collections of a database that failed", &collected.failed),
        ("garbage_segments", "Segments deleted", &collected.segments),
        ("garbage_bytes", "Bytes of segments deleted", &collected.bytes),
    ];
    for (name, help, count) in counters {
        readings.counters(name, help, |one| one(&[], count.load(Ordering::Relaxed)));
    }
    readings.gauge("garbage_queue_length", "Collections asked for that wait", host.collector.len() as u64);
    readings.gauge(
        "garbage_queue_length_max",
        "Collections asked for that may wait",
        host.collector.capacity_max() as u64,
    );
}

/// The value of one database's queue, and what to show for many: their sum, or the fullest.
type Of = fn(&Database) -> u64;

fn read_indexing(readings: &mut Readings<'_>, indexing: &Indexing) {
    let Indexing { settings, counts, .. } = indexing;
    readings.gauge("index_threshold_bytes", "Novelty at which a job begins", settings.novelty_bytes as u64);
    for (name, help, count) in [
        ("index_jobs", "Index jobs done", &counts.jobs),
        ("index_failures", "Index jobs that failed", &counts.failed),
        ("index_merged_bytes", "Novelty that was merged into trees", &counts.merged_bytes),
        ("index_written_bytes", "Bytes of segments that were written for it", &counts.written_bytes),
        ("index_written_segments", "Segments that were", &counts.written_segments),
    ] {
        readings.counters(name, help, |one| one(&[], count.load(Ordering::Relaxed)));
    }
}

fn read_databases(readings: &mut Readings<'_>, databases: &[Arc<Database>], indexing: &Indexing, databases_max: usize) {
    let (shown, others) = databases.split_at(databases.len().min(databases_max));
    let fullest: [(&str, &str, Of); 8] = [
        ("commit_queue_length", "Transactions of a database that wait", |database| database.mailbox.len() as u64),
        ("commit_queue_length_max", "Transactions of a database that may wait", |database| {
            database.mailbox.capacity_max() as u64
        }),
        ("follower_queue_records", "Records that wait for the slowest follower of a database", |database| {
            database.followers.records()
        }),
        ("follower_queue_records_max", "Records that may wait for a follower", |database| {
            database.followers.limits().records_max as u64
        }),
        ("follower_queue_bytes", "Bytes of records kept for the followers of a database", |database| {
            database.followers.bytes() as u64
        }),
        (
            "follower_behind_bytes",
            "Bytes of records that the slowest follower of a database has not taken",
            |database| database.followers.behind_bytes() as u64,
        ),
        ("follower_queue_bytes_max", "Bytes of records that may wait for a follower", |database| {
            database.followers.limits().bytes_max as u64
        }),
        ("stopped", "1 when a database takes no transactions any more", |database| {
            u64::from(database.stopped().is_some())
        }),
    ];
    for (name, help, of) in fullest {
        readings.gauges(name, help, |one| {
            each(shown, of, one);
            if let Some(most) = others.iter().map(|database| of(database)).max() {
                one(&[("database", OTHERS)], most as f64);
            }
        });
    }
    let novelty = |database: &Arc<Database>| database.durable().db.novelty_bytes() as f64;
    let most = indexing.settings.novelty_bytes_max as f64;
    type OfNovelty<'a> = (&'a str, &'a str, &'a dyn Fn(&Arc<Database>) -> f64);
    let of_novelty: [OfNovelty<'_>; 2] = [
        ("novelty_bytes", "Facts of a database that no index has yet, in memory", &novelty),
        ("novelty_bytes_max", "How many may be, before transactions are refused", &|_| most),
    ];
    for (name, help, of) in of_novelty {
        readings.gauges(name, help, |one| {
            shown.iter().for_each(|database| one(&[("database", &database.name)], of(database)));
            if let Some(fullest) = others.iter().map(of).reduce(f64::max) {
                one(&[("database", OTHERS)], fullest);
            }
        });
    }
    readings.gauges("followers", "Follow streams of a database that are open", |one| {
        let of: Of = |database| database.followers.count() as u64;
        each(shown, of, one);
        if !others.is_empty() {
            one(&[("database", OTHERS)], others.iter().map(|database| of(database)).sum::<u64>() as f64);
        }
    });
    // Where a database stands has no meaning for many together.
    readings.gauges("database_t", "The newest transaction of a database", |one| {
        each(shown, |database| database.durable().head.t, one);
    });
    readings.gauges("index_t", "The newest transaction of a database that its index has", |one| {
        each(shown, |database| database.durable().db.index_t(), one);
    });
    let counts: [(&str, &str, Of); 3] = [
        ("database_transactions_committed", "Transactions of a database committed", |database| {
            database.counts.committed.load(Ordering::Relaxed)
        }),
        ("database_transactions_refused", "Transactions of a database judged and refused", |database| {
            database.counts.refused.load(Ordering::Relaxed)
        }),
        ("database_records", "Records of a database written for transactions", |database| {
            database.counts.records.load(Ordering::Relaxed)
        }),
    ];
    for (name, help, of) in counts {
        readings.counters(name, help, |one| {
            for database in shown {
                one(&[("database", &database.name)], of(database));
            }
        });
    }
}

fn each(databases: &[Arc<Database>], of: Of, one: &mut dyn FnMut(metrics::Labels<'_>, f64)) {
    for database in databases {
        one(&[("database", &database.name)], of(database) as f64);
    }
}
