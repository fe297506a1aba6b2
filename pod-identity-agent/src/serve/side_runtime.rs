use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::node::resources::not_started;
use crate::serve::connection_limits::ConnectionLimits;
use crate::serve::connections::Connections;
use crate::serve::drain::{self, Drain, DrainTrigger};
use crate::serve::essential_tasks::{EssentialTasks, TaskEnded};
use crate::serve::listener::{Listen, Taken};
#[cfg(unix)]
use crate::serve::probe_socket::ProbeSocket;
use crate::serve::respond::Respond;
use crate::serve::server::serve;

/// A thread with its own runtime and connection limits, for requests that must be answered under any load.
///
/// Probes have one and metrics have another: every pod can reach the metrics port, and a flood there must
/// not delay kubelet. Dropping it stops its servers.
#[derive(Debug)]
pub(crate) struct SideRuntime {
    name: &'static str,
    handle: Handle,
    drain: DrainTrigger,
    connections: Arc<Connections>,
    tasks: EssentialTasks,
    thread: Option<JoinHandle<()>>,
}

impl SideRuntime {
    /// `name` appears as the thread's name and in the log: `probes`, `metrics`.
    ///
    /// # Errors
    /// Fails when the runtime or its thread cannot be started.
    pub(crate) fn start(name: &'static str, limits: ConnectionLimits) -> io::Result<Self> {
        let refused = |error| not_started(&format!("the thread for {name}"), &error);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let handle = runtime.handle().clone();
        let (drain, mut draining) = drain::channel();
        let connections = Arc::new(Connections::new(limits));
        let mut tasks = EssentialTasks::default();
        let swept = Arc::clone(&connections);
        tasks.spawn_on(
            &handle,
            format!("{name}: limits of connections"),
            async move {
                swept.sweep().await;
            },
        );
        let (give, given) = mpsc::channel::<Runtime>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Ok(runtime) = given.recv() {
                    runtime.block_on(draining.started());
                }
            });
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                // Dropping it here, within another runtime, would panic.
                runtime.shutdown_background();
                return Err(refused(error));
            }
        };
        // The thread waits for it.
        let _received = give.send(runtime);
        Ok(Self {
            name,
            handle,
            drain,
            connections,
            tasks,
            thread: Some(thread),
        })
    }

    /// Serves at one more address.
    ///
    /// # Errors
    /// Fails when a listening socket cannot be moved to this runtime.
    pub(crate) fn serve(
        &mut self,
        listen: Listen,
        taken: Taken<'static>,
        responder: impl Respond,
    ) -> io::Result<()> {
        let _entered = self.handle.enter();
        let listen = listen.moved_here()?;
        let (connections, drain) = (Arc::clone(&self.connections), self.drain.watcher());
        let name = self.name;
        let serving = async move {
            let listener = listen.listening(name, taken).await;
            serve(listener, connections, Arc::new(responder), drain).await;
        };
        self.tasks.spawn_on(&self.handle, name, serving);
        Ok(())
    }

    /// Serves at a Unix socket too.
    ///
    /// # Errors
    /// Fails when the socket cannot be registered with this runtime.
    #[cfg(unix)]
    pub(crate) fn serve_probe_socket(
        &mut self,
        socket: ProbeSocket,
        responder: impl Respond,
    ) -> io::Result<()> {
        let _entered = self.handle.enter();
        let serving = socket.serve(responder)?;
        self.tasks.spawn_on(&self.handle, "probe socket", serving);
        Ok(())
    }

    /// Waits until one of its tasks ends, which none must.
    pub(crate) async fn ended(&mut self) -> TaskEnded {
        self.tasks.ended().await
    }
}

impl Drop for SideRuntime {
    fn drop(&mut self) {
        self.drain.start(Drain::Ending);
        if let Some(thread) = self.thread.take() {
            // Whether it panicked or ended makes no difference here.
            let _ended = thread.join();
        }
    }
}
