use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use pod_identity_cli::{Environment, parse_lifetime};

/// The flags of `dev`. Each has a default that works.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Port of the agent on 127.0.0.1; 0 takes a free one
    #[arg(short, long, default_value_t = 0)]
    pub(super) port: u16,
    /// Directory of the token volume; a temporary one by default
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// Print one JSON object instead of shell lines
    #[arg(long, conflicts_with = "command")]
    pub(super) json: bool,
    /// Name of the cluster
    #[arg(short, long, default_value = "dev")]
    pub(super) cluster_name: String,
    /// Region of the cluster and of the SDKs
    #[arg(long, default_value = "us-west-2")]
    pub(super) region: String,
    /// Namespace of the pod
    #[arg(long, default_value = "default")]
    pub(super) namespace: String,
    /// Service account of the pod
    #[arg(long, default_value = "dev")]
    pub(super) service_account: String,
    /// Role of the association
    #[arg(long, default_value = "arn:aws:iam::111122223333:role/dev")]
    pub(super) role_arn: String,
    /// Lifetime of a service-account token, as in 20m or 1h30m; rotated at 80 % of it, as kubelet does
    #[arg(long, value_parser = parse_lifetime, default_value = "24h")]
    pub(super) token_lifetime: Duration,
    /// Lifetime of the credentials, as in 20m or 1h30m
    #[arg(long, value_parser = parse_lifetime, default_value = "6h")]
    pub(super) credential_lifetime: Duration,
    /// Command to run in the environment of such a pod; its exit code is passed on
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Options {
    /// The command to run in this environment, if there is one.
    pub(super) fn command(&self, environment: &Environment) -> Option<Command> {
        let (program, arguments) = self.command.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments);
        environment.apply_to(&mut command);
        Some(command)
    }
}
