use serde_json::json;

use crate::http;
use crate::process::{Mock, soon};

#[tokio::test]
async fn it_mutates_the_pods_of_the_service_accounts_that_it_was_told_of() {
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
async fn over_tls_the_ready_line_has_its_certificate() {
    let mock = Mock::start(&["webhook"]).await;
    assert!(mock.text("/endpoint").starts_with("https://127.0.0.1:"));
    assert!(
        mock.text("/certificate_pem")
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
}
