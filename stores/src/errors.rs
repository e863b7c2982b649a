//! What storage says, told to callers; and what a storage process said, as its store would have said it.

use db::{Category, Error};
use storage::{DatabaseId, ErrorKind};
use tonic::{Code, Status};

/// The code of an error of a store that failed on the way to disk and serves no longer.
pub const STORAGE_FAILED: &str = "db.error/storage-failed";

/// A storage error as a caller of the wire sees it.
pub fn from_storage(error: storage::Error) -> Error {
    let (category, code) = told_as(error.kind());
    Error::new(category, code, error.to_string())
}

/// This is the one table.
fn told_as(kind: ErrorKind) -> (Category, &'static str) {
    match kind {
        ErrorKind::Invalid => (Category::Incorrect, "db.error/storage-invalid"),
        ErrorKind::NotFound => (Category::NotFound, "db.error/storage-not-found"),
        ErrorKind::InUse => (Category::Unavailable, "db.error/storage-in-use"),
        ErrorKind::Busy => (Category::Busy, "db.error/storage-busy"),
        ErrorKind::Unknown => (Category::Unknown, "db.error/outcome-unknown"),
        ErrorKind::Corrupt => (Category::Corrupt, "db.error/storage-corrupt"),
        ErrorKind::Unsupported => (Category::Unsupported, "db.error/storage-format"),
        ErrorKind::Poisoned => (Category::Unavailable, STORAGE_FAILED),
        ErrorKind::Io => (Category::Fault, "db.error/storage-io"),
    }
}

const KINDS: [ErrorKind; 9] = [
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::InUse,
    ErrorKind::Busy,
    ErrorKind::Unknown,
    ErrorKind::Corrupt,
    ErrorKind::Unsupported,
    ErrorKind::Poisoned,
    ErrorKind::Io,
];

/// What became of a call that was not answered as asked.
#[derive(Debug)]
pub enum Failed {
    /// The store answered with this error.
    Told(storage::Error),
    /// It was not done, and is known not to be done: it never arrived, or was refused at the door.
    NotDone(String),
    /// It may have been done or not: the answer did not come.
    Lost(String),
}

impl Failed {
    pub fn of(status: &Status) -> Failed {
        let error = proto::error(status);
        if let Some(kind) = KINDS.into_iter().find(|kind| told_as(*kind).1 == error.code()) {
            return Failed::Told(storage::Error::new(kind, error.message()));
        }
        let refused_at_the_door = proto::has_detail(status) && error.category() == Category::Busy;
        if proto::was_never_sent(status) || refused_at_the_door {
            return Failed::NotDone(error.message().to_owned());
        }
        match status.code() {
            // Refused before anything was done with it; trying again changes nothing.
            Code::InvalidArgument | Code::OutOfRange => {
                Failed::Told(storage::Error::new(ErrorKind::Invalid, error.message()))
            }
            Code::Unimplemented => Failed::Told(storage::Error::new(ErrorKind::Unsupported, error.message())),
            Code::PermissionDenied | Code::Unauthenticated => {
                Failed::Told(storage::Error::new(ErrorKind::Io, error.message()))
            }
            _ => Failed::Lost(error.message().to_owned()),
        }
    }
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
