//! The program `diachron-transactor`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let config = process::config::parse::<transactor::Config>();
    process::main(config.log, |world, trigger, shutdown| transactor::run(config, world, trigger, shutdown))
}
