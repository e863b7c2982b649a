//! Words for errors: forms cut to a readable length, and names near a misspelt one.

use crate::edn::Edn;
use std::fmt::{self, Display, Write};

/// A form in an error is cut after this many bytes.
const BRIEF_BYTES_MAX: usize = 200;

/// The form as text, cut to a readable length. Costs no more for a huge or deep form than for a small one.
pub(crate) fn brief(form: &(impl Display + ?Sized)) -> String {
    let mut text = Cut(String::new());
    if write!(text, "{form}").is_err() {
        text.0.push('…');
    }
    text.0
}

/// A form for an error's details: itself, or its beginning as text where it is long. Details travel in headers.
pub(crate) fn detail(form: &Edn) -> Edn {
    match form {
        Edn::Nil | Edn::Bool(_) | Edn::Long(_) | Edn::Double(_) | Edn::Inst(_) | Edn::Uuid(_) => form.clone(),
        _ => {
            let text = brief(form);
            if text.ends_with('…') { Edn::string(text) } else { form.clone() }
        }
    }
}

/// Takes text until it is full; then ends the writing with an error.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = BRIEF_BYTES_MAX - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

/// `brief` for the parts of a form that is not there as a whole.
pub(crate) fn brief_list(parts: &[Edn]) -> String {
    struct Parts<'a>(&'a [Edn]);
    impl Display for Parts<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_char('[')?;
            for (i, part) in self.0.iter().enumerate() {
                write!(f, "{}{part}", if i == 0 { "" } else { " " })?;
            }
            f.write_char(']')
        }
    }
    brief(&Parts(parts))
}

/// `; did you mean :a or :b?` for the keywords nearest to `wanted`, or nothing.
pub(crate) fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = near(wanted, names).into_iter().map(|name| format!(":{name}")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// `; near it: a, b` for the names nearest to `wanted`, or nothing: for names that may end in a question mark.
pub(crate) fn near_names<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names = near(wanted, names);
    if names.is_empty() { String::new() } else { format!("; near it: {}", names.join(", ")) }
}

/// At most three names nearest to `wanted`, among them those that only lack its namespace.
fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if wanted.len() > 80 {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let distance = match name.rsplit_once('/') {
                Some((_, own)) if own == wanted => 1,
                _ if name.len().abs_diff(wanted.len()) > 3 => return None,
                _ => distance(wanted, name),
            };
            (distance <= 1 + wanted.len() / 4 && distance <= 3).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    let Some((least, _)) = near.first().copied() else { return Vec::new() };
    near.retain(|(distance, _)| *distance == least);
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

/// Edits between two names: characters put in, taken out or changed.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_form_is_cut() {
        let huge = Edn::Vector(vec![Edn::string("ä".repeat(1 << 20))]);
        assert!(brief(&huge).len() < BRIEF_BYTES_MAX + 4);
        assert_eq!(brief(&Edn::Long(5)), "5");
    }

    #[test]
    fn a_detail_is_a_form_or_the_beginning_of_one() {
        assert_eq!(detail(&Edn::keyword("a")), Edn::keyword("a"));
        assert!(matches!(detail(&Edn::string("a".repeat(10_000))), Edn::String(text) if text.len() < 300));
    }

    #[test]
    fn near_names_are_named_and_far_ones_not() {
        let names = ["person/name", "person/email", "db/add"];
        assert_eq!(did_you_mean("person/nam", names.into_iter()), "; did you mean :person/name?");
        assert_eq!(did_you_mean("order/total", names.into_iter()), "");
        assert_eq!(did_you_mean("email", names.into_iter()), "; did you mean :person/email?");
        assert_eq!(near_names("evn?", ["even?", "odd?", "neg?"].into_iter()), "; near it: even?");
    }
}
