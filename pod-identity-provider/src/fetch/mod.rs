//! One attempt to fetch, and the token that it sends.

pub(crate) mod fetcher;
pub(crate) mod token_reader;
pub(crate) mod token_source;
