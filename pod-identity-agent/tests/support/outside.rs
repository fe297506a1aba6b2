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

/// The built program, whose wall clock is what a file says.
pub(crate) struct Outside {
    pub(crate) server: Server,
    pub(crate) other_address: Option<SocketAddr>,
    _time: TempDir,
}

/// Where the time of a program is written, for [`Outside::start`].
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
        let flags = settings.flags();
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
                // The file is read whenever the time is.
                ("FAKETIME_NO_CACHE", "1"),
                // The wall clock only: timers run as ever.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("NO_FAKE_STAT", "1"),
            ],
        ]
        .concat();
        let server = Server::with(eks, flags, &environment).await;
        // Its client is ready: what that takes is not to count as an exchange's.
        let out = &server.program.stdout;
        out.says("EKS Auth is within reach").await;
        forget_shared_memory(server.program.id());
        Self {
            server,
            other_address: None,
            _time: time.directory,
        }
    }

    /// Waits until it has done all that there was to do.
    pub(crate) async fn catch_up(&self) {
        soon(at_rest(self.server.program.id())).await;
    }

    /// Ends it in the orderly way, which is when all that it has said is known.
    pub(crate) async fn end(self) -> Said {
        self.server.program.signal(Signal::TERM);
        let ended = self.server.program.end().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        Said::new(ended.stdout)
    }
}

/// What libfaketime shares with children is removed by a program that ends by itself: not by one that is
/// killed, and the next of its number could not start. This one has it open, and has no children.
fn forget_shared_memory(pid: u32) {
    for name in ["faketime_shm", "sem.faketime_sem"] {
        // Not every version makes it.
        let _missing = std::fs::remove_file(format!("/dev/shm/{name}_{pid}"));
    }
}

/// Whether scenes are to be played by the built program.
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
