//! STS `GetCallerIdentity`: the owner of credentials.

use std::time::Duration;

use http::Method;
use pod_identity_core::Secret;
use pod_identity_core::wire::eks_auth::AssumeRoleResponse;
use pod_identity_testkit::{Association, MockEksAuth, Operation, SignatureError};

use crate::common::{Answered, NOW, ROLE, assume, shop, token};
use crate::signing::{Signer, send};

const FORM: &str = "Action=GetCallerIdentity&Version=2011-06-15";

async fn granted(eks: &MockEksAuth) -> AssumeRoleResponse {
    serde_json::from_str(&assume(eks, &token(eks)).await.body).unwrap()
}

async fn ask(eks: &MockEksAuth, signer: &Signer) -> Answered {
    send(eks, signer.sign(Method::POST, "/", FORM)).await
}

fn element<'a>(answer: &'a Answered, name: &str) -> &'a str {
    let (_, rest) = answer.body.split_once(&format!("<{name}>")).unwrap();
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[tokio::test]
async fn minted_credentials_belong_to_their_session() {
    let (eks, _clock) = shop().await;
    let granted = granted(&eks).await;
    let signer = Signer::of("sts", &granted);
    let query = format!("/?{FORM}");
    for request in [
        signer.sign(Method::POST, "/", FORM),
        signer.sign(Method::GET, &query, ""),
        signer.clone().presigned().sign(Method::GET, &query, ""),
    ] {
        let answer = send(&eks, request).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/xml"),
            "{}",
            answer.body
        );
        assert_eq!(element(&answer, "Arn"), granted.assumed_role_user.arn);
        assert_eq!(
            element(&answer, "UserId"),
            granted.assumed_role_user.assume_role_id
        );
        assert_eq!(element(&answer, "Account"), "111122223333");
        assert_eq!(
            element(&answer, "RequestId"),
            answer.header("x-amzn-RequestId")
        );
    }
    let requests = eks.requests();
    assert_eq!(requests[1].operation, Operation::GetCallerIdentity);
    eks.assert_no_secrets(&format!("{requests:?} {eks:?}"));
    assert!(requests[3].path.contains("X-Amz-Signature=redacted"));
}

#[tokio::test]
async fn key_token_and_signature_must_be_valid() {
    let (eks, clock) = shop().await;
    let granted = granted(&eks).await;
    let mut other_token = granted.clone();
    other_token.credentials.session_token = Secret::from("other".to_owned());
    let mut other_secret = granted.clone();
    other_secret.credentials.secret_access_key = Secret::from("other".to_owned());
    let key = &granted.credentials.access_key_id;
    let secret = granted.credentials.secret_access_key.expose();

    let unknown = "InvalidClientTokenId";
    let mismatch = "SignatureDoesNotMatch";
    for (signer, code) in [
        (Signer::new("sts", "AKIAUNKNOWN", "x"), unknown),
        (Signer::new("sts", key, secret), unknown),
        (Signer::of("sts", &other_token), unknown),
        (Signer::of("sts", &other_secret), mismatch),
        (Signer::of("s3", &granted), mismatch),
    ] {
        let answer = ask(&eks, &signer).await;
        assert_eq!((answer.status, element(&answer, "Code")), (403, code));
        let recorded = eks.requests().pop().unwrap();
        assert!(recorded.signature_error.is_some());
        assert_eq!(recorded.outcome.unwrap().code.as_deref(), Some(code));
        eks.assert_no_secrets(&answer.body);
    }
    let mut elsewhere = Signer::of("sts", &granted);
    elsewhere.region = "us-east-1";
    assert_eq!(
        ask(&eks, &elsewhere).await.status,
        200,
        "the global endpoint"
    );

    clock.advance(Duration::from_secs(6 * 3600));
    let answer = ask(&eks, &Signer::of("sts", &granted)).await;
    assert_eq!(
        (answer.status, element(&answer, "Code")),
        (403, "ExpiredToken")
    );
    let recorded = eks.requests().pop().unwrap();
    assert_eq!(recorded.signature_error, Some(SignatureError::Expired));
}

#[tokio::test]
async fn other_actions_and_unsigned_requests_are_refused() {
    let (eks, _clock) = shop().await;
    let signer = Signer::of("sts", &granted(&eks).await);
    let form = "Action=GetSessionToken&Version=2011-06-15";
    let answer = send(&eks, signer.sign(Method::POST, "/", form)).await;
    assert_eq!(
        (answer.status, element(&answer, "Code")),
        (400, "InvalidAction")
    );

    let unsigned = http::Request::post("/").header("host", "sts.test");
    let answer = send(&eks, unsigned.body(FORM.to_owned().into()).unwrap()).await;
    assert_eq!(answer.status, 403);
    assert_eq!(element(&answer, "Code"), "MissingAuthenticationToken");
}

#[tokio::test]
async fn a_session_can_be_read_back_with_its_tags() {
    let (eks, _clock) = shop().await;
    let first = granted(&eks).await;
    let session = eks.session(&first.credentials.access_key_id).unwrap();
    assert_eq!(session.arn, first.assumed_role_user.arn);
    assert_eq!(session.role_arn, ROLE);
    assert_eq!(
        (session.account(), &session.policy),
        ("111122223333", &None)
    );
    assert_eq!(session.expiration, NOW + Duration::from_secs(6 * 3600));
    let claims = eks.requests()[0].claims.clone().unwrap();
    for (key, value) in [
        (
            "eks-cluster-arn",
            "arn:aws:eks:us-west-2:111122223333:cluster/test-cluster",
        ),
        ("eks-cluster-name", "test-cluster"),
        ("kubernetes-namespace", "shop"),
        ("kubernetes-service-account", "cart"),
        ("kubernetes-pod-name", "cart-0123456789"),
        ("kubernetes-pod-uid", &claims.pod_uid.unwrap()),
    ] {
        assert_eq!(session.tags.get(key).map(String::as_str), Some(value));
    }
    assert_eq!(session.tags.len(), 6);

    eks.add(
        Association::new("shop", "cart", ROLE)
            .disable_session_tags()
            .policy("{}"),
    );
    let second = granted(&eks).await;
    let session = eks.session(&second.credentials.access_key_id).unwrap();
    assert_eq!(
        (session.tags.len(), session.policy.as_deref()),
        (0, Some("{}"))
    );
    assert_eq!(eks.session("ASIAUNKNOWN"), None);
}
