use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pod_identity_core::wire::agent::AllowedHosts;
use pod_identity_core::{Clock, SystemClock};
use tokio::net::TcpListener;

#[cfg(feature = "scenario")]
use crate::Scenario;
use crate::agent::service::AgentService;
use crate::fault::queue::Faults;
use crate::http::limiter::Limiter;
use crate::http::recorder::Recorder;
use crate::http::server::Server;
#[cfg(feature = "scenario")]
use crate::scenario::{Source, timeline::Timeline};
use crate::token::pod_token::PodToken;
use crate::{
    Blocking, BlockingMockAgent, CredentialSource, Issuer, MockAgent, MockEksAuth, TokenBuilder,
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
    limiter: Option<Limiter>,
    #[cfg(feature = "scenario")]
    scenario: Option<Scenario>,
}

impl MockAgentBuilder {
    /// Listens on an ephemeral port of `[::1]` instead of 127.0.0.1.
    pub fn ipv6(mut self) -> Self {
        self.bind = Ipv6Addr::LOCALHOST.into();
        self
    }

    /// Where it listens instead of an ephemeral loopback port.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Another name or address that `Host` may have, without a port. The official addresses and the one
    /// that is bound are always allowed.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Which tokens are good; [`TokenPolicy::JwtShaped`] by default.
    pub fn token_policy(mut self, policy: TokenPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Where credentials come from; new ones for 6 hours by default.
    pub fn credentials(mut self, source: impl Into<CredentialSource>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// New credentials for every request, which live so long.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.credentials(CredentialSource::minted(lifetime))
    }

    /// Credentials as this mock's associations say, tokens of its issuer, and its clock.
    pub fn eks_auth(mut self, mock: &MockEksAuth) -> Self {
        self.issuer = Some(mock.issuer().clone());
        self.clock = Arc::clone(&mock.service().clock);
        self.credentials(CredentialSource::eks_auth(mock))
    }

    /// Who the pod is that the projected token is for; `default` and `app` by default.
    pub fn service_account(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        self.service_account = Some((namespace.into(), service_account.into()));
        self
    }

    /// How long the projected token lives; 24 hours by default.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = Some(lifetime);
        self
    }

    /// Who mints the projected token. By default [`Issuer::new`], but with signatures that no key made: signing
    /// takes longer than all else that a mock does, and nobody verifies them, unless the
    /// [policy](Self::token_policy) is [`TokenPolicy::Verified`].
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// What the projected token is minted from, instead of issuer, service account and lifetime.
    pub fn token(mut self, token: TokenBuilder) -> Self {
        self.token = Some(token);
        self
    }

    /// What tokens and credentials expire by; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With the official agent's limiter: 1000 requests per second in bursts of 500, by the clock, and
    /// 429 beyond that. Without one by default.
    pub fn limited(mut self) -> Self {
        self.limiter = Some(official_limiter());
        self
    }

    /// What this scenario says of the agent, of the pod and of what happens when, from the start on. What
    /// the builder is told itself, before or after, wins over its settings.
    #[cfg(feature = "scenario")]
    pub fn scenario(mut self, scenario: &Scenario) -> Self {
        self.scenario = Some(scenario.clone());
        self
    }

    /// Starts the mock on the current tokio runtime, which must have I/O and time enabled.
    ///
    /// # Errors
    /// When no loopback port or no temporary directory can be had, or the token cannot be written.
    pub async fn start(self) -> io::Result<MockAgent> {
        #[cfg(feature = "scenario")]
        let scenario = self.scenario.clone();
        #[cfg(feature = "scenario")]
        let this = self.settled();
        #[cfg(not(feature = "scenario"))]
        let this = self;

        let listener = match this.listener {
            Some(listener) => listener,
            None => TcpListener::bind((this.bind, 0)).await?,
        };
        let is_verified = matches!(this.policy, Some(TokenPolicy::Verified(_)));
        let is_signed = this.issuer.is_some() || is_verified;
        let issuer = this.issuer.unwrap_or_default();
        let token = this.token.unwrap_or_else(|| {
            let (namespace, service_account) = this.service_account.unwrap_or_else(default_pod);
            let token = issuer.token(namespace, service_account);
            let token = if is_signed { token } else { token.forged() };
            match this.token_lifetime {
                Some(lifetime) => token.lifetime(lifetime),
                None => token,
            }
        });
        let service = AgentService {
            hosts: AllowedHosts::new(reachable(listener.local_addr()?.ip())).with_names(this.hosts),
            policy: this.policy.unwrap_or_default(),
            source: this.source.unwrap_or_default(),
            token: PodToken::project(token, this.clock.now())?,
            #[cfg(feature = "scenario")]
            issuer,
            clock: this.clock,
            limiter: this.limiter,
            faults: Faults::new(),
            recorder: Recorder::new(),
            last: Mutex::default(),
        };
        #[cfg(feature = "scenario")]
        let steps = scenario.map(|scenario| scenario.begin_agent(&service));
        let server = Arc::new(Server::start(listener, Arc::new(service))?);
        #[cfg(feature = "scenario")]
        Timeline::add(&server, steps.unwrap_or_default()).await?;
        Ok(MockAgent::new(server))
    }

    /// With what the scenario says where the builder was told nothing itself.
    #[cfg(feature = "scenario")]
    fn settled(mut self) -> Self {
        let Some(scenario) = self.scenario.take() else {
            return self;
        };
        let (pod, agent) = (scenario.pod(), scenario.agent());
        let issuer = self.issuer.unwrap_or_else(|| scenario.issuer());
        self.source = self
            .source
            .or_else(|| source(&scenario, &issuer, &self.clock));
        self.policy = self
            .policy
            .or_else(|| agent.token_policy.map(|policy| policy.with(&issuer)));
        self.limiter = self
            .limiter
            .or_else(|| agent.limited.then(official_limiter));
        self.service_account = self.service_account.or_else(|| Some(pod.identity()));
        let token_lifetime = pod.token_lifetime.map(|time| time.0);
        self.token_lifetime = self.token_lifetime.or(token_lifetime);
        self.issuer = Some(issuer);
        self
    }

    /// Starts the mock on a thread of its own.
    ///
    /// # Errors
    /// When no loopback port, temporary directory or thread can be had.
    pub fn start_blocking(self) -> io::Result<BlockingMockAgent> {
        Blocking::start("mock-agent", self.start())
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
            limiter: None,
            #[cfg(feature = "scenario")]
            scenario: None,
        }
    }
}

/// Where the credentials of a scenario come from, if it says so.
#[cfg(feature = "scenario")]
fn source(
    scenario: &Scenario,
    issuer: &Issuer,
    clock: &Arc<dyn Clock>,
) -> Option<CredentialSource> {
    let agent = scenario.agent();
    match agent.credentials {
        Source::Minted => {
            let lifetime = agent.credential_lifetime.as_ref()?;
            Some(CredentialSource::minted(lifetime.get_ref().0))
        }
        Source::Eks => {
            let cluster = MockEksAuth::builder()
                .scenario(scenario)
                .issuer(issuer.clone())
                .clock(Arc::clone(clock))
                .service();
            Some(CredentialSource::of_cluster(Arc::new(cluster)))
        }
    }
}

/// Namespace and service account.
pub(crate) fn default_pod() -> (String, String) {
    ("default".to_owned(), "app".to_owned())
}

fn official_limiter() -> Limiter {
    Limiter::new(1000, 500)
}
