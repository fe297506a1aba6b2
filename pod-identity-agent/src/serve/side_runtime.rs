use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::serve::connections::{Caps, Connections};
use crate::serve::listener::Listen;
use crate::serve::server::{Respond, serve};

/// A thread with a runtime and places of its own, for what must be answered under any load: one for
/// probes, and another for metrics, because the crowd that all addresses let in would hold kubelet up.
///
/// Dropping it stops what it serves.
#[derive(Debug)]
pub(crate) struct SideRuntime {
    name: &'static str,
    handle: Handle,
    stopping: watch::Sender<bool>,
    places: Arc<Connections>,
    thread: Option<JoinHandle<()>>,
}

impl SideRuntime {
    /// `name` is for the thread and the log: `probes`, `metrics`.
    ///
    /// # Errors
    /// When the runtime or its thread cannot be started.
    pub(crate) fn start(name: &'static str, caps: Caps) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stopping, mut stopped) = watch::channel(false);
        let places = Arc::new(Connections::new(caps));
        let all = Arc::clone(&places);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
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
            name,
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
    pub(crate) fn serve(&self, listen: Listen, responder: impl Respond) -> io::Result<()> {
        let _entered = self.handle.enter();
        let listen = listen.moved_here()?;
        let (places, stopped) = (Arc::clone(&self.places), self.stopping.subscribe());
        let name = self.name;
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
