//! `diachron datoms` and `diachron index-range`: facts straight from an index, in its order, however many there are.

use super::arguments::{DatomsArguments, IndexRangeArguments};
use super::failure::Failure;
use super::query::view;
use super::settings::Settings;
use super::{Outcome, ROWS, counted};
use crate::format::{AnswerWriter, Format, terminal_width};
use crate::nearest::suggestion;
use client::{Client, Datoms, Head, Shape};
use db::Sort;
use std::future::Future;
use std::io::{BufWriter, Write};

const SORTS: [(&str, Sort); 4] =
    [("eavt", Sort::Eavt), ("aevt", Sort::Aevt), ("avet", Sort::Avet), ("vaet", Sort::Vaet)];

pub(super) async fn datoms(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: DatomsArguments,
    settings: &Settings,
) -> Outcome {
    let Asked { db, sort, components } = asked(arguments.words)?;
    let view = view(&settings.database(db)?, &arguments.view)?;
    let format = settings.format(Format::Table, &ROWS)?;
    let client = connect.await?;
    let mut call = client.datoms(view, sort).limit(arguments.extent.limit.unwrap_or(0));
    for component in components {
        call = call.component_text(component);
    }
    if arguments.seek {
        call = call.seek();
    }
    if arguments.extent.reverse {
        call = call.reverse();
    }
    write_facts(call.read().await?, format).await
}

pub(super) async fn index_range(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: IndexRangeArguments,
    settings: &Settings,
) -> Outcome {
    let view = view(&settings.database(arguments.db)?, &arguments.view)?;
    let format = settings.format(Format::Table, &ROWS)?;
    let client = connect.await?;
    let mut call = client.index_range(view, &arguments.attribute).limit(arguments.extent.limit.unwrap_or(0));
    if let Some(value) = arguments.from {
        call = call.start_text(value);
    }
    if let Some(value) = arguments.to {
        call = call.end_text(value);
    }
    if arguments.extent.reverse {
        call = call.reverse();
    }
    write_facts(call.read().await?, format).await
}

/// Writes facts as they come.
async fn write_facts(mut facts: Datoms<'_>, format: Format) -> Outcome {
    let head = Head {
        shape: Shape::Relation,
        columns: ["e", "a", "v", "tx", "added"].map(str::to_owned).to_vec(),
        keys: Vec::new(),
        databases: Vec::new(),
    };
    let width = terminal_width();
    let out = BufWriter::new(std::io::stdout().lock());
    let mut writer = AnswerWriter::new(out, format, head, width)?.in_order();
    while let Some(fact) = facts.next().await? {
        writer.row(fact.row().into())?;
    }
    let count = writer.finish()?;
    if width.is_some() {
        let more = if facts.more() { ", and there are more" } else { "" };
        let (database, basis_t) = (&facts.head().database.name, facts.head().basis_t);
        let _ = writeln!(std::io::stderr(), "{}{more}, {database} at t {basis_t}", counted(count, "datom"));
    }
    Ok(())
}

/// What `[DB] SORT [COMPONENT]…` says.
#[derive(Debug, PartialEq)]
struct Asked {
    db: Option<String>,
    sort: Sort,
    components: Vec<String>,
}

fn asked(words: Vec<String>) -> Result<Asked, Failure> {
    let sort_at = |at: usize| words.get(at).and_then(|word| sort(word));
    // A database may be called as an index is.
    match (sort_at(0), sort_at(1)) {
        (_, Some(sort)) => Ok(Asked { db: words.first().cloned(), sort, components: words[2..].to_vec() }),
        (Some(sort), None) => Ok(Asked { db: None, sort, components: words[1..].to_vec() }),
        (None, None) => {
            let message = match words.get(1) {
                Some(word) => format!("`{word}` is no index{}", suggestion(word, SORTS.map(|(name, _)| name))),
                None => "the index is missing".to_owned(),
            };
            Err(Failure::Usage(format!("{message}; behind the database stands eavt, aevt, avet or vaet")))
        }
    }
}

fn sort(word: &str) -> Option<Sort> {
    SORTS.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, sort)| sort)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_of(words: &[&str]) -> Result<Asked, Failure> {
        asked(words.iter().map(|word| word.to_string()).collect())
    }

    #[test]
    fn the_database_may_be_left_out_or_be_called_as_an_index_is() {
        let expected = |db: Option<&str>, sort, components: &[&str]| Asked {
            db: db.map(str::to_owned),
            sort,
            components: components.iter().map(|word| word.to_string()).collect(),
        };
        let told = |words: &[&str]| asked_of(words).unwrap();
        assert_eq!(told(&["world", "eavt"]), expected(Some("world"), Sort::Eavt, &[]));
        assert_eq!(told(&["AVET", ":a/b", "17"]), expected(None, Sort::Avet, &[":a/b", "17"]));
        assert_eq!(told(&["world", "vaet", "17", ":a/b"]), expected(Some("world"), Sort::Vaet, &["17", ":a/b"]));
        assert_eq!(told(&["eavt", "aevt", ":a/b"]), expected(Some("eavt"), Sort::Aevt, &[":a/b"]));
    }

    #[test]
    fn what_is_no_index_is_told_with_those_there_are() {
        let refused = |words: &[&str]| match asked_of(words).unwrap_err() {
            Failure::Usage(message) => message,
            other => panic!("{other:?}"),
        };
        assert!(refused(&["world", "avett"]).starts_with("`avett` is no index; do you mean avet"));
        assert!(refused(&["world"]).starts_with("the index is missing; behind the database stands eavt"));
    }
}
