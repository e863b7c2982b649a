//! The metrics endpoint: `GET /metrics` over HTTP/1.1, for Prometheus and its like.
//!
//! It is small on purpose: one request a connection, few connections, short times. It says nothing but the metrics,
//! and has no authentication: it belongs on loopback or on a network of operators.

use crate::metrics::{self, Options, Registry};
use crate::supervisor::{Actor, Child, Ends, Group, Panics, Runs, Spent, Strategy};
use crate::{Crew, Executor, Failpoint, Failure, Result, Shutdown, log};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8;
/// For the request's head, and for the whole connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 32;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A group of its own in every process's tree: what the process is for goes on without it.
pub static METRICS_GROUP: Group = Group {
    name: "metrics-endpoint",
    strategy: Strategy::OneForOne,
    spent: Spent::Stop,
    children: &[Child::Actor(&METRICS)],
};

pub static METRICS: Actor = Actor {
    name: "metrics",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again on the same socket, one scrape is lost; with its own restarts used up it stays down, and the \
             process goes on without metrics",
};

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds the endpoint's socket and says where it is; None when metrics are off.
pub async fn bind(options: &Options) -> Result<Option<TcpListener>> {
    let Some(address) = options.metrics_listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!(
            "cannot serve metrics on {address}: {error}; choose another address with --metrics-listen"
        ))
    })?;
    let bound = listener.local_addr().map_err(Failure::new)?;
    log::info!(address = %bound, "metrics are served");
    Ok(Some(listener))
}

/// Serves metrics as an actor of the crew, whose tree has [`METRICS_GROUP`], until the process stops.
pub fn start(crew: &Crew, listener: TcpListener, registry: Registry) -> Result<()> {
    let endpoint = Arc::new(Endpoint {
        listener,
        registry: Arc::new(registry),
        executor: crew.executor(),
        shutdown: crew.shutdown().clone(),
    });
    crew.start(&METRICS, "", move |point| endpoint.clone().run(point)).map(drop)
}

struct Endpoint {
    listener: TcpListener,
    registry: Arc<Registry>,
    executor: Executor,
    shutdown: Shutdown,
}

impl Endpoint {
    async fn run(self: Arc<Self>, point: Failpoint) -> Result<()> {
        tokio::select! {
            biased;
            () = self.shutdown.asked() => Ok(()),
            never = self.serve(point) => match never {},
        }
    }

    /// Each connection is answered by a task that ends within [`CONNECTION_TIME_MAX`]; whatever happens to it is between
    /// it and its caller.
    async fn serve(&self, point: Failpoint) -> Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes it");
            match self.listener.accept().await {
                Ok((connection, _)) => {
                    point.pass();
                    let answering = answer(connection, self.registry.clone(), self.shutdown.clone());
                    self.executor.task(async move {
                        answering.await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

async fn answer(connection: TcpStream, registry: Arc<Registry>, shutdown: Shutdown) {
    let service = service_fn(move |request| {
        let answered = respond(&request, &registry);
        async move { Ok::<_, Infallible>(answered) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false);
    tokio::select! {
        // What went wrong is between the two of them, and the connection is closed.
        _ = http.serve_connection(TokioIo::new(connection), service) => {}
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
        () = shutdown.asked() => {}
    }
}

fn respond(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics::text(registry)),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "give GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there is only /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let content_type = if status == StatusCode::OK { TEXT } else { "text/plain; charset=utf-8" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failpoints, Restarts, World};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that refuses a request before it has read it all may reset the connection after its answer.
        let _ = connection.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_and_nothing_else_is() {
        let mut registry = metrics::registry();
        metrics::counter(&mut registry, "done", "Done").inc_by(3);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = Shutdown::new();
        let world = World { failpoints: Failpoints::parse("metrics=panic(1)").unwrap(), ..World::system().unwrap() };
        let (crew, mut supervisor) = Crew::new(&METRICS_GROUP, Restarts::default(), &world, shutdown);
        start(&crew, listener, registry).unwrap();
        let supervising = tokio::spawn(async move { supervisor.run().await });

        assert_eq!(ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await, "", "the first scrape is lost");

        let shown = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}");
        assert!(shown.contains(&format!("content-type: {TEXT}\r\n")), "{shown}");
        assert!(shown.ends_with("diachron_done_total 3\n# EOF\n"), "{shown}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
            (&format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX)), "431"),
            ("nonsense\r\n\r\n", "400"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }

        // Connections that say nothing hold their places, and no more than those, for a time.
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut waiting = Box::pin(ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
        // Many turns, in any few of which it would be served if there were a place.
        for _ in 0..1000 {
            tokio::select! {
                biased;
                answer = &mut waiting => panic!("one connection too many was served: {answer}"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(silent);
        assert!(waiting.await.contains("diachron_done_total 3"));

        trigger.ask();
        // Nobody accepts any more, and the socket is closed when the actor is let go.
        supervising.abort();
    }
}
