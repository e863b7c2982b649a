//! Keywords and symbols: names with an optional namespace, ordered by namespace (none first), then name.

use arcstr::ArcStr;
use std::cmp::Ordering;
use std::fmt;

/// A keyword such as `:country/name`, kept as its text without the colon.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Keyword(ArcStr);

/// A symbol such as `?e`, `$then` or `my.fns/increment`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Symbol(ArcStr);

/// Splits `ns/name`; a lone `/` is a name.
fn split(text: &str) -> (Option<&str>, &str) {
    match text.find('/') {
        Some(at) if at > 0 && at + 1 < text.len() => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    }
}

macro_rules! name_type {
    ($type:ident, $prefix:literal) => {
        impl $type {
            /// From text without prefix, such as `country/name`. The caller has checked its syntax.
            pub fn new(text: impl AsRef<str>) -> Self {
                $type(ArcStr::from(text.as_ref()))
            }

            pub fn namespace(&self) -> Option<&str> {
                split(&self.0).0
            }

            pub fn name(&self) -> &str {
                split(&self.0).1
            }

            /// The text without prefix: `ns/name` or `name`.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                if ArcStr::ptr_eq(&self.0, &other.0) {
                    return Ordering::Equal;
                }
                split(&self.0).cmp(&split(&other.0))
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                $type::new(text)
            }
        }
    };
}

name_type!(Keyword, ":");
name_type!(Symbol, "");
