//! Asking a process to stop, once, heard by all in it.

use crate::{Failure, Result, log};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Heard by everyone who should stop. Cheap to clone.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks. Dropping the last clone asks too, so that nobody waits for a word that cannot come.
#[derive(Clone)]
pub struct ShutdownTrigger(Arc<watch::Sender<bool>>);

impl Shutdown {
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(Arc::new(sender)), Shutdown(receiver))
    }

    pub fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when the process is asked to stop.
    pub async fn asked(&self) {
        // An error means that every trigger is gone.
        let _ = self.0.clone().wait_for(|asked| *asked).await;
    }
}

impl ShutdownTrigger {
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

/// Asks at the first SIGTERM or SIGINT.
pub fn on_signals(trigger: ShutdownTrigger) -> Result<()> {
    let failed = |error| Failure::new(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!(signal = name, "stopping");
        trigger.ask();
    });
    Ok(())
}
