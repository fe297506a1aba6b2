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
/// It shares nothing with other mocks or with the process's environment: [`env`](Self::env),
/// [`lookup`](Self::lookup) and [`apply_to`](Self::apply_to) return what a container would have there.
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
/// A [`Fault`] describes an effect and the requests that it applies to: the next one by default, several, the
/// nth, those with one token or of one pod, from a time on, for a while, or until a gate is released.
/// Faults for a number of requests queue. Those for every request are persistent.
///
/// A request goes through the queue from its head. It takes each fault that does not overlap with one
/// that it has taken, up to the first that answers. The persistent faults then add what the queue did
/// not decide; they answer or stall only if no fault of the queue answers.
///
/// For example, a stall and then an error in the queue make one slow error; two queued errors apply to
/// two requests; a persistent drip makes every queued error slow. Two fields of a success, two
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
    /// Starts a mock with the defaults of [`builder`](Self::builder).
    ///
    /// # Panics
    /// Panics if there is no free loopback port or no temporary directory.
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a loopback port and a temporary directory must be free")
    }

    /// Starts a mock with the defaults, for tests without a runtime.
    ///
    /// # Panics
    /// Panics if there is no free loopback port, no temporary directory or no thread.
    pub fn start_blocking() -> Blocking<Self> {
        Self::builder()
            .start_blocking()
            .expect("a loopback port and a temporary directory must be free")
    }

    /// Returns a builder for a mock.
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

    /// Returns `http://127.0.0.1:{port}/v1/credentials`. A restart does not change it.
    pub fn uri(&self) -> String {
        format!("http://{}{}", self.server.reachable(), agent::PATH)
    }

    /// Returns the address that the mock listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns what the webhook puts into a container's environment: `AWS_CONTAINER_CREDENTIALS_FULL_URI`
    /// and `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let token_file = self.volume().token_path().to_string_lossy();
        vec![
            (variables::FULL_URI, self.uri()),
            (variables::TOKEN_FILE, token_file.into_owned()),
        ]
    }

    /// Returns [`env`](Self::env) as a function, to use in place of the process's environment.
    pub fn lookup(
        &self,
    ) -> impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static + use<> {
        let env = self.env();
        move |name| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        }
    }

    /// Adds [`env`](Self::env) to a command, and removes the variables that take precedence over it.
    pub fn apply_to(&self, command: &mut Command) {
        command
            .env_remove(variables::RELATIVE_URI)
            .env_remove(variables::TOKEN)
            .envs(self.env());
    }

    /// Returns the volume of the token. A token that the test writes there itself is not the current one.
    pub fn volume(&self) -> &ProjectedVolume {
        self.pod_token().volume()
    }

    /// Returns the pod's token, to refresh it as kubelet does: `agent.pod_token().follow(&clock)`.
    pub fn pod_token(&self) -> &PodToken {
        &self.service().token
    }

    /// Returns the token that was minted last.
    pub fn token(&self) -> Secret {
        self.pod_token().current()
    }

    /// Mints a new token by the mock's clock and projects it, as kubelet does once a day. Returns it.
    ///
    /// # Panics
    /// Panics if the volume cannot be written.
    pub fn rotate(&self) -> Secret {
        let service = self.service();
        let rotated = service.token.rotate(service.clock.now());
        rotated.expect("the volume must be writable")
    }

    /// Closes the listener and every connection, and returns when that is done: from now on
    /// connections are refused. Faults, tokens and recorded requests are kept.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again on the same port. Does nothing if the mock is listening.
    ///
    /// # Errors
    /// Fails if another process has taken the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// Injects a fault, by default for the next request. See [Faults](Self#faults).
    ///
    /// # Panics
    /// Panics if members of the fault exclude each other, or if the mock agent does not have the fault.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.server.inject_now(fault.into());
    }

    /// Injects a fault for the next `count` requests.
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

    /// Returns the gate of this name of the [scenario](MockAgentBuilder::scenario), if it has not been
    /// released, or else a new one.
    pub fn named_gate(&self, name: &str) -> Gate {
        self.server.named_gate(name)
    }

    /// Removes every fault. Requests that are held continue.
    pub fn clear_faults(&self) {
        self.service().faults.clear();
    }

    /// Applies what the timeline of the [scenario](MockAgentBuilder::scenario) has up to now by the mock's
    /// clock. Without this call it is applied within a second.
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port meanwhile. It is retried
    /// every second, and later events wait for it.
    pub async fn catch_up(&self) -> io::Result<()> {
        self.server.catch_up().await
    }

    /// Returns every request whose head has been read, in the order of arrival.
    pub fn requests(&self) -> Vec<AgentRequest> {
        self.recorder().requests()
    }

    /// Returns the number of requests that have arrived.
    pub fn request_count(&self) -> usize {
        self.recorder().counts().requests
    }

    /// Returns the number of connections that have been accepted.
    pub fn connection_count(&self) -> u64 {
        self.recorder().counts().connections
    }

    /// Returns the number of requests that wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.recorder().counts().in_flight
    }

    /// Returns the largest number of requests that have waited for their answer at the same time.
    pub fn max_in_flight(&self) -> usize {
        self.recorder().counts().max_in_flight
    }

    /// Returns the access key id of every success, in order. It need not have reached the client.
    pub fn served(&self) -> Vec<String> {
        self.recorder().access_keys()
    }

    /// Returns every token minted or received, and every secret key and session token served.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.pod_token().all();
        secrets.extend(self.recorder().secrets());
        secrets
    }

    /// Calls [`assert_no_secrets`] with all [`secrets`](Self::secrets).
    ///
    /// # Panics
    /// Panics if the text contains one.
    #[track_caller]
    pub fn assert_no_secrets(&self, text: &str) {
        let secrets = self.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_no_secrets(text, &secrets);
    }

    /// Waits until `count` requests have arrived since the start.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockAgentBuilder::wait_limit).
    pub async fn wait_for_requests(&self, count: usize) {
        let enough = |counts: &Counts| counts.requests >= count;
        self.wait(&format!("{count} requests"), enough).await;
    }

    /// Waits until `count` requests have been answered since the start.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockAgentBuilder::wait_limit).
    pub async fn wait_for_answers(&self, count: usize) {
        let enough = |counts: &Counts| counts.answers >= count;
        self.wait(&format!("{count} answers"), enough).await;
    }

    /// Waits until no request is in flight: all are answered, or their clients have disconnected.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockAgentBuilder::wait_limit).
    pub async fn wait_until_idle(&self) {
        let enough = |counts: &Counts| counts.in_flight == 0;
        self.wait("no request to be in flight", enough).await;
    }

    /// Adds expectations, which are verified when the mock is dropped or [`verify`](Self::verify) is called.
    pub fn expect(&self) -> Expectations<'_> {
        Expectations::new(&self.expectations)
    }

    /// Verifies the [expectations](Self::expect) now.
    ///
    /// # Panics
    /// Panics with every request in order if one is not met.
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
