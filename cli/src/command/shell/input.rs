//! What was typed: where it ends, and what it is.

use super::commands::{COMMANDS, Command};
use crate::nearest::suggestion;
use db::edn::Edn;
use db::{Error, Result};

/// What one input asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Input {
    /// Blanks and comments.
    Nothing,
    /// A command and the text behind it.
    Command(Command, String),
    Query(Asked),
}

/// A query, and what stands behind it: the inputs of `:in`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) args: Vec<String>,
}

/// Whether every bracket and string that was opened is closed, so that the input may end here.
pub(super) fn is_complete(text: &str) -> bool {
    let (mut depth, mut chars) = (0i64, text.chars());
    while let Some(c) = chars.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            // The character behind it, whatever it is.
            '\\' => {
                chars.next();
            }
            ';' => while chars.next().is_some_and(|c| c != '\n') {},
            '"' => loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => {
                        chars.next();
                    }
                    Some(_) => {}
                    None => return false,
                }
            },
            _ => {}
        }
    }
    // A bracket too many will not be mended by more text: the reader says where it is.
    depth <= 0
}

impl Input {
    pub(super) fn of(text: &str) -> Result<Input> {
        let text = text.trim();
        let word = text.split(char::is_whitespace).next().unwrap_or_default();
        if let Some(name) = word.strip_prefix(':') {
            let rest = text[word.len()..].trim().to_owned();
            let command = Command::named(name).ok_or_else(|| {
                let near = suggestion(name, COMMANDS.iter().map(|(_, name, ..)| *name));
                let message = format!("there is no command :{name}{near}; :help lists them");
                Error::incorrect("db.error/shell", message)
            })?;
            return Ok(Input::Command(command, rest));
        }
        // As people type them everywhere.
        if let ("help" | "quit" | "exit", Some(command)) = (text, Command::named(text)) {
            return Ok(Input::Command(command, String::new()));
        }
        Ok(Asked::of(text)?.map_or(Input::Nothing, Input::Query))
    }
}

impl Asked {
    /// None where there are only blanks and comments.
    pub(super) fn of(text: &str) -> Result<Option<Asked>> {
        let forms = db::edn::read_all(text)?;
        let Some((first, args)) = forms.split_first() else { return Ok(None) };
        if !is_query(first) {
            let message = "this is no query: one is [:find …] or {:find […] …}; `:transact` commits tx-data, `:pull` \
                           shows an entity, :help lists the rest";
            return Err(Error::incorrect("db.error/shell", message));
        }
        // As it was typed where it can be, so that errors name its lines.
        let query = if args.is_empty() { text.to_owned() } else { first.to_string() };
        Ok(Some(Asked { query, args: args.iter().map(Edn::to_string).collect() }))
    }
}

fn is_query(form: &Edn) -> bool {
    match form {
        Edn::Map(_) => form.get("find").is_some(),
        Edn::Vector(forms) => matches!(forms.first(), Some(Edn::Keyword(keyword)) if keyword.as_str() == "find"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_ends_when_its_brackets_and_strings_are_closed() {
        for whole in ["", "[:find ?e]", "[\"]\"]", "[\\[ \\\"]", "[1] ; [\n", ":db world", "[\"a\\\"]\"]", "]"] {
            assert!(is_complete(whole), "{whole}");
        }
        for part in ["[", "[:find ?e\n :where [?e]", "{:a (", "[\"", "\"a\\\"", "[ ; ]", "[\\]"] {
            assert!(!is_complete(part), "{part}");
        }
    }

    #[test]
    fn an_input_is_a_command_or_a_query_with_its_inputs() {
        assert_eq!(Input::of(" ; nothing").unwrap(), Input::Nothing);
        assert_eq!(Input::of(":db  world ").unwrap(), Input::Command(Command::Db, "world".into()));
        assert_eq!(Input::of("quit").unwrap(), Input::Command(Command::Quit, String::new()));
        let query = "[:find ?e\n :where [?e]]";
        assert_eq!(Input::of(query).unwrap(), Input::Query(Asked { query: query.into(), args: vec![] }));
        assert_eq!(
            Input::of("{:find [?e]} \"PE\" [1 2]").unwrap(),
            Input::Query(Asked { query: "{:find [?e]}".into(), args: vec!["\"PE\"".into(), "[1 2]".into()] })
        );
    }

    #[test]
    fn what_is_neither_says_what_there_is() {
        let refused = |text| Input::of(text).unwrap_err().message().to_owned();
        assert_eq!(refused(":shcema"), "there is no command :shcema; do you mean schema?; :help lists them");
        assert!(refused("[{:country/name \"Atlantis\"}]").contains("`:transact` commits tx-data"));
        assert!(refused("[:find ?e]]").contains("line 1"));
    }
}
