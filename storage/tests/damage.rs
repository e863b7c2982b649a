//! Bytes of a store are flipped, zeroed, cut off, mixed up and taken away, in every file and everywhere in it.
//! Either nothing is missing afterwards, or there is an error that says what is: never a silent loss, never a
//! panic.

use diachron_storage::conformance::{Dice, append_next, database, noise, read_all, segment};
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{
    Error, ErrorKind, Head, Options, PodPut, Records, Replaced, Result, SegmentKey, Store, open, sha256,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many stores are damaged; `DIACHRON_SLOW` multiplies it.
const TRIALS: u64 = 450;

const RECORDS: u64 = 60;

fn options(root: &Path) -> Options {
    Options {
        record_bytes_max: 5000,
        redo_file_bytes: 128 * 1024,
        frame_bytes_max: 8 * 1024,
        checkpoint_bytes: 30_000,
        pack_bytes_target: 20_000,
        sled_cache_bytes: 1 << 20,
        free_bytes_reserve: 0,
        disk: Arc::new(FaultyDisk::pretending(root)),
        ..Options::default()
    }
}

fn open_at(root: &Path) -> Result<Store> {
    open(&format!("sled:{}", root.join("store").display()), options(root))
}

fn scratch() -> tempfile::TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn record(db: u8, seq: u64) -> Vec<u8> {
    let bytes = Dice::new(seq << 8 | u64::from(db)).below(3000) as usize + 1;
    noise(seq << 8 | u64::from(db), bytes)
}

/// What some records were before they were replaced.
fn draft(db: u8, seq: u64) -> Vec<u8> {
    let bytes = Dice::new(seq << 9 | u64::from(db)).below(5000) as usize + 1;
    noise(seq << 9 | u64::from(db), bytes)
}

fn segments() -> Vec<(SegmentKey, Vec<u8>)> {
    (0..20).map(|n| segment(1, n, "index", 500 + n as usize * 300)).collect()
}

/// A store with several redo files, checkpoints and packs. One that was closed has a checkpoint at its end.
fn whole_store(root: &Path, closed: bool) {
    let store = open_at(root).unwrap();
    let journal = store.journal();
    let mut heads: [Option<Head>; 3] = [None; 3];
    let segments = segments();
    for seq in 1..=RECORDS {
        for db in 0..3u8 {
            let head = &mut heads[usize::from(db)];
            let first = if seq.is_multiple_of(3) { draft(db, seq) } else { record(db, seq) };
            *head = Some(append_next(&*journal, database(db), *head, &first));
            // A while later, some of them long before the end and some right before it.
            if seq > 10 && (seq - 10).is_multiple_of(3) {
                let (at, old) = (seq - 10, sha256(&draft(db, seq - 10)));
                let replaced = journal.replace_body(database(db), at, old, &record(db, at)).unwrap();
                assert_eq!(replaced, Replaced::Done);
            }
        }
        if let Some((key, bytes)) = segments.get(seq as usize / 2) {
            store.segments().put(key, bytes).unwrap();
        }
        if seq == RECORDS / 2 {
            assert!(matches!(journal.put_pod("name/first", 0, b"one").unwrap(), PodPut::Done(_)));
            assert!(matches!(journal.put_pod("name/second", 0, &[7; 900]).unwrap(), PodPut::Done(_)));
        }
    }
    for (seq, db) in
        (RECORDS - 9..=RECORDS).filter(|seq| seq.is_multiple_of(3)).flat_map(|seq| (0..3).map(move |db| (seq, db)))
    {
        let replaced = journal.replace_body(database(db), seq, sha256(&draft(db, seq)), &record(db, seq)).unwrap();
        assert_eq!(replaced, Replaced::Done);
    }
    drop(journal);
    match closed {
        true => store.close().unwrap(),
        false => drop(store),
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn files_in(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => files_in(&path, files),
            false => files.push(path),
        }
    }
}

/// Damages one file and says how.
fn damage(root: &Path, dice: &mut Dice) -> String {
    let mut files = Vec::new();
    files_in(&root.join("store"), &mut files);
    files.retain(|path| !path.ends_with("lock"));
    let of =
        |part: &str| -> Vec<&PathBuf> { files.iter().filter(|path| path.to_string_lossy().contains(part)).collect() };
    let candidates = match dice.below(10) {
        0 => files.iter().collect(),
        1..=2 => of("/packs/"),
        3..=5 => of("/sled/"),
        _ => of("/redo/"),
    };
    let path = candidates[dice.below(candidates.len() as u64) as usize];
    let name = path.strip_prefix(root).unwrap().display().to_string();
    let mut bytes = std::fs::read(path).unwrap();
    let length = bytes.len() as u64;
    if length == 0 {
        return format!("nothing in {name}, which is empty");
    }
    // Half of the places are where something is, not in the zeros after it.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
    let range = if dice.below(2) == 0 { used } else { length };
    let place = dice.below(range) as usize;
    let what = match dice.below(12) {
        0..=4 => {
            bytes[place] ^= 1 << dice.below(8);
            format!("flipped a bit at {place}")
        }
        5..=6 => {
            bytes.truncate(place);
            format!("cut off at {place}")
        }
        7..=8 => {
            let page = place / 4096 * 4096;
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
            format!("zeroed the page at {page}")
        }
        9 => {
            let end = (place + 1 + dice.below(64) as usize).min(bytes.len());
            bytes[place..end].iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
            format!("scribbled over {place}..{end}")
        }
        10 => {
            let other = &files[dice.below(files.len() as u64) as usize];
            std::fs::copy(other, path).unwrap();
            return format!("{name} replaced by {}", other.strip_prefix(root).unwrap().display());
        }
        _ => {
            std::fs::remove_file(path).unwrap();
            return format!("{name} removed");
        }
    };
    std::fs::write(path, bytes).unwrap();
    format!("{name} {what}")
}

/// What became of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Whole,
    Mended,
    RefusedAtOpen,
    RefusedAtRead,
}

fn check(root: &Path, what: &str) -> Fate {
    let store = match open_at(root) {
        Ok(store) => store,
        Err(error) => {
            check_error(&error, what);
            return Fate::RefusedAtOpen;
        }
    };
    let mended = !store.notes().is_empty();
    let mut refused = false;
    let mut read = |result: Result<bool>, which: &str| match result {
        Ok(same) => assert!(same, "{what}: {which} is lost or changed, and nobody said so"),
        Err(error) => {
            check_error(&error, what);
            refused = true;
        }
    };
    let journal = store.journal();
    for db in 0..3u8 {
        read(journal.head(database(db)).map(|head| head.is_some_and(|head| head.seq == RECORDS)), "a head");
        for seq in 1..=RECORDS {
            let same = journal.read(database(db), seq, 0).map(|records| match records {
                Records::Found(found) => found.len() == 1 && found[0].bytes == record(db, seq),
                Records::Sealed { .. } => false,
            });
            read(same, "a record");
        }
    }
    let pod = journal.read_pod("name/first").map(|pod| pod.is_some_and(|pod| pod.1 == b"one"));
    read(pod, "a pod");
    read(journal.list_pods("name/").map(|names| names == ["name/first", "name/second"]), "the list of pods");
    for (key, bytes) in segments() {
        read(store.segments().get(&key).map(|found| found == Some(bytes)), "a segment");
    }
    match (refused, mended) {
        (true, _) => Fate::RefusedAtRead,
        (false, true) => Fate::Mended,
        (false, false) => Fate::Whole,
    }
}

fn check_error(error: &Error, what: &str) {
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Poisoned];
    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
    assert!(error.message().contains("store"), "{what}: the error does not say where: {error}");
}

#[test]
fn damage_is_mended_or_told_never_hidden() {
    let factor: u64 = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let whole: Vec<tempfile::TempDir> = [true, false]
        .into_iter()
        .map(|closed| {
            let dir = scratch();
            whole_store(dir.path(), closed);
            dir
        })
        .collect();
    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    for seed in 0..TRIALS * factor {
        let mut dice = Dice::new(seed);
        let target = scratch();
        copy_all(whole[seed as usize % 2].path(), target.path());
        let mut what = format!("seed {seed}: {}", damage(target.path(), &mut dice));
        if seed % 4 == 3 {
            // Then redo files and packs stand alone.
            std::fs::remove_dir_all(target.path().join("store/sled")).unwrap();
            what.push_str(", and sled is gone");
        }
        match catch_unwind(AssertUnwindSafe(|| check(target.path(), &what))) {
            Ok(fate) => *fates.entry(fate).or_default() += 1,
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                panic!("{what}: {said}");
            }
        }
    }
    println!("{} damaged stores: {fates:?}", TRIALS * factor);
}

#[test]
fn sled_is_rebuilt_from_redo_files_and_packs_when_it_is_gone_or_unreadable() {
    let dir = scratch();
    whole_store(dir.path(), true);
    let sled = dir.path().join("store/sled");
    let cases: [(&str, &dyn Fn()); 5] = [
        ("gone", &|| std::fs::remove_dir_all(&sled).unwrap()),
        ("empty", &|| {
            std::fs::remove_dir_all(&sled).unwrap();
            std::fs::create_dir(&sled).unwrap();
        }),
        ("unreadable", &|| std::fs::write(sled.join("conf"), "this is no configuration of sled").unwrap()),
        ("with a blob", &|| std::fs::write(sled.join("blobs/17"), "a blob").unwrap()),
        ("of another store", &|| {
            let other = scratch();
            whole_store(other.path(), true);
            std::fs::remove_dir_all(&sled).unwrap();
            copy_all(&other.path().join("store/sled"), &sled);
        }),
    ];
    for (what, spoil) in cases {
        spoil();
        assert_eq!(check(dir.path(), what), Fate::Mended, "{what}");
        // A start mends it once.
        assert_eq!(check(dir.path(), what), Fate::Whole, "{what}");
    }
    // What was set aside is kept: every one that was there.
    let names = std::fs::read_dir(dir.path().join("store")).unwrap();
    let asides = names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("sled.aside-"));
    assert_eq!(asides.count(), 4);
}

#[test]
fn a_torn_snapshot_of_sled_does_no_harm() {
    let dir = scratch();
    whole_store(dir.path(), true);
    std::fs::write(dir.path().join("store/sled/snap.0000000000000F00.generating"), "").unwrap();
    assert_eq!(check(dir.path(), "torn snapshot"), Fate::Whole);
}

/// An older sled directory than the newest checkpoint is noticed, and so is one that is newer than the redo
/// files: then some of those were lost.
#[test]
fn sled_behind_is_rebuilt_and_sled_ahead_is_refused() {
    let dir = scratch();
    whole_store(dir.path(), true);
    let before = scratch();
    copy_all(&dir.path().join("store"), before.path());
    let store = open_at(dir.path()).unwrap();
    let journal = store.journal();
    let head = journal.head(database(1)).unwrap();
    let head = append_next(&*journal, database(1), head, b"one more");
    drop(journal);
    store.close().unwrap();
    let after = scratch();
    copy_all(&dir.path().join("store"), after.path());
    let put_back = |part: &str, from: &Path| {
        let path = dir.path().join("store").join(part);
        std::fs::remove_dir_all(&path).unwrap();
        copy_all(&from.join(part), &path);
    };
    put_back("sled", before.path());
    let store = open_at(dir.path()).unwrap();
    assert!(store.notes()[0].contains("behind"), "{:?}", store.notes());
    assert_eq!(store.journal().head(database(1)).unwrap(), Some(head));
    store.close().unwrap();
    put_back("sled", after.path());
    put_back("redo", before.path());
    let error = open_at(dir.path()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let names_database = error.message().contains(&database(1).to_string());
    assert!(names_database && error.message().contains(&format!("t {}", head.t)), "{error}");
}

#[test]
fn a_store_of_another_format_is_refused_by_name() {
    let dir = scratch();
    whole_store(dir.path(), true);
    let path = dir.path().join("store/store");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 0;
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = open_at(dir.path()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("format 0"), "{error}");
}

/// The largest redo file of a store with a big log is read again in full; so are all when sled is gone.
#[test]
fn a_large_log_survives_losing_sled() {
    let dir = scratch();
    let store = open_at(dir.path()).unwrap();
    let journal = store.journal();
    let mut head = None;
    for seq in 1..=2000 {
        head = Some(append_next(&*journal, database(1), head, &record(1, seq)[..100.min(record(1, seq).len())]));
    }
    drop(journal);
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("store/sled")).unwrap();
    let store = open_at(dir.path()).unwrap();
    assert_eq!(read_all(&*store.journal(), database(1)).len(), 2000);
    assert_eq!(store.journal().head(database(1)).unwrap(), head);
    store.close().unwrap();
}

/// Half a frame at the end of the log, one of them with a length that nobody could allocate: a start gets over it,
/// and what is acknowledged after it is not lost behind it.
#[test]
fn lesson_13_what_is_acknowledged_after_a_torn_tail_is_there_at_the_next_start() {
    let dir = scratch();
    whole_store(dir.path(), false);
    let mut head = None;
    for (round, length) in [40, 4000, 7_000_000, u32::MAX].into_iter().enumerate() {
        tear_tail(dir.path(), length);
        let store = open_at(dir.path()).unwrap_or_else(|error| panic!("length {length}: {error}"));
        let journal = store.journal();
        let found = journal.head(database(0)).unwrap().unwrap();
        assert_eq!(found.seq, RECORDS + 2 * round as u64, "length {length}");
        assert!(head.is_none_or(|head| head == found), "length {length}");
        head = Some(found);
        for _ in 0..2 {
            let seq = head.map_or(1, |head| head.seq + 1);
            head = Some(append_next(&*journal, database(0), head, &record(0, seq)));
        }
        // Not closed: a crash.
    }
    let store = open_at(dir.path()).unwrap();
    let all = read_all(&*store.journal(), database(0));
    assert_eq!(all.len() as u64, RECORDS + 8);
    for found in all {
        assert_eq!(found.bytes, record(0, found.seq));
    }
    store.close().unwrap();
}

/// Writes the first half of a frame, as it would come next, behind the last one of the newest redo file.
fn tear_tail(root: &Path, length: u32) {
    let mut files = Vec::new();
    files_in(&root.join("store/redo"), &mut files);
    // Past the header and the two mirror slots. The file that comes next may have been made already, and is empty.
    let first = 4096 + 2 * options(root).frame_bytes_max as usize;
    let last_frame = |bytes: &[u8]| (first..bytes.len() - 8).rev().find(|at| bytes[*at..].starts_with(b"DIAFRAME"));
    let written = files.iter().rev().find_map(|path| {
        let bytes = std::fs::read(path).unwrap();
        last_frame(&bytes).map(|last| (path, bytes, last))
    });
    let (path, mut bytes, last) = written.unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let at = used.next_multiple_of(8);
    let mut frame = bytes[last..last + 72].to_vec();
    let commit = u64::from_le_bytes(frame[16..24].try_into().unwrap()) + 1;
    frame[16..24].copy_from_slice(&commit.to_le_bytes());
    frame[24..32].copy_from_slice(&(at as u64).to_le_bytes());
    frame[36..40].copy_from_slice(&length.to_le_bytes());
    frame.extend(noise(u64::from(length), 60));
    assert!(at + frame.len() < bytes.len(), "the file has room for a torn frame");
    bytes[at..at + frame.len()].copy_from_slice(&frame);
    std::fs::write(path, bytes).unwrap();
}
