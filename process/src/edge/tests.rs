//! Over real connections to a server with nothing but health and reflection.

use super::*;
use crate::{ManualClock, Network, SeededEntropy, Server, Shutdown, Tcp, metrics};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// A contract that writes errors as they are easy to look at.
const CONTRACT: Contract = Contract {
    descriptors: tonic_health::pb::FILE_DESCRIPTOR_SET,
    methods: || vec!["/diachron.v1.Peer/Query".to_owned()],
    status: |error| {
        let mut metadata = MetadataMap::new();
        metadata.insert("code", error.code().parse().unwrap());
        metadata.insert("details", format!("{:?}", error.details()).parse().unwrap());
        Status::with_metadata(Code::ResourceExhausted, error.message(), metadata)
    },
    retry_after_ms: "retry-after-ms",
    correlate: |metadata, id| {
        let code = metadata.get("code")?.to_str().ok()?.to_owned();
        metadata.insert("marked", id.parse().unwrap());
        Some(code)
    },
};

struct Fixture {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    registry: Registry,
    _trigger: crate::ShutdownTrigger,
}

async fn start(limits: Limits) -> Fixture {
    let clock = Arc::new(ManualClock::at(db::Instant(0)));
    let mut registry = metrics::registry();
    let edge = Edge::new(CONTRACT, limits, clock.clone(), &SeededEntropy::new(1), &mut registry);
    let listener = Tcp.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address;
    let (trigger, shutdown) = Shutdown::new();
    let server = Server::new(edge).await.unwrap();
    tokio::spawn(server.serve(listener, shutdown));
    Fixture { address, clock, registry, _trigger: trigger }
}

impl Fixture {
    async fn connect(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    fn shows(&self, line: &str) {
        let text = metrics::text(&self.registry);
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}

/// A call that stays open for as long as its sender is kept.
struct Open {
    _sender: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

async fn open(channel: &Channel) -> Result<Open, Status> {
    let (sender, receiver) = mpsc::channel(1);
    let list = MessageRequest::ListServices(String::new());
    sender.send(ServerReflectionRequest { host: String::new(), message_request: Some(list) }).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await?.into_inner();
    answers.message().await?.unwrap();
    Ok(Open { _sender: sender, answers })
}

async fn is_healthy(channel: &Channel) -> bool {
    HealthClient::new(channel.clone()).check(HealthCheckRequest { service: String::new() }).await.is_ok()
}

fn refusal(refused: Result<Open, Status>) -> (String, String) {
    let status = refused.err().expect("the call is refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let entry = |name: &str| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(entry("marked"), entry(correlation::KEY));
    (entry("code"), entry("details"))
}

#[tokio::test]
async fn an_answer_carries_the_id_of_its_call() {
    let fixture = start(Limits::default()).await;
    let mut health = HealthClient::new(fixture.connect().await);
    for (given, expected) in [(Some("order-7"), "order-7"), (Some("not so"), "-1"), (None, "-2")] {
        let mut request = Request::new(HealthCheckRequest { service: String::new() });
        if let Some(given) = given {
            request.metadata_mut().insert(correlation::KEY, given.parse().unwrap());
        }
        let answer = health.check(request).await.unwrap();
        let id = answer.metadata().get(correlation::KEY).unwrap().to_str().unwrap().to_owned();
        assert!(id.ends_with(expected), "{given:?} became {id}");
    }
}

#[tokio::test]
async fn calls_beyond_those_of_a_connection_are_refused_until_one_has_ended() {
    let fixture = start(Limits { calls_per_connection: 2, ..Limits::default() }).await;
    let channel = fixture.connect().await;
    let (first, _second) = (open(&channel).await.unwrap(), open(&channel).await.unwrap());
    let (code, details) = refusal(open(&channel).await);
    assert_eq!(code, "db.error/too-many-calls");
    assert!(details.contains("retry-after-ms") && details.contains("100"), "{details}");
    assert!(is_healthy(&channel).await);
    // Another connection has calls of its own.
    open(&fixture.connect().await).await.unwrap();
    let Open { _sender, mut answers } = first;
    drop(_sender);
    while let Ok(Some(_)) = answers.message().await {}
    // Its end has been sent, and is noted right after.
    let third = loop {
        match open(&channel).await {
            Ok(third) => break third,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    drop(third);
    fixture.shows(r#"diachron_requests_total{method="Health/Check",status="OK"} 1"#);
}

#[tokio::test]
async fn calls_on_connections_beyond_those_of_an_address_are_refused() {
    let fixture = start(Limits { connections_per_address: 1, ..Limits::default() }).await;
    let first = fixture.connect().await;
    open(&first).await.unwrap();
    fixture.shows("diachron_connections 1.0");
    let over = fixture.connect().await;
    let (code, details) = refusal(open(&over).await);
    assert_eq!(code, "db.error/too-many-connections");
    assert!(details.contains("1000"), "{details}");
    assert!(is_healthy(&over).await);
    fixture.shows(r#"diachron_refusals_total{code="db.error/too-many-connections"} 1"#);
    drop((first, over));
    // A connection that has been closed is noticed soon, and gives its place back.
    let again = loop {
        let again = fixture.connect().await;
        match open(&again).await {
            Ok(open) => break open,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    drop(again);
}

#[tokio::test]
async fn a_caller_who_calls_too_often_is_told_when_to_come_back() {
    let fixture = start(Limits { calls_per_second: 2, ..Limits::default() }).await;
    let (one, other) = (fixture.connect().await, fixture.connect().await);
    open(&one).await.unwrap();
    open(&other).await.unwrap();
    let (code, details) = refusal(open(&one).await);
    assert_eq!(code, "db.error/too-many-calls-per-second");
    assert!(details.contains("500"), "{details}");
    assert!(is_healthy(&one).await);
    fixture.clock.advance(Duration::from_millis(500));
    open(&one).await.unwrap();
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status_and_invented_methods_together() {
    let fixture = start(Limits::default()).await;
    let channel = fixture.connect().await;
    let unknown = HealthCheckRequest { service: "nothing".into() };
    HealthClient::new(channel.clone()).check(unknown).await.unwrap_err();
    for n in 0..3 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/invented.Service{n}/Method").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let request = Request::new(HealthCheckRequest { service: String::new() });
        assert_eq!(grpc.unary(request, path, codec).await.unwrap_err().code(), Code::Unimplemented);
    }
    fixture.shows(r#"diachron_requests_total{method="Health/Check",status="NOT_FOUND"} 1"#);
    fixture.shows(r#"diachron_requests_total{method="(others)",status="UNIMPLEMENTED"} 3"#);
    fixture.shows(r#"diachron_request_seconds_count{method="(others)"} 3"#);
    fixture.shows(r#"diachron_requests_open{method="(others)"} 0.0"#);
}
