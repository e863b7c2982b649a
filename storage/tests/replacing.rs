//! Records give way to others: durably, visibly only then, and for good, whatever files are made from others meanwhile.

use diachron_storage::conformance::{append_next, database, noise, read_all};
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{Compaction, ErrorKind, Head, Journal, Options, Replaced, Result, Store, open, sha256};
use std::path::Path;
use std::sync::Arc;

fn options(disk: &FaultyDisk) -> Options {
    Options {
        record_bytes_max: 5000,
        redo_file_bytes: 128 * 1024,
        frame_bytes_max: 8 * 1024,
        checkpoint_bytes: 20_000,
        sled_cache_bytes: 1 << 20,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

fn open_with(root: &Path, disk: &FaultyDisk) -> Result<Store> {
    open(&format!("sled:{}", root.join("store").display()), options(disk))
}

fn record(seq: u64, times: u64) -> Vec<u8> {
    noise(times << 32 | seq, 500 + (seq * 700 + times * 900) as usize % 4000)
}

fn append(journal: &dyn Journal, count: u64) -> Head {
    let append = |head: Option<Head>, seq| Some(append_next(journal, database(1), head, &record(seq, 0)));
    (1..=count).fold(None, append).unwrap()
}

fn replace(journal: &dyn Journal, seq: u64, times: u64) -> Result<Replaced> {
    journal.replace_body(database(1), seq, sha256(&record(seq, times - 1)), &record(seq, times))
}

/// How often each record was replaced, by what they are.
fn times(journal: &dyn Journal) -> Vec<u64> {
    let times_of = |seq, bytes: &[u8]| (0..10).find(|times| record(seq, *times) == bytes);
    let found = read_all(journal, database(1)).into_iter();
    found.map(|record| times_of(record.seq, &record.bytes).expect("bytes that were written")).collect()
}

/// The format in each redo file's header, in order.
fn formats(root: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(root.join("store/redo")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "redo")).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()[8]).collect()
}

#[test]
fn a_replacement_is_answered_and_visible_only_after_its_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk).unwrap();
    let journal = store.journal();
    append(&*journal, 3);
    replace(&*journal, 1, 1).unwrap();
    let held = disk.hold_syncs(".redo");
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| replace(&*journal, 2, 1).unwrap());
        while disk.holding() == 0 {
            assert!(!replacing.is_finished());
            std::thread::yield_now();
        }
        assert!(!replacing.is_finished());
        assert_eq!(times(&*journal), [1, 0, 0]);
        drop(held);
        assert_eq!(replacing.join().unwrap(), Replaced::Done);
    });
    assert_eq!(times(&*journal), [1, 1, 0]);
    store.close().unwrap();
}

#[test]
fn a_replacement_whose_sync_fails_left_the_old_bytes_or_the_new() {
    for failing in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::pretending(dir.path());
        let store = open_with(dir.path(), &disk).unwrap();
        append(&*store.journal(), 4);
        disk.fail_syncs_after(failing);
        let answers: Vec<_> = (1..=4).map(|seq| replace(&*store.journal(), seq, 1)).collect();
        drop(store);
        disk.heal();
        let store = open_with(dir.path(), &disk).unwrap();
        for (times, answer) in times(&*store.journal()).into_iter().zip(answers) {
            match answer {
                Ok(answer) => assert_eq!((times, answer), (1, Replaced::Done)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}"),
            }
        }
        assert_eq!(store.journal().head(database(1)).unwrap().unwrap().seq, 4);
        store.close().unwrap();
    }
}

/// An older version refuses the store by the number of its format, and only when there is something that it cannot read.
#[test]
fn the_format_is_raised_by_the_first_replacement_and_unknown_ones_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk).unwrap();
    append(&*store.journal(), 60);
    let before = formats(dir.path());
    assert!(before.len() == 2 && before.iter().all(|format| *format == 1), "{before:?}");
    assert_eq!(replace(&*store.journal(), 1, 1).unwrap(), Replaced::Done);
    store.close().unwrap();
    assert_eq!(formats(dir.path()).last(), Some(&2));
    let store = open_with(dir.path(), &disk).unwrap();
    let head = store.journal().head(database(1)).unwrap();
    (61..130).fold(head, |head, seq| Some(append_next(&*store.journal(), database(1), head, &record(seq, 0))));
    store.close().unwrap();
    let formats = formats(dir.path());
    assert!(formats.is_sorted() && formats.ends_with(&[2, 2]), "{formats:?}");
    let path = dir.path().join(format!("store/redo/{:010}.redo", formats.len()));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..72]);
    bytes[72..76].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = open_with(dir.path(), &disk).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().ends_with("has format 3, this version reads 1 to 2"), "{error}");
}

/// Compacting says records again. It must not say what a record was when it was read, if it was replaced since: sled made
/// anew from the redo files would have the old bytes.
#[test]
fn records_that_are_said_again_while_others_are_replaced_are_never_the_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk).unwrap();
    let journal = store.journal();
    append(&*journal, 120);
    replace(&*journal, 1, 1).unwrap();
    let held = disk.hold_syncs(".redo");
    std::thread::scope(|scope| {
        // It is on its way to the disk when compacting begins, which does not see it yet.
        let replacing = scope.spawn(|| replace(&*journal, 1, 2).unwrap());
        while disk.holding() == 0 {
            assert!(!replacing.is_finished());
            std::thread::yield_now();
        }
        let compacting = scope.spawn(|| {
            let everything = Compaction { copy_bytes_max: u64::MAX, live_percent_max: 100 };
            store.segments().compact(everything).unwrap()
        });
        // The first record is what it reads first, and what it has read by now must not be what it says.
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(replacing.join().unwrap(), Replaced::Done);
        compacting.join().unwrap();
    });
    let expected = times(&*journal);
    assert_eq!(expected[..2], [2, 0]);
    drop(journal);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
    let store = open_with(dir.path(), &disk).unwrap();
    assert_eq!(times(&*store.journal()), expected);
    store.close().unwrap();
}

#[test]
fn a_replacement_is_busy_before_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk).unwrap();
    append(&*store.journal(), 2);
    disk.set_bytes_free(1000);
    assert_eq!(replace(&*store.journal(), 1, 1).unwrap_err().kind(), ErrorKind::Busy);
    disk.heal();
    assert_eq!(replace(&*store.journal(), 1, 1).unwrap(), Replaced::Done);
    store.close().unwrap();
}
