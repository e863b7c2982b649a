//! Jobs beside transactions, and what a start makes of them.

use super::*;
use crate::open;
use crate::testing::{Fixture, by_hand, memory, start_collecting, start_indexing};
use db::index::segment::Meta;
use db::log::{Chain, DatabaseId, Frames, IndexBody, Kind};
use db::replay::Replay;
use db::{Datom, Db, Pattern};
use storage::MemoryStore;
use tokio_stream::StreamExt;

#[test]
fn pressure_rises_without_a_step_and_lets_writers_and_indexing_meet() {
    let settings = Settings::of(32 << 20);
    let (grown, rate) = (1 << 20, (16 << 20) as f64);
    let pauses: Vec<Duration> = (0..=128).map(|mib| settings.pause(mib << 20, grown, rate)).collect();
    assert!(pauses[..=64].iter().all(Duration::is_zero));
    assert!(pauses.is_sorted() && pauses[128] == PAUSE_MAX);
    // In the middle of the room writers are as fast as indexing is.
    assert_eq!(pauses[96], Duration::from_secs_f64(grown as f64 / rate));
    let steepest = pauses[..=112].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(steepest < Duration::from_millis(20), "{steepest:?} in a MiB");
    // A large record waits longer than a small one, and none longer than it may.
    let (large, small) = (settings.pause(80 << 20, 4 << 20, rate), settings.pause(80 << 20, 1 << 20, rate));
    assert!(large.abs_diff(4 * small) < Duration::from_micros(1));
    assert_eq!(settings.pause(127 << 20, 128 << 20, rate), PAUSE_MAX);
}

/// A writer ten times as fast as indexing is slowed down to its pace long before the hard limit.
#[test]
fn a_writer_that_is_too_fast_never_meets_the_hard_limit() {
    for (record, rate) in [(1 << 20, 8 << 20), (100 << 10, 40 << 20), (3 << 20, 20 << 20)] {
        let settings = Settings::of(32 << 20);
        let (mut novelty, mut under_way, mut done_at, mut now, mut most) = (0usize, 0usize, 0.0, 0.0, 0usize);
        let mut longest = 0.0f64;
        for _ in 0..2000 {
            novelty += record;
            now += record as f64 / (10 * rate) as f64;
            let pause = settings.pause(novelty, record, rate as f64).as_secs_f64();
            longest = longest.max(pause);
            now += pause;
            if under_way > 0 && now >= done_at {
                novelty -= std::mem::take(&mut under_way);
            }
            if under_way == 0 && novelty >= settings.novelty_bytes {
                under_way = novelty;
                done_at = now + under_way as f64 / rate as f64;
            }
            most = most.max(novelty);
        }
        assert!(most < settings.novelty_bytes_max, "{} MiB of novelty", most >> 20);
        assert!(longest <= PAUSE_MAX.as_secs_f64() + 1e-9);
    }
}

/// So eager that jobs run all the time, and trees with tiny nodes.
fn eager() -> Settings {
    Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log: true,
    }
}

fn all(db: &Db) -> Vec<Datom> {
    let mut datoms = db.history().datoms(&Pattern::all()).unwrap();
    datoms.extend(db.datoms(&Pattern::all()).unwrap());
    datoms
}

/// The value that the whole log makes, record by record and without any trees.
fn from_the_log(memory: &MemoryStore, id: DatabaseId) -> Replay {
    let (store, id) = (memory.store(), storage::DatabaseId(id.0));
    let (journal, segments) = (store.journal(), store.segments());
    let log = stores::log::LogReader::new(&*journal, &*segments);
    let mut replay = Replay::new(db::log::DatabaseId(id.0));
    loop {
        let records = log.read(id, replay.chain().seq() + 1, 1 << 20).unwrap();
        if records.is_empty() {
            break;
        }
        for record in records {
            replay.apply(&db::log::RawRecord::parse(&record.bytes).unwrap(), None).unwrap();
        }
    }
    replay
}

/// The value that a start makes: from the newest index record on.
fn from_the_index(memory: &MemoryStore, id: DatabaseId) -> open::Opened {
    let store = memory.store();
    let cache = SegmentCache::open(&cache::Config { prefetch: 0, ..cache::Config::default() }).unwrap();
    let fetch: Arc<dyn Fetch> = Arc::new(stores::trees::Stored(store.segments()));
    let trees = |reader: cache::Reader, body: &IndexBody| {
        let meta: Meta = cache.meta(reader.lineage, body, &*fetch)?;
        let trees = cache.trees_of(reader, body, &meta, fetch.clone())?;
        Ok((meta, trees))
    };
    open::replay(&*store.journal(), &*store.segments(), &trees, storage::DatabaseId(id.0)).unwrap()
}

/// Changes a few counters over and over, until so many index records have come.
async fn transact_until_indexed(transactor: &Fixture, id: DatabaseId, from: &Chain, jobs: usize) {
    let mut following = transactor.follow(id, from).await;
    let (mut seen, mut n) = (0, 0);
    while seen < jobs {
        let (name, doc) = (format!("c{}", n % 7), "x".repeat(n % 50));
        let tx_data = format!("[{{:counter/name {name:?} :counter/n {n} :db/doc {doc:?}}}]");
        transactor.transact("world", &tx_data).await.unwrap();
        n += 1;
        let message = following.next().await.unwrap().unwrap();
        for frame in Frames::new(&message.frames) {
            seen += usize::from(frame.unwrap().1.header.kind == Kind::Index);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_1_what_a_start_makes_of_the_index_is_what_the_log_makes_at_every_t() {
    let memory = memory();
    let mut from = Chain::new(DatabaseId([0; 16]));
    for run in 0..3 {
        let transactor = start_indexing(&memory, eager());
        let id = if run == 0 { transactor.with_counter("world").await } else { transactor.id("world").await };
        if run == 0 {
            from = Chain::new(id);
        }
        transact_until_indexed(&transactor, id, &from, 4).await;
        transactor.stop().await;
        let (slow, opened) = (from_the_log(&memory, id), from_the_index(&memory, id));
        let (slow_db, fast_db) = (slow.db(), opened.replay.db());
        assert_eq!(opened.replay.chain(), slow.chain());
        assert!(opened.head.index_seq > 0 && fast_db.index_t() > 0 && fast_db.index_t() <= fast_db.basis_t());
        assert_eq!(all(fast_db), all(slow_db));
        assert_eq!(
            (fast_db.next_counter(), fast_db.last_instant(), fast_db.len()),
            (slow_db.next_counter(), slow_db.last_instant(), slow_db.len())
        );
        for t in 0..=slow_db.basis_t() {
            let all = |db: &Db| db.as_of(t).datoms(&Pattern::all()).unwrap();
            assert_eq!(all(fast_db), all(slow_db), "as of {t}");
        }
        from = opened.replay.chain().clone();
    }
}

/// A store that takes no segments of one database.
struct Refusing {
    segments: Arc<dyn Segments>,
    refused: std::sync::OnceLock<DatabaseId>,
}

impl Segments for Refusing {
    fn put(&self, key: &storage::SegmentKey, bytes: &[u8]) -> storage::Result<()> {
        match self.refused.get() {
            Some(refused) if refused.0 == key.database.0 => {
                Err(storage::Error::new(storage::ErrorKind::Io, "it takes none of these"))
            }
            _ => self.segments.put(key, bytes),
        }
    }

    fn get(&self, key: &storage::SegmentKey) -> storage::Result<Option<Vec<u8>>> {
        self.segments.get(key)
    }

    fn list(
        &self,
        database: storage::DatabaseId,
        after: Option<&storage::SegmentKey>,
        count_max: usize,
    ) -> storage::Result<Vec<storage::SegmentKey>> {
        self.segments.list(database, after, count_max)
    }

    fn delete(&self, key: &storage::SegmentKey) -> storage::Result<()> {
        self.segments.delete(key)
    }

    fn scrub(&self, wanted: storage::Scrub) -> storage::Result<storage::Scrubbed> {
        self.segments.scrub(wanted)
    }

    fn usage(&self) -> storage::Result<storage::Usage> {
        self.segments.usage()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_jobs_fail_keeps_no_other_from_being_indexed() {
    let memory = memory();
    let refusing = Arc::new(Refusing { segments: memory.store().segments(), refused: std::sync::OnceLock::new() });
    let transactor = start_collecting(memory.store().journal(), refusing.clone(), eager(), by_hand());
    let damaged = transactor.with_counter("damaged").await;
    refusing.refused.set(damaged).unwrap();
    // It has more novelty than the other one ever will have.
    let docs: Vec<String> = (0..500).map(|n| format!("{{:db/doc \"{n}\"}}")).collect();
    transactor.transact("damaged", &format!("[{}]", docs.join(" "))).await.unwrap();
    let id = transactor.with_counter("world").await;
    transact_until_indexed(&transactor, id, &Chain::new(id), 5).await;
    let indexing = &transactor.transactor.indexing;
    assert!(indexing.counts.failed.load(Ordering::Relaxed) > 0);
    assert_eq!(transactor.transactor.host.databases.get("damaged").unwrap().durable().db.index_t(), 0);
    transactor.stop().await;
}
