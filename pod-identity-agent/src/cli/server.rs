use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use pod_identity_cli::{Signals, parse_duration, variable};
use pod_identity_core::{CacheLimits, Endpoint, RefreshPolicy};
use prometheus::IntCounter;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use super::values;
use crate::telemetry::audit;
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::metrics::Metrics;
use crate::{Agent, AgentBuilder, AuditLog, Budget, Listen, NodeIdentity, SdkEksAuth};

/// The official agent's flags, with its defaults.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// Name of the EKS cluster that this node belongs to
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    cluster_name: String,
    /// Port of the credentials addresses
    #[arg(short, long, default_value_t = 80)]
    port: u16,
    /// Addresses to serve credentials at; IPv6 in brackets
    #[arg(short, long, value_delimiter = ',', value_parser = values::address,
          default_values_t = [IpAddr::from(Endpoint::EKS_IPV4), IpAddr::from(Endpoint::EKS_IPV6)])]
    bind_hosts: Vec<IpAddr>,
    /// Port of the liveness and readiness probes on localhost
    #[arg(long, default_value_t = 2703)]
    probe_port: u16,
    /// Address of the metrics
    #[arg(long, value_parser = values::address, default_value_t = IpAddr::from(Ipv4Addr::UNSPECIFIED))]
    metrics_address: IpAddr,
    /// Port of the metrics
    #[arg(long, default_value_t = 2705)]
    metrics_port: u16,
    /// Longest time until cached credentials are renewed, as in 3h or 90m; 0 disables caching
    #[arg(long, value_parser = parse_duration, default_value = "3h")]
    max_credential_retention_before_renewal: Duration,
    /// Most credentials in the cache; 0 disables caching
    #[arg(long, default_value_t = 2000)]
    max_cache_size: usize,
    /// Most renewals per second; a pod's first request is never held back
    #[arg(long, default_value_t = 3.0, value_parser = values::rate)]
    max_service_qps: f64,
    /// Read the shared credentials file anew every minute, for hybrid nodes
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    rotate_credentials: bool,
    /// URL of EKS Auth, instead of AWS_ENDPOINT_URL_EKS_AUTH or the region's
    #[arg(long, value_parser = values::endpoint)]
    endpoint: Option<String>,
    /// How long a pod waits for EKS Auth before it is told to try again
    #[arg(long, value_parser = parse_duration, default_value = "900ms")]
    answer_within: Duration,
    /// Audience that a service-account token must name
    #[arg(long, default_value = crate::agent::DEFAULT_AUDIENCE)]
    audience: String,
    /// Exchanges with EKS Auth that one pod may cause, as at-once/per-second
    #[arg(long, value_parser = values::budget, default_value = "10/2")]
    pod_budget: Budget,
    /// The same for this node itself, whose addresses host-network pods share
    #[arg(long, value_parser = values::budget, default_value = "200/20")]
    node_budget: Budget,
    /// Ranges of which a process on this node can choose its address; together with the addresses of this
    /// node's interfaces they count as one address
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.0/8,::1/128")]
    node_ranges: Vec<IpNet>,
    /// When /readyz fails: until EKS Auth has been within reach once, or in every outage
    #[arg(long, value_enum, default_value_t = When::Once)]
    readiness: When,
    /// Where each issued or refused set is written down: on (standard output), off, or a file
    #[arg(long, default_value = "on")]
    audit_log: String,
    /// Serve no metrics
    #[arg(long)]
    no_metrics: bool,
    /// Name of this node, to tell EKS Auth
    #[arg(long)]
    node_name: Option<String>,
    /// EC2 instance id of this node, to tell EKS Auth
    #[arg(long)]
    instance_id: Option<String>,
    /// Availability zone of this node, to tell EKS Auth
    #[arg(long)]
    zone: Option<String>,
    /// Ask instance metadata for the instance id and the zone, to tell EKS Auth
    #[arg(long)]
    discover_node: bool,
}

/// When `/readyz` fails.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum When {
    Once,
    Strict,
}

impl Server {
    /// # Errors
    /// When the audit log cannot be opened, or the agent cannot run.
    pub(super) fn run(self, level: LevelFilter) -> io::Result<()> {
        let log = LineWriter::start("log", io::stdout())?;
        let [lost_log, lost_audit] = ["log", "audit"].map(Metrics::lost_lines);
        super::log_to(level, log.lines(lost_log.clone()));
        // Both writers outlive the runtime, whose tasks have the last word.
        let audit_file;
        let audit = match self.audit_log.as_str() {
            "on" => AuditLog::to(log.lines(lost_audit.clone())),
            "off" => AuditLog::off(),
            path => {
                let file = audit::open(Path::new(path)).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot open the audit log {path}: {error}"),
                    )
                })?;
                audit_file = LineWriter::start("audit", file)?;
                AuditLog::to(audit_file.lines(lost_audit.clone()))
            }
        };
        super::block_on(self.serve(audit, [lost_log, lost_audit]))
    }

    async fn serve(self, audit: AuditLog, lost_lines: [IntCounter; 2]) -> io::Result<()> {
        info!(
            "cluster-name" = self.cluster_name,
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        let mut signals = Signals::new()?;
        #[cfg(unix)]
        crate::node::open_files::raise_limit();
        let agent = self.agent().audit(audit).lost_lines(lost_lines).build();
        agent.run(signals.shutdown()).await
    }

    fn agent(self) -> AgentBuilder {
        let retention = self.max_credential_retention_before_renewal;
        let mut limits = CacheLimits::default();
        limits.held = if retention.is_zero() {
            0
        } else {
            self.max_cache_size
        };
        limits.refreshes_per_second = self.max_service_qps;
        let at = |address, port| Listen::At(SocketAddr::new(address, port));
        let mut builder = Agent::builder(self.eks_auth())
            .policy(RefreshPolicy::agent().with_retention(retention))
            .limits(limits)
            .audience(self.audience)
            .answer_within(self.answer_within)
            .pod_budget(self.pod_budget)
            .node_budget(self.node_budget)
            .node_addresses(node_addresses().chain(self.node_ranges))
            .strict_readiness(self.readiness == When::Strict)
            .listen_probes(at(Ipv4Addr::LOCALHOST.into(), self.probe_port));
        if !self.no_metrics {
            builder = builder.listen_metrics(at(self.metrics_address, self.metrics_port));
        }
        for host in self.bind_hosts {
            builder = builder.listen(at(host, self.port));
        }
        builder
    }

    fn eks_auth(&self) -> SdkEksAuth {
        let mut node = NodeIdentity::default();
        node.name.clone_from(&self.node_name);
        node.instance_id.clone_from(&self.instance_id);
        node.zone.clone_from(&self.zone);
        let mut eks_auth = SdkEksAuth::new(&self.cluster_name)
            .with_rotated_credentials(self.rotate_credentials)
            .with_node(node)
            .with_discovered_node(self.discover_node);
        if let Some(endpoint) = self
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_EKS_AUTH"))
        {
            eks_auth = eks_auth.with_endpoint(endpoint);
        }
        if let Some(bundle) = variable("AWS_CA_BUNDLE") {
            eks_auth = eks_auth.with_ca_bundle(bundle);
        }
        eks_auth
    }
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
