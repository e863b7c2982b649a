//! What reading tx-data costs a server, as EDN text and as typed values:
//! `cargo run --release -p diachron-proto --example typed_rate`.

use db::edn::{self, Edn};
use diachron_proto::{tx_data, v1};
use prost::Message;
use std::fmt::Write;
use std::time::Instant;

const ENTITIES: usize = 10_000;
const RUNS: usize = 9;

fn main() {
    let text = entities();
    let form = edn::read(&text).expect("the text is well-formed");
    let forms = form.as_sequence().unwrap_or_default().iter().map(v1::Value::from).collect();
    let typed = v1::TransactRequest { tx_data_forms: forms, ..Default::default() }.encode_to_vec();
    let plain = v1::TransactRequest { tx_data: text.clone(), ..Default::default() }.encode_to_vec();

    let of_text = median_ms(|| {
        let request = v1::TransactRequest::decode(&plain[..]).expect("it was encoded just now");
        edn::read(&request.tx_data).expect("the text is well-formed")
    });
    let decoded = median_ms(|| {
        v1::TransactRequest::decode(&typed[..]).expect("it was encoded just now");
        Edn::Nil
    });
    let of_values = median_ms(|| {
        let request = v1::TransactRequest::decode(&typed[..]).expect("it was encoded just now");
        tx_data(request.tx_data_forms).expect("the forms came from a form")
    });
    println!("{ENTITIES} entities of seven attributes, from a request's bytes to forms, median of {RUNS}:");
    println!("  EDN text  {:>8} bytes  {of_text:>6.2} ms", plain.len());
    println!("  typed     {:>8} bytes  {of_values:>6.2} ms, of which decoding {decoded:.2} ms", typed.len());
}

fn median_ms(run: impl Fn() -> Edn) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            let form = run();
            let took = started.elapsed().as_secs_f64() * 1000.0;
            drop(form);
            took
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Maps as an importer writes them.
fn entities() -> String {
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
