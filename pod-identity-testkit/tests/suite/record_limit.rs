//! What a mock forgets that serves for days.

use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::Timestamp;
#[cfg(feature = "webhook")]
use pod_identity_testkit::{Fault, MockWebhook};
use pod_identity_testkit::{MockEksAuth, SettableClock};

use crate::common::{NOW, ROLE, assume, soon, token};
#[cfg(feature = "webhook")]
use crate::webhook_server::{JSON, config, plain, pod, post, review, send};

#[cfg(feature = "webhook")]
async fn admit(webhook: &MockWebhook, count: usize) {
    for number in 0..count {
        let mut pod = pod("cart");
        pod["metadata"]["name"] = format!("cart-{number}").into();
        let answer = post(webhook, JSON, review("v1", "shop", &pod).to_string()).await;
        assert_eq!(answer.status, 200);
    }
}

#[cfg(feature = "webhook")]
#[tokio::test]
async fn the_oldest_requests_are_forgotten_and_the_newest_are_kept() {
    let builder = MockWebhook::builder(config()).plain().unverified();
    let webhook = builder.record_limit(100_000).start().await.unwrap();
    admit(&webhook, 40).await;
    let kept = webhook.requests();
    assert!((2..20).contains(&kept.len()), "{} are kept", kept.len());
    let names: Vec<_> = kept.iter().map(|it| it.pod.clone().unwrap()).collect();
    let newest: Vec<_> = (40 - kept.len()..40)
        .map(|it| format!("cart-{it}"))
        .collect();
    assert_eq!(names, newest);
    assert_eq!(webhook.request_count(), 40, "all are counted");
}

#[cfg(feature = "webhook")]
#[tokio::test]
async fn without_a_limit_every_request_is_kept() {
    let webhook = plain().await;
    admit(&webhook, 40).await;
    assert_eq!(webhook.requests().len(), 40);
}

#[cfg(feature = "webhook")]
#[tokio::test]
#[should_panic(expected = "requests were forgotten, so nothing is known of them")]
async fn an_expectation_of_forgotten_requests_fails() {
    let builder = MockWebhook::builder(config()).plain();
    let webhook = builder.record_limit(100_000).start().await.unwrap();
    webhook.expect().at_most(40);
    admit(&webhook, 40).await;
    webhook.verify();
}

#[cfg(feature = "webhook")]
#[tokio::test]
async fn an_expectation_holds_if_nothing_was_forgotten() {
    let builder = MockWebhook::builder(config()).plain();
    let webhook = builder.record_limit(10_000_000).start().await.unwrap();
    webhook.expect().times(40);
    admit(&webhook, 40).await;
    webhook.verify();
}

/// A kubelet asks every two seconds: it would use up the faults, and fill the record.
#[cfg(feature = "webhook")]
#[tokio::test]
async fn a_health_check_is_not_recorded_and_meets_no_fault() {
    let webhook = plain().await;
    webhook.inject(Fault::status(503));
    for _ in 0..3 {
        let stream = tokio::net::TcpStream::connect(webhook.address());
        let answer = send(stream.await.unwrap(), "/healthz", JSON, String::new()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    assert_eq!((webhook.request_count(), webhook.requests()), (0, vec![]));
    let review = review("v1", "shop", &pod("cart")).to_string();
    assert_eq!(post(&webhook, JSON, review).await.status, 503);
}

/// A mock with a clock and an association for `shop/cart`.
async fn eks(limit: Option<usize>) -> (MockEksAuth, Arc<SettableClock>) {
    let clock = Arc::new(SettableClock::at(NOW));
    let mut builder = MockEksAuth::builder().clock(clock.clone());
    if let Some(limit) = limit {
        builder = builder.record_limit(limit);
    }
    let eks = builder.in_this_runtime().start().await.unwrap();
    eks.associate("shop", "cart", ROLE);
    (eks, clock)
}

/// Returns the access key id of new credentials.
async fn granted(eks: &MockEksAuth, now: Timestamp) -> String {
    let token = eks.issuer().token("shop", "cart").mint(now);
    let body = assume(eks, &token).await.json();
    let id = body["credentials"]["accessKeyId"].as_str();
    id.unwrap().to_owned()
}

#[tokio::test]
async fn a_forgotten_request_in_flight_is_still_counted_and_answered() {
    let (eks, _clock) = eks(Some(0)).await;
    let gate = eks.gate();
    let token = token(&eks);
    let ask = || assume(&eks, &token);
    let (one, two, three, ()) = soon(async {
        tokio::join!(ask(), ask(), ask(), async {
            eks.wait_for_requests(3).await;
            let kept = eks.requests();
            assert_eq!(kept.len(), 1, "the newest is kept in any case");
            assert_eq!(kept[0].in_flight, 3);
            gate.release();
        })
    })
    .await;
    assert_eq!([one.status, two.status, three.status], [200; 3]);
    assert_eq!(eks.in_flight(), 0);
}

#[tokio::test]
async fn a_session_is_forgotten_an_hour_after_it_expired_if_there_is_a_limit() {
    for (limit, is_known_at_last) in [(None, true), (Some(1_000_000), false)] {
        let (eks, clock) = eks(limit).await;
        let first = granted(&eks, NOW).await;
        let now = clock.advance(Duration::from_secs(6 * 3600 + 3500));
        granted(&eks, now).await;
        assert!(eks.session(&first).is_some(), "expired for 3500 s");
        let now = clock.advance(Duration::from_secs(200));
        granted(&eks, now).await;
        assert_eq!(eks.session(&first).is_some(), is_known_at_last);
    }
}

#[tokio::test]
async fn the_oldest_sessions_are_forgotten_at_the_limit() {
    let (eks, _clock) = eks(Some(20_000)).await;
    let mut keys = Vec::new();
    for _ in 0..40 {
        keys.push(granted(&eks, NOW).await);
    }
    let known = keys.iter().filter(|key| eks.session(key).is_some());
    let known: Vec<_> = known.collect();
    assert!((2..20).contains(&known.len()), "{} are known", known.len());
    let newest: Vec<_> = keys.iter().skip(40 - known.len()).collect();
    assert_eq!(known, newest);
    assert!(eks.minted().len() < 40 && eks.secrets().len() < 40);
}
