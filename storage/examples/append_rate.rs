//! How fast the journal appends, beside what the disk itself does.
//!
//! `cargo run --release -p diachron-storage --example append_rate [DIR] [SECONDS]` prints appends a second for
//! 1, 16, 64 and 256 callers, each on a database of its own, and the rate of bare pwrite + fdatasync into a
//! preallocated file in the same directory, measured before and after, since disks change their mind.

use diachron_storage::conformance::{head_after, noise, read_all};
use diachron_storage::{Appended, DatabaseId, Journal, Options, open};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECORD_BYTES: usize = 300;

fn main() {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = args.next().map_or(2.0, |seconds| seconds.parse().expect("SECONDS is a number"));
    let dir = base.join(format!("diachron-append-rate-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("DIR can be written");
    let time = Duration::from_secs_f64(seconds);

    print_disk_rate(&dir, time);
    let url = format!("sled:{}", dir.join("store").display());
    let store = open(&url, Options::default()).expect("the store opens");
    let journal = store.journal();
    let mut database = 0u64;
    for callers in [1, 16, 64, 256] {
        let first = database;
        database += callers;
        print_append_rate(&*journal, first, callers, time);
    }
    print_read_rate(&*journal);
    drop(journal);
    let started = Instant::now();
    store.close().expect("the store closes");
    println!("close: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let started = Instant::now();
    let store = open(&url, Options::default()).expect("the store opens again");
    println!("open: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    store.close().expect("the store closes");
    print_disk_rate(&dir, time);
    if let Some(rss) = rss_mib() {
        println!("memory: {rss} MiB resident");
    }
    std::fs::remove_dir_all(&dir).expect("DIR can be cleared");
}

fn print_append_rate(journal: &dyn Journal, first: u64, callers: u64, time: Duration) {
    let started = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (first..first + callers)
            .map(|database| scope.spawn(move || append_for(journal, database, started, time)))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a caller ends")).collect()
    });
    let elapsed = started.elapsed();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{callers:>4} callers: {:>7.0} appends/s   p50 {:.3} ms   p99 {:.3} ms",
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

fn append_for(journal: &dyn Journal, database: u64, started: Instant, time: Duration) -> Vec<Duration> {
    let db = database_id(database);
    let record = noise(database, RECORD_BYTES);
    let (mut head, mut times) = (None, Vec::new());
    while started.elapsed() < time {
        let next = head_after(head, &record);
        let asked = Instant::now();
        let appended = journal.append(db, head, next, &record).expect("the append is done");
        times.push(asked.elapsed());
        assert_eq!(appended, Appended::Done);
        head = Some(next);
    }
    times
}

fn print_read_rate(journal: &dyn Journal) {
    let started = Instant::now();
    let records = read_all(journal, database_id(0)).len();
    println!(
        "read: {:.0} records/s ({records} of {RECORD_BYTES} bytes)",
        records as f64 / started.elapsed().as_secs_f64()
    );
}

fn print_disk_rate(dir: &Path, time: Duration) {
    let path = dir.join("bare");
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&path).expect("a file");
    file.write_all_at(&vec![0; 16 << 20], 0).expect("preallocated");
    file.sync_all().expect("synced");
    let record = noise(1, RECORD_BYTES);
    let (started, mut count, mut times) = (Instant::now(), 0, Vec::new());
    while started.elapsed() < time {
        let asked = Instant::now();
        file.write_all_at(&record, count * RECORD_BYTES as u64 % (15 << 20)).expect("written");
        file.sync_data().expect("synced");
        times.push(asked.elapsed());
        count += 1;
    }
    times.sort();
    let p50 = times[times.len() / 2].as_secs_f64() * 1e3;
    println!("disk: {:>7.0} pwrite + fdatasync/s   p50 {p50:.3} ms", count as f64 / started.elapsed().as_secs_f64());
    std::fs::remove_file(path).expect("removed");
}

fn database_id(n: u64) -> DatabaseId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_le_bytes());
    DatabaseId(id)
}

fn rss_mib() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096 / (1 << 20))
}
