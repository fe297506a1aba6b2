//! `probe`: asks the agent of this container, for a probe of kubelet.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pod_identity_cli::Failure;

/// Which question is asked, and where.
#[derive(Debug, Args)]
pub(super) struct Probe {
    /// What to ask
    #[arg(value_enum)]
    question: Question,
    /// Path of the server's --probe-socket
    #[arg(long)]
    socket: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Question {
    /// Whether the process answers
    Healthz,
    /// Whether pods are served, and if not, why
    Readyz,
}

impl Probe {
    /// Prints the answer's text. Succeeds if its status is 200.
    ///
    /// # Errors
    /// Fails when there is no answer within [`TIMEOUT`].
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let answer = self.ask().map_err(|error| {
            let socket = self.socket.display();
            io::Error::new(
                error.kind(),
                format!("no answer at the probe socket {socket}: {error}"),
            )
        })?;
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        write!(io::stdout(), "{text}")?;
        let is_ok = head.split(' ').nth(1) == Some("200");
        Ok(ExitCode::from(u8::from(!is_ok)))
    }

    fn ask(&self) -> io::Result<String> {
        let path = match self.question {
            Question::Healthz => "/healthz",
            Question::Readyz => "/readyz",
        };
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Kubelet's usual time for a probe is a second or more; the agent answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Ten times the longest reason.
const MAX_ANSWER: u64 = 16 * 1024;
