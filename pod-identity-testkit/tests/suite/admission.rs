//! Hand-written manifests, as the API server checks and defaults them before the webhook.

use pod_identity_testkit::{PodContainer, WebhookConfig, admit_pod};
use serde_json::{Value, json};

fn manifest() -> Value {
    json!({
        "metadata": { "name": "cart-0", "namespace": "shop" },
        "spec": {
            "serviceAccountName": "cart",
            "containers": [{ "name": "app", "image": "cart:1.0" }],
        },
    })
}

fn config() -> WebhookConfig {
    WebhookConfig::new().identity("shop", "cart").seed(1)
}

#[test]
fn a_pod_that_the_api_server_cannot_decode_is_refused_with_the_path() {
    for (pointer, value, reason) in [
        (
            "/spec/containers/0/env",
            json!([{ "name": "A", "value": 1 }]),
            "/spec/containers/0/env/0/value\" of the pod must be a string",
        ),
        (
            "/spec/containers/0/env",
            json!([{ "name": "A", "value": true }]),
            "must be a string",
        ),
        (
            "/spec/containers/0/env",
            json!({ "A": "1" }),
            "/spec/containers/0/env\" of the pod must be an array",
        ),
        (
            "/spec/containers/0/env",
            json!([{ "value": "1" }]),
            "/spec/containers/0/env/0/name\" of the pod is missing",
        ),
        (
            "/spec/containers/0/args",
            json!(["--port", 80]),
            "/spec/containers/0/args/1\" of the pod must be a string",
        ),
        (
            "/spec/containers/0/ports",
            json!([{ "containerPort": "80" }]),
            "must be an integer",
        ),
        (
            "/spec/containers/0/readinessProbe",
            json!({ "periodSeconds": 0.5 }),
            "must be an integer",
        ),
        (
            "/spec/containers/0/resources",
            json!({ "limits": { "cpu": [] } }),
            "must be a number or a string",
        ),
        (
            "/spec/containers/0/name",
            json!(null),
            "/spec/containers/0/name\" of the pod is missing",
        ),
        (
            "/spec/containers/0/image",
            json!(""),
            "/spec/containers/0/image\" of the pod is missing",
        ),
        (
            "/spec/containers",
            json!([]),
            "/spec/containers\" of the pod is missing",
        ),
        ("/spec/hostNetwork", json!("true"), "must be a boolean"),
        (
            "/metadata/annotations",
            json!({ "a/b": 1 }),
            "/metadata/annotations/a~1b\" of the pod must be a string",
        ),
        ("/metadata/labels", json!([]), "must be an object"),
    ] {
        let mut manifest = manifest();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[member] = value;
        let error = admit_pod(&manifest, &config()).unwrap_err().to_string();
        assert!(error.contains(reason), "{pointer}: {error}");
    }
    for manifest in [json!([]), json!({ "spec": "x" }), json!({})] {
        admit_pod(&manifest, &config()).unwrap_err();
    }
}

#[test]
fn a_number_is_accepted_where_kubernetes_accepts_one() {
    let mut manifest = manifest();
    let container = &mut manifest["spec"]["containers"][0];
    container["resources"] = json!({ "limits": { "cpu": 0.5, "memory": "64Mi" } });
    container["ports"] = json!([{ "containerPort": 80 }]);
    container["livenessProbe"] = json!({ "httpGet": { "port": "http" } });
    container["readinessProbe"] = json!({ "httpGet": { "port": 80 } });
    let admitted = admit_pod(&manifest, &config()).unwrap();
    let container = &admitted["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(
        container["livenessProbe"],
        json!({
            "httpGet": { "port": "http", "path": "/", "scheme": "HTTP" },
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    );
}

#[test]
fn the_pod_is_defaulted_before_and_after_the_patch() {
    let admitted = admit_pod(&manifest(), &config()).unwrap();
    let spec = &admitted["spec"];
    assert_eq!(
        (&spec["restartPolicy"], &spec["serviceAccount"]),
        (&json!("Always"), &json!("cart"))
    );
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec["volumes"][0]["projected"]["defaultMode"], 420);
    let token = PodContainer::of(&admitted, "app").unwrap().token().cloned();
    assert_eq!(token.unwrap().audience, "pods.eks.amazonaws.com");
    for (image, policy) in [
        ("cart", "Always"),
        ("cart:latest", "Always"),
        ("registry.test:5000/cart", "Always"),
        ("registry.test:5000/cart:1", "IfNotPresent"),
        ("cart@sha256:0", "IfNotPresent"),
    ] {
        let mut manifest = manifest();
        manifest["spec"]["containers"][0]["image"] = json!(image);
        let admitted = admit_pod(&manifest, &config()).unwrap();
        assert_eq!(
            admitted["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
    }
}

#[test]
fn a_pod_without_names_gets_the_default_ones() {
    let mut manifest = manifest();
    manifest["metadata"] = json!(null);
    manifest["spec"]["serviceAccountName"] = json!(null);
    let of_default = WebhookConfig::new().identity("default", "default");
    let admitted = admit_pod(&manifest, &of_default).unwrap();
    assert_eq!(admitted["metadata"]["namespace"], "default");
    assert!(
        PodContainer::of(&admitted, "app")
            .unwrap()
            .token()
            .is_some()
    );
    let unpatched = admit_pod(&manifest, &config()).unwrap();
    assert!(
        PodContainer::of(&unpatched, "app")
            .unwrap()
            .token()
            .is_none()
    );
}
