use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, Endpoint, EndpointError, RefreshPolicy, Secret, SystemClock};

use crate::driver::Driver;
use crate::fetch::Source;
use crate::token_source::TokenSource;
use crate::{
    ConfigError, HttpTransport, NoObserver, Observer, PodIdentityProvider, Resolve, SystemResolver,
    Transport,
};

/// Settings of a [`PodIdentityProvider`]. None is mandatory in a pod: what is not set here comes from
/// the environment, or has a default with a reason.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_provider::{Endpoint, PodIdentityProvider};
///
/// let provider = PodIdentityProvider::builder()
///     .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials")?)
///     .token_file("/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token")
///     .attempt_timeout(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct Builder {
    environment: Option<Environment>,
    endpoint: Option<Endpoint>,
    token: Option<Result<TokenSource, ConfigError>>,
    connect_timeout: Duration,
    attempt_timeout: Option<Duration>,
    policy: RefreshPolicy,
    fail_closed: bool,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    transport: Option<Arc<dyn Transport>>,
    resolver: Arc<dyn Resolve>,
    observer: Arc<dyn Observer>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            environment: None,
            endpoint: None,
            token: None,
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: None,
            policy: RefreshPolicy::provider(),
            fail_closed: false,
            clock: Arc::new(SystemClock),
            seed: None,
            transport: None,
            resolver: Arc::new(SystemResolver),
            observer: Arc::new(NoObserver),
        }
    }

    /// Another environment than the process's, for endpoint and token. It is read here and now.
    pub fn environment(mut self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        self.environment = Some(Environment::read(lookup));
        self
    }

    /// Where to fetch. From the environment unless set, because the EKS webhook sets it there.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// The file with the authorization token, which is read for every fetch. From the environment unless
    /// a token is set.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(Ok(TokenSource::file(path)));
        self
    }

    /// The authorization token itself, for a server that expects a fixed one. From the environment unless
    /// a token is set.
    pub fn token(mut self, token: Secret) -> Self {
        self.token = Some(TokenSource::text(token, "token"));
        self
    }

    /// Requests carry no token, whatever the environment says; for a server that wants none.
    pub fn no_token(mut self) -> Self {
        self.token = Some(Ok(TokenSource::Absent));
        self
    }

    /// How long connecting may take, all addresses together: 1 s unless set. The agent is on this node:
    /// a connection that takes longer does not come at all. No effect on a transport of one's own.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt may take, from the token file to the end of the answer's body: 5 s unless
    /// set, which is longer than the agent waits for EKS Auth. At least 1 ms.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// When to refresh, and how to go on after a failure: [`RefreshPolicy::provider`] unless set.
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Hand out no expired credentials when refreshing fails, but the error. Off unless set: services
    /// accept a set for as long as they decide to, and a request that fails for certain helps nobody.
    pub fn fail_closed(mut self, fail_closed: bool) -> Self {
        self.fail_closed = fail_closed;
        self
    }

    /// Where the time comes from: the system's wall clock unless set, which expiries are in.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The seed of the jitter: random unless set, so that pods that start together do not refresh
    /// together. Equal seeds give equal lives, which a test may want.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What carries requests: [`HttpTransport`] unless set.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// What resolves the endpoint's host name, if it has one: the operating system unless set.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Who is told what happens: nobody unless set; there are `tracing` events either way.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Checks the settings. Nothing is fetched yet, and no task started.
    ///
    /// # Errors
    /// [`ConfigError`], with [`ConfigError::NotConfigured`] where neither the builder nor the
    /// environment names an endpoint. To have it in a chain all the same, turn the error into a provider
    /// that fails with it: `.build().unwrap_or_else(PodIdentityProvider::from)`.
    pub fn build(self) -> Result<PodIdentityProvider, ConfigError> {
        let environment = self.environment.unwrap_or_else(Environment::of_process);
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint,
            None => environment.endpoint?.ok_or(ConfigError::NotConfigured)?,
        };
        let token = self.token.unwrap_or(environment.token)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => Arc::new(transport_for(&endpoint, self.connect_timeout)?),
        };
        let mut policy = self.policy;
        if let Some(timeout) = self.attempt_timeout {
            policy = policy.with_attempt_timeout(timeout);
        }
        if self.fail_closed {
            policy = policy.with_serve_expired(false);
        }
        let seed = self.seed.unwrap_or_else(random_seed);
        let source = Source::new(endpoint, token, transport, self.resolver);
        Ok(PodIdentityProvider::driven_by(Driver::new(
            source,
            policy,
            seed,
            self.clock,
            self.observer,
        )))
    }
}

/// What the environment says, read once.
#[derive(Debug)]
struct Environment {
    endpoint: Result<Option<Endpoint>, EndpointError>,
    token: Result<TokenSource, ConfigError>,
}

impl Environment {
    fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            endpoint: Endpoint::from_env(&lookup),
            token: TokenSource::from_env(&lookup),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    fn of_process() -> Self {
        // A variable that is not Unicode is set, and wrong: it must not look like an unset one.
        Self::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }
}

#[cfg(feature = "rustls")]
fn transport_for(
    endpoint: &Endpoint,
    connect_timeout: Duration,
) -> Result<HttpTransport, ConfigError> {
    let transport = HttpTransport::new(connect_timeout);
    if !endpoint.is_https() {
        return Ok(transport);
    }
    Ok(transport.with_tls(crate::tls::Tls::with_system_roots()?))
}

#[cfg(not(feature = "rustls"))]
fn transport_for(
    endpoint: &Endpoint,
    connect_timeout: Duration,
) -> Result<HttpTransport, ConfigError> {
    if endpoint.is_https() {
        return Err(ConfigError::TlsDisabled);
    }
    Ok(HttpTransport::new(connect_timeout))
}

/// Good enough for jitter, and there in every standard library.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
