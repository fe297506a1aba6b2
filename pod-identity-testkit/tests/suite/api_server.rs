//! The API server as a node agent uses it.

use std::fs;
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pod_identity_core::{Clock, ServiceAccountToken};
use pod_identity_testkit::{
    Fault, Issuer, MockApiServer, MockEksAuth, Operation, SettableClock, SigningKey, Stage,
    assert_no_secrets,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::common::{NOW, soon};
use crate::tls;

struct Client {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
    _connection: JoinSet<()>,
}

struct Watch(Incoming);

async fn start() -> MockApiServer {
    let clock: Arc<dyn Clock> = Arc::new(SettableClock::at(NOW));
    let builder = MockApiServer::builder().clock(clock).in_this_runtime();
    builder.start().await.unwrap()
}

fn token_of(server: &MockApiServer) -> String {
    fs::read_to_string(server.service_account_dir().join("token")).unwrap()
}

impl Client {
    /// With what the files of the service account hold.
    async fn connect(server: &MockApiServer) -> Self {
        let ca = fs::read_to_string(server.service_account_dir().join("ca.crt")).unwrap();
        let stream = tls::connect(server.address(), "kubernetes.default.svc", &ca);
        let stream = stream.await.unwrap();
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            driver.await.ok();
        });
        Self {
            sender,
            token: Some(token_of(server)),
            _connection: connection,
        }
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "kubernetes.default.svc");
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> (u16, Value) {
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&mut self, path: &str) -> (u16, Value) {
        let request = self.request("GET", path).body(Full::default()).unwrap();
        self.send(request).await
    }

    async fn patch(&mut self, path: &str, kind: &str, patch: Value) -> (u16, Value) {
        let request = self.request("PATCH", path);
        let request = request.header("content-type", format!("application/{kind}+json"));
        let request = request.body(Full::from(patch.to_string())).unwrap();
        self.send(request).await
    }

    async fn watch(mut self, query: &str) -> (Watch, JoinSet<()>) {
        let path = format!("/api/v1/pods?watch=1&allowWatchBookmarks=true&{query}");
        let request = self.request("GET", &path);
        let request = request.header("accept", METADATA).body(Full::default());
        let answer = self.sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        (Watch(answer.into_body()), self._connection)
    }
}

impl Watch {
    /// The next events, each as `type name version`; `None` at the end.
    async fn next(&mut self) -> Option<Vec<String>> {
        let frame = soon(self.0.frame()).await?.ok()?.into_data().unwrap();
        let lines = std::str::from_utf8(&frame).unwrap().lines();
        Some(lines.map(shown).collect())
    }
}

fn shown(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    let object = &event["object"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {}",
        text(&event["type"]),
        text(&object["metadata"]["name"]),
        object["code"].as_u64().map_or_else(
            || text(&object["metadata"]["resourceVersion"]),
            |code| code.to_string()
        ),
    )
}

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[tokio::test]
async fn keys_and_version_are_served_to_the_token_in_the_files_of_the_service_account() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let (status, keys) = client.get("/openid/v1/jwks").await;
    assert_eq!(
        (status, &keys["keys"][0]["kid"]),
        (200, &json!(Issuer::KEY_ID))
    );
    let (_, document) = client.get("/.well-known/openid-configuration").await;
    assert_eq!(document["issuer"], server.issuer().url());
    let (_, version) = client.get("/version").await;
    assert_eq!(
        (&version["major"], &version["minor"]),
        (&json!("1"), &json!("34+"))
    );
    server.set_version("v1.33.5");
    let (_, version) = client.get("/version").await;
    assert_eq!(version["minor"], "33");

    server.issuer().sign_with(SigningKey::OtherRs256);
    let (_, keys) = client.get("/openid/v1/jwks").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    server.issuer().forget_old_keys();
    let (status, keys) = client.get("/openid/v1/jwks").await;
    assert_eq!(
        status, 200,
        "the token in the files is accepted whatever signs now"
    );
    assert_eq!(keys["keys"][0]["kid"], SigningKey::OtherRs256.id());
    let namespace = fs::read_to_string(server.service_account_dir().join("namespace"));
    assert_eq!(namespace.unwrap(), "kube-system");
}

#[tokio::test]
async fn the_keys_are_refused_to_those_who_accept_json_only() {
    let server = start().await;
    for (accept, status) in [
        ("application/json", 406),
        ("application/json, application/jwk-set+json;q=0.5", 200),
        ("*/*", 200),
    ] {
        let mut client = Client::connect(&server).await;
        let request = client.request("GET", "/openid/v1/jwks");
        let request = request.header("accept", accept).body(Full::default());
        assert_eq!(client.send(request.unwrap()).await.0, status, "{accept}");
    }
}

#[tokio::test]
async fn an_unknown_or_revoked_token_is_refused_and_no_token_reads_the_version_only() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    server.rotate_token().unwrap();
    assert_eq!(client.get("/openid/v1/jwks").await.0, 200);
    server.revoke_old_tokens();
    let (status, error) = client.get("/version").await;
    assert_eq!((status, &error["reason"]), (401, &json!("Unauthorized")));
    client.token = Some(token_of(&server));
    assert_eq!(client.get("/version").await.0, 200);
    client.token = None;
    assert_eq!(client.get("/version").await.0, 200);
    let (status, error) = client.get("/openid/v1/jwks").await;
    assert_eq!((status, &error["reason"]), (403, &json!("Forbidden")));
}

#[tokio::test]
async fn each_operation_has_faults_of_its_own_with_the_status_of_kubernetes() {
    let server = start().await;
    let mut client = Client::connect(&server).await;
    let jwks = server.on(Operation::JsonWebKeySet);
    jwks.inject(Fault::error("Forbidden"));
    jwks.inject(Fault::status(429).and(Fault::retry_after(Duration::from_secs(2))));
    jwks.inject(Fault::without("keys"));
    assert_eq!(client.get("/version").await.0, 200);
    let (status, error) = client.get("/openid/v1/jwks").await;
    assert_eq!(
        (status, &error["kind"], &error["code"]),
        (403, &json!("Status"), &json!(403))
    );
    assert_eq!(client.get("/openid/v1/jwks").await.0, 429);
    assert_eq!(client.get("/openid/v1/jwks").await, (200, json!({})));
    assert_eq!(client.get("/api/v1/secrets").await.0, 404);

    server.stop().await;
    assert!(StdTcpStream::connect(server.address()).is_err());
    server.restart().await.unwrap();
    assert_eq!(Client::connect(&server).await.get("/version").await.0, 200);
    server.assert_no_secrets(&format!("{:?}", server.requests()));
}

#[tokio::test]
async fn a_fault_that_this_mock_does_not_have_is_refused_with_words() {
    let server = start().await;
    let refused = |fault: Fault| {
        let injected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            server.inject(fault);
        }));
        *injected.unwrap_err().downcast::<String>().unwrap()
    };
    for (fault, expected) in [
        (Fault::status(503), "say which"),
        (
            Fault::status(503).on(Operation::AssumeRoleForPodIdentity),
            "the mock of EKS Auth only",
        ),
        (
            Fault::error("AccessDeniedException").on(Operation::ListPods),
            "such as Forbidden",
        ),
        (
            Fault::gzip().on(Operation::WatchPods),
            "cannot change a watch",
        ),
        (Fault::same_again().on(Operation::ListPods), "same_again"),
    ] {
        let message = refused(fault);
        assert!(message.contains(expected), "{message}");
    }
    let eks = MockEksAuth::builder()
        .in_this_runtime()
        .start()
        .await
        .unwrap();
    let injected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eks.on(Operation::ListPods).inject(Fault::status(503));
    }));
    let message = *injected.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("the mock of the API server only"),
        "{message}"
    );
}

#[tokio::test]
async fn a_list_has_the_pods_that_the_field_selector_selects_in_the_wanted_representation() {
    let server = start().await;
    let uid = server.add_pod("shop", "cart-0", "node-1");
    server.add_pod("shop", "cart-1", "node-2");
    server.add_pod("food", "till-0", "node-1");
    server.set_pod_phase("food", "till-0", "Succeeded");
    let mut client = Client::connect(&server).await;
    let of_node = "fieldSelector=spec.nodeName%3Dnode-1%2Cstatus.phase!%3DSucceeded";
    let (_, list) = client.get(&format!("/api/v1/pods?{of_node}")).await;
    assert_eq!(
        (&list["kind"], list["items"].as_array().unwrap().len()),
        (&json!("PodList"), 1)
    );
    assert_eq!(list["items"][0]["spec"]["nodeName"], "node-1");
    let request = client.request("GET", "/api/v1/namespaces/shop/pods");
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let request = request.header("accept", accept).body(Full::default());
    let (_, list) = client.send(request.unwrap()).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    // As an API server has them: an empty list of metadata has no array.
    for (accept, items) in [(accept, json!(null)), ("application/json", json!([]))] {
        let request = client.request("GET", "/api/v1/namespaces/nobody/pods");
        let request = request.header("accept", accept).body(Full::default());
        let (_, list) = client.send(request.unwrap()).await;
        assert_eq!(list.get("items"), Some(&items), "{accept}");
    }
    assert_eq!(items[0]["metadata"]["uid"], uid);
    assert!(items.iter().all(|item| item.get("spec").is_none()));
    let (status, _) = client.get("/api/v1/pods?fieldSelector=spec.image=x").await;
    assert_eq!(status, 400);

    let token = server
        .issuer()
        .token("shop", "cart")
        .pod("cart-0")
        .mint(NOW);
    let token = ServiceAccountToken::parse(&token).unwrap();
    assert_eq!(
        token.claims().pod_uid.as_deref(),
        Some(uid.as_str()),
        "one pod, one uid"
    );
}

#[tokio::test]
async fn a_watch_tells_of_changes_from_its_version_on_and_of_pods_that_no_longer_match() {
    let server = start().await;
    server.add_pod("shop", "cart-0", "node-1"); // version 1001
    server.add_pod("shop", "cart-1", "node-1"); // version 1002
    let client = Client::connect(&server).await;
    let query = "fieldSelector=spec.nodeName=node-1,status.phase!=Failed&resourceVersion=1001";
    let (mut watch, _connection) = client.watch(query).await;
    assert_eq!(watch.next().await.unwrap(), ["ADDED cart-1 1002"]);
    server.add_pod("shop", "cart-2", "node-2");
    server.terminate_pod("shop", "cart-0");
    assert_eq!(watch.next().await.unwrap(), ["MODIFIED cart-0 1004"]);
    server.delete_pod("shop", "cart-0");
    assert_eq!(watch.next().await.unwrap(), ["DELETED cart-0 1005"]);
    server.set_pod_phase("shop", "cart-1", "Failed");
    assert_eq!(watch.next().await.unwrap(), ["DELETED cart-1 1006"]);
    server.send_bookmarks();
    assert_eq!(watch.next().await.unwrap(), ["BOOKMARK - 1006"]);
    server.end_watches();
    assert_eq!(watch.next().await, None);

    let client = Client::connect(&server).await;
    let (mut watch, _connection) = client.watch("resourceVersion=0").await;
    let current = watch.next().await.unwrap();
    assert_eq!(current, ["ADDED cart-1 1006", "ADDED cart-2 1003"]);
}

#[tokio::test]
async fn a_watch_expires_when_its_version_is_forgotten_and_breaks_on_demand() {
    let server = start().await;
    server.add_pod("shop", "cart-0", "node-1");
    server.add_pod("shop", "cart-1", "node-1");
    server.compact();
    let (mut old, _connection) = Client::connect(&server)
        .await
        .watch("resourceVersion=1001")
        .await;
    assert_eq!(old.next().await.unwrap(), ["ERROR - 410"]);
    assert_eq!(old.next().await, None);

    let (mut open, _connection) = Client::connect(&server)
        .await
        .watch("resourceVersion=1002")
        .await;
    assert_eq!(server.watch_count(), 1);
    server.expire_watches();
    assert_eq!(open.next().await.unwrap(), ["ERROR - 410"]);
    assert_eq!(open.next().await, None);

    let (mut open, _connection) = Client::connect(&server)
        .await
        .watch("resourceVersion=1002")
        .await;
    server.break_watches();
    let broken = soon(open.0.frame()).await.unwrap();
    assert!(broken.is_err(), "not an end in order");

    let watch = server.on(Operation::WatchPods);
    watch.inject(Fault::close(Stage::InBody));
    let (mut cut, _connection) = Client::connect(&server)
        .await
        .watch("resourceVersion=0")
        .await;
    let first = soon(cut.0.frame()).await.unwrap();
    let rest = soon(cut.0.frame()).await;
    assert!(
        first.is_err() || rest.unwrap().is_err(),
        "cut within the first events"
    );
}

#[tokio::test]
async fn a_token_where_it_does_not_belong_is_neither_recorded_nor_repeated() {
    let server = start().await;
    server.add_node("node-1", &[]);
    let token = token_of(&server);
    let token = token.as_str();
    let mut stranger = Client::connect(&server).await;
    stranger.token = None;
    let mut client = Client::connect(&server).await;
    let mut answers = Vec::new();
    for path in [
        format!("/{token}"),
        format!("/Bearer%20{token}/x"),
        format!("/version?{token}"),
        format!("/api/v1/nodes/{token}"),
        format!("/api/v1/pods?fieldSelector={token}"),
        format!("/api/v1/pods?watch=1&fieldSelector=a={token}"),
    ] {
        answers.push(stranger.get(&path).await);
        answers.push(client.get(&path).await);
    }
    let node = "/api/v1/nodes/node-1";
    let labels = json!({"metadata": {"labels": {"a": token}, "resourceVersion": token}});
    answers.push(client.patch(node, "merge-patch", labels).await);
    answers.push(client.patch(node, token, json!({})).await);
    answers.push(client.patch(node, "json-patch", json!(token)).await);
    for (status, body) in &answers {
        println!("{status} {body}");
        assert_no_secrets(&body.to_string(), &[token]);
    }
    let forbidden = "forbidden: User \"system:anonymous\" cannot get path \"/redacted\"";
    assert_eq!(answers[0].1["message"], forbidden);
    assert_eq!(answers[7].1["message"], "nodes \"redacted\" not found");

    let recorded = server.requests();
    assert_eq!(recorded.len(), answers.len());
    for request in &recorded {
        let shown = format!("{request:?}");
        assert_no_secrets(&shown, &[token]);
        assert!(shown.contains("redacted"), "{shown}");
    }
    let sent = json!({"a": 1});
    client.patch(node, "merge-patch", sent.clone()).await;
    assert_eq!(
        server.requests().last().unwrap().body,
        sent.to_string(),
        "as it was sent"
    );
}

#[tokio::test]
async fn a_node_is_changed_by_a_patch_unless_it_was_changed_meanwhile() {
    let server = start().await;
    let [mine, other] = ["mine:NoExecute", "other=1:NoSchedule"];
    server.add_node("node-1", &[mine, other]);
    let mut client = Client::connect(&server).await;
    let path = "/api/v1/nodes/node-1";
    let (_, node) = client.get(path).await;
    let remove = json!([
        {"op": "test", "path": "/spec/taints/0/key", "value": "mine"},
        {"op": "remove", "path": "/spec/taints/0"},
    ]);
    let (status, patched) = client.patch(path, "json-patch", remove.clone()).await;
    assert_eq!(
        (status, server.taints("node-1")),
        (200, vec![other.to_owned()])
    );
    assert_ne!(
        patched["metadata"]["resourceVersion"],
        node["metadata"]["resourceVersion"]
    );
    let (status, error) = client.patch(path, "json-patch", remove).await;
    assert_eq!((status, &error["reason"]), (422, &json!("Invalid")));

    let version = &node["metadata"]["resourceVersion"];
    let stale = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": []}});
    let (status, error) = client.patch(path, "merge-patch", stale).await;
    assert_eq!((status, &error["reason"]), (409, &json!("Conflict")));
    let version = &patched["metadata"]["resourceVersion"];
    let fresh = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": null}});
    let (status, _) = client.patch(path, "strategic-merge-patch", fresh).await;
    assert_eq!((status, server.taints("node-1")), (200, vec![]));
    assert_eq!(client.patch(path, "apply-patch", json!({})).await.0, 415);
    let listed = json!([["remove", "/spec/taints"]]);
    assert_eq!(client.patch(path, "json-patch", listed).await.0, 400);
    assert_eq!(client.get("/api/v1/nodes/node-2").await.0, 404);
}
