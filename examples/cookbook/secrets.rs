use http::header::AUTHORIZATION;
use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{Fault, MockAgent};

#[tokio::test]
async fn output_contains_no_secret() {
    let agent = MockAgent::start().await;
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let credentials = provider.credentials().await.unwrap();
    // The worst case: the agent sends the token back.
    agent.inject(Fault::respond(|request| {
        let token = request.headers()[AUTHORIZATION].as_bytes().to_vec();
        let refusal = http::Response::builder().status(403);
        refusal.body(token).unwrap()
    }));
    let error = provider.refresh_now().await.unwrap_err();
    agent.assert_no_secrets(&format!("{error} {error:?} {provider:?} {credentials:?}"));
}
