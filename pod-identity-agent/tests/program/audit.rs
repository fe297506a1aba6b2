//! The audit in a file: rotation, incomplete lines, permissions, and a FIFO.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::yield_now;

use crate::support::client::{self, Request};
use crate::support::process::Server;
use crate::support::shop::{shop, token};
use crate::support::{pod, soon};

#[tokio::test]
async fn sighup_reopens_the_file() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let [file, rotated] = ["audit.log", "audit.log.1"].map(|name| folder.path().join(name));
    let server = audited(&eks, &file).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    // A thread writes the line, after the answer.
    soon(async {
        while lines(&file).is_empty() {
            yield_now().await;
        }
    })
    .await;
    fs::rename(&file, &rotated).unwrap();
    server.program.signal(Signal::HUP);
    server.program.stdout.says("audit log reopened").await;
    for _ in 0..2 {
        client::insist(server.credentials, &token(&eks)).await.key();
    }
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
    assert_eq!([lines(&rotated).len(), lines(&file).len()], [1, 2]);
}

#[tokio::test]
async fn a_verified_pod_is_named_and_what_nobody_has_verified_is_marked() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let endpoint = eks.endpoint();
    let flags = ["--oidc-issuer", &endpoint, "--key-cache=off", "--audit-log"];
    let flags = [&flags[..], &[file.to_str().unwrap()]].concat();
    let server = Server::start(&eks, &flags).await;
    server.program.stdout.says("tokens are verified").await;
    for _ in 0..2 {
        client::insist(server.credentials, &token(&eks)).await.key();
    }
    let unbound = eks
        .issuer()
        .token("shop", "cart")
        .without_claim("kubernetes.io");
    let unbound = unbound.mint(SystemClock.now());
    client::ask(server.credentials, Request::with_token(&unbound)).await;
    server.program.signal(Signal::TERM);
    server.program.end().await;

    let lines = lines(&file);
    let told: Vec<_> = lines
        .iter()
        .map(|line| [&line["outcome"], &line["pod"], &line["service-account"]])
        .collect();
    assert_eq!(told[0], ["issued", "cart-0", "cart"]);
    assert_eq!(told[1], ["verified", "cart-0", "cart"]);
    assert!(lines[1]["pod-uid"].is_string() && lines[1]["claimed-pod"].is_null());
    assert!(lines[2]["pod"].is_null(), "{}", lines[2]);
}

#[tokio::test]
async fn without_a_file_sighup_changes_nothing() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    server.program.signal(Signal::HUP);
    client::insist(server.credentials, &token(&eks)).await.key();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
}

#[tokio::test]
async fn an_incomplete_last_line_is_terminated_and_the_file_is_not_readable_by_others() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    fs::write(&file, "{\"level\":\"in").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let server = audited(&eks, &file).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    server.program.signal(Signal::TERM);
    server.program.end().await;
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(lines(&file).len(), 1, "and the torn one");
}

#[tokio::test]
async fn a_fifo_without_a_reader_does_not_delay_the_start() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("audit");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let server = audited(&eks, &fifo).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    let mut reader = BufReader::new(fs::File::open(&fifo).unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("\"outcome\":\"issued\""), "{line}");
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
}

async fn audited(eks: &MockEksAuth, file: &Path) -> Server {
    Server::start(eks, &["--audit-log", file.to_str().unwrap()]).await
}

/// Returns the complete lines.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.collect()
}

#[tokio::test]
async fn a_token_that_is_used_from_another_address_is_recorded_once_for_each() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let more = ["--audit-log", file.to_str().unwrap(), "--audit-hits=true"];
    let server = Server::start(&eks, &more).await;
    let token = token(&eks);
    client::insist(server.credentials, &token).await.key();
    for address in [pod(1), pod(1), pod(2), pod(1)] {
        let request = Request::with_token(&token);
        client::ask_from(address, server.credentials, request)
            .await
            .key();
    }
    client::insist(server.credentials, &token).await.key();
    server.program.signal(Signal::TERM);
    server.program.end().await;
    let lines = lines(&file);
    let text = |name: &str| -> Vec<_> { lines.iter().map(|line| line[name].clone()).collect() };
    assert_eq!(text("outcome"), ["issued", "hit", "hit"]);
    let [first, one, two] = [0, 1, 2].map(|n| match n {
        0 => "127.0.0.1".to_owned(),
        number => pod(number).to_string(),
    });
    assert_eq!(text("source"), [first.as_str(), &one, &two]);
    assert_eq!(lines[1]["first-source"], first);
    assert_eq!(lines[1]["namespace"], "shop");
    assert!(!fs::read_to_string(&file).unwrap().contains(&token));
}
