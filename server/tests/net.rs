//! A store at the other end of a connection keeps the promises of one that is here, and says what it would say.

mod serving;

use serving::{Serving, on_disk};
use std::sync::Arc;
use std::time::Instant;
use storage::conformance::{
    Case, JOURNAL_CASES, SEGMENT_CASES, append_next, database, head_after, noise, read_all, segment,
};
use storage::faulty::{Fault, FaultyDisk, FaultyJournal};
use storage::{
    Appended, ErrorKind, MemoryStore, Options, Records, Replaced, Scrub, SegmentKey, Segments, Store, sha256,
};

/// Each open of a case is a storage process that starts on the same directory.
fn run(cases: &[Case]) {
    for (name, case) in cases {
        eprintln!("case {name}");
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::pretending(dir.path());
        case(&|| {
            let serving = Serving::start(on_disk(dir.path(), &disk));
            let store = serving.connect();
            let (journal, segments) = (store.journal(), store.segments());
            Store::new(journal, segments, Vec::new(), move || {
                store.close()?;
                serving.stop();
                Ok(())
            })
        });
    }
}

#[test]
fn net_keeps_the_journal_promises() {
    run(JOURNAL_CASES);
}

#[test]
fn net_keeps_the_segment_promises() {
    run(SEGMENT_CASES);
}

#[test]
fn large_segments_come_and_go_in_pieces() {
    let serving = Serving::start(MemoryStore::new(Options::default()).store());
    let store = serving.connect();
    for bytes in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 20 << 20] {
        let (key, bytes) = segment(1, 1, "body", bytes);
        store.segments().put(&key, &bytes).unwrap();
        assert!(store.segments().get(&key).unwrap() == Some(bytes), "{key:?}");
    }
    let (key, bytes) = segment(1, 2, "body", (64 << 20) + 1);
    let error = store.segments().put(&key, &bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    store.close().unwrap();
    serving.stop();
}

/// Many writers over one connection: their appends wait together, and one fdatasync serves them.
#[test]
fn appends_of_many_writers_share_an_fdatasync_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let there = on_disk(dir.path(), &disk);
    let there_journal = there.journal();
    let serving = Serving::start(there);
    let store = serving.connect();
    let journal = store.journal();
    // The checkpoint that a start makes is over when this was answered after it.
    (0..3).fold(None, |head, _| Some(append_next(&*journal, database(99), head, b"settle")));
    std::thread::scope(|scope| {
        let held = disk.hold_syncs(".redo");
        let journal = &*journal;
        scope.spawn(move || append_next(journal, database(100), None, b"first"));
        wait_until(|| disk.holding() == 1);
        let syncs = disk.syncs(".redo");
        let writers: Vec<_> = (0..64)
            .map(|n| scope.spawn(move || append_next(journal, database(n), None, &noise(u64::from(n), 300))))
            .collect();
        wait_until(|| there_journal.queues()[0].now == 64);
        drop(held);
        writers.into_iter().for_each(|writer| assert_eq!(writer.join().unwrap().seq, 1));
        // One for the first and one for all others; a checkpoint may come between.
        assert!(disk.syncs(".redo") - syncs <= 3, "{} syncs for 65 writers", disk.syncs(".redo") - syncs);
        assert_eq!(store.journal().queues()[0].now, 0);
    });
    store.close().unwrap();
    serving.stop();
}

/// A store whose journal meets faults.
fn faulty() -> (Arc<FaultyJournal>, Store) {
    let memory = MemoryStore::new(Options::default()).store();
    let journal = Arc::new(FaultyJournal::new(memory.journal()));
    (journal.clone(), Store::new(journal, memory.segments(), Vec::new(), || Ok(())))
}

#[test]
fn errors_keep_their_kind_over_the_network() {
    let (faults, store) = faulty();
    let serving = Serving::start(store);
    let store = serving.connect();
    let journal = store.journal();
    let one = append_next(&*journal, database(1), None, b"one");
    let two = head_after(Some(one), b"two");
    let append = || journal.append(database(1), Some(one), two, b"two").map_err(|error| error.kind());
    for (fault, kind) in [(Fault::Busy, ErrorKind::Busy), (Fault::StepLost, ErrorKind::Unknown)] {
        faults.then(fault);
        assert_eq!(append(), Err(kind), "{fault:?}");
        assert_eq!(journal.head(database(1)).unwrap(), Some(one));
    }
    faults.then(Fault::AnswerLost);
    assert_eq!(append(), Err(ErrorKind::Unknown));
    // The slot tells.
    let Records::Found(slot) = journal.read(database(1), 2, 1).unwrap() else { panic!("nothing is sealed") };
    assert_eq!(slot[0].bytes, b"two");
    assert_eq!(append(), Ok(Appended::Moved(Some(two))));
    assert_eq!(journal.seal(database(1), 2).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.seal(database(7), 2).unwrap_err().kind(), ErrorKind::NotFound);
    let error = journal.put_pod("", 0, b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains(&serving.url) && error.message().contains("pod name"), "{error}");
    store.close().unwrap();
    serving.stop();
}

#[test]
fn a_store_that_fails_tells_its_caller_and_ends_its_process() {
    let (faults, store) = faulty();
    let serving = Serving::start(store);
    let store = serving.connect();
    let journal = store.journal();
    faults.then(Fault::Poisoned);
    let error = journal.append(database(1), None, head_after(None, b"one"), b"one").unwrap_err();
    // The word may be cut off by the end that it leads to; then nobody knows.
    assert!([ErrorKind::Poisoned, ErrorKind::Unknown].contains(&error.kind()), "{error:?}");
    let failure = serving.ended().unwrap_err();
    assert!(failure.0.contains("failed on the way to disk"), "{failure}");
}

#[test]
fn damage_and_a_full_disk_are_told_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let serving = Serving::start(on_disk(dir.path(), &disk));
    let store = serving.connect();
    let (key, bytes) = segment(1, 1, "index-1", 5000);
    store.segments().put(&key, &bytes).unwrap();
    let pack = dir.path().join("store/packs/0000000001.pack");
    let mut damaged = std::fs::read(&pack).unwrap();
    damaged[72 + 152 + 99] ^= 1;
    std::fs::write(&pack, damaged).unwrap();
    let error = store.segments().get(&key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("0000000001.pack at byte 72"), "{error}");
    disk.set_bytes_free(0);
    let (other, bytes) = segment(1, 2, "index-1", 5000);
    let error = store.segments().put(&other, &bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("bytes are free"), "{error}");
    let error = store.journal().append(database(1), None, head_after(None, b"one"), b"one").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    store.close().unwrap();
    serving.stop();
}

/// The process is gone and comes back at the same address: a read is answered late, and an append was not made.
#[test]
fn a_storage_process_may_be_started_again_under_its_callers() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let serving = Serving::start(on_disk(dir.path(), &disk));
    let (address, store) = (serving.address(), serving.connect());
    let journal = store.journal();
    let one = append_next(&*journal, database(1), None, b"one");
    serving.stop();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| journal.head(database(1)).unwrap());
        let writing = scope.spawn(|| append_next(&*journal, database(2), None, b"other"));
        wait_until(|| store.journal().queues()[0].now == 2);
        let serving = Serving::start_at(address, on_disk(dir.path(), &disk));
        assert_eq!(reading.join().unwrap(), Some(one));
        writing.join().unwrap();
        assert_eq!(read_all(&*journal, database(2)).len(), 1);
        serving.stop();
    });
    // Nobody comes back: the first who asks waits for a while, the others hear it at once.
    let error = store.journal().head(database(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.message().contains("does not answer"), "{error}");
    let begun = Instant::now();
    (0..20).for_each(|_| assert!(journal.head(database(1)).is_err()));
    assert!(begun.elapsed().as_secs() < 5);
    store.close().unwrap();
    assert_eq!(journal.head(database(1)).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn a_url_that_names_no_storage_process_is_refused_by_name() {
    for url in ["net:", "net:host", "net:https://host:1", "net:a b", "nets:http://host:1"] {
        let error = stores::open(url, Options::default()).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.message().contains(url) && error.message().contains("net:http://HOST:PORT"), "{error}");
    }
}

#[test]
fn usage_and_compaction_go_over_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let serving = Serving::start(on_disk(dir.path(), &disk));
    let store = serving.connect();
    let segments: Arc<dyn Segments> = store.segments();
    let all: Vec<_> = (0..30).map(|n| segment(1, n, "index-1", 5000)).collect();
    all.iter().for_each(|(key, bytes)| segments.put(key, bytes).unwrap());
    let keys: Vec<_> = all.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(segments.list(database(1), None, 7).unwrap().len(), 7);
    segments.delete_all(&keys[..29]).unwrap();
    let before = store.usage().unwrap();
    let done = segments.compact(Default::default()).unwrap();
    assert!(done.freed_bytes > 100_000, "{done:?}");
    let after = store.usage().unwrap();
    assert!(after.dead_bytes < before.dead_bytes && after.live_bytes == before.live_bytes, "{before:?}, {after:?}");
    store.close().unwrap();
    serving.stop();
}

fn wait_until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed().as_secs() < 60, "waited in vain");
        std::thread::yield_now();
    }
}

/// The markers that are planted at one end are in no file at the other.
#[test]
fn a_scrub_over_the_network_leaves_no_byte_of_what_went() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let serving = Serving::start(on_disk(dir.path(), &disk));
    let store = serving.connect();
    let (journal, segments) = (store.journal(), store.segments());
    let marker = noise(4711, 40);
    let files_with_marker = || {
        let mut dirs = vec![dir.path().to_owned()];
        let mut found = 0;
        while let Some(dir) = dirs.pop() {
            for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found += usize::from(bytes.windows(marker.len()).any(|window| window == marker));
                }
            }
        }
        found
    };
    let with_marker = [&marker[..], &noise(1, 500)].concat();
    let head = append_next(&*journal, database(1), None, &with_marker);
    let (key, _) = segment(1, 1, "body", 10);
    let key = SegmentKey { hash: sha256(&with_marker), ..key };
    segments.put(&key, &with_marker).unwrap();
    assert!(files_with_marker() >= 2, "in a redo file and in a pack; sled writes its file when it likes");
    let old = sha256(&with_marker);
    assert_eq!(journal.replace_body(database(1), 1, old, b"clean").unwrap(), Replaced::Done);
    segments.delete(&key).unwrap();
    let mut wanted = Scrub::default();
    loop {
        let done = segments.scrub(wanted).unwrap();
        if !done.more {
            break;
        }
        wanted.ticket = Some(done.ticket);
    }
    assert_eq!(files_with_marker(), 0);
    append_next(&*journal, database(1), Some(head), b"goes on");
    assert_eq!(read_all(&*journal, database(1))[0].bytes, b"clean");
    store.close().unwrap();
    serving.stop();
}
