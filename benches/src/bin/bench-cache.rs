//! The cache of segments: what a read costs at each tier, what stays, and what fetching ahead is worth.

use benches::measure::{Figure, percentile_ms, repeat};
use benches::{Report, people::Random};
use bytes::Bytes;
use cache::{Config, Fetch, Reader, SegmentCache, SegmentKey, Tier, config::Disk};
use db::index::Sort;
use db::index::segment::{self, Attributes, Node, Rows, Segment, SegmentId, Source};
use db::log::{DatabaseId, Hash};
use db::model::{EntityId, Partition, Value};
use db::{AttrId, Datom};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINEAGE: DatabaseId = DatabaseId([1; 16]);
/// Between peer and storage on one machine.
const FETCH: Duration = Duration::from_millis(1);
const HEAP_BYTES: u64 = 1 << 30;

fn main() {
    let mut report = Report::new("cache");
    let quick = benches::is_quick();
    let (segments, rows) = if quick { (40, 50) } else { (1000, 2000) };
    let storage = Arc::new(Storage::new(segments, rows, Duration::ZERO));
    let encoded = storage.bytes.values().map(Bytes::len).sum::<usize>() / segments;
    let dir = tempfile::tempdir().expect("a directory");
    let with_disk = |heap_bytes| {
        let disk = Disk { dir: dir.path().to_owned(), bytes: 1 << 30, free_bytes_min: 0, lineage: None };
        Config { heap_bytes, disk: Some(disk), prefetch: 0, prefetch_queue: 1 }
    };
    let cache = SegmentCache::open(&with_disk(HEAP_BYTES)).expect("a cache");
    let source = storage.source(&cache);
    storage.ids.iter().for_each(|id| drop(source.fetch(id).expect("a segment")));
    let heap = cache.stats().heap.bytes / segments as u64;
    println!("{segments} leaves of {rows} rows, {encoded} bytes encoded, {heap} bytes on the heap\n");

    println!("| a read | median (10 % … 90 %) |\n| --- | --- |");
    let mut tell = |what: &str, figure: Figure, reads: u64| {
        let nanoseconds = |duration: Duration| duration.as_secs_f64() * 1e9 / reads as f64;
        let (low, high) = figure.spread;
        let [median, low, high] = [figure.median, low, high].map(nanoseconds);
        println!("| {what} | {median:.0} ns ({low:.0} … {high:.0}) |");
        report.figure(what, median, "ns");
    };
    let reads = if quick { 1000 } else { 200_000 };
    let budget = Duration::from_millis(if quick { 5 } else { 500 });
    let hits = |source: &dyn Source, seed: u64| {
        let mut random = Random::new(seed);
        for _ in 0..reads {
            std::hint::black_box(source.fetch(&storage.ids[random.below(segments as u64) as usize]).expect("a hit"));
        }
    };
    tell("heap, one thread", repeat(budget, || hits(&*source, 1)), reads);
    let counted = source.counted(None).0;
    tell("heap, one thread, counted for its query", repeat(budget, || hits(&*counted, 1)), reads);
    let two = || {
        std::thread::scope(|scope| {
            scope.spawn(|| hits(&*source, 1));
            hits(&*source, 2);
        });
    };
    tell("heap, each of two threads", repeat(budget, two), reads);
    drop((source, counted, cache));

    // So small a heap that every read goes below it: one after the other, each the least recently read.
    let mut below = |what: &str, config: &Config| {
        let cache = SegmentCache::open(config).expect("a cache");
        let source = storage.source(&cache);
        let all = || storage.ids.iter().for_each(|id| drop(source.fetch(id).expect("a segment")));
        let figure = repeat(budget, all);
        let stats = cache.stats();
        assert!(stats.heap.hits * 10 <= stats.heap.misses, "the heap is too large: {stats:?}");
        tell(what, figure, segments as u64);
    };
    let tiny = 2 * heap;
    below("disk, its file in the page cache: read, hash, decode", &with_disk(tiny));
    below("storage, which takes no time: hash, decode", &Config { disk: None, ..with_disk(tiny) });
    let decoding = repeat(budget, || {
        storage.bytes.values().for_each(|bytes| {
            std::hint::black_box(Segment::decode(bytes, &storage.attributes).expect("a segment"));
        });
    });
    tell("decoding alone", decoding, segments as u64);
    let hashing = repeat(budget, || storage.bytes.values().map(|bytes| segment::hash(bytes)[0]).max());
    tell("hashing alone", hashing, segments as u64);
    let opening = repeat(budget, || SegmentCache::open(&with_disk(tiny)).expect("a cache"));
    println!("\nopening a directory of {segments} segments: {}\n", opening.in_ms());
    report.figure("opening a directory, a segment", opening.median.as_secs_f64() * 1e6 / segments as f64, "µs");

    scan(&mut report, quick);
    ratio(&mut report, quick);
    contention(&mut report, quick);
}

/// A cold scan, each fetch taking a millisecond.
fn scan(report: &mut Report, quick: bool) {
    let segments = if quick { 20 } else { 500 };
    let storage = Arc::new(Storage::new(segments, 200, FETCH));
    println!("| cold scan of {segments} segments, a fetch takes 1 ms | took | read ahead |\n| --- | --- | --- |");
    let mut alone = None;
    for prefetch in [0, 1, 2, 4, 8] {
        let config = Config { heap_bytes: 64 << 20, prefetch, prefetch_queue: 64, disk: None };
        let cache = SegmentCache::open(&config).expect("a cache");
        let actors = actors(&cache, prefetch);
        let (source, io) = storage.source(&cache).counted(None);
        let begun = Instant::now();
        for (at, id) in storage.ids.iter().enumerate() {
            source.will_read(&storage.ids[at + 1..segments.min(at + 1 + 2 * prefetch)]);
            source.fetch(id).expect("a segment");
        }
        let took = begun.elapsed();
        let alone = *alone.get_or_insert(took);
        let ahead = io.of(Tier::Ahead).segments + io.of(Tier::Waited).segments;
        let times = alone.as_secs_f64() / took.as_secs_f64();
        println!("| {prefetch} ahead at once | {:.0} ms ({times:.1}×) | {ahead} |", took.as_secs_f64() * 1e3);
        report.figure(&format!("cold scan, {prefetch} ahead at once"), took.as_secs_f64() * 1e3, "ms");
        drop((cache, source));
        actors.into_iter().for_each(|actor| actor.join().expect("an actor"));
    }
    println!();
}

/// How often what is read is there, when one in twenty fits: skewed point reads, and scans of everything between them.
fn ratio(report: &mut Report, quick: bool) {
    let (segments, reads) = if quick { (100, 2000) } else { (2000, 200_000) };
    let storage = Arc::new(Storage::new(segments, 20, Duration::ZERO));
    let skewed = Zipf::new(segments, 0.9);
    println!("| one in twenty fits | this cache | least recently used |\n| --- | --- | --- |");
    for (what, scans) in
        [("skewed point reads", false), ("the same, and a scan of all after every tenth of them", true)]
    {
        let mut random = Random::new(7);
        let mut reads: Vec<usize> = (0..reads).map(|_| skewed.sample(&mut random)).collect();
        if scans {
            let tenth = reads.len() / 10;
            reads = reads.chunks(tenth).flat_map(|part| part.iter().copied().chain(0..segments)).collect();
        }
        let one = storage.heap_bytes(0);
        let fits = segments as u64 / 20;
        let config = Config { heap_bytes: fits * one, prefetch: 0, prefetch_queue: 1, disk: None };
        let cache = SegmentCache::open(&config).expect("a cache");
        let source = storage.source(&cache);
        reads.iter().for_each(|at| drop(source.fetch(&storage.ids[*at]).expect("a segment")));
        let ours = cache.stats().heap.hits as f64 / reads.len() as f64;
        let theirs = least_recently_used(&reads, fits as usize);
        println!("| {what} | {:.1} % | {:.1} % |", ours * 100.0, theirs * 100.0);
        report.figure(&format!("hit ratio, {what}"), ours, "of 1");
        report.figure(&format!("hit ratio of least recently used, {what}"), theirs, "of 1");
    }
    println!();
}

/// Point reads that hit, while another thread scans what does not fit, with and without fetching ahead.
fn contention(report: &mut Report, quick: bool) {
    let segments = if quick { 40 } else { 1000 };
    let storage = Arc::new(Storage::new(segments, 200, FETCH / 10));
    let hot = segments / 20;
    println!("| point reads of {hot} hot segments beside a scan of {segments}, a quarter of them fits | hits | p99 |");
    println!("| --- | --- | --- |");
    for prefetch in [0, 4] {
        let heap_bytes = storage.heap_bytes(0) * segments as u64 / 4;
        let cache =
            SegmentCache::open(&Config { heap_bytes, prefetch, prefetch_queue: 64, disk: None }).expect("a cache");
        let actors = actors(&cache, prefetch);
        let source = storage.source(&cache);
        let (points, io) = source.counted(None);
        (0..2).for_each(|_| storage.ids[..hot].iter().for_each(|id| drop(source.fetch(id).expect("a segment"))));
        let mut took = std::thread::scope(|scope| {
            let scan = scope.spawn(|| {
                for at in hot..segments {
                    source.will_read(&storage.ids[at + 1..segments.min(at + 1 + 2 * prefetch)]);
                    source.fetch(&storage.ids[at]).expect("a segment");
                }
            });
            let mut random = Random::new(3);
            let mut took = Vec::new();
            while !scan.is_finished() {
                let begun = Instant::now();
                points.fetch(&storage.ids[random.below(hot as u64) as usize]).expect("a segment");
                took.push(begun.elapsed());
            }
            took
        });
        let all: u64 = Tier::ALL.iter().map(|tier| io.of(*tier).segments).sum();
        let hits = io.of(Tier::Heap).segments as f64 / all.max(1) as f64;
        let p99 = if took.is_empty() { 0.0 } else { percentile_ms(&mut took, 99.0) * 1e3 };
        println!("| {prefetch} ahead at once | {:.2} % | {p99:.2} µs |", hits * 100.0);
        report.figure(&format!("hits of point reads beside a scan, {prefetch} ahead"), hits, "of 1");
        drop((cache, source, points));
        actors.into_iter().for_each(|actor| actor.join().expect("an actor"));
    }
    println!();
}

fn actors(cache: &Arc<SegmentCache>, count: usize) -> Vec<std::thread::JoinHandle<()>> {
    let prefetchers = (0..count).filter_map(|_| cache.prefetcher());
    let run = |prefetcher: cache::Prefetcher| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(prefetcher.run(|| {}));
        })
    };
    prefetchers.map(run).collect()
}

/// Leaves of one tree, in memory, fetched in a given time.
struct Storage {
    attributes: Arc<Attributes>,
    ids: Vec<SegmentId>,
    bytes: BTreeMap<Hash, Bytes>,
    takes: Duration,
}

impl Storage {
    /// Entities with ten attributes each, longs and names.
    fn new(segments: usize, rows: usize, takes: Duration) -> Storage {
        let attributes = Attributes::new((0..10).map(|at| EntityId::new(Partition::Db, 100 + at)));
        let mut random = Random::new(5);
        let (mut ids, mut all) = (Vec::new(), BTreeMap::new());
        for segment in 0..segments {
            let datom = |row: usize| {
                let (e, a) = ((segment * rows + row) as u64 / 10, row as u32 % 10);
                let v = match a {
                    0 => Value::string(format!("person {}", random.below(100_000))),
                    a => Value::Long(random.below(1 << (3 * a)) as i64),
                };
                Datom::new(EntityId::new(Partition::User, e), AttrId(a), v, 1 + random.below(1000), true)
            };
            let leaf = Node::Leaf((0..rows).map(datom).collect());
            let encoded = Segment { sort: Sort::Eavt, rows: Rows::Open(leaf) }.encode(&attributes).expect("a segment");
            let hash = segment::hash(&encoded);
            ids.push(SegmentId { database: LINEAGE, term: 1, job: 1, hash });
            all.insert(hash, Bytes::from(encoded));
        }
        Storage { attributes: Arc::new(attributes), ids, bytes: all, takes }
    }

    fn source(self: &Arc<Self>, cache: &Arc<SegmentCache>) -> Arc<cache::CachedSource> {
        cache
            .source(Reader { lineage: LINEAGE, database: LINEAGE }, self.attributes.clone(), self.clone())
            .expect("a source")
    }

    fn heap_bytes(&self, at: usize) -> u64 {
        let bytes = &self.bytes[&self.ids[at].hash];
        (Segment::decode(bytes, &self.attributes).expect("a segment").heap_bytes() + size_of::<Segment>()) as u64
    }
}

impl Fetch for Storage {
    fn fetch(&self, key: &SegmentKey) -> db::Result<Option<Bytes>> {
        if !self.takes.is_zero() {
            std::thread::sleep(self.takes);
        }
        Ok(self.bytes.get(&key.id.hash).cloned())
    }
}

/// Numbers below a bound, number k as often as 1 / (k + 1)^exponent, spread over the range.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(bound: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let sums = (0..bound).map(|k| {
            sum += 1.0 / ((k + 1) as f64).powf(exponent);
            sum
        });
        Zipf(sums.collect())
    }

    fn sample(&self, random: &mut Random) -> usize {
        let all = self.0.last().copied().unwrap_or(0.0);
        let at = random.below(1 << 53) as f64 / (1u64 << 53) as f64 * all;
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

/// The hit ratio of the plainest policy.
fn least_recently_used(reads: &[usize], fits: usize) -> f64 {
    let (mut used, mut order) = (HashMap::new(), VecDeque::new());
    let mut hits = 0;
    for (now, at) in reads.iter().enumerate() {
        hits += usize::from(used.insert(*at, now).is_some());
        order.push_back((*at, now));
        while used.len() > fits {
            // Each read has an entry; only the last of each counts.
            let Some((oldest, when)) = order.pop_front() else { break };
            if used.get(&oldest) == Some(&when) {
                used.remove(&oldest);
            }
        }
    }
    hits as f64 / reads.len() as f64
}
