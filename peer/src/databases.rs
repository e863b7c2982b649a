//! The databases that a peer follows, by name. One that it has not heard of yet is found when it is asked for.

use crate::followed::{FollowState, Followed};
use crate::follower::Follower;
use crate::remote::Remote;
use crate::tree;
use arc_swap::ArcSwap;
use db::{Category, Error, Result, log};
use process::{Crew, Entropy, Failpoint, Failure, log as operator};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// While the transactor is not there when a peer starts: how long between two tries to learn its databases.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Databases(Arc<Inner>);

struct Inner {
    remote: Remote,
    entropy: Arc<dyn Entropy>,
    crew: Crew,
    by_name: ArcSwap<BTreeMap<String, Arc<Followed>>>,
    /// Held while one is added, which does not wait: two callers who ask for the same new name get the same one.
    adding: Mutex<()>,
}

impl Databases {
    pub fn new(remote: Remote, entropy: Arc<dyn Entropy>, crew: Crew) -> Self {
        Databases(Arc::new(Inner { remote, entropy, crew, by_name: ArcSwap::default(), adding: Mutex::new(()) }))
    }

    /// Follows every database that the transactor has; tries until it answers.
    pub async fn discover(self, point: Failpoint) -> process::Result<()> {
        let mut silent = false;
        loop {
            point.pass();
            match self.0.remote.databases().await {
                Ok(infos) => {
                    for info in infos {
                        if let Ok(id) = info.id[..].try_into() {
                            self.follow(log::DatabaseId(id), &info.name).map_err(Failure::new)?;
                        }
                    }
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
                () = tokio::time::sleep(self.0.entropy.jitter(DISCOVERY_PAUSE)) => {}
            }
        }
    }

    pub fn all(&self) -> Vec<Arc<Followed>> {
        self.0.by_name.load().values().cloned().collect()
    }

    /// The database of a name; asks the transactor for one not known here.
    pub async fn get(&self, name: &str) -> Result<Arc<Followed>> {
        let known = self.0.by_name.load().get(name).cloned();
        // A database that the transactor has forgotten may have been created anew under its name.
        if let Some(known) = known
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

    pub fn follow(&self, id: log::DatabaseId, name: &str) -> Result<Arc<Followed>> {
        let _adding = self.0.adding.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(there) = self.0.by_name.load().get(name).filter(|there| there.id == id) {
            return Ok(there.clone());
        }
        let followed = Arc::new(Followed::new(id, name.to_owned()));
        let (inner, following) = (self.0.clone(), followed.clone());
        let run = move |point| {
            let (remote, entropy) = (inner.remote.clone(), inner.entropy.clone());
            let follower = Follower::new(following.clone(), remote, entropy, inner.crew.executor(), point);
            follower.run(inner.crew.shutdown().clone())
        };
        self.0.crew.start(&tree::FOLLOWER, name, run).map_err(|failure| Error::fault(failure.0))?;
        let mut by_name = BTreeMap::clone(&self.0.by_name.load());
        by_name.insert(name.to_owned(), followed.clone());
        self.0.by_name.store(Arc::new(by_name));
        Ok(followed)
    }
}
