//! `probe`: asks the agent of this container, for a probe of kubelet or for people.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use pod_identity_cli::Failure;
use tokio::time::Instant;

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
        let answer = self.answer_within(TIMEOUT)?;
        let (head, text) = answer.split_once(END_OF_HEAD).unwrap_or((&answer, ""));
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

    /// Returns the whole answer, with its head.
    fn answer_within(&self, limit: Duration) -> io::Result<String> {
        self.ask(limit).map_err(|error| {
            let socket = self.socket().display();
            let reason = match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("nothing came within {limit:?}; the agent hangs or has no CPU")
                }
                _ => error.to_string(),
            };
            io::Error::new(
                error.kind(),
                format!("no answer at the probe socket {socket}: {reason}"),
            )
        })
    }

    fn ask(&self, limit: Duration) -> io::Result<String> {
        let began = Instant::now();
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_write_timeout(Some(limit))?;
        // In one write: a server that answers and closes after the first part of it is no error.
        stream.write_all(format!("{} HTTP/1.0\r\n\r\n", self.request()).as_bytes())?;
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        // The limit is that of the whole answer, which may come in many parts.
        while answer.len() < MAX_ANSWER {
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(length) => answer.extend(part.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.starts_with("HTTP/") && answer.contains(END_OF_HEAD) {
            return Ok(answer);
        }
        let message = "the connection was closed without one";
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
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
const MAX_ANSWER: usize = 1024 * 1024;

const END_OF_HEAD: &str = "\r\n\r\n";

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// What `probe readyz` gets from a server that does this with its connection.
    fn asked(serve: fn(UnixStream), limit: Duration) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("probes.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let length = stream.read(&mut request).unwrap();
            assert_eq!(&request[..length], b"GET /readyz HTTP/1.0\r\n\r\n");
            serve(stream);
        });
        let question = Question::Readyz(At { socket });
        let answer = Probe { question }.answer_within(limit);
        server.join().unwrap();
        answer.map_err(|error| error.to_string())
    }

    /// Writes this again and again until the client has gone.
    fn write_until_closed(mut stream: UnixStream, text: &[u8]) {
        stream.set_read_timeout(Some(SHORT / 10)).unwrap();
        while stream.write_all(text).is_ok() && !matches!(stream.read(&mut [0]), Ok(0)) {}
    }

    #[test]
    fn a_server_that_hangs_or_dribbles_is_given_up_in_time_and_the_error_says_so() {
        let silent = |stream| write_until_closed(stream, b"");
        let dribbling = |stream| write_until_closed(stream, b"x");
        for serve in [silent as fn(_), dribbling] {
            let error = asked(serve, SHORT).unwrap_err();
            let expected = "probes.sock: nothing came within 20ms; the agent hangs or has no CPU";
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn a_connection_that_is_closed_without_an_answer_is_an_error_with_a_reason() {
        let closing: fn(UnixStream) = drop;
        let garbage = |mut stream: UnixStream| stream.write_all(b"hello\r\n").unwrap();
        for serve in [closing, garbage] {
            let error = asked(serve, TIMEOUT).unwrap_err();
            let expected = "probes.sock: the connection was closed without one";
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn an_answer_in_parts_is_put_together() {
        let serve = |mut stream: UnixStream| {
            for part in ["HTTP/1.0 503 Service", " Unavailable\r\n\r", "\nnot yet"] {
                stream.write_all(part.as_bytes()).unwrap();
            }
        };
        let answer = asked(serve, TIMEOUT).unwrap();
        assert_eq!(answer, "HTTP/1.0 503 Service Unavailable\r\n\r\nnot yet");
    }
}
