//! What the command line may say.

use super::seconds;
use crate::format::Format;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser, Debug)]
#[command(name = "diachron", version, about = "Facts through time: the command line of Diachron", after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// What may stand before or behind every command.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// The peer to ask; several with commas, or the flag several times: the first that is ready is asked
    /// [env: DIACHRON_PEER] [default: http://127.0.0.1:4335]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) peer: Vec<String>,

    /// How long a call may take [env: DIACHRON_TIMEOUT] [default: 60]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,

    /// How answers are written: table, edn, json or csv, as far as the command has them [env: DIACHRON_FORMAT]
    #[arg(long, global = true, value_enum, hide_possible_values = true)]
    pub(super) format: Option<Format>,

    /// The file of settings [env: DIACHRON_CONFIG] [default: ~/.config/diachron/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Where a command takes [DB], the database may be left out if DIACHRON_DATABASE or the configuration names one.

Examples:
  diachron db create world
  diachron import world data/world/schema.edn data/world/tx.edn
  diachron q world '[:find ?name :where [_ :country/name ?name]]'
  diachron shell world

Exit codes: 0 done, 1 incorrect, 2 usage, 3 unavailable, 4 not found, 5 conflict, 6 busy, 7 interrupted (deadline or
limit), 8 unknown (the transaction may have been committed), 9 forbidden, 10 unsupported, 11 fenced, 12 corrupt,
13 a fault of the server's.";

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Create, list and delete databases
    #[command(subcommand)]
    #[command(after_help = "Examples:\n  diachron db create world\n  diachron db list")]
    Db(DbCommand),
    /// Make a database that has all that another one had, and goes on by itself
    ///
    /// Nothing is copied: both share what is stored of the time before. The other one goes on as it is.
    #[command(after_help = "Examples:\n  diachron fork world trial\n  diachron fork world before --as-of 2013-06-01")]
    Fork(ForkArguments),

    /// Commit one transaction
    #[command(
        allow_missing_positional = true,
        after_help = "\
Examples:
  diachron transact world '[{:country/code \"XX\", :country/name \"Atlantis\"}]'
  diachron transact world tx.edn
  echo '[[:db/retractEntity [:country/code \"XX\"]]]' | diachron transact world -
  diachron transact world tx.edn --dry-run"
    )]
    Transact(TransactArguments),

    /// Ask with Datalog
    #[command(
        allow_missing_positional = true,
        after_help = "\
Examples:
  diachron q world '[:find ?name :where [_ :country/name ?name]]'
  diachron q world '[:find ?p . :in $ ?code :where [?c :country/code ?code] [?c :country/population ?p]]' \\
      --arg '\"RW\"' --as-of 1993-06-30
  diachron q world '[:find ?name ?then ?now :in $ $then
                    :where [?c :country/name ?name] [?c :country/population ?now]
                           [$then ?c :country/population ?then] [(< ?now ?then)]]' --db '$then=world@1992-06'"
    )]
    Q(QueryArguments),

    /// Ask with Datalog, and show how it was carried out instead of the answer
    #[command(
        allow_missing_positional = true,
        after_help = "\
Example:
  diachron explain world '[:find ?name :where [?c :country/name ?name] [?c :country/population ?p] [(> ?p 100000000)]]'"
    )]
    Explain(QueryArguments),

    /// Show an entity's attributes
    #[command(
        override_usage = "diachron pull [OPTIONS] [DB] <PATTERN> <ENTITY>",
        after_help = "\
Examples:
  diachron pull world '[:country/name {:country/borders [:country/name]}]' '[:country/code \"FR\"]'
  diachron pull world '[*]' '[:country/code \"FR\"]' --as-of 1992-06 --format json"
    )]
    Pull(PullArguments),

    /// Show datoms straight from an index, in its order
    #[command(
        override_usage = "diachron datoms [OPTIONS] [DB] <SORT> [COMPONENT]...",
        after_help = "\
Examples:
  diachron datoms world eavt '[:country/code \"RW\"]'
  diachron datoms world aevt :country/life-expectancy '[:country/code \"RW\"]' --history
  diachron datoms world avet :country/name '\"P\"' --seek --limit 5
  diachron datoms world vaet '[:country/code \"FR\"]' :country/borders --as-of 1992-06 --format csv

AVET has attributes with :db/index or :db/unique, VAET has references."
    )]
    Datoms(DatomsArguments),

    /// Show the datoms of an indexed attribute, by value
    #[command(
        allow_missing_positional = true,
        after_help = "\
Examples:
  diachron index-range world :country/name --from '\"P\"' --to '\"Q\"'
  diachron index-range world :country/population --from 100000000 --reverse --limit 10"
    )]
    IndexRange(IndexRangeArguments),

    /// Show transactions with what they added and retracted
    #[command(
        visible_alias = "tx-range",
        after_help = "\
Examples:
  diachron log world --from 9
  diachron log world --from 2 --to 4 --format json
  diachron tx-range world --from 2013-06-01 --to 2013-07"
    )]
    Log(LogArguments),

    /// Show each transaction as it comes, until Ctrl-C
    #[command(after_help = "\
Examples:
  diachron watch world
  diachron watch world --from 17 --format json
  diachron watch world --count 1

EDN and JSON have a line for each transaction. A peer that goes away is waited for, or the next one is asked, as long
as --timeout says; what it stops with tells how to go on without a gap.")]
    Watch(WatchArguments),

    /// Show the peer and its databases
    #[command(after_help = "Example:\n  diachron --peer http://127.0.0.1:4335 status")]
    Status,

    /// Delete what no index within retention names, and what is left of deleted databases
    #[command(after_help = "\
Examples:
  diachron gc world --dry-run
  diachron gc --all
  diachron gc world --transactor http://127.0.0.1:4334 --format json

The transactor does it by itself now and then (its --retention and --gc-every); this asks it to do so now.")]
    Gc(GcArguments),

    /// Erase facts as if they had never been said: there is no way back
    #[command(after_help = "\
Examples:
  diachron excise world --entity '[:person/email \"ada@example.org\"]' --dry-run
  diachron excise world --entity 17592186045418 --entity 17592186045420 --yes
  diachron excise world --entity 17592186045418 --attribute person/notes --before 2013-06-01
  diachron excise world --attribute person/passport --before 1200 --yes

Facts go with all their past, from the log, the indexes, the store's files and the caches, and with an entity its
components. What forks and backups still have is named. While it works transactions wait. docs/erasure.md tells more.")]
    Excise(ExciseArguments),

    /// Read all that a database consists of, and hold it against itself
    #[command(after_help = "\
Examples:
  diachron verify world
  diachron verify world --format json

The log from its first record, every segment of the indexes that are kept, the newest trees node by node, and their
facts against the log. Exit code 12 when something is damaged; each fault is named with its segment and place.")]
    Verify(VerifyArguments),

    /// Make backups of running databases, list them, and verify them
    ///
    /// A backup is consistent at one t. Where there is an earlier one, only what is new is sent; one that was cut off goes
    /// on with what is there.
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        override_usage = "diachron backup [OPTIONS] <DB> <URL>\n       diachron backup list <URL>\n       diachron backup verify [OPTIONS] <URL>",
        after_help = "\
Examples:
  diachron backup world /var/backups/diachron
  diachron backup world s3://bucket/diachron --s3-region eu-central-1
  diachron backup list /var/backups/diachron
  diachron backup verify /var/backups/diachron --database world

URL is a directory (a path, or file:DIR) or s3://BUCKET/PREFIX, with credentials in AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY. One place holds backups of many databases and times."
    )]
    Backup(BackupArguments),

    /// Make a database of a backup
    ///
    /// The new database has all that the backed up one had, its history too, and an id of its own. The store need not be
    /// the one that the backup came from.
    #[command(after_help = "\
Examples:
  diachron restore /var/backups/diachron world
  diachron restore /var/backups/diachron before --from world --as-of 2013-06-01
  diachron restore s3://bucket/diachron world --t 1200")]
    Restore(RestoreArguments),

    /// Load files of transactions, or a CSV file
    #[command(after_help = "\
Examples:
  diachron import --create world data/world/schema.edn data/world/tx.edn
  diachron import world events.edn --unordered --in-flight 32
  diachron import world --csv countries.csv --map countries.edn
  diachron import world --bulk --load first-of-june large.edn

A file of transactions holds one form after the other, each a vector of tx-data. They are committed one by one, in
their order. With --unordered several are under way at a time, and become durable in any order: for files whose
transactions do not speak of each other.

With --bulk they go to the transactor itself in one stream, and keep their order. Such a load has a name, and each of its
transactions says the name and its number in :db.tx/key. Cut off by whatever, it is gone on with by the same command and
--load with that name: what is committed is left out, and nothing is done twice.

A CSV file has a header. Without --map, its columns are named as attributes (`country/name`). A mapping is EDN:

  {:columns {\"name\"      :country/name
             \"code\"      :country/code
             \"continent\" {:attribute :country/continent, :ref :continent/code}
             \"languages\" {:attribute :country/languages, :separator \"|\"}}
   :identity \"code\"
   :null [\"\" \"NA\"]}

docs/operations.md tells all that a mapping can say.")]
    Import(ImportArguments),

    /// Ask, transact and look around line by line
    #[command(after_help = "\
Examples:
  diachron shell world
  echo '[:find (count ?c) . :where [?c :country/code]]' | diachron shell world --format edn

`:help` inside lists its commands. With a file or a pipe as its input it reads forms and prints what they give; its
exit code is then that of the first form that failed.")]
    Shell {
        /// The database to begin with
        #[arg(value_name = "DB")]
        db: Option<String>,
    },

    /// Show the settings that hold, and where each comes from
    #[command(after_help = "Examples:\n  diachron config\n  diachron --config ./diachron.toml config --format json")]
    Config,

    /// Write a script that lets a shell complete this command's words
    #[command(after_help = "\
Examples:
  diachron completions bash > ~/.local/share/bash-completion/completions/diachron
  diachron completions zsh > \"${fpath[1]}/_diachron\"
  diachron completions fish > ~/.config/fish/completions/diachron.fish")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct ForkArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: String,
    /// The name of the fork: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NEW")]
    pub(super) new: String,
    /// Fork it as it was then: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "MOMENT")]
    pub(super) as_of: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(super) enum DbCommand {
    /// Create a database; one that is there stays as it is
    #[command(after_help = "Example:\n  diachron db create world")]
    Create {
        /// Letters, digits, `-`, `_` and `.`
        name: String,
    },
    /// List the databases
    #[command(after_help = "Example:\n  diachron db list")]
    List,
    /// Delete a database: there is no way back
    #[command(after_help = "Example:\n  diachron db delete world --yes")]
    Delete {
        /// The database's name
        name: String,
        /// Do not ask for the name once more
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct TransactArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// A file with one vector of tx-data; `-` for standard input; or the vector itself
    #[arg(value_name = "FILE", required = true)]
    pub(super) file: String,
    /// Commit nothing: show what it would do, or why it would be refused
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct QueryArguments {
    /// The database that the query calls `$`
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// The query as EDN; `@FILE` to read it from a file, `-` from standard input
    #[arg(required = true)]
    pub(super) query: String,
    /// The next input of `:in` that is neither a database nor `%`, as EDN
    #[arg(long = "arg", value_name = "EDN", allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
    /// The rules of `%`, as EDN or from a file
    #[arg(long, value_name = "EDN|@FILE")]
    pub(super) rules: Option<String>,
    #[command(flatten)]
    pub(super) view: ViewArguments,
    /// Another database, or another time of one: `$then=world@1992-06`, `$h=world@history`,
    /// `$new=world@since:17`; without a name, DB
    #[arg(long = "db", value_name = "$SOURCE=NAME[@X]")]
    pub(super) sources: Vec<String>,
    /// Let a pattern with nothing bound, such as [?e ?a ?v], read the whole database
    #[arg(long)]
    pub(super) full_scan: bool,
    /// Tell on stderr which segments of index trees were read, and where they were
    #[arg(long)]
    pub(super) io_stats: bool,
    /// No more rows than this, intermediate ones included
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) rows_max: u64,
    /// No more bytes than this at once, in the peer
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) bytes_max: u64,
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct ViewArguments {
    /// Facts up to and including a moment: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "X")]
    pub(super) as_of: Option<String>,
    /// Facts after a moment
    #[arg(long, value_name = "X")]
    pub(super) since: Option<String>,
    /// Every assertion and retraction there ever was
    #[arg(long)]
    pub(super) history: bool,
    /// Wait until the peer knows this transaction
    #[arg(long, value_name = "T", default_value_t = 0, hide_default_value = true)]
    pub(super) at_least: u64,
}

#[derive(Args, Debug)]
pub(super) struct PullArguments {
    /// DB: the database's name. PATTERN: what to pull, such as `[*]` or
    /// `[:country/name {:country/borders [:country/name]}]`. ENTITY: an entity id, an ident or a lookup ref, such as
    /// `[:country/code "FR"]`
    #[arg(value_name = "DB PATTERN ENTITY", num_args = 2..=3, required = true)]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) view: ViewArguments,
}

#[derive(Args, Debug)]
pub(super) struct DatomsArguments {
    /// DB: the database's name. SORT: the index: eavt, aevt, avet or vaet. COMPONENT: the leading components in its
    /// order, as EDN: an entity or attribute by id, ident or lookup ref; a value; a transaction by t, id or instant
    #[arg(value_name = "DB SORT COMPONENT", num_args = 1.., required = true, allow_negative_numbers = true)]
    pub(super) words: Vec<String>,
    /// Not only what begins with the components, but all from there to the end of the index
    #[arg(long)]
    pub(super) seek: bool,
    #[command(flatten)]
    pub(super) extent: ExtentArguments,
    #[command(flatten)]
    pub(super) view: ViewArguments,
}

#[derive(Args, Debug)]
pub(super) struct IndexRangeArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// The attribute, such as `:country/name`
    #[arg(value_name = "ATTRIBUTE", required = true)]
    pub(super) attribute: String,
    /// From this value on, as EDN
    #[arg(long, value_name = "EDN", allow_negative_numbers = true)]
    pub(super) from: Option<String>,
    /// Up to but without this value
    #[arg(long, value_name = "EDN", allow_negative_numbers = true)]
    pub(super) to: Option<String>,
    #[command(flatten)]
    pub(super) extent: ExtentArguments,
    #[command(flatten)]
    pub(super) view: ViewArguments,
}

/// How much of an index, and from which side.
#[derive(Args, Debug)]
pub(super) struct ExtentArguments {
    /// Against the index's order
    #[arg(long)]
    pub(super) reverse: bool,
    /// At most this many datoms
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
}

#[derive(Args, Debug)]
pub(super) struct LogArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// From this transaction on: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "X")]
    pub(super) from: Option<String>,
    /// Up to but without this one
    #[arg(long, value_name = "X")]
    pub(super) to: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct WatchArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// From this transaction on, those that are there included: a t, a transaction's entity id, or an instant;
    /// otherwise those that come from now on
    #[arg(long, value_name = "X")]
    pub(super) from: Option<String>,
    /// Stop after this many transactions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
}

/// Which transactor does it.
#[derive(Args, Debug)]
pub(super) struct TransactorArguments {
    /// The transactor to ask, several with commas; otherwise the one that the peer knows
    #[arg(long, env = "DIACHRON_TRANSACTOR", value_name = "URL")]
    pub(super) transactor: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct GcArguments {
    /// The database's name
    #[arg(value_name = "DB", conflicts_with = "all")]
    pub(super) db: Option<String>,
    /// All databases of the transactor, and what is left of deleted ones
    #[arg(long)]
    pub(super) all: bool,
    /// Delete nothing: show what would go, what stays, and why
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

#[derive(Args, Debug)]
pub(super) struct ExciseArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// Whose facts: an entity id, an ident or a lookup ref, as EDN; may be given several times
    #[arg(long, value_name = "ENTITY")]
    pub(super) entity: Vec<String>,
    /// Of which attribute alone; may be given several times
    #[arg(long, value_name = "ATTRIBUTE")]
    pub(super) attribute: Vec<String>,
    /// Only what was first said before: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "MOMENT")]
    pub(super) before: Option<String>,
    /// Erase nothing: show what would go
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask whether it is meant
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArguments {
    /// The database's name
    #[arg(value_name = "DB")]
    pub(super) db: Option<String>,
    /// Make damaged index trees anew from the log, and verify again
    #[arg(long)]
    pub(super) repair: bool,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

#[derive(Args, Debug)]
pub(super) struct BackupArguments {
    #[command(subcommand)]
    pub(super) what: Option<BackupCommand>,
    /// The database's name
    #[arg(value_name = "DB", required = true)]
    pub(super) db: Option<String>,
    /// Where the backup goes: a directory, or s3://BUCKET/PREFIX
    #[arg(value_name = "URL", required = true)]
    pub(super) url: Option<String>,
    /// Read from the storage process at this URL, and not through the transactor
    #[arg(long, value_name = "URL")]
    pub(super) storage: Option<String>,
    /// Read the whole log, and send again what `diachron backup verify` says is missing
    #[arg(long)]
    pub(super) full: bool,
    /// Segments that are copied at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) threads: u8,
    #[command(flatten)]
    pub(super) place: PlaceArguments,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

#[derive(Subcommand, Debug)]
pub(super) enum BackupCommand {
    /// Show the backups at a place
    #[command(after_help = "Example:\n  diachron backup list /var/backups/diachron --format json")]
    List {
        /// A directory, or s3://BUCKET/PREFIX
        #[arg(value_name = "URL")]
        url: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Read all of a backup, and hold it against itself
    #[command(after_help = "\
Examples:
  diachron backup verify /var/backups/diachron
  diachron backup verify /var/backups/diachron --database world --t 1200

Every segment, the log from its first record, and the facts of the trees against the log; it asks no server. Exit code
12 when something is damaged; each fault is named with its file and place.")]
    Verify {
        /// A directory, or s3://BUCKET/PREFIX
        #[arg(value_name = "URL")]
        url: String,
        /// The database's name or id; otherwise all
        #[arg(long, value_name = "DB")]
        database: Option<String>,
        /// The backup of this t; otherwise the newest
        #[arg(long, value_name = "T")]
        t: Option<u64>,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Args, Debug)]
pub(super) struct RestoreArguments {
    /// Where the backup is: a directory, or s3://BUCKET/PREFIX
    #[arg(value_name = "URL")]
    pub(super) url: String,
    /// The name of the database that is made: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NEW")]
    pub(super) new: String,
    /// The name or id of the database that was backed up, where there are several
    #[arg(long, value_name = "DB")]
    pub(super) from: Option<String>,
    /// The backup of this t; otherwise the newest
    #[arg(long, value_name = "T")]
    pub(super) t: Option<u64>,
    /// As it was then: a t, a transaction's entity id, or an instant such as 2013-06-01
    #[arg(long, value_name = "MOMENT")]
    pub(super) as_of: Option<String>,
    /// Segments that are read at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) threads: u8,
    #[command(flatten)]
    pub(super) place: PlaceArguments,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

/// How a place for backups is reached.
#[derive(Args, Debug)]
pub(super) struct PlaceArguments {
    /// An S3 server that is not Amazon's [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    pub(super) s3_endpoint: Option<String>,
    /// The region of the bucket [env: AWS_REGION]
    #[arg(long, value_name = "REGION")]
    pub(super) s3_region: Option<String>,
    /// Speak http also to an S3 server on another machine: whoever is between may read the backup
    #[arg(long)]
    pub(super) s3_allow_http: bool,
}

#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    /// The database's name
    pub(super) db: String,
    /// Files of transactions, in order; `-` for standard input
    #[arg(required_unless_present = "csv", conflicts_with = "csv", value_name = "FILE")]
    pub(super) files: Vec<String>,
    /// Create the database if it is not there
    #[arg(long)]
    pub(super) create: bool,
    /// A CSV file with a header; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<String>,
    /// What the columns of the CSV file mean; without it, they are named as attributes
    #[arg(long, value_name = "FILE", requires = "csv")]
    pub(super) map: Option<String>,
    /// How many rows of a CSV file make a transaction
    #[arg(long, value_name = "N", requires = "csv", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) batch: Option<u32>,
    /// The order in which the transactions become durable does not matter
    #[arg(long)]
    pub(super) unordered: bool,
    /// How many transactions are under way at a time
    #[arg(long, value_name = "N", requires = "unordered", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) in_flight: u32,
    /// Go on with this transaction, counted from 1 over all files: what an import that stopped said
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    pub(super) from_form: u64,
    /// Leave these transactions out: what an unordered import that stopped said
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    pub(super) skip_forms: Vec<u64>,
    /// Send all in one stream to the transactor: in order, many under way at a time, and gone on with when it is cut off
    #[arg(long, conflicts_with_all = ["unordered", "from_form", "skip_forms"])]
    pub(super) bulk: bool,
    /// The name of the load: what of it is committed already is left out
    #[arg(long, value_name = "NAME", requires = "bulk")]
    pub(super) load: Option<String>,
    #[command(flatten)]
    pub(super) transactor: TransactorArguments,
}

#[cfg(test)]
impl ImportArguments {
    /// As `diachron import DB -` gives them.
    pub(super) fn of_test(db: &str) -> ImportArguments {
        match Arguments::try_parse_from(["diachron", "import", db, "-"]).map(|arguments| arguments.command) {
            Ok(Command::Import(import)) => import,
            other => panic!("{other:?}"),
        }
    }
}
