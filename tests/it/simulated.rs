//! The transactor and a peer, whole, as tasks of one runtime on a simulated network: same seed, same course.

use process::supervisor::Failpoints;
use process::{Connection, Executor, Failure, Listener, Network, SeededEntropy, Shutdown, TimerClock, World};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::MemoryStore;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

struct Simulated;

#[tonic::async_trait]
impl Network for Simulated {
    async fn listen(&self, address: SocketAddr) -> process::Result<Listener> {
        let listener = turmoil::net::TcpListener::bind(address).await.map_err(Failure::new)?;
        let address = listener.local_addr().map_err(Failure::new)?;
        let (sender, incoming) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                if sender.send(Ok(Connection::new(stream, address, Some(remote)))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Listener::new(address, ReceiverStream::new(incoming)))
    }

    fn channel(&self, endpoint: Endpoint) -> Channel {
        process::channel_over(endpoint, |uri| async move {
            let to = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(80));
            let stream = turmoil::net::TcpStream::connect(to).await?;
            let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
            Ok(Connection::new(stream, local, Some(remote)))
        })
    }
}

fn world(seed: u64) -> World {
    World {
        clock: Arc::new(TimerClock::starting_at(db::Instant(1_000_000_000_000))),
        entropy: Arc::new(SeededEntropy::new(seed)),
        network: Arc::new(Simulated),
        executor: Executor::OneRuntime,
        failpoints: Failpoints::default(),
    }
}

fn everywhere(port: u16) -> String {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).to_string()
}

/// Transactions through a peer, with the connection to the transactor cut in the middle; what was answered, in order.
fn course(seed: u64) -> Vec<String> {
    use clap::Parser;
    let mut sim = turmoil::Builder::new().rng_seed(seed).simulation_duration(Duration::from_secs(120)).build();
    let memory = Arc::new(MemoryStore::new(storage::Options::default()));
    sim.host("transactor", move || {
        let store = memory.store();
        async move {
            let config = transactor::Config::parse_from(["t", "--store", "memory:", "--listen", &everywhere(4334)]);
            let (trigger, shutdown) = Shutdown::new();
            transactor::run_on(config, store.journal(), store.segments(), world(seed), trigger, shutdown).await?;
            Ok(())
        }
    });
    sim.host("peer", move || async move {
        let config = peer::Config::parse_from([
            "p",
            "--transactor",
            "http://transactor:4334",
            "--listen",
            &everywhere(4335),
            "--threads",
            "2",
        ]);
        let (trigger, shutdown) = Shutdown::new();
        peer::run(config, world(seed + 1), trigger, shutdown).await?;
        Ok(())
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    sim.client("client", async move {
        let channel = Simulated.channel(Endpoint::from_static("http://peer:4335"));
        let mut client = PeerClient::new(channel);
        let started = tokio::time::Instant::now();
        let say = |what: String| tell.lock().unwrap().push(format!("{:?}: {what}", started.elapsed()));
        let patient = |message| {
            let mut request = tonic::Request::new(message);
            request.set_timeout(Duration::from_secs(5));
            request
        };
        while let Err(status) = client.create_database(v1::CreateDatabaseRequest { name: "items".into() }).await {
            say(status.message().to_owned());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut acknowledged = 0;
        for n in 0..20 {
            match n {
                5 => turmoil::partition("peer", "transactor"),
                8 => turmoil::repair("peer", "transactor"),
                _ => {}
            }
            let tx_data = "[{:db/doc \"item\"}]".to_owned();
            let request = v1::TransactRequest { database: "items".into(), tx_data, ..Default::default() };
            match client.transact(patient(request)).await {
                Ok(answer) => {
                    acknowledged += 1;
                    say(format!("t {}", answer.into_inner().t));
                }
                Err(status) => say(format!("{}: {}", status.code(), status.message())),
            }
        }
        assert!(acknowledged >= 15, "{acknowledged} of 20 were acknowledged");
        // The peer comes to know all of them.
        let answer = client.sync(v1::SyncRequest { database: "items".into(), t: None }).await?.into_inner();
        assert!(answer.basis_t >= acknowledged);
        say(format!("basis {}", answer.basis_t));
        Ok(())
    });
    sim.run().unwrap();
    // Whatever else of the simulation holds it is gone.
    drop(sim);
    Arc::into_inner(told).unwrap().into_inner().unwrap()
}

#[test]
fn a_flock_runs_on_a_simulated_network_and_the_same_seed_is_the_same_course() {
    let first = course(7);
    println!("{}", first.join("\n"));
    assert!(first.last().unwrap().contains("basis"));
    assert_eq!(first, course(7));
}
