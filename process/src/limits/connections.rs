//! Connections, counted as they come and go, and the calls on each.

use super::{Bucket, Caller, Limits, caller_address};
use crate::Clock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Connections over a limit that are kept for a moment, so that their calls are told why; more are closed unheard.
const REFUSED_MAX: u32 = 64;
/// Callers remembered, beyond which those that have gone and rested are forgotten.
const CALLERS_KEPT: usize = 1024;
/// What a refused call is told to wait, for a connection and for a place on one.
const RETRY_CONNECTING_AFTER: Duration = Duration::from_secs(1);
const RETRY_CALLING_AFTER: Duration = Duration::from_millis(100);

/// All connections of a process.
pub struct Connections {
    limits: Limits,
    clock: Arc<dyn Clock>,
    open: AtomicU32,
    refused: AtomicU32,
    /// Held for one look-up, once a connection; the calls have their caller at hand.
    callers: Mutex<BTreeMap<IpAddr, Arc<Caller>>>,
}

/// One connection, for as long as it is open or a call of it is served.
pub struct Connection {
    all: Arc<Connections>,
    caller: Arc<Caller>,
    over: Option<Over>,
    calls: AtomicU32,
}

/// A call that is being served.
pub struct Calling(Arc<Connection>);

/// A limit that a connection or call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Connections { most: u32 },
    ConnectionsOfAddress { most: u32 },
    Calls { most: u32 },
    CallsPerSecond { most: u32, wait: Duration },
}

impl Connections {
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Connections {
            limits,
            clock,
            open: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            callers: Mutex::default(),
        })
    }

    /// Takes a connection in. One over a limit is taken too, and every call on it refused; None when there are many
    /// such already.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Connection>> {
        let caller = self.caller(caller_address(address));
        // Counted first and looked at then, so that two who come at once cannot both be the last.
        let of_address = caller.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let Limits { connections, connections_per_address, .. } = self.limits;
        let over = if of_address > connections_per_address {
            Some(Over::ConnectionsOfAddress { most: connections_per_address })
        } else if open > connections {
            Some(Over::Connections { most: connections })
        } else {
            None
        };
        if over.is_some() {
            // It takes no place from those within the limits.
            caller.connections.fetch_sub(1, Ordering::Relaxed);
            self.open.fetch_sub(1, Ordering::Relaxed);
            if self.refused.fetch_add(1, Ordering::Relaxed) >= REFUSED_MAX {
                self.refused.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(Arc::new(Connection { all: self.clone(), caller, over, calls: AtomicU32::new(0) }))
    }

    /// Connections that are open within the limits.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    pub fn open_max(&self) -> u32 {
        self.limits.connections
    }

    pub fn calls_per_connection_max(&self) -> u32 {
        self.limits.calls_per_connection
    }

    fn caller(&self, address: IpAddr) -> Arc<Caller> {
        let now = self.clock.since_boot();
        let mut callers = self.lock();
        if callers.len() >= CALLERS_KEPT && !callers.contains_key(&address) {
            callers.retain(|_, caller| !caller.is_forgotten(now));
        }
        let new = || Arc::new(Caller::new(address, Bucket::new(self.limits.calls_per_second, now)));
        callers.entry(address).or_insert_with(new).clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Arc<Caller>>> {
        self.callers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Connection {
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub fn is_refused(&self) -> bool {
        self.over.is_some()
    }

    /// Begins a call, within all limits.
    pub fn call(self: &Arc<Self>) -> Result<Calling, Over> {
        if let Some(over) = self.over {
            return Err(over);
        }
        let limits = &self.all.limits;
        // Given back when the place is dropped, also where it is refused below.
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let calling = Calling(self.clone());
        if calls > limits.calls_per_connection {
            return Err(Over::Calls { most: limits.calls_per_connection });
        }
        match self.caller.take_from_bucket(self.all.clock.since_boot()) {
            Ok(()) => Ok(calling),
            Err(wait) => Err(Over::CallsPerSecond { most: limits.calls_per_second, wait }),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_refused() {
            self.all.refused.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.all.open.fetch_sub(1, Ordering::Relaxed);
            self.caller.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Over {
    /// The code of the error that tells of it.
    pub fn code(self) -> &'static str {
        match self {
            Over::Connections { .. } | Over::ConnectionsOfAddress { .. } => "db.error/too-many-connections",
            Over::Calls { .. } => "db.error/too-many-calls",
            Over::CallsPerSecond { .. } => "db.error/too-many-calls-per-second",
        }
    }

    pub fn message(self) -> String {
        match self {
            Over::Connections { most } => {
                format!("{most} connections are open already, which is the most; share a connection, or come back")
            }
            Over::ConnectionsOfAddress { most } => {
                format!("your address has {most} connections already, which is the most; share one among your calls")
            }
            Over::Calls { most } => {
                format!("{most} calls are open on this connection, which is the most; wait for one to end")
            }
            Over::CallsPerSecond { most, .. } => {
                format!("you make more than {most} calls a second, which is the most; slow down")
            }
        }
    }

    pub fn retry_after(self) -> Duration {
        match self {
            Over::Connections { .. } | Over::ConnectionsOfAddress { .. } => RETRY_CONNECTING_AFTER,
            Over::Calls { .. } => RETRY_CALLING_AFTER,
            Over::CallsPerSecond { wait, .. } => wait.max(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use db::Instant;

    fn connections(limits: Limits) -> (Arc<Connections>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Instant(0)));
        (Connections::new(limits, clock.clone()), clock)
    }

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn connections_over_a_limit_are_told_so_and_take_nobodys_place() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let (all, _) = connections(limits);
        let first = all.admit(address(1)).unwrap();
        let _second = all.admit(address(1)).unwrap();
        let third = all.admit(address(1)).unwrap();
        assert_eq!(third.call().err(), Some(Over::ConnectionsOfAddress { most: 2 }));
        let _other = all.admit(address(2)).unwrap();
        let last = all.admit(address(3)).unwrap();
        assert_eq!(last.call().err(), Some(Over::Connections { most: 3 }));
        assert_eq!((all.open(), third.is_refused(), first.is_refused()), (3, true, false));
        drop(first);
        all.admit(address(1)).unwrap().call().unwrap();
        drop((third, last));
        assert_eq!(all.refused.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flood_of_connections_is_closed_unheard() {
        let (all, _) = connections(Limits { connections: 1, ..Limits::default() });
        let kept: Vec<_> = (0..200).filter_map(|_| all.admit(address(1))).collect();
        assert_eq!(kept.len(), 1 + REFUSED_MAX as usize);
        drop(kept);
        assert!(!all.admit(address(1)).unwrap().is_refused());
    }

    #[test]
    fn calls_are_limited_on_each_connection_and_by_caller_over_time() {
        let limits = Limits { calls_per_connection: 2, calls_per_second: 4, ..Limits::default() };
        let (all, clock) = connections(limits);
        let (one, two) = (all.admit(address(1)).unwrap(), all.admit(address(1)).unwrap());
        let calls = [one.call().unwrap(), one.call().unwrap()];
        assert_eq!(one.call().err(), Some(Over::Calls { most: 2 }));
        drop(calls);
        drop([two.call().unwrap(), one.call().unwrap()]);
        let Some(Over::CallsPerSecond { most: 4, wait }) = two.call().err() else { panic!("the bucket is empty") };
        assert_eq!(wait, Duration::from_millis(250));
        // Another caller has a bucket of its own; coming back on a new connection gives no new one.
        all.admit(address(2)).unwrap().call().unwrap();
        drop((one, two));
        let again = all.admit(address(1)).unwrap();
        assert!(again.call().is_err());
        clock.advance(wait);
        again.call().unwrap();
    }

    #[test]
    fn callers_that_have_gone_and_rested_are_forgotten() {
        let (all, clock) = connections(Limits { calls_per_second: 1, ..Limits::default() });
        let stays = all.admit(address(1)).unwrap();
        for n in 0..CALLERS_KEPT as u32 {
            all.admit(IpAddr::V4((0x0b00_0000 + n).into())).unwrap().call().unwrap();
        }
        assert_eq!(all.lock().len(), CALLERS_KEPT + 1);
        clock.advance(Duration::from_secs(2));
        all.admit(address(3)).unwrap();
        assert_eq!(all.lock().len(), 2);
        stays.call().unwrap();
    }

    #[test]
    fn a_host_with_many_addresses_is_one_caller() {
        let of = |text: &str| caller_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
