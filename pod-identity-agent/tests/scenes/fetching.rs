//! Who causes an exchange with EKS Auth, and who shares it. Counts are exact.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, Gate, Stage};
use tokio::net::TcpListener;

use crate::support::client::{self, Request};
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, soon};

#[tokio::test]
async fn a_fetch_outlives_the_client_that_caused_it() {
    let scene = Scene::start().await;
    let (token, gate) = (scene.token(), scene.eks.gate());
    let given_up = scene.crowd(1, &token).await;
    soon(gate.wait_for(1)).await;
    drop(given_up);
    scene.catch_up().await;
    let line = "pod_identity_cache_errors{code=\"GaveUp\",type=\"client\"} 1\n";
    soon(async { while !scene.exposition().await.contains(line) {} }).await;
    gate.release();
    soon(scene.eks.wait_for_answers(1)).await;
    assert_eq!(scene.get(&token).await.key(), scene.eks.minted()[0]);
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_client_that_returns_during_the_fetch_joins_it() {
    let scene = Scene::impatient().await;
    let (token, gate) = (scene.token(), scene.eks.gate());
    for _ in 0..3 {
        scene.get(&token).await.assert_try_again();
    }
    gate.release();
    assert_eq!(scene.obtain(&token).await, scene.eks.minted()[0]);
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_hundred_clients_with_one_token_cause_one_exchange() {
    let scene = Scene::start().await;
    let (token, gate) = (scene.token(), scene.eks.gate());
    let crowd = scene.crowd(100, &token).await;
    gate.release();
    for mut client in crowd {
        assert_eq!(client.answer().await.key(), scene.eks.minted()[0]);
    }
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_refusal_is_shared_by_all_waiting_clients() {
    let scene = Scene::start().await;
    let (token, gate) = (scene.token(), Gate::new());
    scene.eks.inject(Fault::hold(Stage::BeforeHeaders, &gate));
    scene.eks.inject(ErrorCode::AccessDenied);
    let mut crowd = scene.crowd(101, &token).await;
    gate.release();
    let leaders = crowd.remove(0).answer().await;
    assert_eq!(leaders.status, 400);
    for mut client in crowd {
        client.answer().await.assert_text(400, &leaders.body);
    }
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_cached_for_later_clients() {
    let scene = Scene::start().await;
    let token = scene.token();
    scene.eks.inject(ErrorCode::AccessDenied);
    assert_eq!(scene.get(&token).await.status, 400);
    assert_eq!(scene.get(&token).await.status, 200);
    assert_eq!(scene.eks.request_count(), 2);
}

#[tokio::test]
async fn an_unavailable_service_is_called_once_for_many_clients() {
    let scene = Scene::impatient().await;
    let (token, gate) = (scene.token(), Gate::new());
    scene.eks.inject(Fault::hold(Stage::BeforeHeaders, &gate));
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    let crowd = scene.crowd(101, &token).await;
    gate.release();
    for mut client in crowd {
        client.answer().await.assert_try_again();
    }
    // Time is stopped, so the pause before the next attempt has not passed.
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn cached_requests_are_never_refused() {
    let scene = Scene::start().await;
    let token = scene.token();
    let key = scene.obtain(&token).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut client = scene.connect().await;
        for _ in 0..9 {
            client.send(Request::with_token(&token)).await;
        }
        crowd.push(client);
    }
    for mut client in crowd {
        for _ in 0..9 {
            assert_eq!(client.answer().await.key(), key);
        }
    }
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn all_addresses_of_an_agent_share_one_cache() {
    // Without IPv6, another IPv4 address.
    let other = match TcpListener::bind("[::1]:0").await {
        Ok(_free_again) => IpAddr::from(Ipv6Addr::LOCALHOST),
        Err(_no_ipv6) => Ipv4Addr::new(127, 0, 0, 2).into(),
    };
    let scene = Scene::with(Settings {
        also_at: Some(other),
        ..Settings::PATIENT
    })
    .await;
    let address = scene.other_address.unwrap();
    let token = scene.token();
    let over_one = scene.get(&token).await;
    let host = address.to_string();
    let request = Request {
        host: &host,
        ..Request::with_token(&token)
    };
    let over_other = client::ask(address, request).await;
    assert_eq!(over_other.key(), over_one.key());
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_token_with_equal_claims_but_another_signature_gets_no_cached_credentials() {
    let scene = Scene::start().await;
    let token = scene.token();
    scene.obtain(&token).await;
    let other = scene.token();
    let (claims, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let answer = scene.get(&format!("{claims}.{signature}")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("(InvalidTokenException)"));
    assert_eq!(scene.get(&token).await.status, 200);
}

#[tokio::test]
async fn each_token_of_a_pod_has_an_exchange_of_its_own() {
    let scene = Scene::start().await;
    let (first, second) = (scene.token(), scene.token());
    assert_ne!(scene.obtain(&first).await, scene.obtain(&second).await);
    assert_eq!(scene.eks.request_count(), 2);
}

#[tokio::test]
async fn a_token_that_expires_while_its_credentials_are_held_is_refused() {
    let scene = Scene::start().await;
    let token = scene.builder().lifetime(HOUR).mint(scene.now());
    scene.obtain(&token).await;
    scene.clock.advance(HOUR - Duration::from_secs(1));
    assert_eq!(scene.get(&token).await.status, 200);
    scene.clock.advance(Duration::from_secs(1));
    scene.get(&token).await.assert_text(
        400,
        "Service account token failed basic claim validations: token is expired\n",
    );
}

#[tokio::test]
async fn a_token_that_is_no_longer_valid_yet_is_refused_although_its_credentials_are_held() {
    let scene = Scene::start().await;
    let token = scene.token();
    scene.obtain(&token).await;
    scene.clock.set(scene.now() - HOUR);
    scene.get(&token).await.assert_text(
        400,
        "Service account token failed basic claim validations: token is not valid yet\n",
    );
}

#[tokio::test]
async fn a_token_in_use_stays_cached_while_others_are_evicted() {
    let scene = Scene::with(holding(3)).await;
    let hot = scene.token();
    scene.obtain(&hot).await;
    for _ in 0..12 {
        scene.obtain(&scene.token()).await;
        scene.obtain(&hot).await;
        // No source exceeds the budget of a pod.
        scene.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(scene.exchanges(&hot), 1);
}

#[tokio::test]
async fn an_unused_token_is_evicted_first() {
    let scene = Scene::with(holding(2)).await;
    let tokens = [scene.token(), scene.token(), scene.token()];
    for token in &tokens {
        scene.obtain(token).await;
    }
    scene.obtain(&tokens[0]).await;
    assert_eq!(scene.exchanges(&tokens[0]), 2);
}

#[tokio::test]
async fn without_a_cache_each_request_is_an_exchange_but_concurrent_ones_share_it() {
    let scene = Scene::with(holding(0)).await;
    let token = scene.token();
    scene.obtain(&token).await;
    scene.obtain(&token).await;
    assert_eq!(scene.eks.request_count(), 2);

    let gate = scene.eks.gate();
    let crowd = scene.crowd(10, &token).await;
    gate.release();
    for mut client in crowd {
        client.answer().await.key();
    }
    assert_eq!(scene.eks.request_count(), 3);
}

fn holding(max_cache_size: usize) -> Settings {
    Settings {
        max_cache_size,
        ..Settings::PATIENT
    }
}
