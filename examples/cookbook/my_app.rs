use pod_identity_provider::{FetchError, PodIdentityProvider};
use pod_identity_testkit::{Fault, MockAgent};

/// The app, which `main` gives `PodIdentityProvider::from_env()`.
async fn presigned_link(provider: &PodIdentityProvider) -> Result<String, FetchError> {
    let credentials = provider.credentials().await?;
    let key = credentials.access_key_id();
    Ok(format!("https://example.com/?X-Amz-Credential={key}"))
}

#[tokio::test]
async fn a_throttled_agent_goes_unnoticed() {
    let agent = MockAgent::start().await;
    agent.expect().times(2).single_flight();
    agent.inject(Fault::status(503));

    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let link = presigned_link(&provider).await.unwrap();
    assert!(link.ends_with(&agent.served()[0]));
}
