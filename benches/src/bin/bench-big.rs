//! How fast the large made-up shop is made: nothing that is measured with it should wait for it.

use benches::Report;
use benches::big::{Big, Naming};
use std::time::Instant;

fn main() {
    let mut report = Report::new("big");
    let datoms = if benches::is_quick() { 20_000 } else { 20_000_000 };
    let begun = Instant::now();
    let big = Big::of_datoms(1, datoms);
    let sized = begun.elapsed();
    println!("{} items in {} transactions, sized in {:.2} s\n", big.items(), big.transactions(), sized.as_secs_f64());
    println!("| made | in | million datoms a second |\n| --- | --- | --- |");
    let mut tell = |what: &str, count: u64, begun: Instant| {
        let seconds = begun.elapsed().as_secs_f64();
        let rate = count as f64 / seconds / 1e6;
        println!("| {count} {what} | {seconds:.2} s | {rate:.2} |");
        report.figure(what, rate, "million datoms/s");
    };

    let begun = Instant::now();
    let (mut facts, mut count) = (Vec::new(), 0);
    for transaction in 0..big.transactions() {
        facts.clear();
        big.transaction(transaction, &mut facts);
        count += facts.len() as u64;
    }
    assert_eq!(count, big.datoms());
    tell("facts", count, begun);

    let begun = Instant::now();
    let (mut lives, mut count) = (Vec::new(), 0);
    for item in 0..big.items() {
        lives.clear();
        big.lives(item, big.transactions() - 1, &mut lives);
        count += lives.iter().map(|life| 1 + u64::from(life.to.is_some())).sum::<u64>();
    }
    assert_eq!(count, big.datoms());
    tell("datoms as lives", count, begun);

    let begun = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    for transaction in 0..big.transactions().min(500) {
        facts.clear();
        big.transaction(transaction, &mut facts);
        count += facts.len() as u64;
        bytes += big.text(transaction, &facts, Naming::Ids).len();
    }
    tell("datoms as text", count, begun);
    println!("\n{:.0} bytes of text a datom", bytes as f64 / count as f64);
}
