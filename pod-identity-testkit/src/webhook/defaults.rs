use serde_json::{Map, Value, json};

/// Sets the members that the API server sets in a pod if they are absent: those of
/// `pkg/apis/core/v1/defaults.go`, and the service account of its admission plug-in. The pod's types must have
/// been checked.
pub(crate) fn set(pod: &mut Value) {
    default(pod, &[("metadata", json!({})), ("spec", json!({}))]);
    if let Some(metadata) = pod.pointer_mut("/metadata") {
        default(metadata, &[("namespace", json!("default"))]);
    }
    let Some(spec) = pod.pointer_mut("/spec") else {
        return;
    };
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|name| spec.get(name)?.as_str())
        .find(|name| !name.is_empty())
        .unwrap_or("default")
        .to_owned();
    for name in ["serviceAccountName", "serviceAccount"] {
        if let Some(members) = spec.as_object_mut() {
            members.insert(name.to_owned(), json!(account));
        }
    }
    default(
        spec,
        &[
            ("restartPolicy", json!("Always")),
            ("dnsPolicy", json!("ClusterFirst")),
            ("schedulerName", json!("default-scheduler")),
            ("securityContext", json!({})),
            ("terminationGracePeriodSeconds", json!(30)),
            ("enableServiceLinks", json!(true)),
        ],
    );
    for list in ["containers", "initContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str);
    let policy = match image.is_none_or(is_latest) {
        true => "Always",
        false => "IfNotPresent",
    };
    default(
        container,
        &[
            ("resources", json!({})),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
            ("imagePullPolicy", json!(policy)),
        ],
    );
    each(container, "ports", |port| {
        default(port, &[("protocol", json!("TCP"))]);
    });
    each(container, "env", |variable| {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(field, &[("apiVersion", json!("v1"))]);
        }
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) else {
            continue;
        };
        default(
            probe,
            &[
                ("timeoutSeconds", json!(1)),
                ("periodSeconds", json!(10)),
                ("successThreshold", json!(1)),
                ("failureThreshold", json!(3)),
            ],
        );
        if let Some(get) = probe.get_mut("httpGet") {
            default(get, &[("path", json!("/")), ("scheme", json!("HTTP"))]);
        }
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|it| it.len() > 1);
    if !has_source {
        default(volume, &[("emptyDir", json!({}))]);
    }
    for source in ["projected", "secret", "configMap", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, &[("defaultMode", json!(0o644))]);
        }
    }
    if let Some(projected) = volume.get_mut("projected") {
        each(projected, "sources", |source| {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                default(token, &[("expirationSeconds", json!(3_600))]);
            }
        });
    }
}

/// Whether an image has the tag `latest`, or none and no digest.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@')
        && name
            .split_once(':')
            .is_none_or(|(_name, tag)| tag == "latest")
}

fn default(object: &mut Value, members: &[(&str, Value)]) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    for (name, value) in members {
        if is_absent(object, name) {
            object.insert((*name).to_owned(), value.clone());
        }
    }
}

fn is_absent(object: &Map<String, Value>, name: &str) -> bool {
    object.get(name).is_none_or(Value::is_null)
}

fn each(object: &mut Value, list: &str, mut change: impl FnMut(&mut Value)) {
    let elements = object.get_mut(list).and_then(Value::as_array_mut);
    for element in elements.into_iter().flatten() {
        change(element);
    }
}
