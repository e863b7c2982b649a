//! Reports of transactions, resumed again and again: every t once, in order, whole.
//!
//! Writers add transactions, small ones and now and then one of thousands of facts, while a listener hears of each. It
//! loses its connection, its peer, its transactor, at random moments, and goes on at whatever peer is there with the t
//! it has. What it heard must be what the log holds, piece for piece.

use diachron_tests::{Client, Flock, PATIENCE, Program, seed};
use process::{Entropy, SeededEntropy};
use proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Request, Status, Streaming};

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
const FAULTS: usize = 24;
const WRITERS: usize = 3;

/// What was heard so far.
#[derive(Default)]
struct Heard {
    whole: Vec<v1::LogTransaction>,
    /// A transaction whose last piece has not come.
    begun: Option<v1::LogTransaction>,
}

impl Heard {
    fn t(&self) -> u64 {
        self.whole.last().map_or(0, |last| last.t)
    }

    fn hear(&mut self, message: v1::TxReportsResponse) {
        for piece in message.transactions {
            let transaction = match self.begun.take() {
                Some(mut begun) => {
                    assert_eq!(begun.t, piece.t, "a transaction's pieces follow each other");
                    begun.datoms.extend(piece.datoms);
                    begun.tempids.extend(piece.tempids);
                    begun.continues = piece.continues;
                    begun
                }
                None => piece,
            };
            assert_eq!(transaction.t, self.t() + 1, "every t once, in order");
            if transaction.continues {
                self.begun = Some(transaction);
            } else {
                self.whole.push(transaction);
            }
        }
        if let Some(heartbeat) = message.heartbeat {
            assert!(heartbeat.basis_t <= self.t() && self.begun.is_none(), "nothing is kept back in silence");
        }
    }
}

async fn listen(client: &mut Client, after_t: u64) -> Result<Streaming<v1::TxReportsResponse>, Status> {
    let request = v1::TxReportsRequest { database: "items".into(), after_t, ..Default::default() };
    client.peer.tx_reports(request).await.map(tonic::Response::into_inner)
}

async fn write(mut client: Client, number: usize, done: Arc<AtomicBool>) {
    for n in 0.. {
        if done.load(Ordering::SeqCst) {
            return;
        }
        // Now and then more than fits into one message.
        let facts = if n % 40 == 0 { 3000 } else { 1 };
        let tx_data: String = (0..facts).map(|fact| format!("{{:db/id \"{fact}\" :item/n {number}}}")).collect();
        // One that failed may have been committed or not; the log tells in the end.
        let _ = client.transact_directly("items", &format!("[{tx_data}]")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_is_heard_once_and_in_order_whatever_breaks() {
    let random = SeededEntropy::new(seed());
    let mut flock = Flock::start();
    let mut peers: Vec<Program> = vec![flock.start_peer(), flock.start_peer()];
    let mut client = flock.client(&peers[0]).await;
    client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(write(Client::connect(&flock.transactor_url()).await, number, done.clone()));
    }
    let mut heard = Heard::default();
    let mut faults = 0;
    while faults < FAULTS {
        let mut listener = flock.client(&peers[below(&random, peers.len())]).await;
        // A transaction of which only a part was heard is heard again.
        heard.begun = None;
        let Ok(mut stream) = listen(&mut listener, heard.t()).await else { continue };
        let goal = heard.t() + 1 + below(&random, 40) as u64;
        let broken = loop {
            match stream.message().await {
                Ok(Some(message)) => heard.hear(message),
                Ok(None) => panic!("reports have no end"),
                Err(_) => break true,
            }
            if heard.t() >= goal {
                break false;
            }
        };
        if broken {
            continue;
        }
        faults += 1;
        match below(&random, 4) {
            // The connection, in the middle of whatever is on its way.
            0 => drop(stream),
            // The peer; another one takes its place.
            1 | 2 => {
                peers.swap_remove(below(&random, peers.len())).kill();
                peers.push(flock.start_peer());
            }
            _ => {
                flock.take_transactor().kill();
                flock.restart_transactor();
            }
        }
    }
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    // The rest, from both peers at once.
    let newest = flock.client(&peers[0]).await.sync("items", None).await.unwrap();
    let before = heard.t();
    let mut logs = Vec::new();
    for peer in &peers {
        let mut client = flock.client(peer).await;
        let mut rest = Heard { whole: heard.whole.clone(), begun: None };
        let mut stream = listen(&mut client, before).await.unwrap();
        while rest.t() < newest {
            rest.hear(stream.message().await.unwrap().unwrap());
        }
        assert_eq!(rest.t(), newest);
        logs.push((rest.whole, client.log("items").await.unwrap()));
    }
    println!("{newest} transactions over {FAULTS} faults");
    for (heard, log) in logs {
        assert!(heard == log, "what was heard is what the log holds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_told_and_a_caller_ahead_of_the_peer_waits() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    let info = client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let mut stream = listen(&mut client, 0).await.unwrap();
    let head = stream.message().await.unwrap().unwrap().head.unwrap();
    assert_eq!((head.basis_t, head.database.unwrap().id), (1, info.id.clone()));
    assert_eq!(stream.message().await.unwrap().unwrap().transactions[0].t, 1);
    let heartbeat = stream.message().await.unwrap().unwrap().heartbeat.unwrap();
    assert_eq!((heartbeat.basis_t, heartbeat.state), (1, v1::FollowState::Following as i32));

    // As after coming from another peer, which knows more.
    let mut ahead = listen(&mut client, 2).await.unwrap();
    ahead.message().await.unwrap().unwrap().head.unwrap();
    for n in 0..2 {
        client.transact("items", &format!("[{{:item/n {n}}}]")).await.unwrap();
    }
    let next = loop {
        let message = ahead.message().await.unwrap().unwrap();
        if let Some(first) = message.transactions.into_iter().next() {
            break first;
        }
    };
    assert_eq!(next.t, 3);

    let mut request = Request::new(v1::TxReportsRequest { database: "items".into(), ..Default::default() });
    request.set_timeout(PATIENCE);
    request.get_mut().database_id = vec![1; 16].into();
    let refused = proto::error(&client.peer.tx_reports(request).await.unwrap_err());
    assert_eq!(refused.code(), "db.error/other-database");
    // A peer that stops says so; it does not wait for its listeners.
    let (status, took) = peer.terminate();
    assert!(status.success() && took < std::time::Duration::from_secs(4), "{status:?} after {took:?}");
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("reports have no end"),
            Err(status) => break status,
        }
    };
    assert_eq!(proto::error(&ended).category(), db::Category::Unavailable, "{ended:?}");
}

fn below(random: &SeededEntropy, end: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    (u64::from_le_bytes(bytes) % end as u64) as usize
}
