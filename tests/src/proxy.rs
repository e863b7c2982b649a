//! A line between two processes that can be held, cut and slowed.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const CHUNK_BYTES: usize = 64 << 10;

/// Forwards connections to one address, as its line allows. It ends with the test's runtime.
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Bytes go through, each chunk after a while.
    Open(Duration),
    /// Connections are accepted and stay, and nothing goes through either way: nobody is told.
    Held,
    /// Connections end, and new ones at once.
    Cut,
}

impl Proxy {
    /// A line to `to`, as in `127.0.0.1:4334`.
    pub async fn start(to: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (line, seen) = watch::channel(Line::Open(Duration::ZERO));
        let to = to.to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, to.clone(), seen.clone()));
            }
        });
        Proxy { address, line }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is on its way stays on its way, and so does all that comes, until the line is opened.
    pub fn hold(&self) {
        self.line.send_replace(Line::Held);
    }

    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    pub fn open(&self) {
        self.slow(Duration::ZERO);
    }

    /// Every chunk takes so much longer.
    pub fn slow(&self, delay: Duration) {
        self.line.send_replace(Line::Open(delay));
    }
}

/// Carries one connection until either side ends it or the line is cut. An end is handed on as an end.
async fn carry(near: TcpStream, to: String, mut line: watch::Receiver<Line>) {
    let Some(_) = delay(&mut line).await else { return };
    let Ok(far) = TcpStream::connect(&to).await else { return };
    // A failure to set this is one to send soon, no more.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::join!(pump(near_read, far_write, line.clone()), pump(far_read, near_write, line));
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            () = cut(line.clone()) => return,
        };
        let Some(delay) = delay(&mut line).await else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until the line is not held; None when it is cut.
async fn delay(line: &mut watch::Receiver<Line>) -> Option<Duration> {
    // An error means that the proxy is gone, and with it its line.
    match *line.wait_for(|line| *line != Line::Held).await.ok()? {
        Line::Open(delay) => Some(delay),
        Line::Held | Line::Cut => None,
    }
}

async fn cut(mut line: watch::Receiver<Line>) {
    let _ = line.wait_for(|line| *line == Line::Cut).await;
}
