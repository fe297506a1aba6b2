use std::future::Future;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;

use crate::http::full_queue::FullQueue;
use crate::http::host;

/// A service behind a server's socket.
pub(crate) trait Service: Send + Sync + 'static {
    /// Serves a connection to its end.
    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send;
}

/// A server that can be stopped and started again on its port. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server<S> {
    service: Arc<S>,
    address: SocketAddr,
    /// Tokio's mutex, because stopping and starting wait for each other across awaits.
    port: Mutex<Port>,
    runtime: Handle,
}

/// What is behind the port.
#[derive(Debug)]
enum Port {
    Served(Running),
    Ignored {
        _queue: FullQueue,
    },
    /// Nobody listens, and other programs cannot get the port. There is no socket if one got it in the moment
    /// between the listener and the reservation.
    Closed {
        reservation: Option<TcpSocket>,
    },
}

/// One run of the server, which owns the accepting task, which owns the connections.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl<S: Service> Server<S> {
    /// Serves in the current runtime, which must be that of the listener.
    pub(crate) fn start(listener: TcpListener, service: Arc<S>) -> io::Result<Self> {
        Self::start_on(Handle::current(), listener, service)
    }

    /// Serves in this runtime, which must be that of the listener.
    pub(crate) fn start_on(
        runtime: Handle,
        listener: TcpListener,
        service: Arc<S>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let running = Running::start(&runtime, listener, Arc::clone(&service));
        Ok(Self {
            service,
            address,
            port: Mutex::new(Port::Served(running)),
            runtime,
        })
    }

    pub(crate) fn service(&self) -> &Arc<S> {
        &self.service
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn reachable(&self) -> SocketAddr {
        host::reachable(self.address)
    }

    /// Closes the listener and every connection, and returns when they are closed.
    pub(crate) async fn stop(&self) {
        let mut port = self.port.lock().await;
        let reservation = port.close(self.address).await.ok();
        *port = Port::Closed { reservation };
    }

    /// Closes every connection, and leaves each further attempt to connect without an answer.
    pub(crate) async fn ignore(&self) -> io::Result<()> {
        let mut port = self.port.lock().await;
        let socket = port.close(self.address).await?;
        let queue = FullQueue::listen(&self.runtime, socket).await?;
        *port = Port::Ignored { _queue: queue };
        Ok(())
    }

    /// Listens again on the same address. Does nothing when it is running.
    pub(crate) async fn restart(&self) -> io::Result<()> {
        let mut port = self.port.lock().await;
        if !matches!(*port, Port::Served(_)) {
            let socket = port.close(self.address).await?;
            let listener = {
                let _inside = self.runtime.enter();
                socket.listen(BACKLOG)?
            };
            let service = Arc::clone(&self.service);
            *port = Port::Served(Running::start(&self.runtime, listener, service));
        }
        Ok(())
    }
}

impl Port {
    /// Returns the reserved port when the listener and every connection are closed.
    async fn close(&mut self, address: SocketAddr) -> io::Result<TcpSocket> {
        match mem::replace(self, Self::Closed { reservation: None }) {
            Self::Served(mut was) => {
                drop(was.stop);
                while was.task.join_next().await.is_some() {}
            }
            Self::Closed {
                reservation: Some(socket),
            } => return Ok(socket),
            Self::Ignored { .. } | Self::Closed { .. } => {}
        }
        host::reserve(address)
    }
}

impl Running {
    fn start<S: Service>(runtime: &Handle, listener: TcpListener, service: Arc<S>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn_on(accept(listener, service, stopped), runtime);
        Self { stop, task }
    }
}

async fn accept<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, Arc::clone(&service)));
                }
                // Out of file descriptors, most likely: leave time to close some.
                Err(_out_of_something) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve<S: Service>(stream: TcpStream, service: Arc<S>) {
    // Without it an answer may wait 40 ms for an acknowledgement; a failure only costs that time.
    stream.set_nodelay(true).ok();
    service.serve(stream).await;
}

/// That of the standard library.
const BACKLOG: u32 = 128;

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
