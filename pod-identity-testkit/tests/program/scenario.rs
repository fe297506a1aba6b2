use std::path::PathBuf;

use tempfile::TempDir;

use crate::eks::assume_role;
use crate::process::{Mock, run};

/// A file with this scenario.
struct File {
    path: PathBuf,
    _directory: TempDir,
}

impl File {
    fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outage.toml");
        std::fs::write(&path, toml).unwrap();
        Self {
            path,
            _directory: directory,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

const OUTAGE: &str = r#"
    [pod]
    namespace = "shop"
    service_account = "cart"

    [agent]
    credential_lifetime = "30m"

    [[agent.faults]]
    status = 429
    count = 2

    [eks]
    cluster = "prod"
    region = "eu-west-1"

    [[eks.associations]]
    namespace = "shop"
    service_account = "cart"
    role_arn = "arn:aws:iam::111122223333:role/cart"

    [[timeline]]
    at = "10m"
    rotate_token = true
    agent_fault = { status = 503, lasting = "5m" }
    eks_fault = { status = 502, until = "back" }
    "#;

async fn minutes(mock: &Mock, count: u64) {
    let clock = format!(r#"{{"advance_seconds": {}}}"#, count * 60);
    mock.admin("POST", "/clock", &clock).await;
}

#[tokio::test]
async fn the_agent_follows_the_scenario_by_its_clock_and_again_after_a_reset() {
    let file = File::new(OUTAGE);
    let mock = Mock::start(&["agent", "--scenario", file.path()]).await;
    assert_eq!(mock.text("/env/AWS_REGION"), "eu-west-1");
    for _ in 0..2 {
        let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
        let mut seen = Vec::new();
        for wait in [0, 0, 0, 10, 5] {
            minutes(&mock, wait).await;
            seen.push(mock.ask().await.status.unwrap());
        }
        assert_eq!(seen, [429, 429, 200, 503, 200]);
        let requests = mock.requests().await;
        assert_eq!(requests[0]["pod"]["namespace"], "shop");
        let rotated = std::fs::read_to_string(mock.text("/token_file")).unwrap();
        assert_ne!(rotated, token);
        mock.admin("POST", "/reset", "").await;
    }
}

#[tokio::test]
async fn eks_auth_follows_the_scenario_with_the_token_of_its_pod() {
    let file = File::new(OUTAGE);
    let mock = Mock::start(&["eks", "--scenario", file.path()]).await;
    assert_eq!(mock.text("/cluster"), "prod");
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    assert_eq!(assume_role(&mock).await.status, Some(200));
    minutes(&mock, 10).await;
    assert_ne!(
        std::fs::read_to_string(mock.text("/token_file")).unwrap(),
        token
    );
    assert_eq!(assume_role(&mock).await.status, Some(502));
    mock.admin("POST", "/gates/back", "").await;
    assert_eq!(assume_role(&mock).await.status, Some(200));

    mock.admin("POST", "/reset", "").await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
    minutes(&mock, 10).await;
    assert_eq!(assume_role(&mock).await.status, Some(502), "once more");
}

#[tokio::test]
async fn the_token_signed_by_the_new_key_outlives_the_old_keys() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/scenarios/");
    let outage = format!("{examples}yesterdays-outage.toml");
    let mock = Mock::start(&["eks", "--scenario", &outage]).await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
    // At the same time: the keys before the token, and the old keys after it.
    minutes(&mock, 90).await;
    assert_eq!(assume_role(&mock).await.status, Some(200));
}

#[tokio::test]
async fn a_command_runs_within_the_scenario() {
    let file = File::new(OUTAGE);
    let ask = r#"
import os, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
token = open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read()
uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
def status():
    try:
        return opener.open(urllib.request.Request(uri, headers={"Authorization": token})).status
    except urllib.error.HTTPError as error:
        return error.code
print(os.environ["AWS_REGION"], status(), status(), status())
"#;
    let arguments = ["run", "--scenario", file.path(), "--", "python3", "-c", ask];
    let output = run(&arguments).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "eu-west-1 429 429 200\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let wanted = "warning: the faults and expectations of [eks] are not played";
    assert!(stderr.contains(wanted), "{stderr}");
}

#[tokio::test]
async fn a_command_is_warned_of_what_only_eks_auth_plays() {
    for (toml, is_warned) in [
        ("[[eks.faults]]\nstatus = 503", true),
        ("[[eks.expectations]]\ntimes = 1", true),
        (
            r#"timeline = [{ at = "1m", eks_fault = { status = 503 } }]"#,
            true,
        ),
        ("[eks]\nregion = \"eu-west-1\"", false),
    ] {
        let file = File::new(toml);
        let output = run(&["run", "--scenario", file.path(), "--", "true"]).await;
        assert_eq!(output.status.code(), Some(0), "{toml}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            stderr.contains("run` starts no EKS Auth"),
            is_warned,
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn a_scenario_says_what_is_expected() {
    let file = File::new("[[agent.expectations]]\ntimes = 1");
    let allowed = "--allow-unused-faults";
    let output = run(&["run", "--scenario", file.path(), allowed, "--", "true"]).await;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let wanted = "the command succeeded, but expected 1 requests, saw 0\n";
    assert!(stderr.ends_with(wanted), "{stderr}");

    let mock = Mock::start(&["agent", "--scenario", file.path()]).await;
    let failures = async || mock.admin("POST", "/verify", "").await["failures"].clone();
    mock.ask().await;
    assert_eq!(failures().await, serde_json::json!([]));
    mock.admin("POST", "/reset", "").await;
    let unmet = serde_json::json!(["expected 1 requests, saw 0"]);
    assert_eq!(failures().await, unmet, "a reset keeps them");
    mock.admin("DELETE", "/expectations", "").await;
    assert_eq!(failures().await, serde_json::json!([]));
}

#[tokio::test]
async fn flags_take_precedence_over_the_scenario() {
    let file = File::new(OUTAGE);
    let flags = ["--namespace", "other", "--region", "us-east-1"];
    let mock = Mock::start(&[&["agent", "--scenario", file.path()], &flags[..]].concat()).await;
    assert_eq!(mock.text("/env/AWS_REGION"), "us-east-1");
    mock.ask().await;
    let requests = mock.requests().await;
    assert_eq!(requests[0]["pod"]["namespace"], "other");
    assert_eq!(requests[0]["pod"]["service_account"], "cart");

    let flags = ["--cluster-name", "test"];
    let mock = Mock::start(&[&["eks", "--scenario", file.path()], &flags[..]].concat()).await;
    assert_eq!(mock.text("/cluster"), "test");
    assert_eq!(mock.text("/region"), "eu-west-1");
}

#[tokio::test]
async fn an_invalid_scenario_prints_one_line_with_its_position() {
    let file = File::new("[agent]\ntoken_policy = \"none\"\n");
    let output = run(&["agent", "--scenario", file.path()]).await;
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("outage.toml:2: unknown variant `none`, expected one of `any`"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

    let output = run(&["run", "--scenario", "/nowhere/to/be/found", "--", "true"]).await;
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("/nowhere/to/be/found: No such file"),
        "{stderr}"
    );
}

/// The scenarios of the README, in their order.
fn scenarios_of_the_readme() -> Vec<File> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let scenarios =
        blocks.filter(|toml| toml.contains("faults]]") || toml.contains("[[timeline]]"));
    scenarios.map(File::new).collect()
}

#[tokio::test]
async fn the_scenarios_of_the_readme_do_what_it_says() {
    let scenarios = scenarios_of_the_readme();
    let [outage, without_time] = scenarios.as_slice() else {
        panic!("the README has {} scenarios", scenarios.len());
    };
    let mock = Mock::start(&["agent", "--scenario", outage.path()]).await;
    assert_eq!(mock.ask().await.status, Some(200));
    minutes(&mock, 10).await;
    assert_eq!(mock.ask().await.status, Some(429));
    minutes(&mock, 9).await;
    assert_eq!(mock.ask().await.status, Some(200));
    minutes(&mock, 6).await;
    assert!(!mock.listens().await);
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    minutes(&mock, 23).await;
    let rotated = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    assert_ne!(token, rotated);
    assert_eq!(mock.ask().await.status, Some(200));
    let verified = mock.admin("POST", "/verify", "").await;
    assert_eq!(verified["failures"], serde_json::json!([]));

    let mock = Mock::start(&["agent", "--scenario", without_time.path()]).await;
    for _ in 0..3 {
        mock.ask().await;
    }
    let requests = mock.requests().await;
    let outcomes = requests.iter().map(|request| &request["outcome"]);
    let seen: Vec<_> = outcomes
        .map(|outcome| (outcome["status"].as_u64(), outcome["ending"].to_string()))
        .collect();
    let reset = r#"{"reset":"in_body"}"#;
    let wanted = [(429, "null"), (200, reset), (200, "null")];
    assert_eq!(
        seen,
        wanted.map(|(status, end)| (Some(status), end.to_owned()))
    );
    let verified = mock.admin("POST", "/verify", "").await;
    assert_eq!(verified["failures"], serde_json::json!([]));
}
