//! The refusals of the mock, in the order of its checks.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use pod_identity_core::wire::eks_auth::path;
use pod_identity_testkit::Issuer;

use crate::common::{Client, NOW, assume, shop, signed, token};

const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const NO_ASSOCIATION: &str =
    "The token included in the request has no service account role association for it.";

#[tokio::test]
async fn a_token_is_refused_for_its_first_defect() {
    let (eks, _clock) = shop().await;
    let good = || eks.issuer().token("shop", "cart");
    let hour_ago = NOW - HOUR;
    let invalid = "InvalidTokenException";
    for (token, status, code, expected) in [
        (
            "no-jwt".to_owned(),
            400,
            invalid,
            "invalid number of segments",
        ),
        (
            good().forged().mint(NOW),
            400,
            invalid,
            "signature is invalid",
        ),
        (
            good().forged().lifetime(HOUR).mint(hour_ago),
            400,
            invalid,
            "signature is invalid",
        ),
        (
            Issuer::for_region("eu-west-1")
                .token("shop", "cart")
                .mint(NOW),
            400,
            invalid,
            "invalid issuer",
        ),
        (good().unsigned().mint(NOW), 400, invalid, "not signed"),
        (good().without_claim("exp").mint(NOW), 400, invalid, "exp"),
        (
            good().without_claim("iss").mint(NOW),
            400,
            invalid,
            "issuer",
        ),
        (
            good().without_claim("aud").mint(NOW),
            400,
            invalid,
            "audience",
        ),
        (
            good().without_claim("sub").mint(NOW),
            400,
            invalid,
            "no subject",
        ),
        (
            good()
                .claim("sub", "system:serviceaccount:shop:other")
                .mint(NOW),
            400,
            invalid,
            "subject is not its service account",
        ),
        (
            with_header(&good().mint(NOW), r#""crit":["exp"]"#),
            400,
            invalid,
            "critical header parameters",
        ),
        (
            good().without_claim("kubernetes.io").mint(NOW),
            400,
            invalid,
            "is invalid",
        ),
        (
            good().audience("sts.amazonaws.com").mint(NOW),
            400,
            invalid,
            "invalid audience",
        ),
        (
            good()
                .audience("sts.amazonaws.com")
                .lifetime(HOUR)
                .mint(hour_ago),
            400,
            invalid,
            "invalid audience",
        ),
        (
            good().issued_at(NOW + HOUR).mint(NOW),
            400,
            invalid,
            "not valid yet",
        ),
        (
            good().lifetime(HOUR).mint(hour_ago),
            400,
            "ExpiredTokenException",
            "is expired",
        ),
        (
            eks.issuer()
                .token("shop", "other")
                .lifetime(HOUR)
                .mint(hour_ago),
            400,
            "ExpiredTokenException",
            "is expired",
        ),
        (
            eks.issuer().token("shop", "other").mint(NOW),
            404,
            "ResourceNotFoundException",
            NO_ASSOCIATION,
        ),
        (
            eks.issuer().token("other", "cart").mint(NOW),
            404,
            "ResourceNotFoundException",
            NO_ASSOCIATION,
        ),
    ] {
        let answer = assume(&eks, &token).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{expected}");
        assert!(answer.message().contains(expected), "{}", answer.body);
        eks.assert_no_secrets(&answer.body);
        assert!(!answer.body.contains(&token), "{expected}");
    }
    assert_eq!(eks.minted().len(), 0);
}

#[tokio::test]
async fn a_request_is_checked_before_its_token() {
    let (eks, _clock) = shop().await;
    let token = token(&eks);
    let good = serde_json::json!({ "token": token }).to_string();
    let own = path(eks.cluster());
    for (path, body, status, code, expected) in [
        (
            path("prod"),
            good.as_str(),
            404,
            "ResourceNotFoundException",
            "No cluster found for name: prod.",
        ),
        (
            path("prod"),
            "junk",
            404,
            "ResourceNotFoundException",
            "No cluster found for name: prod.",
        ),
        (
            own.clone(),
            "junk",
            400,
            "InvalidRequestException",
            "semantic error",
        ),
        (
            own.clone(),
            "{}",
            400,
            "InvalidRequestException",
            "semantic error",
        ),
        (
            own.clone(),
            r#"{"token":""}"#,
            400,
            "InvalidParameterException",
            "parameter is invalid",
        ),
        (
            "/clusters".to_owned(),
            good.as_str(),
            404,
            "UnknownOperationException",
            "Unknown",
        ),
        (
            "/clusters//assume-role-for-pod-identity".to_owned(),
            good.as_str(),
            404,
            "UnknownOperationException",
            "Unknown",
        ),
    ] {
        let mut client = Client::connect(&eks).await.unwrap();
        let answer = client.post(&path, body.to_owned()).await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{path} {expected}"
        );
        assert!(answer.message().contains(expected), "{}", answer.body);
        assert_eq!(answer.header("x-amzn-RequestId").len(), 36);
    }
}

#[tokio::test]
async fn an_endless_body_is_refused() {
    let (eks, _clock) = shop().await;
    let body = serde_json::json!({ "token": "x".repeat(40_000) }).to_string();
    let mut client = Client::connect(&eks).await.unwrap();
    // The server may close while the rest of the body is still on its way.
    if let Ok(answer) = client.post(&path(eks.cluster()), body).await {
        assert_eq!(
            (answer.status, answer.code()),
            (400, "InvalidRequestException")
        );
    }
    assert_eq!(eks.requests()[0].token, None);
}

#[tokio::test]
async fn a_request_without_a_signature_or_by_another_method_is_refused() {
    let (eks, _clock) = shop().await;
    let path = path(eks.cluster());
    let mut client = Client::connect(&eks).await.unwrap();
    for (authorization, status) in [
        (None, 403),
        (Some("Bearer x"), 403),
        (Some("AWS4-HMAC-SHA256 …"), 200),
    ] {
        let mut request = Request::post(&path).header("host", "eks-auth.test");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let body = serde_json::json!({ "token": token(&eks) }).to_string();
        let answer = client
            .send(request.body(body.into()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{authorization:?}");
        let code = if status == 403 {
            "MissingAuthenticationTokenException"
        } else {
            ""
        };
        assert_eq!(answer.code(), code);
    }
    let get = signed(&path)
        .method("GET")
        .body(String::new().into())
        .unwrap();
    assert_eq!(client.send(get).await.unwrap().status, 404);
}

/// Returns a token with one more parameter in its header, which its signature does not cover.
fn with_header(token: &str, parameter: &str) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let header = header.replacen('{', &format!("{{{parameter},"), 1);
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}
