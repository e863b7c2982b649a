//! What the shell knows between two inputs, and what an input does.

use super::commands::{self, Command};
use super::complete::SharedNames;
use super::input::{Asked, Input};
use crate::attributes::Attributes;
use crate::command::arguments::{QueryArguments, ViewArguments};
use crate::command::failure::Failure;
use crate::command::{Outcome, ROWS, TRANSACTIONS, inspect, log, query, text_of, transact};
use crate::format::Format;
use clap::ValueEnum;
use client::{Client, moment};
use db::{Item, Value};
use std::io::{BufWriter, Write};
use std::sync::PoisonError;

pub(super) struct Session {
    client: Client,
    database: Option<String>,
    view: ViewArguments,
    /// As `--db` takes them.
    sources: Vec<String>,
    rules: Option<String>,
    /// None: each command's usual one.
    format: Option<Format>,
    names: SharedNames,
}

/// Whether there is more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

impl Session {
    /// A session with a database, if one is named or if there is only one.
    pub(super) async fn begin(
        client: Client,
        database: Option<String>,
        format: Option<Format>,
        names: SharedNames,
    ) -> Result<Session, Failure> {
        let databases: Vec<String> = client.databases().await?.into_iter().map(|database| database.name).collect();
        let database = database.or_else(|| match &databases[..] {
            [only] => Some(only.clone()),
            _ => None,
        });
        names.lock().unwrap_or_else(PoisonError::into_inner).databases = databases;
        let (view, sources) = (ViewArguments::default(), Vec::new());
        let mut session = Session { client, database: None, view, sources, rules: None, format, names };
        if let Some(database) = database {
            session.ask(&database).await?;
        }
        Ok(session)
    }

    /// What the prompt says: the database and the view of it.
    pub(super) fn place(&self) -> String {
        let mut place = self.database.clone().unwrap_or_else(|| "(no database)".to_owned());
        for (word, moment) in [("as of", &self.view.as_of), ("since", &self.view.since)] {
            if let Some(moment) = moment {
                place.push_str(&format!(" {word} {moment}"));
            }
        }
        place.push_str(if self.view.history { " history" } else { "" });
        place
    }

    pub(super) async fn run(&mut self, input: Input) -> Result<Next, Failure> {
        match input {
            Input::Nothing => {}
            Input::Query(asked) => self.query(asked).await?,
            Input::Command(Command::Quit, _) => return Ok(Next::Quit),
            Input::Command(command, rest) => self.command(command, rest.trim()).await?,
        }
        Ok(Next::Go)
    }

    async fn query(&mut self, asked: Asked) -> Outcome {
        let arguments = self.arguments(asked)?;
        let format = self.format_of(Format::Table, &ROWS);
        let out = BufWriter::new(std::io::stdout().lock());
        query::write_answer(&self.client, self.database()?, &arguments, format, out).await
    }

    /// The query with the view, the sources and the rules of the session.
    fn arguments(&self, asked: Asked) -> Result<QueryArguments, Failure> {
        let arguments = QueryArguments {
            query: asked.query,
            args: asked.args,
            rules: self.rules.clone(),
            view: self.view.clone(),
            sources: self.sources.clone(),
            ..QueryArguments::default()
        };
        // Sources and rules that are kept for queries that name them are no mistake in others.
        query::without_unnamed(arguments)
    }

    async fn command(&mut self, command: Command, rest: &str) -> Outcome {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let some = (!rest.is_empty()).then(|| rest.to_owned());
        match command {
            Command::Help => write!(out, "{}", commands::help())?,
            Command::Db => match some {
                None => writeln!(out, "{}", self.place())?,
                Some(database) => self.ask(&database).await?,
            },
            Command::Databases => {
                drop(out);
                return inspect::databases(&self.client, self.format_of(Format::Table, &ROWS)).await;
            }
            Command::AsOf => self.view.as_of = Some(checked_moment("as-of", some)?),
            Command::Since => self.view.since = Some(checked_moment("since", some)?),
            Command::History => self.view.history = true,
            Command::Now => self.view = ViewArguments::default(),
            Command::Source => match some {
                None => self.sources.iter().try_for_each(|source| writeln!(out, "{source}"))?,
                Some(source) => self.source(source)?,
            },
            Command::Rules => {
                let rules = some.map(|rules| text_of(&rules)).transpose()?;
                rules.as_deref().map(db::edn::read).transpose()?;
                self.rules = rules;
            }
            Command::Explain => {
                let asked = Asked::of(rest)?.ok_or_else(|| Failure::Usage(":explain takes a query".into()))?;
                let arguments = self.arguments(asked)?;
                let format = self.format_of(Format::Table, &query::PLANS);
                query::write_explained(&self.client, self.database()?, &arguments, format, &mut out).await?;
            }
            Command::Pull => {
                let forms = db::edn::read_all(rest)?;
                let [pattern, entity] = &forms[..] else {
                    let message = "a pull is a pattern and an entity: :pull [*] [:country/code \"FR\"]";
                    return Err(Failure::Usage(message.into()));
                };
                let view = query::view(self.database()?, &self.view)?;
                let format = self.format_of(Format::Edn, &query::MAPS);
                let [pattern, entity] = [pattern, entity].map(ToString::to_string);
                query::write_pulled(&self.client, view, [&pattern, &entity], format, &mut out).await?;
            }
            Command::Transact => {
                let tx_data =
                    text_of(&some.ok_or_else(|| Failure::Usage(":transact takes a vector of tx-data".into()))?)?;
                let database = self.database()?.to_owned();
                let committed = self.client.transact(&database, tx_data).await?;
                let format = self.format_of(Format::Table, &TRANSACTIONS);
                transact::write_committed(&committed, &database, format, &mut out)?;
                drop(out);
                // It may have brought attributes.
                if committed.datoms.iter().any(|fact| fact.attribute.as_str() == "db/valueType") {
                    self.learn(&database).await?;
                }
                return Ok(());
            }
            Command::Log => {
                let mut words = rest.split_whitespace();
                let range = log::range(words.next(), words.next())?;
                let format = self.format_of(Format::Table, &TRANSACTIONS);
                log::write(&self.client, self.database()?, range, format, &mut out).await?;
            }
            Command::Schema => {
                drop(out);
                return self.schema(rest.trim_start_matches(':')).await;
            }
            Command::Status => {
                drop(out);
                return inspect::status(&self.client, self.format_of(Format::Table, &ROWS)).await;
            }
            Command::Format => match some {
                None => writeln!(out, "{}", format!("{:?}", self.format.unwrap_or(Format::Table)).to_lowercase())?,
                Some(name) => {
                    let format = Format::from_str(&name, true);
                    self.format = Some(format.map_err(|_| {
                        Failure::Usage(format!("there is no format `{name}`: table, edn, json or csv"))
                    })?);
                }
            },
            // Answered by the caller.
            Command::Quit => {}
        }
        out.flush()?;
        Ok(())
    }

    fn source(&mut self, source: String) -> Outcome {
        let name = source.split('=').next().unwrap_or_default().to_owned();
        query::check_source(&source, self.database.as_deref().unwrap_or_default())?;
        self.sources.retain(|other| other.split('=').next() != Some(&name));
        self.sources.push(source);
        Ok(())
    }

    async fn schema(&mut self, prefix: &str) -> Outcome {
        let database = self.database()?.to_owned();
        self.learn(&database).await?;
        let attributes = self.names.lock().unwrap_or_else(PoisonError::into_inner).attributes.clone();
        let rows = attributes.iter().filter(|(ident, _)| match prefix {
            "" => !ident.starts_with("db/") && !ident.starts_with("db."),
            prefix => ident.starts_with(prefix),
        });
        let rows = rows.map(|(ident, attribute)| {
            let unique = attribute.unique.as_deref().map_or(Item::Nil, |unique| Value::keyword(unique).into());
            let cardinality = if attribute.many { "many" } else { "one" };
            vec![
                Value::keyword(ident).into(),
                Value::keyword(attribute.value_type.name()).into(),
                Value::keyword(cardinality).into(),
                unique,
                Value::string(&attribute.doc).into(),
            ]
        });
        let columns = ["attribute", "type", "cardinality", "unique", "doc"];
        inspect::write_rows(self.format_of(Format::Table, &ROWS), &columns, rows)
    }

    /// Asks this database from now on; one that is not there is an error, and the old one stays.
    async fn ask(&mut self, database: &str) -> Outcome {
        self.learn(database).await?;
        self.database = Some(database.to_owned());
        Ok(())
    }

    async fn learn(&self, database: &str) -> Outcome {
        let attributes = Attributes::of(&self.client, database).await?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).attributes = attributes;
        Ok(())
    }

    fn database(&self) -> Result<&str, Failure> {
        let none = || Failure::Usage("no database is asked yet: `:db NAME` names one, `:dbs` lists them".into());
        self.database.as_deref().ok_or_else(none)
    }

    fn format_of(&self, usual: Format, possible: &[Format]) -> Format {
        self.format.filter(|format| possible.contains(format)).unwrap_or(usual)
    }
}

fn checked_moment(command: &str, text: Option<String>) -> Result<String, Failure> {
    let text = text.ok_or_else(|| Failure::Usage(format!(":{command} takes a moment; `:now` comes back")))?;
    moment(&text)?;
    Ok(text)
}
