//! The sources of the agent's own credentials, and invalid ones.

use std::path::Path;

use crate::support::client::{self, Request};
use crate::support::process::{
    NODE_CREDENTIALS, NODE_SECRET, Program, Server, address_of, arguments,
};
use crate::support::shop::{shop, token};

#[tokio::test]
async fn a_blank_variable_is_an_unset_one() {
    let eks = shop().await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(".aws");
    std::fs::create_dir(&directory).unwrap();
    write_keys(&directory.join("credentials"));
    std::fs::write(directory.join("config"), "[default]\nregion = us-west-2\n").unwrap();
    let blank = [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ENDPOINT_URL_EKS_AUTH",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "HTTPS_PROXY",
        "NODE_NAME",
    ];
    let mut environment: Vec<(&str, &str)> = blank.map(|name| (name, " ")).to_vec();
    environment.push(("HOME", home.path().to_str().unwrap()));
    environment.push(("AWS_EC2_METADATA_DISABLED", "true"));
    let endpoint = eks.endpoint();
    let program = Program::start(&arguments(eks.cluster(), &endpoint), &environment);
    let address = address_of(&program, "credentials").await;
    client::insist(address, &token(&eks)).await.key();
}

#[tokio::test]
async fn a_repaired_shared_file_is_read_with_the_next_request() {
    let half = "[default]\naws_access_key_id = AKIANODE\n";
    for (begin, rotate) in [
        (None, "--rotate-credentials=false"),
        (Some(""), "--rotate-credentials=false"),
        (Some(half), "--rotate-credentials=false"),
        (
            Some("[default]\naws_access_key_id"),
            "--rotate-credentials=false",
        ),
        (Some(half), "--rotate-credentials"),
    ] {
        let eks = shop().await;
        let files = tempfile::tempdir().unwrap();
        let shared = files.path().join("credentials");
        if let Some(begin) = begin {
            std::fs::write(&shared, begin).unwrap();
        }
        let environment = [
            ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", "us-west-2"),
        ];
        let endpoint = eks.endpoint();
        let arguments = [&arguments(eks.cluster(), &endpoint)[..], &[rotate]].concat();
        let program = Program::start(&arguments, &environment);
        let address = address_of(&program, "credentials").await;
        program.stdout.says("not ready").await;
        let answer = client::ask(address, Request::with_token(&token(&eks))).await;
        answer.assert_try_again();
        let path = files.path().to_str().unwrap();
        assert!(!answer.body.contains(path), "{}", answer.body);
        write_keys(&shared);
        client::insist(address, &token(&eks)).await.key();
    }
}

#[tokio::test]
async fn each_cause_of_having_no_credentials_is_logged_once() {
    let eks = shop().await;
    let files = tempfile::tempdir().unwrap();
    let shared = files.path().join("credentials");
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let server = Server::with(&eks, &["--answer-within", "100ms"], &environment).await;
    let log = &server.program.stdout;
    let failed = "the agent's own credentials cannot be loaded";
    log.says(failed).await;
    for _ in 0..3 {
        let answer = client::ask(server.credentials, Request::with_token(&token(&eks))).await;
        answer.assert_try_again();
    }
    assert_eq!(log.said(failed).len(), 1, "{:?}", log.said(failed));
    std::fs::write(&shared, "[default]\naws_access_key_id = AKIANODE\n").unwrap();
    log.says_times(2, failed).await;
    let causes = log.said(failed);
    assert_ne!(causes[0]["cause"], causes[1]["cause"]);
    write_keys(&shared);
    log.says("the agent's own credentials are loaded again")
        .await;
}

#[tokio::test]
async fn an_access_key_id_with_a_line_end_is_named_and_the_agent_is_not_ready() {
    let eks = shop().await;
    let [_, secret] = NODE_CREDENTIALS;
    let environment = [("AWS_ACCESS_KEY_ID", "AKIA\nNODE"), secret];
    let server = Server::with(&eks, &[], &environment).await;
    let said = server
        .program
        .stdout
        .says("the agent's own credentials cannot be loaded")
        .await;
    let cause = said["cause"].as_str().unwrap();
    assert!(
        cause.contains("the access key id is empty or holds a line end"),
        "{cause}"
    );
    let answer = client::ask(server.credentials, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    let ready = client::ask(server.probes, Request::of("/readyz")).await;
    assert_eq!(ready.status, 503);
    let reason = "the agent has no credentials of its own: a source is configured wrongly";
    assert!(ready.body.contains(reason), "{}", ready.body);
    server.program.signal(rustix::process::Signal::TERM);
    let ended = server.program.end().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(eks.request_count(), 0);
}

#[tokio::test]
async fn output_of_a_credential_process_is_in_no_response_and_only_truncated_in_the_log() {
    let eks = shop().await;
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("config");
    let secret = "hunter2-".repeat(200);
    let script = files.path().join("process");
    std::fs::write(&script, format!("#!/bin/sh\necho {secret} >&2\nexit 1\n")).unwrap();
    let profile = format!("[default]\ncredential_process = sh {}\n", script.display());
    std::fs::write(&config, profile).unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let server = Server::with(
        &eks,
        &["--answer-within", "2s", "-v", "trace"],
        &environment,
    )
    .await;
    server.program.stdout.says("not ready").await;
    let answer = client::ask(server.credentials, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    let ready = client::ask(server.probes, Request::of("/readyz")).await;
    for body in [&answer.body, &ready.body] {
        assert!(!body.contains("hunter2"), "{body}");
    }
    server.program.signal(rustix::process::Signal::TERM);
    let ended = server.program.end().await;
    let printed = ended.stdout + &ended.stderr;
    assert!(!printed.contains(&secret), "{printed}");
    let own: Vec<_> = printed
        .lines()
        .filter(|line| line.contains("hunter2"))
        .collect();
    assert!(own.iter().all(|line| line.len() < 600), "{own:?}");
}

fn write_keys(path: &Path) {
    let keys =
        format!("[default]\naws_access_key_id = AKIANODE\naws_secret_access_key = {NODE_SECRET}\n");
    std::fs::write(path, keys).unwrap();
}
