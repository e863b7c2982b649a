//! CSV as RFC 4180 has it, with `\n` at the end of lines.

use db::edn::Edn;
use db::{Item, Value};
use std::io::{Result, Write};

/// Strings and instants as they are, nothing for nil, everything else as EDN.
pub(super) fn field_text(item: &Item) -> String {
    match item {
        Item::Nil => String::new(),
        Item::Value(Value::String(text) | Value::Uri(text)) => text.to_string(),
        Item::Value(Value::Instant(instant)) => instant.to_string(),
        Item::Value(Value::Uuid(_)) => super::json::uuid_text(item),
        other => Edn::from(other).to_string(),
    }
}

pub(super) fn write_record<'a>(out: &mut impl Write, fields: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut line = String::new();
    for (i, field) in fields.enumerate() {
        if i > 0 {
            line.push(',');
        }
        // A record of one empty field would be an empty line, which readers skip.
        if field.contains([',', '"', '\n', '\r']) || field.is_empty() && i == 0 {
            line.push('"');
            line.push_str(&field.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(field);
        }
    }
    writeln!(out, "{line}")
}
