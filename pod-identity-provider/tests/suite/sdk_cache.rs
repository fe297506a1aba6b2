//! Under the SDK's own identity cache: what a real client signs its requests with.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use crate::support::{Notes, Pod, SECRET_KEY, START, Script, Step, VirtualClock, hours, minutes};
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use pod_identity_provider::{Clock, Credentials, Event, PodIdentityProvider, Secret, Timestamp};
use pod_identity_testkit::{CredentialSource, TokenPolicy};
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
    fn new(
        provider: &(impl ProvideCredentials + Clone + 'static),
        clock: &Arc<VirtualClock>,
    ) -> Self {
        Self::with(provider, clock, IdentityCache::lazy().build())
    }

    fn with(
        provider: &(impl ProvideCredentials + Clone + 'static),
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
    let at_once = ("ASIA2".to_owned(), Duration::ZERO);
    assert_eq!(client.call().await, at_once);
    assert_eq!(script.calls(), 2);
}

/// The SDK's cache keeps a set until its announced expiry, so that is at most ten minutes away.
#[tokio::test(start_paused = true)]
async fn a_rejected_key_and_a_new_role_reach_the_sdk_within_ten_minutes() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    let client = Client::new(&provider, &clock);
    for number in 1..=5 {
        let key = format!("ASIA{number}");
        assert_eq!(client.call().await.0, key);
        sleep(minutes(20)).await;
        assert_eq!(client.call().await.0, key);
        provider.invalidate(&key);
        sleep(minutes(10)).await;
    }
    provider.refresh_now().await.unwrap();
    sleep(minutes(10)).await;
    assert_eq!(client.call().await.0, "ASIA7");
}

/// What that costs: a call of `provide_credentials` every 5 to 10 minutes, and no request that waits.
#[tokio::test(start_paused = true)]
async fn a_busy_sdk_asks_a_few_times_an_hour_and_never_waits() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let counted = Counted {
        provider: script.provider(),
        calls: Arc::default(),
    };
    counted.provider.warm_up().await.unwrap();
    let client = Client::new(&counted, &clock);
    for _ in 0..24 * 60 {
        assert_eq!(client.call().await.1, Duration::ZERO);
        sleep(minutes(1)).await;
    }
    let calls = counted.calls.load(Ordering::SeqCst);
    assert!(
        (24 * 6..=24 * 12).contains(&calls),
        "{calls} calls in a day"
    );
    assert!(
        (5..=7).contains(&script.calls()),
        "{} fetches",
        script.calls()
    );
}

#[derive(Debug, Clone)]
struct Counted {
    provider: PodIdentityProvider,
    calls: Arc<AtomicUsize>,
}

impl ProvideCredentials for Counted {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.provider.provide_credentials()
    }
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

/// As an application does that only presigns: its runtime runs while a request is signed, and nothing is sent.
#[test]
fn a_client_whose_runtime_runs_only_inside_block_on_never_signs_with_a_dead_key() {
    for is_cached in [false, true] {
        let clock = VirtualClock::start();
        let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
        let notes = Notes::new();
        let provider = script.builder().observer(notes.clone()).build().unwrap();
        let client = match is_cached {
            true => Client::new(&provider, &clock),
            false => Client::with(&provider, &clock, IdentityCache::no_cache()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut expirations = HashMap::new();
        for _call in 0..24 * 6 {
            let (key, _) = runtime.block_on(client.call());
            let state = provider.state();
            expirations.insert(state.access_key_id.unwrap(), state.expiration.unwrap());
            assert!(expirations[&key] > clock.now(), "{key} at {}", clock.now());
            clock.suspend(minutes(10));
        }
        assert!((4..=6).contains(&script.calls()), "{}", script.calls());
        assert_eq!(
            notes.count(|event| matches!(event, Event::Failed { .. })),
            0
        );
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

/// A day of an application that makes a call every few seconds, over real sockets to the agent.
#[tokio::test(start_paused = true)]
async fn for_a_day_no_call_is_signed_with_an_expired_key_while_the_agent_is_healthy() {
    let mint = Arc::new(Mint::default());
    let minting = mint.clone();
    let source = CredentialSource::from_fn(move |_request| Ok(minting.mint()));
    let pod = Pod::with(|agent| agent.token_policy(TokenPolicy::Any).credentials(source)).await;
    mint.clock.set(pod.clock.clone()).unwrap();
    let provider = pod.provider();
    let cached = Client::new(&provider, &pod.clock);
    let uncached = Client::with(&provider, &pod.clock, IdentityCache::no_cache());
    let elapsed = || pod.clock.true_time().saturating_since(START);
    let (mut healthy_since, mut is_down, mut wrong_by) = (START, false, 0);
    let (mut calls, mut dead, mut events) = (0, 0, EVENTS.iter());
    let mut next = events.next();
    while elapsed() < hours(24) {
        if let Some((_, event)) = next.filter(|(minute, _)| elapsed() >= minutes(*minute)) {
            match event {
                Misfortune::Down => {
                    pod.agent.stop().await;
                    is_down = true;
                }
                Misfortune::Back => {
                    pod.agent.restart().await.unwrap();
                    (is_down, healthy_since) = (false, pod.clock.true_time());
                }
                Misfortune::Suspend(time) => pod.clock.suspend(minutes(*time)),
                Misfortune::Step(seconds) => {
                    pod.clock.step(*seconds);
                    wrong_by += seconds;
                }
                Misfortune::Role(lifetime) => *mint.lifetime.lock().unwrap() = minutes(*lifetime),
                Misfortune::Reject => {
                    let rejected = provider.state().access_key_id.unwrap();
                    provider.invalidate(&rejected);
                    assert_ne!(uncached.call().await.0, rejected);
                }
            }
            next = events.next();
        }
        // An SDK keeps a set that is announced with 16 s until 10 s before that.
        for (client, longest) in [(&uncached, 2), (&cached, 8)] {
            let asked = pod.clock.true_time();
            let (key, _took) = client.call().await;
            calls += 1;
            // By a clock that is slow the SDK's own cache keeps a set for too long.
            let is_judged = longest == 2 || wrong_by >= 0;
            if is_judged && mint.issued.lock().unwrap()[&key] <= asked {
                dead += 1;
                let healthy_for = asked.saturating_since(healthy_since);
                assert!(
                    is_down || healthy_for <= Duration::from_secs(longest),
                    "{key} after {:?}, {healthy_for:?} after the agent was back",
                    elapsed()
                );
            }
        }
        sleep(Duration::from_secs(11)).await;
    }
    assert!(next.is_none() && calls > 10_000, "{calls} calls");
    assert!(
        dead > 100,
        "{dead}: the outages must have lasted beyond an expiry"
    );
    assert_eq!(provider.state().consecutive_failures, 0);
}

/// Mints sets, and knows when they expire.
#[derive(Debug)]
struct Mint {
    clock: OnceLock<Arc<VirtualClock>>,
    lifetime: Mutex<Duration>,
    issued: Mutex<HashMap<String, Timestamp>>,
}

impl Default for Mint {
    fn default() -> Self {
        Self {
            clock: OnceLock::new(),
            lifetime: Mutex::new(hours(6)),
            issued: Mutex::default(),
        }
    }
}

impl Mint {
    fn mint(&self) -> Credentials {
        let mut issued = self.issued.lock().unwrap();
        let now = self.clock.get().unwrap().true_time();
        let expiration = now + *self.lifetime.lock().unwrap();
        // On the wire are whole seconds.
        let expiration = Timestamp::from_unix_secs(expiration.as_unix_secs());
        let key = format!("ASIA{:016}", issued.len());
        issued.insert(key.clone(), expiration);
        let secret = || Secret::from(SECRET_KEY.to_owned());
        Credentials::new(key, secret(), secret(), expiration)
    }
}

enum Misfortune {
    Down,
    Back,
    /// For so many minutes.
    Suspend(u64),
    /// By so many seconds.
    Step(i64),
    /// A role whose sets live for so many minutes.
    Role(u64),
    Reject,
}

/// By the minute.
const EVENTS: [(u64, Misfortune); 17] = [
    (60, Misfortune::Role(59)),
    (61, Misfortune::Reject),
    (150, Misfortune::Down),
    (260, Misfortune::Back),
    (300, Misfortune::Suspend(180)),
    (500, Misfortune::Role(20)),
    (520, Misfortune::Down),
    (521, Misfortune::Suspend(120)),
    (650, Misfortune::Back),
    (700, Misfortune::Step(-3600)),
    (760, Misfortune::Step(3600)),
    (800, Misfortune::Role(360)),
    (801, Misfortune::Reject),
    (900, Misfortune::Step(600)),
    (960, Misfortune::Step(-600)),
    (1100, Misfortune::Suspend(30)),
    (1200, Misfortune::Reject),
];
