//! How fast EDN is read and written: `cargo run --release -p diachron-db --example edn_rate`.

use diachron_db::edn::{self, Edn};
use std::fmt::Write;
use std::time::Instant;

const ENTITIES: usize = 100_000;
const RUNS: usize = 5;

fn main() {
    for (name, text) in [("transaction data", transaction_data()), ("numbers", numbers()), ("one string", one_string())]
    {
        let mut read_ms = f64::MAX;
        let mut form = Edn::Nil;
        for _ in 0..RUNS {
            let start = Instant::now();
            form = edn::read(&text).expect("the text is well-formed");
            read_ms = read_ms.min(start.elapsed().as_secs_f64() * 1000.0);
        }
        let start = Instant::now();
        let written = form.to_string();
        let write_ms = start.elapsed().as_secs_f64() * 1000.0;
        let rate = |bytes: usize, ms: f64| bytes as f64 / ms / 1000.0;
        println!(
            "{name}: {} MB, read {:.0} MB/s, written {:.0} MB/s",
            text.len() / 1_000_000,
            rate(text.len(), read_ms),
            rate(written.len(), write_ms)
        );
    }
}

/// Maps as an importer writes them.
fn transaction_data() -> String {
    let mut text = String::from("[");
    for i in 0..ENTITIES {
        let _ = writeln!(
            text,
            "{{:db/id \"country-{i}\" :country/name \"Country number {i}\" :country/population {} :country/area {}.5 \
             :country/borders [[:country/code \"C{}\"] [:country/code \"C{}\"]] :country/since #inst \"1972-01-01\" \
             :country/landlocked {}}}",
            i * 7919,
            i * 3,
            i + 1,
            i + 2,
            i % 3 == 0
        );
    }
    text + "]"
}

fn numbers() -> String {
    let numbers: Vec<String> = (0..2_000_000u64).map(|n| (n * 2_654_435_761 % 1_000_000_007).to_string()).collect();
    format!("[{}]", numbers.join(" "))
}

fn one_string() -> String {
    format!("\"{}\"", "all work and no play ".repeat(1_000_000))
}
