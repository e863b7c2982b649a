//! Backups of databases: made of a running one, listed, verified, and given back.
//!
//! A backup is what a database consists of at one t, byte for byte: the segments that its newest index names, its log
//! tree and its bodies out of line among them, the records that the log tree does not hold, and of a fork what it began
//! with. [`target`] is where it goes; [`make()`] sends what is not there yet and writes a [`manifest`] last; [`snapshot`]
//! shows a backup as the store that it came from, read only, so that whatever reads and verifies stores reads and
//! verifies backups; [`restore()`] hands one to a transactor, which asks for what it lacks.
//!
//! Everything blocks. Nothing here writes to a database.

pub mod layout;
pub mod make;
pub mod manifest;
mod restore;
pub mod series;
pub mod snapshot;
pub mod target;
mod verify;

pub use make::{Backup, Made, make};
pub use manifest::Manifest;
pub use restore::{Restore, Restored, restore};
pub use snapshot::Snapshot;
pub use target::Target;
pub use verify::verify;

use db::Result;

/// How far something is. An error ends it.
pub type Told<'a> = dyn Fn(&Progress) -> Result<()> + Sync + 'a;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `segments`, `bodies`, `records`, `log` or `trees`.
    pub stage: String,
    pub done: u64,
    /// 0: not known.
    pub total: u64,
    pub bytes: u64,
}
