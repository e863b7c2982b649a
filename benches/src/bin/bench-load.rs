//! 100,000 datoms in one transaction, over gRPC, acknowledged when they are fsynced: each time into a database of its own.

use benches::measure::{median, percentile_ms};
use benches::people;
use benches::system::{self, Door, Result, System};
use benches::{Report, disk};
use std::time::{Duration, Instant};

const PEOPLE: usize = 20_000;

fn main() -> Result<()> {
    system::runtime()?.block_on(run())
}

async fn run() -> Result<()> {
    let (people, rounds) = if benches::is_quick() { (200, 1) } else { (PEOPLE, 7) };
    let forms: Vec<String> = people::people(people).iter().map(system::person_map).collect();
    let tx_data = format!("[{}]", forms.join(" "));
    let mut report = Report::new("load");
    let mut rows = Vec::new();
    for indexed in [false, true] {
        let system = System::start()?;
        let syncs = disk::syncs_per_second(system.dir(), Duration::from_millis(300))?;
        let mut transactor = system::transactor(&system.transactor.url).await?;
        let mut times = Vec::new();
        for round in 0..rounds {
            let database = format!("load-{round}");
            system::create(&mut transactor, &database, indexed).await?;
            let begun = Instant::now();
            let response = Door::Transactor(transactor.clone()).transact(&database, &tx_data).await?;
            times.push(begun.elapsed());
            assert_eq!(response.datom_count as usize, 5 * people + 1);
        }
        let (p50, highest) = (percentile_ms(&mut times, 50.0), percentile_ms(&mut times, 100.0));
        let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        let lowest = median(&seconds).1 * 1e3;
        let what = if indexed { "all five attributes indexed" } else { "no attribute indexed" };
        report.figure(&format!("{} datoms, {what}", 5 * people), p50, "ms");
        rows.push(vec![
            format!("{} datoms, {what}", 5 * people),
            format!("{p50:.0} ms"),
            format!("{lowest:.0} … {highest:.0} ms"),
            format!("{syncs:.0}"),
        ]);
    }
    report.table(&["one transaction", "median", &format!("lowest … highest of {rounds}"), "fdatasync/s"], &rows);
    Ok(())
}
