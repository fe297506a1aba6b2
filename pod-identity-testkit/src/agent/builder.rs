use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pod_identity_core::wire::agent::AllowedHosts;
use pod_identity_core::{Clock, SystemClock, TokenBucket};
use tokio::net::TcpListener;

use crate::agent::service::AgentService;
use crate::eks::builder::EksAuthDefaults;
use crate::expect::expectation::Expectation;
use crate::fault::queue::FaultQueue;
use crate::http::gates::Gates;
use crate::mock::hosting::{Hosting, HostingOptions, builder_methods};
use crate::mock::mock_server::{Agenda, MockServer};
use crate::record::recorder::Recorder;
use crate::token::pod_token::PodToken;
use crate::{
    AgentMode, AgentRequest, CredentialSource, Issuer, MockAgent, MockEksAuth, TokenBuilder,
    TokenPolicy,
};

/// Sets up a [`MockAgent`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::{sync::Arc, time::Duration};
/// use pod_identity_core::Timestamp;
/// use pod_identity_testkit::{MockAgent, SettableClock, TokenPolicy};
///
/// let clock = Arc::new(SettableClock::at(Timestamp::from_unix_secs(1_772_366_400)));
/// let agent = MockAgent::builder()
///     .clock(clock)
///     .service_account("shop", "cart")
///     .lifetime(Duration::from_secs(20 * 60))
///     .token_policy(TokenPolicy::Current)
///     .start()
///     .await?;
/// assert!(agent.volume().token_path().exists());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a mock comes from `start`"]
pub struct MockAgentBuilder {
    bind: IpAddr,
    listener: Option<TcpListener>,
    hosts: Vec<String>,
    policy: Option<TokenPolicy>,
    source: Option<CredentialSource>,
    token: Option<TokenBuilder>,
    service_account: Option<(String, String)>,
    token_lifetime: Option<Duration>,
    issuer: Option<Issuer>,
    clock: Arc<dyn Clock>,
    mode: Option<AgentMode>,
    is_limited: bool,
    defaults: AgentDefaults,
    agenda: Agenda,
    hosting: HostingOptions,
}

/// Settings that apply where the builder itself has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentDefaults {
    pub(crate) issuer: Option<Issuer>,
    pub(crate) service_account: Option<(String, String)>,
    pub(crate) token_lifetime: Option<Duration>,
    /// The lifetime of tokens of the issuer.
    pub(crate) policy: Option<fn(&Issuer) -> TokenPolicy>,
    pub(crate) source: Option<DefaultSource>,
    pub(crate) mode: Option<AgentMode>,
    pub(crate) is_limited: bool,
    pub(crate) expectations: Vec<Expectation<AgentRequest>>,
}

/// Where credentials come from by default.
#[derive(Debug, Clone)]
pub(crate) enum DefaultSource {
    Minted(Duration),
    /// The credentials that this cluster grants, with the issuer and the clock of the agent.
    Cluster(Box<EksAuthDefaults>),
}

impl DefaultSource {
    fn source(
        self,
        issuer: &Issuer,
        clock: &Arc<dyn Clock>,
        record_limit: Option<usize>,
    ) -> CredentialSource {
        match self {
            Self::Minted(lifetime) => CredentialSource::minted(lifetime),
            Self::Cluster(cluster) => {
                let mut cluster = MockEksAuth::builder()
                    .with_defaults(*cluster, Agenda::default())
                    .issuer(issuer.clone())
                    .clock(Arc::clone(clock));
                cluster.hosting.record_limit = record_limit;
                CredentialSource::of_cluster(Arc::new(cluster.service()))
            }
        }
    }
}

impl MockAgentBuilder {
    /// Listens on an ephemeral port of `[::1]` instead of 127.0.0.1.
    pub fn ipv6(mut self) -> Self {
        self.bind = Ipv6Addr::LOCALHOST.into();
        self
    }

    /// Sets the socket to listen on instead of an ephemeral loopback port.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Allows one more name or address in `Host`, without a port. The official addresses and the one
    /// that is bound are always allowed.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Sets which tokens are accepted. Defaults to [`TokenPolicy::JwtShaped`].
    pub fn token_policy(mut self, policy: TokenPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets where credentials come from. Defaults to new ones with a lifetime of 6 hours.
    pub fn credentials(mut self, source: impl Into<CredentialSource>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Mints new credentials for every request, with this lifetime.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.credentials(CredentialSource::minted(lifetime))
    }

    /// Uses the associations of this mock for credentials, its issuer for tokens, and its clock.
    pub fn eks_auth(mut self, mock: &MockEksAuth) -> Self {
        self.issuer = Some(mock.issuer().clone());
        self.clock = Arc::clone(&mock.service().clock);
        self.credentials(CredentialSource::eks_auth(mock))
    }

    /// Sets the namespace and service account of the projected token. Defaults to `default` and `app`.
    pub fn service_account(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        self.service_account = Some((namespace.into(), service_account.into()));
        self
    }

    /// Sets the lifetime of the projected token. Defaults to 24 hours.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = Some(lifetime);
        self
    }

    /// Sets the issuer of the projected token. Defaults to [`Issuer::new`] with invalid signatures: signing
    /// takes longer than all else that a mock does, and signatures are not verified unless the
    /// [policy](Self::token_policy) is [`TokenPolicy::Verified`].
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Sets a builder for the projected token, instead of issuer, service account and lifetime.
    pub fn token(mut self, token: TokenBuilder) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets the clock that decides what has expired. Defaults to the system's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets which agent the mock imitates. Defaults to [`AgentMode::Ours`].
    pub fn mode(mut self, mode: AgentMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Adds the official agent's limiter: 1,000 requests per second in bursts of 500, by the clock, and
    /// 429 beyond that. Defaults to no limiter.
    pub fn limited(mut self) -> Self {
        self.is_limited = true;
        self
    }

    /// Sets defaults for the settings that the builder lacks, and the timeline that begins at the start.
    pub(crate) fn with_defaults(mut self, defaults: AgentDefaults, agenda: Agenda) -> Self {
        self.defaults = defaults;
        self.agenda = agenda;
        self
    }

    async fn start_on(self, hosting: Hosting) -> io::Result<MockAgent> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((self.bind, 0)).await?,
        };
        let defaults = self.defaults;
        let is_verified = matches!(self.policy, Some(TokenPolicy::Verified(_)));
        let is_signed = self.issuer.is_some() || defaults.issuer.is_some() || is_verified;
        let issuer = self.issuer.or(defaults.issuer).unwrap_or_default();
        let token_lifetime = self.token_lifetime.or(defaults.token_lifetime);
        let service_account = self.service_account.or(defaults.service_account);
        let token = self.token.unwrap_or_else(|| {
            let (namespace, service_account) = service_account.unwrap_or_else(default_pod);
            let token = issuer.token(namespace, service_account);
            let token = if is_signed { token } else { token.forged() };
            match token_lifetime {
                Some(lifetime) => token.lifetime(lifetime),
                None => token,
            }
        });
        let policy = self
            .policy
            .or_else(|| defaults.policy.map(|policy| policy(&issuer)));
        let source = self.source.or_else(|| {
            let source = defaults.source?;
            Some(source.source(&issuer, &self.clock, self.hosting.record_limit))
        });
        let is_limited = self.is_limited || defaults.is_limited;
        let addresses = reachable(listener.local_addr()?.ip());
        let names = addresses.iter().map(ToString::to_string);
        let service = AgentService {
            mode: self.mode.or(defaults.mode).unwrap_or_default(),
            exact_hosts: names.chain(self.hosts.clone()).collect(),
            hosts: AllowedHosts::new(addresses).with_names(self.hosts),
            policy: policy.unwrap_or_default(),
            source: source.unwrap_or_default(),
            token: PodToken::project(token, self.clock.now())?,
            issuer,
            clock: self.clock,
            limiter: is_limited.then(|| Mutex::new(official_limiter())),
            faults: FaultQueue::default(),
            gates: Gates::default(),
            recorder: Recorder::new(self.hosting.record_limit),
            last: Mutex::default(),
        };
        let server = MockServer::start(&hosting.host, listener, service)?;
        server.begin(self.agenda).await?;
        Ok(MockAgent::new(server, defaults.expectations, hosting))
    }
}

/// The addresses at which clients call a mock that listens here.
fn reachable(bound: IpAddr) -> Vec<IpAddr> {
    match bound.is_unspecified() {
        true => vec![
            bound,
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
        ],
        false => vec![bound],
    }
}

builder_methods!(
    MockAgentBuilder,
    MockAgent,
    "mock-agent",
    "Fails if there is no free port, no thread or no temporary directory."
);

impl Default for MockAgentBuilder {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            listener: None,
            hosts: Vec::new(),
            policy: None,
            source: None,
            token: None,
            service_account: None,
            token_lifetime: None,
            issuer: None,
            clock: Arc::new(SystemClock),
            mode: None,
            is_limited: false,
            defaults: AgentDefaults::default(),
            agenda: Agenda::default(),
            hosting: HostingOptions::default(),
        }
    }
}

/// Namespace and service account.
pub(crate) fn default_pod() -> (String, String) {
    ("default".to_owned(), "app".to_owned())
}

fn official_limiter() -> TokenBucket {
    TokenBucket::new(500, 1000.0)
}
