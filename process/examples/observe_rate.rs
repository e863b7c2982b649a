//! What observing costs: nanoseconds for what a process does besides, for each call and each transaction.
//!
//!     cargo run --release -p diachron-process --example observe_rate

use diachron_process::log::{self, info_span};
use diachron_process::metrics::{self, observe};
use diachron_process::{Clock, SystemClock, SystemEntropy, correlation};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tonic::metadata::MetadataMap;

const ROUNDS: u32 = 1_000_000;
/// Where a call's span is made; what the logs take by level they take by this name.
const EDGE: &str = "diachron_process::edge";

fn main() {
    log::start(log::Options::default());
    let mut registry = metrics::registry();
    let wait = metrics::seconds(&mut registry, "wait", "For the measure");
    let done = metrics::counter(&mut registry, "done", "For the measure");
    let ids = correlation::Ids::new(&SystemEntropy);
    let headers = MetadataMap::new().into_headers();
    measure("one reading of the clock", || {
        black_box(SystemClock.since_boot());
    });
    measure("a duration into a histogram", || observe(&wait, black_box(Duration::from_micros(150))));
    measure("a count", || {
        black_box(done.inc());
    });
    measure("an id for a call that has none", || drop(black_box(ids.of(&headers))));
    measure("a call's span, entered twice", || {
        let span =
            info_span!(target: EDGE, "request", method = "Transactor/Transact", correlation_id = "0123456789abcdef-1");
        drop(black_box(span.enter()));
        drop(black_box(span.enter()));
    });
    measure("an event below the level", || log::debug!(target: EDGE, status = "OK", took_us = 150, "answered"));
}

fn measure(what: &str, mut work: impl FnMut()) {
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{:>6} ns  {what}", begun.elapsed().as_nanos() / u128::from(ROUNDS));
}
