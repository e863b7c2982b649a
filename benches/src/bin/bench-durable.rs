//! Durable transactions a second over gRPC at 1, 16 and 64 callers, beside the disk's own write + fdatasync rate.
//!
//! Starts `diachron-transactor` from the folder this program stands in, on a temporary sled directory. Each caller
//! adds one person of five facts a transaction and waits for the answer. Rounds of all caller counts are run in
//! turn, with the disk measured before each, so that noise of the machine meets all of them alike.

use benches::measure::Figure;
use benches::people;
use proto::v1::transactor_client::TransactorClient;
use proto::v1::{CreateDatabaseRequest, TransactRequest};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const CALLERS: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const DISK_ROUND: Duration = Duration::from_millis(700);

/// The process under load, ended when this goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let binary = std::env::current_exe()?.with_file_name("diachron-transactor");
    let store = format!("sled:{}", dir.path().join("store").display());
    let mut child = Command::new(&binary)
        .args(["--store", &store, "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}; build it first: cargo build --release", binary.display()))?;
    let out = child.stdout.take().ok_or("no stdout")?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let url =
        line.trim().strip_prefix("listening on ").ok_or("the transactor did not say where it listens")?.to_owned();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(run(url, dir.path()));
    drop(server);
    result
}

async fn run(url: String, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut client = TransactorClient::new(Channel::from_shared(url.clone())?.connect().await?);
    client.create_database(CreateDatabaseRequest { name: "bench".into() }).await?;
    client.transact(request(SCHEMA.into())).await?;

    let mut disk = Vec::new();
    let mut rates = vec![Vec::new(); CALLERS.len()];
    let mut latencies = vec![Vec::new(); CALLERS.len()];
    for _ in 0..ROUNDS {
        for (i, callers) in CALLERS.into_iter().enumerate() {
            disk.push(disk_rate(dir)?);
            let (rate, mut times) = round(&url, callers).await?;
            rates[i].push(rate);
            latencies[i].append(&mut times);
        }
    }

    disk.sort_by(f64::total_cmp);
    let disk_median = disk[disk.len() / 2];
    println!("write + fdatasync of 200 bytes: {disk_median:.0}/s ({:.0} … {:.0})", disk[0], disk[disk.len() - 1]);
    println!("| callers | transactions/s | lowest … highest of {ROUNDS} | of fdatasync/s | p50 | p99 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (i, callers) in CALLERS.into_iter().enumerate() {
        rates[i].sort_by(f64::total_cmp);
        latencies[i].sort();
        let median = rates[i][ROUNDS / 2];
        let p99 = latencies[i][latencies[i].len() * 99 / 100];
        println!(
            "| {callers} | {median:.0} | {:.0} … {:.0} | {:.2} | {:.2} ms | {:.2} ms |",
            rates[i][0],
            rates[i][ROUNDS - 1],
            median / disk_median,
            Figure::of(std::mem::take(&mut latencies[i])).median_ms(),
            p99.as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

/// One round: transactions a second, and how long each took.
async fn round(url: &str, callers: usize) -> Result<(f64, Vec<Duration>), Box<dyn Error>> {
    let mut channels = Vec::new();
    for _ in 0..callers {
        channels.push(Channel::from_shared(url.to_owned())?.connect().await?);
    }
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for (caller, channel) in channels.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut client = TransactorClient::new(channel);
            let mut times = Vec::new();
            for person in people::people(1000 + caller).iter().cycle() {
                if begun.elapsed() >= ROUND {
                    break;
                }
                let start = Instant::now();
                client.transact(request(person_form(person))).await?;
                times.push(start.elapsed());
            }
            Ok::<_, tonic::Status>(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await??);
    }
    Ok((times.len() as f64 / begun.elapsed().as_secs_f64(), times))
}

fn request(tx_data: String) -> TransactRequest {
    TransactRequest { database: "bench".into(), tx_data, ..Default::default() }
}

const SCHEMA: &str = "[{:db/ident :person/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
  {:db/ident :person/last-name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
  {:db/ident :person/sex :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
  {:db/ident :person/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
  {:db/ident :person/salary :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

fn person_form(person: &people::Person) -> String {
    let people::Person { name, last_name, sex, age, salary } = person;
    format!(
        "[{{:person/name \"{name}\" :person/last-name \"{last_name}\" \
         :person/sex :{sex} :person/age {age} :person/salary {salary}}}]"
    )
}

/// What the disk does by itself: 200 bytes into a preallocated file, then fdatasync, one after the other.
fn disk_rate(dir: &Path) -> std::io::Result<f64> {
    const FILE_BYTES: usize = 8 << 20;
    let path = dir.join("disk");
    let file: File = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let begun = Instant::now();
    let mut writes = 0u64;
    while begun.elapsed() < DISK_ROUND {
        file.write_all_at(&[7; 200], writes * 200 % (FILE_BYTES as u64 - 200))?;
        file.sync_data()?;
        writes += 1;
    }
    let rate = writes as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
