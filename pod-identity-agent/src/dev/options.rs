use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::go_duration;

/// The flags of `dev`. Each has a default that works.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Port of the agent on 127.0.0.1; a free one unless told
    #[arg(short, long, default_value_t = 0)]
    pub(super) port: u16,
    /// Directory of the token volume; a temporary one unless told
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
    /// Lifetime of a service-account token; it is rotated at 80 % of it, as kubelet does
    #[arg(long, value_parser = lifetime, default_value = "24h")]
    pub(super) token_lifetime: Duration,
    /// Lifetime of the credentials
    #[arg(long, value_parser = lifetime, default_value = "6h")]
    pub(super) credential_lifetime: Duration,
    /// Command to run with the environment of such a pod; its exit code becomes ours
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Options {
    pub(super) fn command(&self) -> Option<(&OsStr, &[OsString])> {
        let (program, arguments) = self.command.split_first()?;
        Some((program, arguments))
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match go_duration::parse(text)? {
        short if short < Duration::from_secs(1) => Err("expected at least 1s".to_owned()),
        lifetime => Ok(lifetime),
    }
}
