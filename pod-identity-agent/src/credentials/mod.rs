//! The answer to `GET /v1/credentials`: the handler, the cache behind it, and the budget of each source.

pub(crate) mod bad_tokens;
pub(crate) mod cache;
pub(crate) mod denial;
pub(crate) mod details;
pub(crate) mod entry;
pub(crate) mod handler;
pub(crate) mod other_sources;
pub(crate) mod rate_limit;
pub(crate) mod settings;
pub(crate) mod state;
