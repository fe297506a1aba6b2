//! The command line of the program `pod-identity-testkit`: the mocks for tests in any language.

mod admin;
mod agent;
mod child;
mod controls;
mod eks;
mod environment;
mod moving_clock;
mod parent;
mod pod;
mod pod_volume;
mod ready;
mod report;
mod signals;
mod token;
#[cfg(feature = "webhook")]
mod webhook;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

/// Runs the program with these arguments, the first being its own name, and returns its exit code:
/// 0, 64 for a wrong command line (`EX_USAGE` of sysexits.h), 1 for anything else that stops it, or that
/// of the command which `run` ran.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Agent(options) => block_on(agent::serve(options)),
        Command::Eks(options) => block_on(eks::serve(options)),
        Command::Token(options) => token::print(&options),
        Command::Run(options) => block_on(child::run(options)),
        #[cfg(feature = "webhook")]
        Command::Webhook(options) => block_on(webhook::serve(options)),
    };
    done.unwrap_or_else(|error| {
        let _unwritten = writeln!(io::stderr(), "{NAME}: {error}");
        ExitCode::FAILURE
    })
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
    /// Serve the mutating webhook
    #[cfg(feature = "webhook")]
    Webhook(webhook::Options),
}

fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// Help goes to standard output; a usage error is one line with its cause and, where there is one, its
/// cure.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _unwritten = error.print();
        return ExitCode::SUCCESS;
    }
    let _unwritten = writeln!(io::stderr(), "{}", one_line(error));
    ExitCode::from(EX_USAGE)
}

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
    format!("{NAME}: {cause}{suggestion} (see --help)")
}

const NAME: &str = "pod-identity-testkit";
const ABOUT: &str = "Mocks of Amazon EKS Pod Identity on loopback, for tests in any language";
const EX_USAGE: u8 = 64;
