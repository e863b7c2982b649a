use super::*;
use crate::CacheStats;
use db::index::segment::Source;
use std::fs;
use std::path::{Path, PathBuf};

fn open(dir: &Path, bytes: u64) -> Result<Arc<SegmentCache>> {
    SegmentCache::open(&Config { disk: disk(dir, bytes), ..config(1 << 20) })
}

/// The files of segments, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(groups) = fs::read_dir(dir.join(LINEAGE.to_string())) else { return files };
    for group in groups {
        files.extend(fs::read_dir(group.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    files.sort();
    files
}

fn blocks(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| fs::metadata(file).unwrap().len().next_multiple_of(4096)).sum()
}

fn read_all(cache: &Arc<SegmentCache>, storage: &Arc<Storage>, ids: &[SegmentId]) -> CacheStats {
    let source = source(cache, storage);
    for (number, id) in ids.iter().enumerate() {
        let expected = decoded(&encoded(number as u64, 64, 12)).unwrap();
        assert_eq!(*source.fetch(id).unwrap(), expected);
    }
    cache.stats()
}

#[test]
fn segments_survive_a_restart() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(50, 5000);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    assert_eq!((storage.fetches(), files(dir.path()).len()), (50, 50));
    let stats = read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    let tier = stats.disk.unwrap();
    assert_eq!((storage.fetches(), tier.hits, tier.misses, tier.hit_bytes), (50, 50, 0, 250_000));
    assert_eq!((tier.segments, tier.bytes), (50, 50 * 8192));
}

#[test]
fn a_damaged_entry_is_dropped_counted_and_fetched_again() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(6, 5000);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    let files = files(dir.path());
    let whole = fs::read(&files[0]).unwrap();
    let mut flipped = whole.clone();
    flipped[4000] ^= 1;
    fs::write(&files[0], flipped).unwrap();
    fs::write(&files[1], &whole[..4999]).unwrap();
    fs::write(&files[2], []).unwrap();
    fs::write(&files[3], &whole).unwrap();
    // Its name is an entry's, and it cannot be read as a file.
    fs::remove_file(&files[4]).unwrap();
    fs::create_dir(&files[4]).unwrap();

    let stats = read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    assert_eq!((stats.disk_damaged, stats.disk.unwrap().hits, storage.fetches()), (5, 1, 6 + 5));
    // All but the directory, which stays in the way, are there again.
    let stats = read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    assert_eq!((stats.disk_damaged, stats.disk.unwrap().hits, storage.fetches()), (1, 5, 6 + 5 + 1));
}

#[test]
fn a_file_that_vanishes_is_a_miss() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(3, 100);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    let cache = open(dir.path(), 1 << 20).unwrap();
    fs::remove_file(&files(dir.path())[1]).unwrap();
    let stats = read_all(&cache, &storage, &ids);
    assert_eq!((stats.disk_damaged, stats.disk.unwrap().hits, storage.fetches()), (0, 2, 4));
}

#[test]
fn what_was_being_written_is_gone_after_a_restart_and_other_files_are_left_alone() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(3, 100);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    fs::write(dir.path().join("tmp/17"), b"half of a segm").unwrap();
    let note = files(dir.path())[0].with_file_name("note");
    fs::write(&note, b"not ours").unwrap();
    let stats = open(dir.path(), 1 << 20).unwrap().stats();
    assert_eq!(stats.disk.unwrap().segments, 3);
    assert!(note.exists() && fs::read_dir(dir.path().join("tmp")).unwrap().next().is_none());
}

#[test]
fn the_directory_takes_no_more_than_it_may() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(100, 5000);
    let bytes_max = 20 * 8192;
    let cache = open(dir.path(), bytes_max).unwrap();
    let source = source(&cache, &storage);
    for id in &ids {
        source.fetch(id).unwrap();
        assert!(blocks(&files(dir.path())) <= bytes_max);
    }
    let tier = cache.stats().disk.unwrap();
    assert_eq!((tier.bytes, tier.evictions), (blocks(&files(dir.path())), 100 - tier.segments));
    assert!(tier.segments >= 19, "{tier:?}");
    drop((source, cache));
    // And again, when it may take less.
    let cache = open(dir.path(), 5 * 8192).unwrap();
    let tier = cache.stats().disk.unwrap();
    assert_eq!((tier.bytes, tier.segments), (blocks(&files(dir.path())), files(dir.path()).len() as u64));
    assert!((4..=5).contains(&tier.segments), "{tier:?}");
}

#[test]
fn a_segment_larger_than_the_directory_is_only_on_the_heap() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(1, 50_000);
    let cache = open(dir.path(), 5 * 8192).unwrap();
    read_all(&cache, &storage, &ids);
    let stats = read_all(&cache, &storage, &ids);
    assert_eq!((storage.fetches(), stats.heap.hits, files(dir.path()).len()), (1, 1, 0));
}

#[test]
fn without_free_space_nothing_is_added_and_everything_is_answered() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(3, 100);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids[..1]);
    let full = Disk { free_bytes_min: u64::MAX, ..disk(dir.path(), 1 << 20).unwrap() };
    let cache = SegmentCache::open(&Config { disk: Some(full), ..config(1 << 20) }).unwrap();
    let stats = read_all(&cache, &storage, &ids);
    let tier = stats.disk.unwrap();
    assert_eq!((tier.hits, tier.misses, tier.segments, stats.disk_not_kept), (1, 2, 1, 2));
}

#[test]
fn a_directory_that_fails_under_the_cache_costs_only_the_tier() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(3, 100);
    let cache = open(dir.path(), 1 << 20).unwrap();
    fs::remove_dir_all(dir.path().join("tmp")).unwrap();
    let stats = read_all(&cache, &storage, &ids);
    assert_eq!((stats.disk_not_kept, stats.disk.unwrap().segments, stats.fetches), (3, 0, 3));
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20).unwrap();
    let error = open(dir.path(), 1 << 20).err().unwrap();
    assert_eq!((error.category(), error.code()), (Category::Conflict, "db.error/cache-in-use"));
    let path = dir.path().display().to_string();
    assert!(error.message().contains(&path) && error.message().contains("another process"), "{error}");
    drop(cache);
    open(dir.path(), 1 << 20).unwrap();
}

#[test]
fn a_directory_that_is_no_cache_of_ours_is_refused_by_name_and_left_as_it_is() {
    for (file, text, expected) in [
        ("thesis.txt", "a year's work", "holds \"thesis.txt\""),
        ("diachron-cache", "diachron segment cache\nformat 2\nlineage any\n", "is a cache directory of format 2"),
        ("diachron-cache", "something else", "damaged marker"),
        ("diachron-cache", "diachron segment cache\nformat 1\n", "damaged marker"),
        (
            "diachron-cache",
            "diachron segment cache\nformat 1\nlineage 08080808080808080808080808080808\n",
            "for lineage 08080808080808080808080808080808, not for any",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let error = open(dir.path(), 1 << 20).err().unwrap();
        assert_eq!((error.category(), error.code()), (Category::Incorrect, "db.error/cache-directory"));
        let path = dir.path().display().to_string();
        assert!(error.message().contains(&path) && error.message().contains(expected), "{error}");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [file]);
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), text);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file, 1 << 20).err().unwrap();
    assert_eq!(error.code(), "db.error/cache-directory");
    assert!(error.message().contains(&file.display().to_string()), "{error}");
}

#[test]
fn a_directory_of_an_older_format_is_cleared() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(3, 100);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    fs::write(dir.path().join("diachron-cache"), "diachron segment cache\nformat 0\n").unwrap();
    let cache = open(dir.path(), 1 << 20).unwrap();
    assert_eq!((cache.stats().disk.unwrap().segments, files(dir.path()).len()), (0, 0));
    read_all(&cache, &storage, &ids);
    drop(cache);
    assert_eq!(open(dir.path(), 1 << 20).unwrap().stats().disk.unwrap().segments, 3);
}

#[test]
fn a_directory_of_one_lineage_is_for_that_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let of = |lineage| Config { disk: Some(Disk { lineage, ..disk(dir.path(), 1 << 20).unwrap() }), ..config(1 << 20) };
    let cache = SegmentCache::open(&of(Some(LINEAGE))).unwrap();
    let other = DatabaseId([8; 16]);
    let error = cache.source_decoding(founder(other), 0, decode(), Storage::new()).err().unwrap();
    assert!(error.message().contains(&format!("for lineage {LINEAGE} alone, not for {other}")), "{error}");
    assert!(cache.source_decoding(founder(LINEAGE), 0, decode(), Storage::new()).is_ok());
    drop(cache);
    for (lineage, name) in [(None, "any".to_owned()), (Some(other), other.to_string())] {
        let error = SegmentCache::open(&of(lineage)).err().unwrap();
        assert!(error.message().contains(&format!("for lineage {LINEAGE}, not for {name}")), "{error}");
    }
    assert!(SegmentCache::open(&of(Some(LINEAGE))).is_ok());
}

#[test]
fn what_was_read_before_an_erasure_is_dropped_and_kept_no_more() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(6, 5000);
    let cache = open(dir.path(), 1 << 20).unwrap();
    read_all(&cache, &storage, &ids);
    assert_eq!((cache.stats().heap.segments, files(dir.path()).len()), (6, 6));
    cache.erased_before(founder(LINEAGE), 9);
    assert_eq!((cache.stats().heap.segments, files(dir.path()).len()), (0, 0));
    // A question that runs on an older value still reads, and leaves nothing behind.
    read_all(&cache, &storage, &ids);
    on_floor(&cache, &storage, 8).fetch(&ids[0]).unwrap();
    assert_eq!((cache.stats().heap.segments, files(dir.path()).len()), (0, 0));
    on_floor(&cache, &storage, 9).fetch(&ids[0]).unwrap();
    on_floor(&cache, &storage, 12).fetch(&ids[1]).unwrap();
    assert_eq!((cache.stats().heap.segments, files(dir.path()).len()), (2, 2));
    // Said again, as by every index after it, it takes nothing.
    cache.erased_before(founder(LINEAGE), 9);
    assert_eq!((cache.stats().heap.segments, files(dir.path()).len()), (2, 2));
}

#[test]
fn a_directory_that_was_not_in_use_when_something_was_erased_is_cleaned_once() {
    let (dir, storage) = (tempfile::tempdir().unwrap(), Storage::new());
    let ids = storage.fill(6, 5000);
    read_all(&open(dir.path(), 1 << 20).unwrap(), &storage, &ids);
    for (floor, left) in [(9, 0), (9, 1), (11, 0)] {
        let cache = open(dir.path(), 1 << 20).unwrap();
        cache.erased_before(founder(LINEAGE), floor);
        assert_eq!(files(dir.path()).len(), left, "{floor}");
        on_floor(&cache, &storage, floor).fetch(&ids[0]).unwrap();
        // Another database's erasure is noted apart.
        cache.erased_before(founder(DatabaseId([9; 16])), 99);
        assert_eq!(files(dir.path()).len(), 1);
    }
}
