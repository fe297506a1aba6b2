use std::io;
use std::time::Duration;

use crate::http::host::{Host, WAIT_LIMIT};

/// Where a mock runs, and how a test uses it.
#[derive(Debug)]
pub(crate) struct Hosting {
    pub(crate) wait_limit: Duration,
    /// Whether the end of the mock verifies.
    pub(crate) verifies: bool,
    pub(crate) host: Host,
}

/// What the builder of a mock sets of its [`Hosting`].
#[derive(Debug)]
pub(crate) struct HostingOptions {
    pub(crate) in_this_runtime: bool,
    pub(crate) wait_limit: Duration,
    pub(crate) verifies: bool,
    /// The memory for the records, in bytes.
    pub(crate) record_limit: Option<usize>,
}

impl HostingOptions {
    /// # Errors
    /// Fails if a thread is needed and there is none.
    pub(crate) fn start(&self, thread: &str) -> io::Result<Hosting> {
        match self.in_this_runtime {
            true => Ok(self.on(Host::current())),
            false => self.start_thread(thread),
        }
    }

    /// # Errors
    /// Fails if there is no thread.
    pub(crate) fn start_thread(&self, name: &str) -> io::Result<Hosting> {
        Ok(self.on(Host::own_thread(name)?))
    }

    fn on(&self, host: Host) -> Hosting {
        Hosting {
            wait_limit: self.wait_limit,
            verifies: self.verifies,
            host,
        }
    }
}

impl Default for HostingOptions {
    fn default() -> Self {
        Self {
            in_this_runtime: false,
            wait_limit: WAIT_LIMIT,
            verifies: true,
            record_limit: None,
        }
    }
}

/// Declares the methods that the builder of every mock has, for a type with a field `hosting` and a method
/// `start_on`. The last text says when the mock cannot be started.
macro_rules! builder_methods {
    ($builder:ident, $mock:ident, $thread:literal, $errors:literal) => {
        impl $builder {
            /// Serves in the current runtime instead of a thread of its own, and by its clock, which may be paused:
            /// latencies then pass in virtual time. The mock does not answer while the test blocks that runtime's
            /// thread, and waits have no limit.
            ///
            /// A test with a paused clock needs it: a mock on a thread of its own answers in real time, while the paused
            /// clock goes on to the client's next timeout, so that requests time out now and then.
            pub fn in_this_runtime(mut self) -> Self {
                self.hosting.in_this_runtime = true;
                self
            }

            /// Sets how long to wait for requests and answers before the test fails. Defaults to 30 s.
            pub fn wait_limit(mut self, limit: std::time::Duration) -> Self {
                self.hosting.wait_limit = limit;
                self
            }

            /// Does not verify expectations and faults when the mock is dropped: only `verify` does.
            pub fn unverified(mut self) -> Self {
                self.hosting.verifies = false;
                self
            }

            /// Sets how much memory the records of requests may take, in bytes. Then the oldest are forgotten first, and
            /// verifying fails if something is expected of forgotten requests. Minted credentials and sessions are
            /// forgotten in the same way. It is for a mock that serves for days; by default everything is kept.
            ///
            /// The memory is estimated. The newest request is kept in any case.
            pub fn record_limit(mut self, bytes: usize) -> Self {
                self.hosting.record_limit = Some(bytes);
                self
            }

            /// Starts the mock, on a thread of its own unless [`in_this_runtime`](Self::in_this_runtime) is set.
            ///
            /// # Errors
            #[doc = $errors]
            pub async fn start(self) -> std::io::Result<$mock> {
                let hosting = self.hosting.start($thread)?;
                self.start_on(hosting).await
            }

            /// Starts the mock for a test without a runtime.
            ///
            /// # Errors
            /// Fails as [`start`](Self::start).
            ///
            /// # Panics
            /// Panics within a runtime, such as in a `#[tokio::test]`: use [`start`](Self::start) there.
            #[track_caller]
            pub fn start_blocking(self) -> std::io::Result<crate::Blocking<$mock>> {
                let hosting = self.hosting.start_thread($thread)?;
                let handle = hosting.host.handle().clone();
                let mock = handle.block_on(self.start_on(hosting))?;
                Ok(crate::Blocking::new(mock, handle))
            }
        }
    };
}

pub(crate) use builder_methods;
