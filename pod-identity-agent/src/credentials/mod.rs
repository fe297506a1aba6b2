//! The answer to `GET /v1/credentials`: the handler, the cache behind it, and the limit of each source.

pub(crate) mod at_hand;
pub(crate) mod cache;
pub(crate) mod entry;
pub(crate) mod handler;
pub(crate) mod rate_limit;
pub(crate) mod state;
