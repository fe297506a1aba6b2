use serde_json::Value;

use super::mutation::mutate_pod;
use super::node::{Node, PodError};
use super::{defaults, schema};
use crate::WebhookConfig;

/// Returns the pod that the API server creates from a hand-written manifest: checked and defaulted as the API
/// server does before it calls a webhook, patched by the webhook, and defaulted again.
///
/// [`mutate_pod`] alone takes the pod that the API server sends, and would patch a manifest that no cluster
/// accepts. It is checked for the types of its common members, and for the names that every container needs.
/// Members that Kubernetes does not know are kept, as the API server does unless it is told to be strict.
///
/// ```
/// use pod_identity_testkit::{WebhookConfig, admit_pod};
/// use serde_json::json;
///
/// let config = WebhookConfig::new().identity("shop", "cart");
/// let mut manifest = json!({
///     "metadata": {"name": "cart-0", "namespace": "shop"},
///     "spec": {
///         "serviceAccountName": "cart",
///         "containers": [{"name": "app", "image": "cart:1.0", "env": [{"name": "REPLICAS", "value": 3}]}],
///     },
/// });
/// let error = admit_pod(&manifest, &config).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#""/spec/containers/0/env/0/value" of the pod must be a string"#
/// );
/// manifest["spec"]["containers"][0]["env"][0]["value"] = json!("3");
/// let pod = admit_pod(&manifest, &config)?;
/// assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
/// # Ok::<(), pod_identity_testkit::PodError>(())
/// ```
///
/// # Errors
/// [`PodError`] if the API server refuses the manifest.
pub fn admit_pod(manifest: &Value, config: &WebhookConfig) -> Result<Value, PodError> {
    schema::check(manifest)?;
    check_names(&Node::root(manifest))?;
    let mut pod = manifest.clone();
    defaults::set(&mut pod);
    let patch = mutate_pod(&pod, config)?;
    let mut admitted = patch
        .apply_to(&pod)
        .expect("a patch must fit the pod that it was made for");
    defaults::set(&mut admitted);
    Ok(admitted)
}

fn check_names(pod: &Node<'_>) -> Result<(), PodError> {
    let containers = pod.at("/spec/containers");
    if containers.elements()?.is_empty() {
        return Err(containers.missing());
    }
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in pod.at(list).elements()? {
            require(&container.at("/name"))?;
            require(&container.at("/image"))?;
            for variable in container.at("/env").elements()? {
                require(&variable.at("/name"))?;
            }
        }
    }
    for volume in pod.at("/spec/volumes").elements()? {
        require(&volume.at("/name"))?;
    }
    Ok(())
}

fn require(name: &Node<'_>) -> Result<(), PodError> {
    match name.text()? {
        None | Some("") => Err(name.missing()),
        Some(_name) => Ok(()),
    }
}
