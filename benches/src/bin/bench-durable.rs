//! Durable transactions a second over gRPC at 1, 16 and 64 callers, straight to a transactor that one peer follows and
//! through that peer, beside the disk's own write + fdatasync rate.
//!
//! Starts `diachron-transactor` on a temporary sled directory and one `diachron-peer` from the folder this program
//! stands in. Each caller adds one person of five facts a transaction and waits for the answer. Rounds of all sorts are
//! run in turn, with the disk measured before each, so that noise of the machine meets all of them alike.

use benches::measure::{median, percentile_ms};
use benches::system::{self, Result, System};
use benches::{Report, disk};
use std::time::Duration;

const CALLERS: [usize; 3] = [1, 16, 64];

fn main() -> Result<()> {
    system::runtime()?.block_on(run())
}

async fn run() -> Result<()> {
    let quick = benches::is_quick();
    let (rounds, round, disk_round) = match quick {
        true => (1, Duration::from_millis(200), Duration::from_millis(50)),
        false => (5, Duration::from_secs(3), Duration::from_millis(700)),
    };
    let system = System::start()?;
    let url = &system.transactor.url;
    let mut transactor = system::transactor(url).await?;
    system::create(&mut transactor, system::DATABASE, false).await?;
    let peer = system.peer()?;
    let t = system::head(&mut transactor, system::DATABASE).await?.t;
    // From here on it follows.
    system::query(
        &mut system::peer(&peer.url).await?,
        system::DATABASE,
        t,
        "[:find ?e . :where [?e :db/ident :db/ident]]",
    )
    .await?;

    let mut disk = Vec::new();
    let sorts: Vec<(bool, usize)> =
        [false, true].into_iter().flat_map(|through| CALLERS.map(|callers| (through, callers))).collect();
    let mut rates = vec![Vec::new(); sorts.len()];
    let mut times = vec![Vec::new(); sorts.len()];
    for _ in 0..rounds {
        for (i, (through_peer, callers)) in sorts.iter().copied().enumerate() {
            disk.push(disk::syncs_per_second(system.dir(), disk_round)?);
            let door = if through_peer { &peer.url } else { url };
            let (rate, mut took) = system::callers(door, through_peer, callers, round).await?;
            rates[i].push(rate);
            times[i].append(&mut took);
        }
    }

    let mut report = Report::new("durable");
    let (syncs, lowest, highest) = median(&disk);
    println!("write + fdatasync of 200 bytes: {syncs:.0}/s ({lowest:.0} … {highest:.0})\n");
    report.figure("disk write + fdatasync", syncs, "1/s");
    let mut rows = Vec::new();
    for (i, (through_peer, callers)) in sorts.into_iter().enumerate() {
        let door = if through_peer { "through the peer" } else { "to the transactor, one peer following" };
        let (rate, lowest, highest) = median(&rates[i]);
        let (p50, p99) = (percentile_ms(&mut times[i], 50.0), percentile_ms(&mut times[i], 99.0));
        report.figure(&format!("{door}, {callers} callers"), rate, "tx/s");
        report.figure(&format!("{door}, {callers} callers, of fdatasync"), rate / syncs, "ratio");
        report.figure(&format!("{door}, {callers} callers, p50"), p50, "ms");
        report.figure(&format!("{door}, {callers} callers, p99"), p99, "ms");
        rows.push(vec![
            door.to_owned(),
            callers.to_string(),
            format!("{rate:.0}"),
            format!("{lowest:.0} … {highest:.0}"),
            format!("{:.2}", rate / syncs),
            format!("{p50:.2} ms"),
            format!("{p99:.2} ms"),
        ]);
    }
    let spread = format!("lowest … highest of {rounds}");
    report.table(&["door", "callers", "transactions/s", &spread, "of fdatasync/s", "p50", "p99"], &rows);
    Ok(())
}
