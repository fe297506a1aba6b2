use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pod_identity_cli::Signals;
use serde_json::{Map, json};

use super::parent::Parent;
use super::pod;
use super::ready;
use crate::{MockWebhook, WebhookConfig};

/// The flags of `webhook`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Port on 127.0.0.1; a free one unless told
    #[arg(short, long, default_value_t = 0)]
    port: u16,
    /// A service account whose pods are mutated, as namespace/service-account; may be repeated
    #[arg(long, value_parser = pod::identity)]
    identity: Vec<(String, String)>,
    /// The webhook's configuration file instead; changes of it count from the next request on
    #[arg(long, conflicts_with = "identity")]
    identities_file: Option<PathBuf>,
    /// Another name that the certificate is for; may be repeated
    #[arg(long)]
    name: Vec<String>,
    /// Region to inject; none unless told
    #[arg(long)]
    region: Option<String>,
    /// Speak HTTP without TLS
    #[arg(long)]
    plain: bool,
}

/// Serves until a signal, or until the process that started it is gone.
///
/// # Errors
/// When the port is taken, a name cannot be in a certificate, or standard output is closed.
pub(super) async fn serve(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let parent = Parent::watch()?;
    let listener = pod::listen(options.port).await?;
    let mut config = WebhookConfig::new();
    for (namespace, service_account) in options.identity {
        config = config.identity(namespace, service_account);
    }
    if let Some(region) = options.region {
        config = config.region(region);
    }
    let mut builder = MockWebhook::builder(config).listener(listener);
    for name in options.name {
        builder = builder.name(name);
    }
    if let Some(path) = options.identities_file {
        builder = builder.identities_file(path);
    }
    if options.plain {
        builder = builder.plain();
    }
    let webhook = builder.start().await?;
    ready::say(Map::from_iter([
        ("endpoint".to_owned(), json!(webhook.uri())),
        ("env".to_owned(), json!({})),
        (
            "certificate_pem".to_owned(),
            json!(webhook.certificate_pem()),
        ),
    ]))?;
    tokio::select! {
        () = signals.shutdown() => {}
        () = parent.gone() => {}
    }
    Ok(ExitCode::SUCCESS)
}
