//! The text of one value, read as a type.

use db::Instant;
use db::Symbol;
use db::edn::{Edn, check_keyword, check_symbol};
use db::model::ValueType;

/// The value as it stands in tx-data; None where the text is none of that type.
///
/// Blanks around it count in strings only. Booleans are `true false yes no 1 0`; instants as everywhere
/// (`2013-06-01`, `2013-06-01T12:00:00Z`); keywords and symbols with or without their colon; bytes are in base 64; an
/// entity is its id or, with a colon, its ident.
pub(super) fn value(text: &str, value_type: ValueType) -> Option<Edn> {
    let word = text.trim();
    match value_type {
        ValueType::String => Some(Edn::string(text)),
        ValueType::Long => word.parse().ok().map(Edn::Long),
        ValueType::Double | ValueType::Float => word.parse().ok().map(Edn::Double),
        ValueType::Boolean => match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(Edn::Bool(true)),
            "false" | "no" | "0" => Some(Edn::Bool(false)),
            _ => None,
        },
        ValueType::BigInt => number(word, 'N'),
        ValueType::BigDec => number(word, 'M'),
        ValueType::Instant => Instant::parse(word).map(Edn::Inst),
        ValueType::Keyword => check_keyword(word.strip_prefix(':').unwrap_or(word)).ok().map(Edn::Keyword),
        ValueType::Symbol => check_symbol(word).ok().map(Edn::Symbol),
        ValueType::Uuid => match db::edn::read(&format!("#uuid {}", Edn::string(word))) {
            Ok(uuid @ Edn::Uuid(_)) => Some(uuid),
            _ => None,
        },
        ValueType::Uri => (!word.is_empty()).then(|| tagged("uri", word)),
        ValueType::Bytes => Some(tagged("bytes", word)).filter(|form| form.to_bytes().is_some()),
        ValueType::Ref => match word.strip_prefix(':') {
            Some(ident) => check_keyword(ident).ok().map(Edn::Keyword),
            None => word.parse::<i64>().ok().filter(|id| *id >= 0).map(Edn::Long),
        },
        // A vector, as EDN.
        ValueType::Tuple => db::edn::read(word).ok().filter(|form| matches!(form, Edn::Vector(_))),
    }
}

/// Digits that EDN reads with a letter behind them; nothing else, so that `1 2` is no number.
fn number(word: &str, suffix: char) -> Option<Edn> {
    let is_numeric = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    if word.is_empty() || !word.chars().all(is_numeric) {
        return None;
    }
    match db::edn::read(&format!("{word}{suffix}")) {
        Ok(number @ (Edn::BigInt(_) | Edn::BigDec(_))) => Some(number),
        _ => None,
    }
}

fn tagged(tag: &str, text: &str) -> Edn {
    Edn::Tagged(Symbol::new(tag), Box::new(Edn::string(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value_type: ValueType, text: &str, expected: Option<&str>) {
        assert_eq!(value(text, value_type).map(|form| form.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn text_is_read_as_each_type() {
        check(ValueType::String, " a \"b\" ", Some("\" a \\\"b\\\" \""));
        check(ValueType::Long, " -42 ", Some("-42"));
        check(ValueType::Double, "1e3", Some("1000.0"));
        check(ValueType::Double, "7", Some("7.0"));
        check(ValueType::Boolean, "Yes", Some("true"));
        check(ValueType::BigInt, "123456789012345678901234567890", Some("123456789012345678901234567890N"));
        check(ValueType::BigDec, "1.50", Some("1.50M"));
        check(ValueType::Instant, "2013-06", Some("#inst \"2013-06-01T00:00:00.000Z\""));
        check(ValueType::Keyword, "a/b", Some(":a/b"));
        check(ValueType::Keyword, ":a/b", Some(":a/b"));
        check(ValueType::Symbol, "a/b", Some("a/b"));
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        check(ValueType::Uuid, uuid, Some(&format!("#uuid \"{uuid}\"")));
        check(ValueType::Uri, "http://x/y", Some("#uri \"http://x/y\""));
        check(ValueType::Bytes, "AQI=", Some("#bytes \"AQI=\""));
        check(ValueType::Ref, "17", Some("17"));
        check(ValueType::Ref, ":a/b", Some(":a/b"));
    }

    #[test]
    fn what_is_no_value_of_its_type_is_none() {
        for (value_type, text) in [
            (ValueType::Long, "1.5"),
            (ValueType::Long, ""),
            (ValueType::Double, "1,5"),
            (ValueType::Boolean, "maybe"),
            (ValueType::BigInt, "1 2"),
            (ValueType::BigInt, "1.5"),
            (ValueType::BigDec, "M"),
            (ValueType::Instant, "yesterday"),
            (ValueType::Keyword, "a b"),
            (ValueType::Uuid, "x\" #_\""),
            (ValueType::Bytes, "§"),
            (ValueType::Ref, "-1"),
            (ValueType::Ref, "FR"),
        ] {
            check(value_type, text, None);
        }
    }
}
