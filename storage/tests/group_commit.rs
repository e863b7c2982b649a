//! One commit order, one fdatasync for all who wait, and no answer before it.

use diachron_storage::conformance::{append_next, database, head_after, noise, read_all, segment};
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{Appended, ErrorKind, Head, Options, PodPut, Store, open};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};

/// Long enough for a thread to do something it must not do; the tests never wait for it when all is well.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..20_000_000 {
        if done() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("waited in vain for: {what}");
}

fn options(disk: &FaultyDisk) -> Options {
    Options {
        record_bytes_max: 60_000,
        redo_file_bytes: 4 << 20,
        frame_bytes_max: 256 * 1024,
        sled_cache_bytes: 1 << 20,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    }
}

fn open_at(path: &Path, options: &Options) -> Store {
    open(&format!("sled:{}", path.join("store").display()), options.clone()).unwrap()
}

/// The checkpoint that a start makes is written by the commit thread; wait until it is there, so that counts
/// of syncs are exact afterwards.
fn settle(store: &Store, disk: &FaultyDisk) -> Head {
    let before = disk.syncs(".redo");
    let head = append_next(&*store.journal(), database(200), None, b"settle");
    wait_until("the first checkpoint", || disk.syncs(".redo") >= before + 2);
    head
}

#[test]
fn an_append_is_answered_and_visible_only_after_its_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    settle(&store, &disk);
    let journal = store.journal();
    let syncs = disk.syncs(".redo");
    let held = disk.hold_syncs(".redo");
    let (answer_put, answer) = channel();
    let caller = std::thread::spawn({
        let journal = journal.clone();
        move || answer_put.send(journal.append(database(1), None, head_after(None, b"one"), b"one"))
    });
    wait_until("the frame's fdatasync", || disk.holding() == 1);
    // The bytes are written and not synced: nobody hears of them in any way.
    for _ in 0..1000 {
        assert!(matches!(answer.try_recv(), Err(TryRecvError::Empty)));
        assert_eq!(journal.head(database(1)).unwrap(), None);
        assert!(read_all(&*journal, database(1)).is_empty());
        std::thread::yield_now();
    }
    assert_eq!(disk.syncs(".redo"), syncs);
    drop(held);
    assert_eq!(answer.recv().unwrap().unwrap(), Appended::Done);
    assert_eq!(disk.syncs(".redo"), syncs + 1);
    assert_eq!(read_all(&*journal, database(1)).len(), 1);
    caller.join().unwrap().unwrap();
    store.close().unwrap();
}

#[test]
fn lesson_04_one_fdatasync_serves_64_callers_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    settle(&store, &disk);
    let journal = store.journal();
    let syncs = disk.syncs(".redo");
    std::thread::scope(|scope| {
        let held = disk.hold_syncs(".redo");
        let journal = &*journal;
        scope.spawn(move || append_next(journal, database(100), None, b"first"));
        wait_until("the first caller's fdatasync", || disk.holding() == 1);
        for n in 0..64 {
            scope.spawn(move || append_next(journal, database(n), None, &noise(u64::from(n), 300)));
        }
        wait_until("64 callers in the queue", || steps_waiting(&store) == 64);
        drop(held);
    });
    assert_eq!(disk.syncs(".redo"), syncs + 2, "one for the first caller, one for the 64 after it");
    drop(journal);
    store.close().unwrap();
}

/// Steps that wait for the disk.
fn steps_waiting(store: &Store) -> u64 {
    let queues = store.journal().queues();
    queues.iter().find(|queue| queue.name == "steps").expect("the queue of the commit thread").now
}

/// A refusal rests on what it was judged on: here a record of the same group, which is not durable yet.
#[test]
fn a_refusal_waits_for_what_it_was_judged_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    settle(&store, &disk);
    let journal = store.journal();
    let held = disk.hold_syncs(".redo");
    std::thread::scope(|scope| {
        let journal = &*journal;
        let blocker = scope.spawn(move || append_next(journal, database(100), None, b"blocker"));
        wait_until("the blocker's fdatasync", || disk.holding() == 1);
        let winner = head_after(None, b"winner");
        let first = scope.spawn(move || journal.append(database(1), None, winner, b"winner"));
        wait_until("the winner in the queue", || steps_waiting(&store) == 1);
        let loser = head_after(None, b"loser");
        let second = scope.spawn(move || journal.append(database(1), None, loser, b"loser"));
        wait_until("the loser in the queue", || steps_waiting(&store) == 2);
        let pod = scope.spawn(move || journal.put_pod("pod", 0, b"first"));
        wait_until("the pod in the queue", || steps_waiting(&store) == 3);
        let pod_late = scope.spawn(move || journal.put_pod("pod", 0, b"late"));
        wait_until("the late pod in the queue", || steps_waiting(&store) == 4);
        held.let_one_go();
        blocker.join().unwrap();
        wait_until("the group's own fdatasync", || steps_waiting(&store) == 0 && disk.holding() == 1);
        for _ in 0..1000 {
            let any = first.is_finished() || second.is_finished() || pod.is_finished() || pod_late.is_finished();
            assert!(!any, "answered before the fdatasync");
            std::thread::yield_now();
        }
        drop(held);
        assert_eq!(first.join().unwrap().unwrap(), Appended::Done);
        assert_eq!(second.join().unwrap().unwrap(), Appended::Moved(Some(winner)));
        let PodPut::Done(version) = pod.join().unwrap().unwrap() else { panic!("the first pod is put") };
        assert_eq!(pod_late.join().unwrap().unwrap(), PodPut::Conflict(version));
    });
    drop(journal);
    store.close().unwrap();
}

#[test]
fn a_full_queue_is_busy_and_nothing_of_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &Options { queue_steps_max: 4, ..options(&disk) });
    settle(&store, &disk);
    let journal = store.journal();
    std::thread::scope(|scope| {
        let held = disk.hold_syncs(".redo");
        let journal = &*journal;
        scope.spawn(move || append_next(journal, database(100), None, b"first"));
        wait_until("the first caller's fdatasync", || disk.holding() == 1);
        for n in 0..4 {
            scope.spawn(move || append_next(journal, database(n), None, b"waits"));
        }
        wait_until("a full queue", || steps_waiting(&store) == 4);
        let error = journal.append(database(9), None, head_after(None, b"late"), b"late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        drop(held);
    });
    assert_eq!(journal.head(database(9)).unwrap(), None);
    append_next(&*journal, database(9), None, b"again");
    drop(journal);
    store.close().unwrap();
}

#[test]
fn appends_are_busy_before_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    let head = settle(&store, &disk);
    let journal = store.journal();
    disk.set_bytes_free((256 << 20) - 1);
    let next = head_after(Some(head), b"more");
    assert_eq!(journal.append(database(200), Some(head), next, b"more").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(journal.put_pod("pod", 0, b"x").unwrap_err().kind(), ErrorKind::Busy);
    let (key, bytes) = segment(1, 1, "body", 1000);
    assert_eq!(store.segments().put(&key, &bytes).unwrap_err().kind(), ErrorKind::Busy);
    // A new term may still begin, so that what is there can be served, and databases may be dropped.
    let term = Head { term: 2, ..next };
    assert_eq!(journal.take_over(database(200), head, term, b"term").unwrap(), Appended::Done);
    disk.heal();
    append_next(&*journal, database(200), Some(term), b"more");
    store.segments().put(&key, &bytes).unwrap();
    drop(journal);
    store.close().unwrap();
}

/// The reserve is there for this: terms begin, and a full redo file is followed by the next.
#[test]
fn terms_begin_on_the_reserve_for_a_long_time() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let tiny =
        Options { record_bytes_max: 5000, redo_file_bytes: 128 * 1024, frame_bytes_max: 8 * 1024, ..options(&disk) };
    let store = open_at(dir.path(), &tiny);
    let mut head = append_next(&*store.journal(), database(1), None, b"create");
    disk.set_bytes_free((256 << 20) - 1);
    for term in 2..800 {
        let next = Head { term, ..head_after(Some(head), b"term") };
        assert_eq!(store.journal().take_over(database(1), head, next, b"term").unwrap(), Appended::Done);
        head = next;
    }
    store.close().unwrap();
    assert!(std::fs::read_dir(dir.path().join("store/redo")).unwrap().count() >= 2);
    let store = open_at(dir.path(), &tiny);
    assert_eq!(store.journal().head(database(1)).unwrap(), Some(head));
    store.close().unwrap();
}

/// After a failed sync nobody knows what is on the disk, and asking again may lie: the store ends.
#[test]
fn a_failed_sync_poisons_the_store_and_a_restart_has_all_that_was_acknowledged() {
    for fail_after in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(dir.path());
        let options = Options { checkpoint_bytes: 2000, ..options(&disk) };
        let store = open_at(dir.path(), &options);
        let journal = store.journal();
        disk.fail_syncs_after(fail_after);
        let (mut head, mut acknowledged) = (None, 0);
        let error = loop {
            let record = noise(acknowledged, 700);
            let next = head_after(head, &record);
            match journal.append(database(1), head, next, &record) {
                Ok(appended) => assert_eq!(appended, Appended::Done),
                Err(error) => break error,
            }
            head = Some(next);
            acknowledged += 1;
        };
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        disk.heal();
        // Nothing is tried again, though the disk is well now.
        let next = head_after(head, b"x");
        for _ in 0..3 {
            assert_eq!(journal.append(database(1), head, next, b"x").unwrap_err().kind(), ErrorKind::Poisoned);
            assert_eq!(journal.head(database(1)).unwrap_err().kind(), ErrorKind::Poisoned);
            assert_eq!(journal.read_pod("pod").unwrap_err().kind(), ErrorKind::Poisoned);
        }
        let (key, bytes) = segment(1, 1, "body", 1000);
        assert_eq!(store.segments().put(&key, &bytes).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.segments().get(&key).unwrap_err().kind(), ErrorKind::Poisoned);
        drop(journal);
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
        let store = open_at(dir.path(), &options);
        let records = read_all(&*store.journal(), database(1));
        assert!(records.len() as u64 >= acknowledged, "{} of {acknowledged}", records.len());
        store.close().unwrap();
    }
}

#[test]
fn a_failed_write_poisons_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    let head = settle(&store, &disk);
    disk.fail_writes_after(0);
    let (key, bytes) = segment(1, 1, "body", 1000);
    assert_eq!(store.segments().put(&key, &bytes).unwrap_err().kind(), ErrorKind::Poisoned);
    let next = head_after(Some(head), b"x");
    let error = store.journal().append(database(200), Some(head), next, b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(store.close().is_err());
}

#[test]
fn one_fdatasync_serves_segments_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    let segments = store.segments();
    let (key, bytes) = segment(1, 1, "first", 1000);
    segments.put(&key, &bytes).unwrap();
    let syncs = disk.syncs(".pack");
    std::thread::scope(|scope| {
        let held = disk.hold_syncs(".pack");
        for n in 0..16 {
            let segments = &*segments;
            scope.spawn(move || {
                let (key, bytes) = segment(1, 2, "many", 1000 + n);
                segments.put(&key, &bytes).unwrap();
                assert_eq!(segments.get(&key).unwrap(), Some(bytes));
            });
        }
        wait_until("an fdatasync of the pack", || disk.holding() == 1);
        assert_eq!(segments.list(database(1), None, 100).unwrap().len(), 1, "nothing is listed before it is durable");
        drop(held);
    });
    assert!(disk.syncs(".pack") - syncs <= 16);
    assert_eq!(segments.list(database(1), None, 100).unwrap().len(), 17);
    drop(segments);
    store.close().unwrap();
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(dir.path());
    let store = open_at(dir.path(), &options(&disk));
    let url = format!("sled:{}", dir.path().join("store").display());
    for _ in 0..3 {
        let error = open(&url, options(&disk)).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    }
    let journal = store.journal();
    store.close().unwrap();
    // A role that somebody still holds does not keep the store.
    open_at(dir.path(), &options(&disk)).close().unwrap();
    assert_eq!(journal.head(database(1)).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(journal.put_pod("pod", 0, b"x").unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("letter"), "dear reader").unwrap();
    let url = format!("sled:{}", path.display());
    assert_eq!(open(&url, Options::default()).err().expect("refused").kind(), ErrorKind::Invalid);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    // An empty one is taken.
    std::fs::remove_file(path.join("letter")).unwrap();
    open(&url, Options::default()).unwrap().close().unwrap();
}
