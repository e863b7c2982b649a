//! The power is cut at every write and sync of a run: nothing acknowledged, and nothing that anybody has
//! seen, is lost; what is left opens without help.

use diachron_storage::conformance::{Dice, database, head_after, noise, read_all, sealed_before, segment};
use diachron_storage::faulty::{FaultyDisk, Trace};
use diachron_storage::{Appended, Compaction, Head, Journal, Options, PodPut, Records, Replaced, Store, open, sha256};
use std::path::Path;
use std::sync::Arc;

const DATABASES: u8 = 3;
const SEGMENTS: u64 = 12;
/// So often the log tree takes over.
const INDEX_EVERY: u64 = 5;

/// So often a record is replaced at most.
const REPLACED_MAX: u64 = 2;

/// Cuts at each place of the trace; `DIACHRON_SLOW` multiplies them.
const CUTS_PER_PLACE: u64 = 1;

/// What a mark in the trace stands for.
#[derive(Debug, PartialEq, Eq)]
enum Promise {
    /// A record of this database and seq was acknowledged or read.
    Record(u8, u64),
    /// The pod was seen with this version or a newer one.
    Pod(u64),
    Segment(u64),
    /// Records of this database before this seq were sealed.
    Seal(u8, u64),
    /// Somebody began to delete the segment: it is there or not.
    Deleting(u64),
    /// A record of this database and seq was replaced so often, or was read so.
    Replaced(u8, u64, u64),
}

impl Promise {
    fn mark(&self) -> u64 {
        match self {
            Promise::Record(db, seq) => u64::from(*db) << 32 | seq,
            Promise::Pod(version) => 100 << 32 | version,
            Promise::Segment(n) => 101 << 32 | n,
            Promise::Deleting(n) => 102 << 32 | n,
            Promise::Seal(db, before_seq) => (200 + u64::from(*db)) << 32 | before_seq,
            Promise::Replaced(db, seq, times) => (300 + u64::from(*db)) << 32 | seq << 8 | times,
        }
    }

    fn from_mark(mark: u64) -> Promise {
        match (mark >> 32, mark & 0xffff_ffff) {
            (100, version) => Promise::Pod(version),
            (101, n) => Promise::Segment(n),
            (102, n) => Promise::Deleting(n),
            (replaced @ 300.., rest) => Promise::Replaced((replaced - 300) as u8, rest >> 8, rest & 0xff),
            (seal @ 200.., before_seq) => Promise::Seal((seal - 200) as u8, before_seq),
            (db, seq) => Promise::Record(db as u8, seq),
        }
    }
}

fn options(disk: &FaultyDisk) -> Options {
    Options {
        record_bytes_max: 5000,
        redo_file_bytes: 128 * 1024,
        frame_bytes_max: 8 * 1024,
        checkpoint_bytes: 12_000,
        pack_bytes_target: 20_000,
        sled_cache_bytes: 1 << 20,
        free_bytes_reserve: 0,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

fn open_at(root: &Path, disk: &FaultyDisk) -> diachron_storage::Result<Store> {
    open(&format!("sled:{}", root.join("store").display()), options(disk))
}

fn record(db: u8, seq: u64) -> Vec<u8> {
    let bytes = Dice::new(seq << 8 | u64::from(db)).below(4500) as usize + 1;
    noise(seq << 8 | u64::from(db), bytes)
}

/// What a record is after it was replaced so often.
fn replaced(db: u8, seq: u64, times: u64) -> Vec<u8> {
    if times == 0 {
        return record(db, seq);
    }
    let seed = times << 40 | seq << 8 | u64::from(db);
    noise(seed, Dice::new(seed).below(4900) as usize + 1)
}

/// How often a record was replaced, by what it is.
fn times_of(db: u8, seq: u64, bytes: &[u8]) -> Option<u64> {
    (0..REPLACED_MAX + 1).find(|times| replaced(db, seq, *times) == bytes)
}

fn pack_segment(n: u64) -> (diachron_storage::SegmentKey, Vec<u8>) {
    segment(1, n, "index", 500 + n as usize * 400)
}

/// A run of a store over three starts: writers of three databases, a pod, segments, and a reader who remembers
/// what it has seen.
fn run(root: &Path, records: u64) -> Trace {
    let disk = FaultyDisk::recording(root);
    let mut heads: [Option<Head>; DATABASES as usize] = [None; DATABASES as usize];
    let mut pod = 0;
    for start in 0..3u64 {
        let store = open_at(root, &disk).unwrap();
        assert_eq!(store.notes(), [""; 0]);
        std::thread::scope(|scope| {
            for (db, head) in heads.iter_mut().enumerate() {
                let (journal, disk, db) = (store.journal(), &disk, db as u8);
                scope.spawn(move || {
                    for _ in 0..records {
                        let bytes = record(db, head.map_or(1, |head| head.seq + 1));
                        let mut next = head_after(*head, &bytes);
                        // Database 0 keeps all of its records.
                        let is_index = db > 0 && next.seq.is_multiple_of(INDEX_EVERY);
                        if is_index {
                            next.index_seq = next.seq;
                        }
                        assert_eq!(journal.append(database(db), *head, next, &bytes).unwrap(), Appended::Done);
                        disk.mark(Promise::Record(db, next.seq).mark());
                        *head = Some(next);
                        // The newest, and one from a while ago, which may be sealed.
                        for (at, times) in [(next.seq, 1), (next.seq.saturating_sub(7), 2)] {
                            if next.seq.is_multiple_of(3) && at > 0 {
                                replace(&*journal, disk, db, at, times);
                            }
                        }
                        if is_index {
                            journal.seal(database(db), next.seq).unwrap();
                            disk.mark(Promise::Seal(db, next.seq).mark());
                        }
                    }
                });
            }
            let (journal, disk, pod) = (store.journal(), &disk, &mut pod);
            scope.spawn(move || {
                for _ in 0..5 {
                    let PodPut::Done(version) = journal.put_pod("pod", *pod, &pod.to_le_bytes()).unwrap() else {
                        panic!("nobody else writes the pod")
                    };
                    disk.mark(Promise::Pod(version).mark());
                    *pod = version;
                }
            });
            let segments = store.segments();
            scope.spawn(move || {
                for n in start * SEGMENTS / 3..(start + 1) * SEGMENTS / 3 {
                    let (key, bytes) = pack_segment(n);
                    segments.put(&key, &bytes).unwrap();
                    disk.mark(Promise::Segment(n).mark());
                    // All of the first start's, and every other one later.
                    if n < SEGMENTS / 3 || n.is_multiple_of(2) {
                        disk.mark(Promise::Deleting(n).mark());
                        segments.delete(&key).unwrap();
                    }
                }
                // The last time records are said again, too, which alone keep the oldest redo file.
                let live_percent_max = if start == 2 { 100 } else { 80 };
                let wanted = Compaction { copy_bytes_max: 40_000, live_percent_max };
                while segments.compact(wanted).unwrap().more {}
            });
            let journal = store.journal();
            scope.spawn(move || {
                for _ in 0..200 {
                    for db in 0..DATABASES {
                        if let Some(head) = journal.head(database(db)).unwrap() {
                            disk.mark(Promise::Record(db, head.seq).mark());
                            if let Records::Found(found) = journal.read(database(db), head.seq, 1).unwrap() {
                                let found = &found[0];
                                let times = times_of(db, found.seq, &found.bytes).expect("one that was written");
                                disk.mark(Promise::Replaced(db, found.seq, times).mark());
                            }
                        }
                    }
                    std::thread::yield_now();
                }
            });
        });
        // The second start ends without a word, the others in order.
        if start != 1 {
            store.close().unwrap();
        }
    }
    assert!(!root.join("store/redo/0000000001.redo").exists(), "the run is long enough for a redo file to go");
    let first_pack = std::fs::metadata(root.join("store/packs/0000000001.pack")).unwrap();
    assert!(first_pack.len() < 100, "the run is long enough for a pack to be emptied");
    disk.trace()
}

/// Replaces a record for the so manieth time, however often it was replaced before.
fn replace(journal: &dyn Journal, disk: &FaultyDisk, db: u8, seq: u64, times: u64) {
    let Records::Found(found) = journal.read(database(db), seq, 1).unwrap() else { return };
    let new = replaced(db, seq, times);
    match journal.replace_body(database(db), seq, sha256(&found[0].bytes), &new).unwrap() {
        Replaced::Done => disk.mark(Promise::Replaced(db, seq, times).mark()),
        refused => panic!("record {seq} of {db}: {refused:?}"),
    }
}

/// Opens what a cut left and checks that every promise is kept.
fn check(root: &Path, promises: &[Promise], sled: &str, what: &str) {
    let disk = FaultyDisk::pretending(root);
    let store = open_at(root, &disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    if sled == "as synced" {
        let rebuilt = store.notes().iter().find(|note| note.contains("rebuilt"));
        assert_eq!(rebuilt, None, "{what}: a sled that is as it was synced is good enough");
    }
    check_store(&store, promises, what);
    // It goes on from there, and what it writes then is there after another start.
    let journal = store.journal();
    let mut ends = Vec::new();
    for db in 0..DATABASES {
        let head = journal.head(database(db)).unwrap();
        let bytes = record(db, head.map_or(1, |head| head.seq + 1));
        let next = head_after(head, &bytes);
        assert_eq!(journal.append(database(db), head, next, &bytes).unwrap(), Appended::Done, "{what}");
        ends.push(Promise::Record(db, next.seq));
    }
    drop(journal);
    drop(store);
    let store = open_at(root, &disk).unwrap_or_else(|error| panic!("{what}, second start: {error}"));
    assert_eq!(store.notes(), [""; 0], "{what}: a start mends things once");
    check_store(&store, &ends, what);
}

fn check_store(store: &Store, promises: &[Promise], what: &str) {
    let journal = store.journal();
    for db in 0..DATABASES {
        let records = read_all(&*journal, database(db));
        let head = journal.head(database(db)).unwrap();
        let last = records.last().map_or(0, |record| record.seq);
        assert_eq!(head.map_or(0, |head| head.seq), last, "{what}: the log ends at the head");
        let sealed = sealed_before(&*journal, database(db));
        assert!(db > 0 || sealed == 1, "{what}: nothing of database 0 was sealed");
        assert!(sealed <= head.map_or(1, |head| head.index_seq.max(1)), "{what}: {sealed} is in no log tree");
        for found in records {
            let times = times_of(db, found.seq, &found.bytes);
            let times = times.unwrap_or_else(|| panic!("{what}: record {} of {db} is another one", found.seq));
            let promised = promises.iter().filter_map(|promise| match promise {
                Promise::Replaced(of, seq, times) if (*of, *seq) == (db, found.seq) => Some(*times),
                _ => None,
            });
            let promised = promised.max().unwrap_or(0);
            assert!(times >= promised, "{what}: record {} of {db} is what it was before it was replaced", found.seq);
        }
    }
    for promise in promises {
        match promise {
            Promise::Record(db, seq) => {
                let head = journal.head(database(*db)).unwrap().map_or(0, |head| head.seq);
                assert!(head >= *seq, "{what}: record {seq} of database {db} is lost, the log ends at {head}");
            }
            Promise::Replaced(..) => {}
            // Garbage at most, which can be deleted again.
            Promise::Deleting(n) => {
                let (key, _) = pack_segment(*n);
                store.segments().delete(&key).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(store.segments().get(&key).unwrap(), None, "{what}");
            }
            Promise::Pod(version) => {
                let now = journal.read_pod("pod").unwrap().map_or(0, |pod| pod.0);
                assert!(now >= *version, "{what}: version {version} of the pod is lost, it has {now}");
            }
            Promise::Seal(db, before_seq) => {
                let now = sealed_before(&*journal, database(*db));
                assert!(now >= *before_seq, "{what}: the seal of {db} before {before_seq} is lost, it is {now}");
            }
            Promise::Segment(n) if promises.contains(&Promise::Deleting(*n)) => {}
            Promise::Segment(n) => {
                let (key, bytes) = pack_segment(*n);
                assert!(store.segments().get(&key).unwrap() == Some(bytes), "{what}: segment {n} is lost");
            }
        }
    }
}

/// Stores are made and thrown away by the hundred: in memory, where there is room for that.
fn scratch() -> tempfile::TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn slow_factor() -> u64 {
    let factor = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse().ok());
    factor.unwrap_or(1)
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_or_seen() {
    let dir = scratch();
    let trace = run(dir.path(), 12);
    let places = trace.places_worth_a_cut();
    let mut left = std::collections::BTreeMap::new();
    let mut cuts = 0;
    for place in &places {
        for round in 0..CUTS_PER_PLACE * slow_factor() {
            let seed = *place as u64 * 1000 + round;
            let target = scratch();
            let cut = trace.cut(*place, seed, target.path()).unwrap();
            let promises: Vec<Promise> = cut.marks.iter().map(|mark| Promise::from_mark(*mark)).collect();
            let what = format!("cut after {place} of {} events, seed {seed}, sled {}", trace.places() - 1, cut.sled);
            check(target.path(), &promises, cut.sled, &what);
            *left.entry(cut.sled).or_insert(0) += 1;
            cuts += 1;
        }
    }
    println!("{cuts} cuts at {} places, sled {left:?}", places.len());
}
