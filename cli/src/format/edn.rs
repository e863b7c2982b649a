//! EDN over several lines, where one would be too long.

use db::edn::Edn;

/// A form in as few lines of at most `width` columns as its collections allow.
pub fn pretty(form: &Edn, width: usize) -> String {
    let mut text = String::new();
    write(form, 0, width, &mut text);
    text
}

fn write(form: &Edn, indent: usize, width: usize, text: &mut String) {
    let flat = form.to_string();
    if indent + flat.chars().count() <= width {
        text.push_str(&flat);
        return;
    }
    match form {
        Edn::Vector(elements) => lines("[", elements, "]", indent, width, text),
        Edn::List(elements) => lines("(", elements, ")", indent, width, text),
        Edn::Set(elements) => lines("#{", elements, "}", indent, width, text),
        Edn::Map(entries) => {
            text.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    new_line(indent + 1, text);
                }
                let key = key.to_string();
                text.push_str(&key);
                text.push(' ');
                write(value, indent + 2 + key.chars().count(), width, text);
            }
            text.push('}');
        }
        _ => text.push_str(&flat),
    }
}

/// A query's clauses, a pattern's attributes: one a line, words (`:find ?a ?b`) joined while they fit. What follows
/// `:where` and its like on further lines stands below what follows it on its own.
fn lines(open: &str, elements: &[Edn], close: &str, indent: usize, width: usize, text: &mut String) {
    let indent = indent + open.len();
    text.push_str(open);
    let mut below = indent;
    let mut column = indent;
    for (i, element) in elements.iter().enumerate() {
        let flat = element.to_string();
        let length = flat.chars().count();
        let is_section = starts_section(element);
        if is_section {
            below = indent;
        }
        let joins = i > 0 && !is_section && is_word(&elements[i - 1]) && column + 1 + length <= width;
        if joins {
            text.push(' ');
            column += 1;
        } else if i > 0 {
            new_line(below, text);
            column = below;
        }
        write(element, column, width, text);
        column += length;
        if is_section {
            below = column + 1;
        }
    }
    text.push_str(close);
}

fn is_word(form: &Edn) -> bool {
    !matches!(form, Edn::Vector(_) | Edn::List(_) | Edn::Map(_) | Edn::Set(_))
}

fn starts_section(form: &Edn) -> bool {
    matches!(form, Edn::Keyword(keyword) if matches!(keyword.as_str(), "find" | "in" | "with" | "where" | "keys" | "strs" | "syms"))
}

fn new_line(indent: usize, text: &mut String) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', indent));
}
