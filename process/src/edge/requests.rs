//! Calls by method, counted where they end.

use super::Contract;
use crate::metrics::{Histogram, OTHERS, Readings, observe, unregistered_seconds};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Code;
use tonic::metadata::MetadataMap;

/// Error codes that have series of their own: more than there are, unless functions of users make them up.
const CODES_MAX: usize = 128;

/// What every server of ours serves beside its contract.
const OF_GRPC: [&str; 3] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// What is counted of a process's calls.
pub struct Requests {
    contract: Contract,
    /// By path: those of the contract, so that callers cannot invent series.
    methods: BTreeMap<String, Arc<Method>>,
    others: Arc<Method>,
    /// Refusals by the error's code. Held for one addition, on the way of a refused call only.
    codes: Mutex<BTreeMap<String, u64>>,
}

/// The calls of one method.
pub struct Method {
    name: String,
    open: AtomicI64,
    by_status: [AtomicU64; STATUSES.len()],
    seconds: Histogram,
}

/// gRPC's names, in the order of their numbers.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub fn status_name(code: Code) -> &'static str {
    STATUSES[code as usize]
}

impl Method {
    fn new(name: &str) -> Self {
        Method {
            name: name.to_owned(),
            open: AtomicI64::new(0),
            by_status: Default::default(),
            seconds: unregistered_seconds(),
        }
    }

    /// Service and method without the package, such as `Peer/Query`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn begun(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn was_called(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.by_status.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    pub fn ended(&self, code: Code, took: Duration) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.by_status[code as usize].fetch_add(1, Ordering::Relaxed);
        observe(&self.seconds, took);
    }
}

impl Requests {
    pub fn new(contract: Contract) -> Self {
        let paths = (contract.methods)().into_iter().chain(OF_GRPC.map(str::to_owned));
        let methods = paths.map(|path| {
            let method = Arc::new(Method::new(name(&path)));
            (path, method)
        });
        let others = Arc::new(Method::new(OTHERS));
        Requests { contract, methods: methods.collect(), others, codes: Mutex::default() }
    }

    /// The method of a path; a path of nobody's is one of the others.
    pub fn of(&self, path: &str) -> Arc<Method> {
        self.methods.get(path).unwrap_or(&self.others).clone()
    }

    /// Marks the metadata of an error with the call's id, and counts the error by its code.
    pub fn refused(&self, metadata: &mut MetadataMap, id: &str) {
        let Some(code) = (self.contract.correlate)(metadata, id) else { return };
        let mut codes = self.codes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = codes.contains_key(&code) || codes.len() < CODES_MAX;
        *codes.entry(if known { code } else { OTHERS.to_owned() }).or_default() += 1;
    }

    pub fn read(&self, readings: &mut Readings<'_>) {
        // A process serves a part of the contract.
        let methods = || self.methods.values().chain([&self.others]).filter(|method| method.was_called());
        readings.counters("requests", "Calls that have ended, by method and gRPC status", |one| {
            for method in methods() {
                for (status, count) in STATUSES.iter().zip(&method.by_status) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        one(&[("method", method.name()), ("status", status)], count);
                    }
                }
            }
        });
        readings.gauges("requests_open", "Calls being served, streams included, by method", |one| {
            for method in methods() {
                one(&[("method", method.name())], method.open.load(Ordering::Relaxed) as f64);
            }
        });
        readings.histograms("request_seconds", "From a call's arrival to its answer's end, by method", |one| {
            for method in methods() {
                one(&[("method", method.name())], &method.seconds);
            }
        });
        readings.counters("refusals", "Calls that ended in an error of ours, by its code", |one| {
            for (code, count) in self.codes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
                one(&[("code", code)], *count);
            }
        });
    }
}

/// Service and method without the package, such as `Peer/Query` for `/diachron.v1.Peer/Query`.
fn name(path: &str) -> &str {
    let method = path.rfind('/').unwrap_or(0);
    let service = path[..method].rfind(['.', '/']).map_or(0, |at| at + 1);
    &path[service..]
}
