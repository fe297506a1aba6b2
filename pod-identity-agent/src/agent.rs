use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pod_identity_core::wire::agent::AllowedHosts;
use pod_identity_core::{CacheLimits, Clock, KubernetesName, RefreshPolicy, SystemClock};
use prometheus::IntCounter;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::credentials::cache::CredentialCache;
use crate::credentials::handler::CredentialsHandler;
use crate::credentials::rate_limit::Budget;
use crate::credentials::settings::Settings;
#[cfg(unix)]
use crate::debug_state::{DebugSettings, DebugState};
use crate::eks_auth::exchange::EksAuth;
use crate::eks_auth::outage::Outage;
use crate::eks_auth::reachability::Reachability;
use crate::eks_auth::upstream::Upstream;
use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::gone_pods::GonePods;
use crate::kubernetes::pod_watch::PodWatch;
use crate::kubernetes::startup_taint::StartupTaint;
#[cfg(target_os = "linux")]
use crate::node::network::LinkKind;
#[cfg(target_os = "linux")]
use crate::node::watch::LinkWatch;
use crate::serve::connection_limits::ConnectionLimits;
use crate::serve::connections::Connections;
#[cfg(unix)]
use crate::serve::debug::Debug;
use crate::serve::drain::{self, Drain};
use crate::serve::essential_tasks::EssentialTasks;
use crate::serve::listener::{Listen, METRICS, Sharing, Taken};
#[cfg(unix)]
use crate::serve::probe_socket::ProbeSocket;
use crate::serve::probes::Probes;
use crate::serve::server::serve;
#[cfg(target_os = "linux")]
use crate::serve::sharers::SharedListener;
use crate::serve::side_runtime::SideRuntime;
use crate::telemetry::audit::AuditLog;
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::readiness::{Readiness, ReadinessBlocker};
use crate::tokens::key_ring::KeyRing;
use crate::tokens::token_keys::TokenKeys;

/// The node agent: answers `GET /v1/credentials` from a cache that EKS Auth fills.
///
/// The caller passes listening sockets, EKS Auth, a clock, and a future that ends it. The agent uses no state
/// of the process: no signals, no environment, no logger.
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
    upstream: Arc<Upstream>,
    keys: Arc<KeyRing>,
    seed: u64,
    cache: Arc<CredentialCache>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    listening: ReadinessBlocker,
    connection_limits: ConnectionLimits,
    open_files: usize,
    reuse_port: bool,
    hosts: Vec<IpAddr>,
    credentials: Vec<Listen>,
    probes: Vec<Listen>,
    probe_socket: Option<PathBuf>,
    #[cfg(unix)]
    debug: Option<DebugSettings>,
    clock: Arc<dyn Clock>,
    exposition: Vec<Listen>,
    pod_watch: Option<PodWatch>,
    startup_taint: Option<StartupTaint>,
    #[cfg(target_os = "linux")]
    link_watch: Option<LinkWatch>,
}

impl Agent {
    /// Returns a builder for an agent that gets credentials from `eks_auth`.
    pub fn builder(eks_auth: impl EksAuth) -> AgentBuilder {
        AgentBuilder {
            eks_auth: Arc::new(eks_auth),
            clock: Arc::new(SystemClock),
            token_keys: TokenKeys::none(),
            audit: AuditLog::off(),
            lost_lines: Vec::new(),
            settings: Settings::new(fastrand::u64(..)),
            strict_readiness: false,
            open_files: usize::MAX,
            memory: u64::MAX,
            reuse_port: false,
            hosts: Vec::new(),
            credentials: Vec::new(),
            probes: Vec::new(),
            probe_socket: None,
            #[cfg(unix)]
            debug: None,
            exposition: Vec::new(),
            watched_by: None,
            startup_taint: None,
            #[cfg(target_os = "linux")]
            watched_link: None,
        }
    }

    /// Serves until `stop` is ready, then lets requests in flight finish.
    ///
    /// One thread answers probes and another answers metrics, so that no load starves them and no scraper
    /// delays kubelet.
    ///
    /// # Errors
    /// Fails when the operating system does not give the address of a listening socket, when the probe socket
    /// cannot be bound, when one of those threads cannot be started, or when an essential task ends: that is a
    /// defect, and a restart recovers from it.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut hosts = self.hosts;
        for listen in &self.credentials {
            hosts.push(listen.address()?.ip().to_canonical());
        }
        let handler = Arc::new(CredentialsHandler::new(
            Arc::clone(&self.cache),
            Arc::clone(&self.metrics),
            AllowedHosts::new(hosts),
        ));
        let connections = Arc::new(Connections::new(self.connection_limits));
        let (trigger, watcher) = drain::channel();
        let listening = Arc::new(self.listening);

        let sharing = self.reuse_port.then(|| {
            let upstream = Arc::clone(&self.upstream);
            Arc::new(Sharing {
                readiness: Arc::clone(&self.readiness),
                may_join: Box::new(move || {
                    let reachability = &upstream.reachability;
                    reachability.was_reached() && !reachability.is_unreachable()
                }),
            })
        });
        let taken_by_predecessor = match self.reuse_port {
            true => Taken::Await,
            false => Taken::Warn,
        };
        self.metrics.want_listeners(self.credentials.len());
        let mut servers = EssentialTasks::default();
        for listen in self.credentials {
            let sharing = sharing.clone();
            let (handler, connections) = (Arc::clone(&handler), Arc::clone(&connections));
            let (listening, metrics) = (Arc::clone(&listening), Arc::clone(&self.metrics));
            let mut drain = watcher.clone();
            servers.spawn("credentials", async move {
                let taken = sharing.as_deref().map_or(Taken::Warn, Taken::Join);
                let listener = tokio::select! {
                    listener = listen.listening("credentials", taken) => listener,
                    _drain = drain.started() => return,
                };
                listening.release();
                metrics.count_listener();
                let mut watch = JoinSet::new();
                #[cfg(target_os = "linux")]
                if sharing.is_some() {
                    match SharedListener::of(&listener) {
                        Ok(shared) => drop(watch.spawn(shared.watch())),
                        Err(error) => warn!(%error, "who shares the address is not known"),
                    }
                }
                serve(listener, connections, handler, drain).await;
            });
        }

        let mut background = EssentialTasks::default();
        if let Some(taint) = self.startup_taint {
            let readiness = Arc::clone(&self.readiness);
            background.spawn("startup taint", async move {
                let _never = taint.run(readiness).await;
            });
        }
        if let Some(watch) = self.pod_watch {
            background.spawn("watch of pods", async move {
                let _never = watch.run().await;
            });
        }
        #[cfg(unix)]
        let debug = self.debug.map(|settings| {
            let state = DebugState {
                settings: settings.clone(),
                started: self.clock.now(),
                clock: self.clock,
                readiness: Arc::clone(&self.readiness),
                connections: Arc::clone(&connections),
                cache: Arc::clone(&self.cache),
                keys: Arc::clone(&self.keys),
                upstream: Arc::clone(&self.upstream),
            };
            Debug {
                log_level: settings.log_level,
                state: Arc::new(move || state.read()),
            }
        });
        let probes = Probes {
            readiness: self.readiness,
            metrics: self.metrics,
            reading: {
                let (cache, connections) = (Arc::clone(&self.cache), Arc::clone(&connections));
                let upstream = Arc::clone(&self.upstream);
                Arc::new(move || Reading {
                    connections: connections.open(),
                    degraded: upstream.reachability.is_unreachable(),
                    clock_skew: upstream.eks_auth.clock_skew_seconds(),
                    ..cache.reading()
                })
            },
        };
        let mut for_kubelet = SideRuntime::start("probes", side_limits(self.open_files))?;
        for listen in self.probes {
            let probes = probes.clone();
            let respond = move |request: &_| probes.respond(request);
            for_kubelet.serve(listen, taken_by_predecessor, respond)?;
        }
        #[cfg(unix)]
        if let Some(path) = self.probe_socket {
            let (socket, probes) = (ProbeSocket::bind(&path)?, probes.clone());
            let respond = move |request: &_| {
                let debugged = debug.as_ref().and_then(|debug| debug.respond(request));
                debugged.unwrap_or_else(|| probes.respond(request))
            };
            for_kubelet.serve_probe_socket(socket, respond)?;
        }
        #[cfg(not(unix))]
        drop(self.probe_socket);
        let mut for_scrapers = SideRuntime::start(METRICS, side_limits(self.open_files))?;
        for listen in self.exposition {
            let probes = probes.clone();
            let respond = move |request: &_| probes.respond_with_metrics(request);
            for_scrapers.serve(listen, taken_by_predecessor, respond)?;
        }

        let cache = Arc::clone(&self.cache);
        background.spawn("verification", async move {
            cache.verify_with_fetched_keys().await;
        });
        background.spawn("keys of the cluster", async move {
            self.keys.run(self.seed).await;
        });
        background.spawn("cache", self.cache.run());
        background.spawn("limits of connections", async move {
            connections.sweep().await;
        });
        background.spawn("probe of EKS Auth", async move {
            self.upstream.probe().await;
        });

        #[cfg(target_os = "linux")]
        if let Some(watch) = self.link_watch {
            background.spawn("watch of the link", watch.run());
        }

        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = servers.ended() => Err(ended),
            ended = background.ended() => Err(ended),
            ended = for_kubelet.ended() => Err(ended),
            ended = for_scrapers.ended() => Err(ended),
        };
        if let Err(error) = &ended {
            error!(%error, "the agent cannot go on");
        }
        info!("stopping: requests in flight finish first");
        trigger.start(Drain::Ending);
        servers.join().await;
        Ok(ended?)
    }
}

/// Settings of an [`Agent`]. All have defaults.
#[derive(Debug)]
pub struct AgentBuilder {
    eks_auth: Arc<dyn EksAuth>,
    clock: Arc<dyn Clock>,
    token_keys: TokenKeys,
    audit: AuditLog,
    lost_lines: Vec<IntCounter>,
    settings: Settings,
    strict_readiness: bool,
    open_files: usize,
    memory: u64,
    reuse_port: bool,
    hosts: Vec<IpAddr>,
    credentials: Vec<Listen>,
    probes: Vec<Listen>,
    probe_socket: Option<PathBuf>,
    #[cfg(unix)]
    debug: Option<DebugSettings>,
    exposition: Vec<Listen>,
    watched_by: Option<(ApiServer, KubernetesName)>,
    startup_taint: Option<StartupTaint>,
    #[cfg(target_os = "linux")]
    watched_link: Option<(LinkKind, Vec<IpAddr>)>,
}

impl AgentBuilder {
    /// Adds an address that serves `GET /v1/credentials`. It is accepted as `Host`, as `169.254.170.23` and
    /// `fd00:ec2::23` always are. Defaults to none.
    pub fn listen(mut self, listen: Listen) -> Self {
        self.credentials.push(listen);
        self
    }

    /// Adds an address that serves `/healthz` and `/readyz`. Defaults to none.
    pub fn listen_probes(mut self, listen: Listen) -> Self {
        self.probes.push(listen);
        self
    }

    /// Sets a path at which a Unix socket serves `/healthz` and `/readyz`: unlike a port it belongs to this
    /// process alone, also while another agent runs on the node. Defaults to none. Systems other than Unix
    /// ignore it.
    pub fn probe_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.probe_socket = Some(path.into());
        self
    }

    /// Sets that the probe socket also serves the state of the agent and its log level. Defaults to not.
    #[cfg(unix)]
    pub(crate) fn debug(mut self, settings: DebugSettings) -> Self {
        self.debug = Some(settings);
        self
    }

    /// Sets whether credentials addresses are shared with other agents of the same user, with SO_REUSEPORT, so
    /// that one takes over from another without a gap. Off by default: any process of this user may then get a
    /// share of the requests, with their tokens. It concerns [`Listen::At`] only.
    ///
    /// Where another process listens already, this one begins when EKS Auth is within reach, and is not ready
    /// before. At the end of this one, new connections go to the other.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Adds an address that serves `/metrics`, `/healthz` and `/readyz`, over at most 64 connections, 16 of
    /// them from one address. Defaults to none.
    pub fn listen_metrics(mut self, listen: Listen) -> Self {
        self.exposition.push(listen);
        self
    }

    /// Adds an address that is accepted as `Host`, for an agent behind a forwarded port.
    pub fn host(mut self, address: IpAddr) -> Self {
        self.hosts.push(address);
        self
    }

    /// Sets the clock. Defaults to the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where the keys of the cluster come from that tokens are verified with. Defaults to
    /// [`TokenKeys::none`].
    pub fn token_keys(mut self, keys: TokenKeys) -> Self {
        self.token_keys = keys;
        self
    }

    /// Sets when credentials are refreshed. Defaults to [`RefreshPolicy::agent`].
    pub fn policy(mut self, policy: RefreshPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Sets how much is cached and how fast it is refreshed. Defaults to the official agent's figures.
    pub fn limits(mut self, limits: CacheLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets how many exchanges with EKS Auth a pod's address may cause. Defaults to [`Budget::POD`].
    pub fn pod_budget(mut self, budget: Budget) -> Self {
        self.settings.pod_budget = budget;
        self
    }

    /// Sets how many exchanges an address of the node itself may cause. Defaults to [`Budget::NODE`].
    pub fn node_budget(mut self, budget: Budget) -> Self {
        self.settings.node_budget = budget;
        self
    }

    /// Sets the addresses that processes on the node itself call from: those of its interfaces, and ranges
    /// of which one process can choose any address. They count as one source, whose limits are larger,
    /// because host-network pods share it.
    ///
    /// Defaults to loopback, 127.0.0.0/8 and ::1.
    pub fn node_addresses(mut self, addresses: impl IntoIterator<Item = IpNet>) -> Self {
        self.settings.node_addresses = addresses.into_iter().collect();
        self
    }

    /// Sets the audience that a token must have. Defaults to `pods.eks.amazonaws.com`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.settings.audience = audience.into();
        self
    }

    /// Sets how long a client waits for EKS Auth before the response is 503. Defaults to 900 ms, because the
    /// least patient SDKs give up after 1 s. At most 5 min: no SDK waits for longer.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.settings.max_wait = time.min(MAX_ANSWER_WITHIN);
        self
    }

    /// Sets the log of all exchanges. Defaults to none.
    pub fn audit(mut self, audit: AuditLog) -> Self {
        self.audit = audit;
        self
    }

    /// Sets whether the audit also has a line when a source other than the one that asked first gets the
    /// credentials of a token from the cache, once for each source and token: a token that was stolen and is
    /// used elsewhere leaves a trace. Off by default, because drivers that ask on behalf of pods leave such
    /// lines too. About 4,096 pairs are remembered.
    pub fn audit_hits(mut self, audit: bool) -> Self {
        self.settings.audit_hits = audit;
        self
    }

    /// Adds counters made by [`Metrics::lost_lines`] to `/metrics`. Defaults to none.
    pub(crate) fn lost_lines(mut self, lost: impl IntoIterator<Item = IntCounter>) -> Self {
        self.lost_lines.extend(lost);
        self
    }

    /// Sets whether `/readyz` also fails in a later outage of EKS Auth. By default it fails only until EKS Auth
    /// has been reached once, because cached credentials are still served.
    pub fn strict_readiness(mut self, strict: bool) -> Self {
        self.strict_readiness = strict;
        self
    }

    /// Sets the limit of open files of this process, of which some are kept for probes and for EKS Auth.
    /// Defaults to no limit.
    pub(crate) fn open_files(mut self, limit: usize) -> Self {
        self.open_files = limit;
        self
    }

    /// Sets the limit of memory of this process in bytes, of which the buffers of connections occupy a
    /// sixteenth at most, or 1 MiB if that is more. Defaults to no limit.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(mut self, limit: u64) -> Self {
        self.memory = limit;
        self
    }

    /// Watches the pods of the node of this name, and no longer refreshes the credentials of pods that are
    /// gone. Defaults to no watch.
    ///
    /// The service account of `api_server` needs the permission to list and watch pods. Without it, or
    /// without an answer, credentials of all pods are refreshed, and the watch is tried again.
    pub fn watch_pods(mut self, api_server: ApiServer, node: KubernetesName) -> Self {
        self.watched_by = Some((api_server, node));
        self
    }

    /// Removes the taint of this key from the node of this name once the agent is ready. Defaults to none.
    ///
    /// The service account of `api_server` needs the permission to get and patch nodes.
    pub fn startup_taint(
        mut self,
        api_server: ApiServer,
        node: KubernetesName,
        key: impl Into<String>,
    ) -> Self {
        self.startup_taint = Some(StartupTaint::new(api_server, node, key.into()));
        self
    }

    /// Watches the link with those of the two fixed addresses that are among `hosts`, and puts it back, with this
    /// kind, when it goes. Defaults to not watching.
    #[cfg(target_os = "linux")]
    pub(crate) fn watch_link(mut self, kind: LinkKind, hosts: Vec<IpAddr>) -> Self {
        self.watched_link = Some((kind, hosts));
        self
    }

    /// Sets the seed of all jitter, for tests. Defaults to a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Builds the agent, which does nothing before [`Agent::run`].
    pub fn build(self) -> Agent {
        let metrics = Arc::new(Metrics::new());
        for lost in self.lost_lines {
            metrics.show(lost);
        }
        let readiness = Readiness::new(self.strict_readiness);
        let listening =
            readiness.blocker("listening", "no credentials address can be listened on yet");
        let upstream = Arc::new(Upstream {
            eks_auth: self.eks_auth,
            clock: Arc::clone(&self.clock),
            outage: Outage::default(),
            reachability: Reachability::new(&readiness),
            metrics: Arc::clone(&metrics),
            audit: self.audit,
        });
        let connection_limits = ConnectionLimits {
            node_addresses: self.settings.node_addresses.clone(),
            ..ConnectionLimits::default()
        }
        .within(self.open_files, self.memory);
        let pod_watch = self.watched_by.map(|(api_server, node)| {
            let pods: Arc<GonePods> = Arc::clone(&self.settings.gone_pods);
            PodWatch::new(api_server, node, pods, Arc::clone(&self.clock))
        });
        let seed = self.settings.seed;
        let keys = Arc::new(self.token_keys.into_ring());
        let cache = CredentialCache::new(
            Arc::clone(&upstream),
            Arc::clone(&keys),
            Arc::clone(&self.clock),
            self.settings,
        );
        Agent {
            upstream,
            keys,
            seed,
            cache: Arc::new(cache),
            #[cfg(target_os = "linux")]
            link_watch: self.watched_link.map(|(kind, hosts)| {
                let (lost, reachable) = metrics.link();
                LinkWatch {
                    lost,
                    reachable,
                    kind,
                    hosts,
                }
            }),
            metrics,
            readiness,
            listening,
            connection_limits,
            open_files: self.open_files,
            reuse_port: self.reuse_port,
            hosts: self.hosts,
            credentials: self.credentials,
            probes: self.probes,
            probe_socket: self.probe_socket,
            #[cfg(unix)]
            debug: self.debug,
            clock: self.clock,
            exposition: self.exposition,
            pod_watch,
            startup_taint: self.startup_taint,
        }
    }
}

/// No SDK waits for longer; an unbounded time could not be added to a clock.
pub(crate) const MAX_ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Limits for metrics, and likewise for probes.
///
/// Prometheus and kubelet need one connection or two, while every pod can reach the port of metrics and each
/// page is rendered anew: these limits bound how many pages are rendered at once, for one address and for
/// all, and how many open files they take.
fn side_limits(open_files: usize) -> ConnectionLimits {
    ConnectionLimits {
        per_source: 16,
        per_node_address: 16,
        total: (open_files / 8).min(64),
        awaiting_header_per_source: 8,
        awaiting_header: 32,
        ..ConnectionLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use pod_identity_core::Secret;

    use super::*;
    use crate::{Checking, Exchange};

    #[derive(Debug)]
    struct Defective;

    impl EksAuth for Defective {
        fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
            Box::pin(pending())
        }

        fn check(&self) -> Checking<'_> {
            panic!("a defect")
        }
    }

    #[tokio::test]
    async fn the_agent_ends_with_an_error_when_a_task_ends_that_must_not() {
        let ended = Agent::builder(Defective).build().run(pending()).await;
        let error = ended.unwrap_err().to_string();
        let parts = ["`probe of EKS Auth`", "a defect"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}
