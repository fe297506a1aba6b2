//! SigV4 signatures of requests to EKS Auth and the associations API, made by the SDK's own signer.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::PayloadChecksumKind;
use http::Method;
use pod_identity_core::wire::eks_auth::path;
use pod_identity_core::{Clock, Secret};
use pod_identity_testkit::{MockEksAuth, SettableClock, SignatureCheck, SignatureError};
use serde_json::json;

use crate::common::{NOW, ROLE, token};
use crate::signing::{Signer, send};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const TEMPORARY: &str = "ASIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

async fn checking(check: SignatureCheck) -> MockEksAuth {
    let clock: Arc<dyn Clock> = Arc::new(SettableClock::at(NOW));
    let eks = MockEksAuth::builder()
        .clock(clock)
        .signatures(check)
        .node_key(KEY, Secret::from(SECRET.to_owned()))
        .node_key(TEMPORARY, Secret::from(SECRET.to_owned()))
        .start();
    let eks = eks.await.unwrap();
    eks.associate("shop", "cart", ROLE);
    eks
}

fn node() -> Signer {
    Signer::new("eks-auth", KEY, SECRET)
}

#[tokio::test]
async fn a_signature_of_the_sdk_is_valid() {
    let eks = checking(SignatureCheck::Enforce).await;
    let body = json!({ "token": token(&eks) }).to_string();
    let mut hashed = node();
    hashed.settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let mut instance = node();
    let token_of_imds = Some("t".to_owned());
    instance.credentials = Credentials::new(TEMPORARY, SECRET, token_of_imds, None, "test");
    for signer in [node(), hashed, instance] {
        let request = signer.sign(Method::POST, &path(eks.cluster()), &body);
        let answer = send(&eks, request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    let id = eks.associate("shop", "cart", ROLE);
    let arn =
        format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/test-cluster/{id}");
    let tags = format!("/tags/{}", arn.replace(':', "%3A").replace('/', "%2F"));
    let list =
        "/clusters/test-cluster/pod-identity-associations?serviceAccount=cart&namespace=shop";
    for (method, target) in [
        (Method::GET, list),
        (Method::GET, &*tags),
        (
            Method::DELETE,
            &*format!("{tags}?tagKeys=b%20c&tagKeys=a%2Fb"),
        ),
    ] {
        let request = Signer::new("eks", KEY, SECRET).sign(method, target, "");
        let answer = send(&eks, request).await;
        assert_eq!(answer.status, 200, "{target} {}", answer.body);
    }
    let requests = eks.requests();
    assert!(requests.iter().all(|it| it.signature_error.is_none()));
}

#[tokio::test]
async fn an_invalid_signature_is_refused_with_the_text_of_the_service() {
    let eks = checking(SignatureCheck::Enforce).await;
    let body = json!({ "token": token(&eks) }).to_string();
    let at = |at| Signer { at, ..node() };
    let with = |key, token: Option<&str>| Signer {
        credentials: Credentials::new(key, SECRET, token.map(str::to_owned), None, "test"),
        ..node()
    };
    let stray = "The security token included in the request is invalid.";
    let invalid = "InvalidSignatureException";
    for (signer, code, expected) in [
        (
            Signer::new("eks-auth", "AKIAUNKNOWN", SECRET),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            Signer::new("eks-auth", KEY, "wrong"),
            invalid,
            "does not match the signature you provided",
        ),
        (
            with(KEY, Some("stray")),
            "UnrecognizedClientException",
            stray,
        ),
        (with(TEMPORARY, None), "UnrecognizedClientException", stray),
        (
            Signer::new("eks", KEY, SECRET),
            invalid,
            "scoped to correct service: 'eks-auth'",
        ),
        (
            Signer {
                region: "eu-west-1",
                ..node()
            },
            invalid,
            "valid region",
        ),
        (
            at(NOW - Duration::from_secs(301)),
            invalid,
            "Signature expired: 20260301T115459Z is now earlier than 20260301T115500Z \
             (20260301T120000Z - 5 min.)",
        ),
        (
            at(NOW + Duration::from_secs(301)),
            invalid,
            "Signature not yet current: 20260301T120501Z is still later than 20260301T120500Z \
             (20260301T120000Z + 5 min.)",
        ),
    ] {
        let request = signer.sign(Method::POST, &path(eks.cluster()), &body);
        let answer = send(&eks, request).await;
        assert_eq!((answer.status, answer.code()), (403, code), "{expected}");
        assert!(answer.message().contains(expected), "{}", answer.body);
        assert!(!answer.message().contains(SECRET));
    }
    let skew = Duration::from_secs(300);
    for signed_at in [NOW - skew, NOW, NOW + skew] {
        let request = at(signed_at).sign(Method::POST, &path(eks.cluster()), &body);
        assert_eq!(send(&eks, request).await.status, 200);
    }
    assert_eq!(eks.minted().len(), 3);
}

#[tokio::test]
async fn requests_to_the_associations_api_are_signed_for_another_service() {
    let eks = checking(SignatureCheck::Enforce).await;
    let list = "/clusters/test-cluster/pod-identity-associations";
    for (signer, code) in [
        (node(), "InvalidSignatureException"),
        (
            Signer::new("eks", "AKIAUNKNOWN", SECRET),
            "UnrecognizedClientException",
        ),
        (Signer::new("eks", KEY, SECRET), ""),
    ] {
        let answer = send(&eks, signer.sign(Method::GET, list, "")).await;
        assert_eq!(answer.code(), code, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_changed_request_does_not_match_and_an_incomplete_signature_is_refused() {
    let eks = checking(SignatureCheck::Enforce).await;
    let body = json!({ "token": token(&eks) }).to_string();
    let signed = || node().sign(Method::POST, &path(eks.cluster()), &body);

    let mut other_body = signed();
    *other_body.body_mut() = body.replace('}', " }").into();
    let mut other_header = signed();
    other_header
        .headers_mut()
        .insert("x-odd", "three spaces".parse().unwrap());
    let mut half = signed();
    let header = "AWS4-HMAC-SHA256 Credential=x".parse().unwrap();
    half.headers_mut().insert("authorization", header);
    let mut none = signed();
    none.headers_mut().remove("authorization");
    for (request, status, code) in [
        (other_body, 403, "InvalidSignatureException"),
        (other_header, 403, "InvalidSignatureException"),
        (half, 400, "IncompleteSignatureException"),
        (none, 403, "MissingAuthenticationTokenException"),
    ] {
        let answer = send(&eks, request).await;
        assert_eq!((answer.status, answer.code()), (status, code));
    }
}

#[tokio::test]
async fn in_warning_mode_an_invalid_signature_is_recorded_and_accepted() {
    let eks = checking(SignatureCheck::Warn).await;
    let body = json!({ "token": token(&eks) }).to_string();
    for signer in [Signer::new("eks-auth", KEY, "wrong"), node()] {
        let request = signer.sign(Method::POST, &path(eks.cluster()), &body);
        assert_eq!(send(&eks, request).await.status, 200);
    }
    let errors: Vec<_> = eks
        .requests()
        .into_iter()
        .map(|it| it.signature_error)
        .collect();
    assert_eq!(errors, [Some(SignatureError::Mismatch), None]);
    eks.assert_no_secrets(&format!("{eks:?}"));
    assert!(!format!("{eks:?}").contains(SECRET));
}
