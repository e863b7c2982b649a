//! The harness of the whole-system tests: Diachron's own programs, started as a user starts them.
//!
//! The stories are in `it/`, one binary. The programs must have been built before (`cargo build --workspace --bins`,
//! which the test command does): they are found beside the test's own directory, or in `DIACHRON_BIN_DIR`. Every
//! process listens on a port that the system chose, keeps its data in a temporary directory, and is ended by its own
//! handle.

mod client;
mod flock;
mod lossy;
mod program;
mod proxy;
pub mod questions;
mod s3;
mod screen;
mod terminal;

pub use client::{Client, database, database_as_of, database_at_least};
pub use flock::Flock;
pub use lossy::Lossy;
pub use program::{Program, binary};
pub use proxy::Proxy;
pub use s3::S3;
pub use screen::Screen;
pub use terminal::{Terminal, keys};

use std::time::Duration;

/// How long anything may take before a test gives up; no test waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A seed for a randomised story: `DIACHRON_SEED`, or the clock's; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("DIACHRON_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("DIACHRON_SEED={seed}");
    seed
}
