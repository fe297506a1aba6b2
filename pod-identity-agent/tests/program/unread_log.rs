//! `server` while its log is not read: the container runtime restarts, or its disk is full.

use std::fs;

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;

use crate::support::client::{self, Client, Request};
use crate::support::pod;
use crate::support::process::Server;
use crate::support::shop::{shop, token};

#[tokio::test]
async fn pods_are_answered_and_dropped_lines_counted_and_the_process_exits() {
    let eks = shop().await;
    let server = Server::start(&eks, &UNBOUND).await;
    let held = token(&eks);
    client::insist(server.credentials, &held).await.key();
    server.program.stdout.read(false);

    exchange(&eks, &server, MORE_THAN_THE_AGENT_KEEPS).await;
    assert!(lost(&server, "audit").await > 0);
    let answer = client::ask(server.credentials, Request::with_token(&held)).await;
    answer.key();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
}

#[tokio::test]
async fn queued_lines_are_written_at_shutdown_if_the_reader_resumes() {
    let eks = shop().await;
    let server = Server::start(&eks, &UNBOUND).await;
    server.program.stdout.read(false);
    exchange(&eks, &server, MORE_THAN_A_PIPE_HOLDS).await;
    assert_eq!(lost(&server, "audit").await, 0);

    server.program.stdout.read(true);
    server.program.signal(Signal::TERM);
    server.program.stdout.says("stopping").await;
    let ended = server.program.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(audited(&ended.stdout), MORE_THAN_A_PIPE_HOLDS);
}

#[tokio::test]
async fn an_audit_file_is_still_written() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let more = [&UNBOUND[..], &["--audit-log", file.to_str().unwrap()]].concat();
    let server = Server::start(&eks, &more).await;
    exchange(&eks, &server, 3).await;
    server.program.signal(Signal::TERM);
    let ended = server.program.end().await;
    assert_eq!((ended.code, audited(&ended.stdout)), (Some(0), 0));
    assert_eq!(audited(&fs::read_to_string(file).unwrap()), 3);
}

/// Causes this many exchanges with EKS Auth, each with another token, which it refuses: that is faster than
/// signing as many tokens.
async fn exchange(eks: &MockEksAuth, server: &Server, times: usize) {
    let longest_name = "p".repeat(253);
    let good = eks.issuer().token("shop", "cart").pod(longest_name);
    let good = good.mint(SystemClock.now());
    let (start, signature) = good.split_at(good.len() - 20);
    // A pod's own address: loopback's first is the node's, whose exchanges are limited to 20 per second.
    let mut client = Client::connect_from(pod(1), server.credentials).await;
    for number in 0..times {
        let forged = format!("{start}{number:010}{}", &signature[10..]);
        let answer = client.ask(Request::with_token(&forged)).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
}

/// Returns the lost lines of this log, according to the metrics.
async fn lost(server: &Server, log: &str) -> u64 {
    let page = client::ask(server.metrics, Request::of("/metrics")).await;
    let name = format!("pod_identity_log_lines_lost{{log=\"{log}\"}} ");
    let value = page.body.lines().find_map(|line| line.strip_prefix(&name));
    let value = value.unwrap_or_else(|| panic!("no {name}: {}", page.body));
    value.parse().unwrap()
}

fn audited(lines: &str) -> usize {
    lines.matches("\"msg\":\"audit\"").count()
}

/// One client represents many pods.
const UNBOUND: [&str; 4] = ["--pod-budget", "1000000/1000000", "--answer-within", "10s"];

/// 64 KiB on Linux, and a line of the audit has more than 400 bytes. The log has one refusal in a minute.
const MORE_THAN_A_PIPE_HOLDS: usize = 200;

/// 1 MiB, and the buffer of the pipe.
const MORE_THAN_THE_AGENT_KEEPS: usize = 3_000;
