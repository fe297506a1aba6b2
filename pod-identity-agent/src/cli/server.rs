use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use pod_identity_cli::{DurationError, Failure, Signals, parse_duration_within, variable};
use pod_identity_core::{CacheLimits, Endpoint, RefreshPolicy};
use prometheus::IntCounter;
use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

#[cfg(unix)]
use super::flags;
use super::kubernetes::{KubernetesFlags, KubernetesTasks};
use super::{env, pflag, values};
#[cfg(unix)]
use crate::debug_state::DebugSettings;
#[cfg(target_os = "linux")]
use crate::node::network::LinkKind;
use crate::telemetry::audit_file::AuditFile;
use crate::telemetry::metrics::Metrics;
use crate::tokens::key_file::DEFAULT_KEY_FILE;
#[cfg(target_os = "linux")]
use crate::tokens::key_ring::KeyRing;
use crate::{
    Agent, AgentBuilder, AuditLog, Budget, IssuerUrl, Listen, NodeIdentity, SdkEksAuth, TokenKeys,
};

/// The official agent's flags with its defaults, then the flags of newer official agents that have no
/// effect here, then our own.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// Name of the EKS cluster that this node belongs to
    #[arg(short, long, allow_hyphen_values = true, value_parser = values::name)]
    cluster_name: String,
    /// Port of the credentials addresses
    #[arg(short, long, allow_hyphen_values = true, value_parser = pflag::port, default_value = "80")]
    port: u16,
    /// Addresses to serve credentials at; IPv6 in brackets; may be repeated
    #[arg(short, long, allow_hyphen_values = true, value_delimiter = ',', value_parser = values::address,
          default_values_t = [IpAddr::from(Endpoint::EKS_IPV4), IpAddr::from(Endpoint::EKS_IPV6)])]
    bind_hosts: Vec<IpAddr>,
    /// Port of the liveness and readiness probes on localhost
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::port, default_value = "2703")]
    probe_port: u16,
    /// Address of the metrics
    #[arg(long, allow_hyphen_values = true, value_parser = values::address_or_any,
          default_value_t = IpAddr::from(Ipv4Addr::UNSPECIFIED))]
    metrics_address: IpAddr,
    /// Port of the metrics
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::port, default_value = "2705")]
    metrics_port: u16,
    /// Longest time until cached credentials are refreshed, as in 3h or 90m; 0 disables caching
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::duration, default_value = "3h")]
    max_credential_retention_before_renewal: Duration,
    /// Most credentials in the cache; 0 disables caching
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::integer, default_value = "2000")]
    max_cache_size: i64,
    /// Most refreshes per second; first requests of pods do not count
    #[arg(long, allow_hyphen_values = true, value_parser = values::number, default_value_t = DEFAULT_QPS)]
    max_service_qps: f64,
    /// Read the shared credentials file again every minute, for hybrid nodes
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true")]
    rotate_credentials: bool,
    /// URL of EKS Auth [default: AWS_ENDPOINT_URL_EKS_AUTH, or the region's]
    #[arg(long, allow_hyphen_values = true, default_value = "", hide_default_value = true,
          value_parser = |text: &str| values::endpoint(text).map(|_valid| text.to_owned()))]
    endpoint: String,

    #[command(flatten)]
    newer: NewerFlags,

    /// Allow --bind-hosts that can be reached from outside the node
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    allow_routable_bind_hosts: bool,
    /// Time until a pod that waits for EKS Auth is answered 503, from 1ms to 5m
    #[arg(long, value_parser = answer_within, default_value = "900ms")]
    answer_within: Duration,
    /// Audience that a service-account token must name
    #[arg(long, value_parser = values::name, default_value = crate::credentials::settings::DEFAULT_AUDIENCE)]
    audience: String,
    /// Exchanges with EKS Auth that one pod may cause: burst/per-second
    #[arg(long, value_parser = values::budget, default_value = "10/2")]
    pod_budget: Budget,
    /// The same for this node itself, whose addresses host-network pods share
    #[arg(long, value_parser = values::budget, default_value = "200/20")]
    node_budget: Budget,
    /// Ranges from which a process on this node can choose its address; they count as one address,
    /// together with the addresses of this node's interfaces
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.0/8,::1/128")]
    node_ranges: Vec<IpNet>,
    /// When /readyz fails: until EKS Auth has been reached once, or in every outage
    #[arg(long, value_enum, default_value_t = When::Once)]
    readiness: When,
    /// Where a JSON line is written for each answer of EKS Auth, each attempt without one, and each new token
    /// that is answered without an exchange: on (standard output), off, or a path with a `/`
    #[arg(long, value_parser = values::audit_log, default_value = "on")]
    audit_log: String,
    /// Also record a source that gets the credentials of a token which another source used first, once for each pair
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    audit_hits: bool,
    /// Serve no metrics
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    no_metrics: bool,
    /// Share the credentials addresses with another agent of the same user, so that an upgrade with a surge
    /// refuses no request
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    reuse_port: bool,
    /// Path of a Unix socket for the command `probe`, which then asks this process and no other on the node
    #[arg(long, value_parser = |text: &str| values::path(text).map(PathBuf::from))]
    probe_socket: Option<PathBuf>,
    /// Answer `probe state` and `probe log-level` at --probe-socket
    #[cfg(unix)]
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          requires_if("true", "probe_socket"))]
    debug_endpoints: bool,
    /// Watch the link, its addresses and routes, count each loss, and put back what is lost
    #[cfg(target_os = "linux")]
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    watch_link: bool,
    /// Kind of the link that --watch-link puts back
    #[cfg(target_os = "linux")]
    #[arg(long, value_enum, default_value_t = LinkKind::Dummy)]
    link_kind: LinkKind,
    /// Name of this node, sent to EKS Auth [default: NODE_NAME]
    #[arg(long, value_parser = values::name)]
    node_name: Option<String>,
    /// EC2 instance id of this node, sent to EKS Auth
    #[arg(long, value_parser = values::name)]
    instance_id: Option<String>,
    /// Availability Zone id of this node, such as usw2-az1, sent to EKS Auth
    #[arg(long, value_parser = values::name)]
    zone: Option<String>,
    /// Ask instance metadata for the instance id and the Availability Zone id, to send them to EKS Auth
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "false", default_missing_value = "true", hide_default_value = true)]
    discover_node: bool,
    /// Verify tokens with the keys of the cluster, so that all tokens of a pod share its credentials
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, action = ArgAction::Set,
          default_value = "true", default_missing_value = "true", hide_default_value = true)]
    verify_tokens: bool,
    /// URL of the cluster's OpenID Connect issuer, which has the keys where the API server has none [default in
    /// a cluster: what eks:DescribeCluster names]
    #[arg(long)]
    oidc_issuer: Option<IssuerUrl>,
    /// File in which the keys of the cluster are kept for the next start: a path with a `/`, or off
    #[arg(long, value_parser = values::key_cache, default_value = DEFAULT_KEY_FILE)]
    key_cache: String,

    #[command(flatten)]
    kubernetes: KubernetesFlags,

    /// Ignored, as by the official agent
    #[arg(hide = true)]
    stray: Vec<OsString>,
}

/// Flags of newer official agents. They are accepted so that their charts run, and have no effect.
#[derive(Debug, Args)]
struct NewerFlags {
    /// Accepted without effect: instance metadata is always among the sources of the agent's credentials
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, default_missing_value = "true")]
    enable_imds_credentials: Option<bool>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::duration)]
    x509_svid_duration: Option<Duration>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::duration)]
    jwt_svid_duration: Option<Duration>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true, value_parser = values::number)]
    svid_renewal_fraction: Option<f64>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true, value_parser = values::number)]
    svid_renewal_jitter: Option<f64>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true, value_parser = pflag::duration)]
    bundle_refresh_interval: Option<Duration>,
    /// Accepted without effect
    #[arg(long, allow_hyphen_values = true)]
    workload_identity_provider_arn: Option<String>,
}

impl NewerFlags {
    fn given(&self) -> Vec<&'static str> {
        [
            (
                "--enable-imds-credentials",
                self.enable_imds_credentials.is_some(),
            ),
            ("--x509-svid-duration", self.x509_svid_duration.is_some()),
            ("--jwt-svid-duration", self.jwt_svid_duration.is_some()),
            (
                "--svid-renewal-fraction",
                self.svid_renewal_fraction.is_some(),
            ),
            ("--svid-renewal-jitter", self.svid_renewal_jitter.is_some()),
            (
                "--bundle-refresh-interval",
                self.bundle_refresh_interval.is_some(),
            ),
            (
                "--workload-identity-provider-arn",
                self.workload_identity_provider_arn.is_some(),
            ),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

/// When `/readyz` fails.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum When {
    Once,
    Strict,
}

/// What operators read of the agent, started before it.
struct Telemetry {
    audit: AuditLog,
    audit_file: Option<AuditFile>,
    lost_lines: [IntCounter; 2],
    #[cfg(unix)]
    debug: Option<DebugSettings>,
}

impl Server {
    /// # Errors
    /// Fails with a usage error if the settings contradict each other, and with exit code 1 if the audit log
    /// cannot be opened or the agent cannot run.
    pub(super) fn run(self, level: LevelFilter, arguments: &[OsString]) -> Result<(), Failure> {
        let endpoint = self.endpoint()?;
        self.check_bind_hosts()?;
        let tasks = self.kubernetes.tasks(self.node_name())?;
        let eks_auth = Arc::new(self.eks_auth(endpoint));
        let keys = self.token_keys(&eks_auth)?;
        let log = super::line_writer("log", io::stdout())?;
        let [lost_log, lost_audit] = ["log", "audit"].map(Metrics::lost_lines);
        let log_level = super::log_to(level, log.lines(lost_log.clone()));
        #[cfg(unix)]
        let debug = self.debug_endpoints.then(|| DebugSettings {
            log_level,
            flags: flags::of_server(arguments),
        });
        #[cfg(not(unix))]
        let _unchanged = (log_level, arguments);
        // Both writers outlive the runtime, whose tasks log until they end.
        let audit_writer;
        let mut audit_file = None;
        let audit = match self.audit_log.as_str() {
            "on" => AuditLog::to(log.lines(lost_audit.clone())),
            "off" => AuditLog::off(),
            path => {
                let file = AuditFile::open(Path::new(path))?;
                audit_writer = super::line_writer("audit", file.clone())?;
                audit_file = Some(file);
                AuditLog::to(audit_writer.lines(lost_audit.clone()))
            }
        };
        let telemetry = Telemetry {
            audit,
            audit_file,
            lost_lines: [lost_log, lost_audit],
            #[cfg(unix)]
            debug,
        };
        #[cfg(unix)]
        let open_files = crate::node::open_files::raise_limit();
        #[cfg(not(unix))]
        let open_files = None;
        super::block_on(self.serve(eks_auth, tasks, keys, telemetry, open_files))?;
        Ok(())
    }

    /// The client that the agent asks EKS Auth with.
    ///
    /// # Errors
    /// Fails with a usage error if the endpoint in the environment is not one.
    #[cfg(target_os = "linux")]
    pub(super) fn client_of_eks_auth(&self) -> Result<SdkEksAuth, Failure> {
        Ok(self.eks_auth(self.endpoint()?))
    }

    /// The addresses that the agent listens at.
    #[cfg(target_os = "linux")]
    pub(super) fn listens_at(&self) -> crate::doctor::node::Agent {
        let metrics = SocketAddr::new(self.metrics_address, self.metrics_port);
        crate::doctor::node::Agent {
            hosts: self.hosts(),
            port: self.port,
            probes: (Ipv4Addr::LOCALHOST, self.probe_port).into(),
            metrics: (!self.no_metrics).then_some(metrics),
        }
    }

    /// Where the agent has the keys of the cluster from; `None` if it is not to verify tokens.
    ///
    /// # Errors
    /// Fails with a usage error if the URL of the API server is not valid.
    #[cfg(target_os = "linux")]
    pub(super) fn sources_of_keys(
        &self,
        eks_auth: &Arc<SdkEksAuth>,
    ) -> Result<Option<KeyRing>, Failure> {
        let keys = self.verify_tokens.then(|| self.token_keys(eks_auth));
        Ok(keys.transpose()?.map(TokenKeys::without_file))
    }

    /// The endpoint of the flag, or else of the environment.
    fn endpoint(&self) -> Result<Option<String>, Failure> {
        match values::endpoint(&self.endpoint).map_err(Failure::usage)? {
            None => env::endpoint(),
            given => Ok(given),
        }
    }

    fn check_bind_hosts(&self) -> Result<(), Failure> {
        let mut hosts = self.bind_hosts.iter().copied();
        match hosts.find(|host| values::is_routable(*host)) {
            Some(host) if !self.allow_routable_bind_hosts => Err(Failure::usage(format!(
                "--bind-hosts {host} can be reached from outside the node, where anybody could ask for \
                 credentials with a stolen token; add --allow-routable-bind-hosts if that is intended"
            ))),
            _ => Ok(()),
        }
    }

    /// Logs what is accepted because the official agent accepts it, and what becomes of it.
    fn warn_of_oddities(&self) {
        let without_effect = self.newer.given();
        if !without_effect.is_empty() {
            let flags = without_effect.join(" ");
            warn!(flags, "flags of newer official agents have no effect");
        }
        // A chart makes two arguments of a flag that is on. What is true or empty after it changes nothing.
        let number = self
            .stray
            .iter()
            .filter(|argument| !argument.is_empty() && !pflag::is_true(argument))
            .count();
        if number > 0 {
            warn!(
                number,
                "positional arguments are ignored; a boolean flag takes its value after `=`"
            );
        }
        if self.max_credential_retention_before_renewal.is_zero() || self.max_cache_size <= 0 {
            warn!("caching is disabled: each request of a pod is an exchange with EKS Auth");
        }
        if self.max_service_qps <= 0.0 {
            warn!(
                used = DEFAULT_QPS,
                "--max-service-qps of 0 or less would never renew credentials; the default is used"
            );
        }
        if !self.endpoint.trim().is_empty() && !self.endpoint.contains("://") {
            warn!("--endpoint has no scheme; https is used");
        }
    }

    async fn serve(
        self,
        eks_auth: Arc<SdkEksAuth>,
        tasks: Option<KubernetesTasks>,
        keys: TokenKeys,
        telemetry: Telemetry,
        open_files: Option<usize>,
    ) -> io::Result<()> {
        info!(
            "cluster-name" = self.cluster_name,
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        self.warn_of_oddities();
        env::warn_of_invalid_proxies();
        let mut signals = Signals::new()?;
        #[cfg(unix)]
        let _reopening = reopen_on_hangup(telemetry.audit_file)?;
        #[cfg(not(unix))]
        drop(telemetry.audit_file);
        let agent = self.agent(eks_auth).token_keys(keys);
        let agent = agent.audit(telemetry.audit);
        let mut agent = agent.lost_lines(telemetry.lost_lines);
        #[cfg(unix)]
        if let Some(settings) = telemetry.debug {
            agent = agent.debug(settings);
        }
        if let Some(limit) = open_files {
            agent = agent.open_files(limit);
        }
        #[cfg(target_os = "linux")]
        if let Some(limit) = crate::node::memory_limit::memory_limit() {
            agent = agent.memory(limit);
        }
        if let Some(tasks) = tasks {
            agent = tasks.apply_to(agent);
        }
        let agent = agent.build();
        agent.run(signals.shutdown()).await
    }

    fn agent(self, eks_auth: Arc<SdkEksAuth>) -> AgentBuilder {
        let retention = self.max_credential_retention_before_renewal;
        let mut limits = CacheLimits::default();
        limits.held = if retention.is_zero() {
            0
        } else {
            // Go's int may be negative, and then nothing fits.
            usize::try_from(self.max_cache_size).unwrap_or_default()
        };
        limits.refreshes_per_second = match self.max_service_qps {
            qps if qps > 0.0 => qps,
            _ => DEFAULT_QPS,
        };
        let hosts = self.hosts();
        let at = |address, port| Listen::At(SocketAddr::new(address, port));
        let mut builder = Agent::builder(eks_auth)
            .policy(RefreshPolicy::agent().with_retention(retention))
            .limits(limits)
            .audience(self.audience)
            .answer_within(self.answer_within)
            .pod_budget(self.pod_budget)
            .node_budget(self.node_budget)
            .node_addresses(node_addresses().chain(self.node_ranges))
            .strict_readiness(self.readiness == When::Strict)
            .reuse_port(self.reuse_port)
            .audit_hits(self.audit_hits)
            .listen_probes(at(Ipv4Addr::LOCALHOST.into(), self.probe_port));
        if let Some(path) = self.probe_socket {
            builder = builder.probe_socket(path);
        }
        if !self.no_metrics {
            builder = builder.listen_metrics(at(self.metrics_address, self.metrics_port));
        }
        #[cfg(target_os = "linux")]
        if self.watch_link {
            builder = builder.watch_link(self.link_kind, hosts.clone());
        }
        for host in hosts {
            builder = builder.listen(at(host, self.port));
        }
        builder
    }

    /// The addresses of `--bind-hosts`, each once: a second socket would find it in use by the first for ever, or
    /// share it with that as if with another agent.
    fn hosts(&self) -> Vec<IpAddr> {
        let mut hosts = Vec::new();
        for host in self.bind_hosts.iter().map(IpAddr::to_canonical) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn node_name(&self) -> Option<String> {
        self.node_name.clone().or_else(|| variable("NODE_NAME"))
    }

    /// # Errors
    /// Fails with a usage error if the URL of the API server is not valid.
    fn token_keys(&self, eks_auth: &Arc<SdkEksAuth>) -> Result<TokenKeys, Failure> {
        let mut keys = TokenKeys::none();
        if !self.verify_tokens {
            return Ok(keys);
        }
        let api_server = self.kubernetes.known_api_server()?;
        let is_in_cluster = api_server.is_some();
        if let Some(api_server) = api_server {
            keys = keys.from_api_server(api_server);
        }
        if let Some(issuer) = &self.oidc_issuer {
            let ca_bundle = variable("AWS_CA_BUNDLE").map(PathBuf::from);
            keys = keys.from_issuer(issuer.clone(), ca_bundle);
        } else if is_in_cluster {
            keys = keys.from_described_issuer(Arc::clone(eks_auth));
        }
        Ok(match self.key_cache.as_str() {
            "off" => keys,
            path => keys.kept_in(path, &self.cluster_name),
        })
    }

    fn eks_auth(&self, endpoint: Option<String>) -> SdkEksAuth {
        let node = NodeIdentity {
            name: self.node_name(),
            instance_id: self.instance_id.clone(),
            zone: self.zone.clone(),
        };
        let mut eks_auth = SdkEksAuth::new(&self.cluster_name)
            .with_rotated_credentials(self.rotate_credentials)
            .with_node(node)
            .with_discovered_node(self.discover_node);
        if let Some(endpoint) = endpoint {
            eks_auth = eks_auth.with_endpoint(endpoint);
        }
        if let Some(bundle) = variable("AWS_CA_BUNDLE") {
            eks_auth = eks_auth.with_ca_bundle(bundle);
        }
        eks_auth
    }
}

/// Reopens the audit log, if it is a file, at each SIGHUP, until the returned task is dropped. Without a file
/// SIGHUP has no effect, so that it can be sent to every agent.
#[cfg(unix)]
fn reopen_on_hangup(file: Option<AuditFile>) -> io::Result<JoinSet<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangups = signal(SignalKind::hangup())?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(file) = file.clone() else {
                continue;
            };
            // It may wait for a write to a FIFO.
            let reopened = tokio::task::spawn_blocking(move || file.reopen()).await;
            match reopened.map_err(io::Error::other).flatten() {
                Ok(()) => info!("audit log reopened"),
                Err(error) => warn!(%error, "audit log not reopened; the old file is still used"),
            }
        }
    });
    Ok(tasks)
}

/// The addresses of this node's interfaces. Host-network pods come from these: the kernel takes the
/// address that is called as the caller's own.
fn node_addresses() -> impl Iterator<Item = IpNet> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "the node's own addresses cannot be read; host-network pods count as one pod");
        Vec::new()
    });
    let fixed = [
        IpAddr::from(Endpoint::EKS_IPV4),
        IpAddr::from(Endpoint::EKS_IPV6),
    ];
    let addresses = interfaces.into_iter().map(|interface| interface.ip());
    addresses.chain(fixed).map(IpNet::from)
}

/// The official agent's.
const DEFAULT_QPS: f64 = 3.0;

/// Parses the time until a waiting pod is answered 503.
fn answer_within(text: &str) -> Result<Duration, DurationError> {
    parse_duration_within(
        Duration::from_millis(1)..=crate::agent::MAX_ANSWER_WITHIN,
        text,
    )
}
