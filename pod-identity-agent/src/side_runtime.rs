use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::connections::{Caps, Connections};
use crate::listener::Listen;
use crate::server::{Respond, serve};

/// A thread with a runtime of its own for what must be answered under any load: probes and metrics.
///
/// Dropping it stops what it serves.
#[derive(Debug)]
pub(crate) struct SideRuntime {
    handle: Handle,
    stopping: watch::Sender<bool>,
    places: Arc<Connections>,
    thread: Option<JoinHandle<()>>,
}

impl SideRuntime {
    /// # Errors
    /// When the runtime or its thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stopping, mut stopped) = watch::channel(false);
        let places = Arc::new(Connections::new(Caps::default()));
        let all = Arc::clone(&places);
        let thread = std::thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        // An error says that the sender is gone, which means the same.
                        _stopped = stopped.wait_for(|stop| *stop) => {}
                        () = all.close_idle() => {}
                    }
                });
            })?;
        Ok(Self {
            handle,
            stopping,
            places,
            thread: Some(thread),
        })
    }

    /// Serves at one more place.
    ///
    /// # Errors
    /// When a socket that listens already cannot be moved to this runtime.
    pub(crate) fn serve(
        &self,
        listen: Listen,
        name: &'static str,
        responder: impl Respond,
    ) -> io::Result<()> {
        let _entered = self.handle.enter();
        let listen = listen.moved_here()?;
        let (places, stopped) = (Arc::clone(&self.places), self.stopping.subscribe());
        self.handle.spawn(async move {
            let listener = listen.listening(name).await;
            serve(listener, places, Arc::new(responder), stopped).await;
        });
        Ok(())
    }
}

impl Drop for SideRuntime {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It panicked, or it ended; either way it is over.
            let _ended = thread.join();
        }
    }
}
