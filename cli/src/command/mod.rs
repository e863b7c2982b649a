//! The `diachron` command: arguments, what it runs, and how it ends.
//!
//! Results go to stdout, everything else to stderr. The exit code tells the category of an error; a reader that goes
//! away early is no error.

mod failure;
mod import;
mod inspect;
mod query;
mod transact;

pub use failure::exit_code;

use client::{Client, DEFAULT_PEER};
use crate::format::Format;
use clap::{Args, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;
use std::time::Duration;

type Outcome = Result<(), Failure>;

#[derive(Parser, Debug)]
#[command(name = "diachron", version, about = "Facts through time: the command line of Diachron", after_help = EXIT_CODES)]
pub struct Arguments {
    /// The peer to ask
    #[arg(long, global = true, env = "DIACHRON_PEER", default_value = DEFAULT_PEER, value_name = "URL")]
    peer: String,

    /// How long a call may take
    #[arg(long, global = true, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,

    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 incorrect, 2 usage, 3 unavailable, 4 not found, 5 conflict, 6 busy, 7 interrupted (deadline or
limit), 8 unknown (the transaction may have been committed), 9 forbidden, 10 unsupported, 11 fenced, 12 corrupt,
13 a fault of the server's.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Create a database, or list them
    #[command(subcommand)]
    Db(DbCommand),

    /// Commit one transaction
    #[command(after_help = "\
Example:
  echo '[{:country/code \"XX\", :country/name \"Atlantis\"}]' | diachron transact world -")]
    Transact(TransactArguments),

    /// Ask with Datalog
    #[command(after_help = "\
Examples:
  diachron q world '[:find ?name :where [_ :country/name ?name]]'
  diachron q world '[:find ?p . :in $ ?code :where [?c :country/code ?code] [?c :country/population ?p]]' \\
      --arg '\"RW\"' --as-of 1993-06-30
  diachron q world '[:find ?name ?then ?now :in $ $then
                    :where [?c :country/name ?name] [?c :country/population ?now]
                           [$then ?c :country/population ?then] [(< ?now ?then)]]' --db '$then=world@1992-06'")]
    Q(QueryArguments),

    /// Show an entity's attributes
    #[command(after_help = "\
Example:
  diachron pull world '[:country/name {:country/borders [:country/name]}]' '[:country/code \"FR\"]'")]
    Pull(PullArguments),

    /// Show transactions with what they added and retracted
    #[command(after_help = "Example:\n  diachron log world --from 9")]
    Log(LogArguments),

    /// Show the peer and its databases
    #[command(after_help = "Example:\n  diachron --peer http://127.0.0.1:4335 status")]
    Status {
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },

    /// Load files of transactions, each form a vector of tx-data
    #[command(after_help = "\
Example:
  diachron import --create world data/world/schema.edn data/world/tx.edn")]
    Import(ImportArguments),
}

#[derive(Subcommand, Debug)]
enum DbCommand {
    /// Create a database; one that is there stays as it is
    #[command(after_help = "Example:\n  diachron db create world")]
    Create {
        /// Letters, digits, `-`, `_` and `.`
        name: String,
    },
    /// List the databases
    #[command(after_help = "Example:\n  diachron db list")]
    List {
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Args, Debug)]
struct TransactArguments {
    /// The database's name
    db: String,
    /// A file with one vector of tx-data; `-` for standard input; or the vector itself
    #[arg(value_name = "FILE")]
    file: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args, Debug)]
struct QueryArguments {
    /// The database that the query calls `$`
    db: String,
    /// The query as EDN; `@FILE` to read it from a file, `-` from standard input
    query: String,
    /// The next input of `:in` that is neither a database nor `%`, as EDN
    #[arg(long = "arg", value_name = "EDN", allow_hyphen_values = true)]
    args: Vec<String>,
    /// The rules of `%`, as EDN or from a file
    #[arg(long, value_name = "EDN|@FILE")]
    rules: Option<String>,
    #[command(flatten)]
    view: ViewArguments,
    /// Another database, or another time of one: `$then=world@1992-06`, `$h=world@history`,
    /// `$new=world@since:17`; without a name, DB
    #[arg(long = "db", value_name = "$SOURCE=NAME[@X]")]
    sources: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Let a pattern with nothing bound, such as [?e ?a ?v], read the whole database
    #[arg(long)]
    full_scan: bool,
    /// No more rows than this, intermediate ones included
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    rows_max: u64,
    /// No more bytes than this at once, in the peer
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    bytes_max: u64,
}

#[derive(Args, Debug)]
struct ViewArguments {
    /// Facts up to and including a moment: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "X")]
    as_of: Option<String>,
    /// Facts after a moment
    #[arg(long, value_name = "X")]
    since: Option<String>,
    /// Every assertion and retraction there ever was
    #[arg(long)]
    history: bool,
    /// Wait until the peer knows this transaction
    #[arg(long, value_name = "T", default_value_t = 0, hide_default_value = true)]
    at_least: u64,
}

#[derive(Args, Debug)]
struct PullArguments {
    /// The database's name
    db: String,
    /// What to pull, such as `[*]` or `[:country/name {:country/borders [:country/name]}]`
    pattern: String,
    /// An entity id, an ident or a lookup ref, such as `[:country/code "FR"]`
    #[arg(allow_hyphen_values = true)]
    entity: String,
    #[command(flatten)]
    view: ViewArguments,
    /// edn or json
    #[arg(long, value_enum, default_value_t = Format::Edn)]
    format: Format,
}

#[derive(Args, Debug)]
struct LogArguments {
    /// The database's name
    db: String,
    /// From this transaction on (a t, or a transaction's entity id)
    #[arg(long, value_name = "T")]
    from: Option<String>,
    /// Up to but without this one
    #[arg(long, value_name = "T")]
    to: Option<String>,
    /// table, edn (a map a transaction) or json (an object a line)
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args, Debug)]
struct ImportArguments {
    /// The database's name
    db: String,
    /// Files of transactions, in order; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Create the database if it is not there
    #[arg(long)]
    create: bool,
}

/// Reads the arguments, does what they say, and tells how it ended.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One worker for the connection, while the main thread reads files and writes answers.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::from(error)),
    };
    failure::end(outcome)
}

async fn run(arguments: Arguments) -> Outcome {
    let connect = async {
        let client = Client::connect(&arguments.peer).await?;
        Ok::<Client, Failure>(client.with_timeout(arguments.timeout))
    };
    match arguments.command {
        Command::Db(DbCommand::Create { name }) => inspect::create_database(&connect.await?, &name).await,
        Command::Db(DbCommand::List { format }) => inspect::databases(&connect.await?, format).await,
        Command::Transact(transact) => transact::run(connect, transact).await,
        Command::Q(query) => query::run(connect, query).await,
        Command::Pull(pull) => query::pull(connect, pull).await,
        Command::Log(log) => inspect::log(connect, log).await,
        Command::Status { format } => inspect::status(&connect.await?, format).await,
        Command::Import(import) => import::run(connect, import).await,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    // gRPC counts a deadline's units in eight digits.
    if !(0.001..=1e7).contains(&seconds) {
        return Err("between 0.001 and 10000000 seconds are possible".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The text of an argument that is EDN, `@FILE` or `-`.
fn text_of(argument: &str) -> Result<String, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => file_text(path),
        None if argument == "-" => file_text("-"),
        None => Ok(argument.to_owned()),
    }
}

/// A file's text; `-` is standard input.
fn file_text(path: &str) -> Result<String, Failure> {
    let text = if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|error| Failure::file(path, &error))
}

/// `1 row`, `2 rows`.
fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
