//! The bar of a backup, on a terminal only, and how Ctrl-C ends it: between two files, so that what is there stays whole.

use backup::Progress as Said;
use db::{Error, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(in crate::command) struct Progress {
    bar: ProgressBar,
    stopped: Arc<AtomicBool>,
}

/// What the shell says of a command that an interrupt ended.
const INTERRUPTED: i32 = 130;

impl Progress {
    /// The bar, and what tells it.
    pub(in crate::command) fn new() -> (Progress, impl Fn(&Said) -> Result<()> + Send + Sync + use<>) {
        let progress = Progress { bar: bar(), stopped: Arc::default() };
        let (bar, stopped) = (progress.bar.clone(), progress.stopped.clone());
        let told = move |said: &Said| {
            show(&bar, said);
            match stopped.load(Ordering::Relaxed) {
                true => Err(Error::interrupted("db.error/cancelled", "stopped by Ctrl-C")),
                false => Ok(()),
            }
        };
        (progress, told)
    }

    /// Waits for what is being told of. A second Ctrl-C does not.
    pub(in crate::command) async fn until<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stop = async {
            // Where nobody can be heard, nobody stops it.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            self.stopped.store(true, Ordering::Relaxed);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED);
            }
            std::future::pending::<()>().await
        };
        let done = tokio::select! {
            done = work => done,
            () = stop => unreachable!("it waits for ever"),
        };
        self.bar.finish_and_clear();
        done
    }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{prefix:10} {bar:30} {pos}/{len} {per_sec}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, said: &Said) {
    if bar.prefix() != said.stage {
        bar.set_prefix(said.stage.clone());
    }
    match said.total {
        0 => bar.unset_length(),
        total => bar.set_length(total),
    }
    bar.set_position(said.done);
    if said.bytes > 0 {
        bar.set_message(format!("{} sent", HumanBytes(said.bytes)));
    }
}
