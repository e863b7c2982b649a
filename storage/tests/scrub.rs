//! After a scrub no byte is left, in any file of a store, of what was replaced, sealed, deleted or dropped before it; and
//! nothing else is missing, whatever goes on meanwhile and wherever it is cut off.
//!
//! sled is used without its compression, and shortens keys only: a marker in a value stands in its file as it is. Each test
//! sees its markers first.

use diachron_storage::conformance::{append_index, append_next, database, head_after, noise, read_all, segment};
use diachron_storage::faulty::{FaultyDisk, Trace};
use diachron_storage::{
    Appended, DatabaseId, ErrorKind, Head, Options, PodPut, Replaced, Scrub, ScrubTicket, Scrubbed, SegmentKey, Store,
    open, sha256,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn options(disk: &FaultyDisk) -> Options {
    Options {
        record_bytes_max: 5000,
        redo_file_bytes: 128 * 1024,
        frame_bytes_max: 8 * 1024,
        checkpoint_bytes: 20_000,
        pack_bytes_target: 20_000,
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

fn scratch() -> tempfile::TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// What is to be forgotten is noise that a marker stands before, every few hundred bytes.
fn marked(marker: u64, bytes: usize) -> Vec<u8> {
    let noise = noise(marker, bytes);
    let mut out = Vec::new();
    for chunk in noise.chunks(300) {
        out.extend_from_slice(&bytes_of(marker));
        out.extend_from_slice(chunk);
    }
    out.truncate(bytes);
    out
}

/// What all markers begin with.
const MARK: &[u8; 16] = b"\xf3marker\x01planted\xf7";

fn bytes_of(marker: u64) -> Vec<u8> {
    [&MARK[..], &marker.to_le_bytes()].concat()
}

const GONE: u64 = 1_000_000;

/// The first bytes of what is to be forgotten; what stays has none of them.
fn is_gone(marker: u64) -> bool {
    marker >= GONE
}

fn files_in(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_in(&path, files),
            false => files.push(path),
        }
    }
}

/// Of each marker, the files in which it is found.
fn found(root: &Path, markers: &[u64]) -> Vec<(u64, String)> {
    let mut files = Vec::new();
    files_in(&root.join("store"), &mut files);
    let mut found = Vec::new();
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let mut rest = &bytes[..];
        while let Some(at) = rest.iter().position(|byte| *byte == MARK[0]) {
            rest = &rest[at..];
            let marker = rest.strip_prefix(MARK).and_then(|rest| rest.first_chunk());
            if let Some(marker) = marker.map(|bytes| u64::from_le_bytes(*bytes)).filter(|found| markers.contains(found))
            {
                found.push((marker, path.strip_prefix(root).unwrap().display().to_string()));
            }
            rest = &rest[1..];
        }
    }
    found.sort();
    found.dedup();
    found
}

fn scrub(store: &Store, copy_bytes_max: u64) -> u64 {
    let mut wanted = Scrub { ticket: None, copy_bytes_max };
    for pieces in 1..100_000 {
        let done = store.segments().scrub(wanted).unwrap();
        if !done.more {
            assert_eq!(done.left_bytes, 0);
            return pieces;
        }
        assert!(done.left_bytes > 0);
        wanted.ticket = Some(done.ticket);
    }
    panic!("no end is in sight");
}

/// What a planted store holds still.
struct Planted {
    heads: Vec<(DatabaseId, Head, u64)>,
    pods: Vec<(String, Vec<u8>)>,
    segments: Vec<(SegmentKey, Vec<u8>)>,
    gone: Vec<u64>,
}

fn record(db: u8, seq: u64) -> Vec<u8> {
    marked(u64::from(db) << 16 | seq, 200 + (seq * 731 % 3000) as usize)
}

/// Fills a store, and replaces, seals, deletes and drops what is marked so.
fn plant(store: &Store, records: u64) -> Planted {
    let (journal, segments) = (store.journal(), store.segments());
    let mut gone = Vec::new();
    let mut go = |sort: u64, seq: u64| {
        let marker = GONE + sort * 1000 + seq;
        assert!(is_gone(marker));
        gone.push(marker);
        marker
    };
    let mut heads = Vec::new();
    // Database 1: every third record is replaced, by one that is longer or shorter.
    let mut head = None;
    let mut drafts = Vec::new();
    for seq in 1..=records {
        let bytes = match seq % 3 {
            0 => {
                let draft = marked(go(1, seq), 300 + (seq * 517 % 4000) as usize);
                drafts.push((seq, sha256(&draft)));
                draft
            }
            _ => record(1, seq),
        };
        head = Some(append_next(&*journal, database(1), head, &bytes));
    }
    for (seq, old) in drafts {
        assert_eq!(journal.replace_body(database(1), seq, old, &record(1, seq)).unwrap(), Replaced::Done);
    }
    heads.push((database(1), head.unwrap(), 1));
    // Database 2: half of it is sealed.
    let (mut head, sealed) = (None, records / 2);
    for seq in 1..=records {
        let bytes = if seq < sealed { marked(go(2, seq), 900) } else { record(2, seq) };
        head = match head {
            Some(before) if seq == sealed => Some(append_index(&*journal, database(2), before, &bytes)),
            _ => Some(append_next(&*journal, database(2), head, &bytes)),
        };
    }
    journal.seal(database(2), sealed).unwrap();
    heads.push((database(2), head.unwrap(), sealed));
    // Database 3 is dropped.
    let mut head = None;
    for seq in 1..=records / 2 {
        head = Some(append_next(&*journal, database(3), head, &marked(go(3, seq), 700)));
    }
    journal.drop_database(database(3)).unwrap();
    // A pod is put again and again, another one is deleted.
    let mut version = 0;
    for n in 0..3 {
        let bytes = if n < 2 { marked(go(4, n), 100) } else { b"the pod".to_vec() };
        let PodPut::Done(put) = journal.put_pod("stays", version, &bytes).unwrap() else {
            panic!("nobody else puts it")
        };
        version = put;
    }
    let PodPut::Done(version) = journal.put_pod("goes", 0, &marked(go(4, 9), 1000)).unwrap() else { panic!("is new") };
    journal.delete_pod("goes", version).unwrap();
    // Every second segment is deleted.
    let mut stay = Vec::new();
    for n in 0..records {
        let (key, _) = segment(1, n, "index-7", 8);
        let bytes = if n % 2 == 0 { marked(go(5, n), 1000) } else { marked(n, 900) };
        let key = SegmentKey { hash: sha256(&bytes), ..key };
        segments.put(&key, &bytes).unwrap();
        match n % 2 {
            0 => segments.delete(&key).unwrap(),
            _ => stay.push((key, bytes)),
        }
    }
    Planted { heads, pods: vec![("stays".to_owned(), b"the pod".to_vec())], segments: stay, gone }
}

fn check(store: &Store, planted: &Planted, what: &str) {
    let journal = store.journal();
    for (db, head, first) in &planted.heads {
        let records = read_all(&*journal, *db);
        assert!(journal.head(*db).unwrap().is_some_and(|now| now.seq >= head.seq), "{what}");
        assert_eq!(records[0].seq, *first, "{what}");
        for found in records.iter().filter(|record| record.seq <= head.seq) {
            assert!(found.bytes == record(db.0[0], found.seq), "{what}: record {} of {db} is another one", found.seq);
        }
        assert!(records.last().unwrap().seq >= head.seq, "{what}");
    }
    assert_eq!(journal.head(database(3)).unwrap(), None, "{what}");
    for (name, bytes) in &planted.pods {
        assert_eq!(journal.read_pod(name).unwrap().map(|pod| pod.1).as_ref(), Some(bytes), "{what}");
    }
    for (key, bytes) in &planted.segments {
        let there = store.segments().get(key).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(there.as_ref() == Some(bytes), "{what}: {key:?} is lost or changed");
    }
}

#[test]
fn after_a_scrub_no_byte_of_what_went_is_in_any_file_and_all_else_is_there() {
    for copy_bytes_max in [1, 5000, u64::MAX] {
        let dir = scratch();
        let store = open_at(dir.path());
        let planted = plant(&store, 60);
        let before = found(dir.path(), &planted.gone);
        for part in ["store/packs/", "store/redo/", "store/sled/"] {
            assert!(before.iter().any(|(_, path)| path.starts_with(part)), "the markers can be seen in {part}");
        }
        assert!(planted.gone.iter().all(|marker| before.iter().any(|(found, _)| found == marker)));
        let pieces = scrub(&store, copy_bytes_max);
        assert!(copy_bytes_max == u64::MAX || pieces > 10, "{pieces} pieces");
        assert_eq!(found(dir.path(), &planted.gone), []);
        check(&store, &planted, "after the scrub");
        // It goes on, and a start has nothing to mend.
        let (db, head, _) = planted.heads[0];
        append_next(&*store.journal(), db, Some(head), b"more");
        store.close().unwrap();
        let store = open_at(dir.path());
        assert_eq!(store.notes(), [""; 0]);
        check(&store, &planted, "after a start");
        store.close().unwrap();
        // Redo files and packs are enough still.
        std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
        let store = open_at(dir.path());
        check(&store, &planted, "of a sled made anew");
        assert!(scrub(&store, u64::MAX) > 0);
        assert_eq!(found(dir.path(), &planted.gone), []);
        store.close().unwrap();
    }
}

/// Writers that find no end by themselves stop here.
const RECORDS_MAX: u64 = 3000;

/// Writers of records and segments go on, some of them replace and delete what they wrote, and readers read.
#[test]
fn commits_reads_and_deletions_go_on_during_a_scrub() {
    let dir = scratch();
    let store = open_at(dir.path());
    let planted = plant(&store, 40);
    let over = AtomicBool::new(false);
    let appended = AtomicU64::new(0);
    let mut during = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = [1, 2, 8]
            .into_iter()
            .map(|db| {
                let (journal, over, appended) = (store.journal(), &over, &appended);
                scope.spawn(move || {
                    let mut head = journal.head(database(db)).unwrap();
                    while !over.load(Ordering::Relaxed) && head.is_none_or(|head| head.seq < RECORDS_MAX) {
                        let seq = head.map_or(1, |head| head.seq + 1);
                        let draft = marked(u64::from(db) << 40 | seq, 400);
                        let next = head_after(head, &draft);
                        assert_eq!(journal.append(database(db), head, next, &draft).unwrap(), Appended::Done);
                        head = Some(next);
                        let replaced =
                            journal.replace_body(database(db), seq, sha256(&draft), &record(db, seq)).unwrap();
                        assert_eq!(replaced, Replaced::Done);
                        appended.fetch_add(1, Ordering::Relaxed);
                    }
                    (database(db), head.unwrap(), if db == 2 { 20 } else { 1 })
                })
            })
            .collect();
        let putting = scope.spawn(|| {
            let segments = store.segments();
            let mut stay = Vec::new();
            for n in 0..1000 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (key, bytes) = segment(2, n, "index-9", 1500);
                segments.put(&key, &bytes).unwrap();
                match n % 3 {
                    0 => segments.delete(&key).unwrap(),
                    _ => stay.push((key, bytes)),
                }
            }
            stay
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                check(&store, &planted, "during a scrub");
            }
        });
        let before = appended.load(Ordering::Relaxed);
        scrub(&store, 20_000);
        let after = appended.load(Ordering::Relaxed);
        over.store(true, Ordering::Relaxed);
        assert_eq!(found(dir.path(), &planted.gone), []);
        assert!(after > before, "nobody could append");
        let heads = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        during.push(Planted { heads, pods: Vec::new(), segments: putting.join().unwrap(), gone: Vec::new() });
    });
    check(&store, &during[0], "written during a scrub");
    store.close().unwrap();
    let store = open_at(dir.path());
    assert_eq!(store.notes(), [""; 0]);
    check(&store, &planted, "after a start");
    check(&store, &during[0], "written during a scrub, after a start");
    store.close().unwrap();
}

/// A scrub covers what went before its own first call, also when that came while another one was at work.
#[test]
fn one_scrub_waits_for_the_one_before_it_and_an_unknown_ticket_begins_anew() {
    let dir = scratch();
    let store = open_at(dir.path());
    let planted = plant(&store, 30);
    let segments = store.segments();
    let piece = |ticket| segments.scrub(Scrub { ticket, copy_bytes_max: 2000 }).unwrap();
    let mut first = piece(None);
    for _ in 0..5 {
        first = piece(Some(first.ticket));
    }
    assert!(first.more);
    let (key, bytes) = &planted.segments[0];
    assert_eq!(&marked(1, 900), bytes);
    segments.delete(key).unwrap();
    let mut second = piece(None);
    assert!(second.ticket > first.ticket && second.more);
    while second.more {
        second = piece(Some(second.ticket));
    }
    assert_eq!(found(dir.path(), &[1]), []);
    // The first one was done on the way.
    let Scrubbed { more, copied_bytes, .. } = piece(Some(first.ticket));
    assert_eq!((more, copied_bytes), (false, 0));
    let (key, _) = &planted.segments[1];
    segments.delete(key).unwrap();
    for unknown in [ScrubTicket(1), ScrubTicket(u64::MAX), ScrubTicket(second.ticket.0 + 1)] {
        assert!(piece(Some(unknown)).ticket > second.ticket);
    }
    assert_ne!(found(dir.path(), &[3]), []);
    scrub(&store, 10_000);
    assert_eq!(found(dir.path(), &[3]), []);
    store.close().unwrap();
}

/// A segment whose bytes are damaged cannot be copied, so what was deleted beside it stays; whoever asks is told.
#[test]
fn a_scrub_that_cannot_empty_a_pack_says_why() {
    let dir = scratch();
    let store = open_at(dir.path());
    let planted = plant(&store, 30);
    let path = dir.path().join("store/packs/0000000001.pack");
    let mut bytes = std::fs::read(&path).unwrap();
    let (key, segment) = &planted.segments[0];
    let at = bytes.windows(64).position(|window| window == &segment[..64]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = store.segments().scrub(Scrub::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&format!("{key:?}")) && error.message().contains("packs"), "{error}");
    store.segments().delete(key).unwrap();
    scrub(&store, 1 << 20);
    assert_eq!(found(dir.path(), &planted.gone), []);
    store.close().unwrap();
}

/// Bytes of a put that a crash cut off lie behind the end of a pack, where nobody looks; and a sled that was set aside.
#[test]
fn what_lies_where_nobody_looks_is_gone_too() {
    let dir = scratch();
    let store = open_at(dir.path());
    let planted = plant(&store, 30);
    store.close().unwrap();
    let packs = || std::fs::read_dir(dir.path().join("store/packs")).unwrap().map(|entry| entry.unwrap().path());
    let newest = packs().max().unwrap();
    let torn = marked(GONE + 9001, 500);
    std::fs::write(&newest, [std::fs::read(&newest).unwrap(), torn].concat()).unwrap();
    for (name, marker) in [("sled.aside-1", 9002), ("sled.next", 9003), ("sled.old", 9004)] {
        let aside = dir.path().join("store").join(name);
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join("db"), marked(GONE + marker, 500)).unwrap();
    }
    let gone: Vec<u64> = (9001..=9004).map(|marker| GONE + marker).collect();
    assert_eq!(found(dir.path(), &gone).len(), 4);
    let store = open_at(dir.path());
    check(&store, &planted, "with leftovers");
    scrub(&store, 1 << 20);
    assert_eq!(found(dir.path(), &gone), []);
    assert_eq!(found(dir.path(), &planted.gone), []);
    check(&store, &planted, "without leftovers");
    store.close().unwrap();
}

#[test]
fn a_scrub_is_busy_without_room_and_commits_go_on() {
    let dir = scratch();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_with(dir.path(), &disk);
    let planted = plant(&store, 20);
    disk.set_bytes_free(1000);
    let mut wanted = Scrub::default();
    let error = loop {
        match store.segments().scrub(wanted) {
            Ok(done) => {
                assert!(done.more);
                wanted.ticket = Some(done.ticket);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let (db, head, _) = planted.heads[0];
    append_next(&*store.journal(), db, Some(head), b"goes on");
    disk.heal();
    scrub(&store, 1 << 20);
    assert_eq!(found(dir.path(), &planted.gone), []);
    store.close().unwrap();
}

/// A run of a store that is scrubbed while a writer goes on, once without an end, then to the end.
fn run(root: &Path) -> (Trace, Planted) {
    let disk = FaultyDisk::recording(root);
    let store = open_with(root, &disk);
    let planted = plant(&store, 15);
    disk.mark(0);
    std::thread::scope(|scope| {
        let (journal, disk) = (store.journal(), &disk);
        scope.spawn(move || {
            let mut head = None;
            for seq in 1..=20 {
                head = Some(append_next(&*journal, database(8), head, &record(8, seq)));
                disk.mark(seq);
            }
        });
        scrub(&store, 4000);
    });
    disk.mark(1000);
    store.close().unwrap();
    (disk.trace(), planted)
}

/// Wherever a scrub is cut off, the store opens, has all that it had, and a scrub that is asked for again leaves nothing.
#[test]
fn a_power_cut_anywhere_in_a_scrub_loses_nothing_and_it_can_be_asked_for_again() {
    let dir = scratch();
    let (trace, planted) = run(dir.path());
    let factor: u64 = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let mut cuts = 0;
    // Some of the places in a quick run, more of them and each more often in a long one.
    let every = 3u64.saturating_sub(factor).max(1) as usize;
    for place in trace.places_worth_a_cut().into_iter().step_by(every) {
        for round in 0..factor {
            let (seed, target) = (place as u64 * 1000 + round, scratch());
            let cut = trace.cut(place, seed, target.path()).unwrap();
            // What came before the scrub is for the other tests.
            if !cut.marks.contains(&0) {
                break;
            }
            let what = format!("cut after {place} of {} events, seed {seed}, sled {}", trace.places() - 1, cut.sled);
            let store = open_at(target.path());
            check(&store, &planted, &what);
            let appended = cut.marks.iter().filter(|mark| **mark < 1000).max().unwrap();
            let records = read_all(&*store.journal(), database(8));
            assert!(records.len() as u64 >= *appended, "{what}: {} of {appended} records", records.len());
            // Deleted segments may be back, as garbage, when the directory was made from the packs.
            let listed = store.segments().list(database(1), None, 1000).unwrap();
            let back = listed.into_iter().filter(|key| !planted.segments.iter().any(|(stays, _)| stays == key));
            store.segments().delete_all(&back.collect::<Vec<_>>()).unwrap();
            scrub(&store, 1 << 20);
            assert_eq!(found(target.path(), &planted.gone), [], "{what}");
            check(&store, &planted, &what);
            store.close().unwrap();
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 50);
}
