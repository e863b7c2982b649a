//! Compact JSON: no spaces, non-ASCII characters as they are.
//!
//! Longs, big integers, doubles, big decimals and entity ids are numbers, doubles in their shortest form and always
//! with a point; keywords are strings with their colon; instants, uuids, uris, symbols are strings; bytes are strings
//! in base 64. NaN and the infinities, which JSON lacks, are the strings `NaN`, `Infinity` and `-Infinity`.

use db::edn::Edn;
use db::{Item, Value};
use std::fmt::Write;

/// A row as a JSON array.
pub fn json_row(row: &[Item]) -> String {
    let mut text = String::new();
    array(row.iter(), &mut text);
    text
}

/// An item as JSON.
pub fn json(item: &Item) -> String {
    let mut text = String::new();
    write(item, &mut text);
    text
}

fn write(item: &Item, text: &mut String) {
    match item {
        Item::Nil => text.push_str("null"),
        Item::Value(value) => scalar(value, text),
        Item::Vector(items) | Item::Set(items) => array(items.iter(), text),
        Item::Map(entries) => {
            text.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                string(&key_text(key), text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

fn array<'a>(items: impl Iterator<Item = &'a Item>, text: &mut String) {
    text.push('[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            text.push(',');
        }
        write(item, text);
    }
    text.push(']');
}

fn scalar(value: &Value, text: &mut String) {
    match value {
        Value::Boolean(x) => text.push_str(if *x { "true" } else { "false" }),
        Value::Long(x) => push(text, x),
        Value::BigInt(x) => push(text, x),
        Value::Float(x) => double(x.is_finite(), f64::from(*x), &format!("{x:?}"), text),
        Value::Double(x) => double(x.is_finite(), *x, &format!("{x:?}"), text),
        Value::BigDec(x) => push(text, x),
        Value::Instant(x) => string(&x.to_string(), text),
        Value::Keyword(x) => string(&x.to_string(), text),
        Value::Symbol(x) => string(x.as_str(), text),
        Value::String(x) | Value::Uri(x) => string(x, text),
        Value::Uuid(_) => string(&uuid_text(&Item::Value(value.clone())), text),
        Value::Ref(e) => push(text, e.as_long()),
        Value::Bytes(_) => string(&bytes_text(value), text),
        Value::Tuple(elements) => {
            let elements: Vec<Item> =
                elements.iter().map(|element| element.clone().map_or(Item::Nil, Item::Value)).collect();
            array(elements.iter(), text);
        }
    }
}

fn push(text: &mut String, number: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{number}");
}

/// Rust's shortest form has a point, except before an exponent: `1e16`.
fn double(finite: bool, value: f64, shortest: &str, text: &mut String) {
    if !finite {
        return string(
            if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            },
            text,
        );
    }
    match shortest.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => push(text, format_args!("{mantissa}.0e{exponent}")),
        _ => text.push_str(shortest),
    }
}

fn key_text(key: &Item) -> String {
    match key {
        Item::Value(Value::String(text)) => text.to_string(),
        other => Edn::from(other).to_string(),
    }
}

/// Without the tag that EDN puts in front.
pub(super) fn uuid_text(item: &Item) -> String {
    Edn::from(item).to_string().trim_start_matches("#uuid ").trim_matches('"').to_owned()
}

fn bytes_text(value: &Value) -> String {
    match Edn::from(value) {
        Edn::Tagged(_, form) => match *form {
            Edn::String(base64) => base64.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

fn string(content: &str, text: &mut String) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c < ' ' => push(text, format_args!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}
