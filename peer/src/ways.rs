//! The ways to transactors, and to storage processes: the addresses that the peer was given, and which of them leads to a
//! database's owner.
//!
//! Each database has one transactor at a time, and another one may take it over: at another address, or at the same
//! one, when a name has come to stand for another machine. Nobody tells a peer so. Whoever finds no owner at the end of
//! a way leaves it: the next try for that database goes to the next address. If somebody was there who is not the owner,
//! that address is reached over connections made anew from then on, since those there are lead where they led before.

use arc_swap::ArcSwap;
use db::log::DatabaseId;
use process::{Failure, Network, keep_alive};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

/// Connections for following; a server takes 1,024 streams on each, and a database takes one.
const FOLLOWING_CONNECTIONS: usize = 8;
/// Connections to an address are made anew at most so often, however many databases ask for it.
const ANEW_AFTER: Duration = Duration::from_secs(1);

pub struct Ways {
    network: Arc<dyn Network>,
    /// Who is at the addresses.
    whom: &'static str,
    /// At least one.
    addresses: Vec<Address>,
    /// The address that is asked where no database is known.
    usual: AtomicUsize,
    /// The addresses of databases that are looked for elsewhere than at the first. Held for one look-up.
    elsewhere: Mutex<BTreeMap<DatabaseId, usize>>,
}

struct Address {
    url: String,
    endpoint: Endpoint,
    way: ArcSwap<Way>,
}

/// Connections to one address.
pub struct Way {
    pub url: String,
    /// Who is there, in words.
    pub whom: &'static str,
    address: usize,
    made: Instant,
    calls: Channel,
    following: [Channel; FOLLOWING_CONNECTIONS],
}

impl Ways {
    /// Connects when first asked. `urls` are parted by commas; one that is none is an error now. `whom` is who is there,
    /// in words.
    pub fn new(urls: &str, whom: &'static str, network: Arc<dyn Network>) -> process::Result<Ways> {
        let mut addresses = Vec::new();
        for (number, url) in urls.split(',').map(str::trim).enumerate() {
            let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
                Failure::new(format!(
                    "{url:?} is no URL of a {whom} ({error}); give http://HOST:PORT, and commas between several"
                ))
            })?;
            let endpoint = keep_alive(endpoint);
            let way = Way::new(url, whom, number, &endpoint, &*network);
            addresses.push(Address { url: url.to_owned(), endpoint, way: ArcSwap::from_pointee(way) });
        }
        Ok(Ways { network, whom, addresses, usual: AtomicUsize::new(0), elsewhere: Mutex::default() })
    }

    /// For what is about no database that is known.
    pub fn usual(&self) -> Arc<Way> {
        self.at(self.usual.load(Ordering::Relaxed))
    }

    /// To the owner of a database, as far as is known.
    pub fn to(&self, id: DatabaseId) -> Arc<Way> {
        let address = self.elsewhere().get(&id).copied().unwrap_or(0);
        self.at(address)
    }

    /// Nobody answered at the end of this way.
    pub fn leave_usual(&self, way: &Way) {
        let next = self.after(way);
        // Somebody else may have left it before.
        let _ = self.usual.compare_exchange(way.address, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Nothing was heard of a database over this way: it is looked for at the next address.
    pub fn leave(&self, id: DatabaseId, way: &Way) {
        match self.after(way) {
            0 => drop(self.elsewhere().remove(&id)),
            next => drop(self.elsewhere().insert(id, next)),
        }
    }

    /// At the end of this way is somebody, and not the owner of a database: as [`Ways::leave`], and who comes this way
    /// again comes over new connections. Those who follow over the old ones keep their streams.
    pub fn leave_for_good(&self, id: DatabaseId, way: &Arc<Way>) {
        self.leave(id, way);
        let address = &self.addresses[way.address];
        if way.made.elapsed() >= ANEW_AFTER && Arc::ptr_eq(&address.way.load(), way) {
            let anew = Way::new(&address.url, self.whom, way.address, &address.endpoint, &*self.network);
            address.way.store(Arc::new(anew));
        }
    }

    fn at(&self, address: usize) -> Arc<Way> {
        self.addresses[address].way.load_full()
    }

    fn after(&self, way: &Way) -> usize {
        (way.address + 1) % self.addresses.len()
    }

    fn elsewhere(&self) -> MutexGuard<'_, BTreeMap<DatabaseId, usize>> {
        self.elsewhere.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Way {
    fn new(url: &str, whom: &'static str, address: usize, endpoint: &Endpoint, network: &dyn Network) -> Way {
        Way {
            url: url.to_owned(),
            whom,
            address,
            made: Instant::now(),
            calls: network.channel(endpoint.clone()),
            following: std::array::from_fn(|_| network.channel(endpoint.clone())),
        }
    }

    pub fn calls(&self) -> Channel {
        self.calls.clone()
    }

    /// The connection over which a database is followed.
    pub fn following(&self, id: DatabaseId) -> Channel {
        self.following[usize::from(id.0[0]) % FOLLOWING_CONNECTIONS].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::Tcp;

    const ID: DatabaseId = DatabaseId([1; 16]);
    const OTHER: DatabaseId = DatabaseId([2; 16]);

    fn ways(urls: &str) -> process::Result<Ways> {
        Ways::new(urls, "transactor", Arc::new(Tcp))
    }

    #[tokio::test]
    async fn a_database_that_is_not_found_is_looked_for_at_the_next_address_and_others_stay_where_they_are() {
        let ways = ways("http://a:1, http://b:2").unwrap();
        let at = |id| ways.to(id).url.clone();
        ways.leave(ID, &ways.to(ID));
        assert_eq!((&*at(ID), &*at(OTHER)), ("http://b:2", "http://a:1"));
        ways.leave(ID, &ways.to(ID));
        assert_eq!(at(ID), "http://a:1");
        let usual = ways.usual();
        ways.leave_usual(&usual);
        ways.leave_usual(&usual);
        assert_eq!(ways.usual().url, "http://b:2", "two who leave it go one address on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_to_somebody_else_is_made_anew_once_and_not_too_often() {
        let ways = ways("http://a:1").unwrap();
        let old = ways.to(ID);
        ways.leave_for_good(ID, &old);
        assert!(Arc::ptr_eq(&old, &ways.to(ID)));
        tokio::time::advance(ANEW_AFTER).await;
        ways.leave(ID, &old);
        assert!(Arc::ptr_eq(&old, &ways.to(ID)));
        ways.leave_for_good(ID, &old);
        let new = ways.to(ID);
        assert!(!Arc::ptr_eq(&old, &new) && new.url == old.url);
        ways.leave_for_good(OTHER, &old);
        assert!(Arc::ptr_eq(&new, &ways.to(OTHER)));
    }

    #[tokio::test]
    async fn what_is_no_url_is_refused() {
        for urls in ["", "http://a:1,", "a b"] {
            assert!(ways(urls).is_err_and(|failure| failure.0.contains("give http://HOST:PORT")), "{urls:?}");
        }
    }
}
