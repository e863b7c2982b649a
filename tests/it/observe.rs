//! What operators see: logs that follow a call through the processes, metrics that tell what was done, limits that
//! say so.

use diachron_tests::{Client, PATIENCE, Program, database};
use proto::v1;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Request;

const SCHEMA: &str = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}]";

fn transactor(dir: &Path, options: &[&str]) -> Program {
    // A store with queues of its own.
    let store = format!("sled:{}", dir.join("store").display());
    let args = [&["--store", &store, "--listen", "127.0.0.1:0", "--log-format", "json"], options].concat();
    Program::start("diachron-transactor", &args, dir)
}

fn peer(dir: &Path, transactor: &Program, options: &[&str]) -> Program {
    let args = ["--transactor", transactor.url(), "--listen", "127.0.0.1:0", "--log-format", "json"];
    Program::start("diachron-peer", &[&args, options].concat(), dir)
}

/// The events that a program has logged so far.
fn events(program: &Program) -> Vec<Value> {
    let said = program.stderr();
    // The last line may be half written.
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(read).collect()
}

/// Waits until a program has logged an event.
async fn logged(program: &Program, is_it: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        if let Some(event) = events(program).into_iter().find(&is_it) {
            return event;
        }
        assert!(begun.elapsed() < PATIENCE, "it was not logged:\n{}", program.stderr());
        tokio::task::yield_now().await;
    }
}

fn with_id<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(proto::CORRELATION_KEY, id.parse().unwrap());
    request
}

fn transact(tx_data: &str) -> v1::TransactRequest {
    v1::TransactRequest { database: "items".into(), tx_data: tx_data.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_has_one_id_in_the_logs_of_peer_and_transactor_and_in_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let transactor = transactor(dir.path(), &["--log-level", "debug"]);
    let peer = peer(dir.path(), &transactor, &["--log-level", "debug"]);
    let mut client = Client::connect(peer.url()).await;
    client.create_database("items").await;
    let answer = client.peer.transact(with_id("order-7", transact(SCHEMA))).await.unwrap();
    assert_eq!(answer.metadata().get(proto::CORRELATION_KEY).unwrap(), "order-7");
    for (program, method) in [(&peer, "Peer/Transact"), (&transactor, "Transactor/Transact")] {
        let event = logged(program, |event| event["span"]["correlation_id"] == "order-7").await;
        assert_eq!((&event["span"]["method"], &event["status"]), (&method.into(), &"OK".into()), "{event}");
    }

    // An error comes back with it, wherever it arose.
    let refused = client.peer.transact(with_id("order-8", transact("[[:db/add 1 :no/such 1]]"))).await.unwrap_err();
    assert_eq!(refused.metadata().get(proto::CORRELATION_KEY).unwrap(), "order-8");
    let error = proto::error(&refused);
    assert_eq!(proto::correlation_id(&error), Some("order-8"));
    logged(&transactor, |event| event["span"]["correlation_id"] == "order-8" && event["status"] != "OK").await;

    // Reads of the log for a caller carry it too.
    let request = v1::LogRequest { database: "items".into(), from_t: 0, to_t: 0 };
    let mut log = client.peer.log(with_id("audit-1", request)).await.unwrap().into_inner();
    while log.message().await.unwrap().is_some() {}
    let is_it =
        |event: &Value| event["span"]["correlation_id"] == "audit-1" && event["span"]["method"] == "Storage/ReadLog";
    logged(&transactor, is_it).await;

    // The client library gives calls an id and tells that of an error.
    let library = diachron_client::Client::connect(peer.url()).await.unwrap().anonymous();
    let refused = diachron_client::correlated("order-9", library.transact("items", "[[:db/add 1 :no/such 1]]"));
    assert_eq!(diachron_client::correlation_id(&refused.await.unwrap_err()), Some("order-9"));
    logged(&transactor, |event| event["span"]["correlation_id"] == "order-9").await;

    // A call without one gets one, and what was transacted is in no log.
    let made = client.peer.transact(transact("[{:item/n 987654321}]")).await.unwrap();
    let made = made.metadata().get(proto::CORRELATION_KEY).unwrap().to_str().unwrap().to_owned();
    for program in [&peer, &transactor] {
        logged(program, |event| event["span"]["correlation_id"] == *made).await;
        assert!(!program.stderr().contains("987654321"), "{}", program.stderr());
    }
}

/// Metrics as a scrape shows them: types by name, values by series.
pub struct Scrape {
    pub types: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

/// Where a program that logs in JSON serves its metrics.
pub async fn metrics_address(program: &Program) -> String {
    let event = logged(program, |event| event["message"] == "metrics are served").await;
    event["address"].as_str().unwrap().to_owned()
}

pub async fn scrape(program: &Program) -> Scrape {
    let mut connection = TcpStream::connect(metrics_address(program).await).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut scrape = Scrape { types: BTreeMap::new(), values: BTreeMap::new() };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let before = scrape.types.insert(name.to_owned(), kind.to_owned());
            assert_eq!(before, None, "{name} is described twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let before = scrape.values.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{series} is shown twice");
        }
    }
    scrape
}

impl Scrape {
    /// Each queue is shown with its bound, for everyone for whom it is shown.
    pub fn has_queues(&self, queues: &[[String; 2]]) {
        assert!(queues.len() >= 8, "{queues:?}");
        for [length, most] in queues {
            let series = |name: &str| -> Vec<(String, f64)> {
                let of = |(series, value): (&'_ String, &f64)| Some((series.strip_prefix(name)?.to_owned(), *value));
                let all = self.values.iter().filter_map(of);
                all.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{')).collect()
            };
            let (lengths, bounds) = (series(length), series(most));
            assert!(!lengths.is_empty(), "{length} is not shown");
            for ((of, length_now), (bound_of, most_now)) in lengths.iter().zip(&bounds) {
                assert!(
                    of == bound_of && length_now <= most_now,
                    "{length}{of} {length_now}, {most}{bound_of} {most_now}"
                );
            }
            assert_eq!(lengths.len(), bounds.len(), "{length} and {most}");
        }
    }

    pub fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is not among {:#?}", self.values))
    }
}

/// Names and types in the tables of docs/operations.md.
pub fn documented(prefix: &str) -> BTreeMap<String, String> {
    let page = include_str!("../../docs/operations.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `diachron_")?.split('|');
        let name = format!("diachron_{}", cells.next()?.trim().trim_end_matches('`'));
        Some((name, cells.next()?.trim().to_owned()))
    };
    let of_process = |name: &str| {
        let of_one = ["diachron_transactor_", "diachron_peer_", "diachron_storage_"]
            .iter()
            .any(|of_one| name.starts_with(of_one));
        // A storage process reads no trees.
        let has_cache = prefix != "diachron_storage_";
        name.starts_with(prefix) || !of_one && (has_cache || !name.starts_with("diachron_cache_"))
    };
    page.lines().filter_map(row).filter(|(name, _)| of_process(name)).collect()
}

/// Of the table of queues: the metrics that tell how full each is and how full it may be.
pub fn documented_queues(process: &str) -> Vec<[String; 2]> {
    let page = include_str!("../../docs/operations.md");
    let (_, table) = page.split_once("### Queues\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let is_of_process = cells.len() == 7 && [process, "all"].contains(&cells[1]);
        is_of_process.then(|| [cells[3].to_owned(), cells[4].to_owned()])
    };
    table.lines().filter_map(row).collect()
}

/// Where queues are made, and by which metric each is seen.
const QUEUES: [(&str, &[&str]); 10] = [
    ("peer/src/intake.rs", &["diachron_peer_intake_messages"]),
    ("peer/src/lib.rs", &["diachron_peer_listeners"]),
    ("peer/src/pool.rs", &["diachron_peer_pool_jobs"]),
    ("peer/src/remote.rs", &["diachron_peer_catch_ups"]),
    ("peer/src/service/mod.rs", &["diachron_peer_waiting_bytes"]),
    ("process/src/stream.rs", &["diachron_stream_queue_messages"]),
    ("process/src/supervisor/mod.rs", &["diachron_actors"]),
    ("stores/src/writing.rs", &["diachron_storage_incoming_bytes"]),
    (
        "transactor/src/host.rs",
        &["diachron_transactor_creation_queue_length", "diachron_transactor_commit_queue_length"],
    ),
    ("transactor/src/service/transactor.rs", &["diachron_transactor_waiting_bytes"]),
];
/// Made for others by what those hand in; places of connections for metrics, the others of which wait outside; and what one
/// caller of a restore says, who says no more until that is read.
const NO_QUEUES: [&str; 3] = ["process/src/http.rs", "process/src/mailbox.rs", "transactor/src/service/admin.rs"];

/// A queue that somebody adds is not forgotten where operators look.
#[test]
fn every_queue_in_the_sources_is_among_those_that_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut left: Vec<_> =
        ["peer/src", "process/src", "server/src", "stores/src", "transactor/src"].map(|dir| root.join(dir)).into();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let makes =
            ["mpsc::channel", "Mailbox::new(", "Semaphore::new(", "Room::new("].iter().any(|new| code.contains(new));
        if makes && !name.contains("/tests") && !NO_QUEUES.contains(&&*name) {
            found.push(name);
        }
    }
    found.sort();
    assert_eq!(found, QUEUES.map(|(file, _)| file));
    let documented: Vec<[String; 2]> =
        ["peer", "storage", "transactor"].iter().flat_map(|name| documented_queues(name)).collect();
    for name in QUEUES.iter().flat_map(|(_, metrics)| *metrics) {
        assert!(documented.iter().any(|[length, _]| length == name), "{name} is not in the table of queues");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_done_by_their_documented_names() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    let transactor = transactor(dir.path(), &[&metrics[..], &["--queue", "77", "--metrics-databases", "1"]].concat());
    let peer = peer(dir.path(), &transactor, &metrics);
    let mut client = Client::connect(peer.url()).await;
    client.create_database("items").await;
    client.create_database("others").await;
    client.transact("items", SCHEMA).await.unwrap();
    for n in 0..10 {
        client.transact("items", &format!("[{{:item/n {n}}}]")).await.unwrap();
    }
    for _ in 0..3 {
        client.transact("items", "[[:db/add 1 :no/such 1]]").await.unwrap_err();
    }
    for _ in 0..4 {
        let answer = client.q("[:find ?n :where [_ :item/n ?n]]", vec![database("items")]).await.unwrap();
        assert!(answer.to_string().contains('9'));
    }

    let shown = scrape(&transactor).await;
    assert_eq!(shown.types, documented("diachron_transactor_"));
    shown.has_queues(&documented_queues("transactor"));
    for (series, value) in [
        ("diachron_transactor_transactions_committed_total", 11.0),
        ("diachron_transactor_transactions_refused_total", 3.0),
        ("diachron_transactor_commit_queue_wait_seconds_count", 14.0),
        ("diachron_transactor_commit_append_seconds_count", 11.0),
        ("diachron_transactor_commit_answer_seconds_count", 11.0),
        ("diachron_transactor_commit_group_transactions_sum", 11.0),
        ("diachron_transactor_database_transactions_committed_total{database=\"items\"}", 11.0),
        ("diachron_transactor_database_t{database=\"items\"}", 11.0),
        ("diachron_transactor_commit_queue_length{database=\"items\"}", 0.0),
        ("diachron_transactor_commit_queue_length_max{database=\"items\"}", 77.0),
        ("diachron_transactor_commit_queue_length_max{database=\"(others)\"}", 77.0),
        ("diachron_transactor_databases", 2.0),
        ("diachron_transactor_creation_queue_length_max", 64.0),
        ("diachron_transactor_waiting_bytes", 0.0),
        ("diachron_transactor_followers{database=\"items\"}", 1.0),
        ("diachron_requests_total{method=\"Transactor/Transact\",status=\"OK\"}", 11.0),
        ("diachron_requests_total{method=\"Transactor/CreateDatabase\",status=\"OK\"}", 2.0),
    ] {
        assert_eq!(shown.value(series), value, "{series}");
    }
    assert!(shown.value("diachron_connections") >= 1.0);
    assert!(shown.value("diachron_transactor_commit_record_bytes_sum") > 11.0 * 200.0);
    assert!(!shown.values.keys().any(|series| series.contains("database=\"others\"")));

    let shown = scrape(&peer).await;
    assert_eq!(shown.types, documented("diachron_peer_"));
    shown.has_queues(&documented_queues("peer"));
    for (series, value) in [
        ("diachron_peer_query_seconds_count", 4.0),
        ("diachron_peer_pool_wait_seconds_count", 4.0),
        ("diachron_peer_query_rows_sum", 40.0),
        ("diachron_peer_query_cache_hits_total", 3.0),
        ("diachron_peer_query_cache_misses_total", 1.0),
        ("diachron_peer_transact_seconds_count", 11.0),
        ("diachron_peer_transact_visible_seconds_count", 11.0),
        ("diachron_peer_follow_behind_records{database=\"items\"}", 0.0),
        ("diachron_peer_database_t{database=\"items\"}", 11.0),
        ("diachron_peer_pool_jobs", 0.0),
        ("diachron_requests_total{method=\"Peer/Query\",status=\"OK\"}", 4.0),
        ("diachron_requests_total{method=\"Peer/Transact\",status=\"NOT_FOUND\"}", 3.0),
    ] {
        assert_eq!(shown.value(series), value, "{series}");
    }
    // The first may have been read from storage, before following began.
    assert!((10.0..=11.0).contains(&shown.value("diachron_peer_follow_lag_seconds_count")));
    assert!(shown.value("diachron_peer_follow_records_total") >= 12.0);
    let refusals: Vec<_> = shown.values.iter().filter(|(series, _)| series.starts_with("diachron_refusals")).collect();
    assert!(matches!(refusals[..], [(_, 3.0)]), "{refusals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_share_is_refused_and_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let transactor = transactor(dir.path(), &["--queue", "4", "--caller-share", "25", "--calls-per-second", "1000000"]);
    let mut client = Client::connect(transactor.url()).await;
    client.transactor.create_database(v1::CreateDatabaseRequest { name: "items".into() }).await.unwrap();
    client.transact_directly("items", SCHEMA).await.unwrap();
    // One caller may have one on its way. Many at once cannot all find it free.
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..64 {
        let mut client = client.clone();
        let forms: Vec<String> = (0..200).map(|m| format!("{{:item/n {}}}", 1000 * n + m)).collect();
        calls.spawn(async move { client.transact_directly("items", &format!("[{}]", forms.join(" "))).await });
    }
    let mut done = 0;
    let mut refused = Vec::new();
    for outcome in calls.join_all().await {
        match outcome {
            Ok(_) => done += 1,
            Err(error) => refused.push(error),
        }
    }
    assert!(done >= 1 && !refused.is_empty(), "{done} were done, {} refused", refused.len());
    for error in refused {
        assert_eq!(error.category(), db::Category::Busy, "{error}");
        assert!(error.message().contains("one caller's share"), "{error}");
        assert!(proto::retry_after(&error).is_some() && proto::correlation_id(&error).is_some(), "{error}");
    }
    // What was refused was not done; the caller goes on.
    assert_eq!(client.transact_directly("items", "[]").await.unwrap().t, 1 + done + 1);
}
