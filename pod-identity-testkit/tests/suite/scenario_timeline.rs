//! The timeline of a scenario.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pod_identity_core::wire::eks_auth::path;
use pod_identity_core::{Clock, Timestamp};
use pod_identity_testkit::{
    Fault, MockAgent, MockEksAuth, Role, Scenario, SettableClock, TokenPolicy,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{Client, NOW, assume, soon, token};
use crate::raw::{Raw, ask, ask_with};
use crate::signing::{Signer, send};

const MINUTE: Duration = Duration::from_secs(60);

/// Far longer than a listener on loopback takes to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

fn clock() -> (Arc<SettableClock>, Arc<dyn Clock>) {
    let clock = Arc::new(SettableClock::at(NOW));
    (clock.clone(), clock)
}

async fn agent_of(toml: &str) -> (MockAgent, Arc<SettableClock>) {
    let scenario = Scenario::from_toml(toml).unwrap();
    let (clock, given) = clock();
    let builder = MockAgent::builder().scenario(&scenario).clock(given);
    (builder.start().await.unwrap(), clock)
}

#[tokio::test]
async fn a_fault_begins_and_ends_by_the_clock() {
    let (agent, clock) = agent_of(
        r#"
        [[timeline]]
        at = "10m"
        agent_fault = { status = 503, lasting = "5m" }

        [[timeline]]
        at = "12m"
        agent_fault = { status = 500, count = 1 }
        "#,
    )
    .await;
    let mut seen = Vec::new();
    for minute in [0, 9, 10, 12, 12, 14, 15] {
        clock.set(NOW + MINUTE * minute);
        seen.push(ask(&agent).await.status());
    }
    assert_eq!(seen, [200, 200, 503, 500, 503, 503, 200]);
}

#[tokio::test]
async fn a_fault_counts_requests_from_its_begin_on() {
    let (agent, clock) = agent_of(
        r#"
        [[agent.faults]]
        status = 500
        nth = 2
        after = "1m"
        "#,
    )
    .await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(ask(&agent).await.status());
    }
    clock.advance(MINUTE);
    for _ in 0..3 {
        seen.push(ask(&agent).await.status());
    }
    assert_eq!(seen, [200, 200, 200, 200, 500, 200]);
}

#[tokio::test]
async fn after_an_outage_the_port_is_the_same() {
    let (agent, clock) = agent_of(
        r#"
        [[timeline]]
        at = "1m"
        agent_fault = { refuse = "30s" }
        "#,
    )
    .await;
    let mut kept = Raw::connect(&agent).await;
    clock.advance(MINUTE);
    agent.catch_up().await.unwrap();
    assert_eq!(kept.rest().await.0, b"", "open connections end, too");
    TcpStream::connect(agent.address()).await.unwrap_err();
    clock.advance(MINUTE / 2);
    agent.catch_up().await.unwrap();
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn attempts_to_connect_time_out_until_the_outage_ends() {
    let (agent, clock) = agent_of(
        r#"
        [[timeline]]
        at = "1m"
        agent_fault = { unreachable = "30s" }
        "#,
    )
    .await;
    let mut kept = Raw::connect(&agent).await;
    clock.advance(MINUTE);
    agent.catch_up().await.unwrap();
    assert_eq!(kept.rest().await.0, b"", "open connections end, too");
    for _ in 0..3 {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(agent.address())).await;
        connected.expect_err("neither accepted nor refused");
    }
    clock.advance(MINUTE / 2);
    agent.catch_up().await.unwrap();
    assert_eq!(ask(&agent).await.status(), 200);
    agent.verify();
}

#[tokio::test]
async fn an_unreachable_mock_can_be_stopped_and_restarted() {
    let (agent, _clock) = agent_of("").await;
    agent.inject(Fault::unreachable(MINUTE));
    agent.catch_up().await.unwrap();
    agent.stop().await;
    let refused = TcpStream::connect(agent.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    agent.restart().await.unwrap();
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn a_restart_closes_connections_and_continues_to_serve() {
    let (agent, clock) = agent_of("[[timeline]]\nat = \"1m\"\nrestart = \"agent\"").await;
    let mut kept = Raw::connect(&agent).await;
    clock.advance(MINUTE);
    agent.catch_up().await.unwrap();
    assert_eq!(kept.rest().await.0, b"");
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn a_token_is_rotated_at_its_time_even_if_read_late() {
    let (agent, clock) = agent_of(
        r#"
        [pod]
        token_lifetime = "1h"

        [[timeline]]
        at = "48m"
        rotate_token = true

        [[timeline]]
        at = "96m"
        rotate_token = true

        [[timeline]]
        at = "100m"
        spoil_token = "newline"
        "#,
    )
    .await;
    let first = agent.token();
    clock.advance(MINUTE * 150);
    agent.catch_up().await.unwrap();
    assert_eq!(
        ask(&agent).await.status(),
        200,
        "the third lives until 156m"
    );
    assert_eq!(ask_with(&agent, first.expose()).await.status(), 400);
    let requests = agent.requests();
    let ages: Vec<_> = requests.iter().map(|request| request.token_age).collect();
    assert_eq!(ages, [Some(0), Some(2)]);
    let written = std::fs::read_to_string(agent.volume().token_path()).unwrap();
    assert_eq!(written, format!("{}\n", agent.token().expose()));
}

#[tokio::test]
async fn a_gate_is_released_by_the_test_or_by_the_timeline() {
    let toml = r#"
        [[agent.faults]]
        status = 503
        until = "back"

        [[timeline]]
        at = "1h"
        release = "back"
        "#;
    let (agent, _clock) = agent_of(toml).await;
    assert_eq!(ask(&agent).await.status(), 503);
    agent.named_gate("back").release();
    assert_eq!(ask(&agent).await.status(), 200);

    let (agent, clock) = agent_of(toml).await;
    assert_eq!(
        ask(&agent).await.status(),
        503,
        "another mock, another gate"
    );
    clock.advance(MINUTE * 60);
    agent.catch_up().await.unwrap();
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn a_request_waits_at_a_named_gate() {
    let (agent, _clock) = agent_of("[[agent.faults]]\nhold = \"in_body\"\nuntil = \"back\"").await;
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    let gate = agent.named_gate("back");
    soon(gate.wait_for(1)).await;
    gate.release();
    assert_eq!(raw.answer().await.status(), 200);
}

#[tokio::test]
async fn keys_can_be_rotated_and_their_documents_be_unavailable() {
    let scenario = Scenario::from_toml(
        r#"
        [[eks.associations]]
        namespace = "shop"
        service_account = "cart"
        role_arn = "arn:aws:iam::111122223333:role/cart"

        [[timeline]]
        at = "1m"
        sign_with = "es256"
        issuer_outage = "10m"

        [[timeline]]
        at = "2m"
        forget_old_keys = true
        "#,
    )
    .unwrap();
    let (clock, given) = clock();
    let builder = MockEksAuth::builder().scenario(&scenario).clock(given);
    let eks = builder.start().await.unwrap();
    let old = token(&eks);
    let mut seen = Vec::new();
    for minute in [0, 1, 2, 11] {
        clock.set(NOW + MINUTE * minute);
        eks.catch_up().await.unwrap();
        seen.push((assume(&eks, &old).await.status, keys(&eks).await));
    }
    assert_eq!(seen, [(200, 200), (200, 503), (400, 503), (400, 200)]);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn a_change_of_associations_is_visible_once_its_gate_opens() {
    let scenario = Scenario::from_toml(
        r#"
        [eks]
        visibility = { gate = "published" }

        [[timeline]]
        at = "5s"
        release = "published"
        "#,
    )
    .unwrap();
    let (clock, given) = clock();
    let builder = MockEksAuth::builder().scenario(&scenario).clock(given);
    let eks = builder.start().await.unwrap();
    let association = r#"{"namespace": "shop", "serviceAccount": "cart",
        "roleArn": "arn:aws:iam::111122223333:role/cart"}"#;
    let mut client = Client::connect(&eks).await.unwrap();
    let path = "/clusters/test-cluster/pod-identity-associations";
    let created = client.post(path, association.to_owned()).await.unwrap();
    assert_eq!(created.status, 200);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 404);
    clock.advance(Duration::from_secs(5));
    eks.catch_up().await.unwrap();
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn signatures_are_verified_with_the_keys_of_the_scenario() {
    let scenario = Scenario::from_toml(
        r#"
        [eks]
        signatures = "enforce"
        node_keys = { AKIA = "secret" }
        "#,
    )
    .unwrap();
    let (_clock, given) = clock();
    let builder = MockEksAuth::builder().scenario(&scenario).clock(given);
    let eks = builder.start().await.unwrap();
    let body = serde_json::json!({ "token": token(&eks) }).to_string();
    for (secret, status) in [("secret", 404), ("another", 403)] {
        let signer = Signer::new("eks-auth", "AKIA", secret);
        let request = signer.sign(Method::POST, &path(eks.cluster()), &body);
        assert_eq!(send(&eks, request).await.status, status, "{secret}");
    }
}

async fn keys(eks: &MockEksAuth) -> u16 {
    let request = http::Request::get("/keys").header("host", "issuer.test");
    let request = request.body(Default::default()).unwrap();
    let mut client = Client::connect(eks).await.unwrap();
    client.send(request).await.unwrap().status
}

#[tokio::test]
async fn without_a_settable_clock_events_happen_in_real_time() {
    let scenario = Scenario::from_toml("[[timeline]]\nat = \"20ms\"\nrotate_token = true").unwrap();
    let agent = MockAgent::builder()
        .scenario(&scenario)
        .start()
        .await
        .unwrap();
    let first = agent.token();
    let rotated = async {
        while agent.token() == first {
            tokio::task::yield_now().await;
        }
    };
    soon(rotated).await;
}

#[test]
fn a_test_without_a_runtime_catches_up() {
    let toml = "[[timeline]]\nat = \"1m\"\nrotate_token = true";
    let scenario = Scenario::from_toml(toml).unwrap();
    let (clock, given) = clock();
    let builder = MockAgent::builder().scenario(&scenario).clock(given);
    let agent = builder.start_blocking().unwrap();
    let first = agent.token();
    clock.advance(MINUTE);
    agent.catch_up().unwrap();
    assert_ne!(agent.token(), first);
}

#[tokio::test]
async fn settings_of_the_builder_take_precedence_in_any_order() {
    let scenario = Scenario::from_toml(
        r#"
        [pod]
        namespace = "shop"

        [agent]
        token_policy = "any"
        credential_lifetime = "30m"

        [eks]
        cluster = "prod"
        region = "eu-west-1"
        roles = [{ arn = "arn:aws:iam::111122223333:role/known" }]
        "#,
    )
    .unwrap();
    let (_clock, given) = clock();
    let agent = MockAgent::builder()
        .clock(given)
        .lifetime(MINUTE * 20)
        .scenario(&scenario)
        .token_policy(TokenPolicy::JwtShaped)
        .start()
        .await
        .unwrap();
    let body = ask(&agent).await.json();
    let expiration = body["Expiration"].as_str().unwrap();
    assert_eq!(
        Timestamp::parse_rfc3339(expiration).unwrap(),
        NOW + MINUTE * 20
    );
    assert_eq!(ask_with(&agent, "no token").await.status(), 400);
    let claims = agent.requests()[0].claims.clone().unwrap();
    assert_eq!(claims.namespace.as_deref(), Some("shop"));
    assert!(claims.issuer.unwrap().contains("eu-west-1"));

    let eks = MockEksAuth::builder()
        .cluster("test")
        .scenario(&scenario)
        .role(Role::new("arn:aws:iam::111122223333:role/mine"))
        .start()
        .await
        .unwrap();
    assert_eq!((eks.cluster(), eks.region()), ("test", "eu-west-1"));
}
