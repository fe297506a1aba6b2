//! Hundreds of connections: slow, silent, endless, idle.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::client::{self, Client, Request};
use crate::support::process::Server;
use crate::support::shop::{shop, token};
use crate::support::{SECOND, pod, soon};

#[tokio::test]
async fn connections_with_endless_headers_are_closed_and_a_new_one_is_answered() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(900_000));
    let mut crowd = JoinSet::new();
    for number in 0..200 {
        let (address, endless) = (server.credentials, endless.clone());
        crowd.spawn(async move {
            let mut client = Client::connect_from(pod(number % 12), address).await;
            client.send_bytes(endless.as_bytes()).await;
            client
        });
    }
    let crowd = soon(crowd.join_all()).await;
    newcomer(&eks, &server).await;
    drop(crowd);
}

#[tokio::test]
async fn silent_connections_of_a_dozen_pods_do_not_block_a_new_one() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut silent = Vec::new();
    for number in 0..3000 {
        silent.push(Client::connect_from(pod(number % 12), server.credentials).await);
    }
    newcomer(&eks, &server).await;
    // Silent connections are bounded.
    soon(silent[0].closed()).await;
    soon(async {
        while descriptors(&server) >= 600 {
            sleep(SECOND / 10).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_floods_the_agent_still_gets_its_own_response() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Client::connect_from(pod(0), server.credentials).await);
    }
    let token = token(&eks);
    let answer = client::ask_from(pod(0), server.credentials, Request::with_token(&token)).await;
    answer.key();
}

#[tokio::test]
async fn idle_connections_make_room_for_another_of_their_pod() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut resting = Vec::new();
    for _ in 0..300 {
        let mut client = Client::connect_from(pod(0), server.credentials).await;
        client.ask(Request::of("/")).await;
        resting.push(client);
    }
    resting[0].closed().await;
    resting[299].ask(Request::of("/")).await;
}

#[tokio::test]
async fn without_free_descriptors_silent_connections_make_room_and_the_agent_continues() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let log = &server.program.stdout;
    // It has read what it needs of its system.
    log.says("EKS Auth is within reach").await;
    server.program.limit_open_files(96);
    let mut silent = Vec::new();
    for number in 0..200 {
        silent.push(Client::connect_from(pod(number % 12), server.credentials).await);
    }
    newcomer(&eks, &server).await;
    log.says("connections cannot be accepted").await;
    let said = log.said("connections cannot be accepted");
    assert_eq!(said.len(), 1, "once, not for each: {said:?}");
    drop(silent);
    newcomer(&eks, &server).await;
}

#[tokio::test]
async fn idle_connections_to_the_metrics_port_do_not_block_probes() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut resting = Vec::new();
    // More than the limit of the probes.
    for number in 0..17 * 256 {
        let mut client = Client::connect_from(pod(number % 17), server.metrics).await;
        client.send(Request::of("/healthz")).await;
        if client.is_answered().await {
            resting.push(client);
        }
    }
    assert!(!resting.is_empty());
    let alive = client::ask(server.probes, Request::of("/healthz")).await;
    alive.assert_text(200, "ok\n");
}

#[tokio::test]
async fn a_pod_that_floods_the_metrics_port_does_not_block_a_scraper() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let pages = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8);
    let mut flood = Vec::new();
    for _ in 0..300 {
        let mut client = Client::connect_from(pod(0), server.metrics).await;
        client.send_bytes(pages.as_bytes()).await;
        if client.is_answered().await {
            flood.push(client);
        }
    }
    let page = client::ask_from(pod(200), server.metrics, Request::of("/metrics")).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(!flood.is_empty());
}

/// A pod's limit is 256 connections; that of the node's own address, 1,024.
#[tokio::test]
async fn nine_hundred_simultaneous_clients_of_one_address_are_all_answered() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    for source in [pod(0), Ipv4Addr::LOCALHOST.into()] {
        let token = token(&eks);
        client::insist(server.credentials, &token).await.key();
        let mut crowd = JoinSet::new();
        for _ in 0..900 {
            let (address, token) = (server.credentials, token.clone());
            crowd.spawn(async move {
                let request = Request::with_token(&token);
                client::ask_from(source, address, request).await.key()
            });
        }
        let keys = soon(crowd.join_all()).await;
        assert_eq!(keys.len(), 900);
    }
}

#[tokio::test]
async fn nine_hundred_simultaneous_clients_of_one_address_are_all_answered_without_a_cached_response()
 {
    let eks = shop().await;
    // A busy machine is no reason for a 503.
    let server = Server::start(&eks, &["--answer-within=30s"]).await;
    for source in [pod(0), Ipv4Addr::LOCALHOST.into()] {
        let exchanges = eks.requests().len();
        let token = token(&eks);
        let mut crowd = JoinSet::new();
        for _ in 0..900 {
            let (address, token) = (server.credentials, token.clone());
            crowd.spawn(async move {
                let request = Request::with_token(&token);
                client::ask_from(source, address, request).await.key()
            });
        }
        let keys = soon(crowd.join_all()).await;
        assert_eq!(keys.len(), 900);
        assert_eq!(eks.requests().len() - exchanges, 1);
    }
}

/// A client that asks for 900 pods, such as a CSI driver, at a node that has just started.
///
/// Each answer may take as long as an exchange, so connections above the limit of an address may wait in vain.
#[tokio::test]
async fn nine_hundred_simultaneous_clients_of_one_address_with_a_token_each_are_all_answered() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    for source in [pod(0), Ipv4Addr::LOCALHOST.into()] {
        let mut crowd = JoinSet::new();
        for _ in 0..900 {
            let (address, token) = (server.credentials, token(&eks));
            crowd.spawn(async move {
                // It fails if the connection is reset, or ends without an answer.
                client::ask_from(source, address, Request::with_token(&token)).await
            });
        }
        let answers = soon(crowd.join_all()).await;
        assert_eq!(answers.len(), 900);
        let (served, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert!(!served.is_empty());
        for answer in refused {
            answer.assert_try_again();
        }
    }
}

#[tokio::test]
async fn connections_that_wait_for_room_in_vain_get_a_retryable_response() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--answer-within=30s"]).await;
    let (token, gate) = (token(&eks), eks.gate());
    let mut crowd = JoinSet::new();
    // A pod's limit is 256.
    for _ in 0..300 {
        let mut client = Client::connect_from(pod(0), server.credentials).await;
        client.send(Request::with_token(&token)).await;
        crowd.spawn(async move { client.answer().await });
    }
    let first = soon(crowd.join_next()).await.unwrap().unwrap();
    first.assert_try_again();
    gate.release();
    let mut refused = 1;
    for answer in soon(crowd.join_all()).await {
        if answer.status != 200 {
            answer.assert_try_again();
            refused += 1;
        }
    }
    let page = client::ask(server.metrics, Request::of("/metrics")).await;
    let counted = format!("pod_identity_refusals{{reason=\"Connections\"}} {refused}\n");
    assert!(page.body.contains(&counted), "{}", page.body);
}

#[tokio::test]
async fn clients_that_never_read_occupy_little_kernel_memory_and_none_after_shutdown() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let token = token(&eks);
    client::insist(server.credentials, &token).await.key();
    let requests = Request::with_token(&token).text().repeat(200);
    let before = tcp_memory();
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(Unread::send(pod(number % 4), server.credentials, &requests).await);
    }
    // Both sides are counted: the clients are on this machine too.
    let held = tcp_memory().saturating_sub(before) / CROWD;
    println!("{held} bytes for each connection");
    assert!(held * 4096 <= 64 << 20, "{held} bytes for each connection");

    let began = Instant::now();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
    while unfinished(server.credentials) > 0 {
        sleep(SECOND / 10).await;
    }
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
    drop(crowd);
}

const CROWD: usize = 1000;

#[tokio::test]
async fn a_client_that_does_not_read_its_responses_is_disconnected() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let token = token(&eks);
    client::insist(server.credentials, &token).await.key();
    let requests = Request::with_token(&token).text().repeat(200);
    let mut unread = Unread::send(pod(0), server.credentials, &requests).await;
    soon(unread.is_reset()).await;
}

#[tokio::test]
async fn without_free_descriptors_probes_are_answered() {
    let eks = shop().await;
    let server = Server::with_open_files(&eks, 64).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    let mut silent = Vec::new();
    for number in 0..100 {
        silent.push(Client::connect_from(pod(number), server.credentials).await);
        silent.push(Client::connect_from(pod(number), server.metrics).await);
    }
    for _probe in 0..10 {
        for path in ["/healthz", "/readyz"] {
            let answer = client::ask(server.probes, Request::of(path)).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
}

/// A client that sends as much as it can, with small buffers, and reads nothing.
struct Unread(TcpStream);

impl Unread {
    async fn send(source: IpAddr, address: SocketAddr, requests: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        socket.set_send_buffer_size(1).unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = soon(socket.connect(address)).await.unwrap();
        // Until the server takes no more.
        let _blocked = timeout(SECOND / 50, stream.write_all(requests.as_bytes())).await;
        Self(stream)
    }

    /// Waits until the server resets the connection.
    async fn is_reset(&mut self) {
        self.0.ready(Interest::ERROR).await.unwrap();
    }
}

/// Returns the TCP memory of this machine, in bytes.
fn tcp_memory() -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let mut words = line.split(' ');
    words.find(|word| *word == "mem").unwrap();
    let pages: usize = words.next().unwrap().parse().unwrap();
    pages * 4096
}

/// Returns the sockets at this address that wait for their peers: neither closed nor in TIME_WAIT.
fn unfinished(address: SocketAddr) -> usize {
    const FIN_WAIT2: &str = "05";
    const TIME_WAIT: &str = "06";
    let port = format!(":{:04X}", address.port());
    let text = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = text.lines().skip(1).map(|line| line.split_whitespace());
    let of_server = sockets.filter_map(|mut words| {
        let is_server = words.nth(1)?.ends_with(&port);
        let state = words.nth(1)?;
        is_server.then(|| state.to_owned())
    });
    of_server
        .filter(|state| ![FIN_WAIT2, TIME_WAIT].contains(&state.as_str()))
        .count()
}

/// Returns a new pod.
async fn newcomer(eks: &MockEksAuth, server: &Server) {
    let token = token(eks);
    let mut client = Client::connect_from(pod(200), server.credentials).await;
    let answer = client.ask(Request::with_token(&token)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn descriptors(server: &Server) -> usize {
    let path = format!("/proc/{}/fd", server.program.id());
    fs::read_dir(path).unwrap().count()
}
