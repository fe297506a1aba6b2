use pod_identity_core::Timestamp;
use serde_json::{Map, Value, json};

use crate::api_server::nodes::Nodes;
use crate::api_server::pods::Pods;
use crate::api_server::status::Status;
use crate::token::ids::uuid_of;

/// The objects of a cluster. They share one count of versions, as objects in etcd do.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) pods: Pods,
    nodes: Nodes,
    pub(crate) version: u64,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            pods: Pods::default(),
            nodes: Nodes::default(),
            // A cluster that has lived a little.
            version: 1000,
        }
    }
}

impl Objects {
    /// Stores a pod. What its manifest lacks is added: a namespace, a uid, a time, the phase `Running`.
    ///
    /// # Panics
    /// Panics if it has no name.
    pub(crate) fn put_pod(&mut self, mut pod: Value, now: Timestamp) -> String {
        let name = text(&pod, "/metadata/name").expect("a pod must have metadata.name");
        let namespace = text(&pod, "/metadata/namespace").unwrap_or_else(|| "default".to_owned());
        let uid = uuid_of(&format!("pod/{namespace}/{name}"));
        complete(&mut pod, "metadata", "namespace", json!(namespace));
        complete(&mut pod, "metadata", "uid", json!(uid));
        complete(
            &mut pod,
            "metadata",
            "creationTimestamp",
            json!(now.to_string()),
        );
        complete(&mut pod, "status", "phase", json!("Running"));
        let uid = text(&pod, "/metadata/uid").unwrap_or(uid);
        self.store_pod(&namespace, &name, pod);
        uid
    }

    /// Changes a pod; whether there is one.
    pub(crate) fn change_pod(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> bool {
        let Some(mut pod) = self.pods.get(namespace, name).cloned() else {
            return false;
        };
        change(&mut pod);
        self.store_pod(namespace, name, pod);
        true
    }

    /// Removes a pod; whether there was one.
    pub(crate) fn delete_pod(&mut self, namespace: &str, name: &str) -> bool {
        let is_there = self.pods.get(namespace, name).is_some();
        if is_there {
            self.version += 1;
            self.pods.set(namespace, name, None, self.version);
        }
        is_there
    }

    fn store_pod(&mut self, namespace: &str, name: &str, mut pod: Value) {
        self.version += 1;
        set(
            &mut pod,
            "metadata",
            "resourceVersion",
            json!(self.version.to_string()),
        );
        self.pods.set(namespace, name, Some(pod), self.version);
    }

    /// Stores a node.
    ///
    /// # Panics
    /// Panics if it has no name.
    pub(crate) fn put_node(&mut self, mut node: Value, now: Timestamp) {
        let name = text(&node, "/metadata/name").expect("a node must have metadata.name");
        complete(
            &mut node,
            "metadata",
            "uid",
            json!(uuid_of(&format!("node//{name}"))),
        );
        complete(
            &mut node,
            "metadata",
            "creationTimestamp",
            json!(now.to_string()),
        );
        self.store_node(&name, node);
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Value, Status> {
        self.nodes.get(name)
    }

    /// Changes a node as a client's patch says, and returns it.
    pub(crate) fn patch_node(
        &mut self,
        name: &str,
        content_type: &str,
        patch: &[u8],
    ) -> Result<Value, Status> {
        let patched = self.nodes.patched(name, content_type, patch)?;
        self.store_node(name, patched);
        self.nodes.get(name).cloned()
    }

    fn store_node(&mut self, name: &str, mut node: Value) {
        self.version += 1;
        set(
            &mut node,
            "metadata",
            "resourceVersion",
            json!(self.version.to_string()),
        );
        self.nodes.set(name, node);
    }
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    let text = object.pointer(pointer)?.as_str()?;
    Some(text.to_owned())
}

/// Sets a member that is missing.
fn complete(object: &mut Value, parent: &str, member: &str, value: Value) {
    let is_there = object
        .get(parent)
        .is_some_and(|it| it.get(member).is_some());
    if !is_there {
        set(object, parent, member, value);
    }
}

/// Sets a member of the object `parent`, which is made if it is missing.
pub(crate) fn set(object: &mut Value, parent: &str, member: &str, value: Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let parent = object.entry(parent).or_insert_with(|| Map::new().into());
    if let Some(parent) = parent.as_object_mut() {
        parent.insert(member.to_owned(), value);
    }
}
