use pod_identity_provider::{Clock, PodIdentityProvider, SystemClock};
use pod_identity_testkit::{
    MockAgent, MockEksAuth, PodContainer, ProjectedVolume, WebhookConfig, admit_pod,
};
use serde_json::Value;

#[tokio::test]
async fn the_charts_pod_gets_the_credentials_of_its_association() {
    let eks = MockEksAuth::start().await;
    eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
    let agent = MockAgent::builder().eks_auth(&eks).start().await.unwrap();

    let pod: Value = serde_json::from_str(include_str!("pod.json")).unwrap();
    let webhook = WebhookConfig::new()
        .identity("shop", "cart")
        .full_uri(agent.uri());
    let pod = admit_pod(&pod, &webhook).unwrap();

    let container = PodContainer::of(&pod, "app").unwrap();
    let token = container
        .token_builder(eks.issuer())
        .expect("no token is mounted");
    let volume = ProjectedVolume::new().unwrap();
    volume.write(token.mint(SystemClock.now())).unwrap();
    let env = container.env_with(&volume);
    let provider = PodIdentityProvider::from_lookup(|name| env.get(name).cloned());
    provider.credentials().await.unwrap();
}
