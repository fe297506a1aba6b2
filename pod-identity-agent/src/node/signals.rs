use std::io;

/// The signals that ask the process to end. From its making on, they do nothing else.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// # Errors
    /// When no handler can be installed.
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// SIGTERM or SIGINT; where there are no such signals, Ctrl-C.
    pub(crate) async fn either(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _signalled = self.terminate.recv() => {}
            _signalled = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        let _signalled = tokio::signal::ctrl_c().await;
    }

    /// SIGTERM only: Ctrl-C in a terminal reaches a child by itself, and is the child's business.
    #[cfg(feature = "dev")]
    pub(crate) async fn terminate(&mut self) {
        #[cfg(unix)]
        self.terminate.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }
}
