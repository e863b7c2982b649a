//! The simulated network, as processes and clients are handed it.

use proto::MESSAGE_BYTES_MAX;
use proto::v1::peer_client::PeerClient;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// The name under which peers know the transactor. Whoever takes over takes it too, as a moved service address does.
pub const TRANSACTOR: &str = "transactor";
pub const PORT: u16 = 4334;

/// Connections accepted and not served yet.
const ACCEPTED_MAX: usize = 64;

/// Where names lead.
#[derive(Clone)]
pub struct Network {
    /// The host that [`TRANSACTOR`] stands for now.
    active: Arc<Mutex<&'static str>>,
}

impl Network {
    pub fn new(active: &'static str) -> Self {
        Network { active: Arc::new(Mutex::new(active)) }
    }

    pub fn active(&self) -> &'static str {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_active(&self, host: &'static str) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = host;
    }

    /// A client's way to a peer.
    pub fn peer(&self, host: &str) -> PeerClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{host}:{PORT}")).unwrap();
        let channel = process::Network::channel(self, process::keep_alive(endpoint));
        PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl process::Network for Network {
    async fn listen(&self, address: SocketAddr) -> process::Result<process::Listener> {
        let listener = turmoil::net::TcpListener::bind(address).await.map_err(process::Failure::new)?;
        let address = listener.local_addr().map_err(process::Failure::new)?;
        let (sender, accepted) = mpsc::channel(ACCEPTED_MAX);
        tokio::spawn(async move {
            loop {
                let connection = listener
                    .accept()
                    .await
                    .map(|(stream, remote)| process::Connection::new(stream, address, Some(remote)));
                if sender.send(connection).await.is_err() {
                    return;
                }
            }
        });
        Ok(process::Listener::new(address, ReceiverStream::new(accepted)))
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        let network = self.clone();
        process::channel_over(endpoint, move |uri| {
            let host = match uri.host().unwrap_or_default() {
                TRANSACTOR => network.active().to_owned(),
                host => host.to_owned(),
            };
            async move {
                let stream = turmoil::net::TcpStream::connect((host, PORT)).await?;
                let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
                Ok(process::Connection::new(stream, local, Some(remote)))
            }
        })
    }
}
