//! The frame of a program: logs, a runtime, the world as the system gives it, signals, and an exit code.

use crate::{Result, Shutdown, ShutdownTrigger, World, log, on_signals};
use std::process::ExitCode;
use std::time::Duration;

/// What blocks when the program ends (a read of the disk) may take this much longer.
const BLOCKED_MAX: Duration = Duration::from_secs(1);

/// Runs a process to its end: exit code 0 when it was asked to stop, 1 when it could not go on.
pub fn main<F>(log_options: log::Options, run: impl FnOnce(World, ShutdownTrigger, Shutdown) -> F) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    log::start(log_options);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (trigger, shutdown) = Shutdown::new();
    let ended = runtime.block_on(async {
        on_signals(trigger.clone())?;
        run(World::system()?, trigger, shutdown).await
    });
    runtime.shutdown_timeout(BLOCKED_MAX);
    match ended {
        Ok(()) => {
            log::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            log::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}
