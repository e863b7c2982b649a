//! The program `diachron-storage`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let config = process::config::parse::<server::Config>();
    process::main(config.log, |world, trigger, shutdown| server::run(config, world, trigger, shutdown))
}
