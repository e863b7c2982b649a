//! The `diachron` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    diachron_cli::command::main()
}
