//! The space of deleted segments is given back, and whatever happens meanwhile takes nothing that is needed.

use diachron_storage::conformance::{database, noise, segment};
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{Compaction, ErrorKind, Options, SegmentKey, Store, open, sha256};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const EVERYTHING: Compaction = Compaction { copy_bytes_max: u64::MAX, live_percent_max: 100 };

fn options(disk: &FaultyDisk) -> Options {
    Options {
        redo_file_bytes: 1 << 20,
        frame_bytes_max: 64 * 1024,
        record_bytes_max: 5000,
        pack_bytes_target: 50_000,
        sled_cache_bytes: 1 << 20,
        free_bytes_reserve: 0,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

fn open_with(root: &Path, disk: &FaultyDisk) -> Store {
    open(&format!("sled:{}", root.join("store").display()), options(disk)).unwrap()
}

fn open_at(root: &Path) -> Store {
    open_with(root, &FaultyDisk::pretending(root))
}

fn put_all(store: &Store, count: u64) -> Vec<(SegmentKey, Vec<u8>)> {
    let all: Vec<_> = (0..count).map(|n| segment(1, n, "index-3", 4000 + n as usize)).collect();
    all.iter().for_each(|(key, bytes)| store.segments().put(key, bytes).unwrap());
    all
}

fn keys(segments: &[(SegmentKey, Vec<u8>)]) -> Vec<SegmentKey> {
    segments.iter().map(|(key, _)| key.clone()).collect()
}

fn check(store: &Store, segments: &[(SegmentKey, Vec<u8>)]) {
    for (key, bytes) in segments {
        assert!(store.segments().get(key).unwrap().as_ref() == Some(bytes), "{key:?} is lost or changed");
    }
}

fn pack_bytes(root: &Path) -> u64 {
    let files = std::fs::read_dir(root.join("store/packs")).unwrap();
    files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_pack_whose_segments_are_all_deleted_is_removed_without_copying() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let all = put_all(&store, 60);
    let before = pack_bytes(dir.path());
    store.segments().delete_all(&keys(&all[..50])).unwrap();
    let done = store.segments().compact(Compaction { copy_bytes_max: 0, live_percent_max: 0 }).unwrap();
    assert_eq!((done.copied_bytes, done.more), (0, false));
    assert!(done.freed_bytes > 150_000 && pack_bytes(dir.path()) <= before - done.freed_bytes, "{done:?}");
    check(&store, &all[50..]);
    store.close().unwrap();
    // What is there is found from the packs alone, and what was emptied is not taken for damage.
    std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
    let store = open_at(dir.path());
    check(&store, &all[50..]);
    assert_eq!(store.segments().get(&all[0].0).unwrap(), None);
    // Some were deleted in packs that hold others: those are back, and nothing but garbage.
    let listed = store.segments().list(database(1), None, 100).unwrap();
    let garbage: Vec<_> = listed.into_iter().filter(|key| !keys(&all[50..]).contains(key)).collect();
    assert!(garbage.iter().all(|key| keys(&all[40..50]).contains(key)), "{garbage:?}");
    store.segments().delete_all(&garbage).unwrap();
    assert_eq!(store.segments().list(database(1), None, 100).unwrap().len(), 10);
    store.close().unwrap();
}

#[test]
fn packs_with_little_left_are_copied_in_bounded_steps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let all = put_all(&store, 60);
    let (stay, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key.term.is_multiple_of(5));
    store.segments().delete_all(&keys(&gone)).unwrap();
    let (before, mut steps, mut copied) = (pack_bytes(dir.path()), 0, 0);
    loop {
        let done = store.segments().compact(Compaction { copy_bytes_max: 10_000, live_percent_max: 50 }).unwrap();
        assert!(done.copied_bytes <= 10_000 && done.damaged.is_empty(), "{done:?}");
        check(&store, &stay);
        (steps, copied) = (steps + 1, copied + done.copied_bytes);
        if !done.more {
            break;
        }
    }
    assert!(steps > 3 && copied < 60_000, "{steps} steps, {copied} bytes copied");
    assert!(pack_bytes(dir.path()) < before / 2, "{} of {before}", pack_bytes(dir.path()));
    let usage = store.usage().unwrap();
    assert!(usage.dead_bytes < usage.live_bytes, "{usage:?}");
    store.close().unwrap();
    for lose_sled in [false, true] {
        if lose_sled {
            std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
        }
        let store = open_at(dir.path());
        check(&store, &stay);
        store.close().unwrap();
    }
}

/// An erasure rests on this: of what was deleted no byte is left, in no file.
#[test]
fn compacting_everything_leaves_no_byte_of_what_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let marker = noise(77, 64);
    let all = put_all(&store, 20);
    let bytes = [noise(1, 1000), marker.clone(), noise(2, 1000)].concat();
    let key = SegmentKey { hash: sha256(&bytes), ..all[0].0.clone() };
    store.segments().put(&key, &bytes).unwrap();
    let more = put_all(&store, 23);
    let there = || {
        let files = std::fs::read_dir(dir.path().join("store/packs")).unwrap().map(|entry| entry.unwrap().path());
        let bytes: Vec<Vec<u8>> = files.map(|path| std::fs::read(path).unwrap()).collect();
        bytes.iter().any(|bytes| bytes.windows(marker.len()).any(|window| window == marker))
    };
    assert!(there());
    store.segments().delete(&key).unwrap();
    let done = store.segments().compact(EVERYTHING).unwrap();
    assert!(!done.more && !there(), "{done:?}");
    check(&store, &more);
    // Nothing is left to be done.
    assert_eq!(store.segments().compact(EVERYTHING).unwrap(), Default::default());
    store.close().unwrap();
}

#[test]
fn whoever_reads_while_segments_are_copied_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let all = put_all(&store, 80);
    let (stay, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key.term.is_multiple_of(4));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    check(&store, &stay);
                }
            });
        }
        scope.spawn(|| {
            for gone in gone.chunks(10) {
                store.segments().delete_all(&keys(gone)).unwrap();
                while store.segments().compact(Compaction { copy_bytes_max: 9000, live_percent_max: 90 }).unwrap().more
                {
                }
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    check(&store, &stay);
    store.close().unwrap();
}

/// The bytes of one segment are damaged where they lie: it is named, its file stays, and all others are copied.
#[test]
fn a_damaged_segment_is_named_and_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path());
    let all = put_all(&store, 30);
    store.segments().delete_all(&keys(&all[1..8])).unwrap();
    let path = dir.path().join("store/packs/0000000001.pack");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[72 + 152 + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let done = store.segments().compact(EVERYTHING).unwrap();
    assert_eq!(done.damaged, keys(&all[..1]));
    assert!(std::fs::metadata(&path).unwrap().len() > 10_000);
    let error = store.segments().get(&all[0].0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("0000000001.pack at byte 72"), "{error}");
    check(&store, &all[8..]);
    store.close().unwrap();
}

/// Nothing is let go of before a redo frame vouches for the copies.
#[test]
fn a_pack_stays_until_a_checkpoint_stands_behind_its_copies() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk);
    let all = put_all(&store, 30);
    store.segments().delete_all(&keys(&all[1..10])).unwrap();
    let first = dir.path().join("store/packs/0000000001.pack");
    let held = disk.hold_syncs(".redo");
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| store.segments().compact(EVERYTHING).unwrap());
        while disk.holding() == 0 {
            assert!(!compacting.is_finished());
            std::thread::yield_now();
        }
        assert!(std::fs::metadata(&first).unwrap().len() > 40_000);
        check(&store, &all[..1]);
        drop(held);
        assert!(compacting.join().unwrap().freed_bytes > 40_000);
    });
    assert!(std::fs::metadata(&first).unwrap().len() < 100);
    check(&store, &all[..1]);
    check(&store, &all[10..]);
    store.close().unwrap();
}

/// Segments that are on their way are written into a pack that is ended meanwhile, and are not in the directory yet: nobody
/// may take them for deleted.
#[test]
fn segments_that_are_being_put_are_not_taken_for_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk);
    let all: Vec<_> = (0..20).map(|n| segment(1, n, "index-3", 4000 + n as usize)).collect();
    let second = dir.path().join("store/packs/0000000002.pack");
    let held = disk.hold_syncs(".pack");
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| store.segments().put_all(&all).unwrap());
        let wait = |until: &dyn Fn() -> bool| {
            while !until() {
                assert!(!putting.is_finished());
                std::thread::yield_now();
            }
        };
        // The first pack is synced when it is full, and all of them at the end.
        wait(&|| disk.holding() == 1);
        held.let_one_go();
        wait(&|| disk.holding() == 1 && second.exists());
        store.segments().compact(EVERYTHING).unwrap();
        drop(held);
        putting.join().unwrap();
    });
    check(&store, &all);
    store.close().unwrap();
}
