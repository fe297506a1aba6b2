use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use pod_identity_core::{CacheLimits, Clock, RefreshPolicy, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::credential_cache::{CredentialCache, Settings};
use crate::eks_auth::EksAuth;
use crate::listener::Listen;
use crate::metrics::Metrics;
use crate::outage::Spoken;
use crate::probes::Probes;
use crate::router::{Hosts, Router};
use crate::server::serve;

/// The node agent: answers `GET /v1/credentials` from a cache that EKS Auth fills.
///
/// It takes what it works with (listening sockets, EKS Auth, a clock) and a future that ends it, and
/// touches nothing of the process: no signals, no environment, no logger.
///
/// ```
/// use pod_identity_agent::{Agent, Listen, SdkEksAuth};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let agent = Agent::builder(SdkEksAuth::new("my-cluster"))
///     .listen(Listen::On(listener))
///     .build();
/// # let stop = std::future::ready(());
/// agent.run(stop).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Agent {
    cache: Arc<CredentialCache>,
    metrics: Arc<Metrics>,
    hosts: Vec<IpAddr>,
    credentials: Vec<Listen>,
    probes: Vec<Listen>,
    exposition: Vec<Listen>,
}

impl Agent {
    /// What an agent needs at least: where it gets credentials from.
    pub fn builder(eks_auth: impl EksAuth) -> AgentBuilder {
        AgentBuilder {
            eks_auth: Arc::new(eks_auth),
            clock: Arc::new(SystemClock),
            settings: Settings {
                audience: DEFAULT_AUDIENCE.to_owned(),
                answer_within: DEFAULT_ANSWER_WITHIN,
                policy: RefreshPolicy::agent(),
                limits: CacheLimits::default(),
                seed: fastrand::u64(..),
            },
            hosts: Vec::new(),
            credentials: Vec::new(),
            probes: Vec::new(),
            exposition: Vec::new(),
        }
    }

    /// Serves until `stop` is ready, then lets requests in flight finish.
    ///
    /// # Errors
    /// When a listening socket that was handed in does not tell its address.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut hosts = self.hosts;
        for listen in &self.credentials {
            hosts.push(listen.address()?.ip().to_canonical());
        }
        let router = Arc::new(Router::new(
            Arc::clone(&self.cache),
            Arc::clone(&self.metrics),
            Hosts::new(hosts),
        ));
        let (stopping, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        for listen in self.credentials {
            let router = Arc::clone(&router);
            let respond = Arc::new(move |request: Request<Incoming>, peer| {
                let router = Arc::clone(&router);
                // A GET has no body that matters.
                let request = request.map(drop);
                async move { router.respond(request, peer).await }
            });
            servers.spawn(serve(listen, "credentials", respond, stopped.clone()));
        }
        let probes = Probes::new();
        let exposition = Probes::with_metrics(self.metrics);
        let quiet = self
            .probes
            .into_iter()
            .map(|listen| (listen, "probes", probes.clone()));
        let open = self
            .exposition
            .into_iter()
            .map(|listen| (listen, "metrics", exposition.clone()));
        for (listen, name, probes) in quiet.chain(open) {
            let respond =
                Arc::new(move |request, _peer| std::future::ready(probes.respond(&request)));
            servers.spawn(serve(listen, name, respond, stopped.clone()));
        }
        let mut fetching = JoinSet::new();
        fetching.spawn(self.cache.run());

        stop.await;
        info!("stopping; requests in flight finish first");
        stopping.send_replace(true);
        while servers.join_next().await.is_some() {}
        Ok(())
    }
}

/// Settings of an [`Agent`]; each has a default.
#[derive(Debug)]
pub struct AgentBuilder {
    eks_auth: Arc<dyn EksAuth>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    hosts: Vec<IpAddr>,
    credentials: Vec<Listen>,
    probes: Vec<Listen>,
    exposition: Vec<Listen>,
}

impl AgentBuilder {
    /// Another place to answer `GET /v1/credentials` at. Its address is accepted as `Host`, besides
    /// `169.254.170.23` and `fd00:ec2::23`. None by default.
    pub fn listen(mut self, listen: Listen) -> Self {
        self.credentials.push(listen);
        self
    }

    /// Another place to answer `/healthz` and `/readyz` at. None by default.
    pub fn listen_probes(mut self, listen: Listen) -> Self {
        self.probes.push(listen);
        self
    }

    /// Another place to answer `/metrics`, `/healthz` and `/readyz` at. None by default.
    pub fn listen_metrics(mut self, listen: Listen) -> Self {
        self.exposition.push(listen);
        self
    }

    /// Another address that is accepted as `Host`, for an agent behind a forwarded port.
    pub fn host(mut self, address: IpAddr) -> Self {
        self.hosts.push(address);
        self
    }

    /// Where the time comes from; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// When credentials are refreshed; [`RefreshPolicy::agent`] by default.
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// How much is cached, and how fast it is refreshed; the official agent's figures by default.
    pub fn limits(mut self, limits: CacheLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// The audience that a token must name; `pods.eks.amazonaws.com` by default.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.settings.audience = audience.into();
        self
    }

    /// How long a client waits for EKS Auth before it is answered 503; 900 ms by default, because the
    /// least patient SDKs give up after 1 s.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.settings.answer_within = time;
        self
    }

    /// What the jitter is drawn from; random by default. For tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// The agent, which does nothing before [`Agent::run`].
    pub fn build(self) -> Agent {
        let metrics = Arc::new(Metrics::new());
        Agent {
            cache: Arc::new(CredentialCache::new(
                Spoken::new(self.eks_auth),
                self.clock,
                self.settings,
            )),
            metrics,
            hosts: self.hosts,
            credentials: self.credentials,
            probes: self.probes,
            exposition: self.exposition,
        }
    }
}

/// Whom a Pod Identity token is for.
pub(crate) const DEFAULT_AUDIENCE: &str = "pods.eks.amazonaws.com";

/// The least patient SDKs give up after 1 s.
pub(crate) const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_millis(900);
