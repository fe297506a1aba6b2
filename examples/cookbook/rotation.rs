use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{MockAgent, TokenPolicy};

#[tokio::test]
async fn a_token_that_kubelet_replaced_is_not_sent_again() {
    let agent = MockAgent::builder().token_policy(TokenPolicy::Current);
    let agent = agent.start().await.unwrap();
    agent.expect().times(2).token_reread().no_bearer_prefix();

    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    provider.credentials().await.unwrap();
    agent.rotate();
    provider.refresh_now().await.unwrap();
}
