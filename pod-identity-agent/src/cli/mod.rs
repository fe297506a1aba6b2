//! The command line: that of the official agent, and `dev`.

pub(crate) mod go_duration;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use http::Uri;
use pod_identity_core::{CacheLimits, Endpoint, RefreshPolicy};
use prometheus::IntCounter;
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use crate::node::signals::Signals;
use crate::telemetry::audit;
use crate::telemetry::line_writer::{LineWriter, Lines};
use crate::telemetry::metrics::Metrics;
use crate::{Agent, AgentBuilder, AuditLog, Budget, Listen, NodeIdentity, SdkEksAuth, logging};

/// Runs the program with these arguments, the first being its own name, and returns its exit code:
/// 0, 64 for a wrong command line (`EX_USAGE` of sysexits.h), 1 for anything else that stops it, or that
/// of the command which `dev` ran.
///
/// Called by the name `go-runner`, it is what its first argument names: the official DaemonSet's command is
/// `/go-runner /eks-pod-identity-agent server`, so an image with this program under both names runs there.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    arguments.next_if(is_runner);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let level = cli.verbosity.level();
    let done = match cli.command {
        Command::Version => {
            say(&mut io::stdout(), env!("CARGO_PKG_VERSION")).map(|()| ExitCode::SUCCESS)
        }
        Command::Server(server) => server.run(level).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Initialize => start_logging(level, io::stdout()).and_then(|_log| {
            block_on(async {
                let done = crate::node::initialize::initialize().await;
                done.map_err(io::Error::other)
            })
            .map(|()| ExitCode::SUCCESS)
        }),
        #[cfg(feature = "dev")]
        Command::Dev(options) => {
            // Standard output belongs to what `dev` prints, or to the command that it runs.
            start_logging(level, io::stderr()).and_then(|_log| block_on(crate::dev::run(options)))
        }
    };
    done.unwrap_or_else(|error| {
        let _unwritten = say(&mut io::stderr(), &format!("pod-identity-agent: {error}"));
        ExitCode::FAILURE
    })
}

fn is_runner(program: &OsString) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("go-runner"))
}

#[derive(Debug, Parser)]
#[command(name = "pod-identity-agent", version, about, max_term_width = 100)]
struct Cli {
    /// How much is logged, as JSON lines
    #[arg(short, long, global = true, value_enum, default_value_t = Verbosity::Info)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve credentials to the pods of this node
    Server(Box<Server>),
    /// Make the agent's addresses reachable on this node: a dummy link, two addresses, two routes
    #[cfg(target_os = "linux")]
    Initialize,
    /// Try it out: the agent on loopback with an embedded EKS Auth, ready for any AWS SDK
    #[cfg(feature = "dev")]
    Dev(crate::dev::Options),
    /// Print the version
    Version,
}

/// The official agent's flags, with its defaults.
#[derive(Debug, Args)]
struct Server {
    /// Name of the EKS cluster that this node belongs to
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    cluster_name: String,
    /// Port of the credentials addresses
    #[arg(short, long, default_value_t = 80)]
    port: u16,
    /// Addresses to serve credentials at; IPv6 in brackets
    #[arg(short, long, value_delimiter = ',', value_parser = address,
          default_values_t = [IpAddr::from(Endpoint::EKS_IPV4), IpAddr::from(Endpoint::EKS_IPV6)])]
    bind_hosts: Vec<IpAddr>,
    /// Port of the liveness and readiness probes on localhost
    #[arg(long, default_value_t = 2703)]
    probe_port: u16,
    /// Address of the metrics
    #[arg(long, value_parser = address, default_value_t = IpAddr::from(Ipv4Addr::UNSPECIFIED))]
    metrics_address: IpAddr,
    /// Port of the metrics
    #[arg(long, default_value_t = 2705)]
    metrics_port: u16,
    /// Longest time until cached credentials are renewed, as in 3h or 90m; 0 disables caching
    #[arg(long, value_parser = go_duration::parse, default_value = "3h")]
    max_credential_retention_before_renewal: Duration,
    /// Most credentials in the cache; 0 disables caching
    #[arg(long, default_value_t = 2000)]
    max_cache_size: usize,
    /// Most renewals per second; a pod's first request is never held back
    #[arg(long, default_value_t = 3.0, value_parser = rate)]
    max_service_qps: f64,
    /// Read the shared credentials file anew every minute, for hybrid nodes
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    rotate_credentials: bool,
    /// URL of EKS Auth, instead of AWS_ENDPOINT_URL_EKS_AUTH or the region's
    #[arg(long, value_parser = endpoint)]
    endpoint: Option<String>,
    /// How long a pod waits for EKS Auth before it is told to try again
    #[arg(long, value_parser = go_duration::parse, default_value = "900ms")]
    answer_within: Duration,
    /// Audience that a service-account token must name
    #[arg(long, default_value = crate::agent::DEFAULT_AUDIENCE)]
    audience: String,
    /// Exchanges with EKS Auth that one pod may cause, as at-once/per-second
    #[arg(long, value_parser = budget, default_value = "10/2")]
    pod_budget: Budget,
    /// The same for each address of this node, which host-network pods share
    #[arg(long, value_parser = budget, default_value = "200/20")]
    node_budget: Budget,
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
    fn run(self, level: LevelFilter) -> io::Result<()> {
        let log = LineWriter::start("log", io::stdout())?;
        let [lost_log, lost_audit] = ["log", "audit"].map(Metrics::lost_lines);
        log_to(level, log.lines(lost_log.clone()));
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
        block_on(self.serve(audit, [lost_log, lost_audit]))
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
        agent.run(signals.either()).await
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
            .node_addresses(node_addresses())
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

/// A variable of the environment; a blank one is an unset one.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the program, where the environment is read"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

/// The addresses of this node's interfaces. Host-network pods come from these: the kernel takes the
/// address that is called as the caller's own.
fn node_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "the node's own addresses cannot be read; host-network pods count as one pod");
        Vec::new()
    });
    let fixed = [
        IpAddr::from(Endpoint::EKS_IPV4),
        IpAddr::from(Endpoint::EKS_IPV6),
    ];
    interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .chain(fixed)
        .collect()
}

/// The official agent's words.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verbosity {
    Panic,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Verbosity {
    fn level(self) -> LevelFilter {
        match self {
            Self::Panic | Self::Fatal | Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// What is logged is written out until the returned value is dropped.
#[cfg(any(target_os = "linux", feature = "dev"))]
fn start_logging(level: LevelFilter, to: impl Write + Send + 'static) -> io::Result<LineWriter> {
    let log = LineWriter::start("log", to)?;
    log_to(level, log.lines(Metrics::lost_lines("log")));
    Ok(log)
}

fn log_to(level: LevelFilter, writer: Lines) {
    let subscriber = logging::subscriber(level, writer);
    // Another one is there already only where this function runs in a test.
    let _already = tracing::subscriber::set_global_default(subscriber);
}

/// Help and version go out as they are; an error becomes one line with cause and cure.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _unwritten = error.print();
        return ExitCode::SUCCESS;
    }
    let _unwritten = say(&mut io::stderr(), &one_line(error));
    ExitCode::from(EX_USAGE)
}

/// Clap's first sentence, what it suggests, and where to read on.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let cause = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let cli = Cli::command();
            let names: Vec<_> = cli.get_subcommands().map(clap::Command::get_name).collect();
            format!("a command is missing: {}", names.join(", "))
        }
        // The names of what is missing stand on lines of their own.
        _ => rendered
            .lines()
            .take_while(|line| !line.trim().is_empty())
            .map(|line| line.trim().trim_start_matches("error: "))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| error.get(kind))
    .map(|suggestion| format!("; did you mean {suggestion}?"))
    .unwrap_or_default();
    format!("pod-identity-agent: {cause}{suggestion} (see --help)")
}

fn say(to: &mut dyn Write, line: &str) -> io::Result<()> {
    writeln!(to, "{line}")
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_no_address| {
            "expected an IP address such as 169.254.170.23 or [fd00:ec2::23]".to_owned()
        })
}

fn endpoint(text: &str) -> Result<String, String> {
    match text.parse::<Uri>() {
        Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) => Ok(text.to_owned()),
        _ => Err("expected a URL such as https://eks-auth.us-west-2.api.aws".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("expected a number above 0, such as 3".to_owned()),
    }
}

fn budget(text: &str) -> Result<Budget, String> {
    let parsed = text
        .split_once('/')
        .and_then(|(burst, rate)| Some((burst.parse().ok()?, rate.parse::<f64>().ok()?)));
    match parsed {
        Some((burst, rate)) if burst > 0 && rate > 0.0 && rate.is_finite() => {
            Ok(Budget::new(burst, rate))
        }
        _ => Err("expected two numbers above 0, as in 10/2: at once, and per second".to_owned()),
    }
}

/// A wrong command line, by the convention of sysexits.h.
const EX_USAGE: u8 = 64;
