//! What is collected beside transactions, jobs and restarts, and what never is.

use super::*;
use crate::garbage::Class;
use crate::indexing;
use crate::testing::{Fixture, NOON, by_hand, memory, start_collecting, start_indexing};
use cache::{Fetch, SegmentCache};
use db::index::segment::{Segment, SegmentId, Sizes, Source};
use db::index::{Trees, verify};
use db::log::tree::{self, LogSizes};
use db::log::{self, BodyPlace, IndexBody};
use db::replay::Replay;
use db::{Datom, Db, Instant, Pattern};
use std::collections::BTreeSet;
use std::sync::Mutex;
use storage::{MemoryStore, Records, SegmentKey, Segments};
use stores::log::{LogReader, TreeLog, key_of};

/// So eager that jobs run all the time, and trees with tiny nodes.
fn eager() -> indexing::Settings {
    indexing::Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log: true,
    }
}

/// No job ever.
fn idle() -> indexing::Settings {
    indexing::Settings { novelty_bytes: 1 << 30, novelty_bytes_max: 1 << 30, ..eager() }
}

fn start(memory: &MemoryStore, jobs: indexing::Settings, retention: u64, clock: Instant) -> Fixture {
    let store = memory.store();
    let settings = Settings { retention: Duration::from_secs(retention), marks_max: 100, ..by_hand() };
    let fixture = start_collecting(store.journal(), store.segments(), jobs, settings);
    fixture.clock.advance(Duration::from_millis((clock.0 - NOON.0) as u64));
    fixture
}

/// A generator of numbers that does not need to be good.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// Says something about a few counters, over and over.
async fn transact(transactor: &Fixture, dice: &mut Dice, count: u64) {
    for _ in 0..count {
        let (name, n, doc) = (dice.below(9), dice.below(100), "x".repeat(dice.below(60) as usize));
        let tx_data = format!("[{{:counter/name \"c{name}\" :counter/n {n} :db/doc {doc:?}}}]");
        transactor.transact("world", &tx_data).await.unwrap();
    }
}

fn newest(transactor: &Fixture) -> u64 {
    transactor.transactor.host.databases.get("world").unwrap().durable().head.index_seq
}

/// Transactions until a job was named that began after the first of them.
async fn transact_until_indexed(transactor: &Fixture, dice: &mut Dice) {
    for _ in 0..2 {
        let before = newest(transactor);
        while newest(transactor) == before {
            transact(transactor, dice, 5).await;
        }
    }
}

fn all(db: &Db) -> Vec<Datom> {
    let mut datoms = db.history().datoms(&Pattern::all()).unwrap();
    datoms.extend(db.datoms(&Pattern::all()).unwrap());
    datoms
}

/// A store's trees as somebody reads them who has nothing in a cache.
struct Reader {
    store: storage::Store,
    cache: Arc<SegmentCache>,
    id: DatabaseId,
}

impl Reader {
    fn new(memory: &MemoryStore, id: log::DatabaseId) -> Reader {
        let cache = SegmentCache::open(&cache::Config { prefetch: 0, ..cache::Config::default() }).unwrap();
        Reader { store: memory.store(), cache, id: DatabaseId(id.0) }
    }

    fn index(&self, seq: u64) -> (log::Header, IndexBody) {
        let (journal, segments) = (self.store.journal(), self.store.segments());
        LogReader::new(&*journal, &*segments).index(self.id, seq).unwrap().unwrap()
    }

    fn replay(&self, seq: u64) -> db::Result<Replay> {
        let (header, body) = self.index(seq);
        let fetch: Arc<dyn Fetch> = Arc::new(stores::trees::Stored(self.store.segments()));
        let meta = self.cache.meta(header.lineage, &body, &*fetch)?;
        let trees = self.cache.trees_of(cache::Reader::of(&header), &body, &meta, fetch)?;
        Replay::resume(&header, &body, &meta, trees)
    }

    /// The newest index, and what is read on its trees.
    fn held(&self, now: Instant) -> Held {
        let seq = self.store.journal().head(self.id).unwrap().unwrap().index_seq;
        Held { seq, at: now, datoms: all(self.replay(seq).unwrap().db()) }
    }

    /// All segments there are.
    fn keys(&self) -> BTreeSet<SegmentKey> {
        self.store.segments().list(self.id, None, usize::MAX).unwrap().into_iter().collect()
    }

    /// All that these indexes name, by reading every node and record of theirs; and all bodies of records.
    fn named(&self, indexes: &[u64]) -> BTreeSet<SegmentKey> {
        let (journal, segments) = (self.store.journal(), self.store.segments());
        let mut named = BTreeSet::new();
        for seq in indexes {
            let (header, body) = self.index(*seq);
            let replay = self.replay(*seq).unwrap();
            let whole = replay.db().trees().unwrap();
            let source = Arc::new(Recording { source: whole.source.clone(), read: Mutex::default() });
            let trees = Trees::of(&body, Default::default(), source.clone());
            verify::verify(&trees, &|_| true, usize::MAX, &mut || Ok(())).unwrap();
            named.extend(source.read.lock().unwrap().iter().map(|id| key_of(header.lineage, id)));
            named.insert(key_of(header.lineage, &body.meta.id));
            let log =
                RecordingLog { log: TreeLog { segments: &*segments, lineage: header.lineage }, read: Mutex::default() };
            assert_eq!(tree::records(&body.log.unwrap(), &log, 1).count() as u64, body.log.unwrap().seq);
            named.extend(log.read.lock().unwrap().iter().map(|id| key_of(header.lineage, id)));
        }
        let (log, mut seq) = (LogReader::new(&*journal, &*segments), 1);
        loop {
            let records = log.read(self.id, seq, 1 << 20).unwrap();
            let Some(last) = records.last() else { return named };
            seq = last.seq + 1;
            for stored in &records {
                if let log::Content::OutOfLine(place) = log::RawRecord::parse(&stored.bytes).unwrap().content {
                    named.insert(crate::open::body_key(&place));
                }
            }
        }
    }
}

struct Recording {
    source: Arc<dyn Source>,
    read: Mutex<BTreeSet<SegmentId>>,
}

impl Source for Recording {
    fn fetch(&self, id: &SegmentId) -> db::Result<Arc<Segment>> {
        self.read.lock().unwrap().insert(*id);
        self.source.fetch(id)
    }
}

struct RecordingLog<'a> {
    log: TreeLog<'a>,
    read: Mutex<BTreeSet<SegmentId>>,
}

impl tree::LogSource for RecordingLog<'_> {
    fn fetch(&self, id: &SegmentId) -> db::Result<Vec<u8>> {
        self.read.lock().unwrap().insert(*id);
        self.log.fetch(id)
    }
}

/// A value that somebody took when it was the newest on its trees.
struct Held {
    seq: u64,
    at: Instant,
    datoms: Vec<Datom>,
}

fn planted(segments: &dyn Segments, database: DatabaseId, term: u64, job: &str, text: &str) -> SegmentKey {
    let hash = db::index::segment::hash(text.as_bytes());
    let key = SegmentKey { lineage: database, database, term, job: job.into(), hash };
    segments.put(&key, text.as_bytes()).unwrap();
    key
}

/// Transactions, jobs, restarts and collections in any order, while readers hold old values for as long as retention
/// says: each of them reads what it read when it was taken, by segments that are all brought from the store anew. In the
/// end nothing is there that the two newest indexes and the log do not name.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_17_values_within_retention_read_on_and_nothing_else_is_kept() {
    const RETENTION: u64 = 60;
    for seed in 0..4 {
        let (memory, mut dice, mut now) = (memory(), Dice(seed), NOON);
        let mut transactor = start(&memory, eager(), RETENTION, now);
        let id = transactor.with_counter("world").await;
        transact_until_indexed(&transactor, &mut dice).await;
        let mut held: Vec<Held> = Vec::new();
        let mut gone = 0;
        for _ in 0..25 {
            match dice.below(8) {
                0..=2 => transact_until_indexed(&transactor, &mut dice).await,
                3 => {
                    let count = dice.below(30);
                    transact(&transactor, &mut dice, count).await;
                }
                4 => {
                    transactor.stop().await;
                    transactor = start(&memory, eager(), RETENTION, now);
                }
                5 => {
                    let passes = Duration::from_millis(dice.below(2 * RETENTION * 1000));
                    now = Instant(now.0 + passes.as_millis() as i64);
                    transactor.clock.advance(passes);
                }
                _ => gone += transactor.collect(false).await[0].gone().0,
            }
            held.push(Reader::new(&memory, id).held(now));
            held.retain(|held| held.at.0 + RETENTION as i64 * 1000 > now.0);
            for held in &held {
                let replay = Reader::new(&memory, id).replay(held.seq).unwrap();
                assert_eq!(all(replay.db()), held.datoms, "seed {seed}, index {}", held.seq);
            }
        }
        transactor.stop().await;
        let transactor = start(&memory, idle(), 0, now);
        let foretold = transactor.collect(true).await.remove(0);
        let report = transactor.collect(false).await.remove(0);
        assert_eq!(foretold.gone(), report.gone(), "seed {seed}");
        assert!(gone + report.gone().0 > 0 && report.kept.len() == 2, "seed {seed}");
        let reader = Reader::new(&memory, id);
        let kept: Vec<u64> = report.kept.iter().map(|kept| kept.seq).collect();
        let (there, named) = (reader.keys(), reader.named(&kept));
        assert_eq!(there.difference(&named).collect::<Vec<_>>(), [] as [&SegmentKey; 0], "seed {seed}: left");
        assert_eq!(named.difference(&there).collect::<Vec<_>>(), [] as [&SegmentKey; 0], "seed {seed}: gone");
        let left = transactor.collect(true).await.remove(0);
        assert_eq!(left.gone(), (0, 0));
        let (faults, summary) = transactor.verify("world").await;
        assert_eq!((&faults[..], summary.indexes), (&[][..], 2), "seed {seed}");
        assert_eq!(left.rows.values().map(|row| row.segments).sum::<u64>(), reader.keys().len() as u64);
        transactor.stop().await;
    }
}

/// Garbage that was planted goes; what a job of this term may be at work on, what a record names, and what is another
/// database's stays, whatever the retention.
#[tokio::test(flavor = "multi_thread")]
async fn lesson_11_what_a_job_at_work_wrote_is_left_alone() {
    let (memory, mut dice) = (memory(), Dice(1));
    let transactor = start(&memory, eager(), 0, NOON);
    let id = transactor.with_counter("world").await;
    transact_until_indexed(&transactor, &mut dice).await;
    let entity = |n: usize| format!("{{:counter/name \"large {n}\" :db/doc \"{}\"}}", format!("{n} ").repeat(300));
    let large = format!("[{}]", (0..600).map(entity).collect::<String>());
    transactor.transact("world", &large).await.unwrap();
    transactor.stop().await;

    let transactor = start(&memory, idle(), 0, NOON);
    let id = DatabaseId(id.0);
    let head = memory.store().journal().head(id).unwrap().unwrap();
    let segments = memory.store().segments();
    let is_body = |key: &SegmentKey| key.job == BodyPlace::JOB;
    let body: Vec<_> = segments.list(id, None, usize::MAX).unwrap().into_iter().filter(is_body).collect();
    assert_eq!(body.len(), 1);
    let stays = [
        body[0].clone(),
        planted(&*segments, id, head.term, &format!("index-{}", head.seq), "of a job at work"),
        planted(&*segments, id, head.term, "body", "put, its record about to be written"),
        planted(&*segments, id, head.term + 1, "index-2", "of who took over meanwhile"),
        planted(&*segments, id, 1, "later-version", "of a job of a later version"),
        planted(&*segments, DatabaseId([1; 16]), 1, "index-1", "of a database that is not open here"),
    ];
    let goes = [
        planted(&*segments, id, 1, "index-3", "of a job that was cut off"),
        planted(&*segments, id, 1, "body", "of a record that was never written"),
    ];
    let report = transactor.collect(false).await.remove(0);
    let row = |class| report.rows.get(&class).copied().unwrap_or_default().segments;
    assert!(row(Class::Unnamed) > 0 && row(Class::UnnamedBody) == 1, "{report:?}");
    for key in stays {
        assert!(segments.get(&key).unwrap().is_some(), "{key:?} is gone");
    }
    for key in goes {
        assert!(segments.get(&key).unwrap().is_none(), "{key:?} is there");
    }
    transactor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_database_is_removed_after_retention_and_one_of_its_name_stays() {
    let (memory, mut dice) = (memory(), Dice(2));
    let transactor = start(&memory, eager(), 60, NOON);
    let id = transactor.with_counter("world").await;
    transact_until_indexed(&transactor, &mut dice).await;
    transactor.delete("world").await.unwrap();
    let other = transactor.with_counter("world").await;
    let (old, new) = (Reader::new(&memory, id), Reader::new(&memory, other));
    let journal = memory.store().journal();
    let pods = |id: DatabaseId| [format!("db/{id}"), format!("gc/{id}")].map(|pod| journal.read_pod(&pod).unwrap());

    transactor.collect(false).await;
    transactor.clock.advance(Duration::from_millis(59_999));
    transactor.collect(false).await;
    assert!(
        !old.keys().is_empty() && journal.head(old.id).unwrap().is_some(),
        "it was deleted less than retention ago"
    );
    transactor.clock.advance(Duration::from_millis(1));
    transactor.collect(true).await;
    assert!(!old.keys().is_empty());
    let reports = transactor.collect(false).await;
    assert!(reports.iter().any(|report| report.id == old.id && report.gone().0 > 0), "{reports:?}");
    assert!(old.keys().is_empty() && journal.head(old.id).unwrap().is_none());
    assert_eq!(pods(old.id), [None, None]);
    assert!(journal.head(new.id).unwrap().is_some() && pods(new.id)[0].is_some());
    assert!(transactor.collect(false).await.iter().all(|report| report.id != old.id));
    transactor.stop().await;
}

/// The log is sealed up to the index before the newest; who follows from the first record, from any other, or starts
/// anew, reads it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_log_is_followed_and_opened_as_before() {
    let (memory, mut dice) = (memory(), Dice(3));
    let transactor = start_indexing(&memory, eager());
    let id = transactor.with_counter("world").await;
    transact_until_indexed(&transactor, &mut dice).await;
    transact_until_indexed(&transactor, &mut dice).await;
    transactor.stop().await;

    let reader = Reader::new(&memory, id);
    let (journal, segments) = (memory.store().journal(), memory.store().segments());
    let Records::Sealed { before_seq } = journal.read(reader.id, 1, 1).unwrap() else { panic!("nothing is sealed") };
    let newest = reader.index(journal.head(reader.id).unwrap().unwrap().index_seq).1;
    let before = reader.index(newest.previous).1;
    assert!(before_seq > 1 && before_seq <= before.chain.seq + 1, "{before_seq}, {before:?}");

    let transactor = start(&memory, idle(), 60, NOON);
    let head = journal.head(reader.id).unwrap().unwrap();
    let log = LogReader::new(&*journal, &*segments);
    for from in [0, 1, before_seq - 1, before_seq, head.seq - 1] {
        let mut chain = db::log::Chain::new(id);
        for stored in (from > 0).then(|| log.read(reader.id, 1, usize::MAX).unwrap()).into_iter().flatten() {
            chain.push(&log::RawRecord::parse(&stored.bytes).unwrap()).unwrap();
            if chain.seq() == from {
                break;
            }
        }
        let mut following = transactor.follow(id, &chain).await;
        while chain.seq() < head.seq {
            let message = tokio_stream::StreamExt::next(&mut following).await.unwrap().unwrap();
            for frame in db::log::Frames::new(&message.frames) {
                chain.push(&frame.unwrap().1).unwrap();
            }
        }
        assert_eq!(chain.hash(), head.hash, "from {from}");
    }
    transactor.stop().await;
}

/// Redo files that hold nothing but sealed records go.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_disk_shrinks_when_the_log_is_sealed() {
    let mut sizes = Vec::new();
    for seal_log in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = storage::Options {
            record_bytes_max: 300 << 10,
            frame_bytes_max: 320 << 10,
            redo_file_bytes: 3 << 20,
            checkpoint_bytes: 1 << 20,
            free_bytes_reserve: 0,
            ..storage::Options::default()
        };
        let store = storage::open(&format!("sled:{}", dir.path().join("s").display()), options.clone()).unwrap();
        let jobs = indexing::Settings { novelty_bytes: 1 << 20, novelty_bytes_max: 64 << 20, seal_log, ..eager() };
        let transactor = start_collecting(store.journal(), store.segments(), jobs, by_hand());
        transactor.with_counter("world").await;
        for n in 0..160 {
            let doc = format!("{n}").repeat(30_000);
            let tx_data = format!("[{{:counter/name \"c\" :db/doc {doc:?}}}]");
            transactor.transact("world", &tx_data).await.unwrap();
        }
        transactor.stop().await;
        store.close().unwrap();
        // A start removes what a checkpoint before the end did not come to.
        let url = format!("sled:{}", dir.path().join("s").display());
        storage::open(&url, options.clone()).unwrap().close().unwrap();
        let store = storage::open(&url, options).unwrap();
        sizes.push(store.segments().usage().unwrap().journal_bytes);
        store.close().unwrap();
    }
    assert!(sizes[1] * 2 < sizes[0], "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_makes_nothing_old() {
    let (memory, mut dice) = (memory(), Dice(4));
    let transactor = start(&memory, eager(), 60, NOON);
    let id = transactor.with_counter("world").await;
    transact_until_indexed(&transactor, &mut dice).await;
    let before = Reader::new(&memory, id).keys();
    transactor.clock.set(Instant(NOON.0 + 3_600_000));
    let error = transactor.collect_of(None, false).await.unwrap_err();
    assert_eq!(error.code(), "db.error/clock-jumped");
    assert!(Reader::new(&memory, id).keys().is_superset(&before));
    transactor.stop().await;
}
