use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pod_identity_core::Backoff;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::serve::client_socket;

/// A place to listen at: a socket that listens already, or an address to bind.
///
/// An address that cannot be bound does not stop the agent: the failure is logged once and binding is
/// retried, because the other addresses serve meanwhile.
#[non_exhaustive]
pub enum Listen {
    /// A socket that listens.
    On(TcpListener),
    /// An address to bind, retried until it works.
    At(SocketAddr),
}

impl Listen {
    /// The address. That of a listening socket has its actual port.
    ///
    /// # Errors
    /// Fails when the operating system does not give the address of a listening socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::On(listener) => listener.local_addr(),
            Self::At(address) => Ok(*address),
        }
    }

    /// Moves a listening socket to the current runtime.
    ///
    /// # Errors
    /// Fails when the operating system refuses to register the socket.
    pub(crate) fn moved_here(self) -> io::Result<Self> {
        match self {
            Self::On(listener) => TcpListener::from_std(listener.into_std()?).map(Self::On),
            Self::At(address) => Ok(Self::At(address)),
        }
    }

    /// Waits for the listening socket. `name` appears in the log: `credentials`, `probes`.
    pub(crate) async fn listening(self, name: &'static str) -> TcpListener {
        let address = match self {
            Self::On(listener) => return listener,
            Self::At(address) => address,
        };
        let mut failures = 0;
        loop {
            match bind(address) {
                Ok(listener) => {
                    // With the actual port, if port 0 was asked for.
                    let address = listener.local_addr().unwrap_or(address);
                    info!(%address, listener = name, "listening");
                    return listener;
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(%address, listener = name, %error, remedy = remedy(&error), "address cannot be bound; binding is retried");
                    }
                    tokio::time::sleep(RETRY.delay(failures, 1.0)).await;
                }
            }
        }
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Ok(address) => write!(f, "Listen({address})"),
            Err(error) => write!(f, "Listen({error})"),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restarted agent need not wait until the connections of its predecessor have timed out.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    client_socket::configure(SockRef::from(&socket))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections that wait to be accepted; the system's own limit may be lower. The usual 128 are too few for
/// all pods of a node at once: the kernel of a client that finds no room retries after a second.
const BACKLOG: u32 = 4096;

/// A port that becomes free, or a link that comes up, is found within seconds.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// The remedy for an address that cannot be bound.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has this port: stop it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no network interface has this address: run `initialize`, or choose another with --bind-hosts"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::Unsupported => {
            "this node has no IPv6: leave the address out with --bind-hosts"
        }
        _ => "check the address",
    }
}
