//! EDN: the text in which schema, transactions, queries and results are written.

pub(crate) mod base64;
mod value;
mod write;

pub use value::Edn;
