//! What only time shows, on the built program: its wall clock is stepped by libfaketime, or real time
//! passes. `just rows` runs it; `refresh`, `idle` and `trouble` show the same in virtual time.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::{Fault, MockEksAuth, SignatureCheck, SignatureError, Stage};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::client::{self, Answer, Client, Request};
use crate::support::outside::{Outside, TimeFile};
use crate::support::process::Server;
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::wall::Wall;
use crate::support::{HOUR, MINUTE, NOW, ROLE, SECOND, pod, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a busy machine is late"]
async fn clients_of_a_hanging_service_get_a_retryable_response_within_a_second() {
    let eks = soon(MockEksAuth::start()).await;
    eks.associate("shop", "cart", ROLE);
    let server = Server::start(&eks, &[]).await;
    server.program.stdout.says("EKS Auth is within reach").await;
    eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    let token = eks.issuer().token("shop", "cart").mint(SystemClock.now());
    let mut crowd = JoinSet::new();
    for number in 0..50 {
        let (token, address) = (token.clone(), server.credentials);
        crowd.spawn(async move {
            let mut client = Client::connect_from(pod(number), address).await;
            let began = Instant::now();
            (
                client.ask(Request::with_token(&token)).await,
                began.elapsed(),
            )
        });
    }
    while let Some(answered) = soon(crowd.join_next()).await {
        let (answer, took) = answered.unwrap();
        answer.assert_try_again();
        assert!(took < SECOND, "{took:?}");
    }
    assert_eq!(eks.request_count(), 1);
}

#[tokio::test]
#[ignore = "needs libfaketime, takes 20 seconds"]
async fn simultaneous_refreshes_are_paced_until_all_are_done() {
    const PODS: usize = 60;
    let scene = Scene::outside_flowing(Settings {
        retention: 30 * SECOND,
        ..Settings::PATIENT
    })
    .await;
    let tokens: Vec<String> = (0..PODS).map(|_| scene.token()).collect();
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
    }
    scene.clock.advance(30 * SECOND);
    scene.time.advance(30 * SECOND);
    // A node's pods return now and then.
    scene.get(&tokens[0]).await.key();
    soon(scene.eks.wait_for_requests(2 * PODS)).await;

    let requests = scene.eks.requests();
    let refreshed: HashSet<_> = requests[PODS..].iter().map(|seen| seen.token).collect();
    assert_eq!(refreshed.len(), PODS, "each once");
    let began = requests[PODS].at;
    for (number, seen) in requests[PODS..].iter().enumerate() {
        let due = SECOND * u32::try_from(number).unwrap() / 3;
        let at = seen.at.saturating_since(began);
        // Late starts are made up for.
        let on_time = due.saturating_sub(SECOND)..due + 3 * SECOND;
        assert!(on_time.contains(&at), "number {number} after {at:?}");
    }
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn served_credentials_have_more_than_15_minutes_left_if_their_lifetime_allows() {
    for minutes in [31, 45, 59, 60, 90, 120, 360, 720] {
        let lifetime = minutes * MINUTE;
        let scene = Scene::outside(Settings::PATIENT).await;
        scene.eks.inject_always(Fault::expires_in(lifetime));
        let token = scene.builder().lifetime(48 * HOUR).mint(NOW);
        // The agent reads the clock when this pod asks, which is often enough.
        let step = ((lifetime / 2).min(30 * MINUTE) - 15 * MINUTE) / 3;
        let mut passed = Duration::ZERO;
        while passed < lifetime * 3 / 2 {
            let answer = scene.get(&token).await;
            let left = left(&scene, &answer);
            assert!(
                left > 15 * MINUTE,
                "{left:?} of {lifetime:?} after {passed:?}"
            );
            // The due refresh has finished.
            scene.catch_up().await;
            scene.clock.advance(step);
            passed += step;
        }
        assert!(scene.eks.request_count() >= 3, "{lifetime:?}");
    }
}

/// botocore goes back to where credentials come from on every signature when less than 15 minutes are
/// left.
#[tokio::test]
#[ignore = "needs libfaketime"]
async fn botocore_signs_a_hundred_requests_with_one_fetch() {
    let scene = Scene::outside(Settings::PATIENT).await;
    scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
    let token = scene.token();
    for minute in 0..60 {
        let mut calls = 0;
        let mut held: Option<Timestamp> = None;
        for _signature in 0..100 {
            let now = scene.time.now();
            if held.is_none_or(|expires| expires.saturating_since(now) < 15 * MINUTE) {
                calls += 1;
                held = Some(expiration(&scene.get(&token).await));
            }
        }
        assert_eq!(calls, 1, "minute {minute}");
        scene.catch_up().await;
        scene.clock.advance(MINUTE);
    }
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn an_unused_expired_token_causes_no_exchange() {
    let scene = Scene::outside(Settings::PATIENT).await;
    let token = scene.builder().lifetime(HOUR).mint(NOW);
    scene.obtain(&token).await;
    for hour in 1..=48 {
        scene.clock.advance(HOUR);
        // A request of another pod makes the agent read the clock.
        scene.obtain(&scene.token()).await;
        scene.catch_up().await;
        assert_eq!(scene.exchanges(&token), 1, "hour {hour}");
    }
}

#[tokio::test]
#[ignore = "needs libfaketime, takes 10 seconds"]
async fn a_failed_refresh_is_retried_within_seconds_without_a_client() {
    let scene = Scene::outside_flowing(Settings::PATIENT).await;
    let token = scene.token();
    let key = scene.get(&token).await.key();
    scene.clock.advance(3 * HOUR);
    scene.time.advance(3 * HOUR);
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    assert_eq!(scene.get(&token).await.key(), key);
    // Attempts after about 1, 2 and 4 seconds: an outage of some seconds.
    soon(scene.eks.wait_for_answers(4)).await;
    scene.eks.clear_faults();
    let recovered = Instant::now();
    soon(scene.eks.wait_for_answers(5)).await;
    let took = recovered.elapsed();
    assert!(took <= 10 * SECOND, "{took:?}");
    scene.until(&token, |answer| answer.key() != key).await;
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn after_a_long_outage_credentials_are_refreshed_within_30_seconds() {
    for outage in [MINUTE, 10 * MINUTE] {
        let scene = Scene::outside(Settings::PATIENT).await;
        let token = scene.token();
        let key = scene.get(&token).await.key();
        scene.clock.advance(3 * HOUR);
        scene.eks.inject_always(ErrorCode::ServiceUnavailable);
        let second = async || {
            let answer = scene.get(&token).await;
            scene.catch_up().await;
            scene.clock.advance(SECOND);
            answer.key()
        };
        for _ in 0..outage.as_secs() {
            assert_eq!(second().await, key);
        }
        assert!(scene.eks.request_count() > 3, "it has been tried");
        scene.eks.clear_faults();
        let mut seconds = 0;
        while second().await == key {
            seconds += 1;
            assert!(seconds <= 31, "after {outage:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs libfaketime, takes a minute"]
async fn after_a_clock_step_nothing_expired_is_served_and_refreshing_continues() {
    tokio::join!(a_step_of_the_clock(true), a_step_of_the_clock(false));
}

async fn a_step_of_the_clock(forward: bool) {
    let scene = Scene::outside_flowing(Settings::DEFAULT).await;
    let advance = |by| {
        scene.clock.advance(by);
        scene.time.advance(by);
    };
    scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
    let token = scene.builder().mint(NOW - 2 * HOUR);
    scene.get(&token).await.key();
    advance(10 * MINUTE);
    if forward {
        scene.clock.advance(HOUR);
    } else {
        scene.clock.set(scene.now() - HOUR);
    }
    let began = Instant::now();
    // No client asks.
    let refreshed = tokio::time::timeout(2 * MINUTE, scene.eks.wait_for_requests(2));
    refreshed.await.expect("refreshing must go on");
    let took = began.elapsed();
    assert!(took <= 61 * SECOND, "{took:?} forward: {forward}");
    for minute in 0..120 {
        // A request of another pod makes the agent read the clock.
        let stranger = scene.eks.issuer().token("shop", "stranger");
        scene.get(&stranger.mint(scene.now())).await;
        scene.catch_up().await;
        let answer = scene.get(&token).await;
        // For an agent whose clock is an hour fast, shorter-lived credentials have expired.
        if answer.status == 200 {
            let left = left(&scene, &answer);
            assert!(
                left > 14 * SECOND,
                "{left:?} forward: {forward}, minute {minute}"
            );
        } else {
            assert!(forward, "{}", answer.body);
        }
        advance(MINUTE);
    }
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn after_suspend_nothing_expired_is_served_and_credentials_are_refreshed_at_once() {
    let scene = Scene::outside(Settings::PATIENT).await;
    scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
    let token = scene.token();
    let key = scene.get(&token).await.key();
    // Monotonic time stops during suspend; all wall clocks continue.
    scene.clock.advance(2 * HOUR);
    let answer = scene.get(&token).await;
    assert_ne!(answer.key(), key);
    assert!(left(&scene, &answer) > 58 * MINUTE);
}

#[tokio::test]
#[ignore = "takes 90 seconds"]
async fn idle_connections_time_out_after_90_seconds_and_slow_headers_after_5() {
    let eks = soon(MockEksAuth::start()).await;
    eks.associate("shop", "cart", ROLE);
    let server = Server::start(&eks, &[]).await;
    let token = eks.issuer().token("shop", "cart").mint(SystemClock.now());
    let mut idle = Client::connect(server.credentials).await;
    idle.ask(Request::with_token(&token)).await.key();
    let mut slow = Client::connect(server.credentials).await;
    slow.send_bytes(b"GET /v1/credentials HTTP/1.1\r\n").await;
    let began = Instant::now();
    slow.until_closed().await;
    let slow = began.elapsed().as_secs_f64();
    assert!((4.9..6.0).contains(&slow), "{slow} s");
    idle.until_closed().await;
    let idle = began.elapsed().as_secs_f64();
    assert!((89.0..92.0).contains(&idle), "{idle} s");
}

/// `--rotate-credentials`, for hybrid nodes.
#[tokio::test]
#[ignore = "needs libfaketime"]
async fn a_renewed_shared_credentials_file_is_used_a_minute_later() {
    let time = TimeFile::new();
    // The client corrects its signing time by the date of an answer, which is the real time.
    let wall = Wall::flowing(SystemClock.now()).written_to(time.path());
    let wall = Arc::new(wall);
    let [old, new] = ["AKIAOLD", "AKIANEW"];
    // A request that is not signed by the new key is recorded.
    let eks = MockEksAuth::builder()
        .clock(Arc::clone(&wall) as Arc<dyn Clock>)
        .signatures(SignatureCheck::Warn)
        .node_key(new, secret_of(new))
        .start();
    let eks = eks.await.unwrap();
    eks.associate("shop", "cart", ROLE);
    let files = tempfile::tempdir().unwrap();
    let shared = files.path().join("credentials");
    write_profile(&shared, old);
    let environment = [("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap())];
    let flags = ["--rotate-credentials", "--answer-within=30s"];
    let agent = Outside::with(&eks, time, &flags, &environment).await;
    let exchange = async || {
        let token = eks.issuer().token("shop", "cart").mint(wall.now());
        let address = agent.server.credentials;
        client::ask(address, Request::with_token(&token))
            .await
            .key();
        eks.requests().pop().unwrap().signature_error
    };

    assert_eq!(exchange().await, Some(SignatureError::UnknownKey));
    write_profile(&shared, new);
    wall.advance(30 * SECOND);
    assert_eq!(exchange().await, Some(SignatureError::UnknownKey));
    wall.advance(30 * SECOND);
    assert_eq!(exchange().await, None);
}

fn write_profile(path: &Path, key: &str) {
    let secret = secret_of(key);
    let profile =
        format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(path, profile).unwrap();
}

fn secret_of(key: &str) -> String {
    format!("secret-of-{key}")
}

#[tokio::test]
#[ignore = "needs libfaketime, and an address of this machine's own besides loopback"]
async fn host_network_pods_share_a_burst_of_200_and_20_exchanges_per_second() {
    let scene = Scene::outside(Settings {
        answer_within: Duration::from_millis(100),
        ..Settings::DEFAULT
    })
    .await;
    let node = own_address();
    let exchanges_of = async |requests: usize| {
        let before = scene.eks.request_count();
        for _ in 0..requests {
            let forged = scene.builder().forged().mint(scene.now());
            scene.get_as(node, &forged).await;
        }
        scene.catch_up().await;
        scene.eks.request_count() - before
    };
    // A client waits for up to 100 ms.
    let at_once = exchanges_of(220).await;
    assert!((200..=202).contains(&at_once), "{at_once} at once");
    for second in 0..3 {
        scene.clock.advance(SECOND);
        assert_eq!(exchanges_of(30).await, 20, "second {second}");
    }
    // A pod has its own budget.
    scene.get_as(pod(0), &scene.token()).await.key();
}

/// Returns an address of an interface of this machine.
fn own_address() -> IpAddr {
    let interfaces = if_addrs::get_if_addrs().unwrap();
    let mut addresses = interfaces.iter().map(if_addrs::Interface::ip);
    let own = addresses.find(|address| address.is_ipv4() && !address.is_loopback());
    own.expect("this machine must have an address besides loopback")
}

fn expiration(answer: &Answer) -> Timestamp {
    assert_eq!(answer.status, 200, "{}", answer.body);
    Timestamp::parse_rfc3339(answer.json()["Expiration"].as_str().unwrap()).unwrap()
}

/// By the true time.
fn left(scene: &Scene, answer: &Answer) -> Duration {
    expiration(answer).saturating_since(scene.time.now())
}
