use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

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

/// What a script starts in the background is to end, too.
const WITH_GRANDCHILD: &str = "sleep 987 & echo ready; wait; true";

/// Without a terminal. The first is the leader of its process group, as a harness starts it; the second is not.
#[cfg(target_os = "linux")]
const WITHOUT_TERMINAL: [&str; 2] = [
    r#"exec setsid "$0" "$@""#,
    r#"exec setsid sh -c '"$0" "$@" & echo $!; wait $!' "$0" "$@""#,
];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_termination_signal_ends_the_grandchildren_too() {
    for (script, prints_pid) in WITHOUT_TERMINAL.into_iter().zip([false, true]) {
        let mut program = Detached::start(script, prints_pid, WITH_GRANDCHILD).await;
        kill(program.pid, Signal::TERM);
        program.ended().await;
    }
}

/// A terminal sends it to all; without one, only the program gets it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_interrupt_without_a_terminal_reaches_the_command() {
    let script = "trap 'kill $!; exit 3' INT; sleep 987 & echo ready; wait";
    for (detach, prints_pid) in WITHOUT_TERMINAL.into_iter().zip([false, true]) {
        let mut program = Detached::start(detach, prints_pid, script).await;
        kill(program.pid, Signal::INT);
        assert_eq!(program.ended().await, Some(3), "{detach}");
    }
}

/// Ctrl-C and job control work on the group that the terminal knows.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn with_a_terminal_the_command_stays_in_the_group_of_the_program() {
    let program = env!("CARGO_BIN_EXE_pod-identity-testkit");
    let groups = "cut -d' ' -f5 /proc/$$/stat /proc/$PPID/stat";
    let mut command = tokio::process::Command::new("script");
    command.args([
        "-qec",
        &format!(r#"{program} run -- sh -c "{}""#, groups.replace('$', r"\$")),
        "/dev/null",
    ]);
    let output = finish(&mut command).await;
    let output = String::from_utf8(output.stdout).unwrap();
    let groups: Vec<&str> = output.split_whitespace().collect();
    assert!(groups.len() == 2 && groups[0] == groups[1], "{output}");
}

/// The program in a session of its own, without a terminal.
#[cfg(target_os = "linux")]
struct Detached {
    child: tokio::process::Child,
    stdout: BufReader<tokio::process::ChildStdout>,
    /// Of the program itself.
    pid: u32,
}

#[cfg(target_os = "linux")]
impl Detached {
    /// Starts it by a shell's script, which prints its process id if it is not the shell's.
    async fn start(script: &str, prints_pid: bool, command_of_run: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_pod-identity-testkit");
        let mut child = tokio::process::Command::new("sh")
            .args([
                "-c",
                script,
                program,
                "run",
                "--",
                "sh",
                "-c",
                command_of_run,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut pid = child.id().unwrap();
        if prints_pid {
            soon(lines.read_line(&mut line)).await.unwrap();
            pid = line.trim().parse().unwrap();
            line.clear();
        }
        soon(lines.read_line(&mut line)).await.unwrap();
        assert_eq!(line, "ready\n");
        Self {
            child,
            stdout: lines,
            pid,
        }
    }

    /// Waits until the program has ended, and everything that has its standard output. Returns its exit code.
    async fn ended(&mut self) -> Option<i32> {
        let mut rest = String::new();
        soon(self.stdout.read_to_string(&mut rest)).await.unwrap();
        soon(self.child.wait()).await.unwrap().code()
    }
}
