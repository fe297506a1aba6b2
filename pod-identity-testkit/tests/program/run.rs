use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::process::{command, finish, kill, run, soon};

#[tokio::test]
async fn run_exits_with_the_code_of_the_command() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9)] {
        let output = run(&["run", "--", "sh", "-c", script]).await;
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
}

#[tokio::test]
async fn a_missing_or_non_executable_command_fails_as_in_a_shell() {
    for (program, code) in [("/nowhere/to/be/found", 127), ("/etc/passwd", 126)] {
        let output = run(&["run", "--", program]).await;
        assert_eq!(output.status.code(), Some(code));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains(&format!("cannot run {program}")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    }
}

#[tokio::test]
async fn the_command_sees_the_mock_and_no_provider_that_precedes_it() {
    let mut command = command(&["run", "--region", "eu-west-1", "--", "env"]);
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ] {
        command.env(name, "of the caller");
    }
    let output = finish(
        command
            .env("NO_PROXY", "example.com")
            .env("KEPT", "of the caller"),
    )
    .await;
    let env = String::from_utf8(output.stdout).unwrap();
    assert!(
        env.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:"),
        "{env}"
    );
    assert!(
        env.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/"),
        "{env}"
    );
    assert!(env.contains("AWS_REGION=eu-west-1\n"), "{env}");
    assert!(env.contains("NO_PROXY=example.com,127.0.0.1\n"), "{env}");
    let kept: Vec<_> = env
        .lines()
        .filter(|line| line.ends_with("of the caller"))
        .collect();
    assert_eq!(kept, ["KEPT=of the caller"]);
}

#[tokio::test]
async fn a_termination_signal_is_passed_on_and_the_command_decides_the_exit_code() {
    let script = "trap 'kill $!; exit 3' TERM; sleep 60 & echo ready; wait";
    let mut program = command(&["run", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    soon(stdout.read_line(&mut line)).await.unwrap();
    kill(program.id().unwrap(), Signal::TERM);
    assert_eq!(soon(program.wait()).await.unwrap().code(), Some(3));
}
