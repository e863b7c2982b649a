//! The databases that a peer follows, by name. One that it has not heard of yet is found when it is asked for.

use crate::adoption::Adoption;
use crate::followed::{FollowState, Followed};
use crate::follower::Follower;
use crate::metrics::Counting;
use crate::remote::Remote;
use crate::tree;
use crate::trees::TreeReader;
use arc_swap::ArcSwap;
use db::{Category, Error, Result, log};
use process::{Crew, Failpoint, Failure, World, log as operator};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// While the transactor is not there when a peer starts: how long between two tries to learn its databases.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Databases(Arc<Inner>);

struct Inner {
    remote: Remote,
    reader: TreeReader,
    world: World,
    crew: Crew,
    counting: Counting,
    by_name: ArcSwap<BTreeMap<String, Arc<Followed>>>,
    /// Held while one is added or taken out, which does not wait: two callers who ask for the same new name get the
    /// same one.
    changing: Mutex<()>,
    /// Those that the transactor had when it was first heard of; one that goes is not held here.
    at_start: watch::Sender<Option<Vec<Weak<Followed>>>>,
}

impl Databases {
    pub fn new(remote: Remote, reader: TreeReader, world: World, crew: Crew, counting: Counting) -> Self {
        Databases(Arc::new(Inner {
            remote,
            reader,
            world,
            crew,
            counting,
            by_name: ArcSwap::default(),
            changing: Mutex::new(()),
            at_start: watch::Sender::new(None),
        }))
    }

    /// Where trees and log trees come from.
    pub fn reader(&self) -> TreeReader {
        self.0.reader.clone()
    }

    /// Follows every database that the transactor has; tries until it answers.
    pub async fn discover(self, point: Failpoint) -> process::Result<()> {
        let mut silent = false;
        loop {
            point.pass();
            match self.0.remote.databases().await {
                Ok(infos) => {
                    let mut at_start = Vec::new();
                    for info in infos {
                        if let Ok(id) = info.id[..].try_into() {
                            let followed = self.follow(log::DatabaseId(id), &info.name).map_err(Failure::new)?;
                            at_start.push(Arc::downgrade(&followed));
                        }
                    }
                    // One that discovers again does not change what was there at the start.
                    self.0.at_start.send_if_modified(|known| {
                        let first = known.is_none();
                        known.get_or_insert(at_start);
                        first
                    });
                    // Later ones are found when they are asked for.
                    self.0.crew.shutdown().asked().await;
                    return Ok(());
                }
                Err(error) if !silent => {
                    operator::warn!(%error, "cannot learn the databases yet, trying on");
                    silent = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                biased;
                () = self.0.crew.shutdown().asked() => return Ok(()),
                () = tokio::time::sleep(self.0.world.entropy.jitter(DISCOVERY_PAUSE)) => {}
            }
        }
    }

    /// The databases that the transactor had when it was first heard of, without those that are gone; waits for that.
    pub async fn at_start(&self) -> Vec<Arc<Followed>> {
        let mut at_start = self.0.at_start.subscribe();
        if at_start.wait_for(Option::is_some).await.is_err() {
            unreachable!("the sender lives as long as self");
        }
        self.at_start_so_far().unwrap_or_default()
    }

    /// None before the transactor was first heard of.
    pub fn at_start_so_far(&self) -> Option<Vec<Arc<Followed>>> {
        let at_start = self.0.at_start.borrow();
        at_start.as_ref().map(|followed| followed.iter().filter_map(Weak::upgrade).collect())
    }

    pub fn all(&self) -> Vec<Arc<Followed>> {
        self.0.by_name.load().values().cloned().collect()
    }

    /// The id that a name is known to stand for here; asks nobody.
    pub fn known_id(&self, name: &str) -> Option<log::DatabaseId> {
        self.0.by_name.load().get(name).map(|followed| followed.id)
    }

    /// The database of a name; asks the transactor for one not known here.
    pub async fn get(&self, name: &str) -> Result<Arc<Followed>> {
        let known = self.0.by_name.load().get(name).cloned();
        // A database that the transactor has forgotten may have been created anew under its name.
        if let Some(known) = known
            && !known.is_gone()
            && !(known.state() == FollowState::Disconnected
                && known.trouble().is_some_and(|trouble| trouble.category() == Category::NotFound))
        {
            return Ok(known);
        }
        match self.0.remote.find(name).await {
            Ok(Some(id)) => self.follow(id, name),
            Ok(None) => {
                let message = format!("there is no database {name:?}; create it first, or list those there are");
                Err(Error::not_found("db.error/unknown-database", message).with("database", name))
            }
            Err(error) => {
                Err(error.within(format_args!("database {name:?} is not known here and cannot be looked up")))
            }
        }
    }

    /// Follows a database by a name, if it does not yet. Another one that had the name is followed no more.
    pub fn follow(&self, id: log::DatabaseId, name: &str) -> Result<Arc<Followed>> {
        let _changing = self.lock();
        let before = self.0.by_name.load().get(name).cloned();
        if let Some(there) = before.as_ref().filter(|there| there.id == id && !there.is_gone()) {
            return Ok(there.clone());
        }
        let (ends, shutdown) = self.0.crew.shutdown().part();
        let followed = Arc::new(Followed::new(id, name.to_owned(), ends));
        let (databases, following) = (self.clone(), followed.clone());
        let run = move |point| {
            let (databases, following, shutdown) = (databases.clone(), following.clone(), shutdown.clone());
            async move {
                let (remote, world) = (databases.0.remote.clone(), databases.0.world.clone());
                let counting = databases.0.counting.clone();
                let adoption = Adoption::new(databases.0.reader.clone(), world.executor);
                let follower = Follower::new(following.clone(), remote, adoption, world, counting, point);
                let ended = follower.run(shutdown).await;
                databases.forget(&following);
                ended
            }
        };
        self.0.crew.start(&tree::FOLLOWER, name, run).map_err(|failure| Error::fault(failure.0))?;
        let mut by_name = BTreeMap::clone(&self.0.by_name.load());
        by_name.insert(name.to_owned(), followed.clone());
        self.0.by_name.store(Arc::new(by_name));
        if let Some(before) = before {
            before.set_gone();
        }
        Ok(followed)
    }

    /// The database of this id was deleted.
    pub fn forget_deleted(&self, id: log::DatabaseId) {
        for followed in self.all().iter().filter(|followed| followed.id == id) {
            followed.set_gone();
            self.forget(followed);
        }
    }

    /// Takes out one that is gone, and leaves another one that has its name.
    fn forget(&self, gone: &Arc<Followed>) {
        let _changing = self.lock();
        let by_name = self.0.by_name.load();
        if gone.is_gone() && by_name.get(&gone.name).is_some_and(|there| Arc::ptr_eq(there, gone)) {
            let mut by_name = BTreeMap::clone(&by_name);
            by_name.remove(&gone.name);
            self.0.by_name.store(Arc::new(by_name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use cache::SegmentCache;
    use process::{ManualClock, Restarts, SeededEntropy, Shutdown, Supervisor};

    const OLD: log::DatabaseId = log::DatabaseId([1; 16]);
    const NEW: log::DatabaseId = log::DatabaseId([2; 16]);

    /// Of a transactor that nobody reaches.
    fn databases(shutdown: Shutdown) -> (Databases, Supervisor) {
        let world = World {
            clock: Arc::new(ManualClock::at(db::Instant(0))),
            entropy: Arc::new(SeededEntropy::new(1)),
            ..World::system().unwrap()
        };
        let (crew, supervisor) = Crew::new(&tree::TREE, Restarts::default(), &world, shutdown);
        let remote = Remote::new("http://127.0.0.1:1", None, world.network.clone()).unwrap();
        let metrics = Metrics::new(&mut process::metrics::registry());
        let counting = Counting { metrics, clock: world.clock.clone() };
        let cache = SegmentCache::open(&cache::Config::default()).unwrap();
        let reader = TreeReader::new(cache, remote.clone(), world.executor);
        (Databases::new(remote, reader, world, crew, counting), supervisor)
    }

    /// Returns when nobody holds it any more, its follower least of all.
    async fn is_let_go(followed: Arc<Followed>) {
        let held = Arc::downgrade(&followed);
        drop(followed);
        while held.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_name_that_moves_ends_the_follower_of_what_it_stood_for() {
        let (_trigger, shutdown) = Shutdown::new();
        let (databases, mut supervisor) = databases(shutdown);
        let supervising = tokio::spawn(async move { supervisor.run().await });
        let old = databases.follow(OLD, "world").unwrap();
        assert!(Arc::ptr_eq(&old, &databases.follow(OLD, "world").unwrap()));
        let waiting = old.clone();
        let waiter = tokio::spawn(async move { waiting.known_at(1).await.map(|_| ()) });
        let new = databases.follow(NEW, "world").unwrap();
        assert_eq!(waiter.await.unwrap().unwrap_err().code(), crate::followed::DELETED);
        assert!(Arc::ptr_eq(&databases.get("world").await.unwrap(), &new));
        is_let_go(old).await;
        assert!(!supervising.is_finished(), "its end is not the process's");
    }

    #[tokio::test]
    async fn a_deleted_database_is_forgotten_and_another_of_its_name_is_not() {
        let (_trigger, shutdown) = Shutdown::new();
        let (databases, mut supervisor) = databases(shutdown);
        tokio::spawn(async move { supervisor.run().await });
        let old = databases.follow(OLD, "world").unwrap();
        databases.forget_deleted(NEW);
        assert_eq!(databases.all().len(), 1);
        databases.forget_deleted(OLD);
        assert!(old.is_gone() && databases.all().is_empty());
        is_let_go(old).await;
        databases.follow(NEW, "world").unwrap();
        databases.forget_deleted(OLD);
        assert_eq!(databases.all().len(), 1);
    }
}
