//! A store as processes use it: opened from a URL, shown to others over the network, and reached over it.
//!
//! `storage` knows bytes and where they live, and neither the network nor our errors. What lies between it and the
//! processes is here: [`open`] knows all kinds of stores, those at the other end of a connection among them ([`net`]);
//! [`reading`] and [`writing`] are the services that show a store; [`log`] reads logs of which parts are in a tree;
//! [`past`] what a fork shares with its origin too, [`trees`] what index records name; [`verification`] holds all of it
//! against itself; [`catalogue`] is which databases it holds;
//! [`errors`] is what callers hear of it. It runs nothing by itself, and judges no step.

pub mod catalogue;
pub mod errors;
pub mod log;
pub mod net;
pub mod past;
pub mod reading;
pub mod trees;
pub mod verification;
pub mod wire;
pub mod writing;

use storage::{Error, ErrorKind, Options, Result, Store};

/// Opens the store that `url` names: `sled:DIR` and `memory:` as [`storage::open`] does, and `net:http://HOST:PORT`,
/// which a storage process serves there. Blocks; for `net:` until somebody answers, or nobody did for long.
pub fn open(url: &str, options: Options) -> Result<Store> {
    match url.split_once(':') {
        Some(("net", address)) => net::open(address),
        Some(("sled" | "memory", _)) => storage::open(url, options),
        _ => {
            let message = format!("store URL {url:?} names no store; use sled:DIR, net:http://HOST:PORT or memory:");
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}
