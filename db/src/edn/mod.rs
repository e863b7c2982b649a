//! EDN: the text in which schema, transactions, queries and results are written.
//!
//! [`read`] takes text from anyone: it keeps its own stack, so that no nesting overflows the thread's, it bounds
//! depth, size and the digits of numbers, and its errors say line, column and what was found there. What the
//! writer (`Display` of [`Edn`]) writes, the reader reads back as an equal form.

pub(crate) mod base64;
mod fingerprint;
mod name;
mod number;
mod read;
mod value;
mod write;

pub use name::{check_keyword, check_symbol};
pub use number::{DIGITS_MAX, RATIO_DIGITS_MAX, ratio_of};
pub use read::{Limits, Reader, read, read_all};
pub use value::Edn;
