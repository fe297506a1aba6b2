//! Requests over the network: the traits `Transport` and `Resolve` with their defaults, connections, TLS.

pub(crate) mod connection;
pub(crate) mod resolver;
#[cfg(feature = "rustls")]
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod transport_error;
