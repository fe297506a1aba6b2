use std::cell::Cell;
use std::ffi::OsString;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, Endpoint, RefreshPolicy, Secret, SystemClock, variables};

use crate::drive::driver::Driver;
use crate::fetch::fetcher::Fetcher;
use crate::fetch::token_source::TokenSource;
use crate::{
    ConfigError, HttpTransport, NoObserver, Observer, PodIdentityProvider, Resolve, SystemResolver,
    Transport,
};

/// Settings of a [`PodIdentityProvider`]. None is mandatory in a pod: endpoint and token default to those of
/// the environment, and each other setting has a default.
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
    #[cfg(feature = "rustls")]
    tls: Option<crate::Tls>,
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
            #[cfg(feature = "rustls")]
            tls: None,
        }
    }

    /// Reads endpoint and token from this environment instead of that of the process. It is read now.
    pub fn environment(mut self, lookup: impl Fn(&str) -> Option<String>) -> Self {
        self.environment = Some(Environment::read(lookup));
        self
    }

    /// Sets the endpoint of the agent. Defaults to the environment's, where the EKS webhook sets it.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Sets the file with the authorization token, which is read for every fetch. Defaults to the environment's.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(Ok(TokenSource::file(path)));
        self
    }

    /// Sets the authorization token, for a server that expects a fixed one. Defaults to the environment's.
    pub fn token(mut self, token: Secret) -> Self {
        self.token = Some(TokenSource::text(&token, "token"));
        self
    }

    /// Sends no token, even if the environment has one.
    pub fn no_token(mut self) -> Self {
        self.token = Some(Ok(TokenSource::Absent));
        self
    }

    /// Sets the limit for connecting, for all addresses together. Defaults to 1 s: the agent is on this node,
    /// where a connection takes less than a millisecond or is never made. Has no effect on a custom transport.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the limit for one attempt, from the token file to the end of the answer's body. Defaults to 5 s, which
    /// is longer than the agent waits for EKS Auth. At least 1 ms, at most an hour.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets when to refresh, and when to try again after a failure. Defaults to [`RefreshPolicy::provider`].
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets whether to fail with the error when refreshing fails, rather than to hand out expired credentials.
    /// Defaults to `false`: a service decides itself how long it accepts a set, and a request that fails for
    /// certain helps nobody.
    pub fn fail_closed(mut self, fail_closed: bool) -> Self {
        self.fail_closed = fail_closed;
        self
    }

    /// Sets the source of the time. Defaults to the system's wall clock, by which credentials expire.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the seed of the jitter. Defaults to a random one, so that pods that start together do not refresh
    /// together. Equal seeds give equal schedules, which a test may want.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the transport of requests. Defaults to [`HttpTransport`].
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the resolver of the endpoint's host name, if it has one. Defaults to the operating system's.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Sets the receiver of events, such as a closure. Defaults to none; `tracing` events are written either way.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Sets the TLS settings of an `https` endpoint. Defaults to
    /// [`Tls::with_system_roots`](crate::Tls::with_system_roots). Has no effect on a custom transport.
    #[cfg(feature = "rustls")]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Creates the provider. Nothing is fetched yet, and no task is started.
    ///
    /// # Errors
    /// Fails with [`ConfigError`] if a setting is not allowed, and with [`ConfigError::NotConfigured`] if
    /// neither the builder nor the environment names an endpoint. To use it in a chain nevertheless, turn
    /// the error into a provider that fails with it: `.build().unwrap_or_else(PodIdentityProvider::from)`.
    pub fn build(self) -> Result<PodIdentityProvider, ConfigError> {
        let environment = self.environment.unwrap_or_else(Environment::of_process);
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint,
            None => environment.endpoint?.ok_or(ConfigError::NotConfigured)?,
        };
        let token = self.token.unwrap_or(environment.token)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let transport = HttpTransport::new(self.connect_timeout);
                #[cfg(feature = "rustls")]
                let transport = match (endpoint.is_https(), self.tls) {
                    (true, Some(tls)) => transport.with_tls(tls),
                    (true, None) => transport.with_tls(crate::Tls::with_system_roots()?),
                    (false, _) => transport,
                };
                Arc::new(transport)
            }
        };
        if endpoint.is_https() && !transport.supports_https() {
            return Err(if cfg!(feature = "rustls") {
                ConfigError::TransportWithoutTls
            } else {
                ConfigError::TlsDisabled
            });
        }
        let mut policy = self.policy;
        let timeout = self.attempt_timeout.unwrap_or(policy.attempt_timeout());
        policy = policy.with_attempt_timeout(timeout.min(LONGEST_ATTEMPT));
        if self.fail_closed {
            policy = policy.with_serve_expired(false);
        }
        let seed = self.seed.unwrap_or_else(random_seed);
        let fetcher = Fetcher::new(endpoint, token, transport, self.resolver);
        Ok(PodIdentityProvider::driven_by(Driver::new(
            fetcher,
            policy,
            seed,
            self.clock,
            self.observer,
        )))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token)
            .field("policy", &self.policy)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// The container variables, read once.
#[derive(Debug)]
struct Environment {
    endpoint: Result<Option<Endpoint>, ConfigError>,
    token: Result<TokenSource, ConfigError>,
}

impl Environment {
    fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            endpoint: Endpoint::from_env(&lookup).map_err(ConfigError::from),
            token: TokenSource::from_env(&lookup),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    fn of_process() -> Self {
        Self::read_os(|name| std::env::var_os(name))
    }

    fn read_os(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            endpoint: unicode(&lookup, |lookup| Ok(Endpoint::from_env(lookup)?)),
            token: unicode(&lookup, |lookup| TokenSource::from_env(lookup)),
        }
    }
}

/// Reads variables, none of which may hold bytes that are not UTF-8: such a variable is neither unset nor may it
/// be sent altered. A variable that is not looked up, because another wins, may hold anything.
fn unicode<T>(
    lookup: impl Fn(&str) -> Option<OsString>,
    read: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let not_unicode = Cell::new(None);
    let result = read(&|name| match lookup(name)?.into_string() {
        Ok(value) => Some(value),
        Err(_value) => {
            not_unicode.set(
                not_unicode
                    .get()
                    .or(variables::ALL.into_iter().find(|it| *it == name)),
            );
            None
        }
    });
    match not_unicode.get() {
        Some(variable) => Err(ConfigError::NotUnicode { variable }),
        None => result,
    }
}

/// A caller that waits must get an answer eventually.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60 * 60);

/// Good enough for jitter, and part of the standard library.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(set: &[(&'static str, &[u8])]) -> Result<Option<Endpoint>, ConfigError> {
        let environment = Environment::read_os(|name| {
            let (_, value) = set.iter().find(|(set, _)| *set == name)?;
            Some(OsString::from_vec(value.to_vec()))
        });
        environment.token?;
        environment.endpoint
    }

    #[test]
    fn a_variable_that_is_not_utf8_is_refused_by_its_name() {
        for (variable, value) in [
            (variables::RELATIVE_URI, &b"/\xff"[..]),
            (variables::FULL_URI, b"http://127.0.0.1/\xff"),
            (variables::TOKEN_FILE, b"/run/\xff"),
            (variables::TOKEN, b"secret\xff"),
        ] {
            let error = read(&[(variable, value)]).unwrap_err();
            assert_eq!(error, ConfigError::NotUnicode { variable });
            assert!(error.to_string().starts_with(variable), "{error}");
        }
    }

    #[test]
    fn a_variable_that_does_not_count_may_hold_anything() {
        let endpoint = read(&[
            (variables::RELATIVE_URI, b"/x"),
            (variables::FULL_URI, b"\xff"),
            (variables::TOKEN_FILE, b"/run/token"),
            (variables::TOKEN, b"\xff"),
        ]);
        assert!(endpoint.unwrap().is_some());
    }

    #[test]
    fn white_space_around_the_path_of_the_token_file_is_removed() {
        let lookup =
            |name: &str| (name == variables::TOKEN_FILE).then(|| " /run/token\n".to_owned());
        let debug = format!("{:?}", Environment::read(lookup).token.unwrap());
        assert!(debug.contains(r#""/run/token""#), "{debug}");
    }
}
