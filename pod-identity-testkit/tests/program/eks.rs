use crate::http;
use crate::process::{Mock, soon};

#[tokio::test]
async fn the_ready_line_contains_what_a_caller_of_eks_auth_needs() {
    let role = "arn:aws:iam::111122223333:role/cart";
    let associate = format!("shop/cart={role}");
    let mock = Mock::start(&[
        "eks",
        "--cluster-name",
        "prod",
        "--region",
        "eu-west-1",
        "--namespace",
        "shop",
        "--service-account",
        "cart",
        "--associate",
        &associate,
    ])
    .await;
    let endpoint = mock.text("/endpoint");
    for service in ["EKS", "EKS_AUTH", "STS"] {
        assert_eq!(
            mock.text(&format!("/env/AWS_ENDPOINT_URL_{service}")),
            endpoint
        );
    }
    assert_eq!(mock.text("/env/AWS_REGION"), "eu-west-1");

    let answer = assume_role(&mock).await;
    assert_eq!(answer.status, Some(200), "{}", answer.body);
    let arn = answer.json()["assumedRoleUser"]["arn"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(arn.contains(":assumed-role/cart/eks-prod-"), "{arn}");

    let seen = mock.requests().await;
    assert_eq!(seen[0]["operation"], "AssumeRoleForPodIdentity");
    assert_eq!(seen[0]["pod"]["service_account"], "cart");
}

#[tokio::test]
async fn faults_of_eks_auth_can_be_set_and_cleared() {
    let associate = "default/app=arn:aws:iam::111122223333:role/app";
    let mock = Mock::start(&["eks", "--associate", associate]).await;
    for (fault, status) in [
        (r#"{"error": "ThrottlingException"}"#, Some(429)),
        (r#"{"status": 502, "latency": "1ms"}"#, Some(502)),
        (r#"{"malformed": true}"#, Some(200)),
        (r#"{"close": "before_headers"}"#, None),
    ] {
        mock.admin("POST", "/faults", fault).await;
        assert_eq!(assume_role(&mock).await.status, status, "{fault}");
    }
    mock.admin("POST", "/faults", r#"{"status": 500, "always": true}"#)
        .await;
    assert_eq!(assume_role(&mock).await.status, Some(500));
    mock.admin("DELETE", "/faults", "").await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
}

#[tokio::test]
async fn a_fault_can_be_limited_to_one_operation() {
    let associate = "default/app=arn:aws:iam::111122223333:role/app";
    let mock = Mock::start(&["eks", "--associate", associate]).await;
    let operation = "ListPodIdentityAssociations";
    let fault = format!(r#"{{"operation": "{operation}", "error": "ServerException"}}"#);
    mock.admin("POST", "/faults", &fault).await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
    let uri = format!(
        "{}/clusters/{}/pod-identity-associations",
        mock.text("/endpoint"),
        mock.text("/cluster")
    );
    // The mock itself requires a signature.
    for status in [500, 403] {
        let answer = soon(http::send("GET", &uri, &[], "")).await;
        assert_eq!(answer.status, Some(status), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_token_that_expired_is_refused_until_it_is_rotated() {
    let associate = "default/app=arn:aws:iam::111122223333:role/app";
    let mock = Mock::start(&["eks", "--associate", associate]).await;
    mock.admin("POST", "/clock", r#"{"advance_seconds": 90000}"#)
        .await;
    let refused = assume_role(&mock).await;
    assert_eq!(refused.status, Some(400));
    assert!(refused.body.contains("xpired"), "{}", refused.body);
    mock.admin("POST", "/rotate", "").await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
}

/// The other mock represents a real cluster: it serves its keys, and signs with another key than its first.
#[tokio::test]
async fn tokens_of_a_real_cluster_and_no_others_are_accepted() {
    let cluster = Mock::start(&["eks", "--region", "eu-west-1"]).await;
    let endpoint = cluster.text("/endpoint");
    let keys = format!("{endpoint}/openid/v1/jwks");
    let discovery = format!("{endpoint}/.well-known/openid-configuration");
    let document = soon(http::send("GET", &discovery, &[], "")).await.json();
    let issuer = document["issuer"].as_str().unwrap().to_owned();
    let saved = tempfile::NamedTempFile::new().unwrap();
    let body = soon(http::send("GET", &keys, &[], "")).await.body;
    std::fs::write(saved.path(), &body).unwrap();

    let associate = "default/app=arn:aws:iam::111122223333:role/app";
    for jwks in [keys.as_str(), saved.path().to_str().unwrap()] {
        let mock = Mock::start(&[
            "eks",
            "--issuer",
            &issuer,
            "--jwks",
            jwks,
            "--associate",
            associate,
        ])
        .await;
        assert_eq!(mock.ready["token_file"], serde_json::Value::Null);
        let token = std::fs::read_to_string(cluster.text("/token_file")).unwrap();
        assert_eq!(assume_role_with(&mock, &token).await.status, Some(200));
        let served = format!("{}/keys", mock.text("/endpoint"));
        let served = soon(http::send("GET", &served, &[], "")).await.json();
        assert_eq!(
            served,
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        );
    }
    for (jwks, reason) in [
        ("/nowhere/jwks.json", "/nowhere/jwks.json"),
        (&format!("{endpoint}/nothing"), "404"),
        ("https://127.0.0.1:1/keys", "refused"),
        ("ftp://127.0.0.1/keys", "http or https"),
    ] {
        let output = crate::process::run(&["eks", "--issuer", &issuer, "--jwks", jwks]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
}

/// Sends the request of a node, with a signature that is only well-formed.
pub(crate) async fn assume_role(mock: &Mock) -> http::Answer {
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    assume_role_with(mock, &token).await
}

pub(crate) async fn assume_role_with(mock: &Mock, token: &str) -> http::Answer {
    let cluster = mock.text("/cluster");
    let uri = format!(
        "{}/clusters/{cluster}/assume-role-for-pod-identity",
        mock.text("/endpoint")
    );
    let body = serde_json::json!({ "token": token }).to_string();
    let signature = signature(mock);
    let headers = [
        ("authorization", signature.as_str()),
        ("x-amz-date", "20260301T000000Z"),
    ];
    soon(http::send("POST", &uri, &headers, &body)).await
}

/// A value of the header `authorization` that is only well-formed. `x-amz-date` belongs to it.
pub(crate) fn signature(mock: &Mock) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={}/20260301/{}/eks-auth/aws4_request, SignedHeaders=host, Signature=00",
        mock.text("/access_key_id"),
        mock.text("/region"),
    )
}
