use std::path::PathBuf;

use clap::Args;
use pod_identity_cli::{Failure, variable};
use pod_identity_core::KubernetesName;

use super::pflag;
use crate::{AgentBuilder, ApiServer};

/// The flags of what the agent does with the API server of its cluster.
#[derive(Debug, Args)]
pub(super) struct KubernetesFlags {
    /// Watch the pods of this node, and renew no credentials of pods that are gone [default: POD_LIVENESS_CHECK]
    #[arg(long, num_args = 0..=1, require_equals = true, value_parser = pflag::boolean, default_missing_value = "true")]
    pod_liveness_check: Option<bool>,
    /// Remove the taint of this key from this node when the agent is ready
    /// [without a value: eks.amazonaws.com/pod-identity-not-ready]
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "KEY", default_missing_value = STARTUP_TAINT)]
    startup_taint: Option<String>,
    /// URL of the API server [default: from KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT]
    #[arg(long, value_name = "URL")]
    kubernetes_api: Option<String>,
    /// Directory with the token and the certificate authority of the agent's service account
    #[arg(long, value_name = "DIRECTORY", default_value = ApiServer::SERVICE_ACCOUNT)]
    kubernetes_service_account: PathBuf,
}

/// What the flags ask for.
#[derive(Debug)]
pub(super) struct KubernetesTasks {
    api_server: ApiServer,
    node: KubernetesName,
    is_watching: bool,
    startup_taint: Option<String>,
}

impl KubernetesFlags {
    /// Returns what is asked for, or `None` if that is nothing.
    ///
    /// # Errors
    /// Fails with a usage error if the name of the node or the API server is not known, or not valid.
    pub(super) fn tasks(&self, node: Option<String>) -> Result<Option<KubernetesTasks>, Failure> {
        let is_watching = self.is_watching()?;
        let startup_taint = self.startup_taint.clone().filter(|key| !key.is_empty());
        let flag = match (is_watching, &startup_taint) {
            (true, _) => "--pod-liveness-check",
            (_, Some(_)) => "--startup-taint",
            _ => return Ok(None),
        };
        let node = node.ok_or_else(|| {
            Failure::usage(format!(
                "{flag} needs the name of this node; set --node-name or NODE_NAME"
            ))
        })?;
        let node = KubernetesName::subdomain(&node).ok_or_else(|| {
            Failure::usage(format!(
                "{flag} needs the name of this node as Kubernetes has it, and {node:?} is no such name; \
                 correct --node-name or NODE_NAME"
            ))
        })?;
        Ok(Some(KubernetesTasks {
            api_server: self.api_server(flag)?,
            node,
            is_watching,
            startup_taint,
        }))
    }

    /// Returns the API server.
    ///
    /// # Errors
    /// Fails with a usage error if its address is not known, or not valid. `flag` is what needs it.
    fn api_server(&self, flag: &str) -> Result<ApiServer, Failure> {
        let (name, url) = match &self.kubernetes_api {
            Some(url) => ("--kubernetes-api", url.clone()),
            None => ("KUBERNETES_SERVICE_HOST", in_cluster_url(flag)?),
        };
        ApiServer::new(&url, &self.kubernetes_service_account)
            .map_err(|error| Failure::usage(format!("{name} is not valid: {error}")))
    }

    /// Returns the API server if a flag or the environment names it.
    ///
    /// # Errors
    /// Fails with a usage error if that is not a URL.
    pub(super) fn known_api_server(&self) -> Result<Option<ApiServer>, Failure> {
        let is_in_cluster = variable("KUBERNETES_SERVICE_HOST").is_some();
        match self.kubernetes_api.is_some() || is_in_cluster {
            true => self.api_server("--verify-tokens").map(Some),
            false => Ok(None),
        }
    }

    fn is_watching(&self) -> Result<bool, Failure> {
        const NAME: &str = "POD_LIVENESS_CHECK";
        if let Some(is_watching) = self.pod_liveness_check {
            return Ok(is_watching);
        }
        let value = variable(NAME).map(|text| pflag::boolean(text.trim()));
        value
            .transpose()
            .map(Option::unwrap_or_default)
            .map_err(|error| Failure::usage(format!("{NAME} is not valid: {error}")))
    }
}

impl KubernetesTasks {
    pub(super) fn apply_to(self, builder: AgentBuilder) -> AgentBuilder {
        let Self {
            api_server,
            node,
            is_watching,
            startup_taint,
        } = self;
        let builder = match is_watching {
            true => builder.watch_pods(api_server.clone(), node.clone()),
            false => builder,
        };
        match startup_taint {
            Some(key) => builder.startup_taint(api_server, node, key),
            None => builder,
        }
    }
}

/// The URL that the variables of every pod name.
fn in_cluster_url(flag: &str) -> Result<String, Failure> {
    let host = variable("KUBERNETES_SERVICE_HOST").ok_or_else(|| {
        Failure::usage(format!(
            "{flag} needs the API server, and KUBERNETES_SERVICE_HOST is not set, as it is in every pod; set \
             --kubernetes-api"
        ))
    })?;
    let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    Ok(match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    })
}

/// The prefix is that of the taints and labels of EKS.
const STARTUP_TAINT: &str = "eks.amazonaws.com/pod-identity-not-ready";
