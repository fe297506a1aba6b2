//! The command line: that of the official agent, and `dev`.

mod doctor;
mod env;
#[cfg(unix)]
mod flags;
mod kubernetes;
#[cfg(all(test, target_os = "linux"))]
mod pages;
mod pflag;
#[cfg(unix)]
mod probe;
#[cfg(all(test, target_os = "linux"))]
mod reference;
mod server;
mod values;
mod verbosity;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use pod_identity_cli::Failure;
use tracing_subscriber::filter::LevelFilter;

use self::doctor::Doctor;
use self::server::Server;
use self::verbosity::Verbosity;
use crate::logging;
#[cfg(target_os = "linux")]
use crate::node::initialize;
#[cfg(target_os = "linux")]
use crate::node::network::LinkKind;
#[cfg(unix)]
use crate::node::resources::check_open_files;
use crate::node::resources::{check_threads, not_started};
use crate::telemetry::line_writer::{LineWriter, Lines};
use crate::telemetry::log_level::LogLevel;
use crate::telemetry::metrics::Metrics;

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code:
/// 0, 64 for a usage error, 1 for any other failure, or that of the command which `dev` ran.
///
/// Called by the name `go-runner`, the program is the one that its first argument names: the official
/// DaemonSet's command is `/go-runner /eks-pod-identity-agent server`, so an image with this program under
/// both names runs there.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let cli: Cli = match pod_identity_cli::parse(without_runner(&arguments).iter().cloned()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if matches!(cli.command, Command::Server(_) | Command::Doctor(_)) {
        env::restart_without_blank_variables(&arguments);
    }
    cli.run(without_runner(&arguments))
        .unwrap_or_else(|failure| failure.report(NAME))
}

/// Returns what [`run`] reads in a command line, for the fuzz target; not part of the interface.
///
/// # Errors
/// Fails with the usage error that `run` reports, or with nothing if the arguments ask for help.
#[doc(hidden)]
pub fn read(arguments: &[OsString]) -> Result<impl std::fmt::Debug + use<>, Option<Failure>> {
    read_cli(arguments)
}

fn read_cli(arguments: &[OsString]) -> Result<Cli, Option<Failure>> {
    let arguments = without_runner(arguments);
    Cli::try_parse_from(arguments)
        .map_err(|error| pod_identity_cli::usage_error(&error, &Cli::command(), arguments))
}

/// The `server` of a command line.
///
/// # Errors
/// Fails with the usage error, or with nothing if it is another command or asks for help.
#[cfg(target_os = "linux")]
fn server_of(arguments: &[OsString]) -> Result<Box<Server>, Option<Failure>> {
    match read_cli(arguments)?.command {
        Command::Server(server) => Ok(server),
        _ => Err(None),
    }
}

/// The arguments from the program's own name on.
fn without_runner(arguments: &[OsString]) -> &[OsString] {
    let is_runner =
        |program: &&OsString| Path::new(program).file_name() == Some(OsStr::new("go-runner"));
    match arguments.split_first() {
        Some((_runner, program)) if arguments.first().filter(is_runner).is_some() => program,
        _ => arguments,
    }
}

#[derive(Debug, Parser)]
#[command(name = NAME, version, about, max_term_width = 100, args_override_self = true)]
struct Cli {
    /// How much is logged, as JSON lines
    #[arg(short, long, global = true, value_enum, ignore_case = true, default_value_t = Verbosity::Info)]
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
    Initialize {
        /// Change nothing, and exit with 0 if all is there, or with 1
        #[arg(long)]
        check: bool,
        /// Remove the link, with its addresses and routes
        #[arg(long, conflicts_with = "check")]
        remove: bool,
        /// Kind of the link; ifb is for kernels without the module dummy
        #[arg(long, value_enum, default_value_t = LinkKind::Dummy)]
        link_kind: LinkKind,
        /// Ignored, as by the official agent
        #[arg(hide = true)]
        stray: Vec<OsString>,
    },
    /// Ask the server of this container, at its --probe-socket: whether it is alive or ready, with exit code 0 or
    /// 1, what it does, and how much it logs
    #[cfg(unix)]
    Probe(probe::Probe),
    /// Find out why a pod gets no credentials: checks each step on the way to them and names cause and remedy
    #[command(after_help = EXIT_CODES)]
    Doctor(Doctor),
    /// Try it out: the agent on loopback with an embedded EKS Auth, ready for any AWS SDK
    #[cfg(feature = "dev")]
    Dev(crate::dev::Options),
    /// Print the version
    Version {
        /// Ignored, as by the official agent
        #[arg(hide = true)]
        stray: Vec<OsString>,
    },
}

impl Cli {
    fn run(self, arguments: &[OsString]) -> Result<ExitCode, Failure> {
        let level = self.verbosity.level();
        match self.command {
            Command::Version { .. } => writeln!(io::stdout(), "{}", env!("CARGO_PKG_VERSION"))?,
            Command::Server(server) => server.run(level, arguments)?,
            #[cfg(unix)]
            Command::Probe(probe) => return probe.run(),
            #[cfg(target_os = "linux")]
            Command::Initialize {
                check,
                remove,
                link_kind,
                ..
            } => {
                let _log = start_logging(level, io::stdout())?;
                let is_well = block_on(async {
                    let done = if check {
                        initialize::check().await
                    } else if remove {
                        initialize::remove().await.map(|()| true)
                    } else {
                        initialize::initialize(link_kind).await.map(|()| true)
                    };
                    done.map_err(io::Error::other)
                })?;
                return Ok(if is_well {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                });
            }
            Command::Doctor(doctor) => {
                // What the AWS client logs is not for standard output.
                let _log = start_logging(level, io::stderr())?;
                return doctor.run();
            }
            #[cfg(feature = "dev")]
            Command::Dev(options) => {
                // Standard output belongs to what `dev` prints, or to the command that it runs.
                let _log = start_logging(level, io::stderr())?;
                return block_on(crate::dev::run(options));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn block_on<T, E: From<io::Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = processors.min(MAX_WORKERS);
    #[cfg(unix)]
    check_open_files(NEEDED_FILES)?;
    check_threads(workers + OTHER_THREADS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|error| not_started("the runtime", &error))?;
    runtime.spawn(keep_blocking_thread());
    let done = runtime.block_on(future);
    // Dropping the runtime would wait for threads that the resolver of names blocks, for as long as a name
    // server does not answer.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    done
}

/// Two answer more requests than the pods of a node send. Each occupies 34 KiB, more than half of them in the
/// kernel: one for each processor, tokio's default, is 3 MiB on a node with 96 of them.
const MAX_WORKERS: usize = 4;

/// Keeps a thread of the runtime for work that blocks, such as resolving a name. Runs until dropped.
///
/// tokio ends such a thread when it was idle for a while, and panics if it needs one and the process may not have
/// it. As long as there is one, work waits for it instead.
async fn keep_blocking_thread() {
    loop {
        // Doing nothing does not fail.
        let _done = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(KEEP_INTERVAL).await;
    }
}

/// After how long tokio ends an idle thread.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Half of it, because a process may be stopped for a while. More often would keep more threads than one alive.
const KEEP_INTERVAL: Duration = Duration::from_secs(30);

/// For probes, for metrics, and for work that blocks. Commands that have neither of the first two start only the third.
const OTHER_THREADS: usize = 3;

/// `server` has 20 when it has started, and needs more for connections.
#[cfg(unix)]
const NEEDED_FILES: usize = 32;

/// How long the end of the process waits for tasks that are being dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// Starts logging. Dropping the returned writer ends it, after it has written what is left.
fn start_logging(level: LevelFilter, to: impl Write + Send + 'static) -> io::Result<LineWriter> {
    let log = line_writer("log", to)?;
    let _unchanged = log_to(level, log.lines(Metrics::lost_lines("log")));
    Ok(log)
}

fn line_writer(name: &str, to: impl Write + Send + 'static) -> io::Result<LineWriter> {
    let writer = LineWriter::start(name, to);
    writer.map_err(|error| not_started(&format!("the thread that writes the {name}"), &error))
}

fn log_to(level: LevelFilter, writer: Lines) -> LogLevel {
    let (subscriber, level) = logging::adjustable_subscriber(level, writer);
    // Another one is there already only where this function runs in a test.
    let _already = tracing::subscriber::set_global_default(subscriber);
    level
}

const EXIT_CODES: &str = "Exit codes: 0 no fault; the first fault is of the environment 3, the token 4, the \
network 5, the agent 6, the association or its role 7, the node 8, EKS Auth or the agent's own credentials 9; \
1 doctor cannot run; 64 wrong usage";

const NAME: &str = "pod-identity-agent";
