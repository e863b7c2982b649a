//! Storage errors: what the caller can do about them, and where it happened.

use std::fmt;

/// What kind of failure a storage operation met; the caller branches on this and on nothing else.
///
/// A conflict (the head moved, a pod changed) is not an error: it is an answer of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong: an impossible size, a record out of order, a malformed URL.
    Invalid,
    /// The named database, segment or store does not exist.
    NotFound,
    /// Another process holds the store.
    InUse,
    /// Not done, and known not to be done; may be tried again (a full queue, no space left).
    Busy,
    /// The outcome is not known: the step may have been done. Read the slot, or offer the same bytes again.
    Unknown,
    /// Bytes are damaged, missing or contradict each other. Nothing is served past them.
    Corrupt,
    /// A format this version does not read, named in the message.
    Unsupported,
    /// The store failed on the way to disk and serves no longer. The process must end.
    Poisoned,
    /// Any other failure of the operating system or the engine.
    Io,
}

/// A storage failure: its kind, a message that names what and where, and the cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
