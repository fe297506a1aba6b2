use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pod_identity_cli::{Signals, parse_duration};
use serde_json::{Map, json};

use super::admin::Admin;
use super::controls::WebhookControls;
use super::moving_clock::MovingClock;
use super::parent::Parent;
use super::pod::{self, Listen, Record};
use super::ready;
use crate::{MockWebhook, WebhookConfig};

/// The flags of `webhook`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    record: Record,
    /// Service account whose pods are mutated, as namespace/service-account; may be repeated
    #[arg(long, value_parser = pod::identity)]
    identity: Vec<(String, String)>,
    /// Configuration file of the webhook; read for each request
    #[arg(long, conflicts_with = "identity")]
    identities_file: Option<PathBuf>,
    /// Another name or address of the generated certificate; may be repeated
    #[arg(long)]
    name: Vec<String>,
    /// File of the certificate, in PEM; generated there if it and the key are missing [default: a new one
    /// at each start]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// File of the certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve HTTP without TLS
    #[arg(long, conflicts_with_all = ["cert", "name"])]
    plain: bool,
    /// AWS_REGION and AWS_DEFAULT_REGION of the containers [default: not injected]
    #[arg(long)]
    region: Option<String>,
    /// URI of the node agent [default: http://169.254.170.23/v1/credentials]
    #[arg(long, value_name = "URI", conflicts_with = "ipv6")]
    full_uri: Option<String>,
    /// Use the node agent's IPv6 address, as in a cluster with IPv6
    #[arg(long)]
    ipv6: bool,
    /// Audience of the token [default: pods.eks.amazonaws.com]
    #[arg(long)]
    audience: Option<String>,
    /// Directory of the token's volume in the containers
    /// [default: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount]
    #[arg(long, value_name = "PATH")]
    mount_path: Option<String>,
    /// Name of the token's volume [default: eks-pod-identity-token]
    #[arg(long, value_name = "NAME")]
    volume_name: Option<String>,
    /// Name of the token's file in the volume [default: eks-pod-identity-token]
    #[arg(long, value_name = "PATH")]
    token_path: Option<String>,
    /// Lifetime of the tokens, at least 10m; 24h becomes 22h to 24h at random [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    token_lifetime: Option<Duration>,
    /// Inject AWS_STS_REGIONAL_ENDPOINTS=regional
    #[arg(long)]
    sts_regional_endpoints: bool,
    /// Prefix of the annotations that the webhook reads [default: eks.amazonaws.com]
    #[arg(long, value_name = "PREFIX")]
    annotation_prefix: Option<String>,
    /// An annotation of a service account, as namespace/service-account:key=value; may be repeated
    #[arg(long, value_name = "ANNOTATION", value_parser = annotation)]
    annotate: Vec<Annotation>,
}

/// An annotation of a service account, whose manifest the mock does not see.
#[derive(Debug, Clone)]
struct Annotation {
    identity: (String, String),
    key: String,
    value: String,
}

type Setter = fn(WebhookConfig, String) -> WebhookConfig;

impl Options {
    fn config(&self) -> WebhookConfig {
        let mut config = WebhookConfig::new().sts_regional_endpoints(self.sts_regional_endpoints);
        for (namespace, service_account) in &self.identity {
            config = config.identity(namespace, service_account);
        }
        for Annotation {
            identity,
            key,
            value,
        } in &self.annotate
        {
            config = config.annotate(&identity.0, &identity.1, key, value);
        }
        if self.ipv6 {
            config = config.ipv6();
        }
        if let Some(lifetime) = self.token_lifetime {
            config = config.token_expiration(lifetime.as_secs());
        }
        let set: [(&Option<String>, Setter); 7] = [
            (&self.region, WebhookConfig::region),
            (&self.full_uri, WebhookConfig::full_uri),
            (&self.audience, WebhookConfig::audience),
            (&self.mount_path, WebhookConfig::mount_path),
            (&self.volume_name, WebhookConfig::volume_name),
            (&self.token_path, WebhookConfig::token_path),
            (&self.annotation_prefix, WebhookConfig::annotation_prefix),
        ];
        set.into_iter()
            .fold(config, |config, (value, set)| match value {
                Some(value) => set(config, value.clone()),
                None => config,
            })
    }
}

/// Serves until a signal, or until the process that started it has ended.
///
/// # Errors
/// If the mock cannot listen, the certificate cannot be used, or standard output is closed.
pub(super) async fn serve(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let parent = Parent::watch()?;
    let listener = options.listen.listener().await?;
    let mut builder = MockWebhook::builder(options.config())
        .unverified()
        .record_limit(options.record.limit())
        .listener(listener);
    if let (Some(certificate), Some(key)) = (options.cert, options.key) {
        builder = builder.certificate_files(certificate, key);
    }
    for name in options.name {
        builder = builder.name(name);
    }
    if let Some(path) = options.identities_file {
        builder = builder.identities_file(path);
    }
    if options.plain {
        builder = builder.plain();
    }
    let clock = Arc::new(MovingClock::default());
    let webhook = builder.clock(clock.clone()).start().await?;
    let mut line = Map::from_iter([
        ("endpoint".to_owned(), json!(webhook.uri())),
        ("env".to_owned(), json!({})),
        (
            "certificate_pem".to_owned(),
            json!(webhook.certificate_pem()),
        ),
        ("unset".to_owned(), json!([])),
    ]);
    let admin = Admin::start(WebhookControls(webhook), clock).await?;
    line.insert("admin".to_owned(), admin.to_json());
    ready::say(line)?;
    tokio::select! {
        () = signals.shutdown() => {}
        () = parent.gone() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn annotation(text: &str) -> Result<Annotation, String> {
    let parsed = text.split_once(':').and_then(|(identity, annotation)| {
        let (key, value) = annotation.split_once('=')?;
        Some(Annotation {
            identity: pod::identity(identity).ok()?,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    });
    parsed.ok_or_else(|| {
        "expected namespace/service-account:key=value, such as \
         shop/cart:eks.amazonaws.com/token-expiration=3600"
            .to_owned()
    })
}
