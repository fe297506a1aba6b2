use serde_json::json;

use crate::http;
use crate::process::{Mock, soon};

#[tokio::test]
async fn it_mutates_pods_of_the_configured_service_accounts() {
    let mock = Mock::start(&["webhook", "--plain", "--identity", "shop/cart"]).await;
    for (account, patched) in [("cart", true), ("other", false)] {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "namespace": "shop",
                "object": {
                    "metadata": {"name": "cart-0", "namespace": "shop"},
                    "spec": {"serviceAccountName": account, "containers": [{"name": "app"}]},
                },
            },
        });
        let headers = [("content-type", "application/json")];
        let uri = mock.text("/endpoint");
        let answer = soon(http::send("POST", uri, &headers, &review.to_string())).await;
        assert_eq!(answer.status, Some(200), "{}", answer.body);
        let response = &answer.json()["response"];
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patch"].is_string(), patched, "{account}");
    }
}

#[tokio::test]
async fn with_tls_the_ready_line_contains_the_certificate() {
    let mock = Mock::start(&["webhook"]).await;
    assert!(mock.text("/endpoint").starts_with("https://127.0.0.1:"));
    assert!(
        mock.text("/certificate_pem")
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
}

#[tokio::test]
async fn a_certificate_in_files_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
    let [cert_text, key_text] = [&cert, &key].map(|path| path.to_str().unwrap());
    let arguments = ["webhook", "--cert", cert_text, "--key", key_text];
    let first = Mock::start(&arguments)
        .await
        .text("/certificate_pem")
        .to_owned();
    let second = Mock::start(&arguments)
        .await
        .text("/certificate_pem")
        .to_owned();
    assert_eq!(first, second);
    assert_eq!(std::fs::read_to_string(&cert).unwrap(), first);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    std::fs::write(&key, "no key").unwrap();
    let output = crate::process::run(&arguments).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("tls.crt"), "{stderr}");
    std::fs::remove_file(&cert).unwrap();
    let output = crate::process::run(&arguments).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("tls.crt: No such file"),
        "it overwrites no key: {stderr}"
    );
}

#[tokio::test]
async fn flags_set_what_is_injected() {
    let mock = Mock::start(&[
        "webhook",
        "--plain",
        "--identity",
        "shop/cart",
        "--full-uri",
        "http://agent.test/v1/credentials",
        "--audience",
        "me",
        "--mount-path",
        "/token",
        "--volume-name",
        "volume",
        "--token-path",
        "file",
        "--region",
        "eu-west-1",
        "--annotation-prefix",
        "example.com",
        "--annotate",
        "shop/cart:example.com/token-expiration=3600",
    ])
    .await;
    let object = json!({"spec": {"serviceAccountName": "cart", "containers": [{"name": "app"}]}});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "1", "namespace": "shop", "object": object},
    });
    let headers = [("content-type", "application/json")];
    let review = review.to_string();
    let answer = http::send("POST", mock.text("/endpoint"), &headers, &review);
    let answer = soon(answer).await.json();
    let patch = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        answer["response"]["patch"].as_str().unwrap(),
    );
    let patch: serde_json::Value = serde_json::from_slice(&patch.unwrap()).unwrap();
    assert_eq!(
        patch[1]["value"][0],
        json!({
            "name": "volume",
            "projected": {"sources": [{"serviceAccountToken": {
                "audience": "me", "expirationSeconds": 3600, "path": "file",
            }}]},
        })
    );
    let container = &patch[2]["value"][0];
    assert_eq!(
        container["env"],
        json!([
            {"name": "AWS_DEFAULT_REGION", "value": "eu-west-1"},
            {"name": "AWS_REGION", "value": "eu-west-1"},
            {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://agent.test/v1/credentials"},
            {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/token/file"},
        ])
    );
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/token");
}
