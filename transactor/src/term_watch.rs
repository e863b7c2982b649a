//! Noticing that another transactor has taken a database over.
//!
//! Its writer hears of that when it appends next, which may be long after; until then followers would take this
//! transactor for the owner, and hear nothing of what the other one writes. So the head of every open database is looked
//! at now and then, and one of a later term closes its database: followers are told at once, and look for the owner.
//!
//! Nothing rests on it: what is appended after a takeover fails, whether this looks or not.

use crate::commit::Database;
use crate::errors::fenced;
use crate::host::Databases;
use process::{Entropy, Executor, Failpoint, Result, Shutdown, log};
use std::sync::Arc;
use std::time::Duration;
use storage::{Head, Journal};

/// Between two looks, about.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Watch {
    pub databases: Databases,
    pub journal: Arc<dyn Journal>,
    pub executor: Executor,
    pub entropy: Arc<dyn Entropy>,
    pub shutdown: Shutdown,
}

impl Watch {
    pub async fn run(self, point: Failpoint) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.asked() => return Ok(()),
                () = tokio::time::sleep(self.entropy.jitter(PAUSE)) => {}
            }
            point.pass();
            let (databases, journal) = (self.databases.all(), self.journal.clone());
            let looked = self.executor.blocking(move || {
                for database in databases {
                    look(&database, &*journal);
                }
                Ok(())
            });
            if let Err(error) = looked.await {
                log::warn!(%error, "whether databases were taken over was not looked at");
            }
        }
    }
}

fn look(database: &Database, journal: &dyn Journal) {
    if database.stopped().is_some() {
        return;
    }
    let ours = database.durable().head.term;
    // A store that fails is the writers' to tell of, and a log that is gone the creator's.
    if let Ok(Some(Head { term, seq, .. })) = journal.head(database.id)
        && term > ours
    {
        let why = format!(
            "another transactor has taken database {:?} over (term {term}, record {seq}); this one's term is over",
            database.name
        );
        log::error!(database = database.name, why, "a database was taken over and is closed");
        database.fence(fenced(why));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{memory, start};
    use db::log::Chain;
    use db::{Category, Error};
    use tokio_stream::StreamExt;

    /// Nobody writes to the one that was deposed, so that its writer cannot notice.
    #[tokio::test(start_paused = true)]
    async fn followers_of_a_database_that_was_taken_over_are_told_without_a_write() {
        let memory = memory();
        let deposed = start(&memory);
        let (world, other) = (deposed.with_counter("world").await, deposed.create("other").await);
        let mut following = deposed.follow(world, &Chain::new(world)).await;
        following.next().await.unwrap().unwrap();
        let owner = start(&memory);
        let end: Error = loop {
            match following.next().await.unwrap() {
                Ok(_) => {}
                Err(status) => break proto::error(&status),
            }
        };
        assert_eq!(end.category(), Category::Fenced, "{end}");
        assert!(following.next().await.is_none());
        // Transactions are refused by the same word, and never as unknown.
        for name in ["world", "other"] {
            let refused = deposed.transact(name, "[]").await.unwrap_err();
            assert_eq!((refused.category(), refused.code()), (Category::Fenced, "db.error/fenced"), "{refused}");
        }
        assert_eq!(owner.transact("world", "[]").await.unwrap().t, 2);
        assert_eq!(owner.head(other).await.term, 2);
        deposed.stop().await;
        owner.stop().await;
    }
}
