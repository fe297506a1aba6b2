use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pod_identity_core::{Clock, SystemClock};
use tokio::net::TcpListener;

use crate::agent_service::AgentService;
use crate::faults::Faults;
use crate::hosts::Hosts;
use crate::limiter::Limiter;
use crate::pod_token::PodToken;
use crate::recorder::Recorder;
use crate::server::Server;
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
    policy: TokenPolicy,
    source: CredentialSource,
    token: Option<TokenBuilder>,
    service_account: (String, String),
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    limiter: Option<Limiter>,
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
        self.policy = policy;
        self
    }

    /// Where credentials come from; new ones for 6 hours by default.
    pub fn credentials(mut self, source: impl Into<CredentialSource>) -> Self {
        self.source = source.into();
        self
    }

    /// New credentials for every request, which live so long.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.credentials(CredentialSource::minted(lifetime))
    }

    /// Credentials as this mock's associations say, tokens of its issuer, and its clock.
    pub fn eks_auth(mut self, mock: &MockEksAuth) -> Self {
        self.issuer = mock.issuer().clone();
        self.clock = Arc::clone(&mock.service().clock);
        self.credentials(CredentialSource::eks_auth(mock))
    }

    /// Who the pod is that the projected token is for; `default` and `app` by default.
    pub fn service_account(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        self.service_account = (namespace.into(), service_account.into());
        self
    }

    /// Who mints the projected token; [`Issuer::new`] by default.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = issuer;
        self
    }

    /// What the projected token is minted from, instead of issuer and service account.
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
        self.limiter = Some(Limiter::new(1000, 500));
        self
    }

    /// Starts the mock on the current tokio runtime, which must have I/O and time enabled.
    ///
    /// # Errors
    /// When no loopback port or no temporary directory can be had.
    pub async fn start(self) -> io::Result<MockAgent> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((self.bind, 0)).await?,
        };
        let (namespace, service_account) = self.service_account;
        let token = self
            .token
            .unwrap_or_else(|| self.issuer.token(namespace, service_account));
        let service = AgentService {
            hosts: Hosts::new(listener.local_addr()?.ip(), self.hosts),
            policy: self.policy,
            source: self.source,
            token: PodToken::project(token, self.clock.now())?,
            clock: self.clock,
            limiter: self.limiter,
            faults: Faults::new(),
            recorder: Recorder::new(),
            last: Mutex::default(),
        };
        let server = Server::start(listener, Arc::new(service))?;
        Ok(MockAgent::new(server))
    }

    /// Starts the mock on a thread of its own.
    ///
    /// # Errors
    /// When no loopback port, temporary directory or thread can be had.
    pub fn start_blocking(self) -> io::Result<BlockingMockAgent> {
        Blocking::start("mock-agent", self.start())
    }
}

impl Default for MockAgentBuilder {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            listener: None,
            hosts: Vec::new(),
            policy: TokenPolicy::default(),
            source: CredentialSource::default(),
            token: None,
            service_account: ("default".to_owned(), "app".to_owned()),
            issuer: Issuer::new(),
            clock: Arc::new(SystemClock),
            limiter: None,
        }
    }
}
