use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::time::Duration;

use pod_identity_core::Timestamp;
use pod_identity_testkit::MockAgent;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::sleep;

use crate::client::Client;

/// A process of a client that fetches credentials on request, and keeps its cache between requests.
#[derive(Debug)]
pub(crate) struct ClientProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: File,
    _home: TempDir,
}

/// The reply of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Credentials, with the id of their access key and when they expire, if ever.
    Key(String, Option<Timestamp>),
    /// Credentials in which this member is missing or empty.
    Without(String),
    /// An error of this name.
    Failed(String),
    /// Nothing, within [`CLIENT_TIMEOUT`].
    Nothing,
}

impl ClientProcess {
    /// Starts the client in the environment of a pod of this agent.
    pub(crate) fn start(client: &Client, agent: &MockAgent) -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        let stderr = tempfile::tempfile()?;
        let mut command = program(client, agent);
        command
            .env_clear()
            .env("PATH", path())
            .env("HOME", home.path())
            .env("AWS_REGION", "us-west-2")
            // Some of them would otherwise wait for instance metadata.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone()?);
        agent.apply_to(&mut command);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().expect("its output must be a pipe");
        Ok(Self {
            stdin: child.stdin.take().expect("its input must be a pipe"),
            stdout: BufReader::new(stdout).lines(),
            child,
            stderr,
            _home: home,
        })
    }

    /// Has the client fetch credentials once. Kills it after a timeout, which starts with its first request
    /// to this agent: how long the client takes to start depends on the machine.
    pub(crate) async fn ask(&mut self, agent: &MockAgent) -> io::Result<Reply> {
        let next = agent.request_count() + 1;
        self.ask_until(async {
            agent.wait_for_requests(next).await;
            sleep(CLIENT_TIMEOUT).await;
        })
        .await
    }

    /// Has the client fetch credentials once. Kills it after this time.
    pub(crate) async fn ask_within(&mut self, time: Duration) -> io::Result<Reply> {
        self.ask_until(sleep(time)).await
    }

    async fn ask_until(&mut self, timeout: impl Future<Output = ()>) -> io::Result<Reply> {
        self.stdin.write_all(b"\n").await?;
        let line = tokio::select! {
            line = self.stdout.next_line() => line?,
            () = timeout => {
                self.child.kill().await?;
                return Ok(Reply::Nothing);
            }
        };
        match line {
            Some(line) => reply(&line),
            None => {
                let stderr = self.stderr()?;
                Err(io::Error::other(format!(
                    "the client exited without a reply: {stderr}"
                )))
            }
        }
    }

    /// Returns what the client has written to standard error.
    pub(crate) fn stderr(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        self.stderr.rewind()?;
        self.stderr.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The superuser reads a file whatever its mode is, unless it gives up two of its capabilities.
fn program(client: &Client, agent: &MockAgent) -> Command {
    let mut command = Command::new(&client.ask);
    let token = agent.volume().token_path();
    let unreadable = is_unreadable(token);
    if unreadable && File::open(token).is_ok() {
        command = Command::new("setpriv");
        command
            .arg("--bounding-set=-dac_override,-dac_read_search")
            .arg(&client.ask);
    }
    command.arg(&client.private);
    command
}

#[cfg(unix)]
fn is_unreadable(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|file| file.permissions().mode() & 0o777 == 0)
}

#[cfg(not(unix))]
fn is_unreadable(_file: &std::path::Path) -> bool {
    false
}

#[expect(clippy::disallowed_methods, reason = "clients are found as by a shell")]
fn path() -> std::ffi::OsString {
    env::var_os("PATH").unwrap_or_default()
}

fn reply(line: &str) -> io::Result<Reply> {
    let parts: Vec<&str> = line.split(' ').collect();
    match *parts.as_slice() {
        ["key", id, "never"] => Ok(Reply::Key(id.to_owned(), None)),
        ["key", id, expiry] => match expiry.parse() {
            Ok(expiry) => Ok(Reply::Key(
                id.to_owned(),
                Some(Timestamp::from_unix_secs(expiry)),
            )),
            Err(_) => Err(io::Error::other(format!("a client replied {line:?}"))),
        },
        ["without", member] => Ok(Reply::Without(member.to_owned())),
        ["failed", name] => Ok(Reply::Failed(name.to_owned())),
        _ => Err(io::Error::other(format!("a client replied {line:?}"))),
    }
}

/// The time after which the table says that a client still waits.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
