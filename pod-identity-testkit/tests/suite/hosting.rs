//! The runtime of a mock, and the limit of waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use pod_identity_testkit::{MockAgent, MockEksAuth};

use crate::common::{assume, shop, token};
use crate::raw::get;

/// Sends a request over a blocking socket, as a test that waits for a child process blocks.
fn ask(agent: &MockAgent) -> String {
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    let request = get(agent.token().expose());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_mock_answers_while_the_test_blocks_its_only_thread() {
    let agent = MockAgent::start().await;
    assert!(ask(&agent).starts_with("HTTP/1.1 200 OK"));
    agent.stop().await;
    TcpStream::connect(agent.address()).unwrap_err();
    agent.restart().await.unwrap();
    assert!(ask(&agent).starts_with("HTTP/1.1 200 OK"));
    let address = agent.address();
    drop(agent);
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn a_wait_that_times_out_reports_what_was_recorded() {
    let limit = Duration::from_millis(50);
    let agent = MockAgent::builder().wait_limit(limit);
    let agent = agent.start_blocking().unwrap();
    ask(&agent);
    let seen = failure(|| agent.wait_for_requests(2));
    for part in [
        "waited 50ms for 2 requests",
        "saw 1 requests over 1 connections",
        "GET /v1/credentials",
    ] {
        assert!(seen.contains(part), "{seen}");
    }
    let eks = MockEksAuth::builder().wait_limit(limit);
    let eks = eks.start_blocking().unwrap();
    let seen = failure(|| eks.wait_for_answers(1));
    assert!(seen.contains("for 1 answers, saw 0 requests"), "{seen}");
}

#[tokio::test]
async fn the_date_header_follows_the_clock() {
    let (eks, clock) = shop().await;
    let dates = async || assume(&eks, &token(&eks)).await.header("date").to_owned();
    assert_eq!(dates().await, "Sun, 01 Mar 2026 12:00:00 GMT");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(dates().await, "Sun, 01 Mar 2026 13:00:00 GMT");
}

fn failure(test: impl FnOnce()) -> String {
    let failed = panic::catch_unwind(AssertUnwindSafe(test)).unwrap_err();
    *failed.downcast::<String>().unwrap()
}
