//! The database value: indexes, schema and basis, seen through a view of time.

mod db;
mod erase;
mod moving;
mod place;
mod read;
mod reading;
mod resolve;
mod walk;

pub use crate::index::{Sort, ValueRange};
pub use db::{Db, TimePoint};
pub use erase::Erasure;
pub use place::Place;
pub(crate) use read::Fact;
pub use read::Pattern;
pub(crate) use resolve::value_of;
pub use walk::{Piece, Span, Walk};

#[cfg(test)]
pub(crate) mod naive;
#[cfg(test)]
mod tests;
