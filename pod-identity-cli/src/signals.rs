use std::io;

use tracing::info;

/// The signals that ask the program to stop: SIGTERM and SIGINT; Ctrl-C where there are no Unix signals.
///
/// From its construction on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// Fails if a handler cannot be installed.
    ///
    /// # Panics
    /// Panics if called outside a tokio runtime.
    #[cfg(unix)]
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Installs the handlers.
    ///
    /// # Errors
    /// Never fails on this platform.
    #[cfg(not(unix))]
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for a signal to shut down, and logs which one came.
    pub async fn shutdown(&mut self) {
        #[cfg(unix)]
        let signal = tokio::select! {
            _received = self.terminate.recv() => "SIGTERM",
            _received = self.interrupt.recv() => "SIGINT",
        };
        #[cfg(not(unix))]
        let signal = {
            let _received = tokio::signal::ctrl_c().await;
            "Ctrl-C"
        };
        info!(signal, "shutdown signal received");
    }

    /// Waits for the next signal. A program that runs a child passes it on, or knows that the child has got it.
    #[cfg(feature = "child")]
    pub(crate) async fn next(&mut self) -> Asked {
        #[cfg(unix)]
        tokio::select! {
            _received = self.terminate.recv() => Asked::Terminate,
            _received = self.interrupt.recv() => Asked::Interrupt,
        }
        // Ctrl-C goes to the child, too.
        #[cfg(not(unix))]
        std::future::pending().await
    }
}

/// Which signal came.
#[cfg(feature = "child")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}
