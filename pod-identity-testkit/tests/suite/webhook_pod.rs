//! A pod before and after the webhook.

use pod_identity_testkit::{WebhookConfig, mutate_pod};
use serde_json::{Value, json};

pub(crate) const MOUNT: &str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount";
pub(crate) const VOLUME: &str = "eks-pod-identity-token";

pub(crate) fn config() -> WebhookConfig {
    WebhookConfig::new().identity("shop", "cart").seed(1)
}

/// A pod of `shop/cart` with one container.
pub(crate) fn pod() -> Value {
    json!({
        "metadata": {"name": "cart-0", "namespace": "shop"},
        "spec": {"serviceAccountName": "cart", "containers": [{"name": "app", "image": "cart:1"}]},
    })
}

/// Returns `pod` with a value at a path whose parent exists.
pub(crate) fn with(mut pod: Value, path: &str, value: Value) -> Value {
    let (parent, member) = path.rsplit_once('/').unwrap();
    let parent = pod.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list.push(value),
        parent => parent[member.replace("~1", "/")] = value,
    }
    pod
}

pub(crate) fn annotated(name: &str, value: &str) -> Value {
    with(pod(), "/metadata/annotations", json!({name: value}))
}

pub(crate) fn patch(pod: &Value, config: &WebhookConfig) -> Value {
    serde_json::to_value(mutate_pod(pod, config).unwrap()).unwrap()
}

pub(crate) fn patched(pod: &Value, config: &WebhookConfig) -> Value {
    mutate_pod(pod, config).unwrap().apply_to(pod).unwrap()
}

/// Returns the value of the only addition at a path.
pub(crate) fn added(patch: &Value, path: &str) -> Option<Value> {
    let mut values = patch.as_array().unwrap().iter();
    let found = values.find(|operation| operation["path"] == path)?;
    Some(found["value"].clone())
}

/// Returns the variables of the first container, its own and the injected ones, as `NAME=value`.
pub(crate) fn env(pod: &Value, config: &WebhookConfig) -> Vec<String> {
    let patched = patched(pod, config);
    let env = patched["spec"]["containers"][0]["env"].as_array();
    let text = |variable: &Value| {
        let name = variable["name"].as_str().unwrap();
        format!("{name}={}", variable["value"].as_str().unwrap())
    };
    env.unwrap().iter().map(text).collect()
}

pub(crate) fn expiration(pod: &Value, config: &WebhookConfig) -> u64 {
    let volumes = added(&patch(pod, config), "/spec/volumes").unwrap();
    let path = "/0/projected/sources/0/serviceAccountToken/expirationSeconds";
    volumes.pointer(path).unwrap().as_u64().unwrap()
}
