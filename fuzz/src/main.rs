//! `diachron-fuzz [--seed N] [--count N] [TARGET…]`: feeds targets mutated inputs; exit code 1 when one does not
//! survive, with the input and the seed that made it.

use diachron_fuzz::{Target, run};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str =
    "usage: diachron-fuzz [--seed N] [--count N] [edn|query|tx-data|pull|record|frames|segment|message …]";
/// What is fed nests, as in the processes that read it.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let (mut seed, mut count, mut targets) = (1, 100_000, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let known = match argument.as_str() {
            "--seed" => number(arguments.next()).map(|given| seed = given),
            "--count" => number(arguments.next()).map(|given| count = given),
            name => Target::ALL.into_iter().find(|target| target.name() == name).map(|target| targets.push(target)),
        };
        if known.is_none() {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    if targets.is_empty() {
        targets = Target::ALL.to_vec();
    }
    // The panics are told with their inputs.
    std::panic::set_hook(Box::new(|_| {}));
    let mut all_well = true;
    for target in targets {
        let started = Instant::now();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || run(target, seed, count));
        let outcome = thread.map(|thread| thread.join());
        match outcome {
            Ok(Ok(Ok(tally))) => println!(
                "{:<8} {} inputs, {} taken, none crashed, slowest {:?}, seed {seed}, {:?}",
                target.name(),
                tally.inputs,
                tally.taken,
                tally.slowest,
                started.elapsed()
            ),
            Ok(Ok(Err(crash))) => {
                println!("{:<8} CRASHED: {crash}", target.name());
                all_well = false;
            }
            _ => {
                println!("{:<8} could not be run", target.name());
                all_well = false;
            }
        }
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
