//! Power cuts of a real file system: a process writes a store on ext4 in a loop-mounted image and says what
//! was acknowledged; it is stopped, the image is copied as it is, and the copy is mounted and opened. What the
//! kernel had not sent to the device by then is lost, as in a power cut, sled's own files included.
//!
//! It needs root, loop devices and about two seconds a cut, so it runs when `DIACHRON_POWER_CUTS` says how
//! often: `DIACHRON_POWER_CUTS=20 cargo nextest run -p diachron-storage --test power_cut_image --no-capture`.

use diachron_storage::conformance::{append_next, database, noise, read_all, segment};
use diachron_storage::{Head, Options, Store, open};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const WRITERS: u8 = 4;
const CHILD_STORE: &str = "DIACHRON_POWER_CUT_STORE";

fn open_at(mount: &Path) -> Store {
    let options = Options {
        redo_file_bytes: 4 << 20,
        frame_bytes_max: 256 * 1024,
        record_bytes_max: 100_000,
        checkpoint_bytes: 300_000,
        free_bytes_reserve: 16 << 20,
        ..Options::default()
    };
    open(&format!("sled:{}", mount.join("store").display()), options).unwrap()
}

fn record(db: u8, seq: u64) -> Vec<u8> {
    noise(seq << 8 | u64::from(db), 200 + (seq * 37 % 900) as usize)
}

#[test]
fn a_cut_of_a_real_file_system_loses_nothing_acknowledged() {
    if let Some(mount) = std::env::var_os(CHILD_STORE) {
        return write_until_killed(Path::new(&mount));
    }
    let Some(cuts) = std::env::var("DIACHRON_POWER_CUTS").ok().and_then(|cuts| cuts.parse::<u64>().ok()) else {
        println!("skipped: set DIACHRON_POWER_CUTS to a number of cuts, as root, to run it");
        return;
    };
    let mut total = 0;
    for cut in 0..cuts {
        let (acknowledged, notes) = cut_once(Duration::from_millis(150 + cut * 137 % 1500));
        println!("cut {cut}: {acknowledged} acknowledged, none lost {notes:?}");
        total += acknowledged;
    }
    println!("{cuts} cuts, {total} acknowledged, none lost");
}

/// The child: writes as fast as it can and says what was acknowledged, one line each.
fn write_until_killed(mount: &Path) {
    let store = open_at(mount);
    std::thread::scope(|scope| {
        for db in 0..WRITERS {
            let (journal, segments) = (store.journal(), store.segments());
            scope.spawn(move || {
                let mut head: Option<Head> = None;
                loop {
                    let seq = head.map_or(1, |head| head.seq + 1);
                    head = Some(append_next(&*journal, database(db), head, &record(db, seq)));
                    say(&format!("{db} {seq}"));
                    if db == 0 && seq.is_multiple_of(50) {
                        let (key, bytes) = segment(1, seq, "index", 3000);
                        segments.put(&key, &bytes).unwrap();
                        say(&format!("{WRITERS} {seq}"));
                    }
                }
            });
        }
    });
}

/// Past the test harness, which holds standard output back.
fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "ack {line}").unwrap();
}

fn cut_once(after: Duration) -> (u64, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
    let (mount, mount_copy) = (dir.path().join("mount"), dir.path().join("mount-copy"));
    std::fs::create_dir(&mount).unwrap();
    std::fs::create_dir(&mount_copy).unwrap();
    std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_cut_of_a_real_file_system_loses_nothing_acknowledged", "--nocapture"])
        .env(CHILD_STORE, &mount)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        let mut count = 0u64;
        for line in lines.lines().map_while(Result::ok) {
            let mut words = line.strip_prefix("ack ").into_iter().flat_map(|line| line.split(' '));
            if let (Some(what), Some(seq)) = (words.next(), words.next()) {
                acknowledged.insert(what.parse::<u8>().unwrap(), seq.parse::<u64>().unwrap());
                count += 1;
            }
        }
        (acknowledged, count)
    });
    // The moment of the cut is the subject here, not something that is waited for.
    std::thread::sleep(after);
    run(Command::new("kill").args(["-STOP", &child.id().to_string()]));
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(&copy));
    child.kill().unwrap();
    child.wait().unwrap();
    let (acknowledged, count) = reader.join().unwrap();
    run(Command::new("umount").arg(&mount));
    run(Command::new("mount").args(["-o", "loop"]).arg(&copy).arg(&mount_copy));
    let checked = std::panic::catch_unwind(|| check(&mount_copy, &acknowledged));
    run(Command::new("umount").arg(&mount_copy));
    (count, checked.unwrap())
}

fn check(mount: &Path, acknowledged: &BTreeMap<u8, u64>) -> Vec<String> {
    if acknowledged.is_empty() && !mount.join("store").exists() {
        return Vec::new();
    }
    let store = open_at(mount);
    let journal = store.journal();
    for (what, seq) in acknowledged {
        if *what == WRITERS {
            let (key, bytes) = segment(1, *seq, "index", 3000);
            assert!(store.segments().get(&key).unwrap() == Some(bytes), "segment {seq} is lost");
            continue;
        }
        let records = read_all(&*journal, database(*what));
        assert!(records.len() as u64 >= *seq, "record {seq} of {what} is lost, the log has {}", records.len());
        for found in records {
            assert!(found.bytes == record(*what, found.seq), "record {} of {what} is another one", found.seq);
        }
    }
    let notes = store.notes().to_vec();
    drop(journal);
    store.close().unwrap();
    notes
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
