//! `diachron q` and `diachron pull`.

use super::failure::Failure;
use super::{Outcome, PullArguments, QueryArguments, ViewArguments, counted, text_of};
use client::{Client, Head, View, moment};
use crate::format::{AnswerWriter, Format, json, pretty, terminal_width};
use db::T;
use db::edn::Edn;
use std::future::Future;
use std::io::{BufWriter, Write};

/// The width of forms on a terminal that does not tell its own, and in pipes.
const PRETTY_WIDTH: usize = 100;

pub(super) async fn run(connect: impl Future<Output = Result<Client, Failure>>, arguments: QueryArguments) -> Outcome {
    let query = text_of(&arguments.query)?;
    let rules = arguments.rules.as_deref().map(text_of).transpose()?;
    let sources = sources(&query, &arguments)?;

    let client = connect.await?;
    let mut call = client.query(query).limits(arguments.rows_max, arguments.bytes_max);
    call = call.allow_full_scan(arguments.full_scan);
    let named: Vec<(String, Option<T>)> =
        sources.iter().map(|(source, view)| (source.clone(), view.named_t())).collect();
    for (source, view) in sources {
        call = call.database(&source, view);
    }
    if let Some(rules) = rules {
        call = call.rules(rules);
    }
    for arg in arguments.args {
        call = call.arg_text(arg);
    }

    let mut rows = call.rows().await?;
    let out = BufWriter::new(std::io::stdout().lock());
    let width = terminal_width();
    let mut writer = AnswerWriter::new(out, arguments.format, rows.head().clone(), width)?;
    while let Some(row) = rows.next().await? {
        writer.row(row)?;
    }
    let count = writer.finish()?;
    for warning in rows.warnings().iter().chain(&not_reached(&named, rows.head())) {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    if width.is_some() {
        let basis: Vec<String> =
            rows.head().databases.iter().map(|asked| format!("{} at t {}", asked.database, asked.basis_t)).collect();
        let elapsed_ms = rows.elapsed().as_secs_f64() * 1e3;
        let _ = writeln!(std::io::stderr(), "{}, {elapsed_ms:.1} ms, {}", counted(count, "row"), basis.join(", "));
    }
    Ok(())
}

/// A t that is not there yet is most often a year: it is answered, but not without a word.
fn not_reached(named: &[(String, Option<T>)], head: &Head) -> Vec<String> {
    let warning = |(source, t): &(String, Option<T>)| {
        let t = (*t)?;
        let asked = head.databases.iter().find(|asked| asked.source == *source)?;
        (t > asked.basis_t).then(|| {
            let newest = asked.basis_t;
            format!("t {t} of {source} is later than the newest transaction, {newest}; a year is written {t}-01")
        })
    };
    named.iter().filter_map(warning).collect()
}

pub(super) async fn pull(connect: impl Future<Output = Result<Client, Failure>>, arguments: PullArguments) -> Outcome {
    let view = view(&arguments.db, &arguments.view)?;
    if !matches!(arguments.format, Format::Edn | Format::Json) {
        return Err(Failure::Usage("a pull is a map: --format edn or --format json shows it".into()));
    }
    let client = connect.await?;
    let pulled = client.pull(view, &arguments.pattern, &arguments.entity).await?;
    let mut out = std::io::stdout().lock();
    match arguments.format {
        Format::Json => writeln!(out, "{}", json(&pulled.value))?,
        _ => writeln!(out, "{}", pretty(&Edn::from(&pulled.value), terminal_width().unwrap_or(PRETTY_WIDTH)))?,
    }
    for warning in pulled.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(())
}

/// The database and the view that the flags describe.
fn view(name: &str, arguments: &ViewArguments) -> Result<View, Failure> {
    let mut view = View::of(name).at_least(arguments.at_least);
    if let Some(text) = &arguments.as_of {
        view = view.as_of(moment(text)?);
    }
    if let Some(text) = &arguments.since {
        view = view.since(moment(text)?);
    }
    Ok(if arguments.history { view.history() } else { view })
}

/// Which database each source of `:in` is: `$` is DB with its flags, the others are given with `--db`.
pub(super) fn sources(query: &str, arguments: &QueryArguments) -> Result<Vec<(String, View)>, Failure> {
    let mut given = Vec::new();
    for text in &arguments.sources {
        let (source, view) = source(text, arguments)?;
        if given.iter().any(|(other, _): &(String, View)| *other == source) {
            return Err(Failure::Usage(format!("--db gives {source} twice")));
        }
        given.push((source, view));
    }

    let mut sources = Vec::new();
    for source in named_sources(&db::edn::read(query)?) {
        let of_flag = given.iter().position(|(other, _)| *other == source).map(|at| given.remove(at).1);
        let view = match of_flag {
            Some(view) => view,
            None if source == "$" => view(&arguments.db, &arguments.view)?,
            None => {
                let message = format!(
                    "the query's :in names {source}: say which database that is, such as --db '{source}={}'",
                    arguments.db
                );
                return Err(Failure::Usage(message));
            }
        };
        sources.push((source, view));
    }
    if let Some((source, _)) = given.first() {
        return Err(Failure::Usage(format!("--db gives {source}, but the query's :in does not name it")));
    }
    let flags = &arguments.view;
    let has_view = flags.as_of.is_some() || flags.since.is_some() || flags.history;
    if has_view && !sources.iter().any(|(source, _)| source == "$") {
        let message = "--as-of, --since and --history speak of $, but the query's :in does not name it: give each \
                       source its own time, such as --db '$then=world@1992-06'";
        return Err(Failure::Usage(message.into()));
    }
    Ok(sources)
}

/// Reads `$then=NAME@X`: X is a moment, `since:` a moment, or `history`.
fn source(text: &str, arguments: &QueryArguments) -> Result<(String, View), Failure> {
    let wrong = || Failure::Usage(format!("`{text}` is no --db: write $SOURCE=NAME or $SOURCE=NAME@X"));
    let (source, database) = text.split_once('=').ok_or_else(wrong)?;
    if !source.starts_with('$') {
        return Err(wrong());
    }
    let (name, time) = match database.split_once('@') {
        Some((name, time)) => (name, Some(time)),
        None => (database, None),
    };
    let base = View::of(if name.is_empty() { &arguments.db } else { name }).at_least(arguments.view.at_least);
    let view = match time {
        None => base,
        Some("history") => base.history(),
        Some(time) => match time.strip_prefix("since:") {
            Some(moment_text) => base.since(moment(moment_text)?),
            None => base.as_of(moment(time)?),
        },
    };
    Ok((source.to_owned(), view))
}

/// The databases that `:in` names, `$` where there is no `:in`. What else is wrong with it is for the peer to say.
fn named_sources(query: &Edn) -> Vec<String> {
    let inputs: Option<Vec<&Edn>> = match query {
        Edn::Map(_) => query.get("in").map(|form| form.as_sequence().unwrap_or_default().iter().collect()),
        _ => {
            let elements = query.as_sequence().unwrap_or_default();
            let is_in = |form: &Edn| matches!(form, Edn::Keyword(keyword) if keyword.as_str() == "in");
            let after = elements.iter().position(is_in).map(|at| &elements[at + 1..]);
            after.map(|forms| forms.iter().take_while(|form| !matches!(form, Edn::Keyword(_))).collect())
        }
    };
    let Some(inputs) = inputs else { return vec!["$".to_owned()] };
    let name = |form: &&Edn| match form {
        Edn::Symbol(symbol) if symbol.as_str().starts_with('$') => Some(symbol.as_str().to_owned()),
        _ => None,
    };
    inputs.iter().filter_map(name).collect()
}
