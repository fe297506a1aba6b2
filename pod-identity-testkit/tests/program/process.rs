use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::http::{self, Answer};

/// A mock of the program that is ready. Dropping it kills the process.
pub(crate) struct Mock {
    pub(crate) ready: Value,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The directory of its temporary files.
    scratch: TempDir,
}

/// The exit of a mock.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The output after the ready line.
    pub(crate) stdout: String,
    /// The number of temporary files that it left.
    pub(crate) litter: usize,
}

impl Mock {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments).await
    }

    /// Starts it with variables of the environment.
    pub(crate) async fn start_in(
        environment: &[(&'static str, String)],
        arguments: &[&str],
    ) -> Self {
        let mut command = command(arguments);
        command.envs(environment.iter().cloned());
        Self::of(command).await
    }

    /// Starts it by a command.
    pub(crate) async fn of(mut command: Command) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut child = command
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.unwrap();
        Self {
            ready: serde_json::from_str(&line).unwrap(),
            child,
            stdout,
            scratch,
        }
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        let found = self.ready.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {}", self.ready))
    }

    /// Returns the response of the agent's mock to a pod.
    pub(crate) async fn ask(&self) -> Answer {
        self.ask_at("").await
    }

    /// Returns whether the address of the ready line accepts connections.
    pub(crate) async fn listens(&self) -> bool {
        let rest = self.text("/endpoint").strip_prefix("http://").unwrap();
        let authority = rest.split('/').next().unwrap();
        soon(tokio::net::TcpStream::connect(authority))
            .await
            .is_ok()
    }

    /// With something after the path.
    pub(crate) async fn ask_at(&self, query: &str) -> Answer {
        let token = std::fs::read_to_string(self.text("/token_file")).unwrap();
        let uri = format!("{}{query}", self.text("/endpoint"));
        soon(http::send("GET", &uri, &[("authorization", &token)], "")).await
    }

    /// Calls the admin endpoint, and asserts 200.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.try_admin(method, path, body).await;
        assert_eq!(answer.status, Some(200), "{}", answer.body);
        answer.json()
    }

    pub(crate) async fn try_admin(&self, method: &str, path: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {}", self.text("/admin/token"));
        let headers = [("authorization", authorization.as_str())];
        let uri = format!("{}{path}", self.text("/admin/uri"));
        soon(http::send(method, &uri, &headers, body)).await
    }

    pub(crate) async fn requests(&self) -> Vec<Value> {
        let answer = self.admin("GET", "/requests", "").await;
        answer["requests"].as_array().unwrap().clone()
    }

    pub(crate) async fn end(mut self, signal: Signal) -> Ended {
        kill(self.child.id().unwrap(), signal);
        let mut stdout = String::new();
        soon(self.stdout.read_to_string(&mut stdout)).await.unwrap();
        Ended {
            code: soon(self.child.wait()).await.unwrap().code(),
            stdout,
            litter: std::fs::read_dir(self.scratch.path()).unwrap().count(),
        }
    }
}

/// Returns a command for the program, with no variable of our environment but `PATH`.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pod-identity-testkit"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", env!("PATH"));
    command
}

/// Runs it until it exits.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    finish(&mut command(arguments)).await
}

pub(crate) async fn finish(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    soon(output).await.unwrap()
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(Duration::from_secs(60), future).await;
    in_time.expect("it must not take a minute")
}
