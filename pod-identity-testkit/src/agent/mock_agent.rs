use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pod_identity_core::wire::agent;
use pod_identity_core::{Secret, variables};

use crate::agent::expectation::Expectation;
use crate::agent::service::AgentService;
use crate::fault::mock_server::MockServer;
use crate::http::host::Host;
use crate::http::recorder::{Counts, Recorder};
use crate::sync::lock;
use crate::{
    AgentRequest, Blocking, Expectations, Fault, Gate, MockAgentBuilder, PodToken, ProjectedVolume,
    Stage, assert_no_secrets,
};

/// A stand-in for the node agent, on an ephemeral loopback port, with a pod's projected token.
///
/// It answers as the official agent does: the same body of a success, the same texts, statuses and
/// headers of every refusal. [Faults](Self#faults) go down to the single byte. What arrives is recorded,
/// and [expectations](Self::expect) are verified when it is dropped.
///
/// Nothing of it is shared with another one or with the process's environment: [`env`](Self::env),
/// [`lookup`](Self::lookup) and [`apply_to`](Self::apply_to) give what would be in a container's.
/// It serves on a thread of its own, so that it answers while the test blocks; for virtual time see
/// [`in_this_runtime`](MockAgentBuilder::in_this_runtime). Dropping it closes the listener, every
/// connection, and removes the token.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{Fault, MockAgent, Stage};
///
/// let agent = MockAgent::start().await;
/// agent.inject(Fault::status(503));
/// agent.inject(Fault::reset(Stage::InBody));
/// // … build what is tested from `agent.lookup()`, as from the environment, and run it …
/// let lookup = agent.lookup();
/// assert!(lookup("AWS_CONTAINER_CREDENTIALS_FULL_URI").unwrap().starts_with("http://127.0.0.1:"));
/// agent.rotate();
/// assert_eq!(agent.request_count(), 0);
/// # }
/// ```
///
/// # Faults
/// A [`Fault`] says what happens, and to which requests: to the next one by default, to several, to the
/// nth, to those with one token or of one pod, from a time on, for a while, or until a gate is released.
/// Faults for a number of requests queue. Those for every request are persistent.
///
/// A request goes through the queue from its head. It takes each fault that does not overlap with one
/// that it has taken, up to the first that answers. The persistent faults then add what the queue did
/// not decide; they answer or stall only if no fault of the queue answers.
///
/// So a stall and then an error, queued one after the other, make one slow error; two queued errors are
/// for two requests; a persistent drip makes every queued error slow. Two fields of a success, two
/// headers, and waits at two stages do not overlap.
#[derive(Debug)]
pub struct MockAgent {
    pub(crate) server: Arc<MockServer<AgentService>>,
    expectations: Mutex<Vec<Expectation>>,
    wait_limit: Duration,
    /// The last field, so that it ends after what it serves.
    host: Host,
}

impl MockAgent {
    /// A mock with every default of [`builder`](Self::builder).
    ///
    /// # Panics
    /// Panics without a free loopback port or a temporary directory.
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a loopback port and a temporary directory must be free")
    }

    /// A mock with every default, for tests without a runtime.
    ///
    /// # Panics
    /// Panics without a free loopback port, a temporary directory or a thread.
    pub fn start_blocking() -> Blocking<Self> {
        Self::builder()
            .start_blocking()
            .expect("a loopback port and a temporary directory must be free")
    }

    /// A mock to be set up before it starts.
    pub fn builder() -> MockAgentBuilder {
        MockAgentBuilder::default()
    }

    pub(crate) fn new(
        server: Arc<MockServer<AgentService>>,
        host: Host,
        wait_limit: Duration,
    ) -> Self {
        Self {
            server,
            expectations: Mutex::default(),
            wait_limit,
            host,
        }
    }

    /// `http://127.0.0.1:{port}/v1/credentials`. It stays the same over a restart.
    pub fn uri(&self) -> String {
        format!("http://{}{}", self.server.reachable(), agent::PATH)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What the webhook would put into a container's environment: `AWS_CONTAINER_CREDENTIALS_FULL_URI`
    /// and `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let token_file = self.volume().token_path().to_string_lossy();
        vec![
            (variables::FULL_URI, self.uri()),
            (variables::TOKEN_FILE, token_file.into_owned()),
        ]
    }

    /// [`env`](Self::env) as a function, in the place of the process's environment.
    pub fn lookup(
        &self,
    ) -> impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static + use<> {
        let env = self.env();
        move |name| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        }
    }

    /// Gives a command [`env`](Self::env), and takes from it the variables that would win over that.
    pub fn apply_to(&self, command: &mut Command) {
        command
            .env_remove(variables::RELATIVE_URI)
            .env_remove(variables::TOKEN)
            .envs(self.env());
    }

    /// The volume that its token is in. What a test writes there itself is not the current token.
    pub fn volume(&self) -> &ProjectedVolume {
        self.pod_token().volume()
    }

    /// Its token, to have it refreshed as kubelet does: `agent.pod_token().follow(&clock)`.
    pub fn pod_token(&self) -> &PodToken {
        &self.service().token
    }

    /// The token that was minted last.
    pub fn token(&self) -> Secret {
        self.pod_token().current()
    }

    /// Mints a new token by the mock's clock and projects it, as kubelet does once a day. Returns it.
    ///
    /// # Panics
    /// When the volume cannot be written.
    pub fn rotate(&self) -> Secret {
        let service = self.service();
        let rotated = service.token.rotate(service.clock.now());
        rotated.expect("the volume must be writable")
    }

    /// Closes the listener and every connection, and returns when that is done: from now on
    /// connections are refused. What it knows and has recorded stays.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again on the same port. Does nothing if it does already.
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// Injects a fault: for the next request, unless the fault says for which. See [Faults](Self#faults).
    ///
    /// # Panics
    /// Panics if parts of the fault exclude each other, or if the mock agent has no such fault.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.server.inject_now(fault.into());
    }

    /// Injects a fault for so many requests.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_next(&self, count: usize, fault: impl Into<Fault>) {
        self.inject(fault.into().times(count));
    }

    /// Injects a fault for every request, until the faults are cleared.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_always(&self, fault: impl Into<Fault>) {
        self.inject(fault.into().always());
    }

    /// Holds every request before its answer until the gate is released.
    pub fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.inject_always(Fault::hold(Stage::BeforeHeaders, &gate));
        gate
    }

    /// The gate that a [scenario](MockAgentBuilder::scenario) calls by this name, if it has not been
    /// released; else a new one.
    pub fn named_gate(&self, name: &str) -> Gate {
        self.server.named_gate(name)
    }

    /// Removes every fault. Requests that wait go on.
    pub fn clear_faults(&self) {
        self.service().faults.clear();
    }

    /// Applies what the timeline of the [scenario](MockAgentBuilder::scenario) has up to now by the mock's
    /// clock. Without this call it is applied within a second.
    ///
    /// # Errors
    /// Fails if the token cannot be written, or somebody else has taken the port meanwhile. It is tried
    /// again every second, and what comes after it waits.
    pub async fn catch_up(&self) -> io::Result<()> {
        self.server.catch_up().await
    }

    /// Every request whose head has been read, in the order of arrival.
    pub fn requests(&self) -> Vec<AgentRequest> {
        self.recorder().requests()
    }

    /// How many requests have arrived.
    pub fn request_count(&self) -> usize {
        self.recorder().counts().requests
    }

    /// How many connections have been accepted.
    pub fn connection_count(&self) -> u64 {
        self.recorder().counts().connections
    }

    /// How many requests are waiting for their answer.
    pub fn in_flight(&self) -> usize {
        self.recorder().counts().in_flight
    }

    /// How many requests have waited for their answer at the same time, at most.
    pub fn max_in_flight(&self) -> usize {
        self.recorder().counts().max_in_flight
    }

    /// The access key id of every success, in that order. It need not have reached the client.
    pub fn served(&self) -> Vec<String> {
        self.recorder().access_keys()
    }

    /// Every token minted or received, and every secret key and session token handed out.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.pod_token().all();
        secrets.extend(self.recorder().secrets());
        secrets
    }

    /// [`assert_no_secrets`] for all of [`secrets`](Self::secrets).
    ///
    /// # Panics
    /// When there is one in the text.
    #[track_caller]
    pub fn assert_no_secrets(&self, text: &str) {
        let secrets = self.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_no_secrets(text, &secrets);
    }

    /// Waits until so many requests have arrived since the start.
    ///
    /// # Panics
    /// Panics with what it has seen if the [limit](MockAgentBuilder::wait_limit) passes.
    pub async fn wait_for_requests(&self, count: usize) {
        let enough = |counts: &Counts| counts.requests >= count;
        self.wait(&format!("{count} requests"), enough).await;
    }

    /// Waits until so many requests have been answered since the start.
    ///
    /// # Panics
    /// Panics with what it has seen if the [limit](MockAgentBuilder::wait_limit) passes.
    pub async fn wait_for_answers(&self, count: usize) {
        let enough = |counts: &Counts| counts.answers >= count;
        self.wait(&format!("{count} answers"), enough).await;
    }

    /// Waits until no request waits for its answer: all are answered, or their clients have left.
    ///
    /// # Panics
    /// Panics with what it has seen if the [limit](MockAgentBuilder::wait_limit) passes.
    pub async fn wait_until_idle(&self) {
        let enough = |counts: &Counts| counts.in_flight == 0;
        self.wait("no request to be in flight", enough).await;
    }

    /// What is to be true of all requests when the mock is dropped, or [`verify`](Self::verify) called.
    pub fn expect(&self) -> Expectations<'_> {
        Expectations::new(&self.expectations)
    }

    /// Verifies the [expectations](Self::expect) now.
    ///
    /// # Panics
    /// When one is not met, with every request in order.
    #[track_caller]
    pub fn verify(&self) {
        let requests = self.requests();
        let max_in_flight = self.max_in_flight();
        let expectations = lock(&self.expectations);
        let report = crate::agent::expectation::report(&expectations, &requests, max_in_flight);
        drop(expectations);
        if let Some(report) = report {
            panic!("mock agent at {}: {report}", self.address());
        }
    }

    async fn wait(&self, what: &str, enough: impl FnMut(&Counts) -> bool) {
        let seen = self.recorder().wait_until(enough);
        if self.host.within(self.wait_limit, seen).await.is_none() {
            let (limit, counts) = (self.wait_limit, self.recorder().counts());
            let requests = crate::agent::expectation::timeline(&self.requests());
            panic!(
                "mock agent at {}: waited {limit:?} for {what}, saw {counts}\n{requests}",
                self.address()
            );
        }
    }

    fn service(&self) -> &Arc<AgentService> {
        self.server.service()
    }

    fn recorder(&self) -> &Recorder<AgentRequest> {
        &self.service().recorder
    }
}

impl Drop for MockAgent {
    /// Verifies, unless the test is failing already: a panic while panicking would abort.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.verify();
        }
    }
}
