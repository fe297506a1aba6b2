use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pod_identity_cli::parse_lifetime;
use pod_identity_core::{Clock, SystemClock};

use super::pod::{DEFAULT_REGION, Pod};
use crate::{Issuer, TokenBuilder};

/// The flags of `token`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pod: Pod,
    /// Region of the issuing cluster
    #[arg(long, default_value = DEFAULT_REGION)]
    region: String,
    /// Audience of the token
    #[arg(long, default_value = TokenBuilder::AUDIENCE)]
    audience: String,
    /// Lifetime of the token, as in 20m or 1h30m
    #[arg(long, value_parser = parse_lifetime, default_value = "24h")]
    token_lifetime: Duration,
}

/// Prints only the token.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn print(options: &Options) -> io::Result<ExitCode> {
    let (namespace, service_account) = options.pod.identity(None);
    let token = Issuer::for_region(&options.region)
        .token(namespace, service_account)
        .audience(&options.audience)
        .lifetime(options.token_lifetime)
        .mint(SystemClock.now());
    writeln!(io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}
