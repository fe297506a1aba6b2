//! What the webhook does to the containers of a pod, rule by rule.

use pod_identity_core::variables::{FULL_URI, TOKEN_FILE};
use serde_json::{Value, json};

use crate::webhook_pod::{MOUNT, VOLUME, added, annotated, config, env, patch, patched, pod, with};

#[test]
fn variables_follow_those_of_the_container_in_order() {
    let all = config().region("eu-west-1").sts_regional_endpoints(true);
    let token_file = format!("{TOKEN_FILE}={MOUNT}/eks-pod-identity-token");
    let uri = format!("{FULL_URI}=http://169.254.170.23/v1/credentials");
    let own = [json!({"name": "LEVEL", "value": "info"})];
    let pod = with(pod(), "/spec/containers/0/env", json!(own));
    assert_eq!(
        env(&pod, &all),
        [
            "LEVEL=info",
            "AWS_STS_REGIONAL_ENDPOINTS=regional",
            "AWS_DEFAULT_REGION=eu-west-1",
            "AWS_REGION=eu-west-1",
            &uri,
            &token_file,
        ]
    );
    assert_eq!(
        env(&pod, &config()),
        ["LEVEL=info", uri.as_str(), &token_file]
    );
}

#[test]
fn an_existing_variable_prevents_its_counterpart() {
    let all = config().region("eu-west-1").sts_regional_endpoints(true);
    let sts = ["AWS_STS_REGIONAL_ENDPOINTS"];
    let region = ["AWS_DEFAULT_REGION", "AWS_REGION"];
    let credentials = [FULL_URI, TOKEN_FILE];
    for (own, got) in [
        (sts[0], [&region[..], &credentials[..]].concat()),
        (region[0], [&sts[..], &credentials[..]].concat()),
        (region[1], [&sts[..], &credentials[..]].concat()),
        (credentials[0], [&sts[..], &region[..]].concat()),
        (credentials[1], [&sts[..], &region[..]].concat()),
    ] {
        let own_env = json!([{"name": own, "value": "mine"}]);
        let env = env(&with(pod(), "/spec/containers/0/env", own_env), &all);
        let names = env.iter().map(|text| text.split('=').next().unwrap());
        let expected: Vec<&str> = [own].into_iter().chain(got).collect();
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(env[0], format!("{own}=mine"));
    }
}

#[test]
fn a_container_with_all_variables_gets_no_mount() {
    let names = ["AWS_STS_REGIONAL_ENDPOINTS", "AWS_REGION", FULL_URI];
    let own = names.map(|name| json!({"name": name, "value": "mine"}));
    let pod = with(pod(), "/spec/containers/0/env", json!(own));
    let patched = patched(&pod, &config());
    let container = &patched["spec"]["containers"][0];
    assert_eq!(container["env"], json!(own));
    assert_eq!(container["volumeMounts"], Value::Null);
}

#[test]
fn an_existing_mount_keeps_its_path_and_the_variable_ignores_it() {
    let own = json!([{"name": VOLUME, "mountPath": "/mine"}]);
    let pod = with(pod(), "/spec/containers/0/volumeMounts", own.clone());
    let patched = patched(&pod, &config());
    assert_eq!(patched["spec"]["containers"][0]["volumeMounts"], own);
    let env = env(&pod, &config());
    assert!(env[1].ends_with(&format!("{MOUNT}/eks-pod-identity-token")));
}

#[test]
fn other_mounts_and_members_of_a_container_are_unchanged() {
    let own = json!({
        "name": "app",
        "command": ["run"],
        "resources": {"limits": {"cpu": "1"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    let pod = with(pod(), "/spec/containers", json!([own]));
    let patched = patched(&pod, &config());
    let container = &patched["spec"]["containers"][0];
    assert_eq!(container["command"], own["command"]);
    assert_eq!(container["resources"], own["resources"]);
    assert_eq!(container["volumeMounts"][0], own["volumeMounts"][0]);
    assert_eq!(container["volumeMounts"][1]["name"], VOLUME);
}

#[test]
fn skipped_containers_are_untrimmed_csv() {
    for (annotation, skipped) in [
        ("app", &["app"][..]),
        ("init,app", &["app", "init"]),
        ("init, app", &["init"]),
        (" app", &[]),
        ("\"app\"", &["app"]),
        ("app\"", &[]),
        ("", &[]),
        ("ap", &[]),
    ] {
        let pod = annotated("eks.amazonaws.com/skip-containers", annotation);
        let pod = with(pod, "/spec/initContainers", json!([{"name": "init"}]));
        let patched = patched(&pod, &config());
        for (list, name) in [("containers", "app"), ("initContainers", "init")] {
            let container = &patched["spec"][list][0];
            let is_skipped = container["env"].is_null() && container["volumeMounts"].is_null();
            assert_eq!(is_skipped, skipped.contains(&name), "{annotation:?} {name}");
            assert_eq!(container["resources"], json!({}), "{annotation:?} {name}");
        }
    }
}

#[test]
fn regional_endpoints_come_from_the_account_or_else_the_flag() {
    const KEY: &str = "eks.amazonaws.com/sts-regional-endpoints";
    for (flag, annotation, injected) in [
        (false, None, false),
        (true, None, true),
        (false, Some("true"), true),
        (false, Some("T"), true),
        (false, Some("1"), true),
        (true, Some("false"), false),
        (true, Some("F"), false),
        (false, Some("yes"), false),
        (true, Some("no"), true),
    ] {
        let mut config = config().sts_regional_endpoints(flag);
        if let Some(annotation) = annotation {
            config = config.annotate("shop", "cart", KEY, annotation);
        }
        let env = env(&pod(), &config);
        let found = env
            .iter()
            .any(|text| text == "AWS_STS_REGIONAL_ENDPOINTS=regional");
        assert_eq!(found, injected, "{flag} {annotation:?}");
    }
}

#[test]
fn a_windows_node_changes_only_the_path_in_the_variable() {
    for (selector, windows) in [
        (json!({"kubernetes.io/os": "windows"}), true),
        (json!({"beta.kubernetes.io/os": "windows"}), true),
        (json!({"kubernetes.io/os": "linux"}), false),
        (json!({"kubernetes.io/os": "Windows"}), false),
    ] {
        let pod = with(pod(), "/spec/nodeSelector", selector.clone());
        let expected = match windows {
            true => {
                r"C:\var\run\secrets\pods.eks.amazonaws.com\serviceaccount\eks-pod-identity-token"
                    .to_owned()
            }
            false => format!("{MOUNT}/eks-pod-identity-token"),
        };
        assert_eq!(
            env(&pod, &config())[1],
            format!("{TOKEN_FILE}={expected}"),
            "{selector}"
        );
        let patched = patched(&pod, &config());
        let mount = &patched["spec"]["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["mountPath"], MOUNT);
    }
}

#[test]
fn the_injected_variables_can_be_chosen() {
    let ipv6 = config().ipv6();
    assert_eq!(
        env(&pod(), &ipv6)[0],
        format!("{FULL_URI}=http://[fd00:ec2::23]/v1/credentials")
    );

    let chosen = config()
        .full_uri("http://127.0.0.1:1/")
        .audience("me")
        .mount_path("/token/")
        .volume_name("mine")
        .token_path("file");
    assert_eq!(
        env(&pod(), &chosen),
        [
            format!("{FULL_URI}=http://127.0.0.1:1/"),
            format!("{TOKEN_FILE}=/token/file"),
        ]
    );
    let volumes = added(&patch(&pod(), &chosen), "/spec/volumes").unwrap();
    assert_eq!(volumes[0]["name"], "mine");
    let token = &volumes[0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(
        (&token["audience"], &token["path"]),
        (&json!("me"), &json!("file"))
    );
}
