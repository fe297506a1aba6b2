use std::collections::BTreeMap;
use std::time::Duration;

use pod_identity_core::variables;
use serde_json::Value;

use super::mutation::{DEFAULT, is_windows, windows_path};
use super::node::{Node, PodError};
use crate::{Issuer, ProjectedVolume, TokenBuilder};

/// The environment of a container's processes, and the token that kubelet projects for them.
///
/// It lets a test run the code under test with the environment and token of a patched manifest, on this machine
/// and without a cluster.
///
/// ```
/// use pod_identity_core::{Clock, SystemClock};
/// use pod_identity_testkit::{Issuer, PodContainer, ProjectedVolume, WebhookConfig, mutate_pod};
/// use serde_json::json;
///
/// let pod = json!({
///     "metadata": {"name": "cart-0", "namespace": "shop"},
///     "spec": {"serviceAccountName": "cart", "containers": [{"name": "app"}]},
/// });
/// let config = WebhookConfig::new().identity("shop", "cart");
/// let patched = mutate_pod(&pod, &config)?.apply_to(&pod)?;
///
/// let container = PodContainer::of(&patched, "app")?;
/// let token = container.token_builder(&Issuer::new()).expect("the webhook mounts one");
/// let volume = ProjectedVolume::new()?;
/// volume.write(token.mint(SystemClock.now()))?;
/// let env = container.env_with(&volume);
/// assert!(std::fs::exists(&env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PodContainer {
    namespace: String,
    service_account: String,
    pod: Option<String>,
    env: BTreeMap<String, String>,
    token: Option<MountedToken>,
}

/// A projected token at the path that `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountedToken {
    /// The path in the container.
    pub path: String,
    /// The audience.
    pub audience: String,
    /// The lifetime. kubelet replaces the token at 80 % of it, and after 24 hours at the latest.
    pub lifetime: Duration,
}

impl PodContainer {
    /// Returns the container or init container of this name.
    ///
    /// # Errors
    /// [`PodError`] if the pod has none, or the manifest is not that of a pod.
    pub fn of(pod: &Value, container: &str) -> Result<Self, PodError> {
        let pod = Node::root(pod);
        let node = find(&pod, container)?;
        let owned = |pointer: &str| pod.at(pointer).text().map(|text| text.map(str::to_owned));
        let env = env(&node)?;
        Ok(Self {
            namespace: owned("/metadata/namespace")?.unwrap_or_else(|| DEFAULT.to_owned()),
            service_account: owned("/spec/serviceAccountName")?
                .unwrap_or_else(|| DEFAULT.to_owned()),
            pod: owned("/metadata/name")?,
            token: match env.get(variables::TOKEN_FILE) {
                Some(path) => token_at(&pod, &node, path)?,
                None => None,
            },
            env,
        })
    }

    /// Returns the variables that have a value in the manifest. It leaves out those with `valueFrom`, and does not
    /// expand `$(…)`.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Returns the token at the path of `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`, or `None` if the variable is not
    /// set or no projected token is mounted there.
    pub fn token(&self) -> Option<&MountedToken> {
        self.token.as_ref()
    }

    /// Returns a builder of the token that kubelet requests: of the pod's service account, bound to the pod, with the
    /// audience and lifetime of the volume. `None` if there is no [`token`](Self::token).
    pub fn token_builder(&self, issuer: &Issuer) -> Option<TokenBuilder> {
        let token = self.token.as_ref()?;
        let builder = issuer
            .token(&self.namespace, &self.service_account)
            .audience(&token.audience)
            .lifetime(token.lifetime);
        Some(match &self.pod {
            Some(pod) => builder.pod(pod),
            None => builder,
        })
    }

    /// Returns [`env`](Self::env) with the path of the token in a volume of this machine instead of the
    /// container's.
    pub fn env_with(&self, volume: &ProjectedVolume) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        if self.token.is_some() {
            let path = volume.token_path().to_string_lossy().into_owned();
            env.insert(variables::TOKEN_FILE.to_owned(), path);
        }
        env
    }
}

fn find<'a>(pod: &Node<'a>, name: &str) -> Result<Node<'a>, PodError> {
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in pod.at(list).elements()? {
            if container.at("/name").text()? == Some(name) {
                return Ok(container);
            }
        }
    }
    Err(PodError::NoContainer(name.to_owned()))
}

/// Returns the environment. The last one of several variables with one name counts.
fn env(container: &Node<'_>) -> Result<BTreeMap<String, String>, PodError> {
    let mut env = BTreeMap::new();
    for variable in container.at("/env").elements()? {
        let Some(name) = variable.at("/name").text()? else {
            continue;
        };
        if variable.at("/valueFrom").exists() {
            env.remove(name);
            continue;
        }
        let value = variable.at("/value").text()?.unwrap_or_default();
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(env)
}

/// Returns the token that is mounted at a path of a container.
fn token_at(
    pod: &Node<'_>,
    container: &Node<'_>,
    path: &str,
) -> Result<Option<MountedToken>, PodError> {
    let windows = is_windows(pod)?;
    for mount in container.at("/volumeMounts").elements()? {
        let name = mount.at("/name").text()?.unwrap_or_default();
        let directory = mount.at("/mountPath").text()?.unwrap_or_default();
        for token in projected_tokens(pod, name)? {
            let file = token.at("/path").text()?.unwrap_or_default();
            let file = format!("{}/{file}", directory.trim_end_matches('/'));
            if file == path || windows && windows_path(&file) == path {
                return mounted(&token, path).map(Some);
            }
        }
    }
    Ok(None)
}

/// Returns the tokens in the volume of this name.
fn projected_tokens<'a>(pod: &Node<'a>, volume: &str) -> Result<Vec<Node<'a>>, PodError> {
    let mut tokens = Vec::new();
    for known in pod.at("/spec/volumes").elements()? {
        if known.at("/name").text()? == Some(volume) {
            let sources = known.at("/projected/sources").elements()?;
            tokens.extend(
                sources
                    .iter()
                    .map(|source| source.at("/serviceAccountToken")),
            );
        }
    }
    tokens.retain(Node::exists);
    Ok(tokens)
}

/// Applies the defaults of Kubernetes' `ServiceAccountTokenProjection`.
fn mounted(token: &Node<'_>, path: &str) -> Result<MountedToken, PodError> {
    let audience = token.at("/audience").text()?;
    let lifetime = token.at("/expirationSeconds").number()?;
    Ok(MountedToken {
        path: path.to_owned(),
        audience: audience.unwrap_or(API_SERVER).to_owned(),
        lifetime: Duration::from_secs(lifetime.unwrap_or(3_600)),
    })
}

/// The audience of a token that names none.
const API_SERVER: &str = "https://kubernetes.default.svc";
