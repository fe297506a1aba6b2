//! The command line of the program `pod-identity-testkit`: the mocks for tests in any language.

mod admin;
mod agent;
#[cfg(feature = "api-server")]
mod api_server;
mod associations_file;
mod body;
mod child;
mod cluster_controls;
mod controls;
mod download;
mod eks;
mod identities_file;
mod issuer;
mod moving_clock;
#[cfg(feature = "assume-role")]
mod own_account;
mod parent;
mod pod;
mod pod_volume;
mod ready;
mod report;
mod token;
#[cfg(feature = "webhook")]
mod webhook;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pod_identity_cli::Failure;

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code:
/// 0, 64 for a usage error, 1 for any other failure, or that of the command which `run` ran.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match pod_identity_cli::parse(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = match cli.command {
        Command::Agent(options) => block_on(agent::serve(options)),
        Command::Eks(options) => block_on(eks::serve(options)),
        Command::Token(options) => token::print(&options).map_err(Failure::from),
        Command::Run(options) => block_on(child::run(options)),
        #[cfg(feature = "api-server")]
        Command::ApiServer(options) => block_on(api_server::serve(options)),
        #[cfg(feature = "webhook")]
        Command::Webhook(options) => block_on(webhook::serve(options)),
    };
    done.unwrap_or_else(|failure| failure.report(NAME))
}

#[derive(Debug, Parser)]
#[command(name = NAME, version, about = ABOUT, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a pod's credentials, as the node agent does, with faults on demand
    Agent(agent::Options),
    /// Serve the AWS side of a cluster: EKS Auth, associations, get-caller-identity
    Eks(eks::Options),
    /// Print a projected service-account token
    Token(token::Options),
    /// Run a command in a pod's environment, with a mock of the node agent
    Run(child::Options),
    /// Serve what a node agent asks an API server for: the cluster's keys, version, pods and nodes
    #[cfg(feature = "api-server")]
    ApiServer(api_server::Options),
    /// Serve the mutating webhook
    #[cfg(feature = "webhook")]
    Webhook(webhook::Options),
}

fn block_on<E: Into<Failure>>(
    command: impl Future<Output = Result<ExitCode, E>>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command).map_err(Into::into)
}

const NAME: &str = "pod-identity-testkit";
const ABOUT: &str = "Mocks of Amazon EKS Pod Identity on loopback, for tests in any language";
