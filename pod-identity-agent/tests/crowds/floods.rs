//! Connections by the hundreds: slow, silent, endless, at rest.

use std::fs;

use pod_identity_testkit::MockEksAuth;
use tokio::task::JoinSet;

use crate::support::client::{self, Client, Request};
use crate::support::process::Server;
use crate::support::shop::{shop, token};
use crate::support::{pod, soon};

#[tokio::test]
async fn headers_that_never_end_are_cut_off_and_a_newcomer_is_answered() {
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
async fn silent_connections_of_a_dozen_pods_do_not_keep_a_newcomer_out() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut silent = Vec::new();
    for number in 0..3000 {
        silent.push(Client::connect_from(pod(number % 12), server.credentials).await);
    }
    newcomer(&eks, &server).await;
    // Those without a whole header are bounded.
    soon(silent[0].closed()).await;
    assert!(descriptors(&server) < 600, "{}", descriptors(&server));
}

#[tokio::test]
async fn a_pod_that_floods_gets_in_itself() {
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
async fn connections_that_rest_make_room_for_another_of_their_pod() {
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
async fn out_of_descriptors_the_silent_make_room_and_the_agent_goes_on() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let most = 96;
    limit_descriptors(&server, most);
    let mut silent = Vec::new();
    for number in 0..200 {
        silent.push(Client::connect_from(pod(number % 12), server.credentials).await);
    }
    newcomer(&eks, &server).await;
    let said = server.program.stdout.said("connections cannot be accepted");
    assert_eq!(said.len(), 1, "once, not for each: {said:?}");
    drop(silent);
    newcomer(&eks, &server).await;
}

#[tokio::test]
async fn connections_that_rest_on_the_metrics_port_leave_kubelet_its_probes() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut resting = Vec::new();
    // More than the probes have places.
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
async fn a_pod_that_floods_the_metrics_port_does_not_keep_a_scraper_out() {
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

/// A pod that has not been here before.
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

fn limit_descriptors(server: &Server, most: u64) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let pid = Pid::from_raw(server.program.id().cast_signed());
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}
