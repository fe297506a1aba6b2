//! Clients that close their side behind the request, as `nc -N` and some proxies do, and read the response then.

use std::net::SocketAddr;

use crate::support::client::{Client, Request};
use crate::support::scene::{Scene, listener};
use crate::support::settings::Settings;
use crate::support::soon;

/// Enough for what depends on which of two threads is faster.
const TIMES: usize = 30;

async fn ask_last(address: SocketAddr, request: Request<'_>) -> u16 {
    let mut client = soon(Client::connect(address)).await;
    client.send_last(request);
    let answer = client.answer().await;
    client.closed().await;
    answer.status
}

#[tokio::test]
async fn every_whole_request_for_credentials_is_answered() {
    let scene = Scene::start().await;
    let token = scene.token();
    for _miss_or_hit in 0..TIMES {
        assert_eq!(
            ask_last(scene.address, Request::with_token(&token)).await,
            200
        );
    }
    assert_eq!(scene.eks.request_count(), 1);
    for (path, status) in [("/v1/credentials", 400), ("/", 404)] {
        assert_eq!(ask_last(scene.address, Request::of(path)).await, status);
    }
    let page = scene.exposition().await;
    assert!(!page.contains("GaveUp\""), "{page}");
}

#[tokio::test]
async fn the_second_request_of_a_connection_is_answered() {
    let scene = Scene::start().await;
    let token = scene.token();
    for _ in 0..TIMES {
        let mut client = scene.connect().await;
        client.ask(Request::with_token(&token)).await.key();
        client.send_last(Request::with_token(&token));
        client.answer().await.key();
        client.closed().await;
    }
}

#[tokio::test]
async fn probes_and_scrapes_are_answered() {
    let (listen, probes) = listener("127.0.0.1:0".parse().unwrap());
    let with_probes = |agent: pod_identity_agent::AgentBuilder| agent.listen_probes(listen);
    let scene = Scene::here(Settings::PATIENT, with_probes).await;
    for (address, path) in [(probes, "/healthz"), (scene.metrics, "/metrics")] {
        for _ in 0..TIMES {
            assert_eq!(ask_last(address, Request::of(path)).await, 200, "{path}");
        }
    }
}
