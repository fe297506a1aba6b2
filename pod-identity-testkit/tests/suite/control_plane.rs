//! The issuer's documents, and EKS Auth's own throttling.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use pod_identity_core::Clock;
use pod_identity_testkit::{MockEksAuth, SettableClock, SigningKey};
use serde_json::{Value, json};

use crate::common::{Answered, Client, NOW, ROLE, assume, shop, token};
use crate::signing::send;

async fn get(eks: &MockEksAuth, path: &str) -> Answered {
    let request = Request::get(path).header("host", "issuer.test:1");
    send(eks, request.body(String::new().into()).unwrap()).await
}

#[tokio::test]
async fn the_issuer_publishes_the_location_of_its_keys() {
    let (eks, _clock) = shop().await;
    let id = eks.issuer().url().rsplit('/').next().unwrap().to_owned();
    for path in [
        "/.well-known/openid-configuration".to_owned(),
        format!("/id/{id}/.well-known/openid-configuration"),
    ] {
        let document = get(&eks, &path).await.json();
        assert_eq!(document["issuer"], eks.issuer().url());
        assert_eq!(document["jwks_uri"], "http://issuer.test:1/keys");
        assert_eq!(
            document["id_token_signing_alg_values_supported"],
            json!(["RS256"])
        );
    }
}

#[tokio::test]
async fn the_published_keys_are_the_valid_signing_keys() {
    let (eks, _clock) = shop().await;
    let ids = |keys: Value| -> Vec<String> {
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    let key = get(&eks, "/keys").await.json()["keys"][0].clone();
    assert_eq!(
        (&key["kty"], &key["alg"], &key["use"], &key["e"]),
        (
            &json!("RSA"),
            &json!("RS256"),
            &json!("sig"),
            &json!("AQAB")
        )
    );
    assert_eq!(key["n"].as_str().unwrap().len(), 342, "2048 bits");
    assert_eq!(key["d"], Value::Null, "nothing private");

    eks.issuer().sign_with(SigningKey::Es256);
    let keys = get(&eks, "/openid/v1/jwks").await.json();
    assert_eq!(ids(keys), [SigningKey::Rs256.id(), SigningKey::Es256.id()]);
    eks.issuer().forget_old_keys();
    let keys = get(&eks, "/keys").await.json();
    assert_eq!(
        (&keys["keys"][0]["crv"], &keys["keys"][0]["d"]),
        (&json!("P-256"), &Value::Null)
    );
}

#[tokio::test]
async fn an_issuer_that_trusts_a_cluster_accepts_its_tokens_and_no_others() {
    let (cluster, _clock) = shop().await;
    cluster.issuer().sign_with(SigningKey::Es256);
    cluster.issuer().forget_old_keys();
    let keys = get(&cluster, "/openid/v1/jwks").await.body;

    let (eks, _clock) = shop().await;
    eks.issuer().trust_cluster("{}").unwrap_err();
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200, "as it was");
    eks.issuer().trust_cluster(&keys).unwrap();
    assert_eq!(assume(&eks, &token(&cluster)).await.status, 200);
    let refused = assume(&eks, &token(&eks)).await;
    assert_eq!(refused.status, 400, "its key is published");
    let served = get(&eks, "/keys").await;
    assert_eq!(served.json(), serde_json::from_str::<Value>(&keys).unwrap());
}

#[tokio::test]
async fn the_issuer_can_be_unavailable() {
    let (eks, _clock) = shop().await;
    let paths = [
        "/keys",
        "/openid/v1/jwks",
        "/.well-known/openid-configuration",
    ];
    for (is_down, status) in [(true, 503), (false, 200)] {
        eks.set_issuer_outage(is_down);
        for path in paths {
            assert_eq!(get(&eks, path).await.status, status, "{path}");
        }
        let granted = assume(&eks, &token(&eks)).await;
        assert_eq!(granted.status, 200, "EKS Auth has its keys at hand");
    }
}

#[tokio::test]
async fn eks_auth_accepts_the_old_key_until_the_cluster_removes_it() {
    let (eks, _clock) = shop().await;
    let old = token(&eks);
    for key in [SigningKey::OtherRs256, SigningKey::Es256] {
        eks.issuer().sign_with(key);
        assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
        assert_eq!(assume(&eks, &old).await.status, 200);
    }
    eks.issuer().forget_old_keys();
    let refused = assume(&eks, &old).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "InvalidTokenException")
    );
    assert!(refused.message().contains("signature is invalid"));
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn nodes_and_cluster_are_throttled_by_the_clock() {
    let clock = Arc::new(SettableClock::at(NOW));
    let given: Arc<dyn Clock> = clock.clone();
    let eks = MockEksAuth::builder()
        .clock(given)
        .throttle_nodes(1, 2)
        .throttle_cluster(10, 3)
        .start();
    let eks = eks.await.unwrap();
    eks.associate("shop", "cart", ROLE);
    let ask = async |node: &str| {
        let token = eks.issuer().token("shop", "cart").mint(NOW);
        let body = json!({ "token": token, "eksNodeName": node }).to_string();
        let path = pod_identity_core::wire::eks_auth::path(eks.cluster());
        let mut client = Client::connect(&eks).await.unwrap();
        client.post(&path, body).await.unwrap().status
    };
    let (a, b) = ("node-a", "node-b");
    for (node, expected) in [(a, 200), (a, 200), (a, 429), (b, 200), (b, 429)] {
        assert_eq!(ask(node).await, expected, "{node}");
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!((ask(a).await, ask(a).await), (200, 429));
}

#[tokio::test]
async fn a_node_is_identified_by_its_name_its_instance_or_the_token() {
    let clock: Arc<dyn Clock> = Arc::new(SettableClock::at(NOW));
    let eks = MockEksAuth::builder().clock(clock).throttle_nodes(1, 1);
    let eks = eks.start().await.unwrap();
    eks.associate("shop", "cart", ROLE);
    let path = pod_identity_core::wire::eks_auth::path(eks.cluster());
    let builder = eks.issuer().token("shop", "cart");
    let ask = async |claimed: Option<&str>, mut body: Value| {
        let token = match claimed {
            Some(node) => builder.clone().node(node),
            None => builder.clone().before_1_30(),
        };
        body["token"] = token.mint(NOW).into();
        let mut client = Client::connect(&eks).await.unwrap();
        client.post(&path, body.to_string()).await.unwrap().status
    };
    let (name, instance) = (
        json!({ "eksNodeName": "a" }),
        json!({ "instanceId": "i-1" }),
    );
    for (claimed, body, status) in [
        (Some("c"), name.clone(), 200),
        (Some("d"), name, 429),
        (Some("c"), instance.clone(), 200),
        (None, instance, 429),
        (Some("c"), json!({}), 200),
        (Some("c"), json!({}), 429),
        (Some("a"), json!({}), 429),
        (None, json!({}), 200),
        (None, json!({}), 200),
    ] {
        assert_eq!(
            ask(claimed, body.clone()).await,
            status,
            "{claimed:?} {body}"
        );
    }
}
