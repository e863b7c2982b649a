//! An answer on its way out: marked with the call's id, and noticed when it has ended.

use super::Requests;
use super::requests::{Method, status_name};
use crate::limits::Calling;
use crate::log::{Span, debug, error, warn};
use crate::{Clock, correlation};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Waits for a call's end, which is that of its answer, or that of the wait for one.
pub struct Ending {
    method: Arc<Method>,
    requests: Arc<Requests>,
    clock: Arc<dyn Clock>,
    begun: Duration,
    id: correlation::Id,
    span: Span,
    /// How the call ended; a caller who goes away before the end has cancelled it.
    code: Code,
}

/// An answer's body.
pub struct Answer {
    body: Body,
    ending: Ending,
    _calling: Option<Calling>,
}

impl Ending {
    pub fn new(
        method: Arc<Method>,
        requests: Arc<Requests>,
        clock: Arc<dyn Clock>,
        id: correlation::Id,
        span: Span,
    ) -> Self {
        method.begun();
        let begun = clock.since_boot();
        Ending { method, requests, clock, begun, id, span, code: Code::Cancelled }
    }

    /// The answer as it goes out. The call is open until it has gone.
    pub fn answer(mut self, response: Response<Body>, calling: Option<Calling>) -> Response<Answer> {
        let (mut parts, body) = response.into_parts();
        // An error before the first message is all in the headers.
        self.hear(&mut parts.headers);
        if let Ok(value) = HeaderValue::from_str(self.id.as_str()) {
            parts.headers.insert(correlation::KEY, value);
        }
        Response::from_parts(parts, Answer { body, ending: self, _calling: calling })
    }

    /// Looks for the call's status in headers or trailers, and marks those of an error.
    fn hear(&mut self, headers: &mut HeaderMap) {
        let Some(status) = headers.get(Status::GRPC_STATUS) else { return };
        self.code = Code::from_bytes(status.as_bytes());
        if self.code == Code::Ok {
            return;
        }
        // Our own faults are an operator's business; what callers did wrong is theirs, and quotes their data.
        match (self.code, Status::from_header_map(headers)) {
            (Code::Internal | Code::DataLoss, Some(status)) => {
                self.span.in_scope(|| error!(status = status_name(self.code), "a call failed: {}", status.message()));
            }
            (Code::Unknown, _) => self.span.in_scope(|| warn!("a call ended with its outcome unknown")),
            _ => {}
        }
        let mut metadata = MetadataMap::from_headers(std::mem::take(headers));
        self.requests.refused(&mut metadata, self.id.as_str());
        if let Ok(value) = self.id.as_str().parse() {
            metadata.insert(correlation::KEY, value);
        }
        *headers = metadata.into_headers();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let took = self.clock.since_boot().saturating_sub(self.begun);
        self.method.ended(self.code, took);
        self.span.in_scope(|| debug!(status = status_name(self.code), took_us = took.as_micros() as u64, "answered"));
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Answer { body, ending, .. } = &mut *self;
        let span = ending.span.clone();
        let _entered = span.enter();
        let mut frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            ending.hear(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
