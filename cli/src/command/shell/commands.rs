//! The commands of the shell: what stands behind a colon at the beginning of an input.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    AsOf,
    Databases,
    Db,
    Explain,
    Format,
    Help,
    History,
    Log,
    Now,
    Pull,
    Quit,
    Rules,
    Schema,
    Since,
    Source,
    Status,
    Transact,
}

/// Each with its name, what may follow it, and what it does.
pub(super) const COMMANDS: [(Command, &str, &str, &str); 18] = [
    (Command::Help, "help", "", "shows this"),
    (Command::Db, "db", "[NAME]", "the database that is asked, or asks another one"),
    (Command::Databases, "dbs", "", "lists the databases"),
    (Command::Schema, "schema", "[PREFIX]", "the attributes, or those that begin so"),
    (Command::AsOf, "as-of", "X", "asks for what was known then: a t, or an instant such as 1992-06"),
    (Command::Since, "since", "X", "asks for what was said after X"),
    (Command::History, "history", "", "asks for every assertion and retraction there ever was"),
    (Command::Now, "now", "", "asks for what is true now: undoes :as-of, :since and :history"),
    (Command::Source, "source", "$NAME=DB[@X]", "another database, or another time, for queries whose :in names it"),
    (Command::Rules, "rules", "[RULES]", "the rules of %, for the queries that follow; without any, forgets them"),
    (Command::Explain, "explain", "QUERY [INPUT …]", "asks, and shows the steps taken instead of the answer"),
    (Command::Pull, "pull", "PATTERN ENTITY", "attributes of an entity: :pull [*] [:country/code \"FR\"]"),
    (Command::Transact, "transact", "TX-DATA", "commits a vector of tx-data, or @FILE"),
    (Command::Log, "log", "[FROM [TO]]", "transactions with their datoms"),
    (Command::Status, "status", "", "the peer and its databases"),
    (Command::Format, "format", "[table|edn|json|csv]", "how answers are written"),
    (Command::Quit, "quit", "", "ends the shell, as control-D does"),
    (Command::Quit, "exit", "", "the same"),
];

impl Command {
    pub(super) fn named(name: &str) -> Option<Command> {
        COMMANDS.iter().find(|(_, known, ..)| *known == name).map(|(command, ..)| *command)
    }
}

pub(super) fn help() -> String {
    let mut text = String::from(
        "A query is asked: [:find ?name :where [_ :country/name ?name]]\n\
         What stands behind it are its inputs: [:find ?c . :in $ ?code :where [?c :country/code ?code]] \"FR\"\n\
         An input may have several lines and ends when its brackets are closed. Control-C leaves it, or cancels the\n\
         query that runs. The tab key completes attributes, words of the query language and commands.\n\n",
    );
    for (_, name, arguments, does) in COMMANDS {
        let head = format!(":{name} {arguments}");
        text.push_str(&format!("  {head:<30} {does}\n"));
    }
    text
}
