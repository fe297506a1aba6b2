//! The shutdown of `server`: whom it still answers, and what does not delay it.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::support::client::{self, Client, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, Server, address_of, arguments};
use crate::support::shop::{shop, token};
use crate::support::{SECOND, soon};

#[tokio::test]
async fn an_incomplete_header_does_not_delay_shutdown() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut half = Client::connect(server.credentials).await;
        half.send_bytes(b"GET /v1/credentials HTTP/1.1\r\nHost:")
            .await;
        halves.push(half);
    }
    client::insist(server.credentials, &token(&eks)).await.key();
    let began = Instant::now();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test]
async fn connections_accepted_by_the_kernel_are_answered_during_shutdown() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let token = token(&eks);
    client::insist(server.credentials, &token).await.key();
    // While it is stopped, both arrive.
    server.program.signal(Signal::STOP);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(server.credentials).await);
    }
    server.program.signal(Signal::TERM);
    server.program.signal(Signal::CONT);
    server.program.stdout.says("stopping").await;
    for client in &mut clients {
        client.send(Request::with_token(&token)).await;
    }
    for client in &mut clients {
        client.answer().await.key();
    }
    assert_eq!(server.program.end().await.code, Some(0));
}

/// Requires root: the program gets an `/etc/resolv.conf` of its own.
#[tokio::test]
async fn a_silent_name_server_does_not_delay_shutdown() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tested: this takes root");
        return;
    }
    let name_server = UdpSocket::bind("127.0.53.53:53").unwrap();
    name_server.set_nonblocking(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("resolv.conf");
    fs::write(&configuration, "nameserver 127.0.53.53\n").unwrap();
    let program = Program::with_resolver(
        &configuration,
        &arguments("test-cluster", "http://eks-auth.example:9"),
        &[&NODE_CREDENTIALS[..], &[("AWS_REGION", "us-west-2")]].concat(),
    );
    address_of(&program, "credentials").await;
    // The probe of EKS Auth resolves its name.
    soon(async {
        while name_server.recv(&mut [0; 512]).is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let began = Instant::now();
    program.signal(Signal::TERM);
    assert_eq!(program.end().await.code, Some(0));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}
