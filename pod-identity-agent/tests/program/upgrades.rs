//! One agent takes over from another on the same addresses, as in a rolling update with a surge.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::client::{self, Client, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, Server, arguments};
use crate::support::shop::{shop, token};
use crate::support::{pod, soon};

const HANDOVERS: usize = 20;

#[tokio::test]
async fn in_twenty_handovers_under_load_no_request_is_refused_reset_or_unanswered() {
    let eks = shop().await;
    let token = token(&eks);
    let mut server = Server::start(&eks, &SHARED).await;
    let address = server.credentials;
    client::insist(address, &token).await.key();

    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    for number in 0..8 {
        let client = Load {
            number,
            address,
            token: token.clone(),
            stopped: stopped.clone(),
        };
        load.spawn(client.run());
    }
    let port = address.port().to_string();
    let more = [&SHARED[..], &["--port", &port]].concat();
    for _handover in 0..HANDOVERS {
        let successor = Server::start(&eks, &more).await;
        server.program.signal(Signal::TERM);
        let ended = server.program.end().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        server = successor;
    }
    stop.send_replace(true);
    let mut answered = 0;
    while let Some(client) = soon(load.join_next()).await {
        answered += client.expect("every request must be answered");
    }
    println!("{answered} requests in {HANDOVERS} handovers");
    assert!(answered >= 8 * HANDOVERS, "{answered}");
}

/// A client that asks all the time, over new connections or a kept one.
struct Load {
    number: usize,
    address: SocketAddr,
    token: String,
    stopped: watch::Receiver<bool>,
}

impl Load {
    /// The number of its requests, each of which was answered with credentials.
    async fn run(self) -> usize {
        let is_kept = self.number.is_multiple_of(2);
        let mut kept = None;
        let mut answered = 0;
        while !*self.stopped.borrow() {
            let mut client = match kept.take() {
                Some(client) => client,
                None => soon(Client::connect_from(pod(self.number), self.address)).await,
            };
            let answer = client.ask(Request::with_token(&self.token)).await;
            answer.key();
            answered += 1;
            if is_kept && answer.header("connection") != Some("close") {
                kept = Some(client);
            }
            // The pace of the load.
            sleep(Duration::from_millis(5)).await;
        }
        answered
    }
}

#[tokio::test]
async fn an_agent_that_cannot_reach_eks_auth_receives_no_request() {
    let eks = shop().await;
    let token = token(&eks);
    let server = Server::start(&eks, &SHARED).await;
    client::insist(server.credentials, &token).await.key();
    let port = server.credentials.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("probes.sock");
    let arguments = [
        &arguments(eks.cluster(), "http://127.0.0.1:9")[..],
        &SHARED,
        &["--port", &port, "--probe-socket", socket.to_str().unwrap()],
    ]
    .concat();
    let wrong = Program::start(&arguments, &ENVIRONMENT);
    wrong.stdout.says("another process listens").await;
    wrong.stdout.says("not ready").await;
    for _request in 0..20 {
        client::ask(server.credentials, Request::with_token(&token))
            .await
            .key();
    }
    assert_probe(&socket, "readyz", 1, "served by another process").await;
    // It is better than nobody.
    server.program.signal(Signal::KILL);
    wrong.stdout.says("listening").await;
}

#[tokio::test]
async fn an_address_that_another_agent_does_not_share_is_named_and_taken_when_it_is_free() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let port = server.credentials.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("probes.sock");
    let (path, endpoint) = (socket.to_str().unwrap(), eks.endpoint());
    let arguments = [
        &arguments(eks.cluster(), &endpoint)[..],
        &SHARED,
        &["--port", &port, "--probe-socket", path],
    ]
    .concat();
    let successor = Program::start(&arguments, &ENVIRONMENT);
    successor.stdout.says("address cannot be bound").await;
    assert_probe(&socket, "readyz", 1, "does not share it").await;
    assert_probe(&socket, "healthz", 0, "ok").await;
    server.program.signal(Signal::TERM);
    is_ready(&socket).await;
}

#[tokio::test]
async fn the_probe_asks_the_process_of_its_socket_only() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["1", "2"].map(|name| folder.path().join(name));
    let _ready = Server::start(&eks, &["--probe-socket", first.to_str().unwrap()]).await;
    is_ready(&first).await;
    let lost = MockEksAuth::start().await;
    let endpoint = lost.endpoint();
    drop(lost);
    let arguments = [
        &arguments(eks.cluster(), &endpoint)[..],
        &["--probe-socket", second.to_str().unwrap()],
    ]
    .concat();
    let unready = Program::start(&arguments, &ENVIRONMENT);
    unready.stdout.says("not ready").await;
    assert_probe(&second, "readyz", 1, "cannot be connected to").await;
    assert_probe(&first, "readyz", 0, "ok").await;

    let nobody = folder.path().join("3");
    let ended = Program::run(
        &["probe", "readyz", "--socket", nobody.to_str().unwrap()],
        &[],
    )
    .await;
    ended.assert_one_line(1, &["no answer at the probe socket", "/3: "]);
}

async fn is_ready(socket: &Path) {
    soon(async {
        while probe(socket, "readyz").await.0 != Some(0) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn assert_probe(socket: &Path, question: &str, code: i32, text: &str) {
    let (status, answer) = probe(socket, question).await;
    assert_eq!(status, Some(code), "{answer}");
    assert!(answer.contains(text), "{answer}");
}

async fn probe(socket: &Path, question: &str) -> (Option<i32>, String) {
    let arguments = ["probe", question, "--socket", socket.to_str().unwrap()];
    let ended = Program::run(&arguments, &[]).await;
    (ended.code, ended.stdout + &ended.stderr)
}

const SHARED: [&str; 1] = ["--reuse-port=true"];

const ENVIRONMENT: [(&str, &str); 4] = [
    NODE_CREDENTIALS[0],
    NODE_CREDENTIALS[1],
    ("AWS_REGION", "us-west-2"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
