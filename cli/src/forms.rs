//! Transactions from a file that may be larger than memory: form by form, as they stand in it.
//!
//! A form is cut out of the bytes by following brackets, strings, characters and comments only; then db's reader
//! judges it. So one transaction at a time is in memory, an error names its line in the file, and what is sent is the
//! text that was read.

use db::edn::Edn;
use db::{Error, Result};
use std::io::Read;

/// No transaction's text can be longer: it has to fit into one message.
const FORM_BYTES_MAX: usize = proto::MESSAGE_BYTES_MAX;
const READ_BYTES: usize = 1 << 16;
/// Discarded forms and metadata in front of one form.
const PREFIXES_MAX: usize = 16;

/// The transactions of a file, in order. After an error there are none.
pub struct Forms<R> {
    source: R,
    /// Bytes that are read and belong to no form yet.
    buffer: Vec<u8>,
    at_end: bool,
    scan: Scan,
    /// The line at which the buffer begins, from 1.
    line: usize,
    /// How many bytes stand before the buffer.
    offset: u64,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub text: String,
    /// The line at which it begins, from 1.
    pub line: usize,
    /// Where the next one may begin, in bytes from the beginning of the file.
    pub end_offset: u64,
}

/// How far the buffer has been looked through, and what stands open there.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    at: usize,
    /// Where the form begins, once its first byte was seen.
    start: Option<usize>,
    depth: usize,
    inside: Inside,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Inside {
    #[default]
    Form,
    String,
    /// After a backslash in a string.
    Escape,
    Comment,
    /// After a backslash outside strings: the next byte is a character, whatever it is.
    Character,
}

impl<R: Read> Forms<R> {
    pub fn new(source: R) -> Self {
        Forms { source, buffer: Vec::new(), at_end: false, scan: Scan::default(), line: 1, offset: 0 }
    }

    /// The next transaction, or None at the end.
    pub fn next_form(&mut self) -> Result<Option<Form>> {
        let form = self.cut_form();
        if form.is_err() {
            self.buffer.clear();
            self.scan = Scan::default();
            self.at_end = true;
        }
        form
    }

    fn cut_form(&mut self) -> Result<Option<Form>> {
        let mut prefixes = 0;
        loop {
            let Some(end) = self.find_end()? else { return Ok(None) };
            let start = self.scan.start.unwrap_or(end);
            let line = self.line + newlines(&self.buffer[..start]);
            let text = std::str::from_utf8(&self.buffer[start..end]).map_err(|fault| {
                let line = line + newlines(&self.buffer[start..start + fault.valid_up_to()]);
                Error::incorrect("db.error/edn-syntax", format!("line {line}: the text is not UTF-8"))
            })?;
            match judge(text, line) {
                Ok(count) => {
                    let text = (count == 1).then(|| text.to_owned());
                    self.drop_until(end);
                    prefixes = 0;
                    if let Some(text) = text {
                        return Ok(Some(Form { text, line, end_offset: self.offset }));
                    }
                }
                // What stands before a form and belongs to it (`#_`, `^meta`) may itself end with a bracket.
                Err(error) => {
                    let may_go_on = text.starts_with("#_") || text.starts_with('^');
                    if !may_go_on || self.is_exhausted() || prefixes == PREFIXES_MAX {
                        return Err(error);
                    }
                    prefixes += 1;
                }
            }
        }
    }

    fn is_exhausted(&self) -> bool {
        self.at_end && self.scan.at >= self.buffer.len()
    }

    /// Where the form that begins in the buffer ends; None when nothing is left but blanks and comments.
    fn find_end(&mut self) -> Result<Option<usize>> {
        loop {
            while self.scan.at < self.buffer.len() {
                let byte = self.buffer[self.scan.at];
                if self.scan.step(byte) {
                    return Ok(Some(self.scan.at));
                }
            }
            if self.at_end {
                return Ok(self.scan.start.map(|_| self.buffer.len()));
            }
            match self.scan.start {
                None => self.drop_until(self.buffer.len()),
                Some(start) if self.buffer.len() - start > FORM_BYTES_MAX => {
                    let line = self.line + newlines(&self.buffer[..start]);
                    let message = format!(
                        "line {line}: the transaction that begins here has more than {FORM_BYTES_MAX} bytes: split it"
                    );
                    return Err(Error::incorrect("db.error/edn-limit", message));
                }
                Some(_) => {}
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let length = self.buffer.len();
        self.buffer.resize(length + READ_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + read.as_ref().copied().unwrap_or(0));
        self.at_end = !matches!(read, Ok(1..));
        match read {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::incorrect("db.error/file", format!("the file cannot be read: {error}"))),
        }
    }

    fn drop_until(&mut self, end: usize) {
        self.line += newlines(&self.buffer[..end]);
        self.offset += end as u64;
        self.buffer.drain(..end);
        // A comment that is not finished goes on.
        self.scan = Scan { inside: self.scan.inside, ..Scan::default() };
    }
}

impl Scan {
    /// Takes one byte; true when a form ends with it. All that matters is ASCII, so bytes do.
    fn step(&mut self, byte: u8) -> bool {
        let at = self.at;
        self.at += 1;
        match self.inside {
            Inside::Comment => {
                if byte == b'\n' {
                    self.inside = Inside::Form;
                }
                return false;
            }
            Inside::Character => self.inside = Inside::Form,
            Inside::Escape => self.inside = Inside::String,
            Inside::String => match byte {
                b'\\' => self.inside = Inside::Escape,
                b'"' => {
                    self.inside = Inside::Form;
                    return self.depth == 0;
                }
                _ => {}
            },
            Inside::Form => {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\r' | b',' | 0x0b | 0x0c => return false,
                    b';' => {
                        self.inside = Inside::Comment;
                        return false;
                    }
                    b'"' => self.inside = Inside::String,
                    b'\\' => self.inside = Inside::Character,
                    b'(' | b'[' | b'{' => self.depth += 1,
                    b')' | b']' | b'}' => {
                        self.depth = self.depth.saturating_sub(1);
                        self.start.get_or_insert(at);
                        return self.depth == 0;
                    }
                    _ => {}
                }
                self.start.get_or_insert(at);
            }
        }
        false
    }
}

/// How many transactions the text is: one, or none when all of it is discarded.
fn judge(text: &str, line: usize) -> Result<usize> {
    // Read again below as many lines as stand before it, an error tells its line in the file.
    let forms = db::edn::read_all(text)
        .or_else(|_| db::edn::read_all(&format!("{}{text}", "\n".repeat(line.saturating_sub(1)))))?;
    match &forms[..] {
        [] | [Edn::Vector(_) | Edn::List(_)] => Ok(forms.len()),
        [other, ..] => {
            let shown: String = other.to_string().chars().take(60).collect();
            let message = format!("line {line}: a transaction is a vector of tx-data, but here stands {shown}");
            Err(Error::incorrect("db.error/not-tx-data", message))
        }
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every cut between two reads is met.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            out[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn all(source: impl Read) -> Result<Vec<(String, usize)>> {
        let mut forms = Forms::new(source);
        let mut found = Vec::new();
        while let Some(form) = forms.next_form()? {
            found.push((form.text, form.line));
        }
        Ok(found)
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, usize)]) {
        let expected: Vec<(String, usize)> = expected.iter().map(|(text, line)| (text.to_string(), *line)).collect();
        assert_eq!(all(text.as_bytes()).unwrap(), expected, "{text}");
        assert_eq!(all(Dripping(text.as_bytes())).unwrap(), expected, "dripping: {text}");
    }

    #[test]
    fn forms_are_cut_where_their_brackets_close() {
        check("", &[]);
        check(" ;; nothing\n, ", &[]);
        check("[]", &[("[]", 1)]);
        check("[1][2]\n\n[3]", &[("[1]", 1), ("[2]", 1), ("[3]", 3)]);
        check(";; a comment [\n[{:a #{1}} (2)]\n;; ]\n", &[("[{:a #{1}} (2)]", 2)]);
        check("[\"]\\\"[\" \\] \\[ \\\" ;]\n :x]", &[("[\"]\\\"[\" \\] \\[ \\\" ;]\n :x]", 1)]);
        check("[\"Åland ☃\"]\n[\\☃]", &[("[\"Åland ☃\"]", 1), ("[\\☃]", 2)]);
    }

    #[test]
    fn discarded_forms_are_passed_over_and_metadata_stays_with_its_form() {
        check("#_[1] [2]", &[("[2]", 1)]);
        check("#_ #_ [1] [2]\n[3]", &[("[3]", 2)]);
        check("^{:a 1} [2] [3]", &[("^{:a 1} [2]", 1), ("[3]", 1)]);
    }

    #[track_caller]
    fn refused(text: &[u8]) -> String {
        all(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn errors_name_the_line_in_the_file() {
        assert!(refused(b"[1]\n\n [2 #foo]").starts_with("line 3, column "), "{}", refused(b"[1]\n\n [2 #foo]"));
        assert!(refused(b"[1]\n[2").contains("line 2"), "{}", refused(b"[1]\n[2"));
        assert!(refused(b"[1]\n]").contains("line 2"), "{}", refused(b"[1]\n]"));
        assert!(refused(b"[1]\n^{:a 1}").contains("line 2"), "{}", refused(b"[1]\n^{:a 1}"));
        assert_eq!(refused(b"[1]\n{:a 1}"), "line 2: a transaction is a vector of tx-data, but here stands {:a 1}");
        assert_eq!(refused(b"[1]\nfoo [2]"), "line 2: a transaction is a vector of tx-data, but here stands foo");
        assert_eq!(refused(b"[1]\n\"x\""), "line 2: a transaction is a vector of tx-data, but here stands \"x\"");
        assert_eq!(refused(b"[1]\n[\"\n\xff\"]"), "line 3: the text is not UTF-8");
    }

    #[test]
    fn the_offset_grows_to_the_length_of_the_file() {
        let text = "[1] ;; x\n[2]";
        let mut forms = Forms::new(text.as_bytes());
        assert_eq!(forms.next_form().unwrap().unwrap().end_offset, 3);
        assert_eq!(forms.next_form().unwrap().unwrap().end_offset, text.len() as u64);
        assert_eq!(forms.next_form().unwrap(), None);
    }

    #[test]
    fn an_endless_form_is_refused_before_it_fills_the_memory() {
        let endless = std::io::repeat(b'[');
        let message = all(endless).unwrap_err().message().to_owned();
        assert!(message.contains("has more than 67108864 bytes"), "{message}");
    }
}
