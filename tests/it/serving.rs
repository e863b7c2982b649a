//! What tools ask of any gRPC server: is it healthy, and what does it serve.

use diachron_tests::Flock;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

pub async fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap()
}

/// Returns when a service says that it serves; a peer has to hear of the transactor first.
pub async fn comes_to_serve(channel: Channel, service: &str) {
    let asked = HealthCheckRequest { service: service.to_owned() };
    let mut said = HealthClient::new(channel).watch(asked).await.unwrap().into_inner();
    while said.message().await.unwrap().expect("health is watched for ever").status() != ServingStatus::Serving {}
}

async fn reflect(channel: Channel, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await;
    answers.unwrap().into_inner().message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_processes_say_that_they_are_healthy_and_what_they_serve() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let transactor = flock.transactor_url();
    let serve: [(&str, &[&str]); 2] = [
        (&transactor, &["diachron.v1.Transactor", "diachron.v1.Storage", "diachron.v1.Admin"]),
        (peer.url(), &["diachron.v1.Peer"]),
    ];
    for (url, services) in serve {
        let channel = channel(url).await;
        let MessageResponse::ListServicesResponse(listed) =
            reflect(channel.clone(), MessageRequest::ListServices(String::new())).await
        else {
            panic!("{url} does not list its services");
        };
        for service in services {
            comes_to_serve(channel.clone(), service).await;
            assert!(listed.service.iter().any(|listed| listed.name == *service), "{service} is not among {listed:?}");
            let symbol = MessageRequest::FileContainingSymbol((*service).to_owned());
            let described = reflect(channel.clone(), symbol).await;
            assert!(matches!(described, MessageResponse::FileDescriptorResponse(_)), "{service}: {described:?}");
        }
        let unknown = HealthCheckRequest { service: "diachron.v1.Nothing".to_owned() };
        assert_eq!(HealthClient::new(channel).check(unknown).await.unwrap_err().code(), Code::NotFound);
    }
}
