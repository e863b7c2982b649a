//! The database value: indexes, schema and basis, seen through a view of time.

mod db;
mod read;
mod resolve;

pub use crate::index::ValueRange;
pub use db::{Db, TimePoint};
pub use read::Pattern;
pub(crate) use resolve::value_of;

#[cfg(test)]
mod tests;
