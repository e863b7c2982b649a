//! A transactor behind a bad line: what peers say goes through as it is, and of what they hear a message is left
//! out now and then.
//!
//! It works on gRPC messages of any method, so that it needs no change when the contract grows.

use bytes::{Buf, Bytes, BytesMut};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};

/// Every `n`th message of a `Follow` stream that carries records is lost, as many times as told.
#[derive(Clone)]
pub struct Losses {
    every: u64,
    seen: Arc<AtomicU64>,
    left: Arc<AtomicU64>,
}

/// A server that passes calls on. Ends when dropped.
pub struct Lossy {
    url: String,
    losses: Losses,
    serving: tokio::task::JoinHandle<()>,
}

impl Lossy {
    /// In front of a transactor.
    pub async fn start(transactor: &str, every: u64, losses_max: u64) -> Lossy {
        let endpoint = Endpoint::from_shared(transactor.to_owned()).expect("a program says a URL");
        let losses = Losses { every, seen: Arc::default(), left: Arc::new(AtomicU64::new(losses_max)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let channel = process::keep_alive(endpoint).connect_lazy();
        let router = tonic::transport::Server::builder()
            .add_service(Pass::<TRANSACTOR> { channel: channel.clone(), losses: losses.clone() })
            .add_service(Pass::<STORAGE> { channel, losses: losses.clone() });
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let serving = tokio::spawn(async move {
            let _ = router.serve_with_incoming(incoming).await;
        });
        Lossy { url, losses, serving }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Messages lost so far that were to be lost.
    pub fn losses_left(&self) -> u64 {
        self.losses.left.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes on the calls of one service.
#[derive(Clone)]
struct Pass<const SERVICE: u8> {
    channel: Channel,
    losses: Losses,
}

const TRANSACTOR: u8 = 0;
const STORAGE: u8 = 1;

impl NamedService for Pass<TRANSACTOR> {
    const NAME: &'static str = "diachron.v1.Transactor";
}

impl NamedService for Pass<STORAGE> {
    const NAME: &'static str = "diachron.v1.Storage";
}

impl<const SERVICE: u8> Service<Request<Body>> for Pass<SERVICE> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut channel, losses) = (self.channel.clone(), self.losses.clone());
        Box::pin(async move {
            let follows = request.uri().path().ends_with("/Follow");
            let answered = async {
                std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            };
            Ok(match answered.await {
                Ok(response) if follows => {
                    response.map(|body| Body::new(Thinned { body, rest: BytesMut::new(), losses }))
                }
                Ok(response) => response,
                Err(error) => tonic::Status::unavailable(error.to_string()).into_http(),
            })
        })
    }
}

/// A body whose messages are looked at one by one.
struct Thinned {
    body: Body,
    rest: BytesMut,
    losses: Losses,
}

impl Thinned {
    /// The whole messages that have come, without those that are lost.
    fn messages(&mut self) -> Bytes {
        let mut passed = BytesMut::new();
        while self.rest.len() >= PREFIX_BYTES {
            let length = (&self.rest[1..PREFIX_BYTES]).get_u32() as usize;
            if self.rest.len() < PREFIX_BYTES + length {
                break;
            }
            let message = self.rest.split_to(PREFIX_BYTES + length);
            // The field of frames comes first in a message that carries records; a heartbeat has none.
            let has_records = message.get(PREFIX_BYTES) == Some(&0x0a);
            if !(has_records && self.losses.takes_one()) {
                passed.extend_from_slice(&message);
            }
        }
        passed.freeze()
    }
}

/// Whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

impl Losses {
    fn takes_one(&self) -> bool {
        (self.seen.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.every)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl http_body::Body for Thinned {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.rest.extend_from_slice(&data);
                        let messages = self.messages();
                        if !messages.is_empty() {
                            return Poll::Ready(Some(Ok(http_body::Frame::data(messages))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
    }
}
