//! The method `Follow` over HTTP/2 without an encoder between the messages and the connection.
//!
//! Every other method of the service goes the generated way. That way copies each message for each caller; here what
//! is sent are the shared bytes themselves.

use super::Message;
use crate::service::transactor::TransactorService;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use process::Outgoing;
use proto::v1;
use proto::v1::transactor_server::TransactorServer;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::codec::{Codec, Streaming};
use tonic::codegen::{BoxFuture, Service, StdError, http, tokio_stream::Stream};
use tonic::server::NamedService;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/diachron.v1.Transactor/Follow";
const REQUEST_BYTES_MAX: usize = 4096;

/// The service `Transactor`, with a lane of its own for `Follow`.
#[derive(Clone)]
pub struct FollowLane {
    service: Arc<TransactorService>,
    others: TransactorServer<TransactorService>,
}

impl FollowLane {
    /// `others` serves the same service.
    pub fn new(service: Arc<TransactorService>, others: TransactorServer<TransactorService>) -> Self {
        FollowLane { service, others }
    }
}

impl NamedService for FollowLane {
    const NAME: &'static str = <TransactorServer<TransactorService> as NamedService>::NAME;
}

impl<B> Service<http::Request<B>> for FollowLane
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != PATH {
            return Service::call(&mut self.others, request);
        }
        let service = self.service.clone();
        Box::pin(async move {
            let response = match begin(&service, request).await {
                Ok(messages) => {
                    let mut response =
                        http::Response::new(tonic::body::Body::new(FollowBody { messages: Some(messages) }));
                    let grpc = http::HeaderValue::from_static("application/grpc");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
                    response
                }
                Err(status) => status.into_http(),
            };
            Ok(response)
        })
    }
}

async fn begin<B>(service: &TransactorService, request: http::Request<B>) -> Result<Outgoing<Message>, Status>
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let (metadata, extensions, body) = Request::from_http(request).into_parts();
    let decoder = ProstCodec::<(), v1::FollowRequest>::default().decoder();
    let mut asked = Streaming::new_request(decoder, body, None, Some(REQUEST_BYTES_MAX));
    let asked = asked.message().await?.ok_or_else(|| Status::internal("the request has no message"))?;
    service.messages(Request::from_parts(metadata, extensions, asked)).await
}

/// The stream as HTTP/2 carries it.
struct FollowBody {
    /// None after its end.
    messages: Option<Outgoing<Message>>,
}

impl Body for FollowBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
        let ended = match std::task::ready!(Pin::new(messages).poll_next(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message.wire().clone())))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.messages = None;
        let mut trailers = http::HeaderMap::new();
        ended.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}
