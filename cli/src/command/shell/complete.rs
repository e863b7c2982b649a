//! What the tab key offers.

use super::commands::{COMMANDS, Command};
use crate::attributes::Attributes;
use db::Symbol;
use db::names::Names as Known;
use reedline::{Completer, CompletionResult, Span, Suggestion};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The names that depend on what is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) attributes: Attributes,
    pub(super) databases: Vec<String>,
}

/// Shared by the session, which learns names, and the line editor. Held for the copy of a list only.
pub(super) type SharedNames = Arc<Mutex<Names>>;

pub(super) struct Completion(pub(super) SharedNames);

/// A word that may stand where another was begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    text: String,
    about: String,
}

const OFFERS_MAX: usize = 200;

impl Completer for Completion {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, offers) = offers(&names, line, position);
        let suggestion = |offer: Offer| Suggestion {
            value: offer.text,
            description: (!offer.about.is_empty()).then_some(offer.about),
            span: Span::new(start, position),
            append_whitespace: false,
            ..Suggestion::default()
        };
        CompletionResult::fresh(offers.into_iter().map(suggestion).collect::<Vec<_>>())
    }
}

/// What the word before the position may become, and where that word begins.
fn offers(names: &Names, line: &str, position: usize) -> (usize, Vec<Offer>) {
    let before = &line[..position];
    let is_break = |c: char| c.is_whitespace() || "()[]{}\",".contains(c);
    let start = before.rfind(is_break).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    let in_string = before.matches('"').count() - before.matches("\\\"").count();
    if in_string % 2 == 1 {
        return (start, Vec::new());
    }

    let symbol = |name: &Symbol| Offer { text: name.to_string(), about: String::new() };
    let plain = |text: &str| Offer { text: text.to_owned(), about: String::new() };
    let first = before.split_whitespace().next().unwrap_or_default();
    let is_first = before.trim_start() == word;
    let command = first.strip_prefix(':').and_then(Command::named).filter(|_| !is_first);
    let mut offers: Vec<Offer> = if is_first && word.starts_with(':') {
        COMMANDS.iter().map(|(_, name, _, does)| Offer { text: format!(":{name}"), about: does.to_string() }).collect()
    } else if let Some(Command::Db) = command {
        names.databases.iter().map(|name| plain(name)).collect()
    } else if let Some(Command::Format) = command {
        ["table", "edn", "json", "csv"].map(plain).to_vec()
    } else if word.starts_with(':') {
        keywords(names, word).collect()
    } else if command == Some(Command::Schema) {
        names.attributes.idents().map(plain).collect()
    } else if word.starts_with(['?', '$', '%']) {
        let others = [&line[..start], &line[position..]];
        let words: BTreeSet<&str> = others.iter().flat_map(|part| part.split(is_break)).collect();
        words.into_iter().filter(|other| other.starts_with(['?', '$', '%'])).map(plain).collect()
    } else if before[..start].ends_with('(') {
        let Known { connectives, in_find, functions, .. } = db::names();
        connectives.iter().chain(&in_find).chain(&functions).map(symbol).collect()
    } else if before[..start].trim_end().ends_with(":xform") {
        db::names().transforms.iter().map(symbol).collect()
    } else {
        Vec::new()
    };
    offers.retain(|offer| offer.text.starts_with(word) && offer.text != word);
    offers.sort();
    offers.dedup();
    offers.truncate(OFFERS_MAX);
    (start, offers)
}

/// Attributes, backwards too where an underscore was begun, and the words of the languages.
fn keywords(names: &Names, word: &str) -> impl Iterator<Item = Offer> {
    let backwards = word.contains("/_");
    let attributes = names.attributes.iter().map(move |(ident, attribute)| {
        let text = match ident.rsplit_once('/') {
            Some((namespace, name)) if backwards => format!(":{namespace}/_{name}"),
            _ => format!(":{ident}"),
        };
        let many = if attribute.many { ", many" } else { "" };
        let unique = attribute.unique.as_ref().map_or(String::new(), |unique| format!(", unique {unique}"));
        let doc = if attribute.doc.is_empty() { String::new() } else { format!(": {}", attribute.doc) };
        Offer { text, about: format!("{}{many}{unique}{doc}", attribute.value_type.name()) }
    });
    let Known { sections, pull_options, tx_data, idents, .. } = db::names();
    let words = [sections, pull_options, tx_data, idents].into_iter().flatten();
    attributes.chain(words.map(|word| Offer { text: word.to_string(), about: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attribute;
    use db::model::ValueType;

    fn names() -> Names {
        let attribute = |value_type, many, doc: &str| Attribute { value_type, many, unique: None, doc: doc.to_owned() };
        let attributes = [
            ("country/name", attribute(ValueType::String, false, "in English")),
            ("country/borders", attribute(ValueType::Ref, true, "")),
            ("city/name", attribute(ValueType::String, false, "")),
        ];
        Names { attributes: attributes.into_iter().collect(), databases: vec!["congress".into(), "world".into()] }
    }

    /// The cursor stands at `|`.
    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let position = line.find('|').unwrap();
        let line = line.replacen('|', "", 1);
        let (start, offers) = offers(&names(), &line, position);
        let texts: Vec<&str> = offers.iter().map(|offer| offer.text.as_str()).collect();
        assert_eq!(texts, expected, "{line}");
        assert!(texts.iter().all(|text| text.starts_with(&line[start..position])));
    }

    #[test]
    fn attributes_are_offered_wherever_a_keyword_was_begun() {
        check("[:find ?n :where [?c :country/|", &[":country/borders", ":country/name"]);
        check("[:find ?n :where [?c :c|] [?c :city/name ?n]]", &[":city/name", ":country/borders", ":country/name"]);
        check(":pull [:country/n|", &[":country/name"]);
        check(":pull [:country/_b|", &[":country/_borders"]);
        check("[:country/name|", &[]);
        check(":schema ci|", &["city/name"]);
        let offers = offers(&names(), "[:country/b", 11).1;
        assert_eq!(offers[0].about, "ref, many");
    }

    #[test]
    fn words_of_the_language_variables_and_calls_are_offered_in_their_places() {
        check("[:fi|", &[":find"]);
        check("[:find ?name :w|", &[":where", ":with"]);
        check("[:find ?name ?x :where [?c :country/name ?n|", &["?name"]);
        check("[:find ?n| :where [_ :country/name ?name]]", &["?name"]);
        check("[:find (count-|", &["count-distinct"]);
        check("[:find (a|", &["abs", "and", "avg"]);
        check("[:country/name :xform cap|", &["capitalize"]);
        check("[:country/name :x|", &[":xform"]);
        check("[{:db/cardinality :db.cardinality/m|", &[":db.cardinality/many"]);
        check(":transact [[:db/ca|", &[":db/cas"]);
        check("[:find cou|", &[]);
        check("[?c :country/name \":country/|", &[]);
        check("[\"å\" :country/n|", &[":country/name"]);
    }

    #[test]
    fn commands_are_offered_at_the_beginning_and_then_what_they_take() {
        check(":s|", &[":schema", ":since", ":source", ":status"]);
        check("  :as|", &[":as-of"]);
        check(":db w|", &["world"]);
        check(":db |", &["congress", "world"]);
        check(":format j|", &["json"]);
    }
}
