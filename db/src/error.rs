//! Errors for the person who gets them: a category that says what a caller can do, a code that programs
//! branch on, a message that names what is at fault, and details as data.

use crate::edn::Edn;
use std::borrow::Cow;
use std::fmt;

/// What the caller can do about an error. The closed list is part of the wire contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// The request is wrong and will stay wrong.
    Incorrect,
    /// The request contradicts itself or the present state; another one may succeed.
    Conflict,
    NotFound,
    Forbidden,
    /// Not reachable now; try again.
    Unavailable,
    /// Over a limit now; try again later.
    Busy,
    /// Ended by a deadline, a limit or a cancellation.
    Interrupted,
    /// The transaction may have been committed; its idempotency key or the log tells.
    Unknown,
    /// Another writer has taken over.
    Fenced,
    /// Stored bytes are damaged.
    Corrupt,
    /// A fault of ours.
    Fault,
    /// Not supported by this version, named in the message.
    Unsupported,
}

/// An error with its category, code, message and details.
///
/// A code is a keyword's text without its colon, such as `db.error/datoms-conflict`.
pub struct Error(Box<Inner>);

struct Inner {
    category: Category,
    code: Cow<'static, str>,
    message: String,
    details: Vec<(Cow<'static, str>, Edn)>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Category {
    pub const ALL: [Category; 12] = [
        Category::Incorrect,
        Category::Conflict,
        Category::NotFound,
        Category::Forbidden,
        Category::Unavailable,
        Category::Busy,
        Category::Interrupted,
        Category::Unknown,
        Category::Fenced,
        Category::Corrupt,
        Category::Fault,
        Category::Unsupported,
    ];

    /// The name on the wire and in EDN, such as `not-found`.
    pub fn name(self) -> &'static str {
        match self {
            Category::Incorrect => "incorrect",
            Category::Conflict => "conflict",
            Category::NotFound => "not-found",
            Category::Forbidden => "forbidden",
            Category::Unavailable => "unavailable",
            Category::Busy => "busy",
            Category::Interrupted => "interrupted",
            Category::Unknown => "unknown",
            Category::Fenced => "fenced",
            Category::Corrupt => "corrupt",
            Category::Fault => "fault",
            Category::Unsupported => "unsupported",
        }
    }

    pub fn from_name(name: &str) -> Option<Category> {
        Category::ALL.into_iter().find(|category| category.name() == name)
    }
}

impl Error {
    pub fn new(category: Category, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { category, code: code.into(), message: message.into(), details: Vec::new() }))
    }

    pub fn incorrect(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::Incorrect, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::Conflict, code, message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::NotFound, code, message)
    }

    pub fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::Unsupported, code, message)
    }

    pub fn interrupted(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::Interrupted, code, message)
    }

    pub fn corrupt(code: &'static str, message: impl Into<String>) -> Self {
        Error::new(Category::Corrupt, code, message)
    }

    pub fn fault(message: impl Into<String>) -> Self {
        Error::new(Category::Fault, "db.error/fault", message)
    }

    /// Adds data a program can read; the key is a keyword's text without its colon.
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Edn>) -> Self {
        self.0.details.push((key.into(), value.into()));
        self
    }

    /// Says where it happened, in front of the message.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    pub fn category(&self) -> Category {
        self.0.category
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn details(&self) -> &[(Cow<'static, str>, Edn)] {
        &self.0.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} :{} {}", self.0.category.name(), self.0.code, self.0.message)
    }
}

impl std::error::Error for Error {}
