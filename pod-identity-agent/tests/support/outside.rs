use std::net::SocketAddr;
use std::path::PathBuf;

use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;
use tempfile::TempDir;

use super::log::Said;
use super::process::{NODE_CREDENTIALS, Server, address_at};
use super::rest::at_rest;
use super::settings::Settings;
use super::soon;

/// The built program, whose wall clock is read from a file.
pub(crate) struct Outside {
    pub(crate) server: Server,
    pub(crate) other_address: Option<SocketAddr>,
    _time: TempDir,
}

/// The file with the time of a program, for [`Outside::start`].
pub(crate) struct TimeFile {
    directory: TempDir,
}

impl TimeFile {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("time")
    }
}

impl Outside {
    pub(crate) async fn start(eks: &MockEksAuth, time: TimeFile, settings: &Settings) -> Self {
        let mut flags = settings.flags();
        if settings.is_verifying {
            flags.push(format!("--oidc-issuer={}", eks.endpoint()));
            flags.push("--key-cache=off".to_owned());
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut outside = Self::with(eks, time, &flags, &NODE_CREDENTIALS).await;
        if let Some(address) = settings.also_at {
            let program = &outside.server.program;
            outside.other_address = Some(address_at(program, "credentials", address).await);
        }
        outside
    }

    pub(crate) async fn with(
        eks: &MockEksAuth,
        time: TimeFile,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let library = libfaketime().expect("POD_IDENTITY_LIBFAKETIME must name libfaketimeMT.so.1");
        let path = time.path();
        let environment = [
            environment,
            &[
                ("LD_PRELOAD", library.as_str()),
                ("FAKETIME_TIMESTAMP_FILE", path.to_str().unwrap()),
                // Seconds since 1970.
                ("FAKETIME_FMT", "%s"),
                ("TZ", "UTC"),
                // The file is read whenever the clock is.
                ("FAKETIME_NO_CACHE", "1"),
                // Only the wall clock: timers are not affected.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("NO_FAKE_STAT", "1"),
            ],
        ]
        .concat();
        let server = Server::with(eks, flags, &environment).await;
        // Its client is ready, so that its start does not count for the first exchange.
        let out = &server.program.stdout;
        out.says("EKS Auth is within reach").await;
        forget_shared_memory(server.program.id());
        Self {
            server,
            other_address: None,
            _time: time.directory,
        }
    }

    /// Waits until it is idle.
    pub(crate) async fn catch_up(&self) {
        soon(at_rest(self.server.program.id())).await;
    }

    /// Shuts it down and returns its log.
    pub(crate) async fn end(self) -> Said {
        self.server.program.signal(Signal::TERM);
        let ended = self.server.program.end().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        Said::new(ended.stdout)
    }
}

/// A program that exits removes the memory that libfaketime shares with children. One that is killed does not,
/// and the next process with its number could not start. This one has it open, and has no children.
fn forget_shared_memory(pid: u32) {
    for name in ["faketime_shm", "sem.faketime_sem"] {
        // Not every version creates it.
        let _missing = std::fs::remove_file(format!("/dev/shm/{name}_{pid}"));
    }
}

/// Returns whether scenes run on the built program.
pub(crate) fn is_wanted() -> bool {
    libfaketime().is_some()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how the tests are run, and not what they test"
)]
fn libfaketime() -> Option<String> {
    std::env::var("POD_IDENTITY_LIBFAKETIME").ok()
}
