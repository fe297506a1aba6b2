use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Backoff, KubernetesName, LogSuppressor};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::kubernetes::api_server::{ApiResponse, ApiServer};
use crate::kubernetes::api_server_error::ApiServerError;
use crate::telemetry::readiness::Readiness;

/// Removes a taint from this node once the agent is ready, so that pods which do not tolerate it start only
/// where they get credentials.
///
/// It removes this one taint by its key, whatever its value and effects, and touches nothing else of the
/// node: the patch applies only if the taint is where it was read.
#[derive(Debug)]
pub(crate) struct StartupTaint {
    api_server: ApiServer,
    node: KubernetesName,
    key: String,
}

impl StartupTaint {
    pub(crate) fn new(api_server: ApiServer, node: KubernetesName, key: String) -> Self {
        Self {
            api_server,
            node,
            key,
        }
    }

    /// Waits until the agent is ready and removes the taint. Runs until dropped.
    pub(crate) async fn run(self, readiness: Arc<Readiness>) -> Infallible {
        readiness.ready().await;
        let mut log = LogSuppressor::new(LOG_INTERVAL);
        let mut failures = 0;
        loop {
            let removed = timeout(ANSWER_WITHIN, self.remove()).await;
            let taint = &*self.key;
            match removed.unwrap_or(Err(ApiServerError::TimedOut(ANSWER_WITHIN))) {
                Ok(Removed::Nothing) => info!(taint, "this node does not have the startup taint"),
                Ok(Removed::Taint) => info!(taint, "the startup taint is removed from this node"),
                Err(error) => {
                    match log.occurred(Instant::now()) {
                        Some(suppressed) => warn!(
                            %error,
                            taint,
                            suppressed,
                            "the startup taint cannot be removed now; trying again"
                        ),
                        None => debug!(%error, taint, "the startup taint still cannot be removed"),
                    }
                    failures += 1;
                    tokio::time::sleep(BACKOFF.delay(failures, fastrand::f64())).await;
                    continue;
                }
            }
            return future::pending().await;
        }
    }

    async fn remove(&self) -> Result<Removed, ApiServerError> {
        let path = format!("/api/v1/nodes/{}", self.node);
        let node = self.api_server.get(&path, "application/json").await?;
        let node = self.node_in(node).await?;
        let Some(wanted) = patch(&node, &self.key) else {
            return Ok(Removed::Nothing);
        };
        let patched = self.api_server.patch(&path, JSON_PATCH, wanted.to_string());
        let node = self.node_in(patched.await?).await?;
        match patch(&node, &self.key) {
            None => Ok(Removed::Taint),
            Some(_) => Err(ApiServerError::Malformed(
                "the node still has the taint after its removal".to_owned(),
            )),
        }
    }

    /// Reads this node from an answer. After an answer that is something else, nobody would look again, and the
    /// taint would stay.
    async fn node_in(&self, response: ApiResponse) -> Result<Value, ApiServerError> {
        let body = response.succeeded().await?.bytes(MAX_NODE).await?;
        let node: Value = serde_json::from_slice(&body)
            .map_err(|error| ApiServerError::Malformed(error.to_string()))?;
        let name = node.pointer("/metadata/name").and_then(Value::as_str);
        match name == Some(self.node.as_str()) {
            true => Ok(node),
            false => Err(ApiServerError::Malformed("it is not this node".to_owned())),
        }
    }
}

enum Removed {
    Taint,
    /// There was none.
    Nothing,
}

/// A JSON patch (RFC 6902) that removes the taints of this key; `None` if there is none. It tests each one
/// first, so that it fails where another client has changed the list in between. A merge patch with the
/// node's resource version would conflict with each heartbeat of kubelet.
fn patch(node: &Value, key: &str) -> Option<Value> {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array)?;
    let mut operations = Vec::new();
    // From the last one on, because a removal moves those after it.
    for (index, taint) in taints.iter().enumerate().rev() {
        if taint.get("key").and_then(Value::as_str) == Some(key) {
            let path = format!("/spec/taints/{index}");
            operations.push(json!({"op": "test", "path": path, "value": taint}));
            operations.push(json!({"op": "remove", "path": path}));
        }
    }
    (!operations.is_empty()).then(|| operations.into())
}

const JSON_PATCH: &str = "application/json-patch+json";

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

const BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).with_jitter(0.5);

const LOG_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// A node with fifty images is 40 KB.
const MAX_NODE: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use pod_identity_testkit::MockApiServer;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_taint_stays_until_the_agent_is_ready() {
        let mock = MockApiServer::builder().in_this_runtime();
        let mock = mock.start().await.unwrap();
        mock.add_node("node-1", &["mine:NoExecute"]);
        let api_server = ApiServer::new(&mock.url(), mock.service_account_dir()).unwrap();
        let node = KubernetesName::subdomain("node-1").unwrap();
        let readiness = Readiness::new(false);
        let blocker = readiness.blocker("it", "not yet");
        let mut running = JoinSet::new();
        let taint = StartupTaint::new(api_server, node, "mine".to_owned());
        running.spawn(taint.run(readiness));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(mock.requests().len(), 0);
        blocker.release();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(mock.taints("node-1").len(), 0);
        blocker.block("an outage".to_owned());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(running.try_join_next().is_none(), "it must not end");
    }

    #[test]
    fn a_patch_tests_and_removes_the_taints_of_the_key_and_no_others() {
        let [mine, also, other] = [
            json!({"key": "mine", "effect": "NoExecute"}),
            json!({"key": "mine", "value": "x", "effect": "NoSchedule"}),
            json!({"key": "mine-not", "effect": "NoSchedule"}),
        ];
        let node = json!({"spec": {"taints": [mine, other, also]}});
        let expected = json!([
            {"op": "test", "path": "/spec/taints/2", "value": also},
            {"op": "remove", "path": "/spec/taints/2"},
            {"op": "test", "path": "/spec/taints/0", "value": mine},
            {"op": "remove", "path": "/spec/taints/0"},
        ]);
        assert_eq!(patch(&node, "mine"), Some(expected));
        for node in [
            json!({"spec": {"taints": [other]}}),
            json!({"spec": {}}),
            json!({"spec": {"taints": "x"}}),
            json!(null),
        ] {
            assert_eq!(patch(&node, "mine"), None, "{node}");
        }
    }
}
