//! The program `diachron-peer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let config = process::config::parse::<peer::Config>();
    process::main(config.log, |world, trigger, shutdown| peer::run(config, world, trigger, shutdown))
}
