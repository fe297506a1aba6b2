use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::Backoff;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

use crate::node::resources::is_too_many_open_files;
use crate::serve::client_socket;
use crate::telemetry::readiness::{Readiness, ReadinessBlocker};

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
    pub(crate) async fn listening(self, name: &'static str, taken: Taken<'_>) -> TcpListener {
        let address = match self {
            Self::On(listener) => return listener,
            Self::At(address) => address,
        };
        let mut failures = 0;
        // Held until this function returns the listener.
        let mut waiting: Option<Waiting> = None;
        loop {
            let first = match taken {
                Taken::Join(_) => Group::First,
                _ => Group::None,
            };
            let mut bound = bind(address, first);
            if let (Taken::Join(sharing), Err(error)) = (taken, &bound)
                && is_in_use(error)
            {
                let waiting = waiting.get_or_insert_with(|| sharing.wait(address));
                if !(sharing.may_join)() {
                    tokio::time::sleep(RETRY_IN_USE).await;
                    continue;
                }
                bound = bind(address, Group::Joined);
                if bound.is_err() {
                    waiting.is_refused(address);
                }
            }
            match bound {
                Ok(listener) => {
                    // With the actual port, if port 0 was asked for.
                    let address = listener.local_addr().unwrap_or(address);
                    info!(%address, listener = name, "listening");
                    if let Some(waiting) = waiting {
                        waiting.0.release();
                    }
                    return listener;
                }
                Err(error) => {
                    failures += 1;
                    let in_use = is_in_use(&error);
                    if failures == 1 {
                        log(
                            address,
                            name,
                            &error,
                            in_use && matches!(taken, Taken::Await),
                        );
                    }
                    let pause = match in_use {
                        true => RETRY_IN_USE,
                        false => RETRY.delay(failures, 1.0),
                    };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

fn log(address: SocketAddr, name: &str, error: &io::Error, is_expected: bool) {
    if is_expected {
        info!(%address, listener = name, "the address is in use, as while another agent ends; binding is retried");
    } else {
        warn!(%address, listener = name, %error, remedy = remedy_at(name, error), "address cannot be bound; binding is retried");
    }
}

/// What to do about an address that another process listens at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taken<'a> {
    /// It is a mistake: log a warning, and wait for the address.
    Warn,
    /// Another agent is about to end: wait for the address.
    Await,
    /// Another agent shares the address: listen at it too.
    Join(&'a Sharing),
}

/// How two agents share addresses, so that a new one takes over from an old one without a gap.
///
/// The new one begins to listen when it can answer: until then pods are better served by the old one alone.
/// An agent that cannot get so far, because its configuration is wrong, harms no pod.
pub(crate) struct Sharing {
    pub(crate) readiness: Arc<Readiness>,
    /// Whether this agent could answer.
    pub(crate) may_join: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Sharing {
    fn wait(&self, address: SocketAddr) -> Waiting {
        info!(%address, "another process listens at the address; this one joins it when EKS Auth is within reach");
        let reason =
            format!("{address} is served by another process until this one has reached EKS Auth");
        Waiting(
            self.readiness
                .blocker(format!("address {address}"), &reason),
        )
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").finish_non_exhaustive()
    }
}

/// Keeps the agent from being ready while others have one of its addresses: the other agent would be ended.
struct Waiting(ReadinessBlocker);

impl Waiting {
    fn is_refused(&self, address: SocketAddr) {
        let reason = format!(
            "another process listens at {address} and does not share it: it was started without --reuse-port \
             or by another user, and must end first"
        );
        self.0.block(reason);
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

/// The processes that share an address with SO_REUSEPORT.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Group {
    /// The address is not shared.
    None,
    /// It is shared with those that come later, and must be free now.
    First,
    /// It is shared with those that are there.
    Joined,
}

fn bind(address: SocketAddr, group: Group) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restarted agent need not wait until the connections of its predecessor have timed out.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    client_socket::configure(SockRef::from(&socket))?;
    #[cfg(unix)]
    socket.set_reuseport(group == Group::Joined)?;
    socket.bind(address)?;
    // Set between the two, others can join, and binding has failed if one was there.
    #[cfg(unix)]
    socket.set_reuseport(group != Group::None)?;
    #[cfg(not(unix))]
    let _not_shared = group;
    socket.listen(BACKLOG)
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Connections that wait to be accepted; the system's own limit may be lower. The usual 128 are too few for
/// all pods of a node at once: the kernel of a client that finds no room retries after a second.
const BACKLOG: u32 = 4096;

/// A link that comes up is found within seconds.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// While another agent ends, its addresses become free at any time.
const RETRY_IN_USE: Duration = Duration::from_millis(250);

/// The remedy for an address of the listener of this name: that of the metrics has a flag of its own.
fn remedy_at(name: &str, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable if name == METRICS => {
            "no network interface has this address: choose another with --metrics-address"
        }
        io::ErrorKind::Unsupported if name == METRICS => {
            "this node has no IPv6: choose another address with --metrics-address"
        }
        _ => remedy(error),
    }
}

/// The name of the listener for metrics.
pub(crate) const METRICS: &str = "metrics";

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
        _ if is_too_many_open_files(error) => "raise the limit of open files",
        _ => "check the address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_flag_of_the_listener() {
        for kind in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported] {
            let remedy = |name| remedy_at(name, &kind.into());
            assert!(remedy("credentials").contains("--bind-hosts"));
            let of_metrics = remedy(METRICS);
            assert!(of_metrics.contains("--metrics-address"), "{of_metrics}");
            assert!(!of_metrics.contains("--bind-hosts"), "{of_metrics}");
        }
    }
}
