//! A mock exits with the process that started it, however that ends.

use std::process::Stdio;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::process::{command, kill, soon};

const KINDS: [&str; 3] = ["agent", "eks", "webhook"];

/// Reads the ready line and returns the rest of the output.
async fn ready(child: &mut Child) -> BufReader<tokio::process::ChildStdout> {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    soon(stdout.read_line(&mut line)).await.unwrap();
    assert!(line.contains("endpoint"), "{line}");
    stdout
}

/// Waits until no process holds the standard output.
async fn closed(mut stdout: BufReader<tokio::process::ChildStdout>) {
    let mut rest = String::new();
    soon(stdout.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "");
}

#[tokio::test]
async fn it_exits_when_its_standard_input_ends_and_leaves_no_files() {
    for kind in KINDS {
        let scratch = tempfile::tempdir().unwrap();
        let mut child = command(&[kind])
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = ready(&mut child).await;
        drop(child.stdin.take());
        closed(stdout).await;
        let status = soon(child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{kind}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn it_exits_when_its_parent_is_killed_although_another_process_holds_its_standard_input() {
    for kind in KINDS {
        let (reader, writer) = std::io::pipe().unwrap();
        // A shell gives the null device to background processes by default.
        let script = r#"exec 3<&0; "$0" "$1" <&3 & wait"#;
        let program = env!("CARGO_BIN_EXE_pod-identity-testkit");
        let mut parent = Command::new("sh")
            .args(["-c", script, program, kind])
            .stdin(reader)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = ready(&mut parent).await;
        kill(parent.id().unwrap(), Signal::KILL);
        closed(stdout).await;
        drop(writer);
    }
}

#[tokio::test]
async fn it_keeps_running_if_its_standard_input_is_not_a_pipe() {
    let mut child = command(&["agent"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let _stdout = ready(&mut child).await;
    // Longer than the interval of 200 ms, in real time, because it is that of another process.
    let ended = tokio::time::timeout(std::time::Duration::from_millis(600), child.wait()).await;
    ended.expect_err("it must go on");
}

#[tokio::test]
async fn what_a_killed_mock_leaves_is_removed_by_the_next_and_what_is_in_use_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let start = async || {
        let mut child = command(&["agent"])
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        (ready(&mut child).await, child)
    };
    let count = || std::fs::read_dir(scratch.path()).unwrap().count();
    let (_out, mut killed) = start().await;
    let (_out, _in_use) = start().await;
    kill(killed.id().unwrap(), Signal::KILL);
    soon(killed.wait()).await.unwrap();
    assert_eq!(count(), 2);
    let (_out, _next) = start().await;
    assert_eq!(count(), 2, "that of the next, and that in use");
}
