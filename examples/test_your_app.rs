//! Testing an app of one's own, without a cluster.
//! Run: `cargo test -p pod-identity-examples --test test_your_app`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use pod_identity_provider::{Clock, FetchError, PodIdentityProvider, SystemClock};
use pod_identity_testkit::{Fault, MockAgent, SettableClock, TokenPolicy};

/// The app: it takes its provider as an argument, which is `PodIdentityProvider::from_env()` in its
/// `main`.
async fn presigned_link(provider: &PodIdentityProvider) -> Result<String, FetchError> {
    let credentials = provider.credentials().await?;
    let key = credentials.access_key_id();
    Ok(format!("https://example.com/?X-Amz-Credential={key}"))
}

#[tokio::test]
async fn the_link_is_signed_with_the_pods_key() {
    let agent = MockAgent::start().await;
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let link = presigned_link(&provider).await.unwrap();
    assert!(link.ends_with(&agent.served()[0]));
}

#[tokio::test]
async fn without_an_association_the_error_names_the_cause() {
    let agent = MockAgent::start().await;
    agent.inject_always(Fault::text(404, "no service account role association"));
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let error = presigned_link(&provider).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no service account role association")
    );
    agent.assert_no_secrets(&format!("{error:?}"));
}

#[tokio::test]
async fn a_thousand_concurrent_users_cause_one_request() {
    let agent = MockAgent::start().await;
    agent.expect().times(1);
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let provider = provider.clone();
        users.spawn(async move { presigned_link(&provider).await.unwrap() });
    }
    users.join_all().await;
}

#[tokio::test]
async fn a_day_later_with_another_token_there_is_another_key() {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let agent = MockAgent::builder()
        .clock(clock.clone())
        .token_policy(TokenPolicy::Current);
    let agent = agent.start().await.unwrap();
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .clock(clock.clone());
    let provider = provider.build().unwrap();

    let link = presigned_link(&provider).await.unwrap();
    clock.advance(Duration::from_secs(20 * 3600));
    agent.rotate();
    assert_ne!(presigned_link(&provider).await.unwrap(), link);
}
