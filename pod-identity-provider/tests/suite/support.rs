//! A pod with an agent, and a scripted transport.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses another part of it"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use pod_identity_provider::{
    BoxFuture, Builder, Clock, Endpoint, Event, FetchError, Observer, PodIdentityProvider,
    RefreshPolicy, Resolve, Timestamp, Transport, TransportError,
};
use pod_identity_testkit::{Fault, MockAgent, MockAgentBuilder, TokenPolicy};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub const SECRET_KEY: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
pub const SESSION_TOKEN: &str = "FwoGZXIvYXdzEJrSessionTokenExample";

/// The body of a success, as the official agent writes it.
pub fn body(access_key_id: &str, expiration: &str) -> String {
    format!(
        r#"{{"AccessKeyId":"{access_key_id}","SecretAccessKey":"{SECRET_KEY}","Token":"{SESSION_TOKEN}","AccountId":"111122223333","Expiration":"{expiration}"}}"#
    )
}

/// A success that outlives every test.
pub fn good_body() -> String {
    body("ASIAEXAMPLE", "2099-01-01T00:00:00Z")
}

/// A pod with an agent of its own, over real sockets in virtual time.
pub struct Pod {
    pub agent: MockAgent,
    /// What the provider goes by; the agent goes by the true time.
    pub clock: Arc<VirtualClock>,
}

impl Pod {
    pub async fn start() -> Self {
        Self::with(|agent| agent).await
    }

    pub async fn with(set_up: impl FnOnce(MockAgentBuilder) -> MockAgentBuilder) -> Self {
        let clock = VirtualClock::start();
        let true_time = Arc::new(TrueTime(clock.clone()));
        let agent = set_up(MockAgent::builder().clock(true_time).in_this_runtime());
        let agent = agent.start().await.unwrap();
        Self { agent, clock }
    }

    /// With an agent that knows any token, and none.
    pub async fn with_any_token() -> Self {
        Self::with(|agent| agent.token_policy(TokenPolicy::Any)).await
    }

    /// With an agent that answers this, whatever it is asked.
    pub async fn answered(status: u16, body: impl Into<String>) -> Self {
        let pod = Self::start().await;
        pod.agent.inject_always(answer(status, body));
        pod
    }

    pub fn builder(&self) -> Builder {
        PodIdentityProvider::builder()
            .environment(self.agent.lookup())
            .clock(self.clock.clone())
            .seed(7)
    }

    pub fn provider(&self) -> PodIdentityProvider {
        self.builder().build().unwrap()
    }

    /// The error of one attempt, in which there is no secret.
    pub async fn failure(&self) -> FetchError {
        let policy = RefreshPolicy::provider().with_attempts(1);
        let provider = self.builder().policy(policy).build().unwrap();
        let error = provider.credentials().await.unwrap_err();
        let printed = format!("{} {provider:?} {:?}", chain(&error), provider.state());
        self.agent.assert_no_secrets(&printed);
        error
    }

    /// What is wrong, with the address that it begins with left out.
    pub async fn complaint(&self) -> String {
        let text = self.failure().await.to_string();
        let address = format!("{} ", self.agent.address());
        text.strip_prefix(&address).unwrap_or(&text).to_owned()
    }
}

/// An answer with nothing but this in it.
pub fn answer(status: u16, body: impl Into<String>) -> Fault {
    let answer = Response::builder().status(status);
    Fault::answer(answer.body(body.into()).unwrap())
}

/// A resolver that knows one name, and answers from a list.
#[derive(Debug, Default)]
pub struct Names(Mutex<Vec<io::Result<Vec<IpAddr>>>>);

impl Names {
    pub fn answering(
        answers: impl IntoIterator<Item = io::Result<&'static [&'static str]>>,
    ) -> Arc<Self> {
        let parse =
            |addresses: &[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.into_iter().map(|answer| answer.map(parse));
        Arc::new(Self(Mutex::new(answers.collect())))
    }

    /// Whether every answer has been given.
    pub fn is_used_up(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        assert_eq!(host, "agent.internal");
        let next = self.0.lock().unwrap().remove(0);
        Box::pin(async { next })
    }
}

/// What a scripted transport does with a request.
pub enum Step {
    /// A new set that lives this long.
    Fresh(Duration),
    /// A set with this key id and expiry.
    Set(&'static str, Timestamp),
    Status(u16, &'static str),
    RetryAfter(u16, u64),
    Broken,
    Hang,
    Panic,
}

/// A transport that answers from a script, with the number of the request (from 1) and without a socket.
pub struct Script {
    clock: Arc<VirtualClock>,
    latency: Duration,
    step: Box<dyn Fn(usize) -> Step + Send + Sync>,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Script {
    pub fn new(
        clock: &Arc<VirtualClock>,
        step: impl Fn(usize) -> Step + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::slow(clock, Duration::from_millis(10), step)
    }

    /// Each answer takes this long.
    pub fn slow(
        clock: &Arc<VirtualClock>,
        latency: Duration,
        step: impl Fn(usize) -> Step + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            latency,
            step: Box::new(step),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        })
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    /// A provider in virtual time over this transport.
    pub fn builder(self: &Arc<Self>) -> Builder {
        PodIdentityProvider::builder()
            .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials").unwrap())
            .no_token()
            .seed(7)
            .clock(self.clock.clone())
            .transport(self.clone())
    }

    pub fn provider(self: &Arc<Self>) -> PodIdentityProvider {
        self.builder().build().unwrap()
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Transport for Script {
    fn send(
        &self,
        _request: Request<()>,
        _addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
        struct Leave<'a>(&'a AtomicUsize);

        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }

        Box::pin(async move {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            let _leave = Leave(&self.in_flight);
            self.most_in_flight.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(self.latency).await;
            let answer = |status, body: String| {
                let answer = Response::builder().status(status);
                Ok(answer.body(Zeroizing::new(body.into_bytes())).unwrap())
            };
            match (self.step)(call) {
                Step::Fresh(lifetime) => {
                    let expiration = self.clock.true_time() + lifetime;
                    answer(200, body(&format!("ASIA{call}"), &expiration.to_string()))
                }
                Step::Set(key, expiration) => answer(200, body(key, &expiration.to_string())),
                Step::Status(status, text) => answer(status, text.to_owned()),
                Step::RetryAfter(status, seconds) => {
                    let answer = Response::builder()
                        .status(status)
                        .header("retry-after", seconds);
                    Ok(answer.body(Zeroizing::default()).unwrap())
                }
                Step::Broken => Err(TransportError::Exchange("reset by the script".into())),
                Step::Hang => std::future::pending().await,
                Step::Panic => panic!("by the script"),
            }
        })
    }
}

/// Wall-clock time that goes with tokio's, and can be set wrong.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    asleep_millis: AtomicI64,
    wrong_by_millis: AtomicI64,
}

pub const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

impl VirtualClock {
    pub fn start() -> Arc<Self> {
        let (asleep_millis, wrong_by_millis) = Default::default();
        Arc::new(Self {
            start: Instant::now(),
            asleep_millis,
            wrong_by_millis,
        })
    }

    /// The machine sleeps: time passes for everybody else.
    pub fn suspend(&self, time: Duration) {
        self.asleep_millis
            .fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The node's clock is stepped; the service's is not.
    pub fn step(&self, seconds: i64) {
        self.wrong_by_millis
            .fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// The time that the service goes by.
    pub fn true_time(&self) -> Timestamp {
        let elapsed = START + self.start.elapsed();
        Timestamp::from_unix_millis(
            elapsed.as_unix_millis() + self.asleep_millis.load(Ordering::SeqCst),
        )
    }
}

/// [`VirtualClock::true_time`] as a clock.
#[derive(Debug)]
struct TrueTime(Arc<VirtualClock>);

impl Clock for TrueTime {
    fn now(&self) -> Timestamp {
        self.0.true_time()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let wrong_by = self.wrong_by_millis.load(Ordering::SeqCst);
        Timestamp::from_unix_millis(self.true_time().as_unix_millis() + wrong_by)
    }
}

/// Keeps what it is told, as text.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Vec<Event>>);

impl Notes {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|event| wanted(event))
            .count()
    }

    pub fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

pub fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

pub fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// The text of an error with everything that it was caused by.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source} {source:?}"));
        next = source.source();
    }
    text
}

const CHILD: &str = "POD_IDENTITY_TEST_CHILD";

/// Whether this process was started by [`run_in_child`].
#[expect(
    clippy::disallowed_methods,
    reason = "a process of its own has an environment of its own"
)]
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this binary in a process of its own, with these variables.
pub async fn run_in_child(test: &'static str, env: Vec<(&'static str, String)>) {
    let run = move || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", test])
            .env(CHILD, "1")
            .env_remove("NO_PROXY")
            .env_remove("no_proxy");
        child.envs(env).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
