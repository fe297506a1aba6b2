//! HTTP as the mocks serve it.

pub(crate) mod answer;
pub(crate) mod clearing;
pub(crate) mod connection;
pub(crate) mod delivery;
#[cfg_attr(
    not(feature = "api-server"),
    expect(dead_code, reason = "only the API server has answers without an end")
)]
pub(crate) mod feed;
pub(crate) mod form;
pub(crate) mod full_queue;
pub(crate) mod gate;
pub(crate) mod gates;
pub(crate) mod gzip;
pub(crate) mod host;
pub(crate) mod outcome;
pub(crate) mod request;
pub(crate) mod request_head;
pub(crate) mod server;
pub(crate) mod stage;
pub(crate) mod stream;
#[cfg(any(feature = "api-server", feature = "webhook"))]
pub(crate) mod tls;
pub(crate) mod wire;
