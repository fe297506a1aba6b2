//! The command line: that of the official agent, and `dev`.

mod env;
mod kubernetes;
mod pflag;
#[cfg(unix)]
mod probe;
mod server;
mod values;
mod verbosity;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pod_identity_cli::Failure;
use tracing_subscriber::filter::LevelFilter;

use self::server::Server;
use self::verbosity::Verbosity;
use crate::logging;
use crate::telemetry::line_writer::{LineWriter, Lines};
use crate::telemetry::metrics::Metrics;

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code:
/// 0, 64 for a usage error, 1 for any other failure, or that of the command which `dev` ran.
///
/// Called by the name `go-runner`, the program is the one that its first argument names: the official
/// DaemonSet's command is `/go-runner /eks-pod-identity-agent server`, so an image with this program under
/// both names runs there.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let runner = usize::from(arguments.first().is_some_and(is_runner));
    let cli: Cli = match pod_identity_cli::parse(arguments.iter().skip(runner).cloned()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if matches!(cli.command, Command::Server(_)) {
        env::restart_without_blank_variables(&arguments);
    }
    cli.run().unwrap_or_else(|failure| failure.report(NAME))
}

fn is_runner(program: &OsString) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("go-runner"))
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
        /// Ignored, as by the official agent
        #[arg(hide = true)]
        stray: Vec<OsString>,
    },
    /// Ask the server of this container, at its --probe-socket, whether it is alive or ready: exit code 0 or 1
    #[cfg(unix)]
    Probe(probe::Probe),
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
    fn run(self) -> Result<ExitCode, Failure> {
        let level = self.verbosity.level();
        match self.command {
            Command::Version { .. } => writeln!(io::stdout(), "{}", env!("CARGO_PKG_VERSION"))?,
            Command::Server(server) => server.run(level)?,
            #[cfg(unix)]
            Command::Probe(probe) => return probe.run(),
            #[cfg(target_os = "linux")]
            Command::Initialize { .. } => {
                let _log = start_logging(level, io::stdout())?;
                block_on(async {
                    let done = crate::node::initialize::initialize().await;
                    done.map_err(io::Error::other)
                })?;
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(future);
    // Dropping the runtime would wait for threads that the resolver of names blocks, for as long as a name
    // server does not answer.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    done
}

/// How long the end of the process waits for tasks that are being dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(100);

/// Starts logging. Dropping the returned writer ends it, after it has written what is left.
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

const NAME: &str = "pod-identity-agent";
