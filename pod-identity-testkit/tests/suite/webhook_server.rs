//! The webhook as the API server calls it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pod_identity_testkit::{
    JsonPatch, MockWebhook, PodContainer, WebhookConfig, assert_no_secrets, mutate_pod,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::common::Answered;
use crate::tls;

pub(crate) const JSON: &str = "application/json";

pub(crate) fn config() -> WebhookConfig {
    WebhookConfig::new().identity("shop", "cart").seed(1)
}

pub(crate) async fn plain() -> MockWebhook {
    let webhook = MockWebhook::builder(config()).plain().start().await;
    webhook.unwrap()
}

pub(crate) fn pod(service_account: &str) -> Value {
    json!({
        "metadata": {"name": "cart-0"},
        "spec": {"serviceAccountName": service_account, "containers": [{"name": "app"}]},
    })
}

pub(crate) fn review(version: &str, namespace: &str, pod: &Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{version}"),
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": namespace,
            "operation": "CREATE",
            "object": pod,
        },
    })
}

pub(crate) async fn send<S>(stream: S, path: &str, content_type: &str, body: String) -> Answered
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(async move {
        driver.await.ok();
    });
    let request = Request::post(path)
        .header("host", "webhook.test")
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn post(webhook: &MockWebhook, content_type: &str, body: String) -> Answered {
    let stream = TcpStream::connect(webhook.address()).await.unwrap();
    send(stream, "/mutate", content_type, body).await
}

async fn response(webhook: &MockWebhook, review: &Value) -> Value {
    let answer = post(webhook, JSON, review.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["response"].clone()
}

async fn is_patched(webhook: &MockWebhook, service_account: &str) -> bool {
    let review = review("v1", "shop", &pod(service_account));
    !response(webhook, &review).await["patch"].is_null()
}

/// Trusts only the webhook's own certificate.
pub(crate) async fn tls(
    webhook: &MockWebhook,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let pem = webhook.certificate_pem().unwrap();
    tls::connect(webhook.address(), name, pem).await
}

#[tokio::test]
async fn a_review_is_answered_in_its_own_version_with_its_uid() {
    let webhook = plain().await;
    for version in ["v1", "v1beta1"] {
        let review = review(version, "shop", &pod("cart"));
        let answer = post(&webhook, JSON, review.to_string()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, JSON));
        let answer = answer.json();
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], review["apiVersion"]);
        let response = &answer["response"];
        assert_eq!(response["uid"], review["request"]["uid"]);
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(response["patch"].as_str().unwrap());
        let patch: JsonPatch = serde_json::from_slice(&patch.unwrap()).unwrap();
        let mut pod = pod("cart");
        pod["metadata"]["namespace"] = json!("shop");
        assert_eq!(patch, mutate_pod(&pod, &config()).unwrap());
    }
}

#[tokio::test]
async fn a_pod_of_an_unknown_account_is_allowed_without_a_patch() {
    let webhook = plain().await;
    let nobody = review("v1", "shop", &pod("till"));
    let uid = nobody["request"]["uid"].clone();
    assert_eq!(
        response(&webhook, &nobody).await,
        json!({"uid": uid, "allowed": true})
    );
}

#[tokio::test]
async fn the_namespace_is_that_of_the_request() {
    let webhook = plain().await;
    let mut pod = pod("cart");
    pod["metadata"]["namespace"] = json!("shop");
    let elsewhere = review("v1", "office", &pod);
    assert_eq!(response(&webhook, &elsewhere).await["patch"], Value::Null);
}

#[tokio::test]
async fn an_invalid_pod_is_denied_with_a_reason() {
    let webhook = plain().await;
    let mut pod = pod("cart");
    pod["spec"]["containers"] = json!("app");
    let review = review("v1", "shop", &pod);
    assert_eq!(
        response(&webhook, &review).await,
        json!({
            "uid": review["request"]["uid"],
            "allowed": false,
            "status": {
                "metadata": {},
                "message": "\"/spec/containers\" of the pod must be an array",
            },
        })
    );
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let webhook = plain().await;
    let body = review("v1", "shop", &pod("cart")).to_string();
    for content_type in ["application/yaml", "application/json; charset=utf-8", ""] {
        let answer = post(&webhook, content_type, body.clone()).await;
        assert_eq!(answer.status, 415, "{content_type:?}");
        assert_eq!(
            answer.body,
            "Invalid Content-Type, expected `application/json`\n"
        );
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_review_is_refused() {
    let webhook = plain().await;
    let good = review("v1", "shop", &pod("cart"));
    let mut no_request = good.clone();
    no_request["request"] = Value::Null;
    let mut v2 = good.clone();
    v2["apiVersion"] = json!("admission.k8s.io/v2");
    let mut other_kind = good.clone();
    other_kind["kind"] = json!("Pod");
    let mut listed = good.clone();
    listed["request"] = json!(["1", "shop", pod("cart")]);
    let half = good.to_string().split_at(100).0.to_owned();
    let bodies = [no_request, v2, other_kind, listed].map(|body| body.to_string());
    for body in bodies.into_iter().chain([half, String::new()]) {
        let answer = post(&webhook, JSON, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.starts_with("cannot decode AdmissionReview: "));
    }
}

#[tokio::test]
async fn a_token_where_it_does_not_belong_is_neither_recorded_nor_repeated() {
    const TOKEN: &str = "eyJ9.e30.c2lnbmF0dXJl";
    let webhook = plain().await;
    let good = review("v1", "shop", &pod("cart"));
    let changed = |pointer: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        review
    };
    let object = "/request/object";
    let mut named = pod(TOKEN);
    named["metadata"]["name"] = json!(TOKEN);
    let mut annotated = pod("cart");
    annotated["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": {TOKEN: 1}});
    for (review, status) in [
        (changed("/kind", json!(TOKEN)), 400),
        (changed("/apiVersion", json!(TOKEN)), 400),
        (changed("/request", json!(format!("Bearer {TOKEN}"))), 400),
        (changed(object, named), 200),
        (changed(object, annotated), 200),
    ] {
        let answer = post(&webhook, JSON, review.to_string()).await;
        println!("{}", answer.body);
        assert_eq!(answer.status, status, "{review}");
        assert_no_secrets(&answer.body, &[TOKEN]);
    }
    let stream = TcpStream::connect(webhook.address()).await.unwrap();
    let path = format!("/mutate/{TOKEN}?{TOKEN}");
    let answer = send(stream, &path, JSON, String::new()).await;
    assert_no_secrets(&answer.body, &[TOKEN]);

    // Its patch has the whole container.
    let mut variable = pod("cart");
    variable["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": TOKEN}]);
    let granted = response(&webhook, &review("v1", "shop", &variable)).await;
    let patch = STANDARD.decode(granted["patch"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(patch).unwrap().contains(TOKEN), "its own");
    let recorded = webhook.requests();
    assert!(!recorded.last().unwrap().patch.as_ref().unwrap().is_empty());

    assert_eq!(recorded.len(), 7);
    for request in &recorded {
        let shown = format!("{request:?}");
        assert_no_secrets(&shown, &[TOKEN]);
        assert!(shown.contains("redacted"), "{shown}");
    }
    assert_eq!(recorded[3].pod.as_deref(), Some("redacted"));
}

#[tokio::test]
async fn other_paths_than_the_health_check_are_not_found() {
    let webhook = plain().await;
    for (path, status, body) in [
        ("/healthz", 200, "ok"),
        ("/", 404, "404 page not found\n"),
        ("/mutate/", 404, "404 page not found\n"),
    ] {
        let stream = TcpStream::connect(webhook.address()).await.unwrap();
        let answer = send(stream, path, JSON, String::new()).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }
}

#[tokio::test]
async fn a_changed_file_applies_from_the_next_request_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let file = |account: &str| {
        json!({"identities": [{"namespace": "shop", "serviceAccount": account}]}).to_string()
    };
    write("{");
    let builder = MockWebhook::builder(config()).plain();
    let webhook = builder.identities_file(&path).start().await.unwrap();
    assert!(
        is_patched(&webhook, "cart").await,
        "malformed from the start"
    );

    write(&file("till"));
    assert!(!is_patched(&webhook, "cart").await);
    assert!(is_patched(&webhook, "till").await);
    write(r#"{"identities":[{"namespace":"#);
    assert!(is_patched(&webhook, "till").await, "malformed meanwhile");
    write(&file("cart"));
    assert!(is_patched(&webhook, "cart").await);
    std::fs::remove_file(&path).unwrap();
    assert!(!is_patched(&webhook, "cart").await, "removed");
}

#[tokio::test]
async fn a_client_that_trusts_its_certificate_is_served_over_tls() {
    let webhook = MockWebhook::builder(config())
        .name("pod-identity-webhook.default.svc")
        .start()
        .await
        .unwrap();
    let review = review("v1", "shop", &pod("cart")).to_string();
    for name in ["localhost", "127.0.0.1", "pod-identity-webhook.default.svc"] {
        let stream = tls(&webhook, name).await.unwrap();
        let answer = send(stream, "/mutate", JSON, review.clone()).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.json()["response"]["patchType"], "JSONPatch");
    }
    tls(&webhook, "webhook.example").await.unwrap_err();
    assert_eq!(
        webhook.uri(),
        format!("https://{}/mutate", webhook.address())
    );
}

#[tokio::test]
async fn a_client_without_tls_does_not_block_others() {
    let webhook = MockWebhook::start(config()).await;
    let _silent = TcpStream::connect(webhook.address()).await.unwrap();
    let stream = tls(&webhook, "localhost").await.unwrap();
    let answer = send(stream, "/healthz", JSON, String::new()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_restart_keeps_port_and_certificate() {
    let webhook = MockWebhook::start(config()).await;
    let before = webhook.certificate_pem().map(str::to_owned);
    webhook.stop().await;
    TcpStream::connect(webhook.address()).await.unwrap_err();
    webhook.restart().await.unwrap();
    tls(&webhook, "localhost").await.unwrap();
    assert_eq!(webhook.certificate_pem(), before.as_deref());
}

#[tokio::test]
async fn the_patch_gives_a_container_its_environment() {
    let webhook = plain().await;
    let pod = pod("cart");
    let response = response(&webhook, &review("v1", "shop", &pod)).await;
    let patch = STANDARD.decode(response["patch"].as_str().unwrap());
    let patch: JsonPatch = serde_json::from_slice(&patch.unwrap()).unwrap();
    let container = PodContainer::of(&patch.apply_to(&pod).unwrap(), "app").unwrap();
    assert!(container.token().is_some());
}
