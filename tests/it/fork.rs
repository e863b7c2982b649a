//! Forks over real processes: while transactions go on, and through restarts of everything.

use crate::command::diachron;
use diachron_tests::{Client, Flock, PATIENCE, Program, database_as_of, database_at_least};
use proto::v1::TransactorDatabaseStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/index true}
                       {:db/ident :item/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}]";
const ITEMS: &str = "[:find ?name ?n :where [?e :item/name ?name] [?e :item/n ?n]]";
/// So little that index jobs run all the time.
const EAGER: &str = "20000";

async fn transact(client: &mut Client, database: &str, n: usize) -> u64 {
    let tx_data = format!("[{{:item/name \"item {}\" :item/n {n}}}]", n % 40);
    client.transact(database, &tx_data).await.unwrap().t
}

/// The t's that a peer has transactions of, with how many datoms each has.
async fn log(client: &mut Client, name: &str) -> Vec<(u64, usize)> {
    client.log(name).await.unwrap().into_iter().map(|said| (said.t, said.datoms.len())).collect()
}

async fn status(client: &mut Client, name: &str) -> TransactorDatabaseStatus {
    let databases = client.transactor_status().await.databases;
    databases.into_iter().find(|known| known.database.as_ref().is_some_and(|info| info.name == name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_and_its_origin_go_on_apart_and_share_what_was_before() {
    let mut flock = Flock::start_with(&[("DIACHRON_NOVELTY_BYTES", EAGER)]);
    let peers = [flock.start_peer(), flock.start_peer()];
    let mut client = Client::connect(peers[0].url()).await;
    client.create_database("world").await;
    client.transact("world", SCHEMA).await.unwrap();
    for n in 0..150 {
        transact(&mut client, "world", n).await;
    }

    // One writes all the while.
    let done = Arc::new(AtomicBool::new(false));
    let (url, seen) = (peers[1].url().to_owned(), done.clone());
    let writing = tokio::spawn(async move {
        let mut client = Client::connect(&url).await;
        let mut n = 1000;
        while !seen.load(Ordering::Relaxed) || n < 1100 {
            transact(&mut client, "world", n).await;
            n += 1;
        }
    });
    let (code, told, stderr) = diachron(&peers[0], &["fork", "world", "trial", "--format", "json"], "");
    assert_eq!(code, 0, "{stderr}");
    assert!(told.contains("\"origin\":\"world\"") && told.contains("\"created\":true"), "{told}");
    let t = number_after(&told, "\"t\":");
    assert!(t >= 151, "{told}");
    let (code, told, stderr) = diachron(&peers[1], &["fork", "world", "early", "--as-of", "60"], "");
    assert!(code == 0 && told.starts_with("early forked from world at t 60, id "), "{told}{stderr}");
    for n in 0..120 {
        transact(&mut client, "trial", 5000 + n).await;
        if n % 4 == 0 {
            transact(&mut client, "early", 7000 + n).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    let before = Answers::of(&peers[0], t).await;
    assert_eq!(before, Answers::of(&peers[1], t).await);
    before.check(t);
    let mut transactor = Client::connect(&flock.transactor_url()).await;
    let head = status(&mut transactor, "trial").await.head.unwrap();
    assert_eq!((head.t, head.index_seq > 1), (t + 120, true), "the fork has an index of its own by now");

    // Everything starts again: what a peer knew, and one that begins with the index.
    flock.take_transactor().terminate();
    flock.restart_transactor();
    assert_eq!(Answers::of(&peers[0], t).await, before);
    let cold = flock.start_peer();
    assert_eq!(Answers::of(&cold, t).await, before);
    let mut client = Client::connect(cold.url()).await;
    assert_eq!(transact(&mut client, "trial", 9000).await, t + 121);
    assert_eq!(transact(&mut client, "early", 9000).await, 60 + 31);

    // The fork outlives its origin, with all that it has of it.
    let (code, _, stderr) = diachron(&cold, &["db", "delete", "world", "--yes"], "");
    assert_eq!(code, 0, "{stderr}");
    let cold = flock.start_peer();
    let mut client = Client::connect(cold.url()).await;
    assert_eq!(log(&mut client, "trial").await[..(t + 120) as usize], before.trial_log);
    let (code, told, _) = diachron(&cold, &["fork", "trial", "late", "--as-of", "100"], "");
    assert!(code == 0 && told.starts_with("late forked from trial at t 100, id "), "{told}");
    assert_eq!(log(&mut client, "late").await, before.trial_log[..100]);
    let (code, _, stderr) = diachron(&cold, &["fork", "trial", "early", "--as-of", "100"], "");
    assert!(code == 5 && stderr.contains("db.error/name-taken"), "{stderr}");
}

fn number_after(text: &str, words: &str) -> u64 {
    let rest = &text[text.find(words).unwrap() + words.len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// What a peer says of the origin and of its forks.
#[derive(Debug, PartialEq)]
struct Answers {
    /// Of world and trial as of some t's that both have.
    shared: [Vec<String>; 2],
    now: Vec<String>,
    world_log: Vec<(u64, usize)>,
    trial_log: Vec<(u64, usize)>,
    early_log: Vec<(u64, usize)>,
}

impl Answers {
    async fn of(peer: &Program, t: u64) -> Answers {
        let mut client = Client::connect(peer.url()).await;
        let mut shared = [Vec::new(), Vec::new()];
        for (name, answers) in ["world", "trial"].into_iter().zip(&mut shared) {
            // As old as the fork, and older.
            let basis = tokio::time::timeout(PATIENCE, client.sync(name, None)).await.unwrap().unwrap();
            assert!(basis >= t);
            for then in [0, 1, 2, 40, 100, t - 1, t] {
                answers.push(client.q(ITEMS, vec![database_as_of(name, then)]).await.unwrap().to_string());
            }
        }
        let mut now = Vec::new();
        for name in ["world", "trial", "early"] {
            let basis = client.sync(name, None).await.unwrap();
            now.push(client.q(ITEMS, vec![database_at_least(name, basis)]).await.unwrap().to_string());
        }
        let world_log = log(&mut client, "world").await;
        let trial_log = log(&mut client, "trial").await;
        Answers { shared, now, world_log, trial_log, early_log: log(&mut client, "early").await }
    }

    fn check(&self, t: u64) {
        assert_eq!(self.shared[0], self.shared[1]);
        assert!(self.now[0] != self.now[1] && self.now[1] != self.now[2]);
        let t = t as usize;
        assert_eq!(self.world_log[..t], self.trial_log[..t]);
        assert_eq!(self.world_log[..60], self.early_log[..60]);
        for log in [&self.world_log, &self.trial_log, &self.early_log] {
            assert!(log.iter().map(|said| said.0).eq(1..=log.len() as u64));
        }
        assert_eq!((self.trial_log.len(), self.early_log.len()), (t + 120, 60 + 30));
    }
}
