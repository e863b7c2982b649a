//! The program `diachron-peer`.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let config = peer::Config::parse();
    process::main(config.log, |world, trigger, shutdown| peer::run(config, world, trigger, shutdown))
}
