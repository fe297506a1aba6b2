//! How many exchanges a source may cause, and what counts as one source.

use std::net::IpAddr;
use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::Fault;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::client::{Answer, Client, Request};
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{SECOND, pod};

#[tokio::test]
async fn a_process_of_the_node_has_one_budget_for_all_local_addresses() {
    let range = "127.7.0.0/16".parse().unwrap();
    let scene = Scene::here(Settings::IMPATIENT, |agent| agent.node_addresses([range])).await;
    let token = scene.builder().forged().mint(scene.now());
    let (claims, signature) = token.rsplit_once('.').unwrap();
    let mut addresses = (0..=u16::MAX).map(|last| {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([127, 7, high, low])
    });
    let mut exchanges_of = async |requests: usize| {
        let (before, mut refused) = (scene.eks.request_count(), 0);
        for address in addresses.by_ref().skip(1).take(requests) {
            let number = address.to_string().replace('.', "-");
            let forged = format!("{claims}.{number:A<length$}", length = signature.len());
            let answer = scene.get_as(address, &forged).await;
            assert_ne!(answer.status, 200);
            refused += usize::from(answer.body.contains("--node-budget"));
        }
        let exchanges = scene.eks.request_count() - before;
        // On a busy machine an exchange may take longer than its client waits: that client is told so instead.
        assert!(refused >= requests - exchanges, "all others name the flag");
        exchanges
    };
    assert_eq!(exchanges_of(1000).await, 200, "at once");
    scene.get_as(pod(0), &scene.token()).await.key();
    for _second in 0..3 {
        scene.clock.advance(SECOND);
        assert_eq!(exchanges_of(100).await, 20, "each second");
    }
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_retries_for_many_tokens_of_a_pod_stay_within_its_budget() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    let tokens: Vec<_> = (0..256).map(|_| scene.token()).collect();
    let began = Instant::now();
    // Ten clients, each of which repeats its tokens.
    let mut clients = JoinSet::new();
    for tokens in tokens.chunks(26).map(<[String]>::to_vec) {
        let mut client = Client::connect_from(pod(0), scene.address).await;
        clients.spawn(async move {
            while began.elapsed() < 30 * SECOND {
                for token in &tokens {
                    client
                        .ask(Request::with_token(token))
                        .await
                        .assert_try_again();
                }
                sleep(SECOND).await;
            }
        });
    }
    clients.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let exchanges = scene.eks.request_count() as f64;
    assert!(
        exchanges <= 10.0 + 2.0 * seconds + 1.0,
        "{exchanges} exchanges in {seconds} s"
    );
    assert!(
        exchanges >= 2.0 * (seconds - 5.0),
        "asking goes on: {exchanges}"
    );
}

#[tokio::test]
async fn valid_tokens_of_many_pods_from_one_address_refund_their_cost() {
    // The agent's clock is stopped, so that the budget is not refilled.
    let scene = Scene::start().await;
    let latency = Duration::from_millis(50);
    scene.eks.inject_always(Fault::latency(latency));
    let tokens: Vec<_> = (0..60)
        .map(|number| {
            let token = scene.builder().pod(format!("cart-{number}"));
            token.mint(scene.now())
        })
        .collect();
    let (answers, _took) = at_once(&scene, pod(0), &tokens).await;
    for answer in answers {
        answer.key();
    }
    assert_eq!(scene.eks.request_count(), 60);
    assert_eq!(
        scene.eks.max_in_flight(),
        10,
        "as many at once as the budget"
    );
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_among_valid_ones_are_not_refunded() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    let latency = Duration::from_millis(50);
    scene.eks.inject_always(Fault::latency(latency));
    let forged: Vec<_> = (0..100)
        .map(|_| scene.builder().forged().mint(scene.now()))
        .collect();
    let (answers, took) = at_once(&scene, pod(0), &forged).await;
    let exchanges = scene.eks.request_count() as f64;
    assert!(answers.iter().all(|answer| answer.status != 200));
    let most = 10.0 + 2.0 * took.as_secs_f64() + 1.0;
    assert!(exchanges <= most, "{exchanges} exchanges in {took:?}");
}

/// Sends all of these tokens at once, as one pod, each over its own connection. The connections are opened
/// beforehand.
async fn at_once(scene: &Scene, pod: IpAddr, tokens: &[String]) -> (Vec<Answer>, Duration) {
    let mut clients = Vec::new();
    for token in tokens {
        let mut client = Client::connect_from(pod, scene.address).await;
        client.ask(Request::of("/")).await;
        clients.push((client, token.clone()));
    }
    let began = Instant::now();
    let mut crowd = JoinSet::new();
    for (mut client, token) in clients {
        crowd.spawn(async move { client.ask(Request::with_token(&token)).await });
    }
    (crowd.join_all().await, began.elapsed())
}
