//! Asks questions of both peers in turn, and keeps the score.

use super::{DATABASE, Outcome, show};
use client::{Answer, Client, Committed, Fact, View, moment};
use db::{Error, Item};
use diachron_cli::format::json;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant as Monotonic};

/// A query with what it is asked of.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) query: String,
    pub(super) rules: Option<String>,
    /// EDN texts.
    pub(super) args: Vec<String>,
    /// The databases of `:in` and their times: source, and `X`, `since:X`, `history` or nothing.
    pub(super) sources: Vec<(String, String)>,
    /// The peer must know this transaction.
    pub(super) least_t: u64,
}

/// What the answer must be.
pub(super) enum Expected {
    /// Its distinct rows as sorted JSON lines.
    Rows(Vec<String>),
    /// How many there are, and the SHA-256 of them, each ended by a line feed, in hexadecimal.
    Hash { rows: usize, sha256: String },
}

pub(super) struct Asked {
    clients: Vec<Client>,
    count: usize,
    right: usize,
    took: Duration,
}

impl Call {
    /// A query of the database as it is.
    pub(super) fn of(query: &str) -> Call {
        Call { query: query.to_owned(), ..Call::default() }.source("$", "")
    }

    /// The database at another time, or under another name.
    pub(super) fn source(mut self, source: &str, time: &str) -> Call {
        self.sources.retain(|(other, _)| other != source);
        self.sources.push((source.to_owned(), time.to_owned()));
        self
    }

    pub(super) fn arg(mut self, edn: &str) -> Call {
        self.args.push(edn.to_owned());
        self
    }

    pub(super) fn rules(mut self, edn: &str) -> Call {
        self.rules = Some(edn.to_owned());
        self
    }

    pub(super) fn at_least(mut self, t: u64) -> Call {
        self.least_t = t;
        self
    }

    fn show(&self) {
        show::form(&self.query);
        if let Some(rules) = &self.rules {
            show::indented("with the rules");
            show::form(rules);
        }
        for arg in &self.args {
            show::indented(&format!("with {arg}"));
        }
        for (source, time) in self.sources.iter().filter(|(_, time)| !time.is_empty()) {
            let time = match time.split_once(':') {
                Some(("since", moment)) => format!("since {moment}"),
                _ if time == "history" => time.clone(),
                _ => format!("as of {time}"),
            };
            show::indented(&format!("{source} is {DATABASE}, {time}"));
        }
    }

    async fn send(&self, client: &Client) -> Outcome<Answer> {
        let mut call = client.query(&self.query);
        for (source, time) in &self.sources {
            let view = View::of(DATABASE).at_least(self.least_t);
            let view = match time.as_str() {
                "" => view,
                "history" => view.history(),
                time => match time.strip_prefix("since:") {
                    Some(since) => view.since(moment(since)?),
                    None => view.as_of(moment(time)?),
                },
            };
            call = call.database(source, view);
        }
        if let Some(rules) = &self.rules {
            call = call.rules(rules);
        }
        for arg in &self.args {
            call = call.arg_text(arg);
        }
        Ok(call.fetch().await?)
    }
}

impl Expected {
    pub(super) fn rows(rows: &[&str]) -> Expected {
        let mut rows: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
        rows.sort();
        Expected::Rows(rows)
    }

    fn is_met_by(&self, lines: &[String]) -> bool {
        match self {
            Expected::Rows(rows) => rows == lines,
            Expected::Hash { rows, sha256 } => {
                let mut hash = Sha256::new();
                for line in lines {
                    hash.update(line.as_bytes());
                    hash.update(b"\n");
                }
                let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                *rows == lines.len() && *sha256 == hash
            }
        }
    }
}

impl Asked {
    pub(super) fn new(clients: Vec<Client>) -> Asked {
        Asked { clients, count: 0, right: 0, took: Duration::ZERO }
    }

    /// How many answers were right, and how many there were.
    pub(super) fn score(&self) -> (usize, usize) {
        (self.right, self.count)
    }

    pub(super) fn mean_ms(&self) -> f64 {
        self.took.as_secs_f64() * 1e3 / self.count.max(1) as f64
    }

    pub(super) async fn query(&mut self, text: &str, call: Call, expected: &Expected) -> Outcome<()> {
        let (peer, client) = self.next(text);
        call.show();
        let started = Monotonic::now();
        let answer = call.send(&client).await;
        let took = started.elapsed();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                show::indented(&format!("error: {error}"));
                self.score_one(false, peer, took, "");
                return Ok(());
            }
        };
        show::answer(&answer);
        let lines = lines(&answer);
        let note = format!("{} {}, ", lines.len(), if lines.len() == 1 { "row" } else { "rows" });
        self.score_one(expected.is_met_by(&lines), peer, took, &note);
        if let (Expected::Rows(rows), false) = (expected, expected.is_met_by(&lines)) {
            show::indented(&format!("expected {}", rows.join(" ")));
        }
        Ok(())
    }

    /// A pull and the JSON it must give.
    pub(super) async fn pull(&mut self, text: &str, pattern: &str, entity: &str, expected: &str) -> Outcome<()> {
        let (peer, client) = self.next(text);
        show::form(pattern);
        show::indented(&format!("of {entity}"));
        let started = Monotonic::now();
        let pulled = client.pull(DATABASE, pattern, entity).await?;
        let took = started.elapsed();
        show::item(&pulled.value);
        self.score_one(json(&pulled.value) == expected, peer, took, "");
        Ok(())
    }

    /// A transaction, and the datoms but its own instant as `[attribute, value, added]`.
    pub(super) async fn transact(&mut self, text: &str, tx_data: &str, expected: &[&str]) -> Outcome<Committed> {
        let (peer, client) = self.next(text);
        show::form(tx_data);
        let started = Monotonic::now();
        let committed = client.transact(DATABASE, tx_data).await?;
        let took = started.elapsed();
        show::datoms(&committed);
        let own = committed.tx;
        let row = |fact: &Fact| {
            let [_, attribute, v, _, added] = fact.row();
            json(&Item::Vector(vec![attribute, v, added]))
        };
        let mut lines: Vec<String> = committed.datoms.iter().filter(|fact| fact.e != own).map(row).collect();
        lines.sort();
        let note = format!("t {}, {} datoms, durable, ", committed.t, committed.datom_count);
        self.score_one(lines == expected, peer, took, &note);
        Ok(committed)
    }

    /// A transaction or a query that must be refused with a code.
    pub(super) async fn refused<A>(
        &mut self,
        text: &str,
        shown: &str,
        expected_code: &str,
        call: impl AsyncFnOnce(&Client) -> Result<A, Error>,
    ) -> Outcome<()> {
        let (peer, client) = self.next(text);
        show::form(shown);
        let started = Monotonic::now();
        let outcome = call(&client).await;
        let took = started.elapsed();
        let is_right = match outcome {
            Ok(_) => false,
            Err(error) => {
                show::indented(&format!("error: {}", error.message()));
                show::indented(&format!("  code: :{} ({})", error.code(), error.category().name()));
                error.code() == expected_code
            }
        };
        self.score_one(is_right, peer, took, "refused, ");
        Ok(())
    }

    /// The peers take turns.
    fn next(&mut self, text: &str) -> (usize, Client) {
        let at = self.count % self.clients.len();
        self.count += 1;
        show::question(self.count, text);
        (at + 1, self.clients[at].clone())
    }

    fn score_one(&mut self, is_right: bool, peer: usize, took: Duration, note: &str) {
        self.right += usize::from(is_right);
        self.took += took;
        show::verdict(is_right, peer, took, note);
    }
}

/// The distinct rows as sorted JSON lines.
fn lines(answer: &Answer) -> Vec<String> {
    let mut lines: Vec<String> = answer.rows.iter().map(|row| json(&answer.head.shaped(row.clone()))).collect();
    lines.sort();
    lines.dedup();
    lines
}
