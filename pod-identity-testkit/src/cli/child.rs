use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use clap::Args;
use pod_identity_cli::{Failure, Signals};

use super::NAME;
use super::agent::Mock;
use super::pod::Listen;
use crate::Scenario;

/// The flags of `run`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    mock: Mock,
    /// Succeed although the scenario has a fault that no request has met
    #[arg(long)]
    allow_unused_faults: bool,
    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command in a pod's environment and returns its exit code.
///
/// # Errors
/// Fails if the mock cannot be started, or the command cannot be run.
pub(super) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let no_proxy = pod_identity_cli::no_proxy();
    let builder = options.mock.builder(Listen::LOOPBACK).await?;
    let agent = builder.start().await?;
    let environment = options.mock.environment(&agent, no_proxy.as_deref());
    let scenario = options.mock.file.scenario.as_ref();
    if scenario.is_some_and(Scenario::needs_eks_auth) {
        // A warning, because the same file may also be the scenario of `eks`.
        let _unwritten = writeln!(
            io::stderr(),
            "{NAME}: warning: the faults and expectations of [eks] are not played, because `run` starts no EKS \
             Auth; `{NAME} eks --scenario` does"
        );
    }

    let mut arguments = options.command.into_iter();
    let mut command = Command::new(arguments.next().unwrap_or_default());
    command.args(arguments);
    environment.apply_to(&mut command);
    let code = pod_identity_cli::run(command, &mut signals).await?;
    let broken = agent.handle.broken();
    let all = agent.handle.failures();
    let (failures, remedy) = match all.len() > broken.len() {
        true if !options.allow_unused_faults => (all, ", or pass --allow-unused-faults"),
        _ => (broken, ""),
    };
    if code == ExitCode::SUCCESS && !failures.is_empty() {
        let failures = failures.join("; ");
        let message = format!("the command succeeded, but {failures}{remedy}");
        return Err(Failure::new(1, message));
    }
    Ok(code)
}
