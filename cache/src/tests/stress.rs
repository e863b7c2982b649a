//! Many threads against what is true of every answer: it is what its name says, one fetch at a time, and no more is
//! held than may be.

use super::*;
use db::index::segment::Source;
use proptest::prelude::*;
use std::path::Path;

const THREADS: u64 = 4;
const SEGMENTS: u64 = 64;

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    /// In segments.
    heap: u64,
    disk: Option<u64>,
    prefetch: usize,
    reads: u64,
    /// One in so many fetches fails, and one in so many reads first damages an entry on disk.
    failures: u64,
    damages: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let disk = prop_oneof![Just(None), (2..80u64).prop_map(Some)];
    (any::<u64>(), 8..100u64, disk, 0..3usize, 50..400u64, 5..200u64, 10..100u64).prop_map(
        |(seed, heap, disk, prefetch, reads, failures, damages)| Case {
            seed,
            heap,
            disk,
            prefetch,
            reads,
            failures,
            damages,
        },
    )
}

/// A small generator (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }

    /// Few numbers often, the others seldom.
    fn skewed(&mut self, bound: u64) -> u64 {
        let below = 1 + self.below(bound);
        self.below(below)
    }
}

/// Fails now and then.
struct Flaky {
    storage: Arc<Storage>,
    random: Mutex<Random>,
    failures: u64,
}

impl Fetch for Flaky {
    fn fetch(&self, key: &SegmentKey) -> Result<Option<Bytes>> {
        let fails = self.random.lock().unwrap().below(self.failures) == 0;
        let found = self.storage.fetch(key)?;
        if fails { Err(Error::new(Category::Unavailable, "db.error/unavailable", "on purpose")) } else { Ok(found) }
    }
}

fn stored_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => stored_bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |about| about.len().next_multiple_of(4096)),
    });
    sizes.sum()
}

fn damage(dir: &Path, id: &SegmentId) {
    let name: String = id.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = dir.join(LINEAGE.to_string()).join(&name[..2]).join(name);
    if let Ok(mut bytes) = std::fs::read(&path) {
        bytes[3] ^= 0x40;
        // Not created: it may have been given up.
        if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&path) {
            let _ = std::io::Write::write_all(&mut file, &bytes);
        }
    }
}

fn run(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::new();
    let ids = storage.fill(SEGMENTS, 6000);
    let segment_bytes = crate::heap::bytes_of(&decoded(&encoded(0, 64, 12)).unwrap());
    let config = Config {
        heap_bytes: case.heap * segment_bytes,
        prefetch: case.prefetch,
        prefetch_queue: 8,
        disk: case.disk.and_then(|segments| disk(dir.path(), segments * 8192)),
    };
    let stored = dir.path().join(LINEAGE.to_string());
    // The second time what is on disk is found.
    for round in 0..2 {
        let cache = SegmentCache::open(&config).unwrap();
        let actors: Vec<_> = (0..case.prefetch).map(|_| prefetching(cache.prefetcher().unwrap())).collect();
        let random = Mutex::new(Random(case.seed ^ round));
        let fetch = Arc::new(Flaky { storage: storage.clone(), random, failures: case.failures });
        let source = cache.source_decoding(founder(LINEAGE), 0, decode(), fetch).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (source, cache, ids, stored, dir, config) = (&source, &cache, &ids, &stored, dir.path(), &config);
                scope.spawn(move || {
                    let mut random = Random(case.seed.wrapping_mul(31) ^ (round * THREADS + thread));
                    let mut at = 0;
                    for _ in 0..case.reads {
                        // Points, and scans that wander on.
                        at = if random.below(3) == 0 { (at + 1) % SEGMENTS } else { random.skewed(SEGMENTS) };
                        if random.below(4) == 0 {
                            source.will_read(&ids[at as usize..SEGMENTS.min(at + 6) as usize]);
                        }
                        if random.below(case.damages) == 0 {
                            damage(dir, &ids[at as usize]);
                        }
                        match source.fetch(&ids[at as usize]) {
                            Ok(segment) => assert_eq!(*segment, decoded(&encoded(at, 64, 12)).unwrap()),
                            Err(error) => assert_eq!(error.code(), "db.error/unavailable", "{error}"),
                        }
                        let stats = cache.stats();
                        let held = stats.heap.bytes + stats.prefetch.waiting_bytes;
                        assert!(held <= config.heap_bytes + segment_bytes, "{held} of {}", config.heap_bytes);
                        if let Some(tier) = stats.disk {
                            assert!(tier.bytes <= tier.bytes_max, "{tier:?}");
                        }
                        if random.below(16) == 0 {
                            let bytes = stored_bytes(stored);
                            // Files that others are about to delete, or have just written too late.
                            let spare = 8192 * (THREADS + case.prefetch as u64);
                            assert!(bytes <= case.disk.unwrap_or(0) * 8192 + spare, "{bytes} for {case:?}");
                        }
                    }
                });
            }
        });
        drop((source, cache));
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        // All is at rest: what is on disk is what may be.
        assert!(stored_bytes(&stored) <= case.disk.unwrap_or(0) * 8192);
    }
    assert!(!storage.change(|state| state.twice_at_once), "two fetched the same at once");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("DIACHRON_SLOW").is_some() { 400 } else { 12 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_answer_is_right_no_segment_is_fetched_twice_at_once_and_the_bounds_hold(case in case()) {
        run(&case);
    }
}
