use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};

use crate::serve::connections::{Caps, Connections};
use crate::serve::drain::{self, DrainTrigger};
use crate::serve::listener::Listen;
use crate::serve::respond::Respond;
use crate::serve::server::serve;

/// A thread with a runtime and places of its own, for what must be answered under any load: one for
/// probes, and another for metrics, because the crowd that all addresses let in would hold kubelet up.
///
/// Dropping it stops what it serves.
#[derive(Debug)]
pub(crate) struct SideRuntime {
    name: &'static str,
    handle: Handle,
    drain: DrainTrigger,
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
        let (drain, mut draining) = drain::channel();
        let places = Arc::new(Connections::new(caps));
        let all = Arc::clone(&places);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = draining.started() => {}
                        () = all.close_idle() => {}
                    }
                });
            })?;
        Ok(Self {
            name,
            handle,
            drain,
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
        let (places, drain) = (Arc::clone(&self.places), self.drain.watcher());
        let name = self.name;
        self.handle.spawn(async move {
            let listener = listen.listening(name).await;
            serve(listener, places, Arc::new(responder), drain).await;
        });
        Ok(())
    }
}

impl Drop for SideRuntime {
    fn drop(&mut self) {
        self.drain.start();
        if let Some(thread) = self.thread.take() {
            // It panicked, or it ended; either way it is over.
            let _ended = thread.join();
        }
    }
}
