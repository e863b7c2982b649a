//! Every target survives its corpus and twenty thousand inputs made from it; `./test-slow` makes a million of each.

use diachron_fuzz::{Target, run};

const SEED: u64 = 20;
const COUNT: u64 = 20_000;

/// What is fed nests, as in the processes that read it.
fn survives(target: Target) {
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(move || run(target, SEED, COUNT)).unwrap();
    let tally = thread.join().unwrap().unwrap_or_else(|crash| panic!("{crash}"));
    println!("{}: {tally:?}", target.name());
    assert!(tally.taken > 0, "nothing was taken: {tally:?}");
}

#[test]
fn edn_survives() {
    survives(Target::Edn);
}

#[test]
fn queries_survive() {
    survives(Target::Query);
}

#[test]
fn tx_data_survives() {
    survives(Target::TxData);
}

#[test]
fn pulls_survive() {
    survives(Target::Pull);
}

#[test]
fn records_survive() {
    survives(Target::Record);
}

#[test]
fn frames_survive() {
    survives(Target::Frames);
}

#[test]
fn segments_survive() {
    survives(Target::Segment);
}

#[test]
fn wire_messages_survive() {
    survives(Target::Message);
}
