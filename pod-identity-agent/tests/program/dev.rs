//! `dev` as a process: what it prints, what it runs, and what it leaves behind.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
#[cfg(target_os = "linux")]
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::client::{self, Request};
use crate::support::process::{Ended, Program};
use crate::support::soon;

#[tokio::test]
async fn dev_exits_with_the_code_of_the_command() {
    for (script, code) in [("exit 7", 7), ("exit 0", 0), ("kill -9 $$", 128 + 9)] {
        let ended = dev(&["--", "sh", "-c", script]).await;
        assert_eq!(ended.code, Some(code), "{script}");
        assert_eq!(ended.stdout, "", "standard output belongs to the command");
    }
}

#[tokio::test]
async fn the_command_sees_the_environment_of_a_pod_and_no_provider_that_precedes_it() {
    let outside: Vec<(&str, &str)> = EARLIER_IN_THE_CHAIN
        .into_iter()
        .chain([
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_REGION",
        ])
        .map(|name| (name, "outside"))
        .chain([("MINE", "kept")])
        .collect();
    let arguments = ["dev", "--region", "eu-central-1", "--", "env"];
    let ended = Program::run(&arguments, &outside).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let value = |name: &str| {
        let lines = ended.stdout.lines().filter_map(|line| line.split_once('='));
        let mut values = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        values.next()
    };
    for name in EARLIER_IN_THE_CHAIN {
        assert_eq!(value(name), None, "{name}");
    }
    assert_eq!(value("AWS_CONFIG_FILE"), Some("/dev/null"));
    assert_eq!(value("AWS_SHARED_CREDENTIALS_FILE"), Some("/dev/null"));
    assert_eq!(value("AWS_REGION"), Some("eu-central-1"));
    assert_eq!(value("AWS_DEFAULT_REGION"), Some("eu-central-1"));
    assert_eq!(value("MINE"), Some("kept"));
    assert_eq!(value("AWS_EC2_METADATA_DISABLED"), Some("true"));
    let uri = value("AWS_CONTAINER_CREDENTIALS_FULL_URI").unwrap();
    assert!(
        uri.starts_with("http://127.0.0.1:") && uri.ends_with("/v1/credentials"),
        "{uri}"
    );
    assert!(value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").is_some());
}

#[tokio::test]
async fn a_missing_command_prints_one_line_and_exits_with_127_as_in_a_shell() {
    let ended = dev(&["-v", "warn", "--", "/no/such/program"]).await;
    ended.assert_one_line(127, &["cannot run /no/such/program"]);
    let ended = dev(&["-v", "warn", "--", "/dev/null"]).await;
    ended.assert_one_line(126, &["cannot run /dev/null"]);
}

/// In a session of its own, so without a terminal, as in CI.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_termination_signal_ends_what_the_command_has_started() {
    let command = "sleep 987 & echo ready; wait; true";
    let agent = env!("CARGO_BIN_EXE_pod-identity-agent");
    let mut program = Command::new("setsid")
        .args([agent, "dev", "--", "sh", "-c", command])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    soon(stdout.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_raw(program.id().unwrap().cast_signed());
    rustix::process::kill_process(pid.unwrap(), Signal::TERM).unwrap();
    // It ends when nobody has it open any more.
    soon(stdout.read_to_string(&mut line)).await.unwrap();
    soon(program.wait()).await.unwrap();
}

#[tokio::test]
async fn the_printed_environment_can_be_sourced_and_leads_to_credentials() {
    let program = Program::start(&["dev"], &[]);
    program.stdout.line(|line| line.contains("Ctrl-C")).await;
    program.signal(Signal::TERM);
    let printed = program.end().await.stdout;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("environment");
    fs::write(&file, &printed).unwrap();

    let script = r#". "$1" && printf '%s|%s|%s|%s' "$AWS_CONTAINER_CREDENTIALS_FULL_URI" \
        "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" "$AWS_REGION" "${AWS_PROFILE-unset}""#;
    let sourced = Command::new("sh")
        .args(["-euc", script, "sh"])
        .arg(&file)
        .env_clear()
        .env("AWS_PROFILE", "outside")
        .output();
    let sourced = soon(sourced).await.unwrap();
    assert!(
        sourced.status.success() && sourced.stderr.is_empty(),
        "{sourced:?}"
    );
    let sourced = String::from_utf8(sourced.stdout).unwrap();
    let values: Vec<&str> = sourced.split('|').collect();
    assert!(values[0].starts_with("http://127.0.0.1:"), "{sourced}");
    assert!(values[1].ends_with("/eks-pod-identity-token"), "{sourced}");
    assert_eq!(values[2..], ["us-west-2", "unset"]);
    for command in ["curl ", "python3 "] {
        assert!(printed.contains(&format!("#   {command}")), "{printed}");
    }
    assert!(printed.contains("kill -USR1 "), "{printed}");
}

#[tokio::test]
async fn the_json_output_has_the_same_environment_and_leads_to_credentials() {
    let dev = Dev::start(&["--namespace", "shop", "--service-account", "cart"]).await;
    for name in EARLIER_IN_THE_CHAIN {
        assert!(
            dev.printed["unset"]
                .as_array()
                .unwrap()
                .contains(&name.into()),
            "{name}"
        );
    }
    assert_eq!(dev.printed["env"]["AWS_CONFIG_FILE"], "/dev/null");
    let answer = dev.get().await;
    assert!(answer.key().starts_with("ASIA"));
    assert_eq!(answer.json()["AccountId"], "111122223333");
}

#[tokio::test]
async fn logs_are_json_lines_on_standard_error_only() {
    let dev = Dev::start(&["-v", "trace"]).await;
    let token = fs::read_to_string(dev.token_file()).unwrap();
    let answer = dev.get().await;
    dev.program.signal(Signal::TERM);
    let ended = dev.program.end().await;
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    assert!(
        ended.stderr.contains("credentials issued"),
        "{}",
        ended.stderr
    );
    for line in ended.stderr.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let body = answer.json();
    let secrets = [
        &token,
        body["SecretAccessKey"].as_str().unwrap(),
        body["Token"].as_str().unwrap(),
    ];
    pod_identity_testkit::assert_no_secrets(&ended.stderr, &secrets);
    pod_identity_testkit::assert_no_secrets(&ended.stdout, &secrets);
}

#[tokio::test]
async fn a_signal_stops_and_restarts_eks_auth_and_cached_credentials_are_still_served() {
    let dev = Dev::start(&[]).await;
    let key = dev.get().await.key();

    dev.program.signal(Signal::USR1);
    dev.program
        .stderr
        .says("the embedded EKS Auth is stopped")
        .await;
    assert!(soon(TcpStream::connect(dev.eks_auth())).await.is_err());
    assert_eq!(dev.get().await.key(), key);

    dev.program.signal(Signal::USR1);
    dev.program
        .stderr
        .says("the embedded EKS Auth is started")
        .await;
    soon(TcpStream::connect(dev.eks_auth())).await.unwrap();
    assert_eq!(dev.get().await.key(), key);
}

#[tokio::test]
async fn the_token_is_rotated_as_kubelet_rotates_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let dev = Dev::start(&["--token-lifetime", "1s", "--dir", path]).await;
    let data = directory.path().join("..data");
    let before = fs::read_link(&data).unwrap();
    // One rotation may have happened already, and another may be unread.
    let said = dev.program.stderr.said(ROTATED).len();
    dev.program.stderr.says_times(said + 2, ROTATED).await;
    assert_ne!(fs::read_link(&data).unwrap(), before);
    assert!(
        !directory.path().join(before).exists(),
        "the old directory goes"
    );
    assert_eq!(
        dev.token_file(),
        directory.path().join("eks-pod-identity-token")
    );
}

#[tokio::test]
async fn a_relative_directory_is_printed_as_an_absolute_one() {
    let dev = Dev::start(&["--dir", "volume"]).await;
    assert!(dev.token_file().is_absolute());
    assert!(dev.token_file().exists());
}

#[tokio::test]
async fn an_occupied_port_prints_one_line_and_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = dev(&["--port", &address.port().to_string()]).await;
    let cause = format!("cannot listen on {address}");
    ended.assert_one_line(1, &[&cause, "choose another port", "--port"]);
}

#[tokio::test]
async fn an_unwritable_directory_prints_one_line_and_exits_with_1() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("volume");
    let below = below.to_str().unwrap();
    let ended = dev(&["--dir", below]).await;
    ended.assert_one_line(1, &[&format!("cannot write to {below}"), "--dir"]);
}

#[tokio::test]
async fn an_unknown_flag_prints_one_line_and_exits_with_64() {
    for (arguments, part) in [
        (&["--token-lifetime", "1ms"][..], "--token-lifetime"),
        (&["--credential-lifetime", "soon"], "--credential-lifetime"),
        (&["--bogus"], "--bogus"),
        (&["sh"], "put `--` before it: dev -- sh"),
    ] {
        dev(arguments).await.assert_one_line(64, &[part]);
    }
}

#[tokio::test]
async fn it_exits_cleanly_and_removes_the_temporary_volume() {
    for signal in [Signal::TERM, Signal::INT] {
        let dev = Dev::start(&[]).await;
        let token_file = dev.token_file();
        assert!(token_file.exists());
        dev.program.signal(signal);
        let ended = dev.program.end().await;
        assert_eq!((ended.code, ended.litter), (Some(0), 0));
    }
}

#[tokio::test]
async fn a_termination_signal_reaches_the_command() {
    let script = "sleep 60 & trap 'kill $!; exit 3' TERM; echo ready; wait";
    let program = Program::start(&["dev", "--", "sh", "-c", script], &[]);
    program.stdout.line(|line| line == "ready").await;
    program.signal(Signal::TERM);
    let ended = program.end().await;
    assert_eq!((ended.code, ended.litter), (Some(3), 0));
}

async fn dev(arguments: &[&str]) -> Ended {
    Program::run(&[&["dev"], arguments].concat(), &[]).await
}

/// `dev --json`, and what it printed.
struct Dev {
    program: Program,
    printed: Value,
}

impl Dev {
    async fn start(arguments: &[&str]) -> Self {
        let program = Program::start(&[&["dev", "--json"], arguments].concat(), &[]);
        let line = program.stdout.line(|line| line.starts_with('{')).await;
        Self {
            printed: serde_json::from_str(&line).unwrap(),
            program,
        }
    }

    fn value(&self, name: &str) -> &str {
        self.printed["env"][name].as_str().unwrap()
    }

    fn agent(&self) -> SocketAddr {
        let uri = self.value("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let authority = uri.strip_prefix("http://").unwrap();
        authority
            .strip_suffix("/v1/credentials")
            .unwrap()
            .parse()
            .unwrap()
    }

    fn eks_auth(&self) -> SocketAddr {
        let url = self.printed["eks_auth"].as_str().unwrap();
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn token_file(&self) -> PathBuf {
        Path::new(self.value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")).to_owned()
    }

    /// Fetches as an SDK does.
    async fn get(&self) -> client::Answer {
        let token = fs::read_to_string(self.token_file()).unwrap();
        client::ask(self.agent(), Request::with_token(&token)).await
    }
}

const ROTATED: &str = "the token was rotated";

const EARLIER_IN_THE_CHAIN: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
];
