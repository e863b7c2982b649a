//! The edge of a process: what happens to every call before a service sees it, and to every answer on its way out.
//!
//! A call is held to the limits of its caller and connection, gets its correlation id and a span that its events
//! carry, and is counted when its answer has ended, whichever way it ended. Health checks are counted and not
//! limited: an overloaded process is not a dead one.

mod answer;
mod incoming;
mod requests;

pub use incoming::Incoming;
pub use requests::Requests;

use crate::correlation::{self, Ids};
use crate::limits::{Calling, Connection, Connections, Limits, Over};
use crate::log::info_span;
use crate::metrics::{self, Registry};
use crate::{Clock, Entropy};
use answer::{Answer, Ending};
use db::{Category, Error};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tracing::Instrument;

/// What a server must know of the wire contract, which this crate does not know.
#[derive(Clone, Copy)]
pub struct Contract {
    /// The encoded file descriptors that reflection shows.
    pub descriptors: &'static [u8],
    /// The paths of all methods, such as `/diachron.v1.Peer/Query`.
    pub methods: fn() -> Vec<String>,
    /// The status that tells a caller of an error.
    pub status: fn(&Error) -> Status,
    /// The detail of an error that says when to come back, in milliseconds.
    pub retry_after_ms: &'static str,
    /// Writes a correlation id into the metadata that tell of an error, and gives the error's code.
    pub correlate: fn(&mut MetadataMap, &str) -> Option<String>,
}

/// The edge of one process. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    pub(crate) contract: Contract,
    pub(crate) connections: Arc<Connections>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    requests: Arc<Requests>,
}

/// Calls of this service are not limited.
const HEALTH: &str = "/grpc.health.v1.Health/";

impl Edge {
    pub fn new(
        contract: Contract,
        limits: Limits,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        registry: &mut Registry,
    ) -> Edge {
        let connections = Connections::new(limits, clock.clone());
        let requests = Arc::new(Requests::new(contract));
        show(registry, connections.clone(), requests.clone());
        Edge { contract, connections, clock, ids: Arc::new(Ids::new(entropy)), requests }
    }

    /// Whether a call is within the limits of whoever makes it.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Option<Calling>, Over> {
        match request.extensions().get::<Arc<Connection>>() {
            Some(connection) if !request.uri().path().starts_with(HEALTH) => connection.call().map(Some),
            _ => Ok(None),
        }
    }

    fn refusal(&self, over: Over) -> http::Response<Body> {
        let retry_after_ms = over.retry_after().as_millis().max(1) as i64;
        let error = Error::new(Category::Busy, over.code(), over.message());
        (self.contract.status)(&error.with(self.contract.retry_after_ms, retry_after_ms)).into_http()
    }
}

/// Services behind the edge.
#[derive(Clone)]
pub(crate) struct Edged<S> {
    pub edge: Edge,
    pub services: S,
}

impl<S> Service<http::Request<Body>> for Edged<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let edge = &self.edge;
        let id = edge.ids.of(request.headers());
        let method = edge.requests.of(request.uri().path());
        let span = info_span!("request", method = method.name(), correlation_id = id.as_str());
        let ending = Ending::new(method, edge.requests.clone(), edge.clock.clone(), id.clone(), span.clone());
        match edge.admit(&request) {
            Err(over) => {
                let refusal = edge.refusal(over);
                Box::pin(std::future::ready(Ok(ending.answer(refusal, None))))
            }
            Ok(calling) => {
                let call = correlation::serve(id, self.services.call(request)).instrument(span);
                Box::pin(async move {
                    let response = call.await?;
                    Ok(ending.answer(response, calling))
                })
            }
        }
    }
}

fn show(registry: &mut Registry, connections: Arc<Connections>, requests: Arc<Requests>) {
    metrics::readings(registry, move |readings| {
        readings.gauge("connections", "Connections open within the limits", connections.open().into());
        readings.gauge("connections_max", "Connections that may be open", connections.open_max().into());
        requests.read(readings);
    });
}

#[cfg(test)]
mod tests;
