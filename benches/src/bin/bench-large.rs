//! A database larger than the memory of its peers: loading it while it is indexed, starting cold, reading from each tier.
//!
//! Every answer is checked. `--datoms N` says how large it is to be; with `--bulk` it is loaded in one stream.

use benches::Report;
use benches::big::{self, Big, Naming};
use benches::measure::percentile_ms;
use benches::system::{self, Process, Result, System};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use proto::v1::time_point::Kind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const DATABASE: &str = "shop";
const CACHE_BYTES: u64 = 256 << 20;

fn main() -> Result<()> {
    system::runtime()?.block_on(run())
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

async fn run() -> Result<()> {
    let is_bulk = std::env::args().any(|argument| argument == "--bulk");
    let quick = benches::is_quick();
    let datoms = argument("--datoms").unwrap_or(if quick { 20_000 } else { 20_000_000 });
    let (novelty, reads) = if quick { (256 << 10, 20) } else { (32 << 20, 2000) };
    let big = Arc::new(Big::of_datoms(7, datoms).with_items_each(if quick { 100 } else { 1000 }));
    let mut report = Report::new(if is_bulk { "bulk" } else { "large" });
    let mut rows = Vec::new();
    let mut tell = |report: &mut Report, what: &str, value: f64, unit: &str| {
        report.figure(what, value, unit);
        println!("{what}: {value:.3} {unit}");
        rows.push(vec![what.to_owned(), format!("{value:.3}"), unit.to_owned()]);
    };

    let system = System::start_with(&["--novelty-bytes", &novelty.to_string()])?;
    let (seconds, text_bytes, slowest) = match is_bulk {
        true => load_in_bulk(&system, &big).await?,
        false => load(&system, &big).await?,
    };
    let count = big.datoms();
    tell(&mut report, "datoms loaded by transactions", count as f64, "datoms");
    let how = if is_bulk { "load rate in bulk, indexing all the while" } else { "load rate, indexing all the while" };
    tell(&mut report, how, count as f64 / seconds, "datoms/s");
    let what = if is_bulk { "longest wait for word of progress" } else { "slowest transaction" };
    tell(&mut report, what, slowest.as_secs_f64() * 1e3, "ms");
    tell(&mut report, "transactor, memory when loaded", system.transactor.resident_bytes() as f64 / 1048576.0, "MiB");
    let settled = settled(&system).await?;
    tell(&mut report, "until indexing rested", settled.as_secs_f64() * 1e3, "ms");
    let disk = bytes_in(&system.store());
    tell(&mut report, "bytes on disk a datom, log and indexes", disk as f64 / count as f64, "bytes");
    tell(&mut report, "bytes of its tx-data a datom", text_bytes as f64 / count as f64, "bytes");

    let cache = system.dir().join("cache");
    let settings = ["--cache-bytes", &CACHE_BYTES.to_string(), "--cache-dir", &cache.display().to_string()];
    let begun = Instant::now();
    let process = system.peer_with(&settings)?;
    let mut peer = ready(&process).await?;
    ask(&mut peer, &big, 1, None).await?;
    tell(&mut report, "cold start: from exec to the first answer", begun.elapsed().as_secs_f64() * 1e3, "ms");
    points(&mut peer, &big, reads, "cold, from storage", None, &mut report, &mut tell).await?;
    points(&mut peer, &big, reads, "again, from the heap", None, &mut report, &mut tell).await?;
    drop((peer, process));
    let process = system.peer_with(&settings)?;
    let mut peer = ready(&process).await?;
    points(&mut peer, &big, reads, "after a restart, from local disk", None, &mut report, &mut tell).await?;
    for percent in [10, 50, 90] {
        let at = big.transactions() * percent / 100;
        points(&mut peer, &big, reads, &format!("as of {percent} %"), Some(at), &mut report, &mut tell).await?;
    }
    range(&mut peer, &mut report, &mut tell).await?;
    tell(&mut report, "peer, memory at the end", process.resident_bytes() as f64 / 1048576.0, "MiB");
    report.table(&["what", "figure", "unit"], &rows);
    Ok(())
}

/// One transaction after the other: how long it took, the bytes that were sent, and the longest wait for one.
async fn load(system: &System, big: &Big) -> Result<(f64, u64, Duration)> {
    let mut transactor = system::transactor(&system.transactor.url).await?;
    transactor.create_database(v1::CreateDatabaseRequest { name: DATABASE.into() }).await?;
    transactor.transact(system::transact_request(DATABASE, big::SCHEMA)).await?;
    let text = |transaction: u64| {
        let mut facts = Vec::new();
        big.transaction(transaction, &mut facts);
        big.text(transaction, &facts, Naming::Numbers)
    };
    let (begun, mut bytes, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    let mut next = text(0);
    for transaction in 0..big.transactions() {
        let tx_data = std::mem::take(&mut next);
        bytes += tx_data.len() as u64;
        let sent = Instant::now();
        let mut client = transactor.clone();
        let answer = tokio::spawn(async move { send(&mut client, &tx_data).await });
        // The next one is made while this one is judged.
        if transaction + 1 < big.transactions() {
            next = text(transaction + 1);
        }
        answer.await??;
        slowest = slowest.max(sent.elapsed());
    }
    Ok((begun.elapsed().as_secs_f64(), bytes, slowest))
}

/// All transactions in one stream; the texts are made as it takes them.
async fn load_in_bulk(system: &System, big: &Arc<Big>) -> Result<(f64, u64, Duration)> {
    let mut transactor = system::transactor(&system.transactor.url).await?;
    transactor.create_database(v1::CreateDatabaseRequest { name: DATABASE.into() }).await?;
    transactor.transact(system::transact_request(DATABASE, big::SCHEMA)).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let begin = v1::LoadBegin { database: DATABASE.into(), load: "large".into() };
    sender.send(v1::LoadRequest { begin: Some(begin), tx_data: Vec::new() }).await?;
    let begun = Instant::now();
    let shop = big.clone();
    let making = tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        for transaction in 0..shop.transactions() {
            let mut facts = Vec::new();
            shop.transaction(transaction, &mut facts);
            let text = shop.text(transaction, &facts, Naming::Numbers);
            bytes += text.len() as u64;
            if sender.blocking_send(v1::LoadRequest { begin: None, tx_data: vec![text] }).is_err() {
                break;
            }
        }
        bytes
    });
    let mut answers = transactor.load(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?.into_inner();
    let (mut last, mut longest, mut heard) = (0, Duration::ZERO, begun);
    while let Some(told) = answers.message().await? {
        longest = longest.max(heard.elapsed());
        (heard, last) = (Instant::now(), told.transactions);
    }
    if last != big.transactions() {
        return Err(format!("{last} of {} transactions were committed", big.transactions()).into());
    }
    Ok((begun.elapsed().as_secs_f64(), making.await?, longest))
}

/// Sends until there is room for it.
async fn send(
    client: &mut proto::v1::transactor_client::TransactorClient<Channel>,
    tx_data: &str,
) -> Result<(), tonic::Status> {
    loop {
        match client.transact(system::transact_request(DATABASE, tx_data)).await {
            Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer.map(drop),
        }
    }
}

/// Waits until no index job is due any more.
async fn settled(system: &System) -> Result<Duration> {
    let mut transactor = system::transactor(&system.transactor.url).await?;
    let begun = Instant::now();
    loop {
        let status = transactor.status(v1::TransactorStatusRequest::default()).await?.into_inner();
        let threshold = status.indexing.map_or(0, |indexing| indexing.threshold_bytes);
        if status.databases.iter().all(|database| database.novelty_bytes < threshold) {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ready(process: &Process) -> Result<PeerClient<Channel>> {
    system::peer(&process.url).await
}

/// Asks for an item's price, now or after a transaction, and checks it.
async fn ask(peer: &mut PeerClient<Channel>, big: &Big, item: u64, at: Option<u64>) -> Result<Duration> {
    // The schema is t 1, transaction 0 of the shop t 2.
    let as_of = at.map(|transaction| v1::TimePoint { kind: Some(Kind::T(transaction + 2)) });
    let view = v1::DatabaseView { name: DATABASE.into(), as_of, ..Default::default() };
    let request = v1::PullRequest {
        database: Some(view),
        pattern: "[:item/price]".into(),
        entity: format!("[:item/number {item}]"),
        ..Default::default()
    };
    let expected = big.values(item, big::PRICE, at.unwrap_or(big.transactions() - 1));
    let begun = Instant::now();
    let answer = peer.pull(request).await;
    let took = begun.elapsed();
    let found = match &answer {
        Ok(answer) => format!("{:?}", answer.get_ref()),
        // Nobody has that number then.
        Err(status) if expected.is_empty() => status.message().to_owned(),
        Err(status) => return Err(status.clone().into()),
    };
    match expected.first() {
        Some(price) if !found.contains(&price.to_string()) => {
            Err(format!("item {item} at {at:?} has the price {price}, and {found} was found").into())
        }
        _ => Ok(took),
    }
}

type Tell<'a> = dyn FnMut(&mut Report, &str, f64, &str) + 'a;

async fn points(
    peer: &mut PeerClient<Channel>,
    big: &Big,
    reads: u64,
    what: &str,
    at: Option<u64>,
    report: &mut Report,
    tell: &mut Tell<'_>,
) -> Result<()> {
    let mut took = Vec::new();
    for n in 0..reads {
        took.push(ask(peer, big, n.wrapping_mul(2_654_435_761) % big.items(), at).await?);
    }
    let (p50, p99) = (percentile_ms(&mut took, 50.0), percentile_ms(&mut took, 99.0));
    tell(report, &format!("point read over the wire, {what}"), p50 * 1e3, "µs");
    tell(report, &format!("point read over the wire, {what}, 99 %"), p99 * 1e3, "µs");
    Ok(())
}

/// All prices, by value: a scan of an index.
async fn range(peer: &mut PeerClient<Channel>, report: &mut Report, tell: &mut Tell<'_>) -> Result<()> {
    for what in ["first", "again"] {
        let request = v1::IndexRangeRequest {
            database: Some(v1::DatabaseView { name: DATABASE.into(), ..Default::default() }),
            attribute: Some(v1::Component { kind: Some(v1::component::Kind::Edn(":item/price".into())) }),
            limit: 200_000,
            ..Default::default()
        };
        let begun = Instant::now();
        let mut stream = peer.index_range(request).await?.into_inner();
        let mut rows = 0;
        while let Some(message) = stream.message().await? {
            rows += message.datoms.len();
        }
        let rate = rows as f64 / begun.elapsed().as_secs_f64();
        tell(report, &format!("range of {rows} prices over the wire, {what}"), rate, "datoms/s");
    }
    Ok(())
}

fn bytes_in(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}
