//! Characters and strings.
//!
//! ```text
//! character = "\\" ( any character but white space | newline | return | space | tab | formfeed | backspace
//!                   | "u" 4 hexadecimal digits | "o" 1 to 3 octal digits )
//! escape    = "\\" ( n t r b f " \\ | "u" 4 hexadecimal digits, a surrogate pair as two of them | 1 to 3 octal digits )
//! ```

use super::Reader;
use crate::error::{Error, Result};
use crate::model::Text;

impl Reader<'_> {
    pub(super) fn character(&mut self) -> Result<char> {
        let at = self.at;
        let rest = &self.text[at + 1..];
        let Some(first) = rest.chars().next().filter(|c| *c == ',' || !c.is_whitespace()) else {
            let message = "a character should follow `\\`; white space has names, such as \\space or \\newline";
            return Err(self.syntax(at, message.into()));
        };
        self.at += 1 + first.len_utf8();
        self.token();
        let token = &self.text[at + 1..self.at];
        if token.len() == first.len_utf8() {
            return Ok(first);
        }
        let character = match token {
            "newline" => Some('\n'),
            "return" => Some('\r'),
            "space" => Some(' '),
            "tab" => Some('\t'),
            "formfeed" => Some('\x0c'),
            "backspace" => Some('\x08'),
            _ => match (first, &token[first.len_utf8()..]) {
                ('u', hex) if hex.len() == 4 => hex_digits(hex).and_then(char::from_u32),
                ('o', octal) if octal.len() <= 3 && octal.bytes().all(|b| matches!(b, b'0'..=b'7')) => {
                    u32::from_str_radix(octal, 8).ok().filter(|code| *code <= 0o377).and_then(char::from_u32)
                }
                _ => None,
            },
        };
        character.ok_or_else(|| self.syntax(at, format!("`{}` is no character", self.excerpt(at))))
    }

    pub(super) fn string(&mut self) -> Result<Text> {
        let at = self.at;
        let start = at + 1;
        let Some(end) = self.plain_until(start) else { return Err(self.unfinished_string(at)) };
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(Text::from(&self.text[start..end]));
        }
        let mut content = String::from(&self.text[start..end]);
        let mut place = end;
        loop {
            if self.bytes[place] == b'"' {
                self.at = place + 1;
                return Ok(Text::from(content));
            }
            let (c, next) = self.escape(place)?;
            content.push(c);
            place = self.plain_until(next).ok_or_else(|| self.unfinished_string(at))?;
            content.push_str(&self.text[next..place]);
        }
    }

    /// The next `"` or `\` from a place in a string.
    fn plain_until(&self, from: usize) -> Option<usize> {
        self.bytes[from..].iter().position(|b| matches!(b, b'"' | b'\\')).map(|length| from + length)
    }

    /// The character that the escape at a place stands for, and the place after it.
    fn escape(&self, at: usize) -> Result<(char, usize)> {
        let Some(byte) = self.bytes.get(at + 1) else {
            return Err(self.syntax(at, "the text ends inside a string".into()));
        };
        let c = match byte {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\x08',
            b'f' => '\x0c',
            b'"' => '"',
            b'\\' => '\\',
            b'u' => return self.unicode_escape(at),
            b'0'..=b'7' => {
                let octal = self.bytes[at + 1..].iter().take(3).take_while(|b| matches!(b, b'0'..=b'7'));
                let (code, length) = octal.fold((0, 0), |(code, n), b| (code * 8 + u32::from(b - b'0'), n + 1));
                return match char::from_u32(code).filter(|_| code <= 0o377) {
                    Some(c) => Ok((c, at + 1 + length)),
                    None => Err(self.syntax(at, "an octal escape goes up to \\377".into())),
                };
            }
            _ => {
                // The character itself may be of several bytes.
                let found = self.text[at + 1..].chars().next().unwrap_or(' ');
                let message =
                    format!("a string has no escape `\\{found}`; there are \\n \\t \\r \\b \\f \\\" \\\\ \\uXXXX");
                return Err(self.syntax(at, message));
            }
        };
        Ok((c, at + 2))
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode_escape(&self, at: usize) -> Result<(char, usize)> {
        let unit = |at: usize| self.bytes.get(at..at + 2).filter(|b| *b == b"\\u").and(self.text.get(at + 2..at + 6));
        let Some(code) = unit(at).and_then(hex_digits) else {
            return Err(self.syntax(at, "four hexadecimal digits should follow `\\u`".into()));
        };
        if let Some(c) = char::from_u32(code) {
            return Ok((c, at + 6));
        }
        let low = unit(at + 6).and_then(hex_digits).filter(|low| (0xdc00..0xe000).contains(low));
        match low {
            Some(low) if code < 0xdc00 => {
                let c = char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
                c.map(|c| (c, at + 12)).ok_or_else(|| self.syntax(at, "no such character".into()))
            }
            _ => Err(self.syntax(at, format!("`\\u{code:04x}` is half a surrogate pair; the other half is missing"))),
        }
    }

    fn unfinished_string(&self, at: usize) -> Error {
        self.syntax(at, "the string that begins here never ends".into())
    }
}

fn hex_digits(text: &str) -> Option<u32> {
    (text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
