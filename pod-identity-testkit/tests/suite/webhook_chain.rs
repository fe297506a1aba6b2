//! From a pod's manifest to its credentials, and the environment of its container.

use std::time::Duration;

use pod_identity_core::variables::{FULL_URI, TOKEN_FILE};
use pod_identity_core::{Endpoint, ServiceAccountToken, TokenFile};
use pod_identity_testkit::{
    Issuer, MockAgent, PodContainer, PodError, PodToken, ProjectedVolume, WebhookConfig, mutate_pod,
};
use serde_json::{Value, json};

use crate::common::{NOW, shop};
use crate::raw::ask_with;

fn manifest(service_account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "cart-0", "namespace": "shop"},
        "spec": {
            "serviceAccountName": service_account,
            "initContainers": [{"name": "init"}],
            "containers": [{"name": "app", "env": [{"name": "LEVEL", "value": "info"}]}],
        },
    })
}

fn patched(pod: &Value, config: &WebhookConfig) -> Value {
    mutate_pod(pod, config).unwrap().apply_to(pod).unwrap()
}

#[tokio::test]
async fn from_its_manifest_a_pod_gets_credentials_of_its_role() {
    let (eks, _clock) = shop().await;
    let agent = MockAgent::builder().eks_auth(&eks).start().await.unwrap();
    let config = WebhookConfig::new()
        .identity("shop", "cart")
        .full_uri(agent.uri());

    // The API server and its webhook.
    let pod = patched(&manifest("cart"), &config);
    // kubelet.
    let container = PodContainer::of(&pod, "app").unwrap();
    let token = container.token_builder(eks.issuer()).unwrap();
    let token = PodToken::project(token, NOW).unwrap();
    // The application.
    let env = container.env_with(token.volume());
    let endpoint = Endpoint::from_env(|name| env.get(name).cloned());
    assert_eq!(endpoint.unwrap().unwrap().uri(), agent.uri().as_str());
    let token = TokenFile::new(&env[TOKEN_FILE]).read().unwrap();
    let answer = ask_with(&agent, token.expose()).await;

    assert_eq!(answer.status(), 200, "{}", answer.text());
    let key = answer.json()["AccessKeyId"].as_str().unwrap().to_owned();
    assert_eq!(eks.minted(), [key]);
    let requests = agent.requests();
    let claims = requests[0].claims.as_ref().unwrap();
    assert_eq!(claims.namespace.as_deref(), Some("shop"));
    assert_eq!(claims.service_account.as_deref(), Some("cart"));
    assert_eq!(claims.pod.as_deref(), Some("cart-0"));
}

#[tokio::test]
async fn a_pod_without_an_association_has_the_environment_and_is_refused() {
    let (eks, _clock) = shop().await;
    let agent = MockAgent::builder().eks_auth(&eks).start().await.unwrap();
    let config = WebhookConfig::new().identity("shop", "till");
    let pod = patched(&manifest("till"), &config);
    let container = PodContainer::of(&pod, "app").unwrap();
    let token = container.token_builder(eks.issuer()).unwrap().mint(NOW);
    let answer = ask_with(&agent, &token).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("ResourceNotFoundException"));
}

#[test]
fn a_container_finds_its_variables_and_its_token() {
    let config = WebhookConfig::new().identity("shop", "cart").seed(1);
    let config = config.token_expiration(7_200);
    let pod = patched(&manifest("cart"), &config);
    for name in ["app", "init"] {
        let container = PodContainer::of(&pod, name).unwrap();
        let token = container.token().unwrap();
        assert_eq!(token.path, container.env()[TOKEN_FILE]);
        assert_eq!(token.audience, "pods.eks.amazonaws.com");
        assert_eq!(token.lifetime, Duration::from_secs(7_200));

        let minted = container.token_builder(&Issuer::new()).unwrap().mint(NOW);
        let minted = ServiceAccountToken::parse(&minted).unwrap();
        assert_eq!(minted.claims().audience, ["pods.eks.amazonaws.com"]);
        assert_eq!(minted.claims().pod.as_deref(), Some("cart-0"));

        let volume = ProjectedVolume::new().unwrap();
        let env = container.env_with(&volume);
        assert_eq!(env[TOKEN_FILE], volume.token_path().to_str().unwrap());
        assert_eq!(env[FULL_URI], "http://169.254.170.23/v1/credentials");
        assert_eq!(env.contains_key("LEVEL"), name == "app");
    }
}

#[test]
fn a_pod_that_the_webhook_ignores_has_no_token() {
    let pod = manifest("cart");
    let container = PodContainer::of(&pod, "app").unwrap();
    assert_eq!(container.token(), None);
    assert!(container.token_builder(&Issuer::new()).is_none());
    let volume = ProjectedVolume::new().unwrap();
    assert_eq!(&container.env_with(&volume), container.env());
    assert_eq!(
        PodContainer::of(&pod, "sidecar").unwrap_err(),
        PodError::NoContainer("sidecar".to_owned())
    );
}

#[test]
fn a_token_that_is_mounted_elsewhere_is_not_found() {
    let mut pod = manifest("cart");
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "eks-pod-identity-token", "mountPath": "/mine"}]);
    let config = WebhookConfig::new().identity("shop", "cart");
    let pod = patched(&pod, &config);
    let container = PodContainer::of(&pod, "app").unwrap();
    assert!(container.env().contains_key(TOKEN_FILE));
    assert_eq!(container.token(), None);
    // The init container has its mount from the webhook.
    assert!(PodContainer::of(&pod, "init").unwrap().token().is_some());
}

#[test]
fn the_token_for_the_api_server_is_not_used() {
    let mut pod = manifest("cart");
    pod["spec"]["volumes"] = json!([{"name": "kube-api-access", "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt"}},
    ]}}]);
    let api = "/var/run/secrets/kubernetes.io/serviceaccount";
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "kube-api-access", "mountPath": api}]);
    let config = WebhookConfig::new().identity("shop", "cart");
    let token = |pod: &Value| {
        let container = PodContainer::of(pod, "app").unwrap();
        container.token().cloned().unwrap()
    };
    assert_eq!(
        token(&patched(&pod, &config)).audience,
        "pods.eks.amazonaws.com"
    );

    pod["spec"]["containers"][0]["env"] =
        json!([{"name": TOKEN_FILE, "value": format!("{api}/token")}]);
    let found = token(&pod);
    assert_eq!(found.audience, "https://kubernetes.default.svc");
    assert_eq!(found.lifetime, Duration::from_secs(3_607));
}

#[test]
fn a_windows_container_finds_its_token_too() {
    let mut pod = manifest("cart");
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    let config = WebhookConfig::new().identity("shop", "cart");
    let container = PodContainer::of(&patched(&pod, &config), "app").unwrap();
    assert!(container.token().unwrap().path.starts_with(r"C:\var\run\"));
}

#[test]
fn the_last_variable_of_a_name_wins_and_one_without_a_value_is_omitted() {
    let mut pod = manifest("cart");
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "A", "value": "1"},
        {"name": "A", "value": "2"},
        {"name": "EMPTY"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]);
    let container = PodContainer::of(&pod, "app").unwrap();
    let env: Vec<_> = container
        .env()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("A", "2"), ("EMPTY", "")]);
}
