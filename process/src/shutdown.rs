//! Asking a process to stop, once, heard by all in it.

use crate::{Failure, Result, log};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Heard by everyone who should stop. Cheap to clone.
#[derive(Clone)]
pub struct Shutdown {
    process: watch::Receiver<bool>,
    /// Of a part of the process that can be asked to stop by itself.
    part: Option<watch::Receiver<bool>>,
}

/// Asks. Dropping the last clone asks too, so that nobody waits for a word that cannot come.
#[derive(Clone)]
pub struct ShutdownTrigger(Arc<watch::Sender<bool>>);

impl Shutdown {
    pub fn new() -> (ShutdownTrigger, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(Arc::new(sender)), Shutdown { process: receiver, part: None })
    }

    /// For a part of the process: asked when this one is, and when its own trigger asks.
    pub fn part(&self) -> (ShutdownTrigger, Shutdown) {
        assert!(self.part.is_none(), "a part has no parts");
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(Arc::new(sender)), Shutdown { process: self.process.clone(), part: Some(receiver) })
    }

    pub fn is_asked(&self) -> bool {
        let asked = |word: &watch::Receiver<bool>| *word.borrow() || word.has_changed().is_err();
        asked(&self.process) || self.part.as_ref().is_some_and(asked)
    }

    /// Returns when the process, or this part of it, is asked to stop.
    pub async fn asked(&self) {
        match &self.part {
            None => heard(&self.process).await,
            Some(part) => tokio::select! {
                biased;
                () = heard(&self.process) => {}
                () = heard(part) => {}
            },
        }
    }
}

async fn heard(word: &watch::Receiver<bool>) {
    // An error means that every trigger is gone.
    let _ = word.clone().wait_for(|asked| *asked).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_stops_by_its_own_word_or_with_the_whole_and_the_whole_not_with_it() {
        let (whole_trigger, whole) = Shutdown::new();
        let (part_trigger, part) = whole.part();
        let (_other_trigger, other) = whole.part();
        assert!(!part.is_asked());
        part_trigger.ask();
        part.asked().await;
        assert!(part.is_asked() && !whole.is_asked() && !other.is_asked());
        whole_trigger.ask();
        other.asked().await;
        assert!(other.is_asked());
    }
}
