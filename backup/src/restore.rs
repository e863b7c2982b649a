//! Handing a backup to a transactor.
pub struct Restore;
pub struct Restored;
pub fn restore() {}
