//! What becomes of sealed records on disk: they leave sled, redo files that hold nothing else are removed, and what is
//! left is enough to make sled anew.

use diachron_storage::conformance::{append_index, append_next, database, noise, read_all, sealed_before};
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{Compaction, ErrorKind, Head, Journal, Options, Result, Store, open};
use std::path::Path;
use std::sync::Arc;

fn options(root: &Path) -> Options {
    Options {
        record_bytes_max: 5000,
        redo_file_bytes: 128 * 1024,
        frame_bytes_max: 8 * 1024,
        checkpoint_bytes: 20_000,
        sled_cache_bytes: 1 << 20,
        free_bytes_reserve: 0,
        disk: Arc::new(FaultyDisk::pretending(root)),
        ..Options::default()
    }
}

fn open_at(root: &Path) -> Result<Store> {
    open(&format!("sled:{}", root.join("store").display()), options(root))
}

fn record(seq: u64) -> Vec<u8> {
    noise(seq, 2000)
}

fn redo_files(root: &Path) -> Vec<u64> {
    let names = std::fs::read_dir(root.join("store/redo")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u64> = names.filter_map(|name| name.strip_suffix(".redo")?.parse().ok()).collect();
    numbers.sort();
    numbers
}

/// Appends so many records, every twentieth an index, each of which is sealed up to when the next one comes.
fn write(journal: &dyn Journal, db: u8, mut head: Option<Head>, count: u64) -> Head {
    for _ in 0..count {
        let seq = head.map_or(1, |head| head.seq + 1);
        let next = match head {
            Some(before) if seq.is_multiple_of(20) => {
                journal.seal(database(db), before.index_seq).unwrap();
                append_index(journal, database(db), before, &record(seq))
            }
            _ => append_next(journal, database(db), head, &record(seq)),
        };
        head = Some(next);
    }
    head.unwrap()
}

fn check(store: &Store, db: u8, head: Head) {
    let journal = store.journal();
    assert_eq!(journal.head(database(db)).unwrap(), Some(head));
    let records = read_all(&*journal, database(db));
    assert_eq!(records.first().unwrap().seq, sealed_before(&*journal, database(db)));
    assert_eq!(records.last().unwrap().seq, head.seq);
    for found in records {
        assert!(found.bytes == record(found.seq), "record {} is another one", found.seq);
    }
}

#[test]
fn redo_files_of_sealed_records_go_and_sled_is_made_anew_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let mut head = write(&*store.journal(), 1, None, 400);
    store.close().unwrap();
    let left = redo_files(dir.path());
    assert!(left[0] > 4 && left.len() <= 4, "{left:?}");
    for _ in 0..3 {
        std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
        let store = open_at(dir.path()).unwrap();
        assert!(store.notes()[0].contains("rebuilt"), "{:?}", store.notes());
        assert_eq!(sealed_before(&*store.journal(), database(1)), head.index_seq - 20);
        check(&store, 1, head);
        head = write(&*store.journal(), 1, Some(head), 100);
        check(&store, 1, head);
        store.close().unwrap();
        let store = open_at(dir.path()).unwrap();
        assert_eq!(store.notes(), [""; 0]);
        check(&store, 1, head);
        store.close().unwrap();
    }
}

/// One database keeps its records: the file where they begin stays, and all after it.
#[test]
fn a_redo_file_with_a_record_that_is_not_sealed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let mut head = write(&*store.journal(), 1, None, 200);
    let before = redo_files(dir.path());
    let quiet = append_next(&*store.journal(), database(2), None, &record(1));
    head = write(&*store.journal(), 1, Some(head), 400);
    store.close().unwrap();
    let left = redo_files(dir.path());
    assert!(left[0] > 1 && left[0] <= *before.last().unwrap(), "{before:?}, then {left:?}");
    assert!(left.len() > 4, "{left:?}");
    std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
    let store = open_at(dir.path()).unwrap();
    check(&store, 1, head);
    check(&store, 2, quiet);
    // Nothing of a dropped database is needed.
    store.journal().drop_database(database(2)).unwrap();
    head = write(&*store.journal(), 1, Some(head), 100);
    store.close().unwrap();
    assert!(redo_files(dir.path()).len() <= 4, "{:?}", redo_files(dir.path()));
    let store = open_at(dir.path()).unwrap();
    check(&store, 1, head);
    assert_eq!(store.journal().head(database(2)).unwrap(), None);
    store.close().unwrap();
}

/// The same database does not keep the files when its record is said again, in a newer one.
#[test]
fn compacting_lets_go_of_redo_files_that_a_few_records_keep() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let quiet = (0..5).fold(None, |head, n| Some(append_next(&*store.journal(), database(2), head, &record(n + 1))));
    let mut head = write(&*store.journal(), 1, None, 400);
    let before = redo_files(dir.path());
    assert!(before[0] == 1 && before.len() > 6, "{before:?}");
    // Each step goes on where the one before ended.
    let (mut steps, mut copied, mut freed) = (1, 0, 0);
    loop {
        let done = store.segments().compact(Compaction { copy_bytes_max: 5000, live_percent_max: 50 }).unwrap();
        (copied, freed) = (copied + done.copied_bytes, freed + done.freed_bytes);
        if !done.more {
            break;
        }
        steps += 1;
        assert!(steps < 100, "no end is in sight");
    }
    assert!(steps > 1 && copied < 30_000 && freed >= 5 * 128 * 1024, "{steps} steps, {copied} copied, {freed} freed");
    store.close().unwrap();
    assert!(redo_files(dir.path()).len() <= 3, "{:?}", redo_files(dir.path()));
    for round in 0..3 {
        if round % 2 == 0 {
            std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
        }
        let store = open_at(dir.path()).unwrap();
        check(&store, 1, head);
        check(&store, 2, quiet.unwrap());
        head = write(&*store.journal(), 1, Some(head), 300);
        while store.segments().compact(Compaction::default()).unwrap().more {}
        check(&store, 2, quiet.unwrap());
        drop(store);
        assert!(redo_files(dir.path()).len() <= 8, "{:?}", redo_files(dir.path()));
    }
}

/// A file that was not let go of is missing, a file that was is not.
#[test]
fn of_the_redo_files_only_those_let_go_of_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let head = write(&*store.journal(), 1, None, 400);
    // From here on nothing is sealed.
    let head =
        (0..150).fold(head, |head, _| append_next(&*store.journal(), database(1), Some(head), &record(head.seq + 1)));
    store.close().unwrap();
    let left = redo_files(dir.path());
    let path = |number: u64| dir.path().join(format!("store/redo/{number:010}.redo"));
    for number in &left[..2] {
        let aside = dir.path().join("aside");
        std::fs::rename(path(*number), &aside).unwrap();
        let error = open_at(dir.path()).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&format!("{number:010}.redo is missing")), "{error}");
        std::fs::rename(&aside, path(*number)).unwrap();
    }
    // A removal that was cut off left one behind, and a gap after it.
    std::fs::copy(path(left[0]), path(left[0] - 2)).unwrap();
    let store = open_at(dir.path()).unwrap();
    check(&store, 1, head);
    store.close().unwrap();
    assert_eq!(redo_files(dir.path()), left);
}
