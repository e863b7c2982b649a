//! The syntax of symbols and keywords.
//!
//! ```text
//! symbol    = "/" | part | part "/" (part | "/")
//! keyword   = ":" kpart [ "/" kpart ]
//! part      = a character that is no digit, then any characters; "-", "+" or "." first: no digit second
//! kpart     = any characters: :1a and :a/1 are keywords
//! character = letters and digits of any script . * + ! - _ ? $ % & = < > | and, not first, ' # :
//! ```
//! No part ends in a colon or has two in a row, as in Clojure.

use crate::error::{Error, Result};
use crate::model::{Keyword, Symbol};

/// A keyword from its text without the colon, such as `country/name`, when it is one that the reader would read.
pub fn check_keyword(text: &str) -> Result<Keyword> {
    match keyword_fault(text) {
        None => Ok(Keyword::new(text)),
        Some(fault) => Err(Error::incorrect("db.error/edn-syntax", format!("`:{text}` is no keyword: {fault}"))),
    }
}

/// A symbol from its text, when it is one that the reader would read.
pub fn check_symbol(text: &str) -> Result<Symbol> {
    let fault = is_word(text).then_some("the word has a meaning of its own");
    match fault.or_else(|| symbol_fault(text)) {
        None => Ok(Symbol::new(text)),
        Some(fault) => Err(Error::incorrect("db.error/edn-syntax", format!("`{text}` is no symbol: {fault}"))),
    }
}

/// Words that are values, not symbols.
pub(super) fn is_word(text: &str) -> bool {
    matches!(text, "nil" | "true" | "false")
}

/// What is wrong with a keyword's text (without its colon), if anything.
pub(super) fn keyword_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("a colon needs a name behind it");
    }
    if text.starts_with(':') {
        return Some("`::` needs a current namespace, which EDN has not; write the namespace out");
    }
    match text.split_once('/') {
        None => part_fault(text),
        Some((namespace, name)) if namespace.is_empty() || name.is_empty() || name.contains('/') => Some(SLASH),
        Some((_, name)) if name.starts_with(':') => Some("its name begins with a colon"),
        Some((namespace, name)) => part_fault(namespace).or_else(|| part_fault(name)),
    }
}

/// What is wrong with a symbol's text, if anything.
pub(super) fn symbol_fault(text: &str) -> Option<&'static str> {
    match text.split_once('/') {
        _ if text == "/" => None,
        None => symbol_part_fault(text),
        Some((namespace, "/")) if !namespace.is_empty() => symbol_part_fault(namespace),
        Some((namespace, name)) if namespace.is_empty() || name.is_empty() || name.contains('/') => Some(SLASH),
        Some((namespace, name)) => symbol_part_fault(namespace).or_else(|| symbol_part_fault(name)),
    }
}

const SLASH: &str = "one `/` may stand between namespace and name, each of at least one character";

fn symbol_part_fault(part: &str) -> Option<&'static str> {
    match part.as_bytes() {
        [] => Some("it is empty"),
        [b'0'..=b'9', ..] => Some("a symbol's name cannot begin with a digit"),
        [b'+' | b'-' | b'.', b'0'..=b'9', ..] => Some("it begins like a number"),
        [b'\'', ..] => Some("EDN has no quoting; leave out the `'`"),
        [b'#' | b':', ..] => Some("`#` and `:` cannot stand first"),
        _ => part_fault(part),
    }
}

fn part_fault(part: &str) -> Option<&'static str> {
    if part.ends_with(':') {
        return Some("it ends in a colon");
    }
    let mut before = ' ';
    for c in part.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '?' | '!' => {}
            '*' | '+' | '$' | '%' | '&' | '=' | '<' | '>' | '|' | '\'' | '#' => {}
            ':' if before == ':' => return Some("it has two colons in a row"),
            ':' => {}
            '@' | '`' | '~' => return Some("`@`, `~` and the backquote belong to Clojure code, not to EDN"),
            c if c.is_ascii() => return Some("it has a character that no name can have"),
            c if c.is_whitespace() || c.is_control() || c == '\u{feff}' => {
                return Some("it has an invisible character that is no EDN white space; use a plain space");
            }
            _ => {}
        }
        before = c;
    }
    None
}
