//! Reading persisted trees: versions, moments of the past, novelty over trees, and what an index job writes.

use benches::Report;
use benches::measure::{Figure, percentile_ms};
use bytes::Bytes;
use cache::{Config, Fetch, Reader, SegmentCache, SegmentKey};
use db::index::segment::{Segment, SegmentId, Sizes, hash};
use db::index::{Sink, Sort};
use db::log::{DatabaseId, Hash};
use db::model::{AttrId, EntityId, Keyword, Partition, Value};
use db::schema::ids;
use db::{Datom, Db, Instant, Pattern};
use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DATABASE: DatabaseId = DatabaseId([1; 16]);

/// Storage in memory, without the wire: what is measured is reading.
#[derive(Default)]
struct Store {
    segments: Mutex<HashMap<Hash, Bytes>>,
}

impl Fetch for Store {
    fn fetch(&self, key: &SegmentKey) -> db::Result<Option<Bytes>> {
        Ok(self.segments.lock().unwrap_or_else(PoisonError::into_inner).get(&key.id.hash).cloned())
    }
}

struct Writing<'a> {
    store: &'a Store,
    attributes: db::index::segment::Attributes,
    segments: u64,
    bytes: u64,
}

impl Sink for Writing<'_> {
    fn put(&mut self, segment: Segment) -> db::Result<(SegmentId, u32)> {
        let bytes = segment.encode(&self.attributes)?;
        let id = SegmentId { database: DATABASE, term: 1, job: 1, hash: hash(&bytes) };
        let length = bytes.len() as u32;
        self.segments += 1;
        self.bytes += u64::from(length);
        let mut segments = self.store.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.insert(id.hash, bytes.into());
        Ok((id, length))
    }
}

struct Disk {
    store: Arc<Store>,
    cache: Arc<SegmentCache>,
    /// What jobs wrote, and the novelty they merged.
    written: u64,
    merged: u64,
}

impl Disk {
    fn new() -> Disk {
        let config = Config { heap_bytes: 4 << 30, prefetch: 0, ..Config::default() };
        let cache = SegmentCache::open(&config).expect("a cache");
        Disk { store: Arc::default(), cache, written: 0, merged: 0 }
    }

    fn index(&mut self, db: &Db) -> Db {
        let attributes = db.schema().entities();
        let mut sink = Writing { store: &self.store, attributes: attributes.clone(), segments: 0, bytes: 0 };
        let merged = db.merge(Sizes::default(), &mut sink, &mut || Ok(())).expect("a job");
        self.written += sink.bytes;
        self.merged += db.novelty_bytes() as u64;
        let source = self
            .cache
            .source(Reader { lineage: DATABASE, database: DATABASE }, Arc::new(attributes), self.store.clone())
            .expect("a source");
        db.onto(Arc::new(db.trees_of(merged, source))).expect("a value on new trees")
    }
}

/// A generator that is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn e(i: u64) -> EntityId {
    EntityId::new(Partition::User, 2000 + i)
}

/// A database of one plain long attribute and an indexed one.
fn empty() -> (Db, [AttrId; 2]) {
    let db = Db::bootstrap();
    let a = |e| db.schema().attr_of_entity(e).expect("a system attribute");
    let long = db.entity_of_ident(&Keyword::new("db.type/long")).expect("no trees to read").expect("a type");
    let mut datoms = vec![Datom::new(EntityId::of_tx(1), a(ids::TX_INSTANT), Value::Instant(Instant(1)), 1, true)];
    for (i, ident) in ["n/plain", "n/indexed"].into_iter().enumerate() {
        let e = EntityId::new(Partition::Db, 1024 + i as u64);
        let mut say = |attribute, v| datoms.push(Datom::new(e, a(attribute), v, 1, true));
        say(ids::IDENT, Value::keyword(ident));
        say(ids::VALUE_TYPE, Value::Ref(long));
        say(ids::CARDINALITY, Value::Ref(ids::CARDINALITY_ONE));
        if i == 1 {
            say(ids::INDEX, Value::Boolean(true));
        }
    }
    let db = db.commit(1, Instant(1), &datoms).expect("a schema");
    let attrs = ["n/plain", "n/indexed"].map(|ident| db.schema().attr_of_ident(&ident.into()).expect("installed"));
    (db, attrs)
}

/// What entity `i` has as its version `k`.
fn version(i: u64, k: u64) -> Value {
    Value::Long(((i * 7919 + k * 104_729) % 1_000_003) as i64)
}

/// Gives each of the entities its next version, a hundred in a transaction.
fn round(mut db: Db, a: AttrId, entities: u64, k: u64) -> Db {
    let instant = db.schema().attr_of_entity(ids::TX_INSTANT).expect("a system attribute");
    for first in (0..entities).step_by(100) {
        let t = db.basis_t() + 1;
        let now = Instant(t as i64);
        let mut datoms = vec![Datom::new(EntityId::of_tx(t), instant, Value::Instant(now), t, true)];
        for i in first..entities.min(first + 100) {
            if k > 0 {
                datoms.push(Datom::new(e(i), a, version(i, k - 1), t, false));
            }
            datoms.push(Datom::new(e(i), a, version(i, k), t, true));
        }
        db = db.commit(t, now, &datoms).expect("a commit");
    }
    db
}

/// Nanoseconds a call, by runs of a thousand calls.
fn ns_a_call(runs: usize, mut call: impl FnMut(usize)) -> (f64, f64) {
    let mut took: Vec<Duration> = (0..runs)
        .map(|run| {
            let begun = std::time::Instant::now();
            (0..1000).for_each(|i| call(run * 1000 + i));
            begun.elapsed()
        })
        .collect();
    let p90 = percentile_ms(&mut took, 90.0) * 1000.0;
    (Figure::of(took).median_ms() * 1000.0, p90)
}

fn main() {
    let mut report = Report::new("trees");
    let quick = benches::is_quick();
    let entities = if quick { 500 } else { 10_000 };
    let runs = if quick { 3 } else { 200 };
    let threshold = if quick { 1 << 20 } else { 32 << 20 };

    println!("Point reads as of random times, {entities} entities, all in trees, warm:\n");
    println!("| versions each | lives | ns a read, median (p90) | to one version | job bytes a byte of novelty |");
    println!("| --- | --- | --- | --- | --- |");
    let mut base = 0.0;
    for versions in [1, 10, 100, 1000].into_iter().filter(|versions| !quick || *versions <= 100) {
        let (mut db, [_, a]) = empty();
        let mut disk = Disk::new();
        for k in 0..versions {
            db = round(db, a, entities, k);
            if db.novelty_bytes() > threshold {
                db = disk.index(&db);
            }
        }
        db = disk.index(&db);
        let mut random = Random(7);
        // Warm, and right.
        let per_round = entities.div_ceil(100);
        let check = |random: &mut Random| {
            let (i, t) = (random.below(entities), 2 + random.below(db.basis_t() - 1));
            // Entity i gets version k at t 2 + k * per_round + i / 100.
            let expected = (t - 1).checked_sub(1 + i / 100).map(|past| version(i, past / per_round));
            let found = db.as_of(t).value(e(i), a).expect("a read");
            assert_eq!(found, expected, "entity {i} as of {t}");
        };
        (0..20_000).for_each(|_| check(&mut random));
        let (median, p90) = ns_a_call(runs, |_| {
            let (i, t) = (random.below(entities), 2 + random.below(db.basis_t() - 1));
            std::hint::black_box(db.as_of(t).value(e(i), a).expect("a read"));
        });
        if versions == 1 {
            base = median;
        }
        let amplification = disk.written as f64 / disk.merged as f64;
        let ratio = median / base;
        let lives = entities * versions;
        println!("| {versions} | {lives} | {median:.0} ({p90:.0}) | {ratio:.2} | {amplification:.2} |");
        report.figure(&format!("point read as of a random t, {versions} versions"), median, "ns");
        report.figure(&format!("the same, to one version, {versions} versions"), ratio, "ratio");
        report.figure(&format!("job bytes a byte of novelty, {versions} versions"), amplification, "ratio");
        if versions == 100 {
            past(&mut report, &db, a, entities);
        }
    }
    backlog(&mut report, entities, runs, threshold);
}

/// Reads as of moments of a history, with the rows each had to look at.
fn past(report: &mut Report, db: &Db, a: AttrId, entities: u64) {
    println!("\nAs of a moment of 100 versions each:\n");
    println!("| as of | read | rows | ms | ns a row |\n| --- | --- | --- | --- | --- |");
    for percent in [10, 50, 90, 100] {
        let view = db.as_of(db.basis_t() * percent / 100);
        let (low, high) = (Value::Long(500_000), Value::Long(510_000));
        let range = Pattern::all().a(a).between(Bound::Included(&low), Bound::Excluded(&high));
        let mut tell = |what: &str, read: &mut dyn FnMut() -> u64| {
            let rows = read();
            let mut took: Vec<Duration> = (0..5)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    assert_eq!(read(), rows);
                    begun.elapsed()
                })
                .collect();
            let ms = percentile_ms(&mut took, 50.0);
            println!("| {percent} % | {what} | {rows} | {ms:.3} | {:.0} |", ms * 1e6 / rows.max(1) as f64);
            report.figure(&format!("{what} as of {percent} %"), ms, "ms");
        };
        let count = |pattern: &Pattern<'_>| {
            let mut rows = 0;
            let counted = view.each(pattern, |_| {
                rows += 1;
                ControlFlow::Continue(())
            });
            counted.map(|()| rows).expect("a read")
        };
        tell("A-ordered, all entities", &mut || count(&Pattern::all().a(a)));
        tell("E-ordered, 100 entities", &mut || (0..100).map(|i| count(&Pattern::all().e(e(i * 97 % entities)))).sum());
        let sort = view.sort(&range).expect("a plan");
        tell(&format!("a value range of 1 % ({})", Sort::name(sort)), &mut || count(&range));
    }
    println!();
}

/// Point reads of the present while novelty grows.
fn backlog(report: &mut Report, entities: u64, runs: usize, threshold: usize) {
    let (mut db, [_, a]) = empty();
    let mut disk = Disk::new();
    let count = 20 * entities;
    db = round(db, a, count, 0);
    db = disk.index(&db);
    let mut k = 0;
    let mut full = db.clone();
    while full.novelty_bytes() < threshold {
        k += 1;
        // Of every fifth entity another version.
        let instant = full.schema().attr_of_entity(ids::TX_INSTANT).expect("a system attribute");
        for first in (0..count).step_by(500) {
            let t = full.basis_t() + 1;
            let now = Instant(t as i64);
            let mut datoms = vec![Datom::new(EntityId::of_tx(t), instant, Value::Instant(now), t, true)];
            for i in (first..count.min(first + 500)).step_by(5) {
                datoms.push(Datom::new(e(i), a, version(i, k - 1), t, false));
                datoms.push(Datom::new(e(i), a, version(i, k), t, true));
            }
            full = full.commit(t, now, &datoms).expect("a commit");
        }
    }
    println!("\nPoint reads of the present over {count} entities in trees:\n");
    println!("| novelty | ns a read, median (p90) | to none |\n| --- | --- | --- |");
    let mut base = 0.0;
    for (what, db, versions) in [("none", &db, 0), ("full", &full, k)] {
        let mut random = Random(7);
        let (median, p90) = ns_a_call(runs, |_| {
            let i = random.below(count);
            let found = db.value(e(i), a).expect("a read");
            assert_eq!(found, Some(version(i, if i.is_multiple_of(5) { versions } else { 0 })));
        });
        if base == 0.0 {
            base = median;
        }
        let mib = db.novelty_bytes() as f64 / 1_048_576.0;
        println!("| {what}: {mib:.1} MiB | {median:.0} ({p90:.0}) | {:.2} |", median / base);
        report.figure(&format!("point read now, {what} novelty"), median, "ns");
    }
}
