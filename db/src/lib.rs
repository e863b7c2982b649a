//! The database as a value.
//!
//! A [`Db`] is an immutable database at a moment: facts (datoms `[e a v tx added]`) in covering indexes, their
//! schema, and a view of time. Everything here is a function of values: no sockets, no runtime, no clock, no
//! randomness, no threads. Transactions take a database and data and give datoms and a new database; queries and
//! pulls take databases and give rows.

pub mod budget;
pub mod edn;
mod error;
pub mod index;
mod item;
pub mod log;
pub mod model;
pub mod names;
pub mod pull;
pub mod query;
pub mod replay;
pub mod schema;
#[cfg(test)]
mod testing;
mod text;
pub mod tx;
mod view;

pub use error::{Category, Error, Result};
pub use item::Item;
pub use model::{AttrId, Datom, EntityId, Instant, Keyword, Symbol, T, Value};
pub use names::names;
/// How far two names are apart, for errors that name the near ones.
pub use text::distance as edit_distance;
pub use view::{Db, Erasure, Pattern, Piece, Place, Sort, Span, TimePoint, ValueRange, Walk};
