//! The database value: indexes, schema and basis, seen through a view of time.

mod db;
mod read;

pub use crate::index::ValueRange;
pub use db::{Db, TimePoint};
pub use read::Pattern;

#[cfg(test)]
mod tests;
