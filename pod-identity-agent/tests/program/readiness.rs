//! The probes of kubelet: `/readyz` names the reason, and `/healthz` is not affected.

use pod_identity_core::{Clock, SystemClock};

use crate::support::client::{self, Answer, Request};
use crate::support::process::Server;
use crate::support::shop::{shop, token};

#[tokio::test]
async fn the_agent_is_ready_once_eks_auth_has_been_reachable_and_stays_ready() {
    let eks = shop().await;
    eks.stop().await;
    let server = Server::start(&eks, &["--answer-within", "100ms"]).await;
    let said = server.program.stdout.says("not ready").await;
    let reason = said["reason"].as_str().unwrap();
    let address = eks.address();
    assert!(
        reason.starts_with(&format!(
            "{address} cannot be connected to: Connection refused"
        )),
        "{reason}"
    );
    readyz(&server)
        .await
        .assert_text(503, &format!("{reason}\n"));
    assert_eq!(degraded(&server).await, "1");

    eks.restart().await.unwrap();
    server.program.stdout.says("EKS Auth is within reach").await;
    readyz(&server).await.assert_text(200, "ok\n");
    assert_eq!(degraded(&server).await, "0");
    assert_eq!(eks.request_count(), 0, "looking is no request");

    eks.stop().await;
    let answer = client::ask(server.credentials, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    let later = readyz(&server).await;
    assert_eq!(later.status, 200);
    let expected = "degraded: EKS Auth could not be asked: ";
    assert!(later.body.starts_with(expected), "{}", later.body);
    assert_eq!(degraded(&server).await, "1");
    let alive = client::ask(server.probes, Request::of("/healthz")).await;
    alive.assert_text(200, "ok\n");

    eks.restart().await.unwrap();
    client::insist(server.credentials, &token(&eks)).await.key();
    readyz(&server).await.assert_text(200, "ok\n");
    assert_eq!(degraded(&server).await, "0");
}

#[tokio::test]
async fn strict_readiness_fails_during_every_outage() {
    let eks = shop().await;
    let flags = ["--readiness", "strict", "--answer-within", "100ms"];
    let server = Server::start(&eks, &flags).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    assert_eq!(readyz(&server).await.status, 200);
    eks.stop().await;
    client::ask(server.credentials, Request::with_token(&token(&eks)))
        .await
        .assert_try_again();
    let outage = readyz(&server).await;
    assert_eq!(outage.status, 503);
    assert!(outage.body.starts_with("degraded: "), "{}", outage.body);
}

#[tokio::test]
async fn an_agent_without_own_credentials_logs_it_and_is_not_ready() {
    let eks = shop().await;
    let server = Server::with(&eks, &[], &[]).await;
    let said = server.program.stdout.says("not ready").await;
    let reason = said["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the agent has no credentials of its own: "),
        "{reason}"
    );
    readyz(&server)
        .await
        .assert_text(503, &format!("{reason}\n"));
    let alive = client::ask(server.probes, Request::of("/healthz")).await;
    alive.assert_text(200, "ok\n");
}

#[tokio::test]
async fn a_refusal_shows_that_eks_auth_is_reachable() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let stranger = eks.issuer().token("shop", "stranger");
    let answer = client::insist(server.credentials, &stranger.mint(SystemClock.now())).await;
    assert_eq!(answer.status, 404);
    readyz(&server).await.assert_text(200, "ok\n");
}

async fn readyz(server: &Server) -> Answer {
    client::ask(server.probes, Request::of("/readyz")).await
}

/// The gauge.
async fn degraded(server: &Server) -> String {
    let page = client::ask(server.metrics, Request::of("/metrics"))
        .await
        .body;
    let mut lines = page.lines();
    let line = lines.find_map(|line| line.strip_prefix("pod_identity_degraded "));
    line.expect("there must be a gauge").to_owned()
}
