//! Connections as they are accepted.

use crate::limits::{Connection, Connections};
use crate::log::warn;
use crate::{Listener, network};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// After an accept that failed, most likely for want of file descriptors: how long until the next.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection over a limit is kept, for its calls to be told so.
const REFUSED_KEPT: Duration = Duration::from_secs(2);

/// The connections of a listener that are to be served.
pub struct Incoming {
    listener: Listener,
    connections: Arc<Connections>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection, which knows whose it is.
pub struct Stranger {
    io: network::Connection,
    connection: Arc<Connection>,
    /// When one over a limit ends.
    end: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub fn new(listener: Listener, connections: Arc<Connections>) -> Self {
        Incoming { listener, connections, pause: None }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Stranger>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Stranger>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.listener).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Ok(io)) => {
                    // A network that does not know who calls has one caller.
                    let address = io.remote().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |remote| remote.ip());
                    // Closed when there is no place even for being told.
                    let Some(connection) = self.connections.admit(address) else { continue };
                    let end = connection.is_refused().then(|| Box::pin(sleep(REFUSED_KEPT)));
                    return Poll::Ready(Some(Ok(Stranger { io, connection, end })));
                }
                Some(Err(error)) => {
                    let theirs = matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
                    );
                    if !theirs {
                        warn!(%error, "a connection could not be accepted; trying again in {PAUSE:?}");
                        self.pause = Some(Box::pin(sleep(PAUSE)));
                    }
                }
            }
        }
    }
}

impl Connected for Stranger {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        self.connection.clone()
    }
}

impl AsyncRead for Stranger {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            // As if the caller had closed it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buf)
    }
}

impl AsyncWrite for Stranger {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
