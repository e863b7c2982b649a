//! What storage says, told to callers.

use db::{Category, Error};
use storage::{DatabaseId, ErrorKind};

/// The code of an error of a store that failed on the way to disk and serves no longer.
pub const STORAGE_FAILED: &str = "db.error/storage-failed";

/// A storage error as a caller of the wire sees it.
pub fn from_storage(error: storage::Error) -> Error {
    let (category, code) = match error.kind() {
        ErrorKind::Invalid => (Category::Incorrect, "db.error/storage-invalid"),
        ErrorKind::NotFound => (Category::NotFound, "db.error/storage-not-found"),
        ErrorKind::InUse => (Category::Unavailable, "db.error/storage-in-use"),
        ErrorKind::Busy => (Category::Busy, "db.error/storage-busy"),
        ErrorKind::Unknown => (Category::Unknown, "db.error/outcome-unknown"),
        ErrorKind::Corrupt => (Category::Corrupt, "db.error/storage-corrupt"),
        ErrorKind::Unsupported => (Category::Unsupported, "db.error/storage-format"),
        ErrorKind::Poisoned => (Category::Unavailable, STORAGE_FAILED),
        ErrorKind::Io => (Category::Fault, "db.error/storage-io"),
    };
    Error::new(category, code, error.to_string())
}

/// What everyone hears who comes to a database that is no more.
pub fn deleted(name: &str, id: DatabaseId) -> Error {
    Error::not_found("db.error/database-deleted", format!("database {name:?} ({id}) was deleted"))
        .with("database", name)
}

/// Another transactor writes here: not done, and not to be done by this one.
pub fn fenced(message: impl Into<String>) -> Error {
    Error::new(Category::Fenced, "db.error/fenced", message)
}

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
