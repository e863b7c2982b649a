//! `diachron q` and `diachron pull`.

use super::arguments::{PullArguments, QueryArguments, ViewArguments};
use super::failure::Failure;
use super::settings::Settings;
use super::{Outcome, ROWS, counted, text_of};
use crate::format::{AnswerWriter, Format, json, pretty, terminal_width};
use client::{Client, Head, QueryCall, View, moment};
use db::T;
use db::edn::Edn;
use std::future::Future;
use std::io::{BufWriter, Write};

/// The width of forms on a terminal that does not tell its own, and in pipes.
const PRETTY_WIDTH: usize = 100;

/// Formats of one map.
pub(super) const MAPS: [Format; 2] = [Format::Edn, Format::Json];

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: QueryArguments,
    settings: &Settings,
) -> Outcome {
    let database = settings.database(arguments.db.clone())?;
    let format = settings.format(Format::Table, &ROWS)?;
    let query = text_of(&arguments.query)?;
    let rules = arguments.rules.as_deref().map(text_of).transpose()?;
    // What cannot be meant is said without a peer.
    sources(&query, &database, &arguments)?;
    let client = connect.await?;
    let out = BufWriter::new(std::io::stdout().lock());
    let arguments = QueryArguments { query, rules, ..arguments };
    write_answer(&client, &database, &arguments, format, out).await
}

/// Asks, and writes the answer as it comes. Query and rules are EDN here, not the names of files.
pub(super) async fn write_answer(
    client: &Client,
    database: &str,
    arguments: &QueryArguments,
    format: Format,
    out: impl Write,
) -> Outcome {
    let sources = sources(&arguments.query, database, arguments)?;
    let named: Vec<(String, Option<T>)> =
        sources.iter().map(|(source, view)| (source.clone(), view.named_t())).collect();
    let call = call(client, sources, arguments);

    let mut rows = call.rows().await?;
    let width = terminal_width();
    let mut writer = AnswerWriter::new(out, format, rows.head().clone(), width)?;
    while let Some(row) = rows.next().await? {
        writer.row(row)?;
    }
    let count = writer.finish()?;
    for warning in rows.warnings().iter().chain(&not_reached(&named, rows.head())) {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    if arguments.io_stats {
        let read = rows.io_stats().iter().filter(|reads| reads.segments > 0);
        let tiers: Vec<String> =
            read.map(|reads| format!("{} {} ({} bytes)", reads.tier, reads.segments, reads.bytes)).collect();
        let read = if tiers.is_empty() { "none".to_owned() } else { tiers.join(", ") };
        let _ = writeln!(std::io::stderr(), "segments read: {read}");
    }
    if width.is_some() {
        let basis: Vec<String> =
            rows.head().databases.iter().map(|asked| format!("{} at t {}", asked.database, asked.basis_t)).collect();
        let elapsed_ms = rows.elapsed().as_secs_f64() * 1e3;
        let _ = writeln!(std::io::stderr(), "{}, {elapsed_ms:.1} ms, {}", counted(count, "row"), basis.join(", "));
    }
    Ok(())
}

fn call<'a>(client: &'a Client, sources: Vec<(String, View)>, arguments: &QueryArguments) -> QueryCall<'a> {
    let mut call = client.query(&arguments.query).limits(arguments.rows_max, arguments.bytes_max);
    call = call.allow_full_scan(arguments.full_scan).io_stats(arguments.io_stats);
    for (source, view) in sources {
        call = call.database(&source, view);
    }
    if let Some(rules) = &arguments.rules {
        call = call.rules(rules);
    }
    for arg in &arguments.args {
        call = call.arg_text(arg);
    }
    call
}

/// Formats of a plan: for people, and for programs.
pub(super) const PLANS: [Format; 2] = [Format::Table, Format::Edn];

pub(super) async fn explain(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: QueryArguments,
    settings: &Settings,
) -> Outcome {
    let database = settings.database(arguments.db.clone())?;
    let format = settings.format(Format::Table, &PLANS)?;
    let query = text_of(&arguments.query)?;
    let rules = arguments.rules.as_deref().map(text_of).transpose()?;
    let arguments = QueryArguments { query, rules, ..arguments };
    // What cannot be meant is said without a peer.
    sources(&arguments.query, &database, &arguments)?;
    let client = connect.await?;
    write_explained(&client, &database, &arguments, format, &mut std::io::stdout().lock()).await
}

/// Has the query carried out, and writes how that was done.
pub(super) async fn write_explained(
    client: &Client,
    database: &str,
    arguments: &QueryArguments,
    format: Format,
    out: &mut impl Write,
) -> Outcome {
    let sources = sources(&arguments.query, database, arguments)?;
    let explained = call(client, sources, arguments).explain().await?;
    let told = if format == Format::Edn { &explained.edn } else { &explained.text };
    writeln!(out, "{}", told.trim_end())?;
    for warning in explained.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
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

pub(super) async fn pull(
    connect: impl Future<Output = Result<Client, Failure>>,
    arguments: PullArguments,
    settings: &Settings,
) -> Outcome {
    let mut words = arguments.words.into_iter();
    let named = if words.len() == 3 { words.next() } else { None };
    let [pattern, entity] = [words.next(), words.next()].map(Option::unwrap_or_default);
    let view = view(&settings.database(named)?, &arguments.view)?;
    let format = settings.format(Format::Edn, &MAPS)?;
    let client = connect.await?;
    write_pulled(&client, view, [&pattern, &entity], format, &mut std::io::stdout().lock()).await
}

pub(super) async fn write_pulled(
    client: &Client,
    view: View,
    [pattern, entity]: [&str; 2],
    format: Format,
    out: &mut impl Write,
) -> Outcome {
    let pulled = client.pull(view, pattern, entity).await?;
    match format {
        Format::Json => writeln!(out, "{}", json(&pulled.value))?,
        _ => writeln!(out, "{}", pretty(&Edn::from(&pulled.value), terminal_width().unwrap_or(PRETTY_WIDTH)))?,
    }
    for warning in pulled.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(())
}

/// The database and the view that the flags describe.
pub(super) fn view(name: &str, arguments: &ViewArguments) -> Result<View, Failure> {
    let mut view = View::of(name).at_least(arguments.at_least);
    if let Some(text) = &arguments.as_of {
        view = view.as_of(moment(text)?);
    }
    if let Some(text) = &arguments.since {
        view = view.since(moment(text)?);
    }
    Ok(if arguments.history { view.history() } else { view })
}

/// Without the sources and rules that the query's `:in` does not name.
pub(super) fn without_unnamed(mut arguments: QueryArguments) -> Result<QueryArguments, Failure> {
    let inputs = named_inputs(&db::edn::read(&arguments.query)?);
    arguments.sources.retain(|source| inputs.iter().any(|name| source.split('=').next() == Some(name)));
    if !inputs.iter().any(|name| name == "%") {
        arguments.rules = None;
    }
    Ok(arguments)
}

/// Whether the text can be a `--db`.
pub(super) fn check_source(text: &str, usual: &str) -> Outcome {
    source(text, usual, &QueryArguments::default()).map(drop)
}

/// Which database each source of `:in` is: `$` is DB with its flags, the others are given with `--db`.
pub(super) fn sources(query: &str, database: &str, arguments: &QueryArguments) -> Result<Vec<(String, View)>, Failure> {
    let mut given = Vec::new();
    for text in &arguments.sources {
        let (source, view) = source(text, database, arguments)?;
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
            None if source == "$" => view(database, &arguments.view)?,
            None => {
                let message = format!(
                    "the query's :in names {source}: say which database that is, such as --db '{source}={database}'"
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
fn source(text: &str, usual: &str, arguments: &QueryArguments) -> Result<(String, View), Failure> {
    let wrong = || Failure::Usage(format!("`{text}` is no --db: write $SOURCE=NAME or $SOURCE=NAME@X"));
    let (source, database) = text.split_once('=').ok_or_else(wrong)?;
    if !source.starts_with('$') {
        return Err(wrong());
    }
    let (name, time) = match database.split_once('@') {
        Some((name, time)) => (name, Some(time)),
        None => (database, None),
    };
    let base = View::of(if name.is_empty() { usual } else { name }).at_least(arguments.view.at_least);
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
    named_inputs(query).into_iter().filter(|name| name.starts_with('$')).collect()
}

/// The symbols of `:in`, `$` where there is no `:in`.
fn named_inputs(query: &Edn) -> Vec<String> {
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
        Edn::Symbol(symbol) => Some(symbol.as_str().to_owned()),
        _ => None,
    };
    inputs.iter().filter_map(name).collect()
}
