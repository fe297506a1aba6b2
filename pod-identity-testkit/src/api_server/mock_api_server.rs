use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use pod_identity_core::Secret;
use serde_json::{Value, json};

use crate::api_server::builder::MockApiServerBuilder;
use crate::api_server::objects::{Objects, set};
use crate::api_server::request::ApiServerRequest;
use crate::api_server::service::ApiServerService;
use crate::api_server::status::{Reason, Status};
use crate::mock::handle::Handle;
use crate::mock::hosting::Hosting;
use crate::mock::methods::mock_methods;
use crate::mock::mock_server::MockServer;
use crate::record::recorder::Recorder;
use crate::sync::lock;
use crate::{Blocking, Issuer, Operation, OperationFaults, assert_no_secrets};

/// A mock of a cluster's API server on a loopback port over TLS, as far as a node agent uses it.
///
/// | request | |
/// |---|---|
/// | `GET /version` | [settable](Self::set_version); the one request that needs no token |
/// | `GET /.well-known/openid-configuration`, `GET /openid/v1/jwks` | the keys of the [issuer](Self::issuer), which a test [rotates](Issuer::sign_with) |
/// | `GET /api/v1/pods`, `GET /api/v1/namespaces/{namespace}/pods` | a list or a watch, with a field selector of `metadata.name`, `metadata.namespace`, `spec.nodeName` and `status.phase`, of whole pods or as `PartialObjectMetadata`; a list is never cut into pages |
/// | `GET /api/v1/nodes/{name}` | a node |
/// | `PATCH /api/v1/nodes/{name}` | a merge patch, which conflicts if it has an old `resourceVersion`, or a JSON patch |
///
/// It writes the files of a pod's service account to [a directory](Self::service_account_dir), and accepts
/// that token as a bearer. It does not know roles: [faults](Self::on) such as `Fault::error("Forbidden")`
/// stand for missing permissions, and they are the same as [those of the agent](crate::MockAgent#faults).
/// What arrives is recorded.
///
/// A watch is open until the client leaves or a test ends it: [in order](Self::end_watches), with
/// [an error](Self::expire_watches), or [without one](Self::break_watches). `timeoutSeconds` has no effect,
/// and bookmarks are sent when [told to](Self::send_bookmarks).
///
/// A fault that had no effect fails the test when the mock is dropped, unless it is
/// [optional](crate::Fault::optional).
///
/// It serves on a thread of its own. Dropping it closes the listener and every connection. It needs the
/// feature `api-server`.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{Fault, MockApiServer, Operation};
///
/// let api_server = MockApiServer::start().await;
/// api_server.add_node("node-1", &["eks.amazonaws.com/pod-identity-not-ready:NoExecute"]);
/// api_server.add_pod("shop", "cart-0", "node-1");
/// // The keys are unavailable until the faults are cleared.
/// api_server.on(Operation::JsonWebKeySet).inject_always(Fault::status(503));
/// // … give `api_server.env()` and `api_server.service_account_dir()` to what is tested …
/// api_server.delete_pod("shop", "cart-0");
/// assert_eq!(api_server.taints("node-1").len(), 1);
/// # }
/// ```
#[derive(Debug)]
pub struct MockApiServer {
    handle: Handle<ApiServerService>,
    certificate_pem: String,
}

impl MockApiServer {
    /// Starts a mock with the defaults of [`builder`](Self::builder).
    ///
    /// # Panics
    /// Panics without a free loopback port.
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a loopback port must be free")
    }

    /// Starts a mock with every default, for tests without a runtime.
    ///
    /// # Panics
    /// Panics without a free loopback port or a thread. Panics within a runtime: use [`start`](Self::start) there.
    #[track_caller]
    pub fn start_blocking() -> Blocking<Self> {
        Self::builder()
            .start_blocking()
            .expect("a loopback port must be free")
    }

    /// Returns a builder of a mock.
    pub fn builder() -> MockApiServerBuilder {
        MockApiServerBuilder::default()
    }

    /// Returns `https://127.0.0.1:{port}`. A restart does not change it.
    pub fn url(&self) -> String {
        format!("https://{}", self.handle.server.reachable())
    }

    /// Returns its certificate in PEM, which is its own authority.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the variables by which a pod finds the API server: `KUBERNETES_SERVICE_HOST` and
    /// `KUBERNETES_SERVICE_PORT`.
    pub fn env(&self) -> [(&'static str, String); 2] {
        let address = self.handle.server.reachable();
        [
            ("KUBERNETES_SERVICE_HOST", address.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", address.port().to_string()),
        ]
    }

    /// Returns the directory with the files `token`, `ca.crt` and `namespace`, which stand for those in
    /// `/var/run/secrets/kubernetes.io/serviceaccount`.
    pub fn service_account_dir(&self) -> &Path {
        self.service().account.directory()
    }

    /// Writes a new token of the service account, as kubelet does each hour. The old ones stay good.
    ///
    /// # Errors
    /// Fails if the file cannot be replaced.
    pub fn rotate_token(&self) -> io::Result<()> {
        let service = self.service();
        service.account.rotate(service.clock.now())
    }

    /// Refuses the tokens that were written before the current one, with 401.
    pub fn revoke_old_tokens(&self) {
        self.service().account.revoke_old();
    }

    /// Returns the issuer whose keys are served. [`Issuer::sign_with`] and [`Issuer::forget_old_keys`]
    /// rotate them.
    pub fn issuer(&self) -> &Issuer {
        &self.service().issuer
    }

    /// Sets the version of Kubernetes, such as `v1.33.5-eks-0000000`.
    pub fn set_version(&self, version: impl Into<String>) {
        *lock(&self.service().version) = version.into();
    }

    /// Adds a running pod and returns its uid, which is also that of the [tokens](Issuer::token) for a pod
    /// of this namespace and name.
    pub fn add_pod(&self, namespace: &str, name: &str, node: &str) -> String {
        self.put_pod(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"nodeName": node, "containers": [{"name": "app"}]},
        }))
    }

    /// Adds or replaces a pod by its manifest, and returns its uid. What the manifest lacks is added.
    ///
    /// # Panics
    /// Panics if it has no name.
    pub fn put_pod(&self, manifest: Value) -> String {
        let now = self.service().clock.now();
        self.objects().put_pod(manifest, now)
    }

    /// Begins to terminate a pod, which stays until it is [deleted](Self::delete_pod); returns whether there
    /// is one.
    pub fn terminate_pod(&self, namespace: &str, name: &str) -> bool {
        let ends = self.service().clock.now() + Duration::from_secs(30);
        self.objects().change_pod(namespace, name, |pod| {
            set(
                pod,
                "metadata",
                "deletionTimestamp",
                json!(ends.to_string()),
            );
            set(pod, "metadata", "deletionGracePeriodSeconds", json!(30));
        })
    }

    /// Sets the phase of a pod, such as `Succeeded`; returns whether there is one.
    pub fn set_pod_phase(&self, namespace: &str, name: &str, phase: &str) -> bool {
        let change = |pod: &mut Value| set(pod, "status", "phase", json!(phase));
        self.objects().change_pod(namespace, name, change)
    }

    /// Removes a pod; returns whether there was one.
    pub fn delete_pod(&self, namespace: &str, name: &str) -> bool {
        self.objects().delete_pod(namespace, name)
    }

    /// Adds or replaces a node with these taints, as `key=value:effect` or `key:effect`.
    ///
    /// # Panics
    /// Panics if a taint has no effect.
    pub fn add_node(&self, name: &str, taints: &[&str]) {
        let taints: Vec<Value> = taints.iter().map(|taint| taint_of(taint)).collect();
        let now = self.service().clock.now();
        let node = json!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "spec": {"taints": taints},
        });
        self.objects().put_node(node, now);
    }

    /// Returns the taints of a node, as `key=value:effect` or `key:effect`.
    pub fn taints(&self, node: &str) -> Vec<String> {
        let node = self.node(node).unwrap_or_default();
        let taints = node.pointer("/spec/taints").and_then(Value::as_array);
        taints.into_iter().flatten().map(shown).collect()
    }

    /// Returns a node as the API server has it.
    pub fn node(&self, name: &str) -> Option<Value> {
        self.objects().node(name).ok().cloned()
    }

    /// Sends a bookmark to the open watches that accept them.
    pub fn send_bookmarks(&self) {
        let mut objects = self.objects();
        let version = objects.version;
        objects.pods.send_bookmarks(version);
    }

    /// Forgets the history: a watch that begins at an older version than the current one is told
    /// `410 Expired`.
    pub fn compact(&self) {
        let mut objects = self.objects();
        let version = objects.version;
        objects.pods.compact(version);
    }

    /// Ends the open watches in order, as an API server does after some minutes.
    pub fn end_watches(&self) {
        self.objects().pods.end_watches();
    }

    /// Ends the open watches with the error `410 Expired`.
    pub fn expire_watches(&self) {
        let status = Status::new(
            Reason::Expired,
            "The resourceVersion for the provided watch is too old.",
        );
        self.objects().pods.fail_watches(&status);
    }

    /// Breaks the connections of the open watches.
    pub fn break_watches(&self) {
        self.objects().pods.break_watches();
    }

    /// Returns how many watches are open. One whose client has left may still be counted.
    pub fn watch_count(&self) -> usize {
        self.objects().pods.watch_count()
    }

    /// Returns the faults of one operation: [`GetVersion`](Operation::GetVersion),
    /// [`OpenIdConfiguration`](Operation::OpenIdConfiguration),
    /// [`JsonWebKeySet`](Operation::JsonWebKeySet), [`ListPods`](Operation::ListPods),
    /// [`WatchPods`](Operation::WatchPods), [`GetNode`](Operation::GetNode) and
    /// [`PatchNode`](Operation::PatchNode).
    ///
    /// `Fault::error` takes a reason of Kubernetes, such as `Forbidden` or `TooManyRequests`.
    pub fn on(&self, operation: Operation) -> OperationFaults<'_> {
        OperationFaults::new(&self.handle.server, operation)
    }

    /// Returns the requests of one operation.
    pub fn requests_to(&self, operation: Operation) -> Vec<ApiServerRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.operation == operation);
        requests
    }

    /// Returns every bearer token that was received.
    pub fn secrets(&self) -> Vec<Secret> {
        self.recorder().secrets()
    }

    /// [`assert_no_secrets`] for all of [`secrets`](Self::secrets).
    ///
    /// # Panics
    /// Panics if there is one in the text.
    #[track_caller]
    pub fn assert_no_secrets(&self, text: &str) {
        let secrets = self.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_no_secrets(text, &secrets);
    }

    /// Waits until so many requests to one operation have been answered since the start. An open watch has
    /// been answered.
    ///
    /// # Panics
    /// Panics with what it has seen if the [limit](MockApiServerBuilder::wait_limit) passes.
    pub async fn wait_for_answers_of(&self, operation: Operation, count: usize) {
        let answered = || {
            let requests = self.requests_to(operation);
            let answered = requests.iter().filter(|request| request.outcome.is_some());
            answered.count()
        };
        let what = format!("{count} answers of {operation}");
        self.handle.wait(&what, |_counts| answered() >= count).await;
    }

    pub(crate) fn new(
        server: Arc<MockServer<ApiServerService>>,
        hosting: Hosting,
        certificate_pem: String,
    ) -> Self {
        Self {
            handle: Handle::new(server, Vec::new(), hosting),
            certificate_pem,
        }
    }

    fn service(&self) -> &Arc<ApiServerService> {
        self.handle.service()
    }

    /// The objects, locked.
    fn objects(&self) -> MutexGuard<'_, Objects> {
        lock(&self.service().objects)
    }

    fn recorder(&self) -> &Recorder<ApiServerRequest> {
        self.handle.recorder()
    }
}

mock_methods!(MockApiServer, MockApiServerBuilder, ApiServerRequest);

/// # Panics
/// Panics if the text has no effect.
fn taint_of(text: &str) -> Value {
    let (key, effect) = text
        .rsplit_once(':')
        .expect("a taint must end with its effect");
    match key.split_once('=') {
        Some((key, value)) => json!({"key": key, "value": value, "effect": effect}),
        None => json!({"key": key, "effect": effect}),
    }
}

fn shown(taint: &Value) -> String {
    let text = |member| {
        taint
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let value = match text("value") {
        "" => String::new(),
        value => format!("={value}"),
    };
    format!("{}{value}:{}", text("key"), text("effect"))
}
