use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The runtime that serves a mock: that of a thread of its own, or the one that started it.
///
/// With a thread of its own a mock answers although the test blocks its own thread, for example while it
/// waits for a child. In the test's runtime it goes by that runtime's clock, which may be paused. Dropping
/// it ends the thread.
#[derive(Debug)]
pub(crate) struct Host {
    handle: Handle,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// # Errors
    /// Fails if there is no thread, or no file descriptor for its runtime.
    pub(crate) fn own_thread(name: &str) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Either way the thread ends.
                runtime.block_on(stopped).ok();
            })?;
        let thread = Thread {
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    /// The current runtime.
    pub(crate) fn current() -> Self {
        Self {
            handle: Handle::current(),
            thread: None,
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Moves a listener into this runtime.
    ///
    /// # Errors
    /// Fails if the operating system refuses.
    pub(crate) fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        if self.thread.is_none() {
            return Ok(listener);
        }
        let listener = listener.into_std()?;
        let _inside = self.handle.enter();
        TcpListener::from_std(listener)
    }

    /// Waits for the future, but not for longer than `limit`. There is no limit in the runtime of a test,
    /// whose clock may be paused: it would pass at once whenever the test waits for the network.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        if self.thread.is_none() {
            return Some(future.await);
        }
        let mut timer = JoinSet::new();
        timer.spawn_on(async move { tokio::time::sleep(limit).await }, &self.handle);
        tokio::select! {
            biased;
            value = future => Some(value),
            _passed = timer.join_next() => None,
        }
    }
}

/// Binds an address without listening: attempts to connect are refused, and the system gives the port to nobody
/// else.
///
/// # Errors
/// Fails if the address is taken.
pub(crate) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Closed connections do not hold the port on Unix. On Windows the option would let others take it.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    Ok(socket)
}

/// Returns the address, with loopback in place of all addresses: clients connect to one.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            thread.join().ok();
        }
    }
}

/// How long a test waits for a mock by default: longer than anything that succeeds takes.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(30);
