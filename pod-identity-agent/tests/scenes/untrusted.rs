//! Malicious pods and their neighbours. Each pod has its own loopback address.

use std::time::Duration;

use pod_identity_agent::Budget;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, Stage};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::client::{self, Client, Request};
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{NOW, SECOND, pod, soon};

#[tokio::test]
async fn a_loop_with_forged_tokens_causes_no_more_exchanges_than_the_budget_of_its_pod() {
    let scene = Scene::impatient().await;
    let (forger, quiet) = (pod(0), pod(1));
    let mut refused = 0;
    for _ in 0..100 {
        match scene.get_as(forger, &forged(&scene)).await.status {
            400 => refused += 1,
            status => assert_eq!(status, 503),
        }
    }
    assert_eq!((refused, scene.eks.request_count()), (10, 10), "10 at once");
    for _ in 0..60 {
        scene.get_as(quiet, &quiet_token(&scene)).await.key();
        scene.clock.advance(SECOND);
        for _ in 0..10 {
            scene.get_as(forger, &forged(&scene)).await;
        }
    }
    let of_forger = scene.eks.request_count() - 60;
    assert_eq!(of_forger, 10 + 60 * 2, "and 2 per second");
}

#[tokio::test]
async fn over_budget_an_invalid_token_is_refused_and_any_other_answered_503() {
    let scene = Scene::impatient().await;
    let token = forged(&scene);
    let first = scene.get_as(pod(0), &token).await;
    assert_eq!((first.status, first.header("retry-after")), (400, None));
    for _ in 0..9 {
        scene.get_as(pod(0), &forged(&scene)).await;
    }
    let again = scene.get_as(pod(0), &token).await;
    again.assert_text(400, &first.body);
    assert_eq!(again.header("retry-after"), Some("1"));
    scene
        .get_as(pod(0), &forged(&scene))
        .await
        .assert_try_again();
    let another = scene.get_as(pod(0), &forged(&scene)).await;
    assert!(another.body.contains("--pod-budget"), "{}", another.body);
    assert_eq!(scene.eks.request_count(), 10);
}

#[tokio::test]
async fn repeated_requests_after_a_refusal_cost_the_budget_of_their_source() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    scene.eks.inject(Fault::expires_in(20 * SECOND));
    scene.get_as(pod(0), &token).await.key();
    scene.clock.advance(10 * SECOND);
    scene.eks.inject_always(ErrorCode::AccessDenied);
    for _ in 0..50 {
        assert_eq!(scene.get_as(pod(0), &token).await.status, 400);
    }
    // One more in the background, because the held credentials were due.
    let exchanges = scene.exchanges(&token);
    assert!((10..=12).contains(&exchanges), "{exchanges}");
}

#[tokio::test]
async fn cached_credentials_cost_no_budget() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    let key = scene.get_as(pod(0), &token).await.key();
    for _ in 0..100 {
        scene.get_as(pod(0), &forged(&scene)).await;
        assert_eq!(scene.get_as(pod(0), &token).await.key(), key);
    }
}

#[tokio::test]
async fn forged_tokens_of_many_pods_evict_no_held_credentials() {
    let scene = Scene::with(Settings {
        max_cache_size: 3,
        ..Settings::IMPATIENT
    })
    .await;
    let tokens = [0, 1, 2].map(|_| scene.token());
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
    }
    let mut forgeries = forgeries(&scene);
    for fault in [None, Some(Fault::stall(Stage::BeforeHeaders))] {
        if let Some(fault) = fault {
            scene.eks.inject_always(fault);
        }
        // More than the table of tokens without credentials holds.
        for ten in 1..12 {
            let mut crowd = JoinSet::new();
            for number in ten * 10..(ten + 1) * 10 {
                for _ in 0..10 {
                    let (token, address) = (forgeries.next().unwrap(), scene.address);
                    crowd.spawn(async move {
                        let answer =
                            client::ask_from(pod(number), address, Request::with_token(&token));
                        answer.await.status
                    });
                }
            }
            while let Some(status) = soon(crowd.join_next()).await {
                assert_ne!(status.unwrap(), 200);
            }
        }
        scene.clock.advance(10 * SECOND);
    }
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
        assert_eq!(scene.exchanges(token), 1);
    }
}

#[tokio::test]
async fn a_pod_that_fills_its_share_of_the_queue_does_not_block_others() {
    let scene = Scene::with(Settings {
        pod_budget: Budget::new(1000, 1000.0),
        ..Settings::IMPATIENT
    })
    .await;
    scene.eks.inject_always(ErrorCode::Throttling);
    let mut busy = 0;
    // Its share is 256; it may have 128 silent connections.
    for _ in 0..3 {
        let mut crowd = JoinSet::new();
        for _ in 0..100 {
            let (token, address) = (scene.token(), scene.address);
            crowd.spawn(async move {
                client::ask_from(pod(0), address, Request::with_token(&token)).await
            });
        }
        while let Some(answer) = soon(crowd.join_next()).await {
            let answer = answer.unwrap();
            answer.assert_try_again();
            busy += usize::from(answer.body.starts_with("too many tokens wait"));
        }
    }
    assert_eq!(busy, 44);
    let others = scene.get_as(pod(1), &scene.token()).await;
    assert!(
        others.body.starts_with("EKS Auth has not answered"),
        "{}",
        others.body
    );
}

#[tokio::test]
async fn local_refusals_are_counted_by_reason_and_logged_once_per_source() {
    let scene = Scene::start().await;
    let (builder, now) = (scene.builder(), scene.now());
    let good = builder.mint(now);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, claims) = signed.split_once('.').unwrap();
    let with = |token| Request {
        token: Some(token),
        ..Request::of("/v1/credentials")
    };
    let [bearer, unsigned, alg_none, no_expiry, no_audience] = [
        format!("Bearer {good}"),
        format!("{signed}."),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{claims}.{signature}"),
        // {"aud":["pods.eks.amazonaws.com"]}
        format!("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsicG9kcy5la3MuYW1hem9uYXdzLmNvbSJdfQ.{signature}"),
        // {"exp":4000000000}
        format!("eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQwMDAwMDAwMDB9.{signature}"),
    ];
    let expired = builder.mint(now - 25 * 3600 * SECOND);
    let early = builder.mint(now + 60 * SECOND);
    let elsewhere = builder.clone().audience("sts.amazonaws.com").mint(now);
    let table = [
        ("Path", 404, Request::of("/latest/meta-data")),
        (
            "Method",
            405,
            Request {
                method: "PUT",
                ..with(&good)
            },
        ),
        (
            "Host",
            403,
            Request {
                host: "rebound.example",
                ..with(&good)
            },
        ),
        ("Empty", 400, Request::of("/v1/credentials")),
        ("Malformed", 400, with("garbage")),
        ("Malformed", 400, with(&bearer)),
        ("Unsigned", 400, with(&unsigned)),
        ("Unsigned", 400, with(&alg_none)),
        ("NoExpiry", 400, with(&no_expiry)),
        ("Audience", 400, with(&no_audience)),
        ("Audience", 400, with(&elsewhere)),
        ("Expired", 400, with(&expired)),
        ("NotYetValid", 400, with(&early)),
    ];
    for source in [pod(0), pod(1)] {
        for (reason, status, request) in &table {
            for _ in 0..3 {
                let answer = client::ask_from(source, scene.address, *request).await;
                assert_eq!(answer.status, *status, "{reason}");
            }
        }
    }
    assert_eq!(scene.eks.request_count(), 0);

    let page = scene.exposition().await;
    let said = scene.end().await.lines("requests refused");
    let reasons: std::collections::BTreeSet<_> = table.iter().map(|(reason, ..)| reason).collect();
    for reason in &reasons {
        let times = table.iter().filter(|(other, ..)| other == *reason).count();
        let line = format!(
            "pod_identity_refusals{{reason=\"{reason}\"}} {}\n",
            times * 3 * 2
        );
        assert!(page.contains(&line), "{line} in {page}");
        for source in [pod(0), pod(1)] {
            let of_source = |line: &&Value| {
                line["reason"] == **reason && line["client-addr"] == source.to_string()
            };
            let lines: Vec<_> = said.iter().filter(of_source).collect();
            assert_eq!(lines.len(), 1, "{reason} {lines:?}");
            assert_eq!(
                (&lines[0]["level"], &lines[0]["times"]),
                (&"warning".into(), &1.into())
            );
        }
    }
    assert_eq!(said.len(), reasons.len() * 2);
}

#[tokio::test]
async fn malformed_requests_are_counted_and_logged_too() {
    let scene = Scene::start().await;
    let mut large = scene.connect().await;
    let header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    large.send_bytes(header.as_bytes()).await;
    assert_eq!(large.answer().await.status, 431);
    let mut nonsense = scene.connect().await;
    nonsense.send_bytes(b"\x16\x03\x01 hello\r\n\r\n").await;
    assert_eq!(nonsense.answer().await.status, 400);

    // As many as the limit of one address, all of them waiting for a response.
    let (token, gate) = (scene.token(), scene.eks.gate());
    let mut crowd = Vec::new();
    for _ in 0..256 {
        let mut client = Client::connect_from(pod(0), scene.address).await;
        client.send(Request::with_token(&token)).await;
        crowd.push(client);
    }
    scene.catch_up().await;
    let mut one_more = Client::connect_from(pod(0), scene.address).await;
    one_more.send(Request::with_token(&token)).await;
    assert_eq!(one_more.answer().await.status, 503);
    gate.release();
    for mut client in crowd {
        client.answer().await.key();
    }

    let page = scene.exposition().await;
    let said = scene.end().await.lines("requests refused");
    for reason in ["TooLarge", "Http", "Connections"] {
        let line = format!("pod_identity_refusals{{reason=\"{reason}\"}} 1\n");
        assert!(page.contains(&line), "{line} in {page}");
        let times = said.iter().filter(|line| line["reason"] == reason).count();
        assert_eq!(times, 1, "{reason}");
    }
}

#[tokio::test]
async fn two_hundred_misses_share_a_few_connections_to_eks_auth() {
    let scene = Scene::start().await;
    scene
        .eks
        .inject_always(Fault::latency(Duration::from_millis(5)));
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut client = Client::connect_from(pod(number), scene.address).await;
        client.send(Request::with_token(&scene.token())).await;
        crowd.push(client);
    }
    for mut client in crowd {
        client.answer().await.key();
    }
    assert_eq!(scene.eks.request_count(), 200);
    assert!(
        scene.eks.max_in_flight() <= 32,
        "{}",
        scene.eks.max_in_flight()
    );
    // One connection may be opened while another becomes free.
    let connections = scene.eks.connection_count();
    assert!(connections <= 64, "{connections}");
}

/// Returns a token with the right form and claims, but an invalid signature.
fn forged(scene: &Scene) -> String {
    scene.builder().forged().mint(scene.now())
}

/// Returns many of them without signing each.
fn forgeries(scene: &Scene) -> impl Iterator<Item = String> {
    let token = forged(scene);
    let (claims, signature) = token.rsplit_once('.').unwrap();
    let (claims, length) = (claims.to_owned(), signature.len());
    (0..).map(move |number| format!("{claims}.{number:A<length$}"))
}

/// Returns a token as the quiet pod got it today.
fn quiet_token(scene: &Scene) -> String {
    scene.builder().mint(NOW)
}
