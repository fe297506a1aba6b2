//! What people ask of an agent that runs: its state, without secrets, and how much it logs.

use pod_identity_core::{Clock, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::{self, Request};
use crate::support::process::{NODE_CREDENTIALS, NODE_SECRET, Program, Server, arguments};
use crate::support::shop::{shop, token};

#[tokio::test]
async fn the_state_names_pods_and_sources_and_holds_no_secret() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = socket(&folder);
    let server = Server::start(&eks, &flags(&socket)).await;
    let token = token(&eks);
    let answer = client::insist(server.credentials, &token).await;
    eks.stop().await;
    let waiting = eks.issuer().token("shop", "basket").mint(SystemClock.now());
    let refused = client::ask(server.credentials, Request::with_token(&waiting)).await;
    refused.assert_try_again();

    let (code, text) = probe(&["state"], &socket).await;
    assert_eq!(code, Some(0), "{text}");
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(state["log-level"], "info");
    assert_eq!(state["flags"]["cluster-name"], eks.cluster());
    assert_eq!(state["flags"]["max-cache-size"], "2000");
    assert_eq!(state["readiness"]["ready"], true);
    let blockers = state["readiness"]["blockers"].as_array().unwrap();
    let names: Vec<_> = blockers.iter().map(|blocker| &blocker["name"]).collect();
    assert_eq!(names, ["listening", "eks-auth"], "{text}");
    assert_eq!(state["eks-auth"]["reachable"], false);
    assert_eq!(state["keys"]["mode"], "off");
    let credentials = &state["credentials"];
    let held = credentials["slots"]["held"].as_object().unwrap();
    let held: u64 = held.values().filter_map(Value::as_u64).sum();
    assert_eq!(held, 1, "{text}");
    let failing = &credentials["slots"]["failing"][0];
    assert_eq!(failing["namespace"], "shop");
    assert_eq!(failing["service-account"], "basket");
    assert_eq!(failing["verified"], false);
    assert_eq!(failing["source"], "127.0.0.1");
    let error = failing["error"].as_str().unwrap();
    assert!(error.contains("could not be asked"), "{error}");
    let sources = &credentials["sources"];
    assert_eq!(
        sources["latest"][0]["source"], "node",
        "loopback is the node's"
    );

    let served = answer.json();
    let secrets = [
        token.as_str(),
        &waiting,
        token.rsplit_once('.').unwrap().1,
        waiting.rsplit_once('.').unwrap().1,
        served["AccessKeyId"].as_str().unwrap(),
        served["SecretAccessKey"].as_str().unwrap(),
        served["Token"].as_str().unwrap(),
        NODE_SECRET,
        NODE_CREDENTIALS[0].1,
        "wJalrXUt",
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn the_log_level_changes_while_the_agent_runs() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = socket(&folder);
    let server = Server::start(&eks, &flags(&socket)).await;
    assert_eq!(probe(&["log-level"], &socket).await.1, "info\n");
    client::insist(server.credentials, &token(&eks)).await.key();
    assert!(debug_lines(&server).is_empty());

    assert_eq!(probe(&["log-level", "DEBUG"], &socket).await.1, "debug\n");
    let changed = server.program.stdout.says("log level changed").await;
    assert_eq!(
        (&changed["from"], &changed["to"]),
        (&"info".into(), &"debug".into())
    );
    client::insist(server.credentials, &token(&eks)).await.key();
    let is_debug = |line: &str| line.contains(r#""level":"debug""#);
    server.program.stdout.line(is_debug).await;

    assert_eq!(probe(&["log-level", "warning"], &socket).await.1, "warn\n");
    let (code, text) = probe(&["log-level", "loud"], &socket).await;
    assert_eq!(code, Some(64), "{text}");
}

#[tokio::test]
async fn nobody_gets_the_state_at_a_port_or_without_the_flag() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = socket(&folder);
    let server = Server::start(&eks, &flags(&socket)).await;
    let ports = [server.credentials, server.probes, server.metrics];
    for (port, path) in ports.iter().flat_map(|port| PATHS.map(|path| (port, path))) {
        for method in ["GET", "PUT"] {
            let request = Request {
                method,
                ..Request::of(path)
            };
            let answer = client::ask(*port, request).await;
            assert!(matches!(answer.status, 404 | 405), "{port} {method} {path}");
            assert!(!answer.body.contains("readiness"), "{}", answer.body);
        }
    }
    assert_eq!(probe(&["log-level"], &socket).await.1, "info\n");

    let other = folder.path().join("other.sock");
    let other = other.to_str().unwrap();
    let _without = Server::start(&eks, &["--probe-socket", other]).await;
    for question in ["state", "log-level"] {
        let (code, text) = probe(&[question], other).await;
        assert_eq!(code, Some(1));
        assert!(text.contains("--debug-endpoints"), "{text}");
    }
}

#[tokio::test]
async fn debug_endpoints_need_a_socket() {
    let arguments = arguments("shop", "http://127.0.0.1:9");
    let arguments = [&arguments[..], &["--debug-endpoints"]].concat();
    let ended = Program::run(&arguments, &NODE_CREDENTIALS).await;
    ended.assert_one_line(64, &["--probe-socket"]);
}

const PATHS: [&str; 3] = [
    "/debug/state",
    "/debug/log-level",
    "/debug/log-level?level=trace",
];

fn socket(folder: &TempDir) -> String {
    let path = folder.path().join("probes.sock");
    path.to_str().unwrap().to_owned()
}

fn flags(socket: &str) -> [&str; 5] {
    [
        "--probe-socket",
        socket,
        "--debug-endpoints",
        "--answer-within",
        "300ms",
    ]
}

fn debug_lines(server: &Server) -> Vec<Value> {
    let mut lines = server.program.stdout.said("");
    lines.retain(|line| line["level"] == "debug");
    lines
}

async fn probe(question: &[&str], socket: &str) -> (Option<i32>, String) {
    let arguments = [&["probe"], question, &["--socket", socket]].concat();
    let ended = Program::run(&arguments, &[]).await;
    (ended.code, ended.stdout + &ended.stderr)
}
