use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::connections::{Caps, Connections};
use crate::listener::Listen;
use crate::server::serve;

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
        let thread = std::thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    // An error says that the sender is gone, which means the same.
                    let _stopped = stopped.wait_for(|stop| *stop).await;
                });
            })?;
        Ok(Self {
            handle,
            stopping,
            places: Arc::new(Connections::new(Caps::default())),
            thread: Some(thread),
        })
    }

    /// Serves at one more place.
    ///
    /// # Errors
    /// When a socket that listens already cannot be moved to this runtime.
    pub(crate) fn serve<S, F>(
        &self,
        listen: Listen,
        name: &'static str,
        respond: S,
    ) -> io::Result<()>
    where
        S: Fn(Request<Incoming>, SocketAddr) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let _entered = self.handle.enter();
        let listen = listen.moved_here()?;
        let (places, stopped) = (Arc::clone(&self.places), self.stopping.subscribe());
        self.handle.spawn(async move {
            serve(
                listen.listening(name).await,
                places,
                Arc::new(respond),
                stopped,
            )
            .await;
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
