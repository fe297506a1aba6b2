//! The program and the node that it runs on.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::{MockEksAuth, RecordedRequest};

use crate::support::client::{self, Request as Ask};
use crate::support::metadata::Metadata;
use crate::support::process::{NODE_CREDENTIALS, Server, arguments};
use crate::support::shop::shop;
use crate::support::soon;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pod-identity-agent");

/// The official DaemonSet's command is `/go-runner /eks-pod-identity-agent server`.
#[test]
fn under_the_name_of_the_runner_it_executes_the_program_that_follows() {
    let image = tempfile::tempdir().unwrap();
    let runner = image.path().join("go-runner");
    symlink(PROGRAM, &runner).unwrap();
    let run = |arguments: &[&str]| {
        let ended = Command::new(&runner).args(arguments).output().unwrap();
        let text =
            String::from_utf8(ended.stdout).unwrap() + std::str::from_utf8(&ended.stderr).unwrap();
        (ended.status.code(), text)
    };
    let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        run(&["/eks-pod-identity-agent", "version"]),
        (Some(0), version)
    );
    let (code, text) = run(&["/eks-pod-identity-agent", "server"]);
    assert_eq!(code, Some(64));
    assert!(text.contains("--cluster-name"), "{text}");
    let (code, text) = run(&[]);
    assert_eq!(code, Some(64));
    assert!(text.contains("a command is missing"), "{text}");
}

#[tokio::test]
async fn node_details_are_sent_only_if_a_flag_asks_for_them() {
    let told = told(&[]).await;
    assert_eq!(
        (told.eks_node_name, told.instance_id, told.zone),
        (None, None, None)
    );
}

#[tokio::test]
async fn instance_and_zone_come_from_instance_metadata_and_a_flag_takes_precedence() {
    let told = told(&[
        "--discover-node",
        "--node-name",
        "ip-10-0-0-7",
        "--zone",
        "usw2-az9",
    ])
    .await;
    assert_eq!(told.eks_node_name.as_deref(), Some("ip-10-0-0-7"));
    assert_eq!(told.instance_id.as_deref(), Some("i-0123456789abcdef0"));
    assert_eq!(told.zone.as_deref(), Some("usw2-az9"));
    let discovered = self::told(&["--discover-node"]).await;
    assert_eq!(discovered.zone.as_deref(), Some("usw2-az1"), "the id");
}

#[tokio::test]
async fn details_that_instance_metadata_lacks_are_omitted_and_logged() {
    let eks = shop().await;
    let metadata = Metadata::start(&[]).await;
    let agent = before(&eks, &metadata, &["--discover-node"]).await;
    ask(&eks, &agent).await;
    let told = eks.requests().remove(0);
    assert_eq!((told.instance_id, told.zone), (None, None));
    agent
        .program
        .stdout
        .says("instance metadata does not have it")
        .await;
}

/// The limit of many systems is lower than the number of accepted connections.
#[tokio::test]
async fn the_open_file_limit_is_raised_to_its_hard_limit() {
    let mut agent = Command::new("sh")
        .args([
            "-c",
            r#"ulimit -S -n 256 && ulimit -H -n 4000 && exec "$0" "$@""#,
            PROGRAM,
        ])
        .args(arguments("test-cluster", "http://127.0.0.1:9"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("listening"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.id())).unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers = line.unwrap().split_whitespace();
    let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers, [4000, 4000], "{line:?}");
}

/// Returns the details that were sent to EKS Auth for a node with instance metadata.
async fn told(flags: &[&str]) -> RecordedRequest {
    let eks = shop().await;
    let metadata = Metadata::start(&[
        ("/latest/meta-data/instance-id", "i-0123456789abcdef0"),
        (
            "/latest/meta-data/placement/availability-zone-id",
            "usw2-az1",
        ),
    ])
    .await;
    let agent = before(&eks, &metadata, flags).await;
    ask(&eks, &agent).await;
    eks.requests().remove(0)
}

async fn before(eks: &MockEksAuth, metadata: &Metadata, flags: &[&str]) -> Server {
    let url = format!("http://{}", metadata.address);
    let [key, secret] = NODE_CREDENTIALS;
    let metadata = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    Server::with(eks, flags, &[key, secret, metadata]).await
}

async fn ask(eks: &MockEksAuth, agent: &Server) {
    let token = eks.issuer().token("shop", "cart").mint(SystemClock.now());
    client::insist(agent.credentials, &token).await.key();
    let unknown = client::ask(agent.credentials, Ask::of("/")).await;
    assert_eq!(unknown.status, 404);
    soon(eks.wait_for_answers(1)).await;
}
