//! The EDN reader.
//!
//! One loop over the bytes with a stack of its own for open forms, so that nesting costs heap, not the thread's
//! stack, and no more than `depth_max` of it: an [`Edn`] that was read can be dropped, compared and written by
//! recursion. Finished elements wait on one shared stack until their collection closes.
//!
//! Metadata (`^:k`, `^{…}`, `^sym`, `^"…"`) is read, checked and dropped. `#inst` and `#uuid` become values; other
//! tags stay [`Edn::Tagged`]. What stands behind `#_` must be well-formed, but its tags are not interpreted.

mod names;
mod text;

use super::number::{self, Fault};
use super::{Edn, fingerprint, name};
use crate::error::{Error, Result};
use crate::model::{Instant, Keyword, Symbol};
use names::Names;

/// Bounds on what is read. Beyond one of them the error's code is `db.error/edn-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open collections, tags and other prefixes at any place.
    pub depth_max: usize,
    /// Bytes of the whole text.
    pub bytes_max: usize,
    /// Elements of all collections in one form; forms in one text for [`read_all`].
    pub elements_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth_max: 256, bytes_max: 64 << 20, elements_max: 8 << 20 }
    }
}

/// Reads a text that is exactly one form.
pub fn read(text: &str) -> Result<Edn> {
    let mut reader = Reader::new(text, Limits::default());
    let form = reader.next_form()?;
    let form = form.ok_or_else(|| reader.syntax(text.len(), "the text has no form; one was expected".into()))?;
    reader.skip_blank();
    let rest = reader.at;
    match reader.next_form()? {
        None => Ok(form),
        Some(_) => Err(reader.syntax(rest, "a second form begins here; exactly one was expected".into())),
    }
}

/// Reads all forms of a text.
pub fn read_all(text: &str) -> Result<Vec<Edn>> {
    let mut reader = Reader::new(text, Limits::default());
    let mut forms = Vec::new();
    while let Some(form) = reader.next_form()? {
        if forms.len() == reader.limits.elements_max {
            let message = format!("the text has more than {} forms", reader.limits.elements_max);
            return Err(reader.over_limit(reader.at, message));
        }
        forms.push(form);
    }
    Ok(forms)
}

/// Reads the forms of a text one after the other. After an error it is at its end.
pub struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    limits: Limits,
    open: Vec<Open<'a>>,
    /// Finished elements of the open collections.
    values: Vec<Edn>,
    /// Fingerprints of collections among `values`, by place, where a set or a map's keys will ask for them.
    prints: Vec<(usize, u64)>,
    elements: usize,
    /// Open `#_`.
    discards: usize,
    /// A place and its line, so that asking again and again does not count from the start.
    line_known: (usize, usize),
    keywords: Names<Keyword>,
    symbols: Names<Symbol>,
}

/// A form that has begun and is not finished.
struct Open<'a> {
    form: Form<'a>,
    at: usize,
    /// Where its elements begin among the values.
    start: usize,
    /// It will be compared with others: it is inside an element of a set or inside a key of a map.
    compared: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Form<'a> {
    List,
    Vector,
    Set,
    /// With the namespace of `#:ns{…}`.
    Map(Option<&'a str>),
    Tag(&'a str),
    Discard,
    /// `^`, before the metadata.
    Meta,
    /// `^meta`, before the form that has it.
    Described,
}

impl Form<'_> {
    fn noun(self) -> &'static str {
        match self {
            Form::List => "list",
            Form::Vector => "vector",
            Form::Set => "set",
            Form::Map(_) => "map",
            Form::Tag(_) => "tag",
            Form::Discard => "discard `#_`",
            Form::Meta | Form::Described => "metadata `^`",
        }
    }

    fn closer(self) -> Option<u8> {
        match self {
            Form::List => Some(b')'),
            Form::Vector => Some(b']'),
            Form::Set | Form::Map(_) => Some(b'}'),
            Form::Tag(_) | Form::Discard | Form::Meta | Form::Described => None,
        }
    }
}

const TOKEN: u8 = 0;
const BLANK: u8 = 1;
/// Ends a token.
const BREAK: u8 = 2;

/// What each byte is outside strings. Bytes of other scripts belong to tokens; names look at them again.
static CLASS: [u8; 256] = {
    let mut class = [TOKEN; 256];
    let blank = b" \t\n\r,\x0b\x0c";
    let mut i = 0;
    while i < blank.len() {
        class[blank[i] as usize] = BLANK;
        i += 1;
    }
    let breaks = b"()[]{}\";^\\";
    i = 0;
    while i < breaks.len() {
        class[breaks[i] as usize] = BREAK;
        i += 1;
    }
    class
};

impl<'a> Reader<'a> {
    pub fn new(text: &'a str, limits: Limits) -> Self {
        // A byte order mark is what some editors put in front of UTF-8.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Reader {
            text,
            bytes: text.as_bytes(),
            at,
            limits,
            open: Vec::new(),
            values: Vec::new(),
            prints: Vec::new(),
            elements: 0,
            discards: 0,
            line_known: (0, 1),
            keywords: Names::new(),
            symbols: Names::new(),
        }
    }

    /// How far the text has been read, in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The line at [`Self::offset`], from 1.
    pub fn line(&mut self) -> usize {
        let (offset, line) = self.line_known;
        let line = line + self.bytes[offset..self.at].iter().filter(|b| **b == b'\n').count();
        self.line_known = (self.at, line);
        line
    }

    /// The next form, or None at the end of the text.
    pub fn next_form(&mut self) -> Result<Option<Edn>> {
        let form = self.read_form();
        if form.is_err() {
            self.at = self.bytes.len();
            self.open.clear();
            self.values.clear();
            self.prints.clear();
            self.discards = 0;
        }
        form
    }

    fn read_form(&mut self) -> Result<Option<Edn>> {
        if self.bytes.len() > self.limits.bytes_max {
            let message =
                format!("the text has {} bytes; at most {} are read", self.bytes.len(), self.limits.bytes_max);
            return Err(self.over_limit(0, message));
        }
        self.elements = 0;
        loop {
            self.skip_blank();
            let at = self.at;
            let Some(byte) = self.bytes.get(at) else {
                return match self.open.last() {
                    None => Ok(None),
                    Some(open) => Err(self.unfinished(open.form, open.at)),
                };
            };
            let form = match byte {
                b'(' => self.begin(Form::List, 1)?,
                b'[' => self.begin(Form::Vector, 1)?,
                b'{' => self.begin(Form::Map(None), 1)?,
                b'^' => self.begin(Form::Meta, 1)?,
                b'#' => self.dispatch()?,
                b')' | b']' | b'}' => Some(self.close(*byte)?),
                b'"' => Some((Edn::String(self.string()?), None)),
                b':' => Some((Edn::Keyword(self.keyword()?), None)),
                b'\\' => Some((Edn::Char(self.character()?), None)),
                b'0'..=b'9' => Some((self.number()?, None)),
                b'+' | b'-' if self.bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => Some((self.number()?, None)),
                _ => Some((self.word()?, None)),
            };
            if let Some((form, print)) = form
                && let Some(finished) = self.place(form, print, at)?
            {
                return Ok(Some(finished));
            }
        }
    }

    /// Skips white space, commas and comments.
    fn skip_blank(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            if CLASS[*byte as usize] == BLANK {
                self.at += 1;
            } else if *byte == b';' {
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    fn begin(&mut self, form: Form<'a>, length: usize) -> Result<Option<(Edn, Option<u64>)>> {
        if self.open.len() >= self.limits.depth_max {
            let message = format!("forms are nested deeper than {}", self.limits.depth_max);
            return Err(self.over_limit(self.at, message));
        }
        let compared = self.open.last().is_some_and(|outer| {
            outer.compared
                || match outer.form {
                    Form::Set => true,
                    Form::Map(_) => (self.values.len() - outer.start).is_multiple_of(2),
                    _ => false,
                }
        });
        self.discards += usize::from(form == Form::Discard);
        self.open.push(Open { form, at: self.at, start: self.values.len(), compared });
        self.at += length;
        Ok(None)
    }

    /// Puts a finished form where it belongs; gives it back if nothing is open around it.
    fn place(&mut self, mut form: Edn, mut print: Option<u64>, at: usize) -> Result<Option<Edn>> {
        loop {
            let Some(open) = self.open.last_mut() else { return Ok(Some(form)) };
            match open.form {
                Form::List | Form::Vector | Form::Set | Form::Map(_) => {
                    self.elements += 1;
                    if self.elements > self.limits.elements_max {
                        let message = format!("the form has more than {} elements", self.limits.elements_max);
                        return Err(self.over_limit(at, message));
                    }
                    if let Some(print) = print {
                        self.prints.push((self.values.len(), print));
                    }
                    self.values.push(form);
                    return Ok(None);
                }
                Form::Tag(tag) => {
                    let (tag_at, compared) = (open.at, open.compared);
                    self.open.pop();
                    form = self.tagged(tag, form, tag_at)?;
                    print = match &form {
                        Edn::Tagged(tag, inner) if compared => {
                            let inner = print.unwrap_or_else(|| fingerprint::of(inner));
                            Some(fingerprint::of_tagged(tag, inner))
                        }
                        _ => None,
                    };
                }
                Form::Discard => {
                    self.open.pop();
                    self.discards -= 1;
                    return Ok(None);
                }
                Form::Meta => {
                    open.form = Form::Described;
                    return match form {
                        Edn::Keyword(_) | Edn::Symbol(_) | Edn::String(_) | Edn::Map(_) | Edn::Vector(_) => Ok(None),
                        other => Err(self.syntax(
                            at,
                            format!("metadata is a map, keyword, symbol, string or vector, not {}", excerpt_of(&other)),
                        )),
                    };
                }
                Form::Described => {
                    self.open.pop();
                    match form {
                        Edn::Symbol(_)
                        | Edn::List(_)
                        | Edn::Vector(_)
                        | Edn::Map(_)
                        | Edn::Set(_)
                        | Edn::Tagged(..) => {}
                        other => {
                            let message = format!("metadata cannot be put on {}", excerpt_of(&other));
                            return Err(self.syntax(at, message));
                        }
                    }
                }
            }
        }
    }

    /// Ends the innermost collection.
    fn close(&mut self, closer: u8) -> Result<(Edn, Option<u64>)> {
        let found = char::from(closer);
        let Some(open) = self.open.pop() else {
            return Err(self.syntax(self.at, format!("`{found}` closes nothing: no form is open here")));
        };
        match open.form.closer() {
            Some(expected) if expected == closer => {}
            Some(expected) => {
                let (line, column) = self.position(open.at);
                let message = format!(
                    "found `{found}` where `{}` should close the {} of line {line}, column {column}",
                    char::from(expected),
                    open.form.noun()
                );
                return Err(self.syntax(self.at, message));
            }
            None => {
                let message = format!("found `{found}` where a form should follow the {}", open.form.noun());
                return Err(self.syntax(self.at, message));
            }
        }
        self.at += 1;
        if let Form::Map(Some(namespace)) = open.form {
            let keys = self.values[open.start..].iter_mut().step_by(2);
            keys.for_each(|key| qualify(key, namespace));
        }
        let print = self.compare(&open)?;
        let elements = self.values.drain(open.start..);
        let form = match open.form {
            Form::List => Edn::List(elements.collect()),
            Form::Vector => Edn::Vector(elements.collect()),
            Form::Set => Edn::Set(elements.collect()),
            _ => {
                let mut entries = Vec::with_capacity(elements.len() / 2);
                let mut elements = elements;
                while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                    entries.push((key, value));
                }
                Edn::Map(entries)
            }
        };
        Ok((form, print))
    }

    /// Refuses duplicates in a set or a map's keys that closes, and gives a fingerprint where it is asked for.
    fn compare(&mut self, open: &Open<'_>) -> Result<Option<u64>> {
        /// Up to here comparing each with each is the fastest.
        const PAIRWISE_MAX: usize = 16;

        let elements = &self.values[open.start..];
        let step = match open.form {
            Form::Map(_) => {
                if !elements.len().is_multiple_of(2) {
                    let last = excerpt_of(&elements[elements.len() - 1]);
                    let message = format!("a map needs a value for each key; {last} has none");
                    return Err(self.syntax(open.at, message));
                }
                2
            }
            Form::Set => 1,
            _ if !open.compared => return Ok(None),
            _ => usize::MAX,
        };
        let unique = step != usize::MAX;
        let few = || elements.len() / step <= PAIRWISE_MAX && elements.iter().step_by(step).all(is_scalar);
        if unique && !open.compared && few() {
            for i in (0..elements.len()).step_by(step) {
                for j in (0..i).step_by(step) {
                    if elements[i] == elements[j] {
                        return Err(self.duplicate(open, &elements[i]));
                    }
                }
            }
            return Ok(None);
        }

        let prints_from = self.prints.partition_point(|(place, _)| *place < open.start);
        let mut known = self.prints[prints_from..].iter().peekable();
        let prints: Vec<u64> = elements
            .iter()
            .enumerate()
            .map(|(i, element)| match known.next_if(|(place, _)| *place == open.start + i) {
                Some((_, print)) => *print,
                // A value of a map that nobody compares needs no fingerprint.
                None if step == 2 && i % 2 == 1 && !open.compared => 0,
                None => fingerprint::of(element),
            })
            .collect();
        if unique {
            let mut keys: Vec<(u64, usize)> = (0..elements.len()).step_by(step).map(|i| (prints[i], i)).collect();
            keys.sort_unstable();
            for alike in keys.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
                for (i, (_, x)) in alike.iter().enumerate() {
                    if alike[..i].iter().any(|(_, y)| elements[*x] == elements[*y]) {
                        return Err(self.duplicate(open, &elements[*x]));
                    }
                }
            }
        }
        self.prints.truncate(prints_from);
        Ok(open.compared.then(|| match open.form {
            Form::Set => fingerprint::of_set(prints),
            Form::Map(_) => fingerprint::of_map(prints.chunks_exact(2).map(|entry| (entry[0], entry[1])).collect()),
            _ => fingerprint::of_sequence(prints.into_iter()),
        }))
    }

    fn duplicate(&self, open: &Open<'_>, element: &Edn) -> Error {
        let what = if open.form == Form::Set { "element" } else { "key" };
        self.syntax(open.at, format!("the {} has the {what} {} twice", open.form.noun(), excerpt_of(element)))
    }

    /// What begins with `#`.
    fn dispatch(&mut self) -> Result<Option<(Edn, Option<u64>)>> {
        let at = self.at;
        match self.bytes.get(at + 1) {
            Some(b'{') => self.begin(Form::Set, 2),
            Some(b'_') => self.begin(Form::Discard, 2),
            Some(b'^') => self.begin(Form::Meta, 2),
            Some(b'#') => {
                self.at += 2;
                let form = match self.token() {
                    "NaN" => Edn::Double(f64::NAN),
                    "Inf" => Edn::Double(f64::INFINITY),
                    "-Inf" => Edn::Double(f64::NEG_INFINITY),
                    _ => {
                        let message = format!("found `{}`; after `##` comes NaN, Inf or -Inf", self.excerpt(at));
                        return Err(self.syntax(at, message));
                    }
                };
                Ok(Some((form, None)))
            }
            Some(b':') => {
                self.at += 2;
                let namespace = self.token();
                while self.bytes.get(self.at).is_some_and(|b| CLASS[*b as usize] == BLANK) {
                    self.at += 1;
                }
                if namespace.contains('/') || name::symbol_fault(namespace).is_some() {
                    let message = format!("found `{}`; after `#:` comes a namespace and a map", self.excerpt(at));
                    return Err(self.syntax(at, message));
                }
                if self.bytes.get(self.at) != Some(&b'{') {
                    let message = format!("a map should follow `#:{namespace}`");
                    return Err(self.syntax(self.at, message));
                }
                let length = self.at + 1 - at;
                self.at = at;
                self.begin(Form::Map(Some(namespace)), length)
            }
            _ => {
                self.at += 1;
                let tag = self.token();
                if !tag.starts_with(char::is_alphabetic) || name::symbol_fault(tag).is_some() {
                    let message = format!(
                        "found `{}`; after `#` comes a tag (a symbol that begins with a letter), `{{`, `_`, `:` or `#`",
                        self.excerpt(at)
                    );
                    return Err(self.syntax(at, message));
                }
                let length = self.at - at;
                self.at = at;
                self.begin(Form::Tag(tag), length)
            }
        }
    }

    fn tagged(&mut self, tag: &'a str, form: Edn, at: usize) -> Result<Edn> {
        if self.discards > 0 {
            return Ok(Edn::Tagged(self.symbols.get(tag), Box::new(form)));
        }
        let (value, expected) = match (tag, &form) {
            ("inst", Edn::String(text)) => {
                (Instant::parse(text).map(Edn::Inst), "an RFC 3339 date or time in a string")
            }
            ("inst", _) => (None, "a string"),
            ("uuid", Edn::String(text)) => {
                (parse_uuid(text).map(Edn::Uuid), "8-4-4-4-12 hexadecimal digits in a string")
            }
            ("uuid", _) => (None, "a string"),
            _ => return Ok(Edn::Tagged(self.symbols.get(tag), Box::new(form))),
        };
        value.ok_or_else(|| self.syntax(at, format!("#{tag} takes {expected}, not {}", excerpt_of(&form))))
    }

    /// The bytes up to the next blank or delimiter.
    fn token(&mut self) -> &'a str {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|b| CLASS[*b as usize] == TOKEN) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn keyword(&mut self) -> Result<Keyword> {
        let at = self.at;
        self.at += 1;
        let token = self.token();
        if let Some(keyword) = self.keywords.find(token) {
            return Ok(keyword);
        }
        match name::keyword_fault(token) {
            None => Ok(self.keywords.get(token)),
            Some(fault) => Err(self.syntax(at, format!("`{}` is no keyword: {fault}", self.excerpt(at)))),
        }
    }

    /// A symbol, or a word with a meaning of its own.
    fn word(&mut self) -> Result<Edn> {
        let at = self.at;
        let token = self.token();
        match token {
            "nil" => return Ok(Edn::Nil),
            "true" => return Ok(Edn::Bool(true)),
            "false" => return Ok(Edn::Bool(false)),
            _ => {}
        }
        if let Some(symbol) = self.symbols.find(token) {
            return Ok(Edn::Symbol(symbol));
        }
        match name::symbol_fault(token) {
            None => Ok(Edn::Symbol(self.symbols.get(token))),
            Some(fault) => Err(self.syntax(at, format!("`{}` is no symbol: {fault}", self.excerpt(at)))),
        }
    }

    fn number(&mut self) -> Result<Edn> {
        let at = self.at;
        let token = self.token();
        // Most numbers: a few digits, the first of them no zero.
        let digits = token.strip_prefix('-').unwrap_or(token).as_bytes();
        if digits.len() < 19
            && (digits[0] != b'0' || digits.len() == 1)
            && let Some(magnitude) =
                digits.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
        {
            return Ok(Edn::Long(if token.len() > digits.len() { -magnitude } else { magnitude }));
        }
        number::parse(token).map_err(|fault| match fault {
            Fault::Syntax(fault) => self.syntax(at, format!("`{}` is no number: {fault}", self.excerpt(at))),
            Fault::Limit(fault) => self.over_limit(at, format!("`{}` is too large: {fault}", self.excerpt(at))),
        })
    }

    fn unfinished(&self, form: Form<'_>, at: usize) -> Error {
        let message = match form.closer() {
            Some(closer) => format!("the {} that opens here is never closed by `{}`", form.noun(), char::from(closer)),
            None => format!("the text ends where a form should follow the {}", form.noun()),
        };
        self.syntax(at, message)
    }

    fn syntax(&self, at: usize, message: String) -> Error {
        self.error("db.error/edn-syntax", at, message)
    }

    fn over_limit(&self, at: usize, message: String) -> Error {
        self.error("db.error/edn-limit", at, message)
    }

    fn error(&self, code: &'static str, at: usize, message: String) -> Error {
        let (line, column) = self.position(at);
        Error::incorrect(code, format!("line {line}, column {column}: {message}"))
            .with("line", line as i64)
            .with("column", column as i64)
    }

    /// Line and column of a place, from 1; columns count characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.bytes[..at];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let is_char_start = |b: &&u8| (**b & 0xc0) != 0x80;
        (line, 1 + before[line_start..].iter().filter(is_char_start).count())
    }

    /// The text from a place up to where the reader is, shortened.
    fn excerpt(&self, from: usize) -> String {
        shortened(self.text[from..self.at].chars())
    }
}

fn is_scalar(form: &Edn) -> bool {
    !matches!(form, Edn::List(_) | Edn::Vector(_) | Edn::Map(_) | Edn::Set(_) | Edn::Tagged(..))
}

/// The key of a map with a namespace: names without one get it, `_` stands for none.
fn qualify(key: &mut Edn, namespace: &str) {
    let qualified = |own: Option<&str>, name: &str| match own {
        None => Some(format!("{namespace}/{name}")),
        Some("_") => Some(name.to_string()),
        Some(_) => None,
    };
    match key {
        Edn::Keyword(keyword) => {
            if let Some(text) = qualified(keyword.namespace(), keyword.name()) {
                *keyword = Keyword::new(text);
            }
        }
        Edn::Symbol(symbol) => {
            // `_/nil` stays what it is: without its namespace it would read as nil.
            if let Some(text) = qualified(symbol.namespace(), symbol.name()).filter(|text| !name::is_word(text)) {
                *symbol = Symbol::new(text);
            }
        }
        _ => {}
    }
}

/// `8-4-4-4-12` hexadecimal digits.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut uuid = [0u8; 16];
    let mut digits = 0;
    for (i, byte) in text.bytes().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16)? as u8;
        uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(uuid)
}

/// A form as an error shows it.
fn excerpt_of(form: &Edn) -> String {
    use std::fmt::Write;
    /// Stops writing when there is enough to show.
    struct Excerpt(String);
    impl Write for Excerpt {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(&text[..text.floor_char_boundary(200)]);
            if self.0.len() > 200 { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut excerpt = Excerpt(String::new());
    // An error here only says that there was enough.
    let _ = write!(excerpt, "{form}");
    shortened(excerpt.0.chars())
}

fn shortened(chars: impl Iterator<Item = char>) -> String {
    const CHARS_MAX: usize = 40;
    let mut text: String = chars.take(CHARS_MAX + 1).collect();
    if let Some((cut, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
