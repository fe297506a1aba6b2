//! Manifest → environment and token → SDK or provider → agent → EKS Auth, on loopback, while kubelet
//! rotates the token.

use std::collections::{BTreeMap, HashMap};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use pod_identity_core::{Clock, Secret, SystemClock, Timestamp, TokenDigest, variables};
use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{Operation, PodContainer, PodToken, WebhookConfig, mutate_pod};
use serde_json::json;
use tokio::time::sleep;

use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, MINUTE, NOW, soon};

#[tokio::test]
async fn an_application_gets_the_credentials_that_eks_auth_minted() {
    let chain = Chain::start().await;
    let credentials = chain.credentials().await;
    assert_eq!(chain.scene.eks.minted(), [credentials.access_key_id()]);
    let account = credentials.account_id().unwrap();
    assert_eq!(account.as_str(), "111122223333");
    // The provider holds them for six hours; it reports ten minutes to the SDK, so that the SDK's cache returns.
    assert_eq!(expiry(&credentials), NOW + 10 * MINUTE);
}

/// In virtual time, so that nothing is in flight while time passes.
#[tokio::test(start_paused = true)]
async fn after_a_day_the_rotated_token_is_used() {
    let chain = Chain::of(Scene::flowing(Settings::DEFAULT).await);
    let mut keys = vec![chain.credentials().await.access_key_id().to_owned()];
    // As often as kubelet looks at the token.
    for minute in 1..=48 * 60 {
        sleep(MINUTE).await;
        chain.token.refresh(chain.scene.now()).unwrap();
        let credentials = chain.credentials().await;
        assert!(expiry(&credentials) > chain.scene.now(), "minute {minute}");
        if keys.last().unwrap() != credentials.access_key_id() {
            keys.push(credentials.access_key_id().to_owned());
        }
    }
    assert!(keys.len() > 48 / 6, "{} sets in 48 hours", keys.len());
    let tokens = chain.token.all();
    let digest = |token: &Secret| TokenDigest::of(token.expose().as_bytes());
    let digests: Vec<TokenDigest> = tokens.iter().map(digest).collect();
    let mut requests = chain.scene.eks.requests();
    requests.retain(|request| request.operation == Operation::AssumeRoleForPodIdentity);
    let used: Vec<usize> = requests
        .iter()
        .map(|request| {
            digests
                .iter()
                .position(|digest| Some(*digest) == request.token)
        })
        .map(|token| token.expect("only tokens of this pod"))
        .collect();
    // The agent may still refresh what an older token has brought after the first use of a newer one.
    let mut in_order_of_first_use = Vec::new();
    for token in used {
        if !in_order_of_first_use.contains(&token) {
            in_order_of_first_use.push(token);
        }
    }
    assert_eq!(
        in_order_of_first_use,
        [0, 1, 2],
        "the second rotation is at hour 40"
    );
    let refused = requests
        .iter()
        .find(|request| !matches!(&request.outcome, Some(outcome) if outcome.status == Some(200)));
    assert_eq!(refused, None);
}

#[tokio::test]
async fn an_outage_of_eks_auth_after_the_rotation_goes_unnoticed() {
    let chain = Chain::start().await;
    let before = chain.credentials().await;
    chain.token.rotate(chain.scene.now()).unwrap();
    chain.scene.eks.stop().await;
    chain.scene.clock.advance(5 * HOUR);
    let during = chain.credentials().await;
    assert_eq!(during.access_key_id(), before.access_key_id());

    chain.scene.eks.restart().await.unwrap();
    chain.scene.clock.advance(HOUR);
    let after = chain.credentials().await;
    assert_ne!(after.access_key_id(), before.access_key_id());
}

/// From a pod's manifest to the identity that AWS reports for the pod.
#[tokio::test]
async fn from_a_manifest_an_sdk_client_gets_the_role_of_its_pod() {
    let pod = Pod::start().await;
    let env = pod.env();
    let provider = PodIdentityProvider::builder()
        .environment(move |name| env.get(name).cloned())
        .clock(pod.scene.clock.clone())
        .build()
        .unwrap();
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-west-2"))
        .endpoint_url(pod.scene.eks.endpoint())
        .credentials_provider(provider)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let sts = aws_sdk_sts::Client::from_conf(config);
    let caller = soon(sts.get_caller_identity().send()).await.unwrap();
    pod.check(caller.arn().unwrap());
}

/// The same with an SDK that reads the environment of its process, which has only the variables of the
/// manifest.
#[cfg(unix)]
#[tokio::test]
async fn from_a_manifest_a_container_with_the_sdk_gets_the_role_of_its_pod() {
    let pod = Pod::start().await;
    let mut container = tokio::process::Command::new(std::env::current_exe().unwrap());
    container
        .args([
            "--exact",
            "whole_chain::the_application",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .envs(pod.env())
        .kill_on_drop(true);
    let output = soon(container.output()).await.unwrap();
    let [output, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let arn = output.lines().find_map(|line| line.split_once("I am "));
    let (_, arn) = arn.unwrap_or_else(|| panic!("{output}{errors}"));
    pod.check(arn);
    pod.scene.eks.assert_no_secrets(&output);
    pod.scene.eks.assert_no_secrets(&errors);
}

/// The application in the container, without any configuration.
#[tokio::test]
#[ignore = "it runs in the container that the test before it makes"]
async fn the_application() {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await;
    let sts = aws_sdk_sts::Client::new(&config);
    let caller = sts.get_caller_identity().send().await.unwrap();
    println!("I am {}", caller.arn().unwrap());
}

fn environment(
    uri: String,
    token: (&'static str, String),
) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    let environment = HashMap::from([(variables::FULL_URI, uri), token]);
    move |name| environment.get(name).cloned()
}

fn expiry(credentials: &Credentials) -> Timestamp {
    credentials.expiry().unwrap().into()
}

/// A pod: its token, its environment, and a provider that has read it.
struct Chain {
    scene: Scene,
    token: PodToken,
    provider: PodIdentityProvider,
}

impl Chain {
    async fn start() -> Self {
        Self::of(Scene::start().await)
    }

    fn of(scene: Scene) -> Self {
        let token = PodToken::project(scene.builder(), scene.now()).unwrap();
        let file = token.volume().token_path().display().to_string();
        let provider = PodIdentityProvider::builder()
            .environment(environment(uri(&scene), (variables::TOKEN_FILE, file)))
            .clock(scene.clock.clone())
            .build()
            .unwrap();
        Self {
            scene,
            token,
            provider,
        }
    }

    /// Returns the credentials as an SDK client requests them.
    async fn credentials(&self) -> Credentials {
        soon(self.provider.provide_credentials()).await.unwrap()
    }
}

/// A pod as the cluster creates it from its manifest.
struct Pod {
    scene: Scene,
    container: PodContainer,
    token: PodToken,
}

impl Pod {
    async fn start() -> Self {
        let scene = Scene::start().await;
        // The SDK has the system's time.
        scene.clock.set(SystemClock.now());
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "cart-7d4b", "namespace": "shop"},
            "spec": {"serviceAccountName": "cart", "containers": [{
                "name": "app",
                "env": [{"name": "AWS_ENDPOINT_URL", "value": scene.eks.endpoint()}],
            }]},
        });
        // The API server and the webhook.
        let config = WebhookConfig::new()
            .identity("shop", "cart")
            .region("us-west-2")
            .full_uri(uri(&scene));
        let pod = mutate_pod(&manifest, &config).unwrap();
        let pod = pod.apply_to(&manifest).unwrap();
        // kubelet.
        let container = PodContainer::of(&pod, "app").unwrap();
        let token = container.token_builder(scene.eks.issuer()).unwrap();
        let token = PodToken::project(token, scene.now()).unwrap();
        Self {
            scene,
            container,
            token,
        }
    }

    fn env(&self) -> BTreeMap<String, String> {
        self.container.env_with(self.token.volume())
    }

    /// Checks that the caller is the session of this pod.
    fn check(&self, arn: &str) {
        let eks = &self.scene.eks;
        let minted = eks.minted();
        let [key] = minted.as_slice() else {
            panic!("one session for one pod: {minted:?}")
        };
        let session = eks.session(key).unwrap();
        assert_eq!(session.arn, arn);
        assert!(
            arn.starts_with("arn:aws:sts::111122223333:assumed-role/cart/eks-test-clus"),
            "{arn}"
        );
        let tags = ["kubernetes-namespace", "kubernetes-pod-name"];
        assert_eq!(
            tags.map(|tag| session.tags[tag].as_str()),
            ["shop", "cart-7d4b"]
        );
        let operations: Vec<Operation> = eks
            .requests()
            .iter()
            .map(|request| request.operation)
            .collect();
        assert_eq!(
            operations,
            [
                Operation::AssumeRoleForPodIdentity,
                Operation::GetCallerIdentity
            ]
        );
    }
}

fn uri(scene: &Scene) -> String {
    format!("http://{}/v1/credentials", scene.address)
}
