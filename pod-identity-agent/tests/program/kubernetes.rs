//! What the program does with an API server, and what it needs for it.

use pod_identity_testkit::MockApiServer;

use crate::support::client::{self, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, Server};
use crate::support::shop::{shop, token};

#[tokio::test]
async fn the_pods_of_its_node_are_watched_and_its_startup_taint_is_removed() {
    let eks = shop().await;
    let mock = MockApiServer::builder().issuer(eks.issuer().clone());
    let mock = mock.start().await.unwrap();
    let taint = "eks.amazonaws.com/pod-identity-not-ready:NoExecute";
    mock.add_node("node-1", &["other:NoSchedule", taint]);
    mock.add_pod("shop", "cart-0", "node-1");
    let directory = mock.service_account_dir().to_str().unwrap();
    let flags = [
        "--startup-taint",
        "--key-cache=off",
        "--kubernetes-service-account",
        directory,
    ];
    let [host, port] = mock.env();
    let environment = [
        (host.0, host.1.as_str()),
        (port.0, port.1.as_str()),
        ("NODE_NAME", "node-1"),
        ("POD_LIVENESS_CHECK", "true"),
    ];
    let environment = [&NODE_CREDENTIALS[..], &environment].concat();
    let server = Server::with(&eks, &flags, &environment).await;
    let watched = server
        .program
        .stdout
        .says("the pods of this node are watched")
        .await;
    assert_eq!(
        (&watched["pods"], &watched["node"]),
        (&1.into(), &"node-1".into())
    );
    client::insist(server.credentials, &token(&eks)).await.key();
    server
        .program
        .stdout
        .says("the startup taint is removed")
        .await;
    assert_eq!(mock.taints("node-1"), ["other:NoSchedule"]);

    mock.delete_pod("shop", "cart-0");
    let gone = "pod_identity_watched_pods 0\n";
    loop {
        let page = client::ask(server.metrics, Request::of("/metrics")).await;
        if page.body.contains(gone) {
            break;
        }
    }
}

#[tokio::test]
async fn what_the_flags_need_is_named_where_it_is_missing_or_not_valid() {
    let cases: [(Words, Variables, Words); 7] = [
        (
            &["--pod-liveness-check", API, "https://127.0.0.1:1"],
            &[],
            &["--pod-liveness-check", "NODE_NAME"],
        ),
        (
            &["--startup-taint", API, "https://127.0.0.1:1"],
            &[],
            &["--startup-taint", "NODE_NAME"],
        ),
        (
            &[
                "--startup-taint=key",
                "--node-name",
                "a/b",
                API,
                "https://127.0.0.1:1",
            ],
            &[],
            &["\"a/b\"", "--node-name"],
        ),
        (
            &["--pod-liveness-check", NODE, "node-1"],
            &[],
            &["KUBERNETES_SERVICE_HOST", "--kubernetes-api"],
        ),
        (
            &[
                "--pod-liveness-check",
                NODE,
                "node-1",
                API,
                "http://10.0.0.1",
            ],
            &[],
            &["--kubernetes-api is not valid", "http is for loopback"],
        ),
        (
            &[NODE, "node-1"],
            &[("POD_LIVENESS_CHECK", "perhaps")],
            &["POD_LIVENESS_CHECK", "true or false"],
        ),
        (
            &[NODE, "node-1", "--startup-taint"],
            &[("KUBERNETES_SERVICE_HOST", "a b")],
            &["KUBERNETES_SERVICE_HOST is not valid"],
        ),
    ];
    for (flags, environment, parts) in cases {
        let arguments = [&["server", "--cluster-name", "shop"][..], flags].concat();
        let ended = Program::run(&arguments, environment).await;
        ended.assert_one_line(64, parts);
    }
}

type Words = &'static [&'static str];
type Variables = &'static [(&'static str, &'static str)];

const API: &str = "--kubernetes-api";
const NODE: &str = "--node-name";
