//! How fast a peer that starts with nothing reads a log off the wire, verifies every hash of it and applies it.
//!
//! Writes a log of small transactions (one fact and the instant each) into a store, one transaction to a record and 64
//! to a record, then starts `diachron-transactor` on it and several `diachron-peer`, one after the other, each of which
//! catches up from the first record; both stand in the folder of this program and share its machine. The store lies in
//! memory where the system allows, since the disk is not what is measured. CPU time is that of the process alone.
//!
//! `bench-follow [TRANSACTIONS]`

use db::log::{self, Body, Chain, LoggedDatom, TxEntry};
use db::model::{EntityId, Instant, Partition, Value};
use db::replay::{self, Replay};
use db::schema::ids;
use db::tx::{Functions, TxLimits};
use proto::v1::PeerStatusRequest;
use proto::v1::peer_client::PeerClient;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant as Clock};
use storage::{Appended, DatabaseId, Head, Journal, PodPut};
use tempfile::TempDir;
use tonic::transport::Channel;

const TRANSACTIONS: u64 = 300_000;
const GROUPS: [usize; 2] = [1, 64];
const PEERS: usize = 5;
const SCHEMA: &str = "[{:db/ident :item/number :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
/// Between two looks at a peer that catches up.
const LOOK: Duration = Duration::from_millis(5);

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A process of ours, ended when this goes out of scope.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<()> {
    let transactions = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => TRANSACTIONS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{transactions} transactions of one fact; {PEERS} peers one after the other, median (lowest … highest)");
    println!(
        "| transactions a record | bytes each | transactor opens, tx/s | peer catches up, tx/s | peer's CPU, µs each \
         | transactor's CPU, µs each |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for group in GROUPS {
        let dir = directory()?;
        let url = format!("sled:{}", dir.path().join("store").display());
        let bytes = write_log(&url, transactions, group)?;
        let begun = Clock::now();
        let transactor = start("diachron-transactor", &["--store", &url])?;
        let opened = begun.elapsed();
        let (mut rates, mut peer_cpu, mut transactor_cpu) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PEERS {
            let cpu_before = cpu(&transactor)?;
            let peer = start("diachron-peer", &["--transactor", &transactor.url])?;
            let begun = Clock::now();
            runtime.block_on(caught_up(&peer.url, transactions + 1))?;
            rates.push(transactions as f64 / begun.elapsed().as_secs_f64());
            peer_cpu.push(cpu(&peer)?.as_secs_f64() * 1e6 / transactions as f64);
            transactor_cpu.push((cpu(&transactor)? - cpu_before).as_secs_f64() * 1e6 / transactions as f64);
        }
        for figures in [&mut rates, &mut peer_cpu, &mut transactor_cpu] {
            figures.sort_by(f64::total_cmp);
        }
        println!(
            "| {group} | {:.0} | {:.0} | {:.0} ({:.0} … {:.0}) | {:.2} | {:.2} |",
            bytes as f64 / transactions as f64,
            transactions as f64 / opened.as_secs_f64(),
            rates[PEERS / 2],
            rates[0],
            rates[PEERS - 1],
            peer_cpu[PEERS / 2],
            transactor_cpu[PEERS / 2],
        );
    }
    Ok(())
}

fn directory() -> std::io::Result<TempDir> {
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() }
}

/// A store with database `bench`, its log as a transactor would have left it; the bytes of its records.
fn write_log(url: &str, transactions: u64, group: usize) -> Result<usize> {
    let store = storage::open(url, storage::Options::default())?;
    let journal = store.journal();
    let id = DatabaseId([7; 16]);
    let put = |pod: &str, bytes: &[u8]| match journal.put_pod(pod, 0, bytes) {
        Ok(PodPut::Done(_)) => Ok(()),
        other => Err(format!("{pod}: {other:?}")),
    };
    put(&format!("db/{id}"), b"live bench")?;
    put("name/bench", &id.0)?;

    let mut writer = Writer { journal: &*journal, id, chain: Chain::new(log::DatabaseId(id.0)), head: None, bytes: 0 };
    let created = writer.append(&replay::create_body("bench"))?;
    let mut db = Replay::new(log::DatabaseId(id.0));
    db.apply(&log::RawRecord::parse(&created)?, None)?;
    let schema = db::edn::read(SCHEMA)?;
    let report = db::tx::transact(db.db(), &schema, Instant(0), &Functions::builtin(), &TxLimits::default())?;
    writer.append(&Body::Tx(vec![replay::entry(&report, [0; 32])]))?;

    let number = report.db_after.schema().attr_of_ident(&db::Keyword::new("item/number")).ok_or("no attribute")?;
    let number = report.db_after.schema().attribute(number).id;
    let first_counter = report.db_after.next_counter();
    let entries: Vec<TxEntry> = (0..transactions).map(|n| entry(n, number, first_counter)).collect();
    writer.bytes = 0;
    for group in entries.chunks(group) {
        writer.append(&Body::Tx(group.to_vec()))?;
    }
    let bytes = writer.bytes;
    drop(journal);
    store.close()?;
    Ok(bytes)
}

fn entry(n: u64, number: EntityId, first_counter: u64) -> TxEntry {
    let (t, instant) = (n + 2, Instant(n as i64));
    let e = EntityId::new(Partition::User, first_counter + n);
    let datom = |e, a, v| LoggedDatom { e, a, v, added: true };
    let datoms = vec![
        datom(EntityId::of_tx(t), ids::TX_INSTANT, Value::Instant(instant)),
        datom(e, number, Value::Long(n as i64 * 31)),
    ];
    TxEntry { t, instant, datoms, tempids: Vec::new(), digest: [n as u8; 32] }
}

struct Writer<'a> {
    journal: &'a dyn Journal,
    id: DatabaseId,
    chain: Chain,
    head: Option<Head>,
    bytes: usize,
}

impl Writer<'_> {
    fn append(&mut self, body: &Body) -> Result<Vec<u8>> {
        let body = body.encode([1; 16])?;
        let header = self.chain.next(&body, 1, Instant(0));
        let record = log::record_bytes(&header, &body);
        let hash = header.hash();
        let head = Head { term: 1, seq: header.seq, t: header.last_t(), hash, index_seq: 0 };
        match self.journal.append(self.id, self.head, head, &record)? {
            Appended::Done => {}
            Appended::Moved(head) => return Err(format!("the head moved to {head:?}").into()),
        }
        self.chain.push_header(&header, hash)?;
        self.head = Some(head);
        self.bytes += record.len();
        Ok(record)
    }
}

fn start(program: &str, args: &[&str]) -> Result<Server> {
    let binary = std::env::current_exe()?.with_file_name(program);
    let mut child = Command::new(&binary)
        .args(args)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}; build it first: cargo build --release", binary.display()))?;
    let out = child.stdout.take().ok_or("no stdout")?;
    let mut server = Server { child, url: String::new() };
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let url = line.trim().strip_prefix("listening on ").ok_or_else(|| format!("{program} did not start"))?;
    server.url = url.to_owned();
    Ok(server)
}

/// Returns when the peer knows t.
async fn caught_up(url: &str, t: u64) -> Result<()> {
    let mut peer = PeerClient::new(Channel::from_shared(url.to_owned())?.connect().await?);
    loop {
        let status = peer.status(PeerStatusRequest {}).await?.into_inner();
        if status.databases.first().is_some_and(|database| database.basis_t == t) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The CPU time a process has taken so far, as Linux tells.
fn cpu(server: &Server) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id()))?;
    // Fields 14 and 15, counted after the name in parentheses, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
