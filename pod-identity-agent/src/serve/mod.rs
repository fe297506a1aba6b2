//! Sockets: listeners, connections and their limits, probes.

pub(crate) mod client_socket;
pub(crate) mod connection;
pub(crate) mod connection_limits;
pub(crate) mod connection_state;
pub(crate) mod connections;
#[cfg(unix)]
pub(crate) mod debug;
pub(crate) mod drain;
pub(crate) mod essential_tasks;
pub(crate) mod header_timeout;
pub(crate) mod listener;
#[cfg(unix)]
pub(crate) mod probe_socket;
pub(crate) mod probes;
pub(crate) mod respond;
pub(crate) mod server;
#[cfg(target_os = "linux")]
pub(crate) mod sharers;
pub(crate) mod side_runtime;
#[cfg(target_os = "linux")]
pub(crate) mod successor;
pub(crate) mod write_timeout;
