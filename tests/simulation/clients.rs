//! Those who use the flock: writers who read what they wrote, one who watches the peers, one who judges at the end.

use crate::flock::{DATABASE, Flock, PEERS, Phase};
use crate::history::{Log, OPERATION, Outcome, elapsed};
use db::edn::Edn;
use db::{Category, Error};
use proto::v1;
use proto::v1::peer_client::PeerClient;
use proto::v1::query_input::Kind;
use std::collections::BTreeMap;
use std::time::Duration;
use storage::conformance::Dice;
use tokio::time::{sleep, timeout};
use tonic::Request;
use tonic::transport::Channel;

const SCHEMA: &str = "[{:db/ident :op/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";

pub const WRITERS: [&str; 2] = ["writer-1", "writer-2"];

/// What a client waits for one call.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the flock may take to come together when nothing is in its way any more.
const HEALING_MAX: Duration = Duration::from_secs(30);

/// Makes the database and its schema, before anything goes wrong.
pub async fn set_up(flock: Flock) -> turmoil::Result {
    let mut peer = flock.network.peer(PEERS[0]);
    let info = loop {
        let request = within(v1::CreateDatabaseRequest { name: DATABASE.into() });
        match peer.create_database(request).await {
            Ok(answer) => break answer.into_inner().database.expect("a created database is told"),
            // The flock is still starting.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    flock.set_database(info.id[..].try_into()?);
    transact(&mut peer, SCHEMA.to_owned()).await.map_err(|error| error.to_string())?;
    flock.history.tell(elapsed(), "the database is made");
    flock.set_phase(Phase::Working);
    Ok(())
}

/// Adds operations by one peer, and reads each that was acknowledged there and, knowing its t, at the other.
pub async fn write(flock: Flock, name: &'static str, home: usize) -> turmoil::Result {
    reached(&flock, Phase::Working).await;
    let mut dice = Dice::new(flock.seed ^ name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte)));
    let mut peers = PEERS.map(|host| flock.network.peer(host));
    let mut number = 0;
    while flock.phase() == Phase::Working {
        number += 1;
        let operation = format!("{name}-{number}");
        let at = (home + usize::from(dice.below(8) == 0)) % PEERS.len();
        let tx_data = format!("[{{:op/id \"{OPERATION}{operation}\"}}]");
        let answered = transact(&mut peers[at], tx_data).await;
        let outcome = match &answered {
            Ok(response) => Outcome::Acknowledged(response.t),
            Err(error) => outcome(error),
        };
        flock.history.note(&operation, &outcome);
        match answered {
            Ok(v1::TransactResponse { t, record_seq, record_hash, not_yet_visible, .. }) => {
                let late = if not_yet_visible { ", not yet visible" } else { "" };
                let hash = hex(&record_hash);
                let told = format!("{operation} by {}: t {t}, record {record_seq} {hash}{late}", PEERS[at]);
                flock.history.tell(elapsed(), told);
                let least_t = if not_yet_visible { t } else { 0 };
                read_back(&flock, &mut peers[at], PEERS[at], &operation, least_t, t).await;
                let other = (at + 1) % PEERS.len();
                read_back(&flock, &mut peers[other], PEERS[other], &operation, t, t).await;
            }
            Err(error) => {
                let how = if matches!(outcome, Outcome::Refused) { "refused" } else { "unknown" };
                flock.history.tell(elapsed(), format_args!("{operation} by {}: {how}: {error}", PEERS[at]));
            }
        }
        sleep(Duration::from_millis(20 + dice.below(150))).await;
    }
    flock.writer_is_done();
    Ok(())
}

/// A peer that answers has what it should have.
async fn read_back(flock: &Flock, peer: &mut PeerClient<Channel>, host: &str, operation: &str, least_t: u64, t: u64) {
    let query = format!("[:find [?tx ...] :where [_ :op/id \"{OPERATION}{operation}\" ?tx]]");
    match q(peer, &query, least_t).await {
        Ok((answer, basis_t)) => {
            let expected = format!("[{}]", db::EntityId::of_tx(t).as_long());
            assert_eq!(answer.to_string(), expected, "{operation}, at {host} with basis t {basis_t}");
            assert!(basis_t >= t);
            flock.history.tell(elapsed(), format_args!("{operation} is at {host}, basis t {basis_t}"));
        }
        Err(error) => flock.history.tell(elapsed(), format_args!("{operation} not read at {host}: {error}")),
    }
}

/// Looks at what each peer knows, over and over: it never goes back while the peer runs, and is always what the log
/// has at that place.
pub async fn watch(flock: Flock) -> turmoil::Result {
    reached(&flock, Phase::Working).await;
    let journal = flock.store.journal();
    let id = flock.database();
    let mut log = Log::read(&*journal, id);
    let mut peers = PEERS.map(|host| flock.network.peer(host));
    let mut known: BTreeMap<(usize, u64), (u64, u64)> = BTreeMap::new();
    while flock.phase() == Phase::Working {
        for (number, host) in PEERS.into_iter().enumerate() {
            let run = flock.runs(host);
            let mut request = Request::new(v1::PeerStatusRequest {});
            request.set_timeout(Duration::from_millis(300));
            let answered = peers[number].status(request).await;
            let Ok(status) = answered.map(tonic::Response::into_inner) else { continue };
            let Some(database) = status.databases.into_iter().find(|database| database.seq > 0) else { continue };
            if flock.runs(host) != run {
                continue;
            }
            let (seq, t) = (database.seq, database.basis_t);
            log.read_on(&*journal, id);
            let hash = log.hashes.get(seq as usize - 1);
            assert_eq!(hash.map(|hash| &hash[..]), Some(&database.hash[..]), "{host} knows a record {seq} of its own");
            let before = known.entry((number, run)).or_default();
            assert!(*before <= (seq, t), "{host} went back from record {} to {seq}", before.0);
            if *before != (seq, t) {
                *before = (seq, t);
                flock.history.tell(elapsed(), format_args!("{host} is at t {t}, record {seq} {}", hex(&database.hash)));
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Once everything is mended, every peer comes to the log's end and answers what the log says.
pub async fn judge(flock: Flock) -> turmoil::Result {
    reached(&flock, Phase::Healed).await;
    while flock.writers_done() < WRITERS.len() {
        sleep(Duration::from_millis(10)).await;
    }
    let (journal, id) = (flock.store.journal(), flock.database());
    let mut peers = PEERS.map(|host| flock.network.peer(host));
    // One more transaction, when all the others are over: the flock takes it, and everybody hears of it.
    let last = timeout(HEALING_MAX, async {
        for number in 1.. {
            let operation = format!("last-{number}");
            let answered = transact(&mut peers[0], format!("[{{:op/id \"{OPERATION}{operation}\"}}]")).await;
            match answered {
                Ok(response) => {
                    flock.history.note(&operation, &Outcome::Acknowledged(response.t));
                    return response.t;
                }
                Err(error) => {
                    flock.history.tell(elapsed(), format_args!("{operation}: {error}"));
                    flock.history.note(&operation, &outcome(&error));
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        unreachable!("numbers do not end")
    });
    let last_t = last.await.map_err(|_| "no transaction was taken after everything was mended")?;
    flock.history.tell(elapsed(), format_args!("the flock takes transactions again, t {last_t}"));

    let log = Log::read(&*journal, id);
    flock.history.holds(&log);
    let mut expected: Vec<_> = log
        .operations
        .iter()
        .map(|(operation, ts)| {
            format!("[{:?} {}]", format!("{OPERATION}{operation}"), db::EntityId::of_tx(ts[0]).as_long())
        })
        .collect();
    expected.sort();
    for (number, host) in PEERS.into_iter().enumerate() {
        let answer = timeout(HEALING_MAX, async {
            loop {
                match q(&mut peers[number], "[:find ?id ?tx :where [_ :op/id ?id ?tx]]", last_t).await {
                    Ok(answer) => return answer,
                    Err(error) => flock.history.tell(elapsed(), format_args!("{host}: {error}")),
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
        let (answer, basis_t) = answer.await.map_err(|_| format!("{host} did not come to t {last_t}"))?;
        let Edn::Vector(rows) = answer else { panic!("{answer}") };
        let mut rows: Vec<_> = rows.iter().map(Edn::to_string).collect();
        rows.sort();
        assert_eq!(rows, expected, "{host} does not answer what the log says");
        assert_eq!(basis_t, log.replay.chain().t(), "{host}");
        let chain = log.replay.chain();
        let at = format!("t {basis_t}, record {} {}", chain.seq(), hex(&chain.hash()));
        flock.history.tell(elapsed(), format_args!("{host} answers what the log says, {at}"));
    }
    Ok(())
}

async fn reached(flock: &Flock, phase: Phase) {
    while flock.phase() < phase {
        sleep(Duration::from_millis(10)).await;
    }
}

async fn transact(peer: &mut PeerClient<Channel>, tx_data: String) -> db::Result<v1::TransactResponse> {
    let request = v1::TransactRequest { database: DATABASE.into(), tx_data, ..Default::default() };
    match timeout(PATIENCE * 2, peer.transact(within(request))).await {
        Ok(answered) => answered.map(tonic::Response::into_inner).map_err(|status| proto::transact_error(&status)),
        Err(_) => Err(Error::new(Category::Unknown, "db.error/outcome-unknown", "no answer, and no error either")),
    }
}

fn outcome(error: &Error) -> Outcome {
    match error.category() {
        Category::Unknown | Category::Interrupted => Outcome::Unknown,
        Category::Unavailable | Category::Busy | Category::Fenced => Outcome::Refused,
        other => panic!("nothing here should end as {other:?}: {error}"),
    }
}

/// The whole answer, and the basis that it was given on.
async fn q(peer: &mut PeerClient<Channel>, query: &str, least_t: u64) -> db::Result<(Edn, u64)> {
    let view = v1::DatabaseView { name: DATABASE.into(), least_t, ..Default::default() };
    let request = v1::QueryRequest {
        query: query.into(),
        inputs: vec![v1::QueryInput { name: String::new(), kind: Some(Kind::Database(view)) }],
        format: v1::Format::Edn as i32,
        ..Default::default()
    };
    let told = |status: tonic::Status| proto::error(&status);
    let asked = async {
        let mut stream = peer.query(within(request)).await.map_err(told)?.into_inner();
        let (mut text, mut basis_t, mut ended) = (String::new(), 0, false);
        while let Some(message) = stream.message().await.map_err(told)? {
            basis_t = message.head.map_or(basis_t, |head| head.databases[0].basis_t);
            text.push_str(&message.edn);
            ended |= message.end.is_some();
        }
        match ended {
            true => Ok((db::edn::read(&text)?, basis_t)),
            false => Err(Error::new(Category::Unavailable, "db.error/cut-off", "the answer was cut off")),
        }
    };
    let silence = || Error::new(Category::Unavailable, "db.error/silence", "no answer, and no error either");
    timeout(PATIENCE * 2, asked).await.unwrap_or_else(|_| Err(silence()))
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn hex(hash: &[u8]) -> String {
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
