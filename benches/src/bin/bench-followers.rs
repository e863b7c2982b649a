//! What followers cost those who commit: rounds without them and with 200 idle and 50 busy ones, in turn.
//!
//! Busy ones follow the database that is written to, idle ones another. They read on the same two cores, in the load
//! generator; so the figures hold what it costs to be read as well as what it costs to tell.

use benches::measure::{median, percentile_ms};
use benches::system::{self, DATABASE, Result, System};
use benches::{Report, disk};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const IDLE: usize = 200;
const BUSY: usize = 50;
const CALLERS: [usize; 3] = [1, 16, 64];
/// Transactions a second in the rounds at a fixed rate.
const RATE: f64 = 1000.0;

fn main() -> Result<()> {
    system::runtime()?.block_on(run())
}

async fn run() -> Result<()> {
    let (rounds, round) = match benches::is_quick() {
        true => (1, Duration::from_millis(200)),
        false => (5, Duration::from_secs(3)),
    };
    let system = System::start()?;
    let url = &system.transactor.url;
    let mut transactor = system::transactor(url).await?;
    let busy = system::create(&mut transactor, DATABASE, false).await?;
    let idle = system::create(&mut transactor, "idle", false).await?;
    let syncs = disk::syncs_per_second(system.dir(), round / 4)?;
    let received = Arc::new(AtomicU64::new(0));

    // By [without, with] and sort.
    let mut rates = vec![vec![Vec::new(); CALLERS.len()]; 2];
    let mut times = vec![vec![Vec::new(); CALLERS.len() + 1]; 2];
    for _ in 0..rounds {
        for with in [0, 1] {
            let mut followers = JoinSet::new();
            if with == 1 {
                for (id, name, count) in [(&idle, "idle", IDLE), (&busy, DATABASE, BUSY)] {
                    for _ in 0..count {
                        let head = system::head(&mut transactor, name).await?;
                        let mut stream = system::follow(url, id.clone(), head).await?;
                        let received = received.clone();
                        followers.spawn(async move {
                            while let Ok(Some(message)) = stream.message().await {
                                received.fetch_add(message.frames.len() as u64, Ordering::Relaxed);
                            }
                        });
                    }
                }
            }
            for (i, callers) in CALLERS.into_iter().enumerate() {
                let (rate, mut took) = system::callers(url, false, callers, round).await?;
                rates[with][i].push(rate);
                times[with][i].append(&mut took);
            }
            times[with][CALLERS.len()].append(&mut system::at_rate(url, 16, RATE, round).await?);
            let left = followers.len();
            followers.shutdown().await;
            assert_eq!(left, with * (IDLE + BUSY), "no follower is cut off");
        }
    }

    let mut report = Report::new("followers");
    println!("{IDLE} idle and {BUSY} busy followers; the disk alone {syncs:.0} write + fdatasync/s; ");
    println!("followers read {} MB\n", received.load(Ordering::Relaxed) / 1_000_000);
    let mut rows = Vec::new();
    for i in 0..=CALLERS.len() {
        let what = CALLERS.get(i).map_or(format!("{RATE:.0} transactions/s"), |callers| format!("{callers} callers"));
        let p50 = [0, 1].map(|with| percentile_ms(&mut times[with][i], 50.0));
        let p99 = [0, 1].map(|with| percentile_ms(&mut times[with][i], 99.0));
        let mut row = vec![what.clone()];
        if i < CALLERS.len() {
            let rate = [0, 1].map(|with| median(&rates[with][i]).0);
            report.figure(&format!("{what}, alone"), rate[0], "tx/s");
            report.figure(&format!("{what}, followed"), rate[1], "tx/s");
            report.figure(&format!("{what}, followed : alone"), rate[1] / rate[0], "ratio");
            row.extend([format!("{:.0}", rate[0]), format!("{:.0}", rate[1]), format!("{:.2}", rate[1] / rate[0])]);
        } else {
            row.extend(["".into(), "".into(), "".into()]);
        }
        report.figure(&format!("{what}, p50 followed : alone"), p50[1] / p50[0], "ratio");
        row.push(format!("{:.2} / {:.2} ms", p50[0], p50[1]));
        row.push(format!("{:.2} / {:.2} ms", p99[0], p99[1]));
        rows.push(row);
    }
    let columns = ["load", "alone, tx/s", "followed, tx/s", "ratio", "p50 alone / followed", "p99 alone / followed"];
    report.table(&columns, &rows);
    Ok(())
}
