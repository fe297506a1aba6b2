//! HTTP as the mocks serve it, and what they record.

pub(crate) mod answer;
pub(crate) mod blocking;
pub(crate) mod clearing;
pub(crate) mod connection;
pub(crate) mod delivery;
pub(crate) mod feed;
pub(crate) mod form;
pub(crate) mod gate;
pub(crate) mod gates;
pub(crate) mod gzip;
pub(crate) mod host;
pub(crate) mod outcome;
pub(crate) mod recorder;
pub(crate) mod request;
pub(crate) mod request_head;
pub(crate) mod server;
pub(crate) mod stage;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wire;
