//! Faults of the connection, byte by byte.

use std::io;
use std::time::Duration;

use pod_identity_testkit::{Ending, Fault, Gate, MockAgent, Stage};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::common::soon;
use crate::raw::{End, Raw, agent, ask, header};

const STAGES: [Stage; 4] = [
    Stage::BeforeHeaders,
    Stage::InHeaders,
    Stage::InBody,
    Stage::AfterBody,
];

/// Asserts that the bytes are an answer exactly up to this stage.
fn reaches(bytes: &[u8], stage: Stage) -> bool {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let has_head = text.contains("\r\n\r\n");
    let length = header(head, "Content-Length").parse().unwrap_or(usize::MAX);
    match stage {
        Stage::BeforeHeaders => text.is_empty(),
        Stage::InHeaders => text.starts_with("HTTP/1.1 200 OK\r\n") && !has_head,
        Stage::InBody => has_head && (1..length).contains(&body.len()),
        Stage::AfterBody => body.len() == length,
        _ => panic!("no check for {stage:?}"),
    }
}

async fn ended(agent: &MockAgent) -> (Vec<u8>, End) {
    let mut raw = Raw::connect(agent).await;
    raw.ask(agent).await;
    raw.rest().await
}

#[tokio::test]
async fn a_reset_happens_at_its_stage() {
    let agent = agent().await;
    for (index, stage) in STAGES.into_iter().enumerate() {
        agent.inject(Fault::reset(stage));
        let (bytes, end) = ended(&agent).await;
        assert!(reaches(&bytes, stage), "{stage:?}: {bytes:?}");
        assert_eq!(end, End::Reset, "{stage:?}");
        let outcome = agent.requests()[index].outcome.clone().unwrap();
        assert_eq!(outcome.ending, Some(Ending::Reset(stage)));
        assert_eq!(outcome.status.is_none(), stage == Stage::BeforeHeaders);
    }
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn a_close_happens_at_its_stage_and_can_truncate_the_body() {
    let agent = agent().await;
    for stage in STAGES {
        agent.inject(Fault::close(stage));
        let (bytes, end) = ended(&agent).await;
        assert!(reaches(&bytes, stage), "{stage:?}: {bytes:?}");
        assert_eq!(end, End::Fin, "{stage:?}");
    }
    assert_eq!(ask(&agent).await.status(), 200);
}

#[tokio::test]
async fn a_chunked_body_is_complete_or_ends_within_a_chunk() {
    let agent = agent().await;
    agent.inject(Fault::chunked());
    agent.inject(Fault::close(Stage::AfterBody));
    let (whole, _fin) = ended(&agent).await;
    let whole = String::from_utf8(whole).unwrap();
    assert!(whole.contains("\r\nTransfer-Encoding: chunked\r\n"));
    assert!(!whole.contains("Content-Length"));
    assert!(whole.ends_with("\r\n0\r\n\r\n"));
    assert!(dechunked(&whole).unwrap().ends_with("Z\"}"));

    agent.inject(Fault::chunked());
    agent.inject(Fault::close(Stage::InBody));
    let (part, end) = ended(&agent).await;
    assert_eq!(end, End::Fin);
    assert_eq!(dechunked(std::str::from_utf8(&part).unwrap()), None);
}

/// Returns the body of a chunked answer; `None` if it is truncated.
fn dechunked(answer: &str) -> Option<String> {
    let (_, mut rest) = answer.split_once("\r\n\r\n")?;
    let mut body = String::new();
    loop {
        let (length, chunk) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(chunk.get(..length)?);
        rest = chunk.get(length..)?.strip_prefix("\r\n")?;
    }
}

#[tokio::test]
async fn a_held_response_stops_at_its_stage_until_its_gate_opens() {
    let agent = agent().await;
    for stage in STAGES {
        let gate = Gate::new();
        agent.inject(Fault::hold(stage, &gate));
        let mut raw = Raw::connect(&agent).await;
        raw.ask(&agent).await;
        soon(gate.wait_for(1)).await;
        assert_eq!(agent.in_flight(), 1);
        let mut bytes = Vec::new();
        while !reaches(&bytes, stage) {
            bytes.extend(raw.bytes(1).await);
        }
        gate.release();
        soon(agent.wait_until_idle()).await;
        // The half that was held, which may have arrived with the other one.
        assert_eq!(raw_status(&mut raw, bytes).await, 200);
    }
}

/// Reads the rest of an answer.
async fn raw_status(raw: &mut Raw, mut bytes: Vec<u8>) -> u16 {
    while !reaches(&bytes, Stage::AfterBody) {
        bytes.extend(raw.bytes(1).await);
    }
    let text = String::from_utf8(bytes).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_stalled_response_continues_when_the_faults_are_cleared() {
    let agent = agent().await;
    for stage in STAGES {
        agent.inject_always(Fault::stall(stage));
    }
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    soon(agent.wait_for_requests(1)).await;
    assert_eq!(agent.requests()[0].outcome, None);
    agent.clear_faults();
    assert_eq!(raw.answer().await.status(), 200);
}

#[tokio::test]
async fn a_stall_ends_when_its_client_disconnects() {
    let agent = agent().await;
    for (stage, answered) in STAGES.into_iter().zip(1..) {
        agent.inject(Fault::stall(stage));
        let mut raw = Raw::connect(&agent).await;
        raw.ask(&agent).await;
        soon(agent.wait_for_requests(answered)).await;
        drop(raw);
        soon(agent.wait_until_idle()).await;
        assert_eq!(agent.requests()[answered - 1].outcome, None);
    }
}

#[tokio::test(start_paused = true)]
async fn latency_and_drip_follow_tokios_time() {
    let agent = agent().await;
    agent.inject(Fault::latency(Duration::from_secs(3600)));
    let start = Instant::now();
    let length = {
        let seen = ask(&agent).await;
        seen.head.len() + seen.body.len()
    };
    assert_eq!(start.elapsed().as_secs(), 3600);

    agent.inject(Fault::drip(Duration::from_secs(1)));
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    let start = Instant::now();
    assert_eq!(raw.bytes(10).await, b"HTTP/1.1 2");
    assert_eq!(start.elapsed().as_secs(), 9);
    agent.clear_faults();
    let rest = raw.bytes(length - 10).await;
    assert!(rest.starts_with(b"00 OK\r\n") && rest.ends_with(b"Z\"}"));
    assert_eq!(start.elapsed().as_secs(), 9, "the rest comes at once");
}

#[tokio::test(start_paused = true)]
async fn with_its_last_byte_a_dripped_response_is_answered() {
    let agent = agent().await;
    agent.inject_always(Fault::drip(Duration::from_secs(1)));
    for answered in 1..=2 {
        let mut raw = Raw::connect(&agent).await;
        raw.ask(&agent).await;
        assert_eq!(raw.answer().await.status(), 200);
        // It leaves as soon as it has the answer, and the next client finds nothing in flight.
        drop(raw);
        let request = agent.requests().pop().unwrap();
        assert_eq!(request.in_flight, 1);
        let outcome = request.outcome.unwrap();
        assert_eq!(outcome.access_key_id, agent.served().last().cloned());
        assert_eq!(agent.served().len(), answered);
    }
}

#[tokio::test]
async fn a_connection_closed_after_its_response_fails_the_next_request() {
    let agent = agent().await;
    agent.inject(Fault::close(Stage::AfterBody));
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    let seen = raw.answer().await;
    assert_eq!((seen.status(), seen.header("Connection")), (200, ""));
    assert_eq!(raw.rest().await, (Vec::new(), End::Fin));

    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    raw.answer().await;
    agent.inject(Fault::close(Stage::BeforeHeaders));
    raw.ask(&agent).await;
    assert_eq!(raw.rest().await, (Vec::new(), End::Fin));
}

#[tokio::test]
async fn a_stopped_agent_refuses_connections_and_a_restarted_one_keeps_its_port() {
    let agent = agent().await;
    let uri = agent.uri();
    for round in 1..=3 {
        assert_eq!(ask(&agent).await.status(), 200);
        soon(agent.stop()).await;
        let refused = TcpStream::connect(agent.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        agent.restart().await.unwrap();
        assert_eq!((agent.uri(), agent.request_count()), (uri.clone(), round));
    }
}

#[tokio::test]
async fn stopping_ends_stalled_responses() {
    let agent = agent().await;
    agent.inject_always(Fault::stall(Stage::InBody));
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    soon(agent.wait_for_requests(1)).await;
    soon(agent.stop()).await;
    assert_eq!(agent.in_flight(), 0);
    let (_bytes, end) = raw.rest().await;
    assert_eq!(end, End::Fin);
}
