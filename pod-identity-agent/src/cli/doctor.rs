#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pod_identity_cli::{DurationError, Failure, parse_duration_within};

#[cfg(target_os = "linux")]
use super::server::Server;
use crate::doctor::findings::ALL;
#[cfg(target_os = "linux")]
use crate::doctor::node;
use crate::doctor::page;
use crate::doctor::pod;
use crate::doctor::report::Report;
use crate::doctor::surroundings::Surroundings;
use crate::telemetry::json_line::json_line;

/// `doctor`: where it looks, and how it reports.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Where to look
    #[arg(value_enum, default_value_t = Place::Pod)]
    place: Place,
    /// Look into this process of the same pod, from a container that `kubectl debug` has added
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "ID")]
    process: Option<u32>,
    /// Use the credentials once, to show the role
    #[arg(long)]
    get_caller_identity: bool,
    /// How long to wait for one answer, from 1ms to 1m
    #[arg(long, value_parser = timeout, default_value = "2s")]
    timeout: Duration,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// Print cause and remedy of a finding by its code, or of all findings, as Markdown, and check nothing
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = ALL_FINDINGS, value_parser = code)]
    explain: Option<String>,
    /// On a node, the flags of its `server` [default: those of the running one]
    #[cfg(target_os = "linux")]
    #[arg(last = true, value_name = "SERVER FLAGS")]
    flags: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    /// The application's container: from its environment to its credentials
    Pod,
    /// The network of the node: from the agent's link to EKS Auth
    #[cfg(target_os = "linux")]
    Node,
}

impl Doctor {
    /// # Errors
    /// Fails if what is to be looked into cannot be read, or the report not be written.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if let Some(code) = &self.explain {
            io::stdout().write_all(explanation(code).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let report = match self.place {
            Place::Pod => self.examine_pod()?,
            #[cfg(target_os = "linux")]
            Place::Node => self.examine_node()?,
        };
        let text = match self.json {
            true => json_line(&report.to_json()),
            false => report.to_string(),
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::from(report.exit_code()))
    }

    fn examine_pod(&self) -> Result<Report, Failure> {
        let around = self.surroundings()?;
        super::block_on(async { Ok(pod::examine(around, self.get_caller_identity).await) })
    }

    #[cfg(target_os = "linux")]
    fn examine_node(&self) -> Result<Report, Failure> {
        let (server, has_cluster) = self.server()?;
        let eks_auth = Arc::new(server.client_of_eks_auth()?);
        let agent = server.listens_at();
        let keys = server.sources_of_keys(&eks_auth)?;
        let around = self.own_surroundings();
        super::block_on(async {
            Ok(node::examine(around, agent, eks_auth, has_cluster, keys).await)
        })
    }

    /// The `server` whose node this is, and whether its cluster is known.
    #[cfg(target_os = "linux")]
    fn server(&self) -> Result<(Box<Server>, bool), Failure> {
        let of = |flags: &[OsString]| {
            let program = ["doctor node --", "server"].map(OsString::from);
            super::server_of(&[&program[..], flags].concat())
                .map_err(|failure| failure.unwrap_or_else(|| Failure::usage(NO_FLAGS)))
        };
        if !self.flags.is_empty() {
            let server = of(&self.flags)?;
            return Ok((server, true));
        }
        match running_server() {
            Some(server) => Ok((server, true)),
            None => {
                let unnamed = ["--cluster-name", "unknown"].map(OsString::from);
                Ok((of(&unnamed)?, false))
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn surroundings(&self) -> Result<Surroundings, Failure> {
        match self.process {
            None => Ok(self.own_surroundings()),
            Some(id) => Surroundings::of_process(id, self.timeout).map_err(|error| {
                Failure::new(1, format!(
                    "the environment of process {id} cannot be read: {error}; run as its user, or with \
                     CAP_SYS_PTRACE, in a container that shares its processes (kubectl debug --target)"
                ))
            }),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn surroundings(&self) -> Result<Surroundings, Failure> {
        Ok(self.own_surroundings())
    }

    fn own_surroundings(&self) -> Surroundings {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Surroundings::new(variables, self.timeout)
    }
}

fn explanation(code: &str) -> String {
    match ALL.iter().find(|one| one.code == code) {
        Some(finding) => page::entry(finding),
        None => page::page(),
    }
}

/// The command line of an agent that runs on this node, if this process can see it: in the agent's container,
/// or with the process namespace of the node. An agent of another network is another node's, as under `kind`,
/// or a test's.
#[cfg(target_os = "linux")]
fn running_server() -> Option<Box<Server>> {
    let own_network = network_of("self").ok();
    let mut processes = procfs::process::all_processes().ok()?.flatten();
    processes.find_map(|process| {
        let arguments = process.cmdline().ok()?.into_iter().map(OsString::from);
        let is_here = match network_of(&process.pid.to_string()) {
            Ok(network) => own_network.as_ref().is_none_or(|own| *own == network),
            // That of another user's process may not be read, so it counts as this one. A process that has ended
            // has none.
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        };
        is_here.then(|| server_in(&arguments.collect::<Vec<_>>()))?
    })
}

/// The network namespace of a process.
#[cfg(target_os = "linux")]
fn network_of(process: &str) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net"))
}

/// The server that a process with these arguments is, also under the official DaemonSet's command
/// `/go-runner /eks-pod-identity-agent server`.
#[cfg(target_os = "linux")]
fn server_in(arguments: &[OsString]) -> Option<Box<Server>> {
    let program = super::without_runner(arguments).first()?;
    if !program.to_string_lossy().ends_with("pod-identity-agent") {
        return None;
    }
    super::server_of(arguments).ok()
}

/// The code of a finding, or [`ALL_FINDINGS`].
fn code(text: &str) -> Result<String, String> {
    if text == ALL_FINDINGS || ALL.iter().any(|one| one.code == text) {
        return Ok(text.to_owned());
    }
    let codes: Vec<_> = ALL.iter().map(|one| one.code).collect();
    Err(format!("expected one of {}", codes.join(", ")))
}

#[cfg(target_os = "linux")]
const NO_FLAGS: &str = "after `--`, flags of the command `server` are expected (see server --help)";

const ALL_FINDINGS: &str = "all";

fn timeout(text: &str) -> Result<Duration, DurationError> {
    parse_duration_within(Duration::from_millis(1)..=Duration::from_secs(60), text)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_under_the_command_of_the_official_daemonset_and_under_its_own() {
        let found = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            server_in(&arguments).is_some()
        };
        let server = [
            "/eks-pod-identity-agent",
            "server",
            "--cluster-name",
            "shop",
        ];
        assert!(found(&server));
        assert!(found(&[&["/go-runner"], &server[..]].concat()));
        assert!(!found(&["/go-runner", "/kube-proxy", "server"]));
        assert!(!found(&["/eks-pod-identity-agent", "doctor", "node"]));
        assert!(!found(&["/go-runner"]) && !found(&[]));
    }
}
