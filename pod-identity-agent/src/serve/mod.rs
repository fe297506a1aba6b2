//! Sockets: listeners, connections and their limits, probes.

pub(crate) mod connections;
pub(crate) mod drain;
pub(crate) mod header_timeout;
pub(crate) mod listener;
pub(crate) mod probes;
pub(crate) mod respond;
pub(crate) mod server;
pub(crate) mod side_runtime;
