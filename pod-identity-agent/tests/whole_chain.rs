//! Provider → agent → EKS Auth, in one process on loopback, while kubelet rotates the token.
#![cfg(test)]
#![cfg(unix)]

mod support;

use std::collections::HashMap;

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use pod_identity_core::{Timestamp, TokenDigest, variables};
use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::ProjectedVolume;

use support::scene::Scene;
use support::{HOUR, NOW, soon};

#[tokio::test]
async fn an_application_gets_the_credentials_that_eks_auth_minted() {
    let chain = Chain::start().await;
    let credentials = chain.credentials().await;
    assert_eq!(chain.scene.eks.minted(), [credentials.access_key_id()]);
    let account = credentials.account_id().unwrap();
    assert_eq!(account.as_str(), "111122223333");
    assert_eq!(expiry(&credentials), NOW + 6 * HOUR);
}

#[tokio::test]
async fn a_day_passes_and_the_rotated_token_is_the_one_that_is_used() {
    let chain = Chain::start().await;
    let mut keys = vec![chain.credentials().await.access_key_id().to_owned()];
    let mut tokens = vec![chain.token.clone()];
    for hour in 1..=48 {
        chain.scene.clock.set(NOW + hour * HOUR);
        if hour % 19 == 0 {
            // kubelet, at 80 % of 24 hours.
            tokens.push(chain.rotate());
        }
        let credentials = chain.credentials().await;
        assert!(expiry(&credentials) > NOW + hour * HOUR, "hour {hour}");
        if keys.last().unwrap() != credentials.access_key_id() {
            keys.push(credentials.access_key_id().to_owned());
        }
    }
    assert!(keys.len() > 48 / 6, "{} sets in 48 hours", keys.len());
    let digests = tokens.iter().map(|token| TokenDigest::of(token.as_bytes()));
    let digests: Vec<TokenDigest> = digests.collect();
    let requests = chain.scene.eks.requests();
    let used: Vec<usize> = requests
        .iter()
        .map(|request| {
            digests
                .iter()
                .position(|digest| Some(*digest) == request.token)
        })
        .map(|token| token.expect("only tokens of this pod"))
        .collect();
    assert_eq!(used.first(), Some(&0));
    assert_eq!(used.last(), Some(&2), "the second rotation is at hour 38");
    assert!(requests.iter().all(|request| {
        request
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.status == 200)
    }));
}

#[tokio::test]
async fn an_outage_of_eks_auth_after_the_rotation_is_not_noticed() {
    let chain = Chain::start().await;
    let before = chain.credentials().await;
    chain.rotate();
    chain.scene.eks.stop().await;
    chain.scene.clock.advance(5 * HOUR);
    let during = chain.credentials().await;
    assert_eq!(during.access_key_id(), before.access_key_id());

    chain.scene.eks.restart().await.unwrap();
    chain.scene.clock.advance(HOUR);
    let after = chain.credentials().await;
    assert_ne!(after.access_key_id(), before.access_key_id());
}

fn expiry(credentials: &Credentials) -> Timestamp {
    credentials.expiry().unwrap().into()
}

/// A pod: its token volume, its environment, and a provider that has read it.
struct Chain {
    scene: Scene,
    volume: ProjectedVolume,
    provider: PodIdentityProvider,
    token: String,
}

impl Chain {
    async fn start() -> Self {
        let scene = Scene::start().await;
        let volume = ProjectedVolume::new().unwrap();
        let token = scene.token();
        volume.write(&token).unwrap();
        let environment = HashMap::from([
            (
                variables::FULL_URI,
                format!("http://{}/v1/credentials", scene.address),
            ),
            (
                variables::TOKEN_FILE,
                volume.token_path().display().to_string(),
            ),
        ]);
        let provider = PodIdentityProvider::builder()
            .environment(move |name| environment.get(name).cloned())
            .clock(scene.clock.clone())
            .build()
            .unwrap();
        Self {
            scene,
            volume,
            provider,
            token,
        }
    }

    /// Puts the next token in place, as kubelet does.
    fn rotate(&self) -> String {
        let token = self.scene.token();
        self.volume.write(&token).unwrap();
        token
    }

    /// What an SDK client asks for.
    async fn credentials(&self) -> Credentials {
        soon(self.provider.provide_credentials()).await.unwrap()
    }
}
