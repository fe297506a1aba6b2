//! What `reqsign` signs with.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use pod_identity_provider::{Clock, PodIdentityProvider, RefreshPolicy, SystemClock};
use pod_identity_testkit::{Fault, MockAgent, SettableClock};
use reqsign::aws::RequestSigner;
use reqsign::{Context, ErrorKind, ProvideCredential, Signer};

fn request() -> Parts {
    let request = http::Request::get("https://bucket.s3.us-west-2.amazonaws.com/object");
    request.body(()).unwrap().into_parts().0
}

async fn signed(provider: &PodIdentityProvider) -> reqsign::Result<Parts> {
    let sign = RequestSigner::new("s3", "us-west-2");
    let mut request = request();
    Signer::new(Context::new(), provider.clone(), sign)
        .sign(&mut request, None)
        .await?;
    Ok(request)
}

#[tokio::test]
async fn a_request_is_signed_with_the_held_set() {
    let agent = MockAgent::start().await;
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let request = signed(&provider).await.unwrap();

    let held = provider.snapshot().unwrap();
    let signed_by = format!("AWS4-HMAC-SHA256 Credential={}/", held.access_key_id());
    let header = |name| request.headers[name].to_str().unwrap();
    assert!(header("authorization").starts_with(&signed_by));
    let token = held.session_token().expose();
    assert_eq!(header("x-amz-security-token"), token);
}

#[tokio::test]
async fn the_signer_learns_the_expiry() {
    let agent = MockAgent::start().await;
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let given = provider.provide_credential(&Context::new()).await;
    let expires = given.unwrap().unwrap().expires_in.unwrap();
    let held = provider.snapshot().unwrap().expiration();
    assert_eq!(expires.as_second(), held.as_unix_secs());
}

// An expired set is announced with some seconds of life: reqsign refuses one with a past expiry.
#[tokio::test]
async fn an_expired_set_still_signs() {
    let clock = Arc::new(SettableClock::at(
        SystemClock.now() - Duration::from_secs(7 * 3600),
    ));
    let agent = MockAgent::builder()
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .clock(clock.clone())
        .policy(RefreshPolicy::provider().with_attempts(1))
        .build()
        .unwrap();
    provider.warm_up().await.unwrap();
    agent.stop().await;
    clock.set(SystemClock.now());
    provider.refresh_now().await.unwrap_err();
    signed(&provider).await.unwrap();
}

#[tokio::test]
async fn without_configuration_there_is_no_credential_and_any_other_problem_is_an_error() {
    let unset = PodIdentityProvider::from_lookup(|_| None);
    let given = unset.provide_credential(&Context::new()).await.unwrap();
    assert!(given.is_none());

    let agent = MockAgent::start().await;
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .policy(RefreshPolicy::provider().with_attempts(1))
        .build()
        .unwrap();
    for (status, kind, retryable) in [
        (404, ErrorKind::PermissionDenied, false),
        (400, ErrorKind::PermissionDenied, false),
        (429, ErrorKind::RateLimited, true),
        (503, ErrorKind::Unexpected, true),
    ] {
        agent.inject(Fault::text(status, "for a reason"));
        let error = signed(&provider).await.unwrap_err();
        let text = format!("{} refused: HTTP {status}: for a reason", agent.address());
        assert_eq!(error.to_string(), text);
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable));
        agent.assert_no_secrets(&format!("{error:?}"));
    }
    let wrong = |name: &str| {
        name.ends_with("FULL_URI")
            .then(|| "http://10.0.0.7/".to_owned())
    };
    let error = signed(&PodIdentityProvider::from_lookup(wrong))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
}
