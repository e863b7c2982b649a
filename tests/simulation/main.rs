//! The whole in one process, under a simulated network and clock: two transactors on one store, two peers, writers.
//!
//! What runs is the processes' own code. A seed decides everything else: how long a message takes, which answers of the
//! store are lost, who is cut off from whom and for how long, who crashes when, and when the second transactor takes
//! over from the first, which may not know it for a while. In every run there is a partition, a crash and a take-over.
//! The same seed gives the same run, to the last hash.
//!
//! `DIACHRON_SLOW=N` simulates ten times N seeds more, from `DIACHRON_SEED` on if that is set.

mod clients;
mod flock;
mod history;
mod network;
mod plan;
mod store;

use clients::WRITERS;
use flock::{Flock, PEERS, Phase, TRANSACTORS};
use plan::{Event, Plan};
use std::time::{Duration, SystemTime};
use storage::conformance::Dice;

/// How long the writers write.
const WORK: Duration = Duration::from_secs(20);
/// The longest simulated time that a run may take.
const RUN_MAX: Duration = Duration::from_secs(180);
/// The longest that a message takes, and how long it stays so.
const LATENCY_MS_MAX: u64 = 15;
const LATENCIES_LAST: Duration = Duration::from_millis(700);
const OTHERS: [&str; 3] = ["founder", "watcher", "judge"];
/// A process that ended by itself comes back after this, as a service manager would have it.
const COMES_BACK: Duration = Duration::from_millis(500);

/// Runs a seed to its end, which it reaches only if every check held, and gives its trace.
fn simulate(seed: u64) -> Vec<String> {
    run(Flock::new(seed))
}

fn run(flock: Flock) -> Vec<String> {
    let seed = flock.seed;
    let told = TellOnPanic(flock.clone());
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(RUN_MAX)
        .tick_duration(Duration::from_millis(1))
        .tcp_capacity(4096)
        .build();
    for host in TRANSACTORS {
        let flock = flock.clone();
        sim.host(host, move || flock.clone().transactor(host));
    }
    for host in PEERS {
        let flock = flock.clone();
        sim.host(host, move || flock.clone().peer(host));
    }
    let [founder, watcher, judge] = OTHERS;
    sim.client(founder, clients::set_up(flock.clone()));
    for (home, name) in WRITERS.into_iter().enumerate() {
        sim.client(name, clients::write(flock.clone(), name, home));
    }
    sim.client(watcher, clients::watch(flock.clone()));
    sim.client(judge, clients::judge(flock.clone()));

    let mut plan: Option<Plan> = None;
    let mut latencies = Latencies::new(seed);
    loop {
        let now = sim.elapsed();
        latencies.change(&sim, now);
        if flock.phase() == Phase::Working && plan.is_none() {
            flock.store.set_faulty(true);
            plan = Some(Plan::new(seed, now));
        }
        for host in flock.take_ended() {
            sim.crash(host);
            // A transactor that was fenced stays down; somebody has taken over.
            if PEERS.contains(&host) || host == flock.network.active() {
                plan.get_or_insert_with(Plan::nothing).add(now + COMES_BACK, Event::Restart(host));
            }
        }
        while let Some(event) = plan.as_mut().and_then(|plan| plan.due(now)) {
            flock.history.tell(now, format_args!("** {event:?}"));
            make_happen(&mut sim, &flock, event);
        }
        match sim.step() {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    let (acknowledged, refused, unknown) = flock.history.counts();
    let mishaps = flock.store.mishaps();
    let counts =
        format!("{acknowledged} acknowledged, {refused} refused, {unknown} unknown, {mishaps} mishaps of the store");
    flock.history.tell(sim.elapsed(), &counts);
    eprintln!("seed {seed}: {counts}, {:.1} s simulated", sim.elapsed().as_secs_f64());
    drop(told);
    assert!(acknowledged > 20, "the run is worth it");
    flock.history.trace()
}

fn make_happen(sim: &mut turmoil::Sim<'_>, flock: &Flock, event: Event) {
    match event {
        Event::Partition(a, b) => sim.partition(a, b),
        Event::PartitionOneWay(from, to) => sim.partition_oneway(from, to),
        Event::Repair(a, b) => sim.repair(a, b),
        Event::CutOffFromStore => flock.store.cut_off(flock.network.active()),
        Event::StoreIsBack => flock.store.heal(),
        Event::Crash(host) => crash(sim, host),
        Event::CrashTransactor => crash(sim, flock.network.active()),
        Event::Restart(host) => restart(sim, host),
        Event::RestartTransactor => restart(sim, flock.network.active()),
        Event::TakeOver => {
            flock.let_second_start();
            flock.network.set_active(TRANSACTORS[1]);
            sim.bounce(TRANSACTORS[1]);
        }
        Event::End => {
            flock.store.set_faulty(false);
            flock.store.heal();
            for a in TRANSACTORS.into_iter().chain(PEERS) {
                for b in TRANSACTORS.into_iter().chain(PEERS).filter(|b| *b != a) {
                    sim.repair(a, b);
                }
            }
            restart(sim, TRANSACTORS[1]);
            PEERS.into_iter().for_each(|host| restart(sim, host));
            flock.set_phase(Phase::Healed);
        }
    }
}

fn crash(sim: &mut turmoil::Sim<'_>, host: &'static str) {
    if sim.is_host_running(host) {
        sim.crash(host);
    }
}

fn restart(sim: &mut turmoil::Sim<'_>, host: &'static str) {
    if !sim.is_host_running(host) {
        sim.bounce(host);
    }
}

/// How long messages take, from link to link and from time to time.
///
/// Turmoil's own way draws a latency for each message, so that the order in which tasks of one process are woken, which
/// tokio leaves to chance in places, would change the whole run.
struct Latencies {
    dice: Dice,
    next: Duration,
}

impl Latencies {
    fn new(seed: u64) -> Self {
        Latencies { dice: Dice::new(seed ^ 0x1a7e), next: Duration::ZERO }
    }

    fn change(&mut self, sim: &turmoil::Sim<'_>, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + LATENCIES_LAST;
        let hosts: Vec<_> = TRANSACTORS.into_iter().chain(PEERS).chain(WRITERS).chain(OTHERS).collect();
        for (number, a) in hosts.iter().enumerate() {
            for b in &hosts[..number] {
                let latency = 1 + self.dice.below(LATENCY_MS_MAX);
                sim.set_link_latency(*a, *b, Duration::from_millis(latency));
            }
        }
    }
}

/// Shows what happened when a check fails.
struct TellOnPanic(Flock);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}:\n{}", self.0.seed, self.0.history.trace().join("\n"));
        }
    }
}

/// Every check holds, and the same seed gives the same run.
fn check(seed: u64) {
    let (first, second) = (simulate(seed), simulate(seed));
    for (number, (one, two)) in first.iter().zip(&second).enumerate() {
        assert_eq!(one, two, "seed {seed}: line {number} of the trace differs");
    }
    assert_eq!(first.len(), second.len(), "seed {seed}");
}

macro_rules! seeds {
    ($($name:ident: $seed:expr),*) => {
        $(#[test]
        fn $name() {
            check($seed);
        })*
    };
}

seeds! {
    nothing_is_lost_or_done_twice_with_seed_1: 1,
    nothing_is_lost_or_done_twice_with_seed_2: 2,
    nothing_is_lost_or_done_twice_with_seed_3: 3,
    nothing_is_lost_or_done_twice_with_seed_4: 4,
    nothing_is_lost_or_done_twice_with_seed_5: 5,
    nothing_is_lost_or_done_twice_with_seed_6: 6,
    nothing_is_lost_or_done_twice_with_seed_7: 7,
    nothing_is_lost_or_done_twice_with_seed_8: 8,
    nothing_is_lost_or_done_twice_with_seed_9: 9,
    nothing_is_lost_or_done_twice_with_seed_10: 10
}

#[test]
fn nothing_is_lost_or_done_twice_with_many_seeds_more() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = number("DIACHRON_SEED");
    let count = number("DIACHRON_SLOW").map_or(u64::from(from.is_some()), |factor| 10 * factor);
    for seed in (from.unwrap_or(1000)..).take(count as usize) {
        check(seed);
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(simulate(1), simulate(2));
}

#[test]
#[should_panic(expected = "seed 1")]
fn a_store_that_answers_before_it_keeps_is_found_out() {
    let flock = Flock::new(1);
    flock.store.forget();
    run(flock);
}
