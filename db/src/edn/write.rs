//! The EDN writer.

use super::Edn;
use std::fmt::{self, Write};

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edn::Nil => f.write_str("nil"),
            Edn::Bool(x) => write!(f, "{x}"),
            Edn::Char(x) => write_char(f, *x),
            Edn::Long(x) => write!(f, "{x}"),
            Edn::BigInt(x) => write!(f, "{x}N"),
            Edn::Double(x) if x.is_nan() => f.write_str("##NaN"),
            Edn::Double(x) if x.is_infinite() => f.write_str(if *x > 0.0 { "##Inf" } else { "##-Inf" }),
            Edn::Double(x) => write!(f, "{x:?}"),
            Edn::BigDec(x) => write!(f, "{x}M"),
            Edn::Ratio(x) => write!(f, "{}/{}", x.0, x.1),
            Edn::String(x) => write_string(f, x),
            Edn::Keyword(x) => write!(f, "{x}"),
            Edn::Symbol(x) => write!(f, "{x}"),
            Edn::Inst(x) => write!(f, "#inst \"{x}\""),
            Edn::Uuid(x) => {
                let hex: String = x.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(f, "#uuid \"{}-{}-{}-{}-{}\"", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
            Edn::List(x) => write_elements(f, "(", x, ")"),
            Edn::Vector(x) => write_elements(f, "[", x, "]"),
            Edn::Set(x) => write_elements(f, "#{", x, "}"),
            Edn::Map(entries) => {
                f.write_char('{')?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char('}')
            }
            Edn::Tagged(tag, form) => write!(f, "#{tag} {form}"),
        }
    }
}

fn write_elements(f: &mut fmt::Formatter<'_>, open: &str, elements: &[Edn], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (i, element) in elements.iter().enumerate() {
        write!(f, "{}{element}", if i == 0 { "" } else { " " })?;
    }
    f.write_str(close)
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\newline"),
        '\r' => f.write_str("\\return"),
        ' ' => f.write_str("\\space"),
        '\t' => f.write_str("\\tab"),
        '\x0c' => f.write_str("\\formfeed"),
        '\x08' => f.write_str("\\backspace"),
        // Every control and white space character has four digits or fewer.
        c if c.is_control() || c.is_whitespace() || c == '\u{feff}' => write!(f, "\\u{:04x}", c as u32),
        c => write!(f, "\\{c}"),
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
