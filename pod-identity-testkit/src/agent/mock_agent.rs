use std::process::Command;
use std::sync::Arc;

use pod_identity_core::wire::agent;
use pod_identity_core::{Secret, variables};

use crate::agent::service::AgentService;
use crate::expect::expectation::Expectation;
use crate::mock::handle::Handle;
use crate::mock::hosting::Hosting;
use crate::mock::methods::{gate_method, mock_methods};
use crate::mock::mock_server::MockServer;
use crate::record::recorder::Recorder;
use crate::{
    AgentRequest, Blocking, Expectations, MockAgentBuilder, PodToken, ProjectedVolume,
    assert_no_secrets,
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
/// ```no_run
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
/// A [`Fault`](crate::Fault) describes an effect and the requests that it applies to: the next one by default, several, the
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
    pub(crate) handle: Handle<AgentService>,
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
    /// Panics if there is no free loopback port, no temporary directory or no thread. Panics within a
    /// runtime: use [`start`](Self::start) there.
    #[track_caller]
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
        expectations: Vec<Expectation<AgentRequest>>,
        hosting: Hosting,
    ) -> Self {
        Self {
            handle: Handle::new(server, expectations, hosting),
        }
    }

    /// Returns `http://127.0.0.1:{port}/v1/credentials`. A restart does not change it.
    pub fn uri(&self) -> String {
        format!("http://{}{}", self.handle.server.reachable(), agent::PATH)
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

    /// The access key id of every success, in that order. It need not have reached the client.
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

    /// Adds expectations of all requests, which are verified when the mock is dropped or [`verify`](Self::verify) is
    /// called.
    pub fn expect(&self) -> Expectations<'_, AgentRequest> {
        Expectations::new(&self.handle.expectations)
    }

    fn service(&self) -> &Arc<AgentService> {
        self.handle.service()
    }

    fn recorder(&self) -> &Recorder<AgentRequest> {
        self.handle.recorder()
    }
}

gate_method!(MockAgent);
mock_methods!(MockAgent, MockAgentBuilder, AgentRequest);
