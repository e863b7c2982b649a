//! The program `diachron-transactor`.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let config = transactor::Config::parse();
    process::main(config.log, |world, trigger, shutdown| transactor::run(config, world, trigger, shutdown))
}
