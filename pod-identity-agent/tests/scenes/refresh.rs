//! When credentials are refreshed, in virtual time, which passes while all tasks are idle.

use std::time::Duration;

use pod_identity_agent::Budget;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, Timestamp};
use pod_identity_testkit::Fault;
use tokio::time::{Instant, sleep};

use crate::support::client::Answer;
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, MINUTE, NOW, SECOND, pod};

#[tokio::test(start_paused = true)]
async fn simultaneous_refreshes_are_paced_until_all_are_done() {
    const PODS: usize = 60;
    let scene = Scene::flowing(Settings {
        retention: 30 * SECOND,
        ..Settings::DEFAULT
    })
    .await;
    for number in 0..PODS {
        scene.get_as(pod(number), &scene.token()).await.key();
    }
    sleep(30 * SECOND + PODS as u32 * SECOND / 3).await;

    let requests = scene.eks.requests();
    let mut refreshes: Vec<Timestamp> = requests.iter().skip(PODS).map(|seen| seen.at).collect();
    assert!(refreshes.len() >= PODS, "{} of {PODS}", refreshes.len());
    refreshes.truncate(PODS);
    assert!(refreshes[0] >= NOW + 27 * SECOND, "not before it is due");
    for four in refreshes.windows(4) {
        let apart = four[3].saturating_since(four[0]);
        assert!(
            apart >= Duration::from_millis(980),
            "3 per second: {apart:?}"
        );
    }
    let took = refreshes[PODS - 1].saturating_since(refreshes[0]);
    assert!(took <= 21 * SECOND, "{took:?} for {PODS}");
    let refreshed = requests[PODS..2 * PODS].iter().map(|seen| seen.token);
    let different: std::collections::HashSet<_> = refreshed.collect();
    assert_eq!(different.len(), PODS, "each once");
}

#[tokio::test(start_paused = true)]
async fn served_credentials_have_more_than_15_minutes_left_if_their_lifetime_allows() {
    for lifetime in [31, 45, 59, 60, 90, 120, 360, 720].map(|minutes| minutes * MINUTE) {
        let scene = Scene::flowing(Settings::DEFAULT).await;
        scene.eks.inject_always(Fault::expires_in(lifetime));
        let token = scene.builder().lifetime(48 * HOUR).mint(NOW);
        let step = lifetime / 40;
        for _ in 0..100 {
            // The metrics may be read before a due refresh.
            let left = left(&scene, &scene.get(&token).await);
            assert!(left > 15 * MINUTE, "{left:?} left of {lifetime:?}");
            sleep(step).await;
        }
    }
}

/// botocore goes back to where credentials come from on every signature when less than 15 minutes are
/// left.
#[tokio::test(start_paused = true)]
async fn botocore_signs_a_hundred_requests_with_one_fetch() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
    let token = scene.token();
    for _ in 0..60 {
        let mut calls = 0;
        let mut held: Option<Timestamp> = None;
        for _signature in 0..100 {
            let now = scene.time.now();
            if held.is_none_or(|expires| expires.saturating_since(now) < 15 * MINUTE) {
                calls += 1;
                held = Some(expiration(&scene.get(&token).await));
            }
        }
        assert_eq!(calls, 1);
        sleep(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_succeeds_within_seconds_of_the_services_recovery() {
    for (outage, within) in [
        (5 * SECOND, 10 * SECOND),
        (MINUTE, 30 * SECOND),
        (10 * MINUTE, 30 * SECOND),
    ] {
        let scene = Scene::flowing(Settings::DEFAULT).await;
        let token = scene.token();
        let key = scene.get(&token).await.key();
        scene.eks.inject_always(ErrorCode::ServiceUnavailable);
        // The first attempt of the refresh, and then the outage.
        scene.eks.wait_for_requests(2).await;
        sleep(outage).await;
        assert_eq!(scene.get(&token).await.key(), key, "meanwhile");
        let attempts = scene.eks.request_count();
        scene.eks.clear_faults();
        let recovered = Instant::now();
        scene.eks.wait_for_requests(attempts + 1).await;
        assert!(
            recovered.elapsed() <= within,
            "{:?} after {outage:?}",
            recovered.elapsed()
        );
        scene.until(&token, |answer| answer.key() != key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_clock_step_nothing_expired_is_served_and_refreshing_continues() {
    for forward in [true, false] {
        let scene = Scene::flowing(Settings::DEFAULT).await;
        scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
        let token = scene.builder().mint(NOW - 2 * HOUR);
        scene.get(&token).await.key();
        sleep(10 * MINUTE).await;
        if forward {
            scene.clock.advance(HOUR);
        } else {
            scene.clock.set(scene.now() - HOUR);
        }
        let began = Instant::now();
        // No client asks.
        scene.eks.wait_for_requests(2).await;
        assert!(
            began.elapsed() <= MINUTE,
            "{:?} forward: {forward}",
            began.elapsed()
        );
        for _ in 0..120 {
            let answer = scene.get(&token).await;
            // For an agent whose clock is an hour fast, shorter-lived credentials have expired.
            if answer.status == 200 {
                let left = left(&scene, &answer);
                assert!(left > 14 * SECOND, "{left:?} forward: {forward}");
            } else {
                assert!(forward, "{}", answer.body);
            }
            sleep(MINUTE).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_suspend_nothing_expired_is_served_and_credentials_are_refreshed_at_once() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    scene.eks.inject_always(Fault::expires_in(59 * MINUTE));
    let token = scene.token();
    let key = scene.get(&token).await.key();
    // Monotonic time stops during suspend; all wall clocks continue.
    scene.clock.advance(2 * HOUR);
    scene.time.advance(2 * HOUR);
    let answer = scene.get(&token).await;
    assert_ne!(answer.key(), key);
    assert!(left(&scene, &answer) > 58 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_a_pod_with_many_tokens_are_not_bounded_by_its_budget() {
    let scene = Scene::flowing(Settings {
        retention: 30 * SECOND,
        pod_budget: Budget::new(10, 0.001),
        ..Settings::DEFAULT
    })
    .await;
    let tokens: Vec<_> = (0..10).map(|_| scene.token()).collect();
    for token in &tokens {
        scene.get(token).await.key();
    }
    sleep(2 * MINUTE).await;
    assert!(
        scene.eks.request_count() >= 30,
        "{}",
        scene.eks.request_count()
    );
}

fn expiration(answer: &Answer) -> Timestamp {
    let json = answer.json();
    assert_eq!(answer.status, 200, "{}", answer.body);
    Timestamp::parse_rfc3339(json["Expiration"].as_str().unwrap()).unwrap()
}

/// By the true time.
fn left(scene: &Scene, answer: &Answer) -> Duration {
    expiration(answer).saturating_since(scene.time.now())
}
