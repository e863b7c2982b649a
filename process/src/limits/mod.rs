//! What callers may ask for at once, so that one of them cannot take what all of them need.
//!
//! A caller is known by its address for now: the whole of an IPv4 address, the network half of an IPv6 address, since
//! whoever has one of those addresses has all of them. Everything about a caller hangs on [`Caller`], so that an
//! identity can take the address's place without a change elsewhere.

mod bucket;
mod connections;
mod room;

pub use connections::{Calling, Connection, Connections, Over};
pub use room::{Full, Place, Room};

use bucket::Bucket;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The limits by caller and connection. Their defaults are beyond what a well-behaved caller reaches.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Limits {
    /// Connections open at once; calls on further ones are refused with a hint when to come back.
    #[arg(long, env = "DIACHRON_CONNECTIONS", value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// Connections of one address among them.
    #[arg(long, env = "DIACHRON_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_address: u32,

    /// Calls open at once on one connection, streams included. A peer follows every database of its transactor over
    /// one connection and forwards all transactions over it.
    #[arg(long, env = "DIACHRON_CALLS_PER_CONNECTION", value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls_per_connection: u32,

    /// Calls a second of one caller, over time; for a moment it may make as many at once. 0: no limit.
    #[arg(long, env = "DIACHRON_CALLS_PER_SECOND", value_name = "COUNT", default_value_t = 50_000)]
    pub calls_per_second: u32,

    /// How much of the room for transactions on their way one caller may fill, in percent: of their bytes, and of
    /// their number.
    #[arg(long, env = "DIACHRON_CALLER_SHARE", value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub caller_share: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            connections_per_address: 1024,
            calls_per_connection: 4096,
            calls_per_second: 50_000,
            caller_share: 50,
        }
    }
}

/// Somebody who calls, and what he has of the process now.
pub struct Caller {
    address: IpAddr,
    connections: AtomicU32,
    /// Held for a few additions.
    bucket: Mutex<Bucket>,
    waiting_bytes: AtomicU64,
    waiting_count: AtomicU64,
}

impl Caller {
    /// The caller of a request; None in a test that calls a service directly.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Arc<Caller>> {
        request.extensions().get::<Arc<Connection>>().map(|connection| connection.caller().clone())
    }

    fn new(address: IpAddr, bucket: Bucket) -> Self {
        Caller {
            address,
            connections: AtomicU32::new(0),
            bucket: Mutex::new(bucket),
            waiting_bytes: AtomicU64::new(0),
            waiting_count: AtomicU64::new(0),
        }
    }

    /// As one address out of those that this caller has.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    fn take_from_bucket(&self, now: Duration) -> Result<(), Duration> {
        self.bucket.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take(now)
    }

    /// Whether it is, to us, as if it had never been here.
    fn is_forgotten(&self, now: Duration) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
            && self.waiting_count.load(Ordering::Relaxed) == 0
            && self.bucket.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_full(now)
    }
}

/// What stands for a caller at an address.
fn caller_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}
