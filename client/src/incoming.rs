//! Answers that come as streams of messages.

use crate::Client;
use crate::attempts::{Attempts, CUT_OFF, Deadline};
use db::{Error, Result};
use proto::v1::peer_client::PeerClient;
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// The messages of one answer, as long as the call may take.
pub(crate) struct Incoming<M> {
    stream: Streaming<M>,
    deadline: Deadline,
}

impl<M> Incoming<M> {
    pub(crate) fn new(stream: Streaming<M>, deadline: Deadline) -> Incoming<M> {
        Incoming { stream, deadline }
    }

    /// The next message; None where the peer ended the stream without an error.
    pub(crate) async fn next(&mut self) -> Result<Option<M>> {
        self.deadline.of(self.stream.message()).await.map_err(|status| proto::error(&status))
    }
}

impl Client {
    /// Makes a call whose answer has a head, until the first message is there.
    pub(crate) async fn begin<Q, M, F>(
        &self,
        attempts: &mut Attempts<'_>,
        request: impl Fn(usize) -> Q,
        send: impl Fn(PeerClient<Channel>, Request<Q>) -> F,
    ) -> Result<(M, Incoming<M>)>
    where
        F: Future<Output = Result<Response<Streaming<M>>, Status>>,
    {
        loop {
            match begin_once(attempts, &request, &send).await {
                Ok(begun) => {
                    attempts.answered();
                    return Ok(begun);
                }
                Err(error) => attempts.again(error).await?,
            }
        }
    }
}

async fn begin_once<Q, M, F>(
    attempts: &Attempts<'_>,
    request: impl Fn(usize) -> Q,
    send: impl Fn(PeerClient<Channel>, Request<Q>) -> F,
) -> Result<(M, Incoming<M>)>
where
    F: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let (peer, at) = attempts.peer();
    let deadline = attempts.deadline();
    let answer = deadline.of(send(peer.client(), deadline.on(request(at)))).await;
    let stream = answer.map_err(|status| proto::error(&status))?.into_inner();
    let mut incoming = Incoming::new(stream, deadline);
    let first = incoming.next().await?.ok_or_else(cut_off)?;
    Ok((first, incoming))
}

pub(crate) fn cut_off() -> Error {
    Error::interrupted(CUT_OFF, "the answer was cut off before its end")
}
