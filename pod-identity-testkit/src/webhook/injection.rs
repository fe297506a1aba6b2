use pod_identity_core::variables;
use serde_json::{Map, Value, json};

use super::node::{Node, PodError};
use crate::WebhookConfig;

/// The additions to the containers of one pod.
#[derive(Debug)]
pub(crate) struct Injection<'a> {
    pub(crate) config: &'a WebhookConfig,
    pub(crate) regional_sts: bool,
    pub(crate) token_file: String,
    pub(crate) skipped: Vec<String>,
}

impl Injection<'_> {
    /// Returns all containers of a list, also those that are skipped.
    pub(crate) fn containers(&self, list: &Node<'_>) -> Result<Vec<Value>, PodError> {
        let containers = list.elements()?;
        containers.iter().map(|node| self.container(node)).collect()
    }

    fn container(&self, node: &Node<'_>) -> Result<Value, PodError> {
        let mut container = node.object()?.cloned().unwrap_or_default();
        // The field has no `omitempty` in Go, so it is always written.
        if !node.at("/resources").exists() {
            container.insert("resources".to_owned(), json!({}));
        }
        let name = node.at("/name").text()?.unwrap_or_default();
        if !self.skipped.iter().any(|skipped| skipped == name) {
            self.inject(node, &mut container)?;
        }
        Ok(Value::Object(container))
    }

    fn inject(&self, node: &Node<'_>, container: &mut Map<String, Value>) -> Result<(), PodError> {
        let present = Present::of(&node.at("/env").names()?);
        if present.everything() {
            return Ok(());
        }
        append(container, node, "env", self.missing_env(&present));
        let mounts = node.at("/volumeMounts").names()?;
        // An existing mount keeps its path, although the variable then names another one.
        if !mounts.contains(&self.config.volume_name.as_str()) {
            append(container, node, "volumeMounts", vec![self.mount()]);
        }
        Ok(())
    }

    /// Returns the variables that are missing, in the order of the official webhook.
    fn missing_env(&self, present: &Present) -> Vec<Value> {
        let mut env = Vec::new();
        let mut push = |name: &str, value: &str| env.push(json!({"name": name, "value": value}));
        if self.regional_sts && !present.sts {
            push(STS_REGIONAL_ENDPOINTS, "regional");
        }
        if let Some(region) = self.config.region.as_ref().filter(|_| !present.region) {
            push(DEFAULT_REGION, region);
            push(REGION, region);
        }
        if !present.credentials {
            push(variables::FULL_URI, &self.config.full_uri);
            push(variables::TOKEN_FILE, &self.token_file);
        }
        env
    }

    fn mount(&self) -> Value {
        json!({
            "name": self.config.volume_name,
            "readOnly": true,
            "mountPath": self.config.mount_path,
        })
    }
}

/// The variables that a container has already, with any value. One of a pair is enough.
#[derive(Debug)]
struct Present {
    sts: bool,
    region: bool,
    credentials: bool,
}

impl Present {
    fn of(env: &[&str]) -> Self {
        let any = |names: &[&str]| names.iter().any(|name| env.contains(name));
        Self {
            sts: any(&[STS_REGIONAL_ENDPOINTS]),
            region: any(&[REGION, DEFAULT_REGION]),
            credentials: any(&[variables::FULL_URI, variables::TOKEN_FILE]),
        }
    }

    /// Whether the official webhook skips the container, without even mounting the volume.
    fn everything(&self) -> bool {
        self.sts && self.region && self.credentials
    }
}

fn append(container: &mut Map<String, Value>, node: &Node<'_>, list: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    let mut elements = match node.at(&format!("/{list}")).cloned() {
        Some(Value::Array(elements)) => elements,
        _ => Vec::new(),
    };
    elements.extend(more);
    container.insert(list.to_owned(), Value::Array(elements));
}

const STS_REGIONAL_ENDPOINTS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
const REGION: &str = "AWS_REGION";
const DEFAULT_REGION: &str = "AWS_DEFAULT_REGION";
