//! `probe`: asks the agent of this container, for a probe of kubelet or for people.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use pod_identity_cli::Failure;

use super::verbosity::Verbosity;
use crate::serve::debug;

/// Which question is asked, and where.
#[derive(Debug, Args)]
pub(super) struct Probe {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Whether the process answers
    Healthz(At),
    /// Whether pods are served, and if not, why
    Readyz(At),
    /// What the agent holds and does, as JSON without secrets; needs --debug-endpoints of the server
    State(At),
    /// Print the log level, or change it until the next start; needs --debug-endpoints of the server
    LogLevel {
        /// The new level
        #[arg(value_enum, ignore_case = true)]
        level: Option<Verbosity>,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct At {
    /// Path of the server's --probe-socket
    #[arg(long, default_value = "/run/pod-identity-agent/probes.sock")]
    socket: PathBuf,
}

impl Probe {
    /// Prints the answer's text. Succeeds if its status is 200.
    ///
    /// # Errors
    /// Fails when there is no answer within [`TIMEOUT`], or when the server has no such endpoint.
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let answer = self.ask().map_err(|error| {
            let socket = self.socket().display();
            io::Error::new(
                error.kind(),
                format!("no answer at the probe socket {socket}: {error}"),
            )
        })?;
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1);
        if status == Some("404") {
            return Err(Failure::new(
                1,
                "the server does not answer this; start it with --debug-endpoints".to_owned(),
            ));
        }
        write!(io::stdout(), "{text}")?;
        Ok(ExitCode::from(u8::from(status != Some("200"))))
    }

    fn ask(&self) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "{} HTTP/1.0\r\n\r\n", self.request())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn request(&self) -> String {
        match &self.question {
            Question::Healthz(_) => "GET /healthz".to_owned(),
            Question::Readyz(_) => "GET /readyz".to_owned(),
            Question::State(_) => format!("GET {}", debug::STATE),
            Question::LogLevel { level: None, .. } => format!("GET {}", debug::LOG_LEVEL),
            Question::LogLevel {
                level: Some(level), ..
            } => format!("PUT {}?level={}", debug::LOG_LEVEL, level.level()),
        }
    }

    fn socket(&self) -> &PathBuf {
        match &self.question {
            Question::Healthz(at) | Question::Readyz(at) | Question::State(at) => &at.socket,
            Question::LogLevel { at, .. } => &at.socket,
        }
    }
}

/// Kubelet's usual time for a probe is a second or more; the agent answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Ten times the longest state: a hundred slots and a hundred sources.
const MAX_ANSWER: u64 = 1024 * 1024;
