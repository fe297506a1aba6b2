use std::collections::BTreeMap;

use json_patch::{Patch, PatchOperation};
use pod_identity_core::JsonObject;
use serde_json::Value;

use crate::api_server::status::{Reason, Status};

/// The nodes of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Nodes(BTreeMap<String, Value>);

impl Nodes {
    pub(crate) fn get(&self, name: &str) -> Result<&Value, Status> {
        self.0.get(name).ok_or_else(|| {
            let message = format!("nodes \"{name}\" not found");
            Status::new(Reason::NotFound, message)
        })
    }

    pub(crate) fn set(&mut self, name: &str, node: Value) {
        self.0.insert(name.to_owned(), node);
    }

    /// Returns the node as a patch leaves it.
    ///
    /// # Errors
    /// Fails as an API server does: without a resource version of the node's own it is a conflict, and a
    /// test that does not hold makes the patch invalid.
    pub(crate) fn patched(
        &self,
        name: &str,
        content_type: &str,
        patch: &[u8],
    ) -> Result<Value, Status> {
        let node = self.get(name)?;
        let mut patched = node.clone();
        let unreadable =
            |error: serde_json::Error| Status::new(Reason::BadRequest, error.to_string());
        match content_type {
            // Of what a node agent changes, nothing is merged by keys: `taints` is atomic.
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                let patch: Value = serde_json::from_slice(patch).map_err(unreadable)?;
                json_patch::merge(&mut patched, &patch);
            }
            "application/json-patch+json" => {
                let operations: Vec<JsonObject<PatchOperation>> =
                    serde_json::from_slice(patch).map_err(unreadable)?;
                let operations = operations.into_iter();
                let patch = Patch(operations.map(|JsonObject(it)| it).collect());
                json_patch::patch(&mut patched, &patch).map_err(|_does_not_fit| {
                    let message = "the server rejected our request due to an error in our request";
                    Status::new(Reason::Invalid, message)
                })?;
            }
            other => {
                let message = format!("the body of the request was in an unknown format - {other}");
                return Err(Status::new(Reason::UnsupportedMediaType, message));
            }
        }
        let version = |node: &Value| node.pointer("/metadata/resourceVersion").cloned();
        if version(&patched) != version(node) {
            let message = format!(
                "Operation cannot be fulfilled on nodes \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again"
            );
            return Err(Status::new(Reason::Conflict, message));
        }
        Ok(patched)
    }
}
