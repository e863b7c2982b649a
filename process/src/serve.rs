//! The gRPC server in front of a process: health, reflection, keepalive, limits, and an end that always comes.

use crate::edge::{Edge, Edged, Incoming};
use crate::{Failure, Listener, Result, Shutdown, log};
use std::convert::Infallible;
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;

/// Calls that have not ended by themselves this long after the process was asked to stop are cut off.
pub const SERVER_STOP_MAX: Duration = Duration::from_secs(5);

/// Calls beyond those that a connection may have, which are taken in to be told so; more than these wait unsent.
const CALLS_REFUSED_AT_ONCE: u32 = 64;
/// Room for a large transaction or row batch without a round trip for each 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Streams that a client opens and resets at once, over and over, beyond which its connection is closed.
const PENDING_RESETS_MAX: usize = 20;
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client's side of the same settings: a connection that has gone silent is noticed within seconds.
pub fn keep_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(3))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEP_ALIVE_INTERVAL))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

/// What a process tells those who watch its health (`grpc.health.v1`). Cheap to clone.
#[derive(Clone)]
pub struct Health(tonic_health::server::HealthReporter);

impl Health {
    /// Says whether a service serves; the empty name stands for the process as a whole.
    pub async fn set(&self, service: &str, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.set_service_status(service, status).await;
    }
}

/// Services to be served, health and reflection among them.
pub struct Server {
    edge: Edge,
    routes: Routes,
    health: tonic_health::server::HealthReporter,
}

impl Server {
    /// A server behind an edge, through which every call goes.
    pub async fn new(edge: Edge) -> Result<Server> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(edge.contract.descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| Failure::new(format!("the contract's descriptors are broken: {error}")))?;
        let routes = Routes::new(health_service).add_service(reflection);
        Ok(Server { edge, routes, health })
    }

    /// Adds a service, healthy from now on.
    pub async fn with<S>(mut self, service: S) -> Server
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.health.set_serving::<S>().await;
        self.routes = self.routes.add_service(service);
        self
    }

    /// Who decides when a service is ready says it here.
    pub fn health(&self) -> Health {
        Health(self.health.clone())
    }

    /// Serves until the process is asked to stop, and at most [`SERVER_STOP_MAX`] longer.
    ///
    /// Streams that would go on for ever must end by themselves when asked; the limit is for those that cannot.
    pub async fn serve(self, listener: Listener, shutdown: Shutdown) -> Result<()> {
        let calls_max = self.edge.connections.calls_per_connection_max();
        let incoming = Incoming::new(listener, self.edge.connections.clone());
        let services = Edged { edge: self.edge, services: self.routes.prepare() };
        let asked = shutdown.clone();
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .max_concurrent_streams(Some(calls_max.saturating_add(CALLS_REFUSED_AT_ONCE)))
            .initial_stream_window_size(Some(STREAM_WINDOW_BYTES))
            .initial_connection_window_size(Some(CONNECTION_WINDOW_BYTES))
            .http2_max_header_list_size(Some(HEADER_BYTES_MAX))
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
            .serve_with_incoming_shutdown(services, incoming, async move { asked.asked().await });
        let too_late = async {
            shutdown.asked().await;
            tokio::time::sleep(SERVER_STOP_MAX).await;
        };
        tokio::select! {
            biased;
            ended = serving => ended.map_err(|error| Failure::new(format!("the server failed: {error}"))),
            () = too_late => {
                log::warn!("calls still open after {SERVER_STOP_MAX:?} were cut off");
                Ok(())
            }
        }
    }
}
