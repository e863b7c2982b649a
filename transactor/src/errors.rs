//! What callers are told.

use db::{Category, Error};

pub use stores::errors::{STORAGE_FAILED, deleted, fenced, from_storage};

/// Not done, and known not to be done: come back in a moment.
pub fn busy(message: impl Into<String>, retry_after_ms: i64) -> Error {
    Error::new(Category::Busy, "db.error/busy", message).with(proto::RETRY_AFTER_MS, retry_after_ms)
}

pub fn stopping() -> Error {
    Error::new(Category::Unavailable, "db.error/stopping", "the transactor is stopping; try again in a moment")
        .with(proto::RETRY_AFTER_MS, 1000)
}

/// The same error once more, for another caller who waits.
pub fn copy(error: &Error) -> Error {
    let copied = Error::new(error.category(), error.code().to_owned(), error.message());
    error.details().iter().fold(copied, |copied, (key, value)| copied.with(key.clone(), value.clone()))
}
