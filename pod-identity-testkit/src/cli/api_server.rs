use std::io;
use std::process::ExitCode;

use clap::Args;
use pod_identity_cli::Signals;
use serde_json::{Map, json};

use super::issuer::IssuerOptions;
use super::parent::Parent;
use super::pod::{self, Listen};
use super::ready;
use crate::MockApiServer;

/// The flags of `api-server`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    issuer: IssuerOptions,
    /// Version of Kubernetes [default: v1.34.1-eks-0000000]
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<String>,
    /// Another name or address of the generated certificate; may be repeated
    #[arg(long)]
    name: Vec<String>,
    /// Add a node, as name or name=taint,taint, where a taint is key:effect or key=value:effect; may be repeated
    #[arg(long, value_parser = node)]
    node: Vec<Node>,
    /// Add a running pod, as namespace/name@node; may be repeated
    #[arg(long, value_parser = running_pod)]
    pod: Vec<RunningPod>,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    taints: Vec<String>,
}

#[derive(Debug, Clone)]
struct RunningPod {
    identity: (String, String),
    node: String,
}

/// Serves until a signal, or until the process that started it has ended.
///
/// # Errors
/// Fails if the mock cannot listen, keys cannot be read, or standard output is closed.
pub(super) async fn serve(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let parent = Parent::watch()?;
    let issuer = options.issuer.start(REGION).await?;
    let mut builder = MockApiServer::builder()
        .listener(options.listen.listener().await?)
        // It has no admin endpoint, so nobody can read the records.
        .record_limit(0);
    if let Some(issuer) = &issuer {
        builder = builder.issuer(issuer.issuer.clone());
    }
    if let Some(version) = options.kubernetes_version {
        builder = builder.version(version);
    }
    for name in options.name {
        builder = builder.name(name);
    }
    let api_server = builder.start().await?;
    for Node { name, taints } in &options.node {
        let taints: Vec<&str> = taints.iter().map(String::as_str).collect();
        api_server.add_node(name, &taints);
    }
    for RunningPod { identity, node } in &options.pod {
        api_server.add_pod(&identity.0, &identity.1, node);
    }
    let env = api_server
        .env()
        .map(|(name, value)| (name.to_owned(), json!(value)));
    ready::say(Map::from_iter([
        ("endpoint".to_owned(), json!(api_server.url())),
        (
            "certificate_pem".to_owned(),
            json!(api_server.certificate_pem()),
        ),
        (
            "service_account_dir".to_owned(),
            json!(api_server.service_account_dir()),
        ),
        ("env".to_owned(), Map::from_iter(env).into()),
        ("unset".to_owned(), json!([])),
    ]))?;
    tokio::select! {
        () = signals.shutdown() => {}
        () = parent.gone() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn node(text: &str) -> Result<Node, String> {
    let (name, taints) = text.split_once('=').unwrap_or((text, ""));
    let taints: Vec<String> = taints
        .split(',')
        .filter(|taint| !taint.is_empty())
        .map(str::to_owned)
        .collect();
    let is_taint = |taint: &String| {
        taint
            .split_once(':')
            .is_some_and(|(key, _)| !key.is_empty())
    };
    match !name.is_empty() && taints.iter().all(is_taint) {
        true => Ok(Node {
            name: name.to_owned(),
            taints,
        }),
        false => Err("expected name or name=taint,taint, such as \
             node-1=eks.amazonaws.com/pod-identity-not-ready:NoExecute"
            .to_owned()),
    }
}

fn running_pod(text: &str) -> Result<RunningPod, String> {
    let parsed = text.split_once('@').and_then(|(identity, node)| {
        Some(RunningPod {
            identity: pod::identity(identity).ok()?,
            node: node.to_owned(),
        })
    });
    parsed.ok_or_else(|| "expected namespace/name@node, such as shop/cart-0@node-1".to_owned())
}

/// Of the URL of an issuer that no flag names.
const REGION: &str = "us-west-2";
