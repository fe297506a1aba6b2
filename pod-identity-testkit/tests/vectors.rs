//! The published golden cases of the webhook, replayed from the folder that `POD_IDENTITY_VECTORS`
//! names: `POD_IDENTITY_VECTORS=… cargo test -p pod-identity-testkit --test vectors -- --ignored`.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};

use pod_identity_testkit::{WebhookConfig, mutate_pod};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value, json};

#[test]
#[ignore = "needs POD_IDENTITY_VECTORS, the folder of the published vectors"]
fn pods_are_patched_as_published() {
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder().join("webhook")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            replay(&path);
            replayed += 1;
        }
    }
    assert_eq!(replayed, 6);
}

/// The random lifetime of the published cases is the least one, from a source that is always zero; so
/// one of the seeds must give exactly the published patch.
fn replay(path: &Path) {
    let mut pod = json(&Yaml::load_from_str(&std::fs::read_to_string(path).unwrap()).unwrap()[0]);
    pod["metadata"]["namespace"] = json!("default");
    let annotation = |name: &str| testing(&pod, name);
    assert_eq!(annotation("skip"), Some("false"));
    let expected: Value = serde_json::from_str(annotation("expectedPatch").unwrap()).unwrap();
    let config = config(&pod);
    let patch = |seed: u64| {
        let patch = mutate_pod(&pod, &config.clone().seed(seed)).unwrap();
        serde_json::to_value(patch).unwrap()
    };
    assert!(
        (0..200_000).any(|seed| patch(seed) == expected),
        "{}:\n{:#}\n{expected:#}",
        path.display(),
        patch(0)
    );
}

/// What the official test sets up for a pod.
fn config(pod: &Value) -> WebhookConfig {
    let annotation = |name: &str| testing(pod, name);
    let container = |name: &str| annotation(&format!("containercredentials/{name}")).unwrap();
    let mut config = WebhookConfig::new()
        .identity("default", "default")
        .full_uri(container("uri"))
        .audience(container("audience"))
        .mount_path(container("mountPath"))
        .volume_name(container("volumeName"))
        .token_path(container("tokenPath"));
    if let Some(region) = annotation("handler/region") {
        config = config.region(region);
    }
    for (key, names) in [
        (
            "sts-regional-endpoints",
            ["serviceAccount/sts-regional-endpoints", "handler/injectSTS"],
        ),
        (
            "token-expiration",
            ["serviceAccount/token-expiration", "handler/expiration"],
        ),
    ] {
        if let Some(value) = names.into_iter().find_map(annotation) {
            let key = format!("eks.amazonaws.com/{key}");
            config = config.annotate("default", "default", key, value);
        }
    }
    config
}

fn testing<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"][format!("testing.eks.amazonaws.com/{name}")].as_str()
}

fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(elements) => elements.iter().map(json).collect(),
        Yaml::Mapping(members) => members
            .iter()
            .map(|(name, value)| (name.as_str().unwrap().to_owned(), json(value)))
            .collect(),
        other => panic!("a pod must not have {other:?}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the folder is handed in from outside"
)]
fn folder() -> PathBuf {
    let folder = std::env::var_os("POD_IDENTITY_VECTORS");
    folder
        .expect("POD_IDENTITY_VECTORS must name the folder")
        .into()
}
