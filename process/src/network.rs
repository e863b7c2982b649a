//! The network, handed in: how a process is reached, and how it reaches others.

use crate::serve::KEEP_ALIVE_INTERVAL;
use crate::{Failure, Result};
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::{Stream, StreamExt};
use tonic::codegen::Service;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Uri};

#[tonic::async_trait]
pub trait Network: Send + Sync {
    /// Begins to listen; port 0 lets the network choose.
    async fn listen(&self, address: SocketAddr) -> Result<Listener>;

    /// A channel that connects when it is first used, and again when it broke.
    fn channel(&self, endpoint: Endpoint) -> Channel;

    /// Tells whoever started the process that it is ready, and where.
    fn announce(&self, _address: SocketAddr) {}
}

/// A socket that connections come from.
pub struct Listener {
    pub address: SocketAddr,
    incoming: Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>,
}

/// One connection, whatever carries it.
pub struct Connection {
    io: Pin<Box<dyn Duplex>>,
    info: TcpConnectInfo,
}

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// The operating system's.
pub struct Tcp;

#[tonic::async_trait]
impl Network for Tcp {
    async fn listen(&self, address: SocketAddr) -> Result<Listener> {
        let failed = |error: io::Error| {
            Failure::new(format!("cannot listen on {address}: {error}; choose another address with --listen"))
        };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEP_ALIVE_INTERVAL));
        let connected = move |accepted: io::Result<tokio::net::TcpStream>| {
            accepted.map(|stream| {
                let remote = stream.peer_addr().ok();
                Connection::new(stream, address, remote)
            })
        };
        Ok(Listener::new(address, incoming.map(connected)))
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_lazy()
    }

    fn announce(&self, address: SocketAddr) {
        let mut stdout = io::stdout().lock();
        // Whoever started us may have closed its end; that is no reason not to serve.
        let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    }
}

/// A channel over connections that something else than the operating system makes.
pub fn channel_over<F>(endpoint: Endpoint, connect: impl Fn(Uri) -> F + Send + 'static) -> Channel
where
    F: Future<Output = io::Result<Connection>> + Send + 'static,
{
    endpoint.connect_with_connector_lazy(Connector(connect))
}

struct Connector<C>(C);

impl<C, F> Service<Uri> for Connector<C>
where
    C: Fn(Uri) -> F,
    F: Future<Output = io::Result<Connection>> + Send + 'static,
{
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Connection>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = (self.0)(uri);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

impl Listener {
    pub fn new(address: SocketAddr, incoming: impl Stream<Item = io::Result<Connection>> + Send + 'static) -> Listener {
        Listener { address, incoming: Box::pin(incoming) }
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.as_mut().poll_next(context)
    }
}

impl Connection {
    pub fn new(
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        local: SocketAddr,
        remote: Option<SocketAddr>,
    ) -> Connection {
        let info = TcpConnectInfo { local_addr: Some(local), remote_addr: remote };
        Connection { io: Box::pin(io), info }
    }

    /// Who is at the other end, if the network knows.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.info.remote_addr
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
