//! What a reader waits for: a commit until a peer's query shows it, and the first query after a commit beside the
//! second.
//!
//! Visible: while transactions come at half the rate that 64 callers reached just before, a probe commits one of its own
//! straight to the transactor every few milliseconds, and asks the peer for that t as soon as it is acknowledged. What
//! is timed is from the acknowledgement to the end of the peer's answer, the question's own way included; beside it is
//! the same question for a t that is known already.

use benches::measure::percentile_ms;
use benches::people;
use benches::system::{self, DATABASE, Door, Result, System};
use benches::{Report, disk};
use std::time::{Duration, Instant};

const PEOPLE: usize = 20_000;
const PROBE_EVERY: Duration = Duration::from_millis(7);
const PROBE: &str = "[:find ?n . :where [13194139533313 :db/txInstant ?n]]";
const QUESTION: &str =
    r#"[:find (count ?e) . :where [?e :person/name "Ivan"] [?e :person/age ?a] [?e :person/sex :male]]"#;

fn main() -> Result<()> {
    system::runtime()?.block_on(async {
        let mut report = Report::new("visible");
        let mut rows = Vec::new();
        visible(&mut report, &mut rows).await?;
        first_query(&mut report, &mut rows).await?;
        report.table(&["what", "p50", "p99"], &rows);
        Ok(())
    })
}

async fn visible(report: &mut Report, rows: &mut Vec<Vec<String>>) -> Result<()> {
    let (calibrated, during) = match benches::is_quick() {
        true => (Duration::from_millis(200), Duration::from_millis(300)),
        false => (Duration::from_secs(3), Duration::from_secs(10)),
    };
    let system = System::start()?;
    let url = system.transactor.url.clone();
    let mut transactor = system::transactor(&url).await?;
    system::create(&mut transactor, DATABASE, false).await?;
    let process = system.peer()?;
    let mut peer = system::peer(&process.url).await?;
    let syncs = disk::syncs_per_second(system.dir(), calibrated / 4)?;
    let (rate, _) = system::callers(&url, false, 64, calibrated).await?;
    let half = rate / 2.0;

    let load = tokio::spawn({
        let url = url.clone();
        async move { system::at_rate(&url, 16, half, during).await }
    });
    let begun = Instant::now();
    let mut door = Door::Transactor(transactor);
    let (mut after_ack, mut from_send, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for person in people::people(PEOPLE).iter().cycle() {
        if begun.elapsed() >= during {
            break;
        }
        let next = Instant::now() + PROBE_EVERY;
        let sent = Instant::now();
        let t = door.transact(DATABASE, &system::person_form(person)).await?.t;
        let acknowledged = Instant::now();
        system::query(&mut peer, DATABASE, t, PROBE).await?;
        after_ack.push(acknowledged.elapsed());
        from_send.push(sent.elapsed());
        let asked = Instant::now();
        system::query(&mut peer, DATABASE, t, PROBE).await?;
        known.push(asked.elapsed());
        tokio::time::sleep_until(next.into()).await;
    }
    let mut commits = load.await??;

    println!(
        "half load: {half:.0} transactions/s, half of what 64 callers reached; the disk alone {syncs:.0} write + \
         fdatasync/s; {} probes\n",
        after_ack.len()
    );
    report.figure("half load", half, "tx/s");
    for (what, times) in [
        ("acknowledged until a peer's query shows it", &mut after_ack),
        ("sent until a peer's query shows it", &mut from_send),
        ("the same question for what is known", &mut known),
        ("commit at half load", &mut commits),
    ] {
        push(report, rows, what, times);
    }
    Ok(())
}

async fn first_query(report: &mut Report, rows: &mut Vec<Vec<String>>) -> Result<()> {
    let (count, rounds) = if benches::is_quick() { (500, 3) } else { (PEOPLE, 300) };
    let system = System::start()?;
    let mut transactor = system::transactor(&system.transactor.url).await?;
    system::create(&mut transactor, DATABASE, true).await?;
    let mut door = Door::Transactor(transactor);
    let people = people::people(count);
    for part in people.chunks(2000) {
        let forms: Vec<String> = part.iter().map(system::person_map).collect();
        door.transact(DATABASE, &format!("[{}]", forms.join(" "))).await?;
    }
    let process = system.peer()?;
    let mut peer = system::peer(&process.url).await?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for person in people.iter().take(rounds) {
        let t = door.transact(DATABASE, &system::person_form(person)).await?.t;
        // Waits until the peer knows it.
        system::query(&mut peer, DATABASE, t, PROBE).await?;
        for times in [&mut first, &mut second] {
            let asked = Instant::now();
            system::query(&mut peer, DATABASE, t, QUESTION).await?;
            times.push(asked.elapsed());
        }
    }
    let ratio = percentile_ms(&mut first, 50.0) / percentile_ms(&mut second, 50.0);
    push(report, rows, "first query after a commit, 100,000 datoms", &mut first);
    push(report, rows, "second query after a commit, 100,000 datoms", &mut second);
    rows.push(vec!["first : second".into(), format!("{ratio:.2}"), String::new()]);
    report.figure("first : second query", ratio, "ratio");
    Ok(())
}

fn push(report: &mut Report, rows: &mut Vec<Vec<String>>, what: &str, times: &mut [Duration]) {
    let (p50, p99) = (percentile_ms(times, 50.0), percentile_ms(times, 99.0));
    report.figure(&format!("{what}, p50"), p50, "ms");
    report.figure(&format!("{what}, p99"), p99, "ms");
    rows.push(vec![what.into(), format!("{p50:.3} ms"), format!("{p99:.3} ms")]);
}
