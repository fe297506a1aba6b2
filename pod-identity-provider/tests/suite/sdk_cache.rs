//! Under the SDK's own identity cache: what a real client signs its requests with.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::support::{Script, Step, VirtualClock, hours, minutes};
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use pod_identity_provider::{Clock, PodIdentityProvider};
use tokio::time::{Instant, sleep};

/// The SDK goes by the same time as the provider.
#[derive(Debug, Clone)]
struct Time(Arc<VirtualClock>);

impl TimeSource for Time {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

/// Is where STS would be, and keeps the last signature.
#[derive(Debug, Clone, Default)]
struct Wire(Arc<Mutex<String>>);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let signature = request.headers().get("authorization").unwrap();
        *self.0.lock().unwrap() = signature.to_owned();
        let body = SdkBody::from(
            "<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>",
        );
        HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), body)))
    }
}

struct Client {
    sts: aws_sdk_sts::Client,
    wire: Wire,
}

impl Client {
    fn new(provider: &PodIdentityProvider, clock: &Arc<VirtualClock>) -> Self {
        Self::with(provider, clock, IdentityCache::lazy().build())
    }

    fn with(
        provider: &PodIdentityProvider,
        clock: &Arc<VirtualClock>,
        cache: impl aws_sdk_sts::config::ResolveCachedIdentity + 'static,
    ) -> Self {
        let wire = Wire::default();
        let connector = SharedHttpConnector::new(wire.clone());
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-west-2"))
            .credentials_provider(provider.clone())
            .identity_cache(cache)
            .time_source(Time(clock.clone()))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        Self {
            sts: aws_sdk_sts::Client::from_conf(config),
            wire,
        }
    }

    /// The key that a call was signed with, and how long it took.
    async fn call(&self) -> (String, Duration) {
        let asked = Instant::now();
        self.sts.get_caller_identity().send().await.unwrap();
        let signature = self.wire.0.lock().unwrap().clone();
        let key = signature.split(['=', '/']).nth(1).unwrap();
        (key.to_owned(), asked.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_was_refreshed_reaches_the_sdk_and_no_request_waits() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    let client = Client::new(&provider, &clock);
    assert_eq!(client.call().await.0, "ASIA1");

    sleep(hours(5) + minutes(30)).await;
    assert_eq!(script.calls(), 2, "refreshed, while the SDK's cache slept");
    assert_eq!(client.call().await.0, "ASIA1", "which keeps a set for long");

    sleep(minutes(30) - Duration::from_secs(5)).await;
    let at_hand = ("ASIA2".to_owned(), Duration::ZERO);
    assert_eq!(client.call().await, at_hand);
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_sdks_cache_every_request_is_signed_with_the_newest_set() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    let client = Client::with(&provider, &clock, IdentityCache::no_cache());
    for key in ["ASIA1", "ASIA2", "ASIA3"] {
        let at_hand = (key.to_owned(), Duration::ZERO);
        assert_eq!(client.call().await, at_hand);
        sleep(minutes(1)).await;
        provider.invalidate(key);
        sleep(minutes(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sdk_accepts_an_expired_set_while_the_agent_is_down() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        _ => Step::Broken,
    });
    let provider = script.provider();
    let client = Client::new(&provider, &clock);
    assert_eq!(client.call().await.0, "ASIA1");

    sleep(hours(7)).await;
    for _ in 0..100 {
        let (key, took) = client.call().await;
        assert_eq!(key, "ASIA1");
        assert!(took <= Duration::from_millis(10), "one attempt: {took:?}");
        sleep(Duration::from_secs(43)).await;
    }
}
