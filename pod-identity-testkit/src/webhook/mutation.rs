use serde_json::{Value, json};

use super::config::{DEFAULT_EXPIRATION, MIN_EXPIRATION};
use super::identity::Identity;
use super::injection::Injection;
use super::node::{Node, PodError};
use super::skipped;
use crate::{JsonPatch, WebhookConfig};

/// Returns the patch of EKS's mutating webhook for a pod: it gives the containers the node agent's URI and a
/// token. The patch is empty if the configuration does not have the pod's service account.
///
/// The pod is JSON as the API server sends it. Namespace and service account default to `default`, as in the API
/// server. A patched container is the original with its additions and with `resources`, which Go always writes;
/// the patches equal the official ones as JSON values, not in the order of members.
///
/// It implements the container-credentials mode of `aws/amazon-eks-pod-identity-webhook` (2026-08), without IAM
/// roles for service accounts and workload identities.
///
/// ```
/// use pod_identity_testkit::{WebhookConfig, mutate_pod};
/// use serde_json::json;
///
/// let config = WebhookConfig::new().identity("shop", "cart");
/// let pod = json!({
///     "metadata": {"name": "cart-0", "namespace": "shop"},
///     "spec": {"serviceAccountName": "cart", "containers": [{"name": "app"}]},
/// });
/// let patched = mutate_pod(&pod, &config)?.apply_to(&pod)?;
/// assert_eq!(patched["metadata"]["labels"], json!({"eks.amazonaws.com/pod-identity": "enabled"}));
/// assert_eq!(
///     patched["spec"]["containers"][0]["env"][0],
///     json!({
///         "name": "AWS_CONTAINER_CREDENTIALS_FULL_URI",
///         "value": "http://169.254.170.23/v1/credentials",
///     })
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`PodError`] if a member that the webhook reads has another type than in a pod.
pub fn mutate_pod(pod: &Value, config: &WebhookConfig) -> Result<JsonPatch, PodError> {
    let namespace = Node::root(pod).at("/metadata/namespace").text()?;
    mutate_pod_in(namespace.unwrap_or(DEFAULT), pod, config)
}

/// As [`mutate_pod`], with the namespace of the request instead of the pod's.
pub(crate) fn mutate_pod_in(
    namespace: &str,
    pod: &Value,
    config: &WebhookConfig,
) -> Result<JsonPatch, PodError> {
    let pod = Node::root(pod);
    let account = pod.at("/spec/serviceAccountName").text()?;
    let account = account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT);
    let identity = Identity::new(namespace, account);
    if !config.knows(&identity) {
        return Ok(JsonPatch::default());
    }
    let mutation = Mutation {
        pod,
        identity,
        config,
    };
    mutation.patch()
}

struct Mutation<'a> {
    pod: Node<'a>,
    identity: Identity,
    config: &'a WebhookConfig,
}

impl Mutation<'_> {
    fn patch(&self) -> Result<JsonPatch, PodError> {
        let mut patch = JsonPatch::default();
        self.label(&mut patch)?;
        self.volume(&mut patch)?;
        self.containers(&mut patch)?;
        Ok(patch)
    }

    fn label(&self, patch: &mut JsonPatch) -> Result<(), PodError> {
        match self.pod.at("/metadata/labels").object()? {
            None => patch.add("/metadata/labels", json!({LABEL: "enabled"})),
            Some(_labels) => {
                let path = format!("/metadata/labels/{}", LABEL.replace('/', "~1"));
                patch.add(path, json!("enabled"));
            }
        }
        Ok(())
    }

    fn volume(&self, patch: &mut JsonPatch) -> Result<(), PodError> {
        let volumes = self.pod.at("/spec/volumes");
        if volumes.names()?.contains(&self.config.volume_name.as_str()) {
            return Ok(());
        }
        let token = json!({
            "audience": self.config.audience,
            "expirationSeconds": self.token_expiration()?,
            "path": self.config.token_path,
        });
        let volume = json!({
            "name": self.config.volume_name,
            "projected": {"sources": [{"serviceAccountToken": token}]},
        });
        match volumes.exists() {
            false => patch.add("/spec/volumes", json!([volume])),
            true => patch.add("/spec/volumes/0", volume),
        }
        Ok(())
    }

    fn containers(&self, patch: &mut JsonPatch) -> Result<(), PodError> {
        let skipped = self.annotation("skip-containers")?.map(skipped::names);
        let injection = Injection {
            config: self.config,
            regional_sts: self.regional_sts(),
            token_file: self.token_file()?,
            skipped: skipped.unwrap_or_default(),
        };
        let containers = injection.containers(&self.pod.at("/spec/containers"))?;
        patch.add("/spec/containers", Value::Array(containers));
        let init_containers = injection.containers(&self.pod.at("/spec/initContainers"))?;
        if !init_containers.is_empty() {
            patch.add("/spec/initContainers", Value::Array(init_containers));
        }
        Ok(())
    }

    /// The annotation of the pod, else that of the service account, else the flag.
    fn token_expiration(&self) -> Result<u64, PodError> {
        let of_account = self.config.annotation(&self.identity, TOKEN_EXPIRATION);
        let annotated = self
            .annotation(TOKEN_EXPIRATION)?
            .and_then(seconds)
            .or_else(|| of_account.and_then(seconds));
        Ok(match annotated.unwrap_or(self.config.token_expiration) {
            DEFAULT_EXPIRATION => {
                let earliest = DEFAULT_EXPIRATION - MAX_JITTER;
                self.config.rng().u64(earliest..=DEFAULT_EXPIRATION)
            }
            chosen => chosen,
        })
    }

    fn regional_sts(&self) -> bool {
        let annotation = self.config.annotation(&self.identity, STS_REGIONAL);
        annotation
            .and_then(boolean)
            .unwrap_or(self.config.regional_sts)
    }

    fn token_file(&self) -> Result<String, PodError> {
        let mount_path = self.config.mount_path.trim_end_matches('/');
        let path = format!("{mount_path}/{}", self.config.token_path);
        Ok(match is_windows(&self.pod)? {
            true => windows_path(&path),
            false => path,
        })
    }

    /// Returns an annotation of the pod, by its key without the prefix.
    fn annotation(&self, name: &str) -> Result<Option<&str>, PodError> {
        let annotations = self.pod.at("/metadata/annotations");
        annotations.entry(&self.config.annotation_key(name))
    }
}

/// Returns whether a pod selects Windows nodes.
pub(crate) fn is_windows(pod: &Node<'_>) -> Result<bool, PodError> {
    let selector = pod.at("/spec/nodeSelector");
    for label in ["beta.kubernetes.io/os", "kubernetes.io/os"] {
        if selector.entry(label)? == Some("windows") {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn windows_path(path: &str) -> String {
    format!("C:{}", path.replace('/', "\\"))
}

/// Parses as Go's `strconv.ParseInt`, and raises the result to 600: a negative number is too short, not malformed.
fn seconds(annotation: &str) -> Option<u64> {
    let seconds: i64 = annotation.parse().ok()?;
    Some(u64::try_from(seconds).map_or(MIN_EXPIRATION, |seconds| seconds.max(MIN_EXPIRATION)))
}

/// Parses as Go's `strconv.ParseBool`.
fn boolean(annotation: &str) -> Option<bool> {
    match annotation {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) const DEFAULT: &str = "default";
const LABEL: &str = "eks.amazonaws.com/pod-identity";
const TOKEN_EXPIRATION: &str = "token-expiration";
const STS_REGIONAL: &str = "sts-regional-endpoints";
/// In seconds.
const MAX_JITTER: u64 = 7_200;
