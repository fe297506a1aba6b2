use std::io;

use tokio::sync::mpsc;

/// The switch that stops and restarts the embedded EKS Auth: SIGUSR1, or Enter in a terminal.
pub(super) struct Switch {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
    enter: Option<mpsc::UnboundedReceiver<()>>,
}

impl Switch {
    /// # Errors
    /// Fails if no handler for the signal can be installed.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1())?,
            enter: None,
        })
    }

    /// Listens to standard input too, which no other code may then read.
    pub(super) fn with_enter(mut self) -> Self {
        let (pressed, enter) = mpsc::unbounded_channel();
        // A thread of its own: reading a terminal cannot be cancelled, and must not delay the exit.
        std::thread::spawn(move || {
            while io::stdin().lines().next().is_some_and(|line| line.is_ok())
                && pressed.send(()).is_ok()
            {}
        });
        self.enter = Some(enter);
        self
    }

    pub(super) async fn flipped(&mut self) {
        let enter = async {
            match &mut self.enter {
                Some(enter) => match enter.recv().await {
                    Some(()) => {}
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        #[cfg(unix)]
        tokio::select! {
            () = enter => {}
            _signalled = self.signal.recv() => {}
        }
        #[cfg(not(unix))]
        enter.await;
    }
}
