//! Starting, stopping, and what is recorded meanwhile.

use std::io;

use pod_identity_core::TokenDigest;
use pod_identity_core::wire::eks_auth::{ErrorCode, path};
use pod_identity_testkit::{Fault, MockEksAuth, Stage};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::common::{Client, NOW, assume, shop, signed, soon, token};

#[tokio::test]
async fn a_stopped_mock_refuses_connections_and_a_restarted_one_keeps_its_port() {
    let (eks, _clock) = shop().await;
    let endpoint = eks.endpoint();
    for round in 1..=5 {
        let mut client = Client::connect(&eks).await.unwrap();
        assert_eq!(client.assume(&eks, &token(&eks)).await.unwrap().status, 200);

        soon(eks.stop()).await;
        let refused = TcpStream::connect(eks.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        soon(client.closed()).await;
        soon(eks.stop()).await;

        eks.restart().await.unwrap();
        eks.restart().await.unwrap();
        assert_eq!(eks.endpoint(), endpoint);
        assert_eq!(eks.request_count(), round, "what it has recorded stays");
    }
    assert_eq!(
        assume(&eks, &token(&eks)).await.status,
        200,
        "what it knows stays"
    );
}

#[tokio::test]
async fn the_port_of_a_stopped_mock_is_not_given_to_another_program() {
    let (eks, _clock) = shop().await;
    eks.stop().await;
    let other = TcpSocket::new_v4().unwrap();
    let taken = other.bind(eks.address()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    eks.restart().await.unwrap();
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn stopping_ends_stalled_requests() {
    let (eks, _clock) = shop().await;
    eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    let token = token(&eks);
    let mut client = Client::connect(&eks).await.unwrap();
    let stop = async {
        eks.wait_for_requests(1).await;
        eks.stop().await;
    };
    let (answer, ()) = soon(async { tokio::join!(client.assume(&eks, &token), stop) }).await;
    answer.unwrap_err();
    assert_eq!(eks.in_flight(), 0);
}

#[tokio::test]
async fn dropping_it_closes_every_connection_and_the_port() {
    let (eks, _clock) = shop().await;
    let address = eks.address();
    let mut client = Client::connect(&eks).await.unwrap();
    assert_eq!(client.assume(&eks, &token(&eks)).await.unwrap().status, 200);
    drop(eks);
    soon(client.closed()).await;
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_on_many_threads_and_on_a_given_listener() {
    let listener = TcpListener::bind("[::1]:0").await;
    // A machine without IPv6 has only the other address.
    let listener = match listener {
        Ok(listener) => listener,
        Err(_no_ipv6) => TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    let address = listener.local_addr().unwrap();
    let eks = MockEksAuth::builder()
        .listener(listener)
        .cluster("prod")
        .account("999988887777")
        .start();
    let eks = eks.await.unwrap();
    assert_eq!(
        (eks.address(), eks.endpoint()),
        (address, format!("http://{address}"))
    );
    let answer = assume(&eks, "x").await;
    assert_eq!(answer.code(), "InvalidTokenException");
    assert_eq!(eks.requests()[0].cluster.as_deref(), Some("prod"));
}

#[test]
fn a_test_without_a_runtime_can_use_it() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    let eks = MockEksAuth::start_blocking();
    let gate = eks.gate();
    eks.inject(Fault::close(Stage::BeforeHeaders));
    let mut stream = TcpStream::connect(eks.address()).unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n\r\n", path(eks.cluster()));
    stream.write_all(head.as_bytes()).unwrap();
    eks.wait(gate.wait_for(1));
    eks.wait_for_requests(1);
    gate.release();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closed");
    eks.wait_until_idle();

    let mut stream = TcpStream::connect(eks.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    eks.wait_for_answers(1);

    let address = eks.address();
    eks.stop();
    TcpStream::connect(address).unwrap_err();
    eks.restart().unwrap();
    TcpStream::connect(address).unwrap();
    drop(eks);
    TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn a_request_is_recorded_with_its_sender_and_its_outcome() {
    let (eks, _clock) = shop().await;
    let token = token(&eks);
    let mut client = Client::connect(&eks).await.unwrap();
    let path = path(eks.cluster());
    let body = serde_json::json!({ "token": token, "eksNodeName": "n1", "instanceId": "i-1", "zone": "a" });
    client
        .send(signed(&path).body(body.to_string().into()).unwrap())
        .await
        .unwrap();
    eks.inject(ErrorCode::AccessDenied);
    client.assume(&eks, &token).await.unwrap();
    assume(&eks, "junk").await;

    let requests = eks.requests();
    let [granted, denied, junk] = requests.as_slice() else {
        panic!("three requests: {requests:?}")
    };
    assert_eq!(
        (granted.at, granted.connection, granted.path.as_str()),
        (NOW, 1, path.as_str())
    );
    assert_eq!(granted.method, "POST");
    assert_eq!(granted.host.as_deref(), Some("eks-auth.test"));
    assert_eq!(granted.user_agent.as_deref(), Some("test/1"));
    assert_eq!(granted.token, Some(TokenDigest::of(token.as_bytes())));
    assert_eq!(
        granted.claims.as_ref().unwrap().service_account.as_deref(),
        Some("cart")
    );
    assert_eq!(granted.eks_node_name.as_deref(), Some("n1"));
    assert_eq!(granted.instance_id.as_deref(), Some("i-1"));
    assert_eq!(granted.zone.as_deref(), Some("a"));
    let outcome = granted.outcome.as_ref().unwrap();
    assert_eq!((outcome.status, &outcome.code), (Some(200), &None));
    assert_eq!(outcome.access_key_id, eks.minted().first().cloned());

    let outcome = denied.outcome.as_ref().unwrap();
    assert_eq!(
        (outcome.status, outcome.code.as_deref()),
        (Some(400), Some("AccessDeniedException"))
    );
    assert_eq!((denied.connection, &outcome.access_key_id), (1, &None));
    assert_eq!((junk.connection, &junk.claims), (2, &None));
    assert_eq!((eks.request_count(), eks.connection_count()), (3, 2));
}

#[tokio::test]
async fn recorded_requests_contain_no_secret() {
    let (eks, _clock) = shop().await;
    let token = token(&eks);
    let answer = assume(&eks, &token).await;
    let secrets = eks.secrets();
    assert_eq!(secrets.len(), 3, "a token, a secret key, a session token");
    for secret in &secrets {
        assert!(answer.body.contains(secret.expose()) || secret.expose() == token);
    }
    eks.assert_no_secrets(&format!("{eks:?} {:?} {:?}", eks.requests(), eks.minted()));
}

#[tokio::test]
async fn waiting_for_past_requests_returns_at_once() {
    let (eks, _clock) = shop().await;
    assume(&eks, &token(&eks)).await;
    soon(eks.wait_for_requests(1)).await;
    soon(eks.wait_for_answers(1)).await;
    soon(eks.wait_until_idle()).await;
}
