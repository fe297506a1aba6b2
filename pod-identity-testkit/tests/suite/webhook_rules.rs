//! What the webhook does to a pod, rule by rule.

use pod_identity_core::variables::{FULL_URI, TOKEN_FILE};
use pod_identity_testkit::{PodError, WebhookConfig, mutate_pod};
use serde_json::{Value, json};

use crate::webhook_pod::{
    MOUNT, VOLUME, added, annotated, config, expiration, patch, patched, pod, with,
};

#[test]
fn a_patch_has_four_operations_in_order() {
    let pod = with(pod(), "/spec/initContainers", json!([{"name": "init"}]));
    let env = json!([
        {"name": FULL_URI, "value": "http://169.254.170.23/v1/credentials"},
        {"name": TOKEN_FILE, "value": format!("{MOUNT}/eks-pod-identity-token")},
    ]);
    let mounts = json!([{"name": VOLUME, "readOnly": true, "mountPath": MOUNT}]);
    let expires = expiration(&pod, &config());
    assert_eq!(
        patch(&pod, &config()),
        json!([
            {
                "op": "add",
                "path": "/metadata/labels",
                "value": {"eks.amazonaws.com/pod-identity": "enabled"},
            },
            {
                "op": "add",
                "path": "/spec/volumes",
                "value": [{"name": VOLUME, "projected": {"sources": [{"serviceAccountToken": {
                    "audience": "pods.eks.amazonaws.com",
                    "expirationSeconds": expires,
                    "path": "eks-pod-identity-token",
                }}]}}],
            },
            {
                "op": "add",
                "path": "/spec/containers",
                "value": [{
                    "name": "app", "image": "cart:1", "env": env, "resources": {}, "volumeMounts": mounts,
                }],
            },
            {
                "op": "add",
                "path": "/spec/initContainers",
                "value": [{"name": "init", "env": env, "resources": {}, "volumeMounts": mounts}],
            },
        ])
    );
}

#[test]
fn an_operation_is_written_in_the_official_order() {
    let patch = mutate_pod(&pod(), &config()).unwrap();
    let text = serde_json::to_string(&patch).unwrap();
    let label = r#"[{"op":"add","path":"/metadata/labels","value":{"eks.amazonaws.com/pod-identity":"enabled"}},{"op":"add","path":"/spec/volumes","value":"#;
    assert!(text.starts_with(label), "{text}");
}

#[test]
fn only_exact_identities_match() {
    for (namespace, account, matches) in [
        ("shop", "cart", true),
        ("shop", "Cart", false),
        ("shop", "cart ", false),
        ("shop", "", false),
        ("shop2", "cart", false),
        ("", "cart", false),
    ] {
        let pod = with(pod(), "/metadata/namespace", json!(namespace));
        let pod = with(pod, "/spec/serviceAccountName", json!(account));
        let patch = mutate_pod(&pod, &config()).unwrap();
        assert_eq!(!patch.is_empty(), matches, "{namespace}/{account}");
    }
    let star = WebhookConfig::new().identity("*", "cart");
    assert!(mutate_pod(&pod(), &star).unwrap().is_empty());
}

#[test]
fn a_pod_without_account_and_namespace_is_default_in_default() {
    let config = WebhookConfig::new().identity("default", "default");
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    assert!(!mutate_pod(&pod, &config).unwrap().is_empty());
}

#[test]
fn a_configuration_file_names_identities() {
    let file = r#"{"identities":[{"namespace":"shop","serviceAccount":"cart"}]}"#;
    let config = WebhookConfig::new().identity("shop", "till");
    let config = config.identities(file).unwrap();
    assert!(!mutate_pod(&pod(), &config).unwrap().is_empty());
    let till = with(pod(), "/spec/serviceAccountName", json!("till"));
    assert!(mutate_pod(&till, &config).unwrap().is_empty());
    let error = config.identities("{").unwrap_err().to_string();
    assert!(
        error.starts_with("the webhook's configuration file is malformed: "),
        "{error}"
    );
}

#[test]
fn a_label_is_added_to_existing_ones() {
    for (labels, path) in [
        (Value::Null, "/metadata/labels"),
        (
            json!({}),
            "/metadata/labels/eks.amazonaws.com~1pod-identity",
        ),
        (
            json!({"team": "cart"}),
            "/metadata/labels/eks.amazonaws.com~1pod-identity",
        ),
        (
            json!({"eks.amazonaws.com/pod-identity": "no"}),
            "/metadata/labels/eks.amazonaws.com~1pod-identity",
        ),
    ] {
        let pod = with(pod(), "/metadata/labels", labels.clone());
        assert_eq!(patch(&pod, &config())[0]["path"], path, "{labels}");
        let mut expected = labels.as_object().cloned().unwrap_or_default();
        expected.insert(
            "eks.amazonaws.com/pod-identity".to_owned(),
            json!("enabled"),
        );
        assert_eq!(
            patched(&pod, &config())["metadata"]["labels"],
            json!(expected)
        );
    }
}

#[test]
fn a_volume_is_inserted_first_and_only_once() {
    let volumes = |volumes: Value| with(pod(), "/spec/volumes", volumes);
    for (volumes, path) in [
        (volumes(Value::Null), Some("/spec/volumes")),
        (volumes(json!([])), Some("/spec/volumes/0")),
        (volumes(json!([{"name": "data"}])), Some("/spec/volumes/0")),
        (volumes(json!([{"name": "data"}, {"name": VOLUME}])), None),
    ] {
        let patch = patch(&volumes, &config());
        let second = patch[1]["path"].as_str().unwrap();
        assert_eq!(
            Some(second),
            path.or(Some("/spec/containers")),
            "{volumes:#}"
        );
    }
    let patched = patched(&volumes(json!([{"name": "data"}])), &config());
    assert_eq!(patched["spec"]["volumes"][0]["name"], VOLUME);
    assert_eq!(patched["spec"]["volumes"][1]["name"], "data");
}

#[test]
fn an_expiration_comes_from_the_pod_or_the_account_or_the_flag() {
    const KEY: &str = "eks.amazonaws.com/token-expiration";
    let account = |value: &str| config().annotate("shop", "cart", KEY, value);
    let flag = |seconds| config().token_expiration(seconds);
    for (pod, config, expected) in [
        (annotated(KEY, "3600"), account("7200"), 3600),
        (annotated(KEY, "soon"), account("7200"), 7200),
        (annotated(KEY, "3600s"), account("7200"), 7200),
        (annotated("token-expiration", "3600"), account("7200"), 7200),
        (pod(), account("7200"), 7200),
        (pod(), account("soon").token_expiration(4000), 4000),
        (pod(), flag(4000), 4000),
        // At least ten minutes, without an upper limit.
        (annotated(KEY, "599"), config(), 600),
        (annotated(KEY, "600"), config(), 600),
        (annotated(KEY, "-1"), config(), 600),
        (annotated(KEY, "86399"), config(), 86_399),
        (annotated(KEY, "86401"), config(), 86_401),
        (pod(), account("1"), 600),
        (pod(), flag(1), 600),
        // Annotations of another account do not count.
        (
            pod(),
            flag(4000).annotate("shop", "till", KEY, "7200"),
            4000,
        ),
        (
            pod(),
            flag(4000).annotate("till", "cart", KEY, "7200"),
            4000,
        ),
    ] {
        assert_eq!(expiration(&pod, &config), expected, "{pod} {config:?}");
    }
}

#[test]
fn an_expiration_of_a_day_is_randomized_by_a_seed() {
    const KEY: &str = "eks.amazonaws.com/token-expiration";
    for pod in [pod(), annotated(KEY, "86400")] {
        let drawn: Vec<u64> = (0..200)
            .map(|seed| expiration(&pod, &config().seed(seed)))
            .collect();
        assert!(drawn.iter().all(|drawn| (79_200..=86_400).contains(drawn)));
        assert!(drawn.iter().any(|drawn| *drawn < 81_000));
        assert!(drawn.iter().any(|drawn| *drawn > 84_600));
        assert_eq!(expiration(&pod, &config().seed(7)), drawn[7]);
    }
    let unseeded = WebhookConfig::new().identity("shop", "cart");
    assert!((79_200..=86_400).contains(&expiration(&pod(), &unseeded)));
}

#[test]
fn another_prefix_applies_to_annotations_and_not_to_the_label() {
    let config = config().annotation_prefix("example.com");
    let pod = annotated("example.com/token-expiration", "3600");
    assert_eq!(expiration(&pod, &config), 3600);
    let labels = added(&patch(&pod, &config), "/metadata/labels").unwrap();
    assert_eq!(labels, json!({"eks.amazonaws.com/pod-identity": "enabled"}));
}

#[test]
fn an_invalid_pod_is_an_error_if_it_would_be_mutated() {
    let broken = with(pod(), "/spec/containers/0/env", json!({"A": "b"}));
    let error = mutate_pod(&broken, &config()).unwrap_err();
    let expected = PodError::Type {
        path: "/spec/containers/0/env".to_owned(),
        expected: "an array",
    };
    assert_eq!(error, expected);
    assert!(
        mutate_pod(&broken, &WebhookConfig::new())
            .unwrap()
            .is_empty()
    );
    for (path, value) in [
        ("/metadata/namespace", json!(1)),
        ("/metadata/labels", json!([])),
        (
            "/metadata/annotations",
            json!({"eks.amazonaws.com/token-expiration": 3600}),
        ),
        ("/spec/serviceAccountName", json!({})),
        ("/spec/volumes", json!({})),
        ("/spec/containers", json!(["app"])),
        ("/spec/initContainers", json!("init")),
        ("/spec/nodeSelector", json!([])),
    ] {
        let broken = with(pod(), path, value);
        let error = mutate_pod(&broken, &config()).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("\"{path}")),
            "{path}: {error}"
        );
    }
}
