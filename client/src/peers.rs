//! The peers a client may ask: which of them it asks now, which are away, and what has been seen of each database.

use crate::{DEFAULT_PEER, MESSAGE_OVERHEAD_BYTES, View};
use db::{Category, Error, Result, T, TimePoint};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Monotonic};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take to say whether it is ready, where there are others.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

const PEERS_MAX: usize = 64;
/// For how long a peer whose connection failed is asked only after all others; doubled each time it fails again.
const AWAY_MIN: Duration = Duration::from_secs(1);
const AWAY_DOUBLINGS_MAX: u32 = 5;
/// Databases whose basis is remembered; beyond, the first names are forgotten.
const SEEN_MAX: usize = 1024;

/// The addresses of one peer or of several, in the order in which they are tried.
///
/// A text may name several with commas between them: `"http://10.0.0.1:4335,http://10.0.0.2:4335"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers(Vec<String>);

/// Peers with a connection each, made when it is needed.
#[derive(Debug)]
pub(crate) struct Flock {
    members: Vec<Member>,
    /// The member that answered last: as long as it does, it is asked.
    current: AtomicUsize,
    /// By name: what was seen of a database. Held for map operations only.
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug)]
pub(crate) struct Member {
    url: String,
    channel: Channel,
    /// Held for the assignment only.
    away: Mutex<Away>,
}

/// The newest t that was told of a database, and by which member.
#[derive(Clone, Debug)]
struct Seen {
    database_id: Vec<u8>,
    t: T,
    teller: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Away {
    until: Option<Monotonic>,
    doublings: u32,
}

impl Flock {
    /// Connects to the first peer that says it serves; where none says so, to the first that answers at all.
    pub(crate) async fn connect(peers: Peers) -> Result<Flock> {
        let urls = peers.0;
        if urls.is_empty() || urls.len() > PEERS_MAX {
            let message = format!("{} peers are named: name 1 to {PEERS_MAX}", urls.len());
            return Err(Error::incorrect("db.error/invalid-url", message));
        }
        // All are looked at before one is connected to, so that a misspelt one is found when it is written.
        let endpoints: Vec<Endpoint> = urls.iter().map(|url| endpoint(url)).collect::<Result<_>>()?;
        let mut members: Vec<Member> = urls
            .into_iter()
            .zip(&endpoints)
            .map(|(url, endpoint)| Member { url, channel: endpoint.connect_lazy(), away: Mutex::default() })
            .collect();

        let alone = members.len() == 1;
        let (mut answering, mut silent) = (None, Vec::new());
        for (at, endpoint) in endpoints.iter().enumerate() {
            match endpoint.connect().await {
                Ok(channel) => {
                    members[at].channel = channel;
                    if alone || members[at].serves().await {
                        return Ok(Flock::of(members, at));
                    }
                    answering.get_or_insert(at);
                }
                Err(error) => {
                    members[at].is_away();
                    silent.push(format!("{}: {}", members[at].url, root_cause(&error)));
                }
            }
        }
        answering.map(|at| Flock::of(members, at)).ok_or_else(|| no_peer(&silent))
    }

    fn of(members: Vec<Member>, at: usize) -> Flock {
        Flock { members, current: AtomicUsize::new(at), seen: Mutex::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn member(&self, at: usize) -> &Member {
        &self.members[at]
    }

    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// A member that was not tried yet: the current one if it is well, then the others in their order, and last those
    /// that are away.
    pub(crate) fn untried(&self, tried: &[bool], even_away: bool) -> Option<usize> {
        let (count, current, now) = (self.members.len(), self.current(), Monotonic::now());
        let candidates = (0..count).map(|step| (current + step) % count).filter(|at| !tried[*at]);
        let (well, away): (Vec<usize>, Vec<usize>) = candidates.partition(|at| self.members[*at].is_well(now));
        well.into_iter().chain(away.into_iter().filter(|_| even_away)).next()
    }

    pub(crate) fn answered(&self, at: usize) {
        self.current.store(at, Ordering::Relaxed);
        *self.members[at].lock() = Away::default();
    }

    /// Remembers that a member knows a database up to t. Another database under the same name begins anew.
    pub(crate) fn saw(&self, at: usize, database: &str, database_id: &[u8], t: T) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.get(database).is_some_and(|known| known.t > t && known.database_id == database_id) {
            return;
        }
        if seen.len() == SEEN_MAX && !seen.contains_key(database) {
            seen.pop_first();
        }
        seen.insert(database.to_owned(), Seen { database_id: database_id.to_owned(), t, teller: at });
    }

    pub(crate) fn forget(&self, database: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(database);
    }

    /// What a member must know before it answers, so that a caller who moved there from another one sees no less than
    /// before: the basis of a session never goes back.
    pub(crate) fn floor(&self, at: usize, view: &View) -> T {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(view.name()).filter(|seen| seen.teller != at).map_or(0, |seen| seen.t);
        match view.as_of_moment() {
            Some(TimePoint::T(t)) => seen.min(t),
            _ => seen,
        }
    }
}

impl Member {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn client(&self) -> PeerClient<Channel> {
        PeerClient::new(self.channel.clone())
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX + MESSAGE_OVERHEAD_BYTES)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX)
    }

    /// Its connection failed: for a while the others are asked first.
    pub(crate) fn is_away(&self) {
        let mut away = self.lock();
        let wait = AWAY_MIN * 2u32.pow(away.doublings);
        *away = Away { until: Some(Monotonic::now() + wait), doublings: (away.doublings + 1).min(AWAY_DOUBLINGS_MAX) };
    }

    fn is_well(&self, now: Monotonic) -> bool {
        self.lock().until.is_none_or(|until| until <= now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it says that it is ready; one that knows no health service is taken at its connection.
    async fn serves(&self) -> bool {
        let mut health = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: PEER_SERVICE.to_owned() };
        match tokio::time::timeout(HEALTH_TIMEOUT, health.check(request)).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(status)) => matches!(status.code(), tonic::Code::Unimplemented | tonic::Code::NotFound),
            Err(_) => false,
        }
    }
}

/// The service whose health is asked.
const PEER_SERVICE: &str = v1::peer_server::SERVICE_NAME;

fn endpoint(url: &str) -> Result<Endpoint> {
    let invalid = || {
        let message = format!("`{url}` is no peer's address: give one like {DEFAULT_PEER}");
        Error::incorrect("db.error/invalid-url", message)
    };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| invalid())?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
        return Err(invalid());
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

fn no_peer(silent: &[String]) -> Error {
    let message = match silent {
        [one] => format!("no peer answers at {one}"),
        several => format!("none of {} peers answers: {}", several.len(), several.join("; ")),
    };
    Error::new(Category::Unavailable, "db.error/no-peer", message)
}

/// The innermost reason, which says most: "connection refused" rather than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl From<&str> for Peers {
    fn from(text: &str) -> Peers {
        Peers(text.split(',').map(|url| url.trim().to_owned()).collect())
    }
}

impl From<&String> for Peers {
    fn from(text: &String) -> Peers {
        Peers::from(text.as_str())
    }
}

impl From<String> for Peers {
    fn from(text: String) -> Peers {
        Peers::from(text.as_str())
    }
}

impl<S: AsRef<str>> From<&[S]> for Peers {
    fn from(urls: &[S]) -> Peers {
        Peers(urls.iter().map(|url| url.as_ref().to_owned()).collect())
    }
}

impl<S: AsRef<str>> From<Vec<S>> for Peers {
    fn from(urls: Vec<S>) -> Peers {
        Peers::from(&urls[..])
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Peers {
    fn from(urls: [S; N]) -> Peers {
        Peers::from(&urls[..])
    }
}

/// Members that are not there.
#[cfg(test)]
pub(crate) fn flock_of_none(count: usize) -> Flock {
    let endpoint = Endpoint::from_static("http://127.0.0.1:1");
    let member = |n| Member { url: format!("{n}"), channel: endpoint.connect_lazy(), away: Mutex::default() };
    Flock::of((0..count).map(member).collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_current_peer_is_asked_first_and_one_that_is_away_last() {
        let flock = flock_of_none(3);
        assert_eq!(flock.untried(&[false; 3], true), Some(0));
        flock.answered(1);
        assert_eq!(flock.untried(&[false; 3], true), Some(1));
        assert_eq!(flock.untried(&[false, true, false], true), Some(2));
        flock.member(1).is_away();
        assert_eq!(flock.untried(&[false; 3], true), Some(2));
        assert_eq!(flock.untried(&[true, false, true], true), Some(1));
        assert_eq!(flock.untried(&[true, false, true], false), None);
        assert_eq!(flock.untried(&[true; 3], true), None);
        flock.answered(1);
        assert_eq!(flock.untried(&[false; 3], true), Some(1));
    }

    #[tokio::test]
    async fn another_peer_is_asked_for_no_less_than_was_seen() {
        let flock = flock_of_none(2);
        let world = View::of("world");
        flock.saw(0, "world", &[1], 7);
        assert_eq!((flock.floor(0, &world), flock.floor(1, &world)), (0, 7));
        assert_eq!(flock.floor(1, &world.clone().as_of_t(3)), 3);
        flock.saw(1, "world", &[1], 6);
        assert_eq!(flock.floor(1, &world), 7);
        flock.saw(1, "world", &[1], 9);
        assert_eq!((flock.floor(0, &world), flock.floor(1, &world)), (9, 0));
        flock.saw(1, "world", &[2], 2);
        assert_eq!((flock.floor(0, &world), flock.floor(1, &world)), (2, 0));
        flock.forget("world");
        assert_eq!(flock.floor(0, &world), 0);
    }

    #[test]
    fn addresses_come_one_by_one_or_with_commas() {
        let both = Peers(vec!["http://a:1".into(), "http://b:2".into()]);
        assert_eq!(Peers::from("http://a:1, http://b:2"), both);
        assert_eq!(Peers::from(["http://a:1", "http://b:2"]), both);
        assert_eq!(Peers::from(vec!["http://a:1".to_owned(), "http://b:2".to_owned()]), both);
    }
}
