//! The start, the environment for a process, recorded requests, and expectations.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::time::Duration;

use pod_identity_core::TokenDigest;
use pod_identity_testkit::{Fault, MockAgent, Stage};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{NOW, soon};
use crate::raw::{Raw, agent, ask, ask_with, at_rest, get};

#[tokio::test]
async fn the_environment_of_a_container_is_only_in_a_lookup_and_a_command() {
    let agent = agent().await;
    let lookup = agent.lookup();
    let uri = format!("http://{}/v1/credentials", agent.address());
    assert_eq!(
        lookup("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        Some(uri.clone())
    );
    let file = lookup("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").unwrap();
    assert_eq!(
        std::fs::read_to_string(file).unwrap(),
        agent.token().expose()
    );
    assert_eq!(lookup("PATH"), None);

    let mut command = Command::new("true");
    command.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/would/win");
    agent.apply_to(&mut command);
    let given = |name: &str| {
        let mut all = command.get_envs();
        all.find_map(|(known, value)| (known == name).then_some(value))
    };
    assert_eq!(
        given("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        Some(Some(uri.as_ref()))
    );
    assert_eq!(given("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), Some(None));
    assert_eq!(given("AWS_CONTAINER_AUTHORIZATION_TOKEN"), Some(None));
}

#[tokio::test]
async fn it_runs_over_ipv6_and_on_a_given_listener() {
    // A machine without IPv6 has only the other address.
    if let Ok(agent) = at_rest().0.ipv6().start().await {
        assert!(agent.uri().starts_with("http://[::1]:"));
        assert_eq!(ask(&agent).await.status(), 200);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let agent = at_rest().0.listener(listener).start().await.unwrap();
    assert_eq!(agent.address(), address);
    assert_eq!(ask(&agent).await.status(), 200);
}

#[test]
fn a_test_without_a_runtime_can_use_it() {
    use std::io::{Read, Write};

    let agent = MockAgent::start_blocking();
    agent.inject(Fault::close(Stage::AfterBody));
    let mut stream = std::net::TcpStream::connect(agent.address()).unwrap();
    stream
        .write_all(get(agent.token().expose()).as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    agent.wait_for_requests(1);
    agent.wait_for_answers(1);
    agent.wait_until_idle();

    let address = agent.address();
    agent.stop();
    std::net::TcpStream::connect(address).unwrap_err();
    agent.restart().unwrap();
    std::net::TcpStream::connect(address).unwrap();
    drop(agent);
    std::net::TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn dropping_it_closes_the_port_and_removes_the_token() {
    let agent = agent().await;
    let (address, path) = (agent.address(), agent.volume().token_path().to_owned());
    let mut raw = Raw::connect(&agent).await;
    drop(agent);
    raw.rest().await;
    TcpStream::connect(address).await.unwrap_err();
    assert!(!path.exists());
}

#[tokio::test]
async fn agents_are_independent_of_each_other() {
    let mut agents = Vec::new();
    for _ in 0..50 {
        agents.push(agent().await);
    }
    agents[7].inject_always(Fault::status(500));
    for (index, agent) in agents.iter().enumerate() {
        let expected = if index == 7 { 500 } else { 200 };
        assert_eq!(ask(agent).await.status(), expected);
        assert_eq!(agent.request_count(), 1);
    }
    let tokens: HashSet<String> = agents
        .iter()
        .map(|agent| agent.token().expose().to_owned())
        .collect();
    assert_eq!(tokens.len(), 50);
}

#[tokio::test]
async fn a_request_is_recorded_with_its_sender_and_its_outcome() {
    let (builder, clock) = at_rest();
    let agent = builder
        .service_account("shop", "cart")
        .start()
        .await
        .unwrap();
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    raw.answer().await;
    clock.advance(Duration::from_secs(60));
    agent.inject(Fault::status(429));
    raw.ask(&agent).await;
    raw.answer().await;
    ask_with(&agent, "junk").await;

    let requests = agent.requests();
    let [granted, limited, junk] = requests.as_slice() else {
        panic!("three requests: {requests:?}")
    };
    assert_eq!(
        (granted.at, granted.connection, granted.method.as_str()),
        (NOW, 1, "GET")
    );
    assert_eq!(granted.path, "/v1/credentials");
    assert_eq!(granted.host.as_deref(), Some("169.254.170.23"));
    assert_eq!(granted.headers.len(), 2);
    assert_eq!(
        granted.token,
        Some(TokenDigest::of(agent.token().expose().as_bytes()))
    );
    let claims = granted.claims.as_ref().unwrap();
    assert_eq!(claims.service_account.as_deref(), Some("cart"));
    let outcome = granted.outcome.as_ref().unwrap();
    assert_eq!((outcome.status, outcome.ending), (Some(200), None));
    assert_eq!(outcome.access_key_id.as_ref(), agent.served().first());

    assert_eq!(
        (limited.at, limited.connection),
        (NOW + Duration::from_secs(60), 1)
    );
    assert_eq!(limited.outcome.as_ref().unwrap().status, Some(429));
    assert_eq!(
        (junk.connection, &junk.claims, junk.token_age),
        (2, &None, None)
    );
    assert_eq!((agent.request_count(), agent.connection_count()), (3, 2));
}

#[tokio::test]
async fn waiting_for_past_requests_returns_at_once() {
    let agent = agent().await;
    ask(&agent).await;
    soon(agent.wait_for_requests(1)).await;
    soon(agent.wait_for_answers(1)).await;
    soon(agent.wait_until_idle()).await;
}

/// Returns the panic message of dropping it.
fn complaint(agent: MockAgent) -> Option<String> {
    let panic = panic::catch_unwind(AssertUnwindSafe(|| drop(agent))).err()?;
    panic.downcast_ref::<String>().cloned()
}

#[tokio::test]
async fn met_expectations_do_not_panic() {
    let agent = agent().await;
    agent
        .expect()
        .times(3)
        .at_least(1)
        .at_most(3)
        .single_flight()
        .token_reread()
        .no_bearer_prefix()
        .connection_reuse();
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    raw.answer().await;
    agent.rotate();
    agent.inject(Fault::close(Stage::AfterBody));
    raw.ask(&agent).await;
    raw.answer().await;
    ask(&agent).await;
    agent.verify();
    assert_eq!(complaint(agent), None);
}

#[tokio::test]
async fn each_unmet_expectation_names_what_is_wrong() {
    let agent = agent().await;
    agent
        .expect()
        .times(1)
        .at_least(4)
        .at_most(2)
        .single_flight()
        .token_reread()
        .no_bearer_prefix()
        .connection_reuse()
        .paced(Duration::from_secs(1));
    let old = agent.token();
    let gate = agent.gate();
    let mut one = Raw::connect(&agent).await;
    one.ask(&agent).await;
    soon(agent.wait_for_requests(1)).await;
    let mut other = Raw::connect(&agent).await;
    other.ask(&agent).await;
    soon(gate.wait_for(2)).await;
    gate.release();
    one.answer().await;
    other.answer().await;
    agent.rotate();
    agent.inject(Fault::reset(Stage::InBody));
    other.send(&get(&format!("Bearer {}", old.expose()))).await;
    other.rest().await;

    let secret = old.expose().to_owned();
    let complaint = complaint(agent).unwrap();
    for part in [
        "mock agent at 127.0.0.1:",
        "expected 1 requests, saw 3",
        "expected at least 4 requests, saw 3",
        "expected at most 2 requests, saw 3",
        "expected one request at a time, saw 2 in flight",
        "request 3 did not bring the current token",
        "request 3 has `Bearer ` before its token",
        "request 2 came over a new connection",
        "request 2 came less than 1s after the last",
        "   1  +0.000 s  connection 1  GET /v1/credentials  current token  200 ASIA",
        "   3  +0.000 s  connection 2  GET /v1/credentials  Bearer token of 1 rotations ago  400 reset InBody",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    assert!(!complaint.contains(&secret));
}

#[tokio::test]
async fn rate_and_timeline_expectations_follow_the_clock() {
    let (builder, clock) = at_rest();
    let agent = builder.start().await.unwrap();
    let minute = Duration::from_secs(60);
    agent.expect().paced(minute).single_flight();
    for _ in 0..3 {
        ask(&agent).await;
        clock.advance(minute + Duration::from_millis(250));
    }
    agent.verify();
    clock.advance(59 * minute);
    agent.inject(Fault::status(503));
    ask(&agent).await;
    clock.advance(minute - Duration::from_millis(1));
    ask(&agent).await;

    let complaint = complaint(agent).unwrap();
    let lines: Vec<&str> = complaint.lines().collect();
    assert!(lines[0].ends_with("request 5 came less than 60s after the last"));
    let expected = [
        "   1  +0.000 s  connection 1  GET /v1/credentials  current token  200 ASIA",
        "   2  +60.250 s  connection 2  GET /v1/credentials  current token  200 ASIA",
        "   3  +120.500 s  connection 3  GET /v1/credentials  current token  200 ASIA",
        "   4  +3720.750 s  connection 4  GET /v1/credentials  current token  503",
        "   5  +3780.749 s  connection 5  GET /v1/credentials  current token  200 ASIA",
    ];
    assert_eq!(lines.len(), 1 + expected.len(), "{complaint}");
    for (line, expected) in lines[1..].iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[tokio::test]
async fn a_panicking_test_does_not_panic_again() {
    let agent = agent().await;
    agent.expect().times(7);
    let panic = panic::catch_unwind(AssertUnwindSafe(|| {
        let _agent = agent;
        panic!("the test's own message");
    }));
    let message = panic.unwrap_err();
    assert_eq!(
        message.downcast_ref::<&str>(),
        Some(&"the test's own message")
    );
}
