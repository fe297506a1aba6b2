//! The delivery of answers by the mock of EKS Auth.

use std::time::Duration;

use pod_identity_core::wire::eks_auth::{ErrorCode, path};
use pod_identity_testkit::{Defect, Ending, Fault, Gate, MockEksAuth, Stage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{NOW, assume, shop, soon, token};

const STAGES: [Stage; 4] = [
    Stage::BeforeHeaders,
    Stage::InHeaders,
    Stage::InBody,
    Stage::AfterBody,
];

/// Sends a request with a valid token, in one piece or with a chunked body.
async fn ask(eks: &MockEksAuth, chunked: bool) -> TcpStream {
    let mut stream = TcpStream::connect(eks.address()).await.unwrap();
    let body = json!({ "token": token(eks) }).to_string();
    let framed = match chunked {
        false => format!("content-length: {}\r\n\r\n{body}", body.len()),
        true => {
            let (first, rest) = body.split_at(10);
            format!(
                "transfer-encoding: chunked\r\n\r\na\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
                rest.len()
            )
        }
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: eks-auth.test\r\nauthorization: AWS4-HMAC-SHA256 x\r\n",
        path(eks.cluster())
    );
    stream
        .write_all(format!("{head}{framed}").as_bytes())
        .await
        .unwrap();
    stream
}

/// Returns the bytes up to the end of the connection, and whether that was a reset.
async fn rest(mut stream: TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let read = soon(stream.read_to_end(&mut bytes)).await;
    (String::from_utf8(bytes).unwrap(), read.is_err())
}

/// Returns the stage up to which an answer was received.
fn stage(answer: &str) -> Stage {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return match answer {
            "" => Stage::BeforeHeaders,
            _ => Stage::InHeaders,
        };
    };
    let mut lengths = head
        .lines()
        .filter_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = lengths.next().unwrap().parse().unwrap();
    match body.len() < length {
        true => Stage::InBody,
        false => Stage::AfterBody,
    }
}

#[tokio::test]
async fn a_connection_ends_at_each_stage() {
    let (eks, _clock) = shop().await;
    for at in STAGES {
        for (fault, ending, is_reset) in [
            (Fault::close(at), Ending::Closed(at), false),
            (Fault::reset(at), Ending::Reset(at), true),
        ] {
            eks.inject(fault);
            let (answer, was_reset) = rest(ask(&eks, false).await).await;
            assert_eq!((stage(&answer), was_reset), (at, is_reset), "{ending:?}");
            let outcome = eks.requests().pop().unwrap().outcome.unwrap();
            assert_eq!(outcome.ending, Some(ending));
            assert_eq!(outcome.status.is_none(), at == Stage::BeforeHeaders);
        }
    }
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn a_response_stalls_in_its_body_until_the_faults_are_cleared() {
    let (eks, _clock) = shop().await;
    eks.inject_always(Fault::stall(Stage::InBody));
    let mut stream = ask(&eks, false).await;
    let mut answer = Vec::new();
    while stage(std::str::from_utf8(&answer).unwrap()) < Stage::InBody {
        soon(stream.read_buf(&mut answer)).await.unwrap();
    }
    assert_eq!(eks.in_flight(), 1);
    eks.clear_faults();
    while stage(std::str::from_utf8(&answer).unwrap()) < Stage::AfterBody {
        soon(stream.read_buf(&mut answer)).await.unwrap();
    }
    soon(eks.wait_until_idle()).await;
}

#[tokio::test]
async fn a_gate_holds_the_headers_of_one_response() {
    let (eks, _clock) = shop().await;
    let gate = Gate::new();
    eks.inject(Fault::hold(Stage::InHeaders, &gate));
    let stream = ask(&eks, false).await;
    soon(gate.wait_for(1)).await;
    gate.release();
    soon(eks.wait_for_answers(1)).await;
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_response_drips_byte_by_byte() {
    let (eks, _clock) = shop().await;
    let interval = Duration::from_secs(1);
    eks.inject(Fault::drip(interval));
    let begun = tokio::time::Instant::now();
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(answer.status, 200);
    let least = interval * u32::try_from(answer.body.len()).unwrap();
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn bodies_can_be_chunked_defective_and_expired() {
    let (eks, _clock) = shop().await;
    let body = async |fault: Fault| {
        eks.inject(fault);
        assume(&eks, &token(&eks)).await
    };
    let chunked = body(Fault::chunked()).await;
    assert_eq!(chunked.header("transfer-encoding"), "chunked");
    assert_eq!(chunked.json()["subject"]["namespace"], "shop");
    assert!(body(Fault::oversize()).await.body.len() > 64 * 1024);
    let marked = body(Fault::byte_order_mark()).await.body;
    assert!(marked.starts_with('\u{feff}'), "{marked}");
    let renamed = Defect::Renamed("expires".to_owned());
    let renamed = body(Fault::field("credentials.expiration", renamed))
        .await
        .json();
    assert!(renamed["credentials"]["expires"].is_i64(), "{renamed}");
    assert_eq!(renamed["credentials"]["expiration"], Value::Null);
    let minute = Duration::from_secs(60);
    let expired = body(Fault::expired_for(minute)).await.json();
    let expiration = (NOW - minute).as_unix_secs();
    assert_eq!(expired["credentials"]["expiration"], expiration);
    let redirected = body(Fault::redirect(307, "http://10.0.0.7/")).await;
    let location = redirected.header("location");
    assert_eq!((redirected.status, location), (307, "http://10.0.0.7/"));
}

#[tokio::test]
async fn a_request_can_be_chunked() {
    let (eks, _clock) = shop().await;
    let stream = ask(&eks, true).await;
    soon(eks.wait_for_answers(1)).await;
    let outcome = eks.requests().pop().unwrap().outcome.unwrap();
    assert_eq!(outcome.status, Some(200));
    drop(stream);
}

#[tokio::test]
async fn a_queued_response_is_sent_while_every_other_request_stalls() {
    let (eks, _clock) = shop().await;
    eks.inject(ErrorCode::Throttling);
    eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    assert_eq!(soon(assume(&eks, &token(&eks))).await.status, 429);
    let stalled = ask(&eks, false).await;
    soon(eks.wait_for_requests(2)).await;
    assert_eq!(eks.in_flight(), 1);
    drop(stalled);
    soon(eks.wait_until_idle()).await;
}
